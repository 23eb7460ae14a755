//! Parses the server's replies about a node's details into lines for the screen. No I/O.

use std::time::{Duration, UNIX_EPOCH};

use agg_client::command::StoredType;
use agg_client::reply::{self, Value};
use agg_client::timestamp::utc;
use aggregator_protocol::masking::cell as visible;

use super::node_detail::{Item, SHOWN_PERCENTILES};
use super::text::cut;
use crate::format::{in_unit, severity};
use crate::stats::{number, pairs};

/// Maximum cells of a text that are kept.
pub const TEXT_CELLS: usize = 400;
/// Maximum cells of a unit that are kept.
const UNIT_CELLS: usize = 40;

/// Parses a metric or an error of AGG.SCAN or AGG.GET. `counter` is the field that counts its activity.
pub fn item(key: Vec<u8>, value: Value, counter: &str) -> Option<Item> {
    let mut item = Item {
        name: cut(&visible(&String::from_utf8_lossy(&key)), TEXT_CELLS),
        key,
        count: 0,
        detail: String::new(),
        percentiles: None,
        total: None,
    };
    let (mut kind, mut level, mut unit) = (String::new(), String::new(), String::new());
    let (mut last, mut total, mut percentiles) = (None, None, None);
    for (field, value) in pairs(value)? {
        match field.as_str() {
            field if field == counter => item.count = number(&value),
            "type" => kind = reply::text(value)?,
            "last" if counter == "samples" => last = decimal(value),
            "total" if counter == "samples" => total = decimal(value),
            "min" if counter == "samples" => percentiles = percentiles_of(value),
            "tags" if counter == "samples" => unit = unit_of(value),
            "level" => level = format!(" {}", severity(Some(number(&value)))),
            "message" => item.name = cut(&visible(&reply::text(value)?), TEXT_CELLS),
            _ => {}
        }
    }
    item.percentiles =
        percentiles.map(|all| all.map(|value| value.map(|value| in_unit(value, &unit))));
    let last = match (StoredType::from_name(&kind), last) {
        // An older server sends no total. The last value of a counter is one, but not over its restarts.
        (StoredType::Diff, last) => {
            item.total = total.or(last).map(|total| (total, unit));
            String::new()
        }
        (StoredType::Inc, _) => {
            item.total = total.map(|total| (total, unit));
            String::new()
        }
        (_, Some(value)) => format!(" last {}", in_unit(value, &unit)),
        (_, None) => String::new(),
    };
    item.detail = cut(&visible(&format!("{kind}{last}{level}")), TEXT_CELLS);
    Some(item)
}

/// Returns the percentiles that are shown, of the newest open window that has any.
fn percentiles_of(windows: Value) -> Option<[Option<f64>; SHOWN_PERCENTILES.len()]> {
    let windows = reply::items(windows)?.into_iter().rev();
    let mut all = windows.filter_map(pairs).map(|window| {
        let mut shown = [None; SHOWN_PERCENTILES.len()];
        for (name, value) in window {
            if let Some(at) = SHOWN_PERCENTILES.iter().position(|shown| name == *shown) {
                shown[at] = decimal(value);
            }
        }
        shown
    });
    all.find(|shown| shown.iter().any(Option::is_some))
}

/// Returns the value of the tag `unit`, or an empty text.
fn unit_of(tags: Value) -> String {
    let tags = pairs(tags).unwrap_or_default();
    let unit = tags.into_iter().find(|(name, _)| name == "unit");
    let unit = unit.and_then(|(_, unit)| reply::text(unit));
    cut(&unit.unwrap_or_default(), UNIT_CELLS)
}

fn decimal(value: Value) -> Option<f64> {
    match value {
        Value::Int(n) => Some(n as f64),
        value => reply::text(value)?.parse().ok(),
    }
}

/// Returns the line of a record of the queue LOG: time, level, message.
pub fn log_line(record: &serde_json::Value) -> String {
    let message = record["message"].as_str().unwrap_or_default();
    let level = severity(record["level"].as_u64());
    let time = time_of_day(record["epoch"].as_i64().unwrap_or_default());
    cut(&format!("{time} {level} {}", visible(message)), TEXT_CELLS)
}

/// Returns the line of a record of the queue REALITY: time, key, model, JSON.
pub fn change_line(record: &serde_json::Value) -> String {
    let text = |field: &str| record[field].as_str().unwrap_or_default();
    let time = time_of_day(record["epoch"].as_i64().unwrap_or_default());
    let gone = if record["gone"] == true { " gone" } else { "" };
    let json = record["json"].to_string();
    let line = format!("{time} {} {}{gone} {json}", text("key"), text("model"));
    cut(&visible(&line), TEXT_CELLS)
}

/// Returns the line of an object of AGG.SCAN: key, model, JSON.
pub fn object_line(key: Value, value: Value) -> Option<String> {
    let (mut model, mut json) = (String::new(), String::new());
    for (field, value) in pairs(value)? {
        match field.as_str() {
            "model" => model = reply::text(value)?,
            "json" => json = reply::text(value)?,
            _ => {}
        }
    }
    let key = reply::bytes(key)?;
    let line = format!("{} {model} {json}", String::from_utf8_lossy(&key));
    Some(cut(&visible(&line), TEXT_CELLS))
}

/// Returns the time of day in UTC.
fn time_of_day(ms: i64) -> String {
    let since_epoch = Duration::from_millis(u64::try_from(ms).unwrap_or(0));
    utc(UNIX_EPOCH + since_epoch)[11..19].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.into())
    }

    #[test]
    fn metrics_and_errors_are_parsed() {
        let metric = |kind, unit, last| {
            Value::Array(vec![
                bulk("type"),
                bulk(kind),
                bulk("tags"),
                Value::Array(vec![bulk("unit"), bulk(unit)]),
                bulk("last"),
                bulk(last),
                bulk("samples"),
                Value::Int(9),
            ])
        };
        let counter = metric("DIFF", "bytes", "17.5");
        let counter = item(b"net\x1b".to_vec(), counter, "samples").unwrap();
        assert_eq!((counter.name.as_str(), counter.count), ("net·", 9));
        assert_eq!(counter.detail, "DIFF");
        assert_eq!(counter.total, Some((17.5, "bytes".into())));
        let gauge = metric("ABS", "bytes", "69206016");
        let gauge = item(b"mem.used".to_vec(), gauge, "samples").unwrap();
        assert_eq!(gauge.detail, "ABS last 66mb");
        let windows = |percentiles: &[(&str, &str)]| {
            let fields = percentiles
                .iter()
                .flat_map(|(name, value)| [bulk(name), bulk(value)]);
            Value::Array(fields.collect())
        };
        let with = |metric: Value, name: &str, value: Value| {
            let mut fields = reply::items(metric).unwrap();
            fields.extend([bulk(name), value]);
            Value::Array(fields)
        };
        let restarted = with(metric("DIFF", "bytes", "3"), "total", bulk("99.5"));
        let restarted = item(b"net".to_vec(), restarted, "samples").unwrap();
        assert_eq!(restarted.total, Some((99.5, "bytes".into())));
        let hits = with(metric("INC", "", "3"), "total", bulk("42"));
        let hits = item(b"hits".to_vec(), hits, "samples").unwrap();
        assert_eq!(
            (hits.detail.as_str(), hits.total),
            ("INC", Some((42.0, String::new())))
        );
        let open = [
            windows(&[("p50", "2048"), ("p99_9", "9"), ("p99", "4096")]),
            windows(&[("avg", "1")]),
        ];
        let sizes = with(
            metric("ABS", "bytes", "1"),
            "min",
            Value::Array(open.into()),
        );
        let sizes = item(b"size".to_vec(), sizes, "samples").unwrap();
        let shown = sizes.percentiles.unwrap();
        assert_eq!(shown, [Some("2kb".to_owned()), Some("4kb".to_owned())]);
        assert_eq!(gauge.percentiles, None);
        let error = Value::Array(vec![
            bulk("message"),
            bulk("disk\nfailed"),
            bulk("level"),
            Value::Int(3),
            bulk("type"),
            bulk("OPS"),
            bulk("last"),
            Value::Int(1_795_635_668_002),
            bulk("occurrences"),
            Value::Int(4),
        ]);
        let error = item(b"78755a".to_vec(), error, "occurrences").unwrap();
        assert_eq!((error.name.as_str(), error.count), ("disk·failed", 4));
        assert_eq!(error.detail, "OPS INFO");
    }

    #[test]
    fn records_become_lines() {
        let log_record = br#"{"message":"a\u001bb","level":5,"epoch":1795635667993}"#;
        let delivery = |record: &[u8]| {
            Value::Array(vec![
                bulk("LOG"),
                Value::Int(1),
                Value::Int(0),
                Value::BulkString(record.to_vec()),
            ])
        };
        let all = reply::records(Value::Array(vec![
            delivery(log_record),
            delivery(b"no JSON"),
        ]));
        assert_eq!(all.len(), 1);
        assert_eq!(log_line(&all[0]), "19:41:07 WARNING a·b");
        let record = br#"{"key":"sda","model":"Disk","json":{"a":1},"epoch":0,"gone":true}"#;
        let all = reply::records(Value::Array(vec![delivery(record)]));
        assert_eq!(change_line(&all[0]), "00:00:00 sda Disk gone {\"a\":1}");
    }

    #[test]
    fn reply_of_a_server_without_the_type_is_an_empty_page() {
        assert_eq!(reply::page(Value::Nil), Some((b"0".to_vec(), vec![])));
        assert_eq!(reply::page(Value::Int(3)), None);
    }
}
