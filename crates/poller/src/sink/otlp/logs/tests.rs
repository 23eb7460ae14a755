//! Log entries, errors and objects, encoded and read again.

use crate::protobuf::{Value, find, next};
use crate::record::Content;

use super::*;

const LOG: &str = r#"{"node":"n","queue":"LOG","id":1700000000123456,"message":"a\n\u0000b","level":5,
    "severity":"WARNING","tags":{"a.b":"1","aggregator.id":"x"},"epoch":1700000000123}"#;
const ERROR: &str = r#"{"node":"n1","queue":"ERROR","id":1700000000123456,"key":"k","message":"broken","public":"",
    "level":7,"severity":"ERROR","type":"T","tags":{},"code":"c7","func":"f","file":"x.c","backtrace":"b","gid":-1,
    "nid":2,"occurrences":3,"first":4,"last":1700000000123}"#;
const OBJECT: &str = r#"{"node":"n1","queue":"REALITY","id":1700000000123456,"key":"sda","model":"system.Disk",
    "json":{"x":[1.50]},"tags":{"z":true},"epoch":9,"gone":true}"#;

fn log(text: &str) -> Vec<u8> {
    let record = Record::parse(text.as_bytes()).unwrap();
    let encoded = match &record.content {
        Content::Log(of_entry) => entry(&record, of_entry),
        Content::Error(of_error) => error(&record, of_error),
        Content::Object(of_object) => object(&record, of_object),
        Content::Window(_) => panic!("{text}"),
    };
    let encoded = encoded.unwrap();
    let Some((CONTENT, Value::Bytes(log), rest)) = next(&encoded) else {
        panic!()
    };
    assert!(rest.is_empty());
    log.to_vec()
}

fn bytes(message: &[u8], field: u64) -> &[u8] {
    match find(message, field) {
        Some(Value::Bytes(bytes)) => bytes,
        other => panic!("{field}: {other:?}"),
    }
}

/// Returns the attributes. An integer has its digits.
fn attributes(log: &[u8]) -> Vec<(String, String)> {
    let (mut rest, mut found) = (log, Vec::new());
    while let Some((number, value, after)) = next(rest) {
        if let (ATTRIBUTES, Value::Bytes(pair)) = (number, value) {
            let any = bytes(pair, 2);
            let value = match next(any) {
                Some((1, Value::Bytes(text), _)) => String::from_utf8(text.to_vec()).unwrap(),
                Some((3, Value::Integer(number), _)) => (number as i64).to_string(),
                other => panic!("{other:?}"),
            };
            found.push((String::from_utf8(bytes(pair, 1).to_vec()).unwrap(), value));
        }
        rest = after;
    }
    found
}

fn pairs<const N: usize>(pairs: [(&str, &str); N]) -> Vec<(String, String)> {
    let pairs = pairs.into_iter();
    pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

#[test]
fn log_entry_has_its_time_severity_and_identity() {
    let log = log(LOG);
    assert_eq!(
        find(&log, TIME),
        Some(Value::Fixed(1_700_000_000_123_000_000))
    );
    assert_eq!(
        find(&log, OBSERVED),
        Some(Value::Fixed(1_700_000_000_123_000_000))
    );
    assert_eq!(find(&log, SEVERITY_NUMBER), Some(Value::Integer(13)));
    assert_eq!(bytes(&log, SEVERITY_TEXT), b"WARNING");
    assert_eq!(bytes(bytes(&log, BODY), 1), b"a\n\0b");
    assert_eq!(find(&log, EVENT_NAME), None);
    let expected = pairs([
        ("aggregator.queue", "LOG"),
        ("aggregator.id", "1700000000123456"),
        ("a.b", "1"),
        ("tag.aggregator.id", "x"),
    ]);
    assert_eq!(attributes(&log), expected);
}

#[test]
fn error_has_its_occurrences() {
    let log = log(ERROR);
    assert_eq!(bytes(&log, EVENT_NAME), b"aggregator.error");
    assert_eq!(find(&log, SEVERITY_NUMBER), Some(Value::Integer(17)));
    let expected = pairs([
        ("aggregator.queue", "ERROR"),
        ("aggregator.id", "1700000000123456"),
        ("aggregator.key", "k"),
        ("exception.type", "T"),
        ("aggregator.code", "c7"),
        ("code.function.name", "f"),
        ("code.file.path", "x.c"),
        ("exception.stacktrace", "b"),
        ("aggregator.gid", "-1"),
        ("aggregator.nid", "2"),
        ("aggregator.occurrences", "3"),
        ("aggregator.first", "4"),
    ]);
    assert_eq!(attributes(&log), expected);
}

#[test]
fn object_is_its_json() {
    let log = log(OBJECT);
    assert_eq!(bytes(&log, EVENT_NAME), b"aggregator.object");
    assert_eq!(bytes(bytes(&log, BODY), 1), br#"{"x":[1.50]}"#);
    let expected = pairs([
        ("aggregator.queue", "REALITY"),
        ("aggregator.id", "1700000000123456"),
        ("aggregator.key", "sda"),
        ("aggregator.model", "system.Disk"),
        ("aggregator.gone", "true"),
        ("z", "true"),
    ]);
    assert_eq!(attributes(&log), expected);
}

#[test]
fn severities_rise_with_levels() {
    let numbers: Vec<u64> = (0..=level::MAX).map(severity_number).collect();
    assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
    assert_eq!(numbers[usize::from(level::MAX)], 21);
}
