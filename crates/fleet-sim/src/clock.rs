//! The clocks of the simulated servers. The wall clock may be ahead of that of the machine, so that the end of a window
//! need not be waited for; the running time is real, so that leases take as long as in reality.

use std::cell::Cell;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use aggregator_core::Now;

/// The clocks.
pub struct Clock {
    start: Instant,
    start_us: u64,
    ahead_us: Cell<u64>,
}

impl Clock {
    /// Creates clocks whose wall clock is ahead by so many milliseconds.
    pub fn new(ahead_ms: u64) -> Clock {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        Clock {
            start: Instant::now(),
            start_us: since.unwrap_or_default().as_micros() as u64,
            ahead_us: Cell::new(ahead_ms * 1000),
        }
    }

    /// Advances the wall clock.
    pub fn advance(&self, ms: u64) {
        self.ahead_us.set(self.ahead_us.get() + ms * 1000);
    }

    /// Returns both clocks.
    pub fn now(&self) -> Now {
        let passed = self.start.elapsed();
        Now {
            wall_us: self.start_us + passed.as_micros() as u64 + self.ahead_us.get(),
            mono_ms: 1000 + passed.as_millis() as u64,
        }
    }

    /// Returns the wall clock of the machine, Unix milliseconds.
    pub fn real_ms(&self) -> u64 {
        (self.start_us + self.start.elapsed().as_micros() as u64) / 1000
    }
}
