//! `agg poll` with a real Prometheus and a real VictoriaMetrics as receivers of remote write: names and values of all
//! kinds of windows, native histograms, samples that a server rejects, and what happens while it fails.

mod contents;
mod faults;
mod histograms;
mod page;
mod rejections;
mod settings;
mod victoria;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::err;
use crate::support::place::{Place, remote_write};

/// The start of a window an hour ago, in Unix milliseconds.
fn past() -> i64 {
    crate::support::past_hour()
}

/// Returns a record of MIN: a window of 300 s with one sample.
fn record(id: i64, metric: &str, start: i64, value: f64) -> Value {
    json!({
        "node": "n1", "queue": "MIN", "id": id, "metric": metric, "type": "ABS", "window": 300, "start": start,
        "end": start + 300_000, "count": 1, "sum": value, "avg": value, "min": value, "max": value, "last": value,
        "tags": {},
    })
}

/// Returns a place whose poller writes windows to a URL. Its source is not used: records are loaded from files.
fn loading(url: &str, more: &str) -> Place {
    let head = "[[source]]\nurls = [\"redis://127.0.0.1:1\"]\n";
    Place::new(&format!("{head}{}", remote_write(url, more)))
}

/// Loads records in this order and returns the dead letters.
fn load(place: &Place, records: &[Value]) -> Vec<Value> {
    let before = place.lines("dead").len();
    let lines: Vec<String> = records.iter().map(Value::to_string).collect();
    std::fs::write(place.path("records"), lines.join("\n")).unwrap();
    let mut command = place.command("load");
    let output = command.arg(place.path("records")).output().unwrap();
    let dead = place.lines("dead");
    let dead = dead[before..].iter();
    let dead: Vec<Value> = dead
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let said = err(&output);
    let plural = |count: usize| if count == 1 { "" } else { "s" };
    let stored = records.len() - dead.len();
    let expected = format!(
        "{stored} record{} stored, {} dead letter{}\n",
        plural(stored),
        dead.len(),
        plural(dead.len())
    );
    assert!(said.contains(&expected), "{expected}{said}");
    dead
}

/// Returns the ids and reasons of dead letters.
fn reasons(dead: &[Value]) -> BTreeMap<i64, &str> {
    dead.iter()
        .map(|letter| {
            (
                letter["id"].as_i64().unwrap(),
                letter["reason"].as_str().unwrap(),
            )
        })
        .collect()
}
