//! Records as documents: what JSON cannot say is put into BSON's types. Pure.
//!
//! What holds: a field of the record has one type, whatever its value: times are dates, the numbers of a window are
//! doubles but for `count`, what else is a number is a 64-bit integer. In `json` every number is exact where BSON can
//! be so: an integer is of 64 bits, a longer one (to 34 digits) a Decimal128, what has a fraction or an exponent a
//! double; what not even that holds stays the text that it was. Names are kept as they are, with dots and dollars,
//! which servers take from 5.0 on; a NUL, which BSON has no room for in a name, becomes U+2400.

use std::borrow::Cow;
use std::fmt;

use mongodb::bson::{Bson, DateTime, Decimal128, Document, RawDocumentBuf, doc};
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

use aggregator_protocol::Queue;

/// The field of a time-series collection that says when.
pub const TIME: &str = "start";
/// The field of a time-series collection that says of what.
pub const SERIES: &str = "series";

/// What of a record says of what it is, in a time-series collection.
const OF_SERIES: [&str; 6] = ["node", "queue", "metric", "type", "window", "tags"];
/// The most digits of a Decimal128.
const DIGITS: usize = 34;

/// A record, read.
#[derive(Debug)]
pub struct Record {
    /// Its queue.
    pub queue: Queue,
    /// Of this node.
    pub node: String,
    /// Its id in the queue.
    pub id: i64,
    /// Where its window starts; of MIN and HOUR alone.
    pub start: Option<DateTime>,
    /// What tells its document from others: `{node, queue, id}`, of a state `{node, key}`.
    pub identity: Document,
    /// The fields in the record's order.
    fields: Document,
}

impl Record {
    /// Reads the text of a record.
    ///
    /// Returns an error if it is none.
    pub fn read(text: &[u8]) -> Result<Record, String> {
        let members: Members =
            serde_json::from_slice(text).map_err(|error| format!("no JSON object: {error}"))?;
        let word = members.0.iter().find(|(name, _)| name == "queue");
        let queue = word
            .and_then(|(_, raw)| Queue::from_name(raw.get().trim_matches('"').as_bytes()))
            .ok_or("no queue in the record")?;
        let mut fields = Document::new();
        for (name, raw) in &members.0 {
            put(&mut fields, name, field(queue, name, raw));
        }
        let text = |name: &str| match fields.get(name) {
            Some(Bson::String(text)) => Ok(text.clone()),
            _ => Err(format!("no {name} in the record")),
        };
        let id = match fields.get("id") {
            Some(Bson::Int64(id)) => *id,
            _ => return Err("no id in the record".into()),
        };
        let node = text("node")?;
        let identity = match queue {
            Queue::Error | Queue::Reality => doc! { "node": &node, "key": text("key")? },
            _ => doc! { "node": &node, "queue": queue.name(), "id": id },
        };
        let start = match fields.get(TIME) {
            Some(Bson::DateTime(start)) if Queue::NUMBERS.contains(&queue) => Some(*start),
            _ if Queue::NUMBERS.contains(&queue) => return Err("no start in the record".into()),
            _ => None,
        };
        Ok(Record {
            queue,
            node,
            id,
            start,
            identity,
            fields,
        })
    }

    /// Its document; for a time-series collection what says of what it is stands in a field of its own.
    pub fn document(&self, series: bool) -> Result<RawDocumentBuf, String> {
        let mut document = doc! { "_id": &self.identity };
        let mut rest = self.fields.clone();
        if series {
            let mut of = Document::new();
            for name in OF_SERIES {
                if let Some(value) = rest.remove(name) {
                    of.insert(name, value);
                }
            }
            rest.remove("id");
            document.insert(SERIES, of);
        }
        document.extend(rest);
        RawDocumentBuf::try_from(&document).map_err(|error| format!("no BSON: {error}"))
    }
}

/// A field of a record, by its name.
fn field(queue: Queue, name: &str, raw: &RawValue) -> Bson {
    let numbers = Queue::NUMBERS.contains(&queue);
    let text = raw.get();
    let date = || text.parse().ok().map(DateTime::from_millis);
    let typed = match name {
        "start" | "end" if numbers => date().map(Bson::DateTime),
        "sum" | "avg" | "min" | "max" | "last" if numbers => text.parse().ok().map(Bson::Double),
        "first" | "last" if queue == Queue::Error => date().map(Bson::DateTime),
        "epoch" => date().map(Bson::DateTime),
        _ => None,
    };
    typed.unwrap_or_else(|| value(raw))
}

/// Any JSON. Goes down level by level, so that numbers are seen as they were written.
fn value(raw: &RawValue) -> Bson {
    let text = raw.get();
    // It was read as JSON before, so each of these succeeds; what did not would stay the text that it was.
    let read = match text.as_bytes().first() {
        Some(b'{') => serde_json::from_str(text).map(|Members(members)| {
            let mut document = Document::new();
            for (name, raw) in &members {
                put(&mut document, name, value(raw));
            }
            Bson::Document(document)
        }),
        Some(b'[') => serde_json::from_str(text)
            .map(|items: Vec<&RawValue>| items.into_iter().map(value).collect()),
        Some(b'"') => serde_json::from_str(text).map(|Text(text)| Bson::String(text)),
        Some(b't') => Ok(Bson::Boolean(true)),
        Some(b'f') => Ok(Bson::Boolean(false)),
        Some(b'n') => Ok(Bson::Null),
        _ => Ok(number(text)),
    };
    read.unwrap_or_else(|_| Bson::String(text.to_owned()))
}

fn number(text: &str) -> Bson {
    let whole = !text.contains(['.', 'e', 'E']);
    let decimal = || text.parse::<Decimal128>().ok().map(Bson::Decimal128);
    let double = || {
        let double: Option<f64> = text.parse().ok();
        double.filter(|double| double.is_finite()).map(Bson::Double)
    };
    let number = match text.parse() {
        Ok(integer) if whole => Some(Bson::Int64(integer)),
        _ if whole && text.trim_start_matches('-').len() <= DIGITS => decimal(),
        _ => double().or_else(decimal),
    };
    number.unwrap_or_else(|| Bson::String(text.to_owned()))
}

/// Puts a value in under a name that BSON can hold and that nothing else has.
fn put(document: &mut Document, name: &str, value: Bson) {
    let mut name = match name.contains('\0') {
        true => Cow::Owned(name.replace('\0', "\u{2400}")),
        false => Cow::Borrowed(name),
    };
    while document.contains_key(&*name) {
        name = Cow::Owned(format!("{name}_"));
    }
    document.insert(name, value);
}

/// The members of an object, their values as they were written.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some((Text(name), value)) = map.next_entry()? {
                    members.push((name, value));
                }
                Ok(Members(members))
            }
        }
        from.deserialize_map(Object)
    }
}

/// A string. Half of a surrogate pair, which JSON can write and no text can hold, becomes U+FFFD.
struct Text(String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Text;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Text, E> {
                Ok(Text(text.to_owned()))
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Text, E> {
                Ok(Text(String::from_utf8_lossy(bytes).into_owned()))
            }
        }
        from.deserialize_bytes(Bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Document {
        let record = Record::read(text.as_bytes()).unwrap();
        Document::try_from(&*record.document(false).unwrap()).unwrap()
    }

    const MIN: &str = r#"{"node":"n","queue":"MIN","id":7,"metric":"m","type":"ABS","window":300,"start":300000,"end":600000,"count":2,"sum":3,"avg":1.5,"min":1,"max":2,"last":2,"tags":{"a.b":"x","w":true}}"#;

    #[test]
    fn a_window_has_dates_and_doubles_whatever_the_values() {
        let expected = doc! {
            "_id": { "node": "n", "queue": "MIN", "id": 7_i64 },
            "node": "n", "queue": "MIN", "id": 7_i64, "metric": "m", "type": "ABS",
            "window": 300_i64,
            "start": DateTime::from_millis(300_000), "end": DateTime::from_millis(600_000),
            "count": 2_i64, "sum": 3.0, "avg": 1.5, "min": 1.0, "max": 2.0, "last": 2.0,
            "tags": { "a.b": "x", "w": true },
        };
        assert_eq!(read(MIN), expected);
    }

    #[test]
    fn in_a_time_series_what_says_of_what_it_is_stands_apart() {
        let record = Record::read(MIN.as_bytes()).unwrap();
        let document = Document::try_from(&*record.document(true).unwrap()).unwrap();
        let expected = doc! {
            "_id": { "node": "n", "queue": "MIN", "id": 7_i64 },
            "series": {
                "node": "n", "queue": "MIN", "metric": "m", "type": "ABS", "window": 300_i64,
                "tags": { "a.b": "x", "w": true },
            },
            "start": DateTime::from_millis(300_000), "end": DateTime::from_millis(600_000),
            "count": 2_i64, "sum": 3.0, "avg": 1.5, "min": 1.0, "max": 2.0, "last": 2.0,
        };
        assert_eq!(document, expected);
    }

    #[test]
    fn logs_and_states_are_known_by_what_identifies_them() {
        let log = read(
            r#"{"node":"n","queue":"LOG","id":5,"message":"a\nb","level":5,"tags":{},"epoch":1000}"#,
        );
        let identity = doc! { "node": "n", "queue": "LOG", "id": 5_i64 };
        assert_eq!(log.get_document("_id").ok(), Some(&identity));
        assert_eq!(log.get("epoch"), Some(&DateTime::from_millis(1000).into()));
        assert_eq!(log.get_str("message").ok(), Some("a\nb"));
        let error = read(
            r#"{"node":"n","queue":"ERROR","id":6,"key":"k","occurrences":3,"first":1000,"last":2000}"#,
        );
        assert_eq!(
            error,
            doc! {
                "_id": { "node": "n", "key": "k" }, "node": "n", "queue": "ERROR", "id": 6_i64,
                "key": "k", "occurrences": 3_i64, "first": DateTime::from_millis(1000),
                "last": DateTime::from_millis(2000),
            }
        );
    }

    fn object(json: &str) -> Bson {
        let head = r#"{"node":"n","queue":"REALITY","id":6,"key":"k","json":"#;
        read(&format!("{head}{json}}}")).remove("json").unwrap()
    }

    #[test]
    fn numbers_are_exact_where_bson_can_be() {
        let decimal = |text: &str| Bson::Decimal128(text.parse().unwrap());
        for (json, expected) in [
            ("9223372036854775807", Bson::Int64(i64::MAX)),
            ("-9223372036854775808", Bson::Int64(i64::MIN)),
            ("18446744073709551615", decimal("18446744073709551615")),
            (&"9".repeat(34), decimal(&"9".repeat(34))),
            (&"9".repeat(40), Bson::Double(1e40)),
            ("1.50", Bson::Double(1.5)),
            ("1e3", Bson::Double(1000.0)),
            ("1e999", decimal("1e999")),
            ("1e99999", Bson::String("1e99999".into())),
        ] {
            assert_eq!(object(json), expected, "{json}");
        }
    }

    #[test]
    fn names_and_texts_that_bson_or_unicode_cannot_hold() {
        let got = object(
            r#"{"a.b":1,"$c":[{"":null}],"x\u0000":true,"x\u2400":false,"s":"\u0000\ud800"}"#,
        );
        let expected = doc! {
            "a.b": 1_i64, "$c": [{ "": Bson::Null }], "x\u{2400}": true, "x\u{2400}_": false,
            "s": "\0\u{fffd}\u{fffd}\u{fffd}",
        };
        assert_eq!(got, Bson::Document(expected));
    }

    #[test]
    fn what_is_nested_as_deep_as_can_be_is_read() {
        let json = format!("{}1{}", "{\"a\":[".repeat(64), "]}".repeat(64));
        let mut inner = object(&json);
        for _ in 0..64 {
            let Bson::Document(mut document) = inner else {
                panic!()
            };
            let Some(Bson::Array(mut items)) = document.remove("a") else {
                panic!()
            };
            inner = items.remove(0);
        }
        assert_eq!(inner, Bson::Int64(1));
    }

    #[test]
    fn what_is_no_record_is_refused() {
        for (text, why) in [
            ("x", "no JSON object: "),
            ("[]", "no JSON object: "),
            ("{}", "no queue in the record"),
            (r#"{"queue":"LOG"}"#, "no id in the record"),
            (r#"{"queue":"LOG","id":1}"#, "no node in the record"),
            (
                r#"{"queue":"ERROR","id":1,"node":"n"}"#,
                "no key in the record",
            ),
            (
                r#"{"queue":"MIN","id":1,"node":"n"}"#,
                "no start in the record",
            ),
        ] {
            let told = Record::read(text.as_bytes()).unwrap_err();
            assert!(told.starts_with(why), "{text}: {told}");
        }
    }
}
