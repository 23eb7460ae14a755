//! Warnings in the server's log of DIFF metrics that several programs seem to report.
//!
//! One warning per metric and hour, and at most [`MAX`] per hour: AGG.INFO counts all.

use crate::ffi::{Ctx, Level, MainThread};
use aggregator_core::Now;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

/// The largest number of metrics that are logged within an hour.
const MAX: usize = 256;

const HOUR_MS: u64 = 3_600_000;

/// The metrics that were logged within an hour.
struct Logged {
    /// The hour, by the uptime of the server.
    hour: u64,
    /// The hashes of nodes and metrics. Their memory is allocated once, as a node is measured while it is changed.
    metrics: Vec<u64>,
}

static LOGGED: MainThread<Option<Logged>> = MainThread::new(None);

/// Allocates the list of logged metrics.
pub fn init() {
    LOGGED.with(|logged| {
        *logged = Some(Logged {
            hour: 0,
            metrics: Vec::with_capacity(MAX),
        });
    });
}

/// Logs metrics of a node whose counter restarted too often in a short window.
#[cold]
pub fn log(ctx: Ctx<'_>, node: &[u8], metrics: &[Box<[u8]>], now: Now) {
    for metric in metrics {
        let is_new = LOGGED.with(|logged| {
            let logged = logged.as_mut()?;
            let hour = now.mono_ms / HOUR_MS;
            if logged.hour != hour {
                logged.hour = hour;
                logged.metrics.clear();
            }
            let hash = BuildHasherDefault::<DefaultHasher>::new().hash_one((node, metric));
            let is_new = !logged.metrics.contains(&hash) && logged.metrics.len() < MAX;
            if is_new {
                logged.metrics.push(hash);
            }
            Some(is_new)
        });
        if is_new.flatten() == Some(true) {
            let (node, metric) = (node.escape_ascii(), metric.escape_ascii());
            let text = format!(
                "agg: DIFF metric '{metric}' of node '{node}' restarts repeatedly: if several processes report \
                 their totals to it, let each report increments with INC, or give each a metric of its own"
            );
            ctx.log(Level::Warning, &text);
        }
    }
}
