//! Converts records from JSON to BSON documents. No I/O.
//!
//! # Invariants
//!
//! A field of a record has one type, whatever its value: times are dates, the numbers of a window are doubles except for
//! `count` and the parts of `hist`, and all other numbers are 64-bit integers. In `json` every number is exact as far as BSON allows: an integer
//! has 64 bits, a longer one (up to 34 digits) is a Decimal128, and a number with a fraction or an exponent is a double.
//! A number that fits none of these stays a string. Names are kept, with dots and dollars, which servers accept from 5.0
//! on; a NUL, which BSON does not allow in a name, becomes U+2400.

use std::borrow::Cow;

use mongodb::bson::{Bson, DateTime, Decimal128, Document, RawDocumentBuf, doc};
use serde_json::value::RawValue;

use aggregator_protocol::Queue;
use aggregator_protocol::percentile::percentage;

use crate::json::{Members, Text};

/// The time field of a time-series collection.
pub const TIME: &str = "start";
/// The meta field of a time-series collection.
pub const SERIES: &str = "series";

/// The fields of a record that identify its series.
const SERIES_FIELDS: [&str; 6] = ["node", "queue", "metric", "type", "window", "tags"];
/// The maximum number of digits of a Decimal128.
const MAX_DIGITS: usize = 34;

/// The reason for which a record has no document.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// The text is not a JSON object.
    #[error("not a JSON object: {0}")]
    NotAnObject(#[from] serde_json::Error),
    /// A field is missing or has another type.
    #[error("the record has no {0}")]
    Missing(&'static str),
    /// BSON cannot represent the document.
    #[error("cannot be encoded as BSON: {0}")]
    Encode(#[from] mongodb::bson::error::Error),
    /// The statement does not fit in a command.
    #[error("{0} bytes as BSON: MongoDB accepts 16 MiB")]
    TooLarge(usize),
}

/// A parsed record.
#[derive(Debug)]
pub struct Record {
    /// Its queue.
    pub queue: Queue,
    /// Its node.
    pub node: String,
    /// Its id in the queue.
    pub id: i64,
    /// The start of its window, for MIN and HOUR.
    pub start: Option<DateTime>,
    /// The `_id` of its document: `{node, queue, id}`, or `{node, key}` for an error or object.
    pub identity: Document,
    /// The fields, in the order of the record.
    fields: Document,
}

impl Record {
    /// Parses a record.
    ///
    /// # Errors
    ///
    /// Returns an error if the text is not a record.
    pub fn parse(text: &[u8]) -> Result<Record, DocumentError> {
        let members: Members = serde_json::from_slice(text)?;
        let word = members.0.iter().find(|(name, _)| name == "queue");
        let queue = word
            .and_then(|(_, raw)| Queue::from_name(raw.get().trim_matches('"').as_bytes()))
            .ok_or(DocumentError::Missing("queue"))?;
        let mut fields = Document::new();
        for (name, raw) in &members.0 {
            insert(&mut fields, name, field(queue, name, raw));
        }
        let text = |name| match fields.get(name) {
            Some(Bson::String(text)) => Ok(text.clone()),
            _ => Err(DocumentError::Missing(name)),
        };
        let id = match fields.get("id") {
            Some(Bson::Int64(id)) => *id,
            _ => return Err(DocumentError::Missing("id")),
        };
        let node = text("node")?;
        let identity = match queue {
            Queue::Error | Queue::Reality => doc! { "node": &node, "key": text("key")? },
            _ => doc! { "node": &node, "queue": queue.name(), "id": id },
        };
        let start = match fields.get(TIME) {
            Some(Bson::DateTime(start)) if Queue::NUMBERS.contains(&queue) => Some(*start),
            _ if Queue::NUMBERS.contains(&queue) => return Err(DocumentError::Missing(TIME)),
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

    /// Returns the document. For a time-series collection the fields of the series are in a document of their own.
    pub fn document(&self, series: bool) -> Result<RawDocumentBuf, DocumentError> {
        let mut document = doc! { "_id": &self.identity };
        let mut rest = self.fields.clone();
        if series {
            let mut fields = Document::new();
            for name in SERIES_FIELDS {
                if let Some(value) = rest.remove(name) {
                    fields.insert(name, value);
                }
            }
            rest.remove("id");
            document.insert(SERIES, fields);
        }
        document.extend(rest);
        Ok(RawDocumentBuf::try_from(&document)?)
    }
}

/// Converts a field of a record, by its name.
fn field(queue: Queue, name: &str, raw: &RawValue) -> Bson {
    let numbers = Queue::NUMBERS.contains(&queue);
    let text = raw.get();
    let date = || text.parse().ok().map(DateTime::from_millis);
    let typed = match name {
        "start" | "end" if numbers => date().map(Bson::DateTime),
        "sum" | "avg" | "min" | "max" | "last" if numbers => text.parse().ok().map(Bson::Double),
        name if numbers && percentage(name).is_some() => text.parse().ok().map(Bson::Double),
        "first" | "last" if queue == Queue::Error => date().map(Bson::DateTime),
        "epoch" => date().map(Bson::DateTime),
        _ => None,
    };
    typed.unwrap_or_else(|| value(raw))
}

/// Converts any JSON. Parses level by level, so that numbers are seen as they were written.
fn value(raw: &RawValue) -> Bson {
    let text = raw.get();
    // The text was parsed as JSON before, so each of these succeeds.
    let read = match text.as_bytes().first() {
        Some(b'{') => serde_json::from_str(text).map(|Members(members)| {
            let mut document = Document::new();
            for (name, raw) in &members {
                insert(&mut document, name, value(raw));
            }
            Bson::Document(document)
        }),
        Some(b'[') => serde_json::from_str(text)
            .map(|items: Vec<&RawValue>| items.into_iter().map(value).collect()),
        Some(b'"') => serde_json::from_str(text).map(|Text(text)| Bson::String(text.into_owned())),
        Some(b't') => Ok(Bson::Boolean(true)),
        Some(b'f') => Ok(Bson::Boolean(false)),
        Some(b'n') => Ok(Bson::Null),
        _ => Ok(number(text)),
    };
    read.unwrap_or_else(|_| Bson::String(text.to_owned()))
}

fn number(text: &str) -> Bson {
    let is_integer = !text.contains(['.', 'e', 'E']);
    let decimal = || text.parse::<Decimal128>().ok().map(Bson::Decimal128);
    let double = || {
        let double: Option<f64> = text.parse().ok();
        double.filter(|double| double.is_finite()).map(Bson::Double)
    };
    let number = match text.parse() {
        Ok(integer) if is_integer => Some(Bson::Int64(integer)),
        _ if is_integer && text.trim_start_matches('-').len() <= MAX_DIGITS => decimal(),
        _ => double().or_else(decimal),
    };
    number.unwrap_or_else(|| Bson::String(text.to_owned()))
}

/// Inserts a value under a valid and unused name.
fn insert(document: &mut Document, name: &str, value: Bson) {
    let mut name = match name.contains('\0') {
        true => Cow::Owned(name.replace('\0', "\u{2400}")),
        false => Cow::Borrowed(name),
    };
    while document.contains_key(&*name) {
        name = Cow::Owned(format!("{name}_"));
    }
    document.insert(name, value);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Document {
        let record = Record::parse(text.as_bytes()).unwrap();
        Document::try_from(&*record.document(false).unwrap()).unwrap()
    }

    const MIN: &str = r#"{"node":"n","queue":"MIN","id":7,"metric":"m","type":"ABS","window":300,"start":300000,"end":600000,"count":2,"sum":3,"avg":1.5,"min":1,"max":2,"last":2,"tags":{"a.b":"x","w":true}}"#;

    #[test]
    fn window_has_dates_and_doubles_whatever_its_values() {
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
    fn percentiles_are_doubles_and_a_histogram_consists_of_integers() {
        let hist = r#""p50":1,"p99_9":2,"hist":{"scale":-4,"zero":1,"pos":[-7,[1,2]],"neg":[0,[]]},"tags""#;
        let mut got = read(&MIN.replace("\"tags\"", hist));
        assert_eq!(
            (got.remove("p50"), got.remove("p99_9")),
            (Some(1.0.into()), Some(2.0.into()))
        );
        let expected = doc! {
            "scale": -4_i64, "zero": 1_i64, "pos": [-7_i64, [1_i64, 2_i64]], "neg": [0_i64, []],
        };
        assert_eq!(got.remove("hist"), Some(expected.into()));
        assert_eq!(got, read(MIN));
        // A log entry has no percentiles.
        let log = read(r#"{"node":"n","queue":"LOG","id":5,"p50":1}"#);
        assert_eq!(log.get("p50"), Some(&Bson::Int64(1)));
    }

    #[test]
    fn time_series_has_its_identifying_fields_apart() {
        let record = Record::parse(MIN.as_bytes()).unwrap();
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
    fn logs_and_states_have_an_id_that_identifies_them() {
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
    fn numbers_are_exact_as_far_as_bson_allows() {
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
    fn invalid_names_and_strings_are_replaced() {
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
    fn deepest_nesting_is_parsed() {
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
    fn text_that_is_not_a_record_is_rejected() {
        for (text, expected) in [
            ("x", "not a JSON object: "),
            ("[]", "not a JSON object: "),
            ("{}", "the record has no queue"),
            (r#"{"queue":"LOG"}"#, "the record has no id"),
            (r#"{"queue":"LOG","id":1}"#, "the record has no node"),
            (
                r#"{"queue":"ERROR","id":1,"node":"n"}"#,
                "the record has no key",
            ),
            (
                r#"{"queue":"MIN","id":1,"node":"n"}"#,
                "the record has no start",
            ),
        ] {
            let error = Record::parse(text.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{text}: {error}");
        }
    }
}
