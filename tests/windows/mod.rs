//! The effects of time on a real server: windows close and are delivered, late samples are recognised, names expire and
//! errors are queued again. Windows last a second or two. Samples that belong together are sent in one MULTI, between
//! whose commands the timer does not run, and with times of their own, so no result depends on the speed of a test.

mod changed_settings;
mod clock;
mod closing;
mod counters;
mod jitter;
mod late;
mod lifetimes;
mod records;

use redis::Value;
use testkit::*;

/// MIN windows of one second and HOUR windows of two, closed soon.
const SHORT: &str = "min-window 1 hour-window 2 flush-delay-ms 100";

/// Returns a time a minute ago at which windows of [`SHORT`] start.
fn past() -> i64 {
    (now_ms() - 60_000) / 2_000 * 2_000
}

/// Returns the records of a queue without consuming them.
fn look(server: &Server, queue: &str) -> Vec<QueuedRecord> {
    queued_records(&server.ask(&format!("AGG.PEEK n {queue} COUNT 10000")))
}

/// Waits for this many records of a queue and returns them.
fn arrived(server: &Server, queue: &str, n: usize) -> Vec<QueuedRecord> {
    until(&format!("{n} records in {queue}"), || {
        let all = look(server, queue);
        (all.len() >= n).then_some(all)
    })
}

/// Returns AGG.GET of a metric.
fn metric(server: &Server, name: &str) -> Value {
    server.ask(&format!("AGG.GET n METRIC {name}"))
}

/// Returns the open windows of a length that AGG.GET shows.
fn open(metric: &Value, length: &str) -> Vec<Value> {
    list(at(metric, length).unwrap()).to_vec()
}

/// The numbers of a record: count, then sum, avg, min, max and last.
type Numbers = (u64, [f64; 5]);

/// Returns the exact record of a window.
fn record(
    (queue, id): (&str, i64),
    (name, kind): (&str, &str),
    (start, end): (i64, i64),
    (count, [sum, avg, min, max, last]): Numbers,
    tags: &str,
) -> String {
    let window = (end - start) / 1000;
    format!(
        concat!(
            r#"{{"node":"n","queue":"{}","id":{},"metric":"{}","type":"{}","window":{},"start":{},"end":{},"#,
            r#""count":{},"sum":{:?},"avg":{:?},"min":{:?},"max":{:?},"last":{:?},"tags":{}}}"#
        ),
        queue, id, name, kind, window, start, end, count, sum, avg, min, max, last, tags
    )
}

/// Asserts that a record is exactly that of a window.
fn is_record(
    found: &QueuedRecord,
    metric: (&str, &str),
    (start, end): (i64, i64),
    numbers: Numbers,
    tags: &str,
) {
    assert_eq!(
        found.text,
        record(
            (&found.queue, found.id),
            metric,
            (start, end),
            numbers,
            tags
        )
    );
}

/// Returns a field of all records of a metric in a queue.
fn of(records: &[QueuedRecord], metric: &str, field: &str) -> Vec<serde_json::Value> {
    let records = records.iter().map(QueuedRecord::json);
    records
        .filter(|r| r["metric"] == metric)
        .map(|r| r[field].clone())
        .collect()
}
