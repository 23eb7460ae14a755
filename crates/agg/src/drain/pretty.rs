//! Formats a record as a line for people: time, queue, node and content, cut to the width of the terminal.
//!
//! # Invariants
//! A line has no line break and no control character but those of its own colours.

use std::io::IsTerminal;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Map, Value};

use agg_client::command::StoredType;
use agg_client::timestamp;
use aggregator_protocol::masking;
use aggregator_protocol::percentile::percentage;

use crate::format::severity;

/// The width where the output is not a terminal.
const WIDTH: usize = 160;

/// The layout of the lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Columns of a line.
    pub width: usize,
    /// True if lines are coloured.
    pub colour: bool,
}

impl Style {
    /// Returns the style for standard output: coloured on a terminal, unless `NO_COLOR` is set.
    pub fn of_stdout() -> Style {
        let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        if !std::io::stdout().is_terminal() {
            return Style {
                width: WIDTH,
                colour: false,
            };
        }
        let width = crossterm::terminal::size().map_or(WIDTH, |(columns, _)| columns.into());
        Style {
            width: width.max(40),
            colour: !is_set("NO_COLOR") && !is_dumb,
        }
    }
}

/// Returns a record, which is JSON, as a line. Other text is only escaped.
pub fn line(record: &[u8], style: Style) -> String {
    let Ok(Value::Object(record)) = serde_json::from_slice(record) else {
        let text = String::from_utf8_lossy(record);
        return cut(&masking::text(&text), style.width);
    };
    let queue = text(&record, "queue");
    let (title, rest) = content(&queue, &record);
    let paint = |code: &str, text: &str| match style.colour {
        true => format!("\x1b[{code}m{text}\x1b[0m"),
        false => text.to_owned(),
    };
    let mut left = style.width;
    let mut fit = |text: String| {
        let text = cut(&text, left);
        left -= text.chars().count();
        text
    };
    let time = fit(time(&queue, &record));
    let name = fit(format!(" {queue:<7}"));
    let node = fit(format!(" {}", text(&record, "node")));
    let title = fit(format!("  {title}"));
    let rest = fit(format!("  {rest}"));
    let line = [
        paint("2", &time),
        paint(colour(&queue), &name),
        node,
        paint("1", &title),
        rest,
    ];
    line.concat().trim_end().to_owned()
}

/// Returns the colour of a queue's name.
fn colour(queue: &str) -> &'static str {
    match queue {
        "LOG" => "32",
        "ERROR" => "31",
        "REALITY" => "33",
        _ => "36",
    }
}

/// Returns the title and the remaining content of a record.
fn content(queue: &str, record: &Map<String, Value>) -> (String, String) {
    match queue {
        "LOG" => (
            text(record, "message"),
            format!(
                "{}{}",
                severity(record.get("level").and_then(Value::as_u64)),
                tags(record)
            ),
        ),
        "ERROR" => {
            let places = ["code", "func", "file"].map(|name| text(record, name));
            let places = places.iter().filter(|place| !place.is_empty());
            let places: String = places.map(|place| format!("  {place}")).collect();
            let count = number(record, "occurrences");
            let level = severity(record.get("level").and_then(Value::as_u64));
            let kind = text(record, "type");
            (
                text(record, "message"),
                format!("{level}  {count} x {kind}{places}{}", tags(record)),
            )
        }
        "REALITY" => {
            let json = record.get("json").map_or(String::new(), Value::to_string);
            let state = match record.get("gone") {
                Some(Value::Bool(true)) => "gone".to_owned(),
                _ => masking::text(&json).into_owned(),
            };
            let (key, model) = (text(record, "key"), text(record, "model"));
            let title = match key.starts_with(&model) {
                true => key,
                false => format!("{key} {model}"),
            };
            (title, format!("{state}{}", tags(record)))
        }
        _ => {
            let values = window(record).join("  ");
            (text(record, "metric"), format!("{values}{}", tags(record)))
        }
    }
}

/// Returns the names and values of a window. Those that are rates have `/s`.
fn window(record: &Map<String, Value>) -> Vec<String> {
    let is_rate = StoredType::from_name(&text(record, "type")).is_rate();
    let rate = if is_rate { "/s" } else { "" };
    let names = ["avg", "min", "max", "last"].map(str::to_owned);
    let mut values: Vec<String> = names
        .iter()
        .map(|name| format!("{name} {}{rate}", number(record, name)))
        .collect();
    let percentiles = record
        .keys()
        .filter_map(|name| Some((percentage(name)?, name)));
    let mut percentiles: Vec<(f64, &String)> = percentiles.collect();
    percentiles.sort_by(|a, b| a.0.total_cmp(&b.0));
    values.extend(
        percentiles
            .iter()
            .map(|(percentage, name)| format!("p{percentage} {}{rate}", number(record, name))),
    );
    values.push(format!("count {}", number(record, "count")));
    values
}

/// Returns the time of a record in UTC: of a window its end, of an error its last occurrence.
fn time(queue: &str, record: &Map<String, Value>) -> String {
    let name = match queue {
        "MIN" | "HOUR" => "end",
        "ERROR" => "last",
        _ => "epoch",
    };
    let ms = record.get(name).and_then(Value::as_u64).unwrap_or_default();
    let utc = timestamp::utc(UNIX_EPOCH + Duration::from_millis(ms));
    // The time of day in `2026-01-31T09:05:00.123Z`.
    format!("{}Z", utc.get(11..19).unwrap_or_default())
}

fn text(record: &Map<String, Value>, name: &str) -> String {
    let text = record.get(name).and_then(Value::as_str).unwrap_or_default();
    masking::text(text).into_owned()
}

/// Returns a number with at most three decimals, with an SI prefix from a million on.
fn number(record: &Map<String, Value>, name: &str) -> String {
    let Some(Value::Number(number)) = record.get(name) else {
        return String::new();
    };
    let value = number.as_f64().unwrap_or_default();
    let (value, prefix) = match value.abs() {
        0.0 => (value, ""),
        size if !(1e-3..1e18).contains(&size) => return format!("{value:.3e}"),
        1e15.. => (value / 1e15, "P"),
        1e12.. => (value / 1e12, "T"),
        1e9.. => (value / 1e9, "G"),
        1e6.. => (value / 1e6, "M"),
        _ => (value, ""),
    };
    let text = format!("{value:.3}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{text}{prefix}")
}

fn tags(record: &Map<String, Value>) -> String {
    let Some(Value::Object(tags)) = record.get("tags") else {
        return String::new();
    };
    tags.iter()
        .map(|(name, value)| {
            let value = value.as_str().unwrap_or_default();
            format!("  {}:{}", masking::text(name), masking::text(value))
        })
        .collect()
}

/// Returns the first characters of a text, with `…` at the end if it was cut.
fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    if width == 0 { kept } else { kept + "…" }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Style = Style {
        width: 120,
        colour: false,
    };

    const METRIC: &str = r#"{"node":"web1","queue":"MIN","id":7,"metric":"cpu.load@0","type":"ABS","window":300,"start":1795614900000,"end":1795615200000,"count":2,"sum":50.0,"avg":25.0,"min":12.5,"max":37.51234,"last":37.5,"tags":{"unit":"percent"}}"#;

    #[test]
    fn a_record_of_each_queue_is_one_line() {
        let cases = [
            (
                METRIC,
                "14:00:00Z MIN     web1  cpu.load@0  avg 25  min 12.5  max 37.512  last 37.5  count 2  unit:percent",
            ),
            (
                r#"{"node":"web1","queue":"LOG","message":"backup finished","level":3,"tags":{"job":"nightly"},"epoch":1795615197776}"#,
                "13:59:57Z LOG     web1  backup finished  INFO  job:nightly",
            ),
            (
                r#"{"node":"web1","queue":"MIN","metric":"hits","type":"INC","end":1795615200000,"count":2,"sum":315.0,"avg":1.05,"min":0.0,"max":15.0,"last":15.0,"p100":15.0,"p50":0.0,"p99_9":9.5,"hist":{"scale":5,"zero":0,"pos":[1,[2]],"neg":[0,[]]},"tags":{}}"#,
                "14:00:00Z MIN     web1  hits  avg 1.05/s  min 0/s  max 15/s  last 15/s  p50 0/s  p99.9 9.5/s  p100 15/s  count 2",
            ),
            (
                r#"{"node":"web1","queue":"ERROR","message":"disk sda: read failed","level":9,"severity":"CRITICAL","type":"OPS","tags":{},"code":"","func":"","file":"disk.c","occurrences":2,"last":1795615197792}"#,
                "13:59:57Z ERROR   web1  disk sda: read failed  CRITICAL  2 x OPS  disk.c",
            ),
            (
                r#"{"node":"web1","queue":"REALITY","key":"sda","model":"system.Disk","json":{"mounted":true},"tags":{},"epoch":1795615197799,"gone":false}"#,
                r#"13:59:57Z REALITY web1  sda system.Disk  {"mounted":true}"#,
            ),
            (
                r#"{"node":"web1","queue":"REALITY","key":"sda","model":"system.Disk","json":{},"tags":{},"epoch":0,"gone":true}"#,
                "00:00:00Z REALITY web1  sda system.Disk  gone",
            ),
        ];
        for (record, expected) in cases {
            assert_eq!(line(record.as_bytes(), PLAIN), expected);
        }
    }

    #[test]
    fn numbers_are_short() {
        for (json, expected) in [
            ("12", "12"),
            ("0.0", "0"),
            ("25276059648.0", "25.276G"),
            ("-1500000.0", "-1.5M"),
            ("999999.25", "999999.25"),
            ("0.00001", "1.000e-5"),
            ("1e300", "1.000e300"),
        ] {
            let record = format!(r#"{{"avg":{json}}}"#);
            let record: Map<String, Value> = serde_json::from_str(&record).unwrap();
            assert_eq!(number(&record, "avg"), expected, "{json}");
        }
    }

    #[test]
    fn long_record_is_cut_to_the_width() {
        let record = format!(
            r#"{{"node":"n","queue":"LOG","message":"{}"}}"#,
            "x".repeat(5000)
        );
        for width in [40, 120] {
            let line = line(record.as_bytes(), Style { width, ..PLAIN });
            assert_eq!(line.chars().count(), width);
            assert!(line.ends_with('…'));
        }
    }

    #[test]
    fn hostile_record_moves_no_cursor() {
        let record = "{\"node\":\"n\\n\",\"queue\":\"LOG\",\"message\":\"a\\u001b[2J\\r\\u009b\",\"tags\":{\"\\u001b\":\"\\n\"}}";
        let shown = line(record.as_bytes(), PLAIN);
        assert!(!shown.contains(char::is_control), "{shown:?}");
        let other = line(b"no \x1bJSON\n", PLAIN);
        assert_eq!(other, "no \\u001bJSON\\n");
    }

    #[test]
    fn colours_surround_the_same_text() {
        let coloured = line(
            METRIC.as_bytes(),
            Style {
                colour: true,
                ..PLAIN
            },
        );
        let mut plain = coloured;
        for code in ["\x1b[2m", "\x1b[36m", "\x1b[1m", "\x1b[0m"] {
            assert!(plain.contains(code), "{code:?}");
            plain = plain.replace(code, "");
        }
        assert_eq!(plain, line(METRIC.as_bytes(), PLAIN));
    }
}
