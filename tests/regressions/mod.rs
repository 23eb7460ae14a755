//! The defects of the design before this one, D1 to D18: each is a test that it does not occur here, on a real server.

mod contract;
mod delivery;
mod values;
mod windows;

use redis::Value;
use testkit::*;

/// MIN windows of one second and HOUR windows of two, closed soon.
const SHORT: &str = "min-window 1 hour-window 2 flush-delay-ms 100";

/// Returns a time a minute ago at which windows of [`SHORT`] start.
fn past() -> i64 {
    (now_ms() - 60_000) / 2_000 * 2_000
}

/// Waits for this many records of a queue and returns them.
fn arrived(server: &Server, queue: &str, n: usize) -> Vec<serde_json::Value> {
    until(&format!("{n} records in {queue}"), || {
        let all = server.peek("n", queue);
        (all.len() >= n).then_some(all)
    })
}

/// Returns a field of each record.
fn all(records: &[serde_json::Value], field: &str) -> Vec<serde_json::Value> {
    records.iter().map(|record| record[field].clone()).collect()
}

/// Returns the open MIN window of a metric of node `n`.
fn open(server: &Server, metric: &str) -> Value {
    let shown: Value = server.ask(&format!("AGG.GET n METRIC {metric}"));
    list(at(&shown, "min").unwrap())[0].clone()
}
