//! AGG.POP, FETCH, ACK, NACK, EXTEND, PEEK and REQUEUE on a real server: what queues deliver and in which order,
//! leases, the form of records, and what is rejected.

mod ids;
mod imports;
mod leases;
mod lines;
mod peek;
mod records;
mod references;
mod rejections;
mod replies;
mod requeue;

use redis::Value;
use testkit::of_queue as info;
use testkit::*;

const QUEUES: [&str; 5] = ["MIN", "HOUR", "LOG", "ERROR", "REALITY"];

/// Queues a log entry and returns its id.
fn log(server: &Server, node: &str, message: &str) -> i64 {
    server.ask(&format!("AGG.LOG {node} {message}"))
}

/// Returns the records that POP, FETCH or PEEK delivers.
fn take(server: &Server, line: &str) -> Vec<QueuedRecord> {
    queued_records(&server.ask(line))
}

/// Returns the only record of such a reply.
fn only(server: &Server, line: &str) -> QueuedRecord {
    let [record] = take(server, line).try_into().expect("one record");
    record
}

/// Waits until POP or FETCH delivers something.
fn take_when_there(server: &Server, line: &str) -> Vec<QueuedRecord> {
    until(line, || {
        Some(take(server, line)).filter(|records| !records.is_empty())
    })
}

fn ids(records: &[QueuedRecord]) -> Vec<i64> {
    records.iter().map(|record| record.id).collect()
}

/// Returns records as pairs of id and deliveries.
fn deliveries(records: &[QueuedRecord]) -> Vec<(i64, i64)> {
    records.iter().map(|e| (e.id, e.deliveries)).collect()
}

/// Closes the windows of a metric: their records are queued.
fn close(server: &Server, node: &[u8], metric: &[u8]) {
    let forgotten: i64 = server.send(&[b"AGG.FORGET", node, b"METRIC", metric]);
    assert_eq!(forgotten, 1);
}

/// Adds one record to each queue of a node.
fn one_of_each(server: &Server, node: &str) {
    one_of_each_with(server, node, "m");
}

/// Adds one record to each queue, with windows of a metric of this name, of which none was delivered yet.
fn one_of_each_with(server: &Server, node: &str, metric: &str) {
    let start = past_hour();
    server.ask::<()>(&format!("AGG.STAT {node} {metric} 1 AT {start}"));
    close(server, node.as_bytes(), metric.as_bytes());
    log(server, node, "text");
    server.ask::<()>(&format!("AGG.ERROR {node} text"));
    server.ask::<()>(&format!("AGG.REALITY {node} key model {{}}"));
}
