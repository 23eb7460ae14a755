//! Attributes and other values as text.
//!
//! # Invariants
//!
//! - Nested values are rendered without recursion, and at most [`MAX_RENDERED`] bytes of them.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use aggregator_protocol::number;

use super::wire::{Fields, Value};
use crate::report::Attribute;

/// The largest number of bytes of a value that is rendered as JSON. A longer one is cut off, and ends with `…`.
pub const MAX_RENDERED: usize = 64 * 1024;

/// Nested values below this depth are rendered as `null`.
const MAX_DEPTH: usize = 32;

/// Returns text, with what is not UTF-8 replaced by U+FFFD.
pub fn text(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// Reads a `KeyValue`; returns the key and the bytes of the `AnyValue`.
pub fn key_value(message: &[u8]) -> (&[u8], &[u8]) {
    let (mut key, mut value) = (&[][..], &[][..]);
    for (number, field) in Fields::new(message) {
        match number {
            1 => key = field.bytes(),
            2 => value = field.bytes(),
            _ => {}
        }
    }
    (key, value)
}

/// Reads a `KeyValue` as an attribute.
pub fn attribute(message: &[u8]) -> Attribute<'_> {
    let (key, value) = key_value(message);
    Attribute {
        name: text(key),
        value: any_value(value),
    }
}

/// Returns an `AnyValue` as text: text as it is, bytes as base64, nested values as JSON, no value as empty text.
///
/// Source: <https://opentelemetry.io/docs/specs/otel/common/#mapping-arbitrary-data-to-otlp-anyvalue>
pub fn any_value(message: &[u8]) -> Cow<'_, str> {
    // The last field of a oneof counts.
    match Fields::new(message).filter(is_value).last() {
        None => Cow::Borrowed(""),
        Some((1, value)) => text(value.bytes()),
        Some((2, value)) => Cow::Borrowed(if value.bits() != 0 { "true" } else { "false" }),
        Some((7, value)) => Cow::Owned(limited(STANDARD.encode(value.bytes()))),
        Some((4, value)) if !value.double().is_finite() => {
            let value = value.double();
            Cow::Borrowed(match value {
                f64::INFINITY => "Infinity",
                f64::NEG_INFINITY => "-Infinity",
                _ => "NaN",
            })
        }
        Some(_) => {
            let mut out = Vec::new();
            render(message, &mut out);
            Cow::Owned(limited(into_text(out)))
        }
    }
}

fn is_value(field: &(u32, Value<'_>)) -> bool {
    (1..=7).contains(&field.0)
}

fn into_text(out: Vec<u8>) -> String {
    String::from_utf8(out).unwrap_or_else(|e| text(e.as_bytes()).into_owned())
}

fn limited(mut text: String) -> String {
    if text.len() > MAX_RENDERED {
        text.truncate(prefix(&text, MAX_RENDERED).len());
        text.push('…');
    }
    text
}

/// Returns the begin of a text, at most `max` bytes and whole characters.
pub fn prefix(text: &str, max: usize) -> &str {
    let lengths = (0..=max.min(text.len())).rev();
    let mut prefixes = lengths.filter_map(|length| text.get(..length));
    prefixes.next().unwrap_or_default()
}

/// Renders attributes as a JSON object. Of equal names the last counts.
pub fn json_object<'a>(attributes: impl Iterator<Item = &'a [u8]> + Clone) -> String {
    let mut out = vec![b'{'];
    let mut rest = attributes;
    while let Some(message) = rest.next() {
        let (key, value) = key_value(message);
        if rest.clone().any(|later| key_value(later).0 == key) {
            continue;
        }
        if out.len() > 1 {
            out.push(b',');
        }
        write_json_text(&text(key), &mut out);
        out.push(b':');
        render(value, &mut out);
    }
    out.push(b'}');
    into_text(out)
}

/// A list or a map that is being rendered.
struct Open<'a> {
    fields: Fields<'a>,
    is_map: bool,
    is_first: bool,
}

/// Appends an `AnyValue` as JSON, and stops soon after [`MAX_RENDERED`] bytes.
fn render(message: &[u8], out: &mut Vec<u8>) {
    let end = out.len() + MAX_RENDERED;
    let mut stack = Vec::new();
    let mut next = Some(message);
    loop {
        if let Some(message) = next.take() {
            stack.extend(begin(message, stack.len(), out));
        }
        let Some(open) = stack.last_mut() else {
            return;
        };
        let element = open.fields.by_ref().find(|(number, _)| *number == 1);
        let Some((_, element)) = element.filter(|_| out.len() <= end) else {
            out.push(if open.is_map { b'}' } else { b']' });
            stack.pop();
            continue;
        };
        if !std::mem::take(&mut open.is_first) {
            out.push(b',');
        }
        let mut value = element.bytes();
        if open.is_map {
            let (key, of_key) = key_value(value);
            write_json_text(&text(key), out);
            out.push(b':');
            value = of_key;
        }
        next = Some(value);
    }
}

/// Appends a value, or the begin of one with elements, which it returns.
fn begin<'a>(message: &'a [u8], depth: usize, out: &mut Vec<u8>) -> Option<Open<'a>> {
    match Fields::new(message).filter(is_value).last() {
        Some((1, value)) => write_json_text(&text(value.bytes()), out),
        Some((2, value)) if value.bits() != 0 => out.extend_from_slice(b"true"),
        Some((2, _)) => out.extend_from_slice(b"false"),
        Some((3, value)) => number::write_i64(out, value.bits() as i64),
        Some((4, value)) if value.double().is_finite() => number::write_f64(out, value.double()),
        Some((number @ (5 | 6), value)) if depth < MAX_DEPTH => {
            let is_map = number == 6;
            out.push(if is_map { b'{' } else { b'[' });
            return Some(Open {
                fields: Fields::new(value.bytes()),
                is_map,
                is_first: true,
            });
        }
        Some((7, value)) => {
            out.push(b'"');
            out.extend_from_slice(STANDARD.encode(value.bytes()).as_bytes());
            out.push(b'"');
        }
        _ => out.extend_from_slice(b"null"),
    }
    None
}

fn write_json_text(text: &str, out: &mut Vec<u8>) {
    // Writing to memory does not fail.
    let _ = serde_json::to_writer(out, text);
}

/// Returns bytes as hexadecimal text.
pub fn hex(bytes: &[u8]) -> String {
    let digit = |v: u8| char::from_digit(v.into(), 16).unwrap_or('0');
    let digits = bytes.iter().flat_map(|b| [digit(b >> 4), digit(b & 15)]);
    digits.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::otlp::json::to_protobuf;
    use crate::otlp::schema::{ANY_VALUE, RESOURCE};

    fn value(json: &str) -> String {
        let message = to_protobuf(&ANY_VALUE, json.as_bytes()).unwrap();
        any_value(&message).into_owned()
    }

    #[test]
    fn values_are_text() {
        for (json, text) in [
            (r#"{"stringValue":"a\"b"}"#, "a\"b"),
            (r#"{"boolValue":true}"#, "true"),
            (r#"{"boolValue":false}"#, "false"),
            (
                r#"{"intValue":"-9223372036854775808"}"#,
                "-9223372036854775808",
            ),
            (r#"{"intValue":8080}"#, "8080"),
            (r#"{"doubleValue":0.25}"#, "0.25"),
            (r#"{"doubleValue":"NaN"}"#, "NaN"),
            (r#"{"doubleValue":"-Infinity"}"#, "-Infinity"),
            (r#"{"bytesValue":"/wD-"}"#, ""),
            (r#"{"bytesValue":"_wD-"}"#, "/wD+"),
            (r#"{"bytesValue":"/wA="}"#, "/wA="),
            ("{}", ""),
            (
                r#"{"arrayValue":{"values":[{"stringValue":"a"},{},{"intValue":1},{"doubleValue":"NaN"}]}}"#,
                r#"["a",null,1,null]"#,
            ),
            (
                r#"{"kvlistValue":{"values":[{"key":"a","value":{"arrayValue":{}}},{"key":"b","value":{"bytesValue":"AA=="}}]}}"#,
                r#"{"a":[],"b":"AA=="}"#,
            ),
        ] {
            if text.is_empty() && json != "{}" {
                assert!(to_protobuf(&ANY_VALUE, json.as_bytes()).is_err());
            } else {
                assert_eq!(value(json), text, "{json}");
            }
        }
        assert_eq!(hex(&[0, 255, 16]), "00ff10");
    }

    #[test]
    fn deep_values_are_cut_off() {
        let json = "{\"arrayValue\":{\"values\":[".repeat(40) + &"]}}".repeat(40);
        let deep = to_protobuf(&ANY_VALUE, json.as_bytes()).unwrap();
        let expected = "[".repeat(MAX_DEPTH) + "null" + &"]".repeat(MAX_DEPTH);
        assert_eq!(any_value(&deep), expected);
    }

    #[test]
    fn long_values_are_cut_off() {
        let values = vec!["{\"stringValue\":\"ää\"}"; 50_000].join(",");
        let long = value(&format!("{{\"arrayValue\":{{\"values\":[{values}]}}}}"));
        assert!(long.len() <= MAX_RENDERED + 3 && long.ends_with('…'));
    }

    #[test]
    fn last_of_equal_names_counts() {
        let json = br#"{"attributes":[{"key":"a","value":{"intValue":1}},{"key":"b"},
            {"key":"a","value":{"boolValue":true}}]}"#;
        let resource = to_protobuf(&RESOURCE, json).unwrap();
        let attributes = Fields::new(&resource).map(|(_, v)| v.bytes());
        assert_eq!(json_object(attributes), r#"{"b":null,"a":true}"#);
    }
}
