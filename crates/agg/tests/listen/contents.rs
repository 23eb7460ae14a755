//! The contents of a node as lines of text, so that a test compares all that arrived with all that was sent.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use redis::Value;

use super::{Listener, names, status};
use crate::support::{Server, at, double, int, list, text};

/// The time in which reports arrive. A loaded machine is slow.
const ARRIVAL: Duration = Duration::from_secs(60);

/// Waits until the node has these contents, ends the listener, and asserts that the node still has them and that nothing
/// was late, rejected or dropped. `invalid` lists the reasons of inputs that must be invalid.
pub fn expect(server: &Server, listener: Listener, expected: &[&str], invalid: &[&str]) {
    let mut expected: Vec<String> = expected.iter().map(|line| (*line).to_owned()).collect();
    expected.sort();
    let start = Instant::now();
    while contents(server) != expected && start.elapsed() < ARRIVAL {
        std::thread::sleep(Duration::from_millis(20));
    }
    let losses = losses(&listener);
    let (code, messages) = listener.end();
    let found = contents(server);
    let missing: Vec<_> = expected.iter().filter(|l| !found.contains(l)).collect();
    let surplus: Vec<_> = found.iter().filter(|l| !expected.contains(l)).collect();
    assert_eq!(
        found, expected,
        "missing: {missing:#?}, surplus: {surplus:#?}, {messages:#?}"
    );
    assert_eq!(losses, invalid);
    assert_eq!(code, Some(0), "{messages:?}");
}

/// Returns what was not used, as `late 2`, and the reasons of invalid input.
fn losses(listener: &Listener) -> Vec<String> {
    let status = status(listener);
    let mut losses = Vec::new();
    for counts in status["protocols"].as_object().unwrap().values() {
        for name in ["late", "rejected", "dropped", "kernel_dropped", "other"] {
            let count = counts[name].as_u64().unwrap();
            if count > 0 {
                losses.push(format!("{name} {count}"));
            }
        }
        losses.extend(counts["invalid"].as_object().unwrap().keys().cloned());
    }
    losses
}

/// Returns all that the server has of the node `n1`, one line each, sorted:
///
/// - `NAME ABS count=2 sum=3.0 min=1.0 max=2.0 last=2 | TAGS` of a metric. Percentiles follow as `p50=1.0 p99=2.0` if it
///   has a histogram. Of INC and DIFF there are only count and sum: the others are rates.
/// - `LOG LEVEL MESSAGE | TAGS`, `ERROR TIMES KEY | TAGS`, `MODEL KEY JSON | TAGS`.
///
/// A tag without a value is `NAME`, others are `NAME:VALUE`.
pub fn contents(server: &Server) -> Vec<String> {
    let exists: i64 = server.ask("EXISTS n1");
    if exists == 0 {
        return Vec::new();
    }
    let mut lines: Vec<String> = names(server)
        .iter()
        .map(|name| metric_line(server, name))
        .collect();
    for record in server.peek("n1", "LOG") {
        let level = record["severity"].as_str().unwrap();
        lines.push(format!("LOG {level} {}", record_text(&record, "message")));
    }
    for record in server.peek("n1", "ERROR") {
        let times = &record["occurrences"];
        lines.push(format!("ERROR {times} {}", record_text(&record, "key")));
    }
    for record in server.peek("n1", "REALITY") {
        let model = record["model"].as_str().unwrap();
        let key = record["key"].as_str().unwrap();
        let tags = record_tags(&record);
        lines.push(format!("{model} {key} {}{tags}", record["json"]));
    }
    lines.sort();
    lines
}

fn record_text(record: &serde_json::Value, field: &str) -> String {
    let text = record[field].as_str().unwrap();
    format!("{text}{}", record_tags(record))
}

fn record_tags(record: &serde_json::Value) -> String {
    let tags = record["tags"].as_object().into_iter().flatten();
    joined(tags.map(|(name, value)| (name.clone(), value.as_str().unwrap_or("").to_owned())))
}

/// Returns ` | NAME:VALUE ...`, sorted by name; nothing without a tag.
fn joined(tags: impl Iterator<Item = (String, String)>) -> String {
    let tags: BTreeMap<String, String> = tags.collect();
    let words = tags.iter().map(|(name, value)| match value.as_str() {
        "" => name.clone(),
        value => format!("{name}:{value}"),
    });
    let words: Vec<String> = words.collect();
    match words.is_empty() {
        true => String::new(),
        false => format!(" | {}", words.join(" ")),
    }
}

fn metric_line(server: &Server, name: &str) -> String {
    let ask = |words: [&str; 4]| server.send::<Value>(&words.map(str::as_bytes));
    let state = ask(["AGG.GET", "n1", "METRIC", name]);
    let windows = ask(["AGG.RANGE", "n1", name, "MIN"]);
    let windows = list(&windows);
    let kind = text(&state, "type");
    // A test may run across the end of a window.
    let count: i64 = windows.iter().map(|window| int(window, "count")).sum();
    let each = |field: &'static str| windows.iter().map(move |window| double(window, field));
    let sum: f64 = each("sum").sum();
    let mut line = format!("{name} {kind} count={count} sum={sum:?}");
    if kind == "ABS" {
        let min = each("min").fold(f64::INFINITY, f64::min);
        let max = each("max").fold(f64::NEG_INFINITY, f64::max);
        line += &format!(" min={min:?} max={max:?} last={}", text(&state, "last"));
        if let [window] = windows {
            for percentile in ["p50", "p99"] {
                if at(window, percentile).is_some() {
                    line += &format!(" {percentile}={:?}", double(window, percentile));
                }
            }
        }
    }
    let tags = match at(&state, "tags") {
        Some(Value::Array(words)) => words.clone(),
        None => Vec::new(),
        other => panic!("{other:?}"),
    };
    let word = |value: &Value| match value {
        Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        _ => String::new(),
    };
    let tags = tags.chunks(2).map(|pair| (word(&pair[0]), word(&pair[1])));
    line + &joined(tags)
}
