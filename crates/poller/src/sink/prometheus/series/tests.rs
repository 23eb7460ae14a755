use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;
use crate::protobuf::tests::{Value, read};

/// A series as a server reads it.
#[derive(Debug)]
struct Read {
    labels: Vec<(String, String)>,
    value: Option<f64>,
    timestamp: i64,
}

const FORMAT: Format = Format {
    timestamp: Timestamp::End,
    native_histograms: true,
};

fn window() -> Json {
    json!({
        "node": "n1", "queue": "MIN", "id": 7, "metric": "page.time@shop", "type": "ABS", "window": 300,
        "start": 300_000, "end": 600_000, "count": 4, "sum": 10.0, "avg": 2.5, "min": 1.0, "max": 4.0, "last": 3.0,
        "tags": {"unit": "s", "rack": "a1", "Zone": "z", "empty": ""},
    })
}

fn text(bytes: &Value) -> String {
    match bytes {
        Value::Bytes(bytes) => String::from_utf8(bytes.clone()).unwrap(),
        other => panic!("{other:?}"),
    }
}

fn read_series(part: &[u8]) -> Vec<Read> {
    let series = read(part).into_iter().map(|(field, series)| {
        let Value::Bytes(series) = series else {
            panic!("{series:?}")
        };
        assert_eq!(field, SERIES);
        let (mut labels, mut value, mut timestamp) = (Vec::new(), None, 0);
        for (field, part) in read(&series) {
            let Value::Bytes(part) = part else {
                panic!("{part:?}")
            };
            match (field, &read(&part)[..]) {
                (LABEL, [(1, name), (2, value)]) => labels.push((text(name), text(value))),
                (SAMPLE, [(1, Value::Double(number)), (2, Value::Integer(time))]) => {
                    (value, timestamp) = (Some(*number), *time as i64);
                }
                (HISTOGRAM, [.., (15, Value::Integer(time))]) => timestamp = *time as i64,
                (field, part) => panic!("{field}: {part:?}"),
            }
        }
        Read {
            labels,
            value,
            timestamp,
        }
    });
    series.collect()
}

fn try_encode(record: &Json, format: Format) -> Result<Parts, String> {
    encode(
        &Record::parse(record.to_string().as_bytes()).unwrap(),
        format,
    )
}

fn encoded(record: &Json, format: Format) -> Parts {
    try_encode(record, format).unwrap()
}

/// Returns the series as text.
fn shown(series: &Read) -> String {
    let labels = series
        .labels
        .iter()
        .map(|(name, value)| format!("{name}={value}"));
    labels.collect::<Vec<_>>().join(" ")
}

#[test]
fn window_becomes_a_series_per_value() {
    let mut record = window();
    record["p50"] = json!(2.0);
    record["p99_9"] = json!(4.0);
    record["hist"] = json!({"scale": 5, "zero": 0, "pos": [0, [4]], "neg": [0, []]});
    let encoded = encoded(&record, FORMAT);
    let series = read_series(&encoded.values);
    let values: Vec<_> = series.iter().map(|series| series.value.unwrap()).collect();
    assert_eq!(values, [2.5, 1.0, 4.0, 3.0, 10.0, 4.0, 2.0, 4.0]);
    assert!(series.iter().all(|series| series.timestamp == 599_999));
    let rest = "instance=shop node=n1 rack=a1 unit=s window=300s";
    let names: Vec<_> = series.iter().map(shown).collect();
    for (name, suffix) in names
        .iter()
        .zip(["avg", "min", "max", "last", "sum", "count"])
    {
        assert_eq!(
            *name,
            format!("Zone=z __name__=page_time_seconds_{suffix} {rest}")
        );
    }
    let rest = "quantile=0.5 rack=a1 unit=s window=300s";
    assert_eq!(
        names[6],
        format!("Zone=z __name__=page_time_seconds instance=shop node=n1 {rest}")
    );
    let histogram = read_series(&encoded.histogram.unwrap());
    assert_eq!(histogram.len(), 1);
    assert!(shown(&histogram[0]).contains("__name__=page_time_seconds_hist "));
    assert_eq!(histogram[0].timestamp, 599_999);
}

#[test]
fn name_of_a_counter_loses_its_suffix() {
    let mut record = window();
    record["metric"] = "requests_total".into();
    for (kind, stem) in [
        ("ABS", "requests_total"),
        ("DIFF", "requests"),
        ("INC", "requests"),
    ] {
        record["type"] = kind.into();
        let series = read_series(&encoded(&record, FORMAT).values);
        let name = format!(" __name__={stem}_seconds_avg ");
        assert!(shown(&series[0]).contains(&name), "{kind}");
    }
}

#[test]
fn settings_choose_the_time_and_the_histogram() {
    let mut record = window();
    record["hist"] = json!({"scale": 5, "zero": 0, "pos": [0, [4]], "neg": [0, []]});
    let format = Format {
        timestamp: Timestamp::Start,
        native_histograms: false,
    };
    let encoded = encoded(&record, format);
    assert!(encoded.histogram.is_none());
    let series = read_series(&encoded.values);
    assert!(series.iter().all(|series| series.timestamp == 300_000));
}

#[test]
fn histogram_of_rates_has_no_sum() {
    for (kind, expected) in [
        ("ABS", Some(10.0)),
        ("ADD", Some(10.0)),
        ("DIFF", None),
        ("INC", None),
    ] {
        let mut record = window();
        record["type"] = kind.into();
        let record = record.to_string();
        let record = Record::parse(record.as_bytes()).unwrap();
        let Content::Window(window) = record.content else {
            panic!()
        };
        let sum = sum_of_values(&window);
        assert_eq!((!sum.is_nan()).then_some(sum), expected, "{kind}");
    }
}

#[test]
fn record_that_is_no_window_is_an_error() {
    let log = json!({
        "node": "n", "queue": "LOG", "id": 1, "message": "x", "level": 3, "severity": "INFO", "tags": {}, "epoch": 1,
    });
    let error = try_encode(&log, FORMAT).unwrap_err();
    assert!(error.starts_with("not a window"), "{error}");
    let mut record = window();
    record["hist"] = json!({"scale": -9, "zero": 0, "pos": [0, [4]], "neg": [0, []]});
    let error = try_encode(&record, FORMAT).unwrap_err();
    assert!(error.contains("scale -9"), "{error}");
}

#[test]
fn quantile_is_the_exact_hundredth_of_a_percentile() {
    for (field, expected) in [
        ("p50", "0.5"),
        ("p99", "0.99"),
        ("p99_9", "0.999"),
        ("p5", "0.05"),
        ("p100", "1"),
        ("p0_1", "0.001"),
        ("p99_90", "0.999"),
        ("p7_25", "0.0725"),
    ] {
        assert_eq!(quantile(field), expected, "{field}");
    }
}

/// Names and tags that are likely to collide with suffixes, labels and each other.
fn metric() -> impl Strategy<Value = (String, BTreeMap<String, String>)> {
    let part = prop::sample::select(vec![
        "a", "x", ".", "_", "@", "avg", "count", "sum", "total", "hist", "seconds", "bytes", "1",
        "é", ":",
    ]);
    let name = prop::collection::vec(part, 1..6).prop_map(|parts| parts.concat());
    let tag = prop::sample::select(vec![
        "unit", "quantile", "node", "window", "metric", "instance", "__name__", "a.b", "a_b", "A",
        "le",
    ]);
    let value = prop::sample::select(vec!["s", "bytes", "x", "0.5", "300s", ""]);
    let value = value.prop_map(str::to_owned);
    (
        name,
        prop::collection::btree_map(tag.prop_map(str::to_owned), value, 0..4),
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn different_metrics_never_become_one_series(metrics in prop::collection::vec((metric(), any::<bool>()), 1..30)) {
        let mut seen: BTreeMap<Vec<(String, String)>, String> = BTreeMap::new();
        for ((metric, tags), is_counter) in metrics {
            let mut record = window();
            record["metric"] = metric.as_str().into();
            record["tags"] = json!(tags);
            record["type"] = if is_counter { "DIFF" } else { "ABS" }.into();
            record["p50"] = json!(1.0);
            record["hist"] = json!({"scale": 5, "zero": 0, "pos": [0, [4]], "neg": [0, []]});
            let encoded = encoded(&record, FORMAT);
            let histogram = encoded.histogram.unwrap();
            let mut of_record = BTreeSet::new();
            for series in read_series(&encoded.values).into_iter().chain(read_series(&histogram)) {
                let labels = &series.labels;
                prop_assert!(labels.windows(2).all(|pair| pair[0].0 < pair[1].0), "{:?}", labels);
                for (name, value) in labels {
                    let is_valid = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
                    prop_assert!(is_valid && !value.is_empty());
                    prop_assert!(name == NAME || !name.starts_with("__"));
                }
                prop_assert!(of_record.insert(labels.clone()));
            }
            for labels in of_record {
                if let Some(other) = seen.insert(labels.clone(), metric.clone()) {
                    prop_assert_eq!(&other, &metric, "{:?}", labels);
                }
            }
        }
    }
}
