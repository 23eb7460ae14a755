//! Parses the server's replies about a node's details into lines for the screen. No I/O.

use std::time::{Duration, UNIX_EPOCH};

use agg_client::reply::{self, Value};
use agg_client::timestamp::utc;
use aggregator_protocol::masking::cell as visible;

use super::node_detail::Item;
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
        total: None,
    };
    let (mut kind, mut level, mut unit, mut last) =
        (String::new(), String::new(), String::new(), String::new());
    for (field, value) in pairs(value)? {
        match field.as_str() {
            field if field == counter => item.count = number(&value),
            "type" => kind = reply::text(value)?,
            "last" if counter == "samples" => last = scalar(value),
            "tags" if counter == "samples" => unit = unit_of(value),
            "level" => level = format!(" {}", severity(Some(number(&value)))),
            "message" => item.name = cut(&visible(&reply::text(value)?), TEXT_CELLS),
            _ => {}
        }
    }
    let last = match (last.parse::<f64>(), kind.as_str()) {
        (Ok(total), "DIFF") => {
            item.total = Some((total, unit));
            String::new()
        }
        (Ok(value), _) => format!(" last {}", in_unit(value, &unit)),
        (Err(_), _) => String::new(),
    };
    item.detail = cut(&visible(&format!("{kind}{last}{level}")), TEXT_CELLS);
    Some(item)
}

/// Returns the value of the tag `unit`, or an empty text.
fn unit_of(tags: Value) -> String {
    let tags = pairs(tags).unwrap_or_default();
    let unit = tags.into_iter().find(|(name, _)| name == "unit");
    let unit = unit.and_then(|(_, unit)| reply::text(unit));
    cut(&unit.unwrap_or_default(), UNIT_CELLS)
}

fn scalar(value: Value) -> String {
    match value {
        Value::Int(n) => n.to_string(),
        value => reply::text(value).unwrap_or_default(),
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
