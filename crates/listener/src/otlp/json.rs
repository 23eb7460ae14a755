//! Rewrites a request in JSON to Protocol Buffers, so that what follows reads one format.
//!
//! # Invariants
//!
//! - Nothing is kept besides the output, which takes at most a few times the space of the input.
//! - The parser limits how deep values are nested (128), and thereby the recursion here.
//!
//! Source: <https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::de::{
    DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Unexpected, Visitor,
};

use super::schema::{Field, Kind, Message};
use super::wire;

const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const BASE64: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const BASE64_URL: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// Returns the message as Protocol Buffers.
///
/// # Errors
/// It is not JSON, or a field has another type. Unknown fields are skipped.
pub fn to_protobuf(message: &'static Message, json: &[u8]) -> Result<Vec<u8>, serde_json::Error> {
    let mut out = Vec::with_capacity(json.len() / 2);
    let mut input = serde_json::Deserializer::from_slice(json);
    (&mut input).deserialize_map(MessageVisitor {
        message,
        out: &mut out,
    })?;
    input.end()?;
    Ok(out)
}

struct MessageVisitor<'o> {
    message: &'static Message,
    out: &'o mut Vec<u8>,
}

impl<'de> Visitor<'de> for MessageVisitor<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let fields = self.message.fields;
        while let Some(field) = map.next_key_seed(NameOf { fields })? {
            match field {
                Some(field) => map.next_value_seed(FieldValue {
                    field,
                    is_element: false,
                    out: self.out,
                })?,
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

/// The name of a field; none if it is unknown.
struct NameOf {
    fields: &'static [Field],
}

impl<'de> DeserializeSeed<'de> for NameOf {
    type Value = Option<&'static Field>;

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<Self::Value, D::Error> {
        input.deserialize_str(self)
    }
}

impl Visitor<'_> for NameOf {
    type Value = Option<&'static Field>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.fields.iter().find(|field| field.name == name))
    }
}

/// The value of a field, or an element of a repeated one.
struct FieldValue<'o> {
    field: &'static Field,
    is_element: bool,
    out: &'o mut Vec<u8>,
}

impl<'de> DeserializeSeed<'de> for FieldValue<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<(), D::Error> {
        input.deserialize_any(self)
    }
}

impl FieldValue<'_> {
    fn wrong<E: Error>(&self, unexpected: Unexpected<'_>) -> Result<(), E> {
        Err(E::invalid_type(unexpected, self))
    }

    fn write_int(self, value: i64) {
        let (bits, number) = (value as u64, self.field.number);
        match self.field.kind {
            Kind::Fixed64 | Kind::Sfixed64 => wire::write_fixed64_field(self.out, number, bits),
            Kind::Double => wire::write_fixed64_field(self.out, number, (value as f64).to_bits()),
            Kind::Zigzag => {
                let zigzag = (value << 1 ^ value >> 63) as u32;
                wire::write_varint_field(self.out, number, zigzag.into());
            }
            _ => wire::write_varint_field(self.out, number, bits),
        }
    }

    fn text<E: Error>(self, text: &str) -> Result<(), E> {
        let number = self.field.number;
        let bytes = match self.field.kind {
            Kind::Text => Some(Cow::Borrowed(text.as_bytes())),
            Kind::Hex => hex(text).map(Cow::Owned),
            Kind::Bytes => {
                let is_url = text.contains(['-', '_']);
                let engine = if is_url { BASE64_URL } else { BASE64 };
                engine.decode(text).ok().map(Cow::Owned)
            }
            Kind::Bool | Kind::Message(_) => None,
            Kind::Double => {
                let value = match text {
                    "NaN" => Some(f64::NAN),
                    "Infinity" => Some(f64::INFINITY),
                    "-Infinity" => Some(f64::NEG_INFINITY),
                    _ => text.parse().ok().filter(|v: &f64| v.is_finite()),
                };
                return match value {
                    Some(value) => self.visit_f64(value),
                    None => self.wrong(Unexpected::Str(text)),
                };
            }
            Kind::Uint | Kind::Fixed64 => {
                return match text.parse() {
                    Ok(value) => self.visit_u64(value),
                    Err(_) => self.wrong(Unexpected::Str(text)),
                };
            }
            Kind::Enum(prefix, names) => {
                let name = text.strip_prefix(prefix).unwrap_or(text);
                let value = names.iter().position(|n| *n == name);
                return match value.map(|v| v as i64).or_else(|| text.parse().ok()) {
                    Some(value) => self.visit_i64(value),
                    None => self.wrong(Unexpected::Str(text)),
                };
            }
            Kind::Int | Kind::Zigzag | Kind::Sfixed64 => {
                return match text.parse() {
                    Ok(value) => self.visit_i64(value),
                    Err(_) => self.wrong(Unexpected::Str(text)),
                };
            }
        };
        match bytes {
            Some(bytes) => wire::write_bytes_field(self.out, number, &bytes),
            None => return self.wrong(Unexpected::Str(text)),
        }
        Ok(())
    }
}

impl<'de> Visitor<'de> for FieldValue<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a value of the field {}", self.field.name)
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        match self.field.kind {
            Kind::Bool => wire::write_varint_field(self.out, self.field.number, value.into()),
            _ => return self.wrong(Unexpected::Bool(value)),
        }
        Ok(())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        let fits = match self.field.kind {
            Kind::Int | Kind::Sfixed64 | Kind::Double => true,
            Kind::Uint | Kind::Fixed64 => value >= 0,
            Kind::Zigzag | Kind::Enum(..) => i32::try_from(value).is_ok(),
            Kind::Text | Kind::Bytes | Kind::Hex | Kind::Bool | Kind::Message(_) => false,
        };
        if !fits {
            return self.wrong(Unexpected::Signed(value));
        }
        self.write_int(value);
        Ok(())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        let number = self.field.number;
        match (self.field.kind, i64::try_from(value)) {
            (Kind::Fixed64, _) => wire::write_fixed64_field(self.out, number, value),
            (Kind::Uint, _) => wire::write_varint_field(self.out, number, value),
            (Kind::Double, Err(_)) => {
                wire::write_fixed64_field(self.out, number, (value as f64).to_bits());
            }
            (_, Ok(value)) => return self.visit_i64(value),
            _ => return self.wrong(Unexpected::Unsigned(value)),
        }
        Ok(())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        // Integers may be written with a point or an exponent; larger ones are not exact.
        const EXACT: f64 = (1u64 << 53) as f64;
        match self.field.kind {
            Kind::Double => {
                wire::write_fixed64_field(self.out, self.field.number, value.to_bits());
                Ok(())
            }
            _ if value.trunc() == value && value.abs() <= EXACT => self.visit_i64(value as i64),
            _ => self.wrong(Unexpected::Float(value)),
        }
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.text(text)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<(), A::Error> {
        if !self.field.is_repeated || self.is_element {
            return self.wrong(Unexpected::Seq);
        }
        while let Some(()) = sequence.next_element_seed(FieldValue {
            field: self.field,
            is_element: true,
            out: self.out,
        })? {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        let Kind::Message(message) = self.field.kind else {
            return self.wrong(Unexpected::Map);
        };
        let start = wire::begin(self.out, self.field.number);
        MessageVisitor {
            message,
            out: self.out,
        }
        .visit_map(map)?;
        wire::end(self.out, start);
        Ok(())
    }
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).map(|v| v as u8);
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let bytes = pairs.iter().map(|[a, b]| Some(digit(a)? << 4 | digit(b)?));
    bytes.collect::<Option<_>>().filter(|_| rest.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::otlp::schema::{self, LOGS_REQUEST, METRICS_REQUEST};
    use proptest::prelude::*;

    fn error(json: &str) -> String {
        to_protobuf(&METRICS_REQUEST, json.as_bytes())
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn unknown_fields_are_skipped() {
        let json =
            br#"{"other":{"a":[1,{}]},"resourceMetrics":[{"schemaUrl":"x","resource":null}]}"#;
        let out = to_protobuf(&METRICS_REQUEST, json).unwrap();
        assert_eq!(out, [0x0a, 0x80, 0x80, 0x80, 0x80, 0]);
    }

    #[test]
    fn wrong_types_are_rejected() {
        for json in [
            "",
            "[]",
            "{",
            "{} {}",
            "{\"resourceMetrics\":7}",
            "{\"resourceMetrics\":[[]]}",
            "{\"resourceMetrics\":[\"x\"]}",
            "{\"resourceMetrics\":[{\"resource\":[]}]}",
        ] {
            assert!(!error(json).is_empty(), "{json}");
        }
        let nested = "{\"arrayValue\":{\"values\":[".repeat(100);
        let result = to_protobuf(&schema::ANY_VALUE, nested.as_bytes());
        assert!(result.unwrap_err().to_string().contains("recursion limit"));
    }

    #[test]
    fn hexadecimal_is_read() {
        assert_eq!(hex("00fFa0"), Some(vec![0, 255, 160]));
        assert_eq!(hex(""), Some(vec![]));
        assert_eq!(hex("0"), None);
        assert_eq!(hex("0g"), None);
        assert_eq!(hex("é"), None);
    }

    proptest! {
        #[test]
        fn any_bytes_do_not_panic(json in any::<Vec<u8>>()) {
            drop(to_protobuf(&LOGS_REQUEST, &json));
        }

        #[test]
        fn what_is_written_is_valid(count in prop_oneof!["[0-9]{1,21}", "-?[0-9]{1,4}(\\.[0-9])?"], text in "[a-f0-9=\\-NI]{0,4}") {
            let json = format!(
                r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{"name":"a","exponentialHistogram":{{
                "aggregationTemporality":{count},"dataPoints":[{{"count":{count},"sum":{count},"scale":"{count}","positive":{{
                "bucketCounts":["{count}",1]}},"attributes":[{{"key":"{text}","value":{{"bytesValue":"{text}"}}}}]}}]}}}}]}}]}}]}}"#
            );
            if let Ok(out) = to_protobuf(&METRICS_REQUEST, json.as_bytes()) {
                prop_assert!(schema::is_valid(&METRICS_REQUEST, &out));
            }
        }
    }
}
