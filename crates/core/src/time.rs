//! Times. The core reads no clock: the shell reads both clocks once for a command or tick and passes them in.

/// The largest time that is accepted anywhere, Unix milliseconds: the year 2105. The end of its window in seconds fits
/// 32 bits, so that a metric that holds several such times stays small.
pub const MAX_MS: i64 = 4_290_000_000_000;

/// Both clocks of a server, read once for a command or a tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// The wall clock, Unix microseconds. It may step.
    pub wall_us: u64,
    /// The running time of the server process, milliseconds. It never steps back. Idle times and leases are measured
    /// with it, so that a step of the wall clock ends none.
    pub mono_ms: u64,
}

impl Now {
    /// Returns the wall clock in Unix milliseconds.
    #[inline]
    pub fn ms(self) -> i64 {
        (self.wall_us / 1000) as i64
    }
}

/// Returns the second of a time in Unix milliseconds, limited to the range of accepted times.
#[inline]
pub fn second(at_ms: i64) -> u32 {
    // The cast loses nothing within the range.
    (at_ms.clamp(0, MAX_MS) as u64 / 1000) as u32
}

/// Returns the start of the window of length `length_s` that contains the second `at_s`.
#[inline]
pub fn window_start(at_s: u32, length_s: u32) -> u32 {
    at_s - at_s % length_s.max(1)
}
