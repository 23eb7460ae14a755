//! A node is one key: whatever the server does with keys of any type works on it, and its windows keep closing wherever
//! it moves.

mod keys;
mod moves;
mod removal;
mod transactions;

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use redis::{Connection, ConnectionLike, Value};
use testkit::*;

/// Returns all records of a queue without consuming them.
fn peek(connection: &mut Connection, node: &str, queue: &str) -> Vec<QueuedRecord> {
    queued_records(&ask(
        connection,
        &format!("AGG.PEEK {node} {queue} COUNT 10000"),
    ))
}

/// Returns whether a window of the metric has closed and its record names the node.
fn has_closed(connection: &mut Connection, node: &str, metric: &str) -> bool {
    peek(connection, node, "MIN")
        .iter()
        .map(QueuedRecord::json)
        .filter(|record| record["metric"] == metric)
        .inspect(|record| assert_eq!(record["node"], node))
        .count()
        > 0
}

fn closes(connection: &mut Connection, node: &str, metric: &str) {
    until(&format!("{node} closes the window of {metric}"), || {
        has_closed(connection, node, metric).then_some(())
    });
}

/// Asserts that the node accepts a sample and closes its window.
fn goes_on(connection: &mut Connection, node: &str) {
    static PROBES: AtomicUsize = AtomicUsize::new(0);
    let metric = format!("probe{}", PROBES.fetch_add(1, Relaxed));
    let taken: i64 = ask(connection, &format!("AGG.STAT {node} {metric} 1"));
    assert_eq!(taken, 1);
    closes(connection, node, &metric);
}

fn digests(connection: &mut Connection, keys: &str) -> Vec<String> {
    ask(connection, &format!("DEBUG DIGEST-VALUE {keys}"))
}

fn exists(connection: &mut Connection, key: &str) -> bool {
    ask(connection, &format!("EXISTS {key}"))
}

/// Returns a number of INFO agg.
fn info(server: &Server, field: &str) -> i64 {
    server.info_field("agg", field)
}

fn scanned(connection: &mut Connection) -> Vec<String> {
    let (mut cursor, mut names) = (0_u64, Vec::new());
    loop {
        let (next, found): (u64, Vec<String>) =
            ask(connection, &format!("SCAN {cursor} TYPE aggr-node COUNT 3"));
        names.extend(found);
        if next == 0 {
            names.sort();
            names.dedup();
            return names;
        }
        cursor = next;
    }
}
