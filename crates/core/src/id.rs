//! Bounds of queue ids. An id is about the time at which it was given, Unix microseconds.

/// Ids stay below this, so that every client language holds them exactly.
pub const MAX_ID: u64 = (1 << 53) - 1;

/// How far ahead of the clock an id may be that somebody hands in (RESTORE, AGG.APPLY of a client), and for how long a
/// node's ids that are ahead of the clock drag those of the server along, microseconds (a day, an hour).
pub const MAX_AHEAD_US: u64 = 86_400_000_000;
/// See [`MAX_AHEAD_US`].
pub const MAX_DRAG_US: u64 = 3_600_000_000;
