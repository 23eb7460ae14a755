//! Memory accounting: what counts against the limits, and whether a change fits below them.
//!
//! Allocations are counted exactly (`ffi::alloc`), the names of keys approximately (`totals`).

use crate::ffi::alloc;
use crate::totals;
use aggregator_core::node::{HIST_RESERVE, METRIC_RESERVE, NODE_RESERVE};
use aggregator_core::{Memory, MemoryLimit, Settings};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The smallest step of eviction, and the smallest reserve for what commands allocate and free again.
pub const MIN_STEP: u64 = 64 << 10;

/// The largest reserve for what commands allocate and free again (the text of a reply, effects).
const MAX_SLACK: u64 = 2 << 20;

/// Bytes of the running command itself: its arguments as the client sent them, and as they were parsed.
static TRANSIENT: AtomicU64 = AtomicU64::new(0);

/// The memory of the running command, which is free again when the command is over. It does not count: no node loses
/// records for it, and no command is rejected because of it.
pub struct TransientMemory {
    bytes_before: i64,
}

impl TransientMemory {
    /// Starts with what was allocated since the command began. `bytes_before` is [`alloc::main_thread_bytes`] at that
    /// time.
    #[inline]
    pub fn since(bytes_before: i64) -> TransientMemory {
        let transient = TransientMemory { bytes_before };
        transient.update();
        transient
    }

    /// Includes what was allocated meanwhile. To be called only before the command has changed anything.
    #[inline]
    pub fn update(&self) {
        let bytes = alloc::main_thread_bytes() - self.bytes_before;
        TRANSIENT.store(u64::try_from(bytes).unwrap_or(0), Relaxed);
    }
}

impl Drop for TransientMemory {
    #[inline]
    fn drop(&mut self) {
        TRANSIENT.store(0, Relaxed);
    }
}

/// The memory used by a node.
#[derive(Clone, Copy, Default)]
pub struct NodeUsage {
    /// Bytes that the node has allocated.
    pub bytes: u64,
    /// The number of its metrics.
    pub metrics: u64,
    /// Those of them whose windows have histograms.
    pub hist_metrics: u64,
}

/// Returns the bytes that count against `agg.max-memory`: what the module has allocated, and the names of its keys.
#[inline]
pub fn used() -> u64 {
    let transient = TRANSIENT.load(Relaxed);
    alloc::used_bytes().saturating_sub(transient) + totals::name_bytes()
}

/// Returns what must stay free below `agg.max-memory`: for what commands allocate and free again, and for what existing
/// metrics may come to use.
#[inline]
fn server_reserve(settings: &Settings) -> u64 {
    let slack = (settings.max_memory / 64).clamp(MIN_STEP, MAX_SLACK);
    let metrics = totals::metrics() * METRIC_RESERVE + totals::hist_metrics() * HIST_RESERVE;
    slack + metrics + totals::nodes() * NODE_RESERVE
}

/// Returns the server's limit and its use, for a change that may cost `requested` bytes.
#[inline]
pub fn server_memory(requested: u64, settings: &Settings) -> Memory {
    Memory {
        limit: MemoryLimit::Server,
        max: settings.max_memory,
        used: used(),
        reserved: server_reserve(settings),
        requested,
    }
}

/// Returns the limit of a node and its use, for a change that may cost `requested` bytes; `None` if nodes have no
/// limit.
#[inline]
pub fn node_memory(node: NodeUsage, requested: u64, settings: &Settings) -> Option<Memory> {
    (settings.max_node_memory != 0).then(|| Memory {
        limit: MemoryLimit::Node,
        max: settings.max_node_memory,
        used: node.bytes,
        reserved: NODE_RESERVE + node.metrics * METRIC_RESERVE + node.hist_metrics * HIST_RESERVE,
        requested,
    })
}

/// Returns the limit that leaves less for a change of a node that may cost `requested` bytes. A new node has the
/// default usage. The change fits below both limits if it fits below this one.
#[inline]
pub fn tighter_limit(node: NodeUsage, requested: u64, settings: &Settings) -> Memory {
    let server = server_memory(requested, settings);
    match node_memory(node, requested, settings) {
        Some(node) => tighter(node, server),
        None => server,
    }
}

fn tighter(node: Memory, server: Memory) -> Memory {
    let left = |m: &Memory| m.max as i128 - i128::from(m.used) - i128::from(m.reserved);
    if left(&node) < left(&server) {
        node
    } else {
        server
    }
}

/// Returns whether `cost` bytes fit below `agg.max-memory`.
#[inline]
pub fn fits(cost: u64, settings: &Settings) -> bool {
    cost == 0 || server_memory(cost, settings).excess() == 0
}

/// Returns whether `cost` bytes fit below `agg.max-memory` and the limit of a node.
#[inline]
pub fn fits_node(cost: u64, node: NodeUsage, settings: &Settings) -> bool {
    fits(cost, settings)
        && (cost == 0 || node_memory(node, cost, settings).is_none_or(|m| m.excess() == 0))
}
