//! Rates of counters, computed from two readings. No I/O.

use crate::stats::NodeStats;

/// The changes of a node per second; `None` while they are unknown, as after a restart of the server.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rates {
    /// Records that were queued less those that were removed from the queues.
    pub growth: Option<f64>,
    pub dropped: Option<f64>,
    pub late: Option<f64>,
    pub refused: Option<f64>,
    /// As `growth`, by queue.
    pub by_queue: [Option<f64>; 5],
}

impl Rates {
    /// Returns the rates between two readings that are `seconds` apart.
    pub fn between(before: &NodeStats, now: &NodeStats, seconds: f64) -> Rates {
        let speed = |now, before| speed(now, before, seconds);
        let mut by_queue = [None; 5];
        for (at, rate) in by_queue.iter_mut().enumerate() {
            let (before, now) = (&before.queues[at], &now.queues[at]);
            // Dropped records were queued as well.
            let dropped = speed(now.dropped, before.dropped);
            let longer = (now.length as f64 - before.length as f64) / seconds;
            *rate = dropped.map(|dropped| longer + dropped);
        }
        Rates {
            growth: by_queue.iter().copied().sum(),
            dropped: speed(now.dropped(), before.dropped()),
            late: speed(now.late, before.late),
            refused: speed(now.refused(), before.refused()),
            by_queue,
        }
    }
}

/// Returns the growth of a counter per second; `None` if the counter was reset in between.
pub fn speed(now: u64, before: u64, seconds: f64) -> Option<f64> {
    let growth = now.checked_sub(before)?;
    (seconds > 0.0).then(|| growth as f64 / seconds)
}
