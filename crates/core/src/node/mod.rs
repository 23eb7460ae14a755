//! A node: the whole value of a key, and all rules.
//!
//! A change runs in one of two ways, by the same code. On the primary it runs in a [`WriteContext`], which checks
//! limits and records each decision as effects (`write.rs`, `drain.rs`, `sweep.rs`). On a replica those effects are
//! applied (`apply.rs`). The knowledge that only the primary has (leases, deliveries, idle times, counts) is no part of
//! the value: no effect, saved node or digest contains it.

mod apply;
mod cost;
mod drain;
mod errors;
mod import;
mod index;
mod metric;
mod objects;
mod queue;
mod read;
mod render;
mod sample_cost;
mod scan;
mod sequence;
mod snapshot;
mod sources;
mod sweep;
mod table;
mod write;

pub(crate) use cost::{HIST_BEYOND_RESERVE, LEASE_COST, NEW_NODE};
pub use cost::{HIST_RESERVE, METRIC_RESERVE, NODE_RESERVE};
pub(crate) use drain::Selection;
pub(crate) use import::{Import, ImportError, Shortage};
pub(crate) use sample_cost::CostedSample;
pub(crate) use scan::{Scan, ScanValues};
pub(crate) use sequence::Admission;
pub use snapshot::{SnapshotLoader, max_histogram_bytes};
pub use sweep::SweepOutcome;
pub(crate) use write::{MAX_REQUEUED, ReportOutcome, RequeueError, SampleError};

use crate::context::{ApplyContext, ExecContext, MAX_SUSPECTS, WriteContext};
use crate::counters::Counters;
use crate::effect::VERSION;
use crate::error::CommandError;
use crate::id::MAX_DRAG_US;
use crate::memory::MemoryLimit;
use crate::model::{Lengths, Queue, TagId};
use crate::settings::{Rules, Settings};
use errors::Errors;
use metric::Metrics;
use objects::Objects;
use queue::Queues;
use sources::Sources;
use table::NameHasher;

/// The memory blocks of a metric's histograms while one window of each length is open: two lead to them, and each has
/// one of its own.
const HIST_BLOCKS: usize = 4;

/// A node.
pub struct Node {
    lengths: Lengths,
    /// In a box: without it a stored node would take the next larger size class of an allocator, 2,560 bytes.
    rules: Box<Rules>,
    /// Replicas hold the rules, too.
    announced: bool,
    /// The primary's clock at the last payload, Unix milliseconds: the time of commands that are propagated verbatim.
    clock_ms: i64,
    /// The version of the last payload: commands after it mean what they meant then.
    version: u8,
    /// The node is being assembled from the frames of a saved node, and is not complete.
    unfinished: bool,
    /// The saved node that is being loaded was unfinished.
    saved_unfinished: bool,
    metrics: Metrics,
    queues: Queues,
    errors: Errors,
    objects: Objects,
    sources: Sources,
    /// Counts since the start of the server, in a box as the rules are.
    counters: Box<Counters>,
    /// What [`Node::take_suspects`] returns.
    suspects: Vec<Box<[u8]>>,
}

/// The contents of a node in numbers, to be summed over the server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeContents {
    /// Metrics.
    pub metrics: u64,
    /// Those of them whose windows have histograms.
    pub hist_metrics: u64,
    /// Forgotten metrics for which it is remembered where they were delivered.
    pub forgotten: u64,
    /// Errors.
    pub errors: u64,
    /// Objects that are not gone.
    pub objects: u64,
    /// Sources of sequence numbers.
    pub sources: u64,
    /// Records by queue.
    pub length: [u64; 5],
    /// Bytes by queue.
    pub bytes: [u64; 5],
    /// Leased records by queue.
    pub leased: [u64; 5],
}

impl Node {
    /// Creates a node with the window lengths of the settings. `seed` randomizes the hash tables of this process;
    /// nothing visible depends on it.
    pub fn new(settings: &Settings, seed: u64) -> Node {
        let windows_s = [settings.min_window_s, settings.hour_window_s];
        let lengths = Lengths::new(windows_s, settings.inc_slot_s);
        Node::with(lengths, settings.rules, seed)
    }

    fn with(lengths: Lengths, rules: Rules, seed: u64) -> Node {
        Node {
            lengths,
            rules: Box::new(rules),
            announced: false,
            clock_ms: 0,
            version: VERSION,
            unfinished: false,
            saved_unfinished: false,
            metrics: Metrics::new(seed),
            queues: Queues::default(),
            errors: Errors::new(seed),
            objects: Objects::new(seed),
            sources: Sources::new(seed),
            counters: Box::default(),
            suspects: Vec::new(),
        }
    }

    /// Returns `true` if it is being assembled by AGG.APPLY. Until it is complete it accepts nothing else.
    pub fn is_unfinished(&self) -> bool {
        self.unfinished
    }

    /// The primary's clock at the last payload, Unix milliseconds.
    pub fn clock_ms(&self) -> i64 {
        self.clock_ms
    }

    /// Acquires a reference to a tag list for the time that a command runs; [`Node::release_tags`] returns it.
    pub(crate) fn acquire_tags(&mut self, tags: &[u8]) -> TagId {
        self.metrics.tags.acquire(tags)
    }

    /// Returns `true` if a reference to a tag list costs nothing.
    pub(crate) fn holds_tags(&self, tags: &[u8]) -> bool {
        self.metrics.tags.holds(tags)
    }

    /// Returns a reference that [`Node::acquire_tags`] acquired.
    pub(crate) fn release_tags(&mut self, id: TagId) {
        self.metrics.tags.release(id);
    }

    /// A hasher for a set of names.
    pub(crate) fn name_hasher(&self) -> NameHasher {
        self.metrics.table.hasher()
    }

    /// Runs `f` as one change of the primary: with the rules of the settings, with effects and new ids.
    #[inline(always)]
    pub(crate) fn change<R>(
        &mut self,
        exec: &mut ExecContext<'_>,
        f: impl FnOnce(&mut Node, &mut WriteContext<'_>) -> R,
    ) -> R {
        let first_id = self.first_id(exec);
        if *self.rules != exec.settings.rules || exec.settings.flush_jitter_ms != 0 {
            self.adopt(&exec.settings.rules_of(exec.node_name));
        }
        let now_ms = exec.now.ms();
        exec.effects.open(now_ms, first_id, exec.memory_pressure);
        if !self.announced {
            exec.effects.open_with_rules(&self.lengths, &self.rules);
        }
        let clocks = (now_ms, exec.now.mono_ms);
        let mut ctx = WriteContext {
            apply: ApplyContext::new(clocks, first_id, *self.rules, self.lengths),
            effects: exec.effects,
            settings: exec.settings,
            now: exec.now,
            memory_pressure: exec.memory_pressure,
            memory: exec.memory,
            queued: self.queued(),
            verbatim_allowed: exec.allow_verbatim
                && !exec.memory_pressure
                && self.announced
                && self.clock_ms == now_ms,
            first_id,
        };
        ctx.apply.keeps_history = !exec.memory_pressure;
        let result = f(self, &mut ctx);
        // By reference: a copy of the context took 80 instructions.
        let apply = &mut ctx.apply;
        if let Some(suspects) = apply.suspects.take() {
            self.suspects.extend(suspects.0);
            self.suspects.truncate(MAX_SUSPECTS);
        }
        self.add_counts(apply, exec.counters);
        if apply.next_id > first_id {
            // A node whose ids are far ahead of the clock does not drag those of all others along.
            let max = exec.now.wall_us.saturating_add(MAX_DRAG_US);
            *exec.last_id = (*exec.last_id).max((apply.next_id - 1).min(max));
        }
        if exec.effects.has_payload() {
            self.announced = true;
            self.clock_ms = now_ms;
            self.version = VERSION;
        }
        result
    }

    /// The first id of a change on the primary. Within a millisecond ids count on, so that the records of a burst can
    /// be propagated verbatim.
    #[inline]
    fn first_id(&self, exec: &ExecContext<'_>) -> u64 {
        let clock_us = if *exec.last_id / 1000 == exec.now.wall_us / 1000 {
            0
        } else {
            exec.now.wall_us
        };
        (*exec.last_id + 1)
            .max(clock_us)
            .max(self.queues.last_id + 1)
    }

    /// Takes over rules, if they have changed.
    #[cold]
    fn adopt(&mut self, rules: &Rules) {
        if *self.rules == *rules {
            return;
        }
        let histories = self.rules.history.iter().zip(rules.history);
        if histories.into_iter().any(|(before, now)| now < *before) {
            self.metrics.untrimmed = Some(u32::MAX);
        }
        *self.rules = *rules;
        self.announced = false;
    }

    /// Adds what a change has counted to the counters of the node and the server.
    #[inline]
    fn add_counts(&mut self, apply: &ApplyContext, server: &mut Counters) {
        apply.add_counts(&mut self.counters);
        apply.add_counts(server);
    }

    /// Evicts the oldest records of MIN, HOUR or LOG until about `bytes` are free. Returns how many it evicted.
    pub fn drop_oldest(
        &mut self,
        queue: Queue,
        bytes: u64,
        limit: MemoryLimit,
        exec: &mut ExecContext<'_>,
    ) -> u64 {
        if queue.is_references() {
            return 0;
        }
        self.change(exec, |node, ctx| {
            let dropped = node.queues.free(queue, bytes);
            ctx.effects.remove_oldest(queue, dropped);
            let (now_ms, reason) = (ctx.apply.now_ms, limit.dropped());
            ctx.apply
                .count(|c| c.drop(reason, Some(queue), dropped, now_ms));
            dropped
        })
    }

    /// Resets the node after a load or a promotion: idle times restart, all waiting records count as delivered, no
    /// lease runs.
    pub fn restart(&mut self, mono_ms: u64) {
        self.metrics.idle_not_before = mono_ms;
        // A limit may have been lowered shortly before.
        self.metrics.untrimmed = Some(u32::MAX);
        self.queues.reset_leases();
        self.errors.restart(mono_ms);
        self.objects.restart(mono_ms);
        self.announced = false;
    }

    /// Returns `true` if a record has become available in a queue since the last call.
    #[inline]
    pub(crate) fn take_ready(&mut self) -> bool {
        std::mem::take(&mut self.queues.ready)
    }

    /// Returns `true` if [`Node::take_suspects`] returns any.
    #[inline]
    pub fn has_suspects(&self) -> bool {
        !self.suspects.is_empty()
    }

    /// Returns the names of the metrics whose counter restarted too often in a short window that a change of this
    /// server has closed since the last call, at most some: probably several programs report one DIFF metric.
    pub fn take_suspects(&mut self) -> Vec<Box<[u8]>> {
        std::mem::take(&mut self.suspects)
    }

    /// Counts a rejection that was decided without the node. The counters of the server are the caller's.
    pub fn count_rejection(&mut self, error: &CommandError) {
        self.counters.reject(error.reason);
    }

    /// Returns the contents of the node in numbers.
    #[inline]
    pub fn contents(&self) -> NodeContents {
        NodeContents {
            metrics: self.metrics.table.len().into(),
            hist_metrics: self.metrics.hist.into(),
            forgotten: self.metrics.forgotten.table.len().into(),
            errors: self.errors.table.len().into(),
            objects: self.objects.live(),
            sources: self.sources.len().into(),
            length: Queue::ALL.map(|q| self.queues.len(q)),
            bytes: Queue::ALL.map(|q| self.queues.bytes(q)),
            leased: Queue::ALL.map(|q| self.queues.leases[q as usize].leased()),
        }
    }

    /// Returns the bytes of each queue that may be evicted where memory is short. Imported records never are.
    pub fn evictable_bytes(&self) -> [u64; 5] {
        Queue::ALL.map(|queue| match queue.is_references() {
            true => 0,
            false => self.queues.own_bytes(queue),
        })
    }

    /// Returns `true` if it contains something else than `before`. Cheaper than comparing [`Node::contents`].
    #[inline]
    pub fn differs(&self, before: &NodeContents) -> bool {
        // Without branches, as nearly always all are equal.
        let items = u64::from(self.metrics.table.len()) ^ before.metrics
            | u64::from(self.metrics.hist) ^ before.hist_metrics
            | u64::from(self.metrics.forgotten.table.len()) ^ before.forgotten
            | u64::from(self.errors.table.len()) ^ before.errors
            | self.objects.live() ^ before.objects
            | u64::from(self.sources.len()) ^ before.sources;
        items != 0
            || self
                .queues
                .differ(&before.length, &before.bytes, &before.leased)
    }

    /// The largest id that was ever in this node.
    pub fn last_id(&self) -> u64 {
        self.queues.last_id
    }

    /// The oldest id of a queue: about the time at which it was queued, Unix microseconds.
    pub fn oldest(&self, queue: Queue) -> Option<u64> {
        self.queues.first(queue)
    }

    /// The approximate number of memory blocks: UNLINK frees a value of many on another thread.
    pub fn free_effort(&self) -> usize {
        self.metrics.table.len() as usize
            + self.metrics.hist as usize * HIST_BLOCKS
            + self.metrics.forgotten.table.len() as usize / 64
            + self.errors.table.len() as usize
            + self.objects.table.len() as usize
            + self.sources.len() as usize
            + Queue::ALL
                .iter()
                .map(|&q| {
                    let imported = self.queues.imported(q).map_or(0, |i| i.len());
                    (self.queues.own_len(q) / 64 + imported) as usize
                })
                .sum::<usize>()
    }
}
