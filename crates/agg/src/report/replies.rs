//! Parses the server's replies into the data of a report. No I/O.
//!
//! Every text is cut to a maximum length, and its hidden characters become U+FFFD, so that the page need not do so.

use std::borrow::Cow;

use agg_client::command::{NodeInfo, StoredType};
use agg_client::reply::{self, Value};
use aggregator_protocol::masking::is_hidden;
use aggregator_protocol::percentile::percentage;

use super::model::{ErrorReport, Info, LogEntry, Metric, Object, Percentiles, Window};
use crate::stats::{number, pairs};

/// Maximum bytes of a text that is kept.
const TEXT: usize = 2000;
/// Maximum bytes of a backtrace or of an object that is kept.
const LONG_TEXT: usize = 16_000;
/// Maximum tags of an item that are kept.
const TAGS: usize = 100;
/// Maximum percentiles of a window that are kept; a server computes as many.
const PERCENTILES: usize = 8;

impl From<NodeInfo> for Info {
    fn from(info: NodeInfo) -> Info {
        let milliseconds = |seconds: u64| seconds.clamp(1, 1 << 31) as i64 * 1000;
        Info {
            late_min: info.late_min,
            late_hour: info.late_hour,
            min_window_ms: milliseconds(info.min_window_s),
            hour_window_ms: milliseconds(info.hour_window_s),
            stats: info.into(),
        }
    }
}

/// Parses the reply of AGG.GET for a metric; its name and windows come from elsewhere.
pub fn metric(value: Value) -> Option<Metric> {
    let mut metric = Metric::default();
    for (field, value) in pairs(value)? {
        match field.as_str() {
            "type" => metric.is_rate = StoredType::from_name(&text(value, TEXT)).is_rate(),
            "tags" => metric.tags = tags(value)?,
            "last" => metric.last_value = text(value, TEXT),
            "total" => metric.total = double(value),
            "at" => metric.last_seen = integer(&value),
            "samples" => metric.samples = number(&value),
            _ => {}
        }
    }
    Some(metric)
}

/// Parses the reply of AGG.RANGE.
pub fn windows(value: Value) -> Option<Vec<Window>> {
    let window = |value| {
        let mut window = Window {
            start: 0,
            end: 0,
            count: 0,
            avg: 0.0,
            min: 0.0,
            max: 0.0,
            percentiles: Percentiles::default(),
        };
        for (field, value) in pairs(value)? {
            match field.as_str() {
                "start" => window.start = integer(&value),
                "end" => window.end = integer(&value),
                "count" => window.count = number(&value),
                "avg" => window.avg = double(value)?,
                "min" => window.min = double(value)?,
                "max" => window.max = double(value)?,
                name => {
                    let percentiles = &mut window.percentiles.0;
                    if let Some(percentage) = percentage(name)
                        && percentiles.len() < PERCENTILES
                    {
                        percentiles.push((percentage, double(value)?));
                    }
                }
            }
        }
        Some(window)
    };
    reply::items(value)?.into_iter().map(window).collect()
}

/// Parses an error of a page of AGG.SCAN.
pub fn error(value: Value) -> Option<ErrorReport> {
    let mut error = ErrorReport::default();
    for (field, value) in pairs(value)? {
        match field.as_str() {
            "level" => error.level = number(&value),
            "occurrences" => error.occurrences = number(&value),
            "first" => error.first = integer(&value),
            "last" => error.last = integer(&value),
            "tags" => error.tags = tags(value)?,
            "key" => error.key = text(value, TEXT),
            "message" => error.message = text(value, TEXT),
            "public" => error.public = text(value, TEXT),
            "type" => error.kind = text(value, TEXT),
            "code" => error.code = text(value, TEXT),
            "func" => error.function = text(value, TEXT),
            "file" => error.file = text(value, TEXT),
            "backtrace" => error.backtrace = text(value, LONG_TEXT),
            _ => {}
        }
    }
    Some(error)
}

/// Parses an object of a page of AGG.SCAN.
pub fn object(value: Value) -> Option<Object> {
    let mut object = Object::default();
    for (field, value) in pairs(value)? {
        match field.as_str() {
            "epoch" => object.changed = integer(&value),
            "seen" => object.last_seen = integer(&value),
            "gone" => object.gone = number(&value) != 0,
            "tags" => object.tags = tags(value)?,
            "key" => object.key = text(value, TEXT),
            "model" => object.model = text(value, TEXT),
            "json" => object.json = text(value, LONG_TEXT),
            _ => {}
        }
    }
    Some(object)
}

/// Reads a record of the queue LOG.
pub fn log_entry(record: &serde_json::Value) -> LogEntry {
    let tags = record["tags"].as_object().into_iter().flatten();
    let tags = tags.map(|(name, value)| {
        let value = value.as_str().unwrap_or_default();
        (visible(name).into_owned(), visible(value).into_owned())
    });
    let message = record["message"].as_str().unwrap_or_default();
    LogEntry {
        at: record["epoch"].as_i64().unwrap_or_default(),
        level: record["level"].as_u64().unwrap_or_default(),
        message: cut(visible(message).into_owned(), TEXT),
        tags: tags.collect(),
    }
}

fn tags(value: Value) -> Option<Vec<(String, String)>> {
    let pairs = pairs(value)?.into_iter().take(TAGS);
    let mut tags: Vec<_> = pairs
        .map(|(name, value)| (cut(visible(&name).into_owned(), TEXT), text(value, TEXT)))
        .collect();
    tags.sort();
    Some(tags)
}

fn text(value: Value, limit: usize) -> String {
    let text = reply::text(value).unwrap_or_default();
    cut(visible(&text).into_owned(), limit)
}

/// Returns a text with its hidden characters, except line feeds and tabs, replaced by U+FFFD: they would change how the
/// text around them is shown.
pub fn visible(text: &str) -> Cow<'_, str> {
    let hidden = |c: char| is_hidden(c) && !matches!(c, '\n' | '\t');
    match text.contains(hidden) {
        true => Cow::Owned(text.replace(hidden, "\u{fffd}")),
        false => Cow::Borrowed(text),
    }
}

fn cut(mut text: String, limit: usize) -> String {
    if text.len() > limit {
        let end = (0..=limit).rev().find(|at| text.is_char_boundary(*at));
        let end = end.unwrap_or(0);
        let rest = format!("…[+{} bytes]", text.len() - end);
        text.truncate(end);
        text.push_str(&rest);
    }
    text
}

fn integer(value: &Value) -> i64 {
    match value {
        Value::Int(n) => *n,
        other => number(other) as i64,
    }
}

fn double(value: Value) -> Option<f64> {
    let number: f64 = match value {
        Value::Int(n) => n as f64,
        value => reply::text(value)?.parse().ok()?,
    };
    number.is_finite().then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.into())
    }

    #[test]
    fn windows_are_parsed() {
        let fields = ["start", "end", "avg", "min", "max", "p50", "p99_9", "new"];
        let window = |avg: &str| {
            let values = [
                Value::Int(10),
                Value::Int(20),
                bulk(avg),
                bulk("-1.5"),
                bulk("1e300"),
                bulk("2.5"),
                bulk("7.0"),
                bulk("?"),
            ];
            let all = fields.iter().map(|field| bulk(field)).zip(values);
            Value::Array(all.flat_map(|(field, value)| [field, value]).collect())
        };
        let parsed = windows(Value::Array(vec![window("2.0")])).unwrap();
        assert_eq!((parsed[0].start, parsed[0].end), (10, 20));
        assert_eq!(
            (parsed[0].avg, parsed[0].min, parsed[0].max),
            (2.0, -1.5, 1e300)
        );
        assert_eq!(parsed[0].percentiles.0, [(50.0, 2.5), (99.9, 7.0)]);
        assert_eq!(windows(Value::Nil), Some(vec![]));
        assert_eq!(windows(Value::Array(vec![window("inf")])), None);
        assert_eq!(windows(Value::Int(1)), None);
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(cut("abc".into(), 3), "abc");
        assert_eq!(cut("aéb".into(), 2), "a…[+3 bytes]");
    }

    #[test]
    fn hidden_characters_are_replaced_and_lines_stay() {
        let hostile = "<a>\u{202e}\u{7}\r\n\t\u{9b}";
        assert_eq!(visible(hostile), "<a>\u{fffd}\u{fffd}\u{fffd}\n\t\u{fffd}");
        assert!(matches!(visible("größe\n"), Cow::Borrowed(_)));
        let error = Value::Array(vec![bulk("message"), bulk(hostile)]);
        assert_eq!(super::error(error).unwrap().message, visible(hostile));
    }
}
