//! Counters since the start of the server, of a node and of the whole server. They are not part of the value.

use crate::model::{Queue, SampleOutcome};
use aggregator_protocol::level;

/// The reasons for which commands and single samples are rejected, as AGG.INFO and INFO count them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RejectReason {
    /// An invalid argument.
    Argument,
    /// A time further ahead of the clock than `max-future-ms`.
    Future,
    /// A sample whose type is not that of its metric.
    Type,
    /// A new metric beyond `max-series`.
    Series,
    /// A new object beyond `max-realities`.
    Objects,
    /// Not enough memory below `max-memory`.
    Memory,
    /// Not enough memory below `max-node-memory`.
    NodeMemory,
    /// Imported records beyond `queue-import`, or too many gaps between their ids.
    QueueImport,
}

impl RejectReason {
    /// All reasons, in the order of their counters.
    pub const ALL: [RejectReason; 8] = [
        RejectReason::Argument,
        RejectReason::Future,
        RejectReason::Type,
        RejectReason::Series,
        RejectReason::Objects,
        RejectReason::Memory,
        RejectReason::NodeMemory,
        RejectReason::QueueImport,
    ];

    /// The name of its counter.
    pub fn name(self) -> &'static str {
        match self {
            RejectReason::Argument => "argument",
            RejectReason::Future => "future",
            RejectReason::Type => "type",
            RejectReason::Series => "max-series",
            RejectReason::Objects => "max-realities",
            RejectReason::Memory => "max-memory",
            RejectReason::NodeMemory => "max-node-memory",
            RejectReason::QueueImport => "queue-import",
        }
    }
}

/// The reason for which stored data was dropped without having been delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// The queue reached its limit of bytes; its oldest records were evicted.
    QueueFull,
    /// The server reached `max-memory`; the oldest records of the largest queue were evicted.
    Memory,
    /// `max-errors` was reached; a waiting error was evicted.
    Errors,
    /// `max-realities` objects were gone and not yet delivered; the oldest were evicted.
    Gone,
    /// A closed window was not kept for AGG.RANGE, for want of memory.
    History,
    /// The node reached `max-node-memory`; the oldest records of its largest queue were evicted.
    NodeMemory,
}

impl Dropped {
    /// All reasons, in the order of their counters.
    pub const ALL: [Dropped; 6] = [
        Dropped::QueueFull,
        Dropped::Memory,
        Dropped::Errors,
        Dropped::Gone,
        Dropped::History,
        Dropped::NodeMemory,
    ];

    /// The name of its counter.
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

/// A counter, and when it last grew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// The count.
    pub count: u64,
    /// The time at which it last grew, Unix milliseconds; 0: never.
    pub last_ms: i64,
}

/// All counters. They saturate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Samples that counted nowhere.
    pub late: u64,
    /// Samples that counted in their HOUR window only.
    pub late_min: u64,
    /// Samples that counted in their MIN window only.
    pub late_hour: u64,
    /// Forgotten metrics for which it is no longer remembered where they were delivered, as there were too many.
    pub forgotten_dropped: u64,
    /// Sources whose last number is no longer known, as there were too many.
    pub sources_dropped: u64,
    /// Times too far ahead of the clock that were reset.
    pub clock_back: u64,
    /// Short windows of DIFF metrics with too many restarts: probably several programs report one metric.
    pub suspect_diff: u64,
    /// Free texts that were cut.
    pub truncated: u64,
    /// Records of other servers that AGG.IMPORT accepted.
    pub imported: u64,
    /// Those that it was given again.
    pub import_duplicates: u64,
    /// Those for which there was no space.
    pub import_refused: u64,
    /// Errors that were not known, by their severity in the order of [`level::NAMES`]. Each node has these counters:
    /// numbers of 32 bits do not enlarge their allocation.
    pub new_errors: [u32; level::NAMES.len()],
    /// Rejections by [`RejectReason`].
    pub rejected: [u64; 8],
    /// Drops by [`Dropped`].
    pub dropped: [Count; 6],
    /// Drops by [`Queue`].
    pub dropped_from: [u64; 5],
}

impl Counters {
    /// Adds the counts of a change.
    pub(crate) fn add(&mut self, counts: &Counters) {
        let Counters {
            late,
            late_min,
            late_hour,
            forgotten_dropped,
            sources_dropped,
            clock_back,
            suspect_diff,
            truncated,
            imported,
            import_duplicates,
            import_refused,
            new_errors,
            rejected,
            dropped,
            dropped_from,
        } = self;
        let add = |sum: &mut u64, n: &u64| *sum = sum.saturating_add(*n);
        add(late, &counts.late);
        add(late_min, &counts.late_min);
        add(late_hour, &counts.late_hour);
        add(forgotten_dropped, &counts.forgotten_dropped);
        add(sources_dropped, &counts.sources_dropped);
        add(clock_back, &counts.clock_back);
        add(suspect_diff, &counts.suspect_diff);
        add(truncated, &counts.truncated);
        add(imported, &counts.imported);
        add(import_duplicates, &counts.import_duplicates);
        add(import_refused, &counts.import_refused);
        for (sum, n) in new_errors.iter_mut().zip(&counts.new_errors) {
            *sum = sum.saturating_add(*n);
        }
        rejected
            .iter_mut()
            .zip(&counts.rejected)
            .for_each(|(sum, n)| add(sum, n));
        dropped_from
            .iter_mut()
            .zip(&counts.dropped_from)
            .for_each(|(sum, n)| add(sum, n));
        for (sum, n) in dropped.iter_mut().zip(&counts.dropped) {
            add(&mut sum.count, &n.count);
            if n.count > 0 {
                sum.last_ms = n.last_ms;
            }
        }
    }

    /// Counts a rejection.
    pub fn reject(&mut self, reason: RejectReason) {
        let n = &mut self.rejected[reason as usize];
        *n = n.saturating_add(1);
    }

    /// Counts an error that was not known.
    pub(crate) fn new_error(&mut self, severity: u8) {
        let at_or_below = level::NAMES
            .iter()
            .rposition(|(_, level)| *level <= severity);
        if let Some(i) = at_or_below {
            self.new_errors[i] = self.new_errors[i].saturating_add(1);
        }
    }

    /// Counts a sample that did not count in both windows, `times` times.
    pub(crate) fn sample(&mut self, outcome: SampleOutcome, times: u64) {
        let n = match outcome {
            SampleOutcome::Counted => return,
            SampleOutcome::Late => &mut self.late,
            SampleOutcome::LateMin => &mut self.late_min,
            SampleOutcome::LateHour => &mut self.late_hour,
        };
        *n = n.saturating_add(times);
    }

    /// Counts `n` drops at `now_ms`, of records of a queue where they were queued.
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
