//! The contexts in which commands and ticks run: what they depend on, and what they leave.
//!
//! The shell passes an [`ExecContext`]. A change on the primary runs in a [`WriteContext`], which has the effects and
//! the limits. What is applied, on the primary and on replicas, runs in an [`ApplyContext`].

use crate::counters::{Counters, Dropped, RejectReason};
use crate::effect::{Effects, VERSION};
use crate::error::CommandError;
use crate::id::MAX_ID;
use crate::memory::Memory;
use crate::model::{Lengths, Queue, Window};
use crate::settings::{MIN_OPEN, Rules, Settings};
use crate::time::Now;

/// The context of one command or tick, from the shell.
pub struct ExecContext<'a> {
    /// Both clocks.
    pub now: Now,
    /// The settings in force.
    pub settings: &'a Settings,
    /// The name of the node: its jitter depends on it.
    pub node_name: &'a [u8],
    /// The last queue id that this server gave; ids that are given raise it.
    pub last_id: &'a mut u64,
    /// The buffer to which the effects that a replica must replay are appended.
    pub effects: &'a mut Effects,
    /// A command may be propagated verbatim where that means the same.
    pub allow_verbatim: bool,
    /// The cost of the change may not fit the limits, even after eviction. Nothing new is accepted. What must continue
    /// (samples of existing metrics, closing windows) keeps no history, and evicts records of its own node where
    /// `memory` has nothing to spare.
    pub memory_pressure: bool,
    /// The memory limit with the fewest bytes available, as the shell measured it.
    pub memory: Memory,
    /// The counters of the server, raised together with those of the node.
    pub counters: &'a mut Counters,
}

/// The limit of the metrics that one change names for the log.
pub(crate) const MAX_SUSPECTS: usize = 16;

/// The inputs of one change of a node besides the node's value, and the counts of the change. On the primary it comes
/// from an [`ExecContext`], on a replica from the header of a payload.
pub(crate) struct ApplyContext {
    /// The primary's wall clock, Unix milliseconds.
    pub now_ms: i64,
    /// The running time of this server. It decides nothing while a change is applied; it is only remembered.
    pub mono_ms: u64,
    /// The id of the next record.
    pub next_id: u64,
    /// The rules of the node.
    pub rules: Rules,
    /// The lengths of the node's windows and slots.
    pub lengths: Lengths,
    /// Windows that close are kept for AGG.RANGE.
    pub keeps_history: bool,
    /// The version of effects that decided it; see [`crate::effect::VERSION`].
    pub version: u8,
    /// The first metrics in whose short window a counter restarted too often; see [`ApplyContext::suspect`].
    pub suspects: Option<Box<Suspects>>,
    /// The oldest records of MIN, HOUR and LOG that were evicted because their queue was full. Every log entry evicts
    /// one in the long run, and adding all counters for it took 292 instructions.
    evicted: [u64; 3],
    /// The counts of the change. [`ApplyContext::add_counts`] adds them to the counters of the node and the server.
    /// `None` as long as nothing was counted: clearing 300 bytes for every sample took 40 instructions.
    counts: Option<Counters>,
}

/// The names of [`ApplyContext::suspects`], in a box as there are nearly never any.
#[derive(Default)]
pub(crate) struct Suspects(pub Vec<Box<[u8]>>);

impl ApplyContext {
    /// A context that has counted nothing, of the current version and with history.
    #[inline]
    pub fn new(
        (now_ms, mono_ms): (i64, u64),
        next_id: u64,
        rules: Rules,
        lengths: Lengths,
    ) -> ApplyContext {
        ApplyContext {
            now_ms,
            mono_ms,
            next_id,
            rules,
            lengths,
            keeps_history: true,
            version: VERSION,
            suspects: None,
            evicted: [0; 3],
            counts: None,
        }
    }

    /// Returns the next id. The ids of one change follow each other without gaps.
    pub fn take_id(&mut self) -> u64 {
        let id = self.next_id.min(MAX_ID);
        self.next_id = id + 1;
        id
    }

    /// Counts for the node and the server.
    #[cold]
    pub fn count(&mut self, count: impl FnOnce(&mut Counters)) {
        count(self.counts.get_or_insert_default());
    }

    /// Counts the oldest records of MIN, HOUR or LOG that were evicted because their queue was full.
    #[inline]
    pub fn count_evicted(&mut self, queue: Queue, n: u64) {
        if let Some(evicted) = self.evicted.get_mut(queue as usize) {
            *evicted += n;
        }
    }

    /// Adds what was counted to counters, of the node or of the server.
    #[inline]
    pub fn add_counts(&self, counters: &mut Counters) {
        if self.evicted != [0; 3] {
            for (queue, n) in [Queue::Min, Queue::Hour, Queue::Log]
                .into_iter()
                .zip(self.evicted)
            {
                counters.drop(Dropped::QueueFull, Some(queue), n, self.now_ms);
            }
        }
        if let Some(counts) = &self.counts {
            counters.add(counts);
        }
    }

    /// Returns `true` if version 1 of effects (0.1.0) decided it, which kept two windows open and forgot a metric
    /// completely.
    pub fn is_version_1(&self) -> bool {
        self.version == 1
    }

    /// Counts a short window in which a counter restarted too often, and keeps the name of its metric for the log.
    #[cold]
    pub fn suspect(&mut self, metric: &[u8]) {
        self.count(|c| c.suspect_diff = c.suspect_diff.saturating_add(1));
        let Suspects(names) = &mut **self.suspects.get_or_insert_default();
        if names.len() < MAX_SUSPECTS {
            names.push(metric.into());
        }
    }

    /// The clock less the flush delay: a window that ended at this time or before may close.
    #[inline]
    pub fn flushed_ms(&self) -> i64 {
        self.now_ms.saturating_sub(self.rules.flush_delay_ms)
    }

    /// The length of windows, milliseconds.
    #[inline]
    pub fn length_ms(&self, window: Window) -> i64 {
        i64::from(self.lengths[window]) * 1000
    }

    /// Returns how many windows of one length may be open of a metric that has `open` of them. Under memory pressure a
    /// metric gets no third one, as the reserve does not cover it.
    pub fn max_open(&self, window: Window, open: usize) -> usize {
        let max = match self.is_version_1() {
            true => MIN_OPEN,
            false => self.rules.open_windows(self.lengths[window]),
        };
        match self.keeps_history {
            true => max,
            false => max.min(open.max(MIN_OPEN)),
        }
    }
}

/// A change of a node on the primary, which checks limits and writes effects.
pub(crate) struct WriteContext<'a> {
    /// The context in which the change is applied.
    pub apply: ApplyContext,
    /// The effects so far.
    pub effects: &'a mut Effects,
    /// The settings in force.
    pub settings: &'a Settings,
    /// Both clocks.
    pub now: Now,
    /// See [`ExecContext::memory_pressure`].
    pub memory_pressure: bool,
    /// The memory limit with the fewest bytes available.
    pub memory: Memory,
    /// The bytes of MIN, HOUR and LOG before the change.
    pub queued: u64,
    /// Replicas hold the rules and the clock of the node, so the command may be propagated verbatim.
    pub verbatim_allowed: bool,
    /// The id of the first record that the change queues.
    pub first_id: u64,
}

impl WriteContext<'_> {
    /// Returns `true` if the command alone says all that has been decided so far.
    #[inline]
    pub fn is_verbatim(&self) -> bool {
        self.verbatim_allowed && self.apply.next_id == self.first_id && self.effects.is_empty()
    }

    /// Counts a rejection.
    pub fn count_rejected(&mut self, reason: RejectReason) {
        self.apply.count(|c| c.reject(reason));
    }

    /// The error where memory does not suffice, counted.
    pub fn memory_error(&mut self, command: &'static str) -> CommandError {
        self.count_rejected(self.memory.limit.rejected());
        CommandError::memory(command, &self.memory)
    }
}
