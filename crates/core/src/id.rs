//! Limits of queue ids. An id is about the time at which it was given, Unix microseconds.

/// The largest id: every client language represents ids up to it exactly.
pub const MAX_ID: u64 = (1 << 53) - 1;

/// The limit of an id from a client (RESTORE, AGG.APPLY) ahead of the clock: a day, in microseconds.
pub const MAX_AHEAD_US: u64 = 86_400_000_000;
/// The limit by which the ids of a node that are ahead of the clock may advance those of the server: an hour, in
/// microseconds.
pub const MAX_DRAG_US: u64 = 3_600_000_000;
