//! Counts since the server's start: of a node, and of the whole server. They are no part of the value.

use crate::error::RejectReason;
use crate::model::Queue;

/// Why something that was held is gone without having been delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// The queue was at its limit of bytes; the oldest made room.
    QueueFull,
    /// The server was at `max-memory`; the oldest of the largest queue made room.
    Memory,
    /// `max-errors`: an error that waited made room.
    Errors,
    /// `max-objects` objects were gone and not yet delivered; the oldest made room.
    Gone,
    /// A closed bucket that was not kept for AGG.RANGE, for want of memory.
    History,
    /// The node was at `max-node-memory`; the oldest of its largest queue made room.
    NodeMemory,
}

impl Dropped {
    /// All reasons in the order of their counters.
    pub const ALL: [Dropped; 6] = [
        Dropped::QueueFull,
        Dropped::Memory,
        Dropped::Errors,
        Dropped::Gone,
        Dropped::History,
        Dropped::NodeMemory,
    ];

    /// The name under which it is shown.
    pub fn name(self) -> &'static str {
        match self {
            Dropped::QueueFull => "queue-full",
            Dropped::Memory => "max-memory",
            Dropped::Errors => "max-errors",
            Dropped::Gone => "max-gone",
            Dropped::History => "history",
            Dropped::NodeMemory => "max-node-memory",
        }
    }
}

/// One number and when it last grew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// How often.
    pub count: u64,
    /// When last, Unix milliseconds; 0: never.
    pub last_ms: i64,
}

/// All counts. They saturate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Samples that counted nowhere.
    pub late: u64,
    /// Samples that counted in their HOUR window alone.
    pub late_min: u64,
    /// Samples that counted in their MIN window alone.
    pub late_hour: u64,
    /// Forgotten metrics of which it is no longer remembered up to where they were delivered, as there were too many.
    pub forgotten_dropped: u64,
    /// Held times that lay too far ahead of the clock and were given up.
    pub clock_back: u64,
    /// Free texts that were cut.
    pub truncated: u64,
    /// Refusals by [`RejectReason`].
    pub rejected: [u64; 7],
    /// Drops by [`Dropped`].
    pub dropped: [Count; 6],
    /// Drops by [`Queue`].
    pub dropped_from: [u64; 5],
}

impl Counters {
    /// Counts a refusal.
    pub fn reject(&mut self, reason: RejectReason) {
        let n = &mut self.rejected[reason as usize];
        *n = n.saturating_add(1);
    }

    /// Counts `n` drops at `now_ms`, from a queue where they were queued.
    pub fn drop(&mut self, reason: Dropped, queue: Option<Queue>, n: u64, now_ms: i64) {
        if n == 0 {
            return;
        }
        let count = &mut self.dropped[reason as usize];
        count.count = count.count.saturating_add(n);
        count.last_ms = now_ms;
        if let Some(queue) = queue {
            let from = &mut self.dropped_from[queue as usize];
            *from = from.saturating_add(n);
        }
    }
}
