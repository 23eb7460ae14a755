//! Instants and spans. The core reads no clock: the shell reads each once for a command or tick and passes it in.

/// The largest time accepted anywhere, in Unix milliseconds: far enough ahead (the year 2261), and its nanoseconds, in
/// which line protocol tells a time, fit 64 bits.
pub const MAX_MS: i64 = 9_200_000_000_000;

/// Both clocks of a server, read once for a command or a tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// The wall clock, Unix microseconds. It may step.
    pub wall_us: u64,
    /// Milliseconds of running time of this server process: never steps back. Quiet times and leases are measured
    /// with it, so that a step of the wall clock ends none.
    pub mono_ms: u64,
}

impl Now {
    /// The wall clock in Unix milliseconds.
    #[inline]
    pub fn ms(self) -> i64 {
        (self.wall_us / 1000) as i64
    }
}

/// The start of the window of length `length_ms` that holds `at_ms`, both in milliseconds.
#[inline]
pub fn window_start(at_ms: i64, length_ms: i64) -> i64 {
    at_ms - at_ms.rem_euclid(length_ms)
}
