//! Windows, encoded and read again.

use std::collections::BTreeMap;

use crate::protobuf::{Value, find, next};
use crate::record::{Content, Record};

use super::*;

const MIN: &str = r#"{"node":"n","queue":"MIN","id":7,"metric":"disk.ms@sda","type":"ABS","window":300,"start":300000,
    "end":600000,"count":4,"sum":6,"avg":1.5,"min":-1,"max":2e3,"last":2,"p50":1.5,"p99_9":2,
    "hist":{"scale":5,"zero":1,"pos":[-7,[1,2]],"neg":[0,[]]},"tags":{"instance":"x","unit":"ms","w":true}}"#;

/// A metric as a receiver reads it.
#[derive(Debug, PartialEq)]
struct Metric {
    unit: String,
    kind: u64,
    /// The temporality, and whether it is monotonic.
    sum: (u64, u64),
    point: Vec<u8>,
}

fn encoded(text: &str) -> Result<Vec<u8>, String> {
    match Record::parse(text.as_bytes()).unwrap().content {
        Content::Window(window) => encode(&window),
        other => panic!("{other:?}"),
    }
}

fn bytes(message: &[u8], field: u64) -> Vec<u8> {
    match find(message, field) {
        Some(Value::Bytes(bytes)) => bytes.to_vec(),
        other => panic!("{field}: {other:?}"),
    }
}

fn integer(message: &[u8], field: u64) -> u64 {
    match find(message, field) {
        Some(Value::Integer(value) | Value::Fixed(value)) => value,
        None => 0,
        other => panic!("{field}: {other:?}"),
    }
}

fn metrics(text: &str) -> BTreeMap<String, Metric> {
    let encoded = encoded(text).unwrap();
    let (mut rest, mut all) = (&encoded[..], BTreeMap::new());
    while let Some((CONTENT, Value::Bytes(metric), after)) = next(rest) {
        let name = String::from_utf8(bytes(metric, NAME)).unwrap();
        let unit = match find(metric, UNIT_FIELD) {
            Some(Value::Bytes(unit)) => String::from_utf8(unit.to_vec()).unwrap(),
            _ => String::new(),
        };
        let kinds = [GAUGE, SUM, EXPONENTIAL_HISTOGRAM];
        let kind = kinds.into_iter().find(|kind| find(metric, *kind).is_some());
        let data = bytes(metric, kind.unwrap());
        let metric = Metric {
            unit,
            kind: kind.unwrap(),
            sum: (integer(&data, TEMPORALITY), integer(&data, IS_MONOTONIC)),
            point: bytes(&data, POINTS),
        };
        assert!(all.insert(name, metric).is_none());
        rest = after;
    }
    assert!(rest.is_empty());
    all
}

fn attributes(point: &[u8], field: u64) -> Vec<(String, String)> {
    let (mut rest, mut found) = (point, Vec::new());
    while let Some((number, value, after)) = next(rest) {
        if let (true, Value::Bytes(pair)) = (number == field, value) {
            let text = |bytes| String::from_utf8(bytes).unwrap();
            let value = bytes(&bytes(pair, 2), 1);
            found.push((text(bytes(pair, 1)), text(value)));
        }
        rest = after;
    }
    found
}

#[test]
fn window_has_gauges_sums_and_a_histogram() {
    let all = metrics(MIN);
    let names: Vec<&str> = all.keys().map(String::as_str).collect();
    let expected = [
        "disk.ms.avg",
        "disk.ms.count",
        "disk.ms.hist",
        "disk.ms.last",
        "disk.ms.max",
        "disk.ms.min",
        "disk.ms.p50",
        "disk.ms.p99_9",
        "disk.ms.sum",
    ];
    assert_eq!(names, expected);
    for (name, value) in [
        ("avg", 1.5),
        ("min", -1.0),
        ("max", 2000.0),
        ("last", 2.0),
        ("p50", 1.5),
        ("p99_9", 2.0),
    ] {
        let metric = &all[&format!("disk.ms.{name}")];
        assert_eq!((metric.kind, &*metric.unit), (GAUGE, "ms"));
        assert_eq!(f64::from_bits(integer(&metric.point, 4)), value, "{name}");
        assert_eq!(integer(&metric.point, START), 300_000_000_000);
        assert_eq!(integer(&metric.point, TIME), 600_000_000_000);
        let expected = [
            ("instance", "sda"),
            ("window", "300s"),
            ("tag.instance", "x"),
            ("w", "true"),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(attributes(&metric.point, ATTRIBUTES), expected);
    }
    let sum = &all["disk.ms.sum"];
    assert_eq!((sum.kind, &*sum.unit, sum.sum), (SUM, "ms", (DELTA, 0)));
    assert_eq!(f64::from_bits(integer(&sum.point, 4)), 6.0);
    let count = &all["disk.ms.count"];
    assert_eq!(
        (count.kind, &*count.unit, count.sum),
        (SUM, "{sample}", (DELTA, 1))
    );
    assert_eq!(integer(&count.point, 6), 4);
}

#[test]
fn histogram_keeps_its_buckets() {
    let all = metrics(MIN);
    let metric = &all["disk.ms.hist"];
    assert_eq!((metric.kind, metric.sum.0), (EXPONENTIAL_HISTOGRAM, DELTA));
    let point = &metric.point;
    assert_eq!(attributes(point, ATTRIBUTES_OF_HISTOGRAM).len(), 4);
    assert_eq!((integer(point, 4), integer(point, 7)), (4, 1));
    assert_eq!(f64::from_bits(integer(point, 5)), 6.0);
    assert_eq!(integer(point, 6), protobuf::zigzag(5));
    let positive = bytes(point, 8);
    assert_eq!(integer(&positive, 1), protobuf::zigzag(-7));
    assert_eq!(bytes(&positive, 2), [1, 2]);
    assert_eq!(find(point, 9), None);
    assert_eq!(f64::from_bits(integer(point, 12)), -1.0);
    assert_eq!(f64::from_bits(integer(point, 13)), 2000.0);
}

#[test]
fn values_of_counters_are_rates() {
    for (kind, is_monotonic) in [("DIFF", 1), ("INC", 0)] {
        let all = metrics(&MIN.replace("ABS", kind).replace("\"ms\"", "\"By\""));
        assert_eq!(all["disk.ms.avg"].unit, "By/s");
        let sum = &all["disk.ms.sum"];
        assert_eq!((&*sum.unit, sum.sum), ("By", (DELTA, is_monotonic)));
        // The sum of the rates is unknown.
        assert_eq!(find(&all["disk.ms.hist"].point, 5), None);
    }
}

#[test]
fn what_otlp_lacks_is_an_error() {
    for (from, to, expected) in [
        (
            "\"start\":300000",
            "\"start\":-1",
            "OTLP has no time of -1 ms since 1970",
        ),
        (
            "\"count\":4",
            "\"count\":18446744073709551615",
            "the count is too large",
        ),
        (
            "\"zero\":1",
            "\"zero\":18446744073709551615",
            "the counts of the histogram are too large",
        ),
    ] {
        assert_eq!(encoded(&MIN.replace(from, to)), Err(expected.to_owned()));
    }
}
