//! Replies: fields of maps, lists, and the records that a queue delivers.

use std::fmt::Debug;
use std::str::FromStr;

use redis::Value;

/// Returns a field of a map. In RESP2 a map is a flat list of names and values.
pub fn at<'a>(map: &'a Value, field: &str) -> Option<&'a Value> {
    let name = Value::BulkString(field.into());
    match map {
        Value::Map(pairs) => pairs.iter().find(|(n, _)| *n == name).map(|(_, v)| v),
        Value::Array(items) => {
            let i = items.iter().step_by(2).position(|item| *item == name)?;
            items.get(i * 2 + 1)
        }
        _ => None,
    }
}

/// Returns a field of a map as an integer.
pub fn int(map: &Value, field: &str) -> i64 {
    match at(map, field) {
        Some(Value::Int(n)) => *n,
        other => panic!("{field} is {other:?}"),
    }
}

/// Returns a field of a map as text.
pub fn text(map: &Value, field: &str) -> String {
    match at(map, field) {
        Some(Value::BulkString(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
        other => panic!("{field} is {other:?}"),
    }
}

/// Returns a field of a map as a double, which the module sends as the shortest decimal.
pub fn double(map: &Value, field: &str) -> f64 {
    text(map, field).parse().unwrap()
}

/// Returns a field of a text of INFO: a number, or the text of the field.
pub fn info_field<T: FromStr<Err: Debug>>(info: &str, field: &str) -> T {
    let value = info
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let value = value.unwrap_or_else(|| panic!("no {field} in {info}"));
    let value = value.trim_end().parse();
    value.unwrap_or_else(|error| panic!("{field} in {info}: {error:?}"))
}

/// Returns the elements of a list.
pub fn list(value: &Value) -> &[Value] {
    match value {
        Value::Array(items) => items,
        other => panic!("not a list: {other:?}"),
    }
}

/// A record that a queue delivered or showed.
#[derive(Clone, Debug, PartialEq)]
pub struct QueuedRecord {
    /// The name of the queue.
    pub queue: String,
    /// The id in the queue.
    pub id: i64,
    /// The number of deliveries so far.
    pub deliveries: i64,
    /// The record as it was sent.
    pub text: String,
}

impl QueuedRecord {
    /// Parses the record.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{}: {error}", self.text))
    }
}

/// Parses the reply of POP, FETCH or PEEK.
pub fn queued_records(reply: &Value) -> Vec<QueuedRecord> {
    list(reply)
        .iter()
        .map(|record| {
            let (queue, id, deliveries, text) = redis::from_redis_value(record.clone()).unwrap();
            QueuedRecord {
                queue,
                id,
                deliveries,
                text,
            }
        })
        .collect()
}

/// Parses the records of such a reply.
pub fn records(reply: &Value) -> Vec<serde_json::Value> {
    queued_records(reply)
        .iter()
        .map(QueuedRecord::json)
        .collect()
}
