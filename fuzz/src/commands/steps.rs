//! The steps that an input consists of. Their order is that of the bytes in the corpus.

use super::*;

/// One step.
#[derive(Arbitrary, Clone, Debug)]
pub(super) enum Act {
    Gauge(Sample),
    Gauge2(Sample),
    Counter(Sample),
    Counter2(Sample),
    /// AGG.MSTAT, or AGG.HIST.
    Many {
        kinds: u8,
        options: u8,
        metric: u8,
        values: [u16; 3],
        at: At,
    },
    Log {
        length: u8,
        level: u8,
        tags: u8,
    },
    Error {
        key: u8,
        level: u8,
        tags: u8,
    },
    Reality(Object),
    Reality2(Object),
    Forget {
        family: u8,
        name: u8,
    },
    Requeue {
        reality: bool,
        pattern: bool,
    },
    Pop {
        queue: u8,
        count: u8,
    },
    Fetch {
        queue: u8,
        count: u8,
        lease: u16,
    },
    Fetch2 {
        queue: u8,
        count: u8,
        lease: u16,
    },
    Ack(Of),
    Nack(Of),
    Extend(Of),
    Pass(u16),
    PassLong(u16),
    Step(i32),
    Tick,
    Tick2,
    Set {
        which: u8,
        value: u8,
    },
    Failover,
    Restart,
    Evict {
        queue: u8,
        bytes: u8,
    },
    Memory {
        pressure: bool,
        bytes: u8,
    },
}

#[derive(Arbitrary, Clone, Debug)]
pub(super) struct Sample {
    pub(super) metric: u8,
    pub(super) value: i16,
    pub(super) tags: u8,
    pub(super) at: At,
}

#[derive(Arbitrary, Clone, Debug)]
pub(super) struct Object {
    pub(super) key: u8,
    pub(super) json: u8,
    pub(super) tags: u8,
    pub(super) ttl: u8,
    pub(super) at: At,
}

/// A queue, and a bit for each of the records delivered last.
#[derive(Arbitrary, Clone, Debug)]
pub(super) struct Of {
    pub(super) queue: u8,
    pub(super) which: u8,
}

#[derive(Arbitrary, Clone, Debug)]
pub(super) enum At {
    Now,
    Near(i8),
    Second(i8),
    Far(i16),
}

impl At {
    /// Returns the time, milliseconds since the Unix epoch.
    pub(super) fn ms(&self, now_ms: i64) -> i64 {
        match self {
            At::Now => now_ms,
            At::Near(ms) => now_ms + i64::from(*ms) * 10,
            At::Second(s) => now_ms + i64::from(*s) * 1000,
            At::Far(s) => now_ms + i64::from(*s) * 1000,
        }
    }
}
