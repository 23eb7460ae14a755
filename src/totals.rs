//! Sums over all nodes of the server, in atomics.
//!
//! Each node adds what changed since it was last measured, and takes its share back when it is freed, on whatever
//! thread that is. INFO reads them in a crash report, too, when nothing else may be touched.

use aggregator_core::node::NodeContents;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

static NODES: AtomicI64 = AtomicI64::new(0);
static METRICS: AtomicI64 = AtomicI64::new(0);
static HIST_METRICS: AtomicI64 = AtomicI64::new(0);
static FORGOTTEN: AtomicI64 = AtomicI64::new(0);
static ERRORS: AtomicI64 = AtomicI64::new(0);
static OBJECTS: AtomicI64 = AtomicI64::new(0);
static SOURCES: AtomicI64 = AtomicI64::new(0);
static LENGTH: [AtomicI64; 5] = [const { AtomicI64::new(0) }; 5];
static BYTES: [AtomicI64; 5] = [const { AtomicI64::new(0) }; 5];
static LEASED: [AtomicI64; 5] = [const { AtomicI64::new(0) }; 5];

/// Bytes of the nodes' names as the server holds them in its keys.
static NAME_BYTES: AtomicU64 = AtomicU64::new(0);

/// Counts a new node.
pub fn add_node() {
    NODES.fetch_add(1, Relaxed);
}

/// Uncounts a node that is freed.
pub fn remove_node() {
    NODES.fetch_sub(1, Relaxed);
}

/// Replaces a node's share in the sums.
pub fn update(before: &NodeContents, now: &NodeContents) {
    let add = |total: &AtomicI64, before: u64, now: u64| {
        if before != now {
            total.fetch_add(now as i64 - before as i64, Relaxed);
        }
    };
    add(&METRICS, before.metrics, now.metrics);
    add(&HIST_METRICS, before.hist_metrics, now.hist_metrics);
    add(&FORGOTTEN, before.forgotten, now.forgotten);
    add(&ERRORS, before.errors, now.errors);
    add(&OBJECTS, before.objects, now.objects);
    add(&SOURCES, before.sources, now.sources);
    for q in 0..5 {
        add(&LENGTH[q], before.length[q], now.length[q]);
        add(&BYTES[q], before.bytes[q], now.bytes[q]);
        add(&LEASED[q], before.leased[q], now.leased[q]);
    }
}

/// Returns the number of nodes.
#[inline]
pub fn nodes() -> u64 {
    unsigned(&NODES)
}

/// Returns the number of metrics.
#[inline]
pub fn metrics() -> u64 {
    unsigned(&METRICS)
}

/// Returns the number of metrics whose windows have histograms.
#[inline]
pub fn hist_metrics() -> u64 {
    unsigned(&HIST_METRICS)
}

/// Returns the sums over all nodes.
pub fn contents() -> NodeContents {
    NodeContents {
        metrics: unsigned(&METRICS),
        hist_metrics: unsigned(&HIST_METRICS),
        forgotten: unsigned(&FORGOTTEN),
        errors: unsigned(&ERRORS),
        objects: unsigned(&OBJECTS),
        sources: unsigned(&SOURCES),
        length: std::array::from_fn(|q| unsigned(&LENGTH[q])),
        bytes: std::array::from_fn(|q| unsigned(&BYTES[q])),
        leased: std::array::from_fn(|q| unsigned(&LEASED[q])),
    }
}

/// Returns about how many bytes the names of nodes take in the server's keys. The module has no exact count of them.
#[inline]
pub fn name_bytes() -> u64 {
    NAME_BYTES.load(Relaxed)
}

/// Counts a name.
pub fn add_name_bytes(bytes: u64) {
    NAME_BYTES.fetch_add(bytes, Relaxed);
}

/// Uncounts a name.
pub fn remove_name_bytes(bytes: u64) {
    NAME_BYTES.fetch_sub(bytes, Relaxed);
}

/// Replaces the count of all names.
pub fn set_name_bytes(bytes: u64) {
    NAME_BYTES.store(bytes, Relaxed);
}

/// A sum may be below zero for a moment while another thread frees a node.
fn unsigned(total: &AtomicI64) -> u64 {
    u64::try_from(total.load(Relaxed)).unwrap_or(0)
}
