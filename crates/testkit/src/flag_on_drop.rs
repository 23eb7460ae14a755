//! A flag that background threads watch, set however a test ends. `thread::scope` waits for its threads also when the test
//! fails: without the flag they would never end, and the failure would look like a hang.

use std::sync::atomic::{AtomicBool, Ordering};

/// Sets a flag to a value when it is dropped.
#[must_use]
pub struct FlagOnDrop<'a> {
    flag: &'a AtomicBool,
    value: bool,
}

impl<'a> FlagOnDrop<'a> {
    /// Returns a guard that sets the flag to this value.
    pub fn new(flag: &'a AtomicBool, value: bool) -> FlagOnDrop<'a> {
        FlagOnDrop { flag, value }
    }
}

impl Drop for FlagOnDrop<'_> {
    fn drop(&mut self) {
        self.flag.store(self.value, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_test_ends_its_threads() {
        let ends = AtomicBool::new(false);
        let failed = std::panic::catch_unwind(|| {
            std::thread::scope(|scope| {
                let _guard = FlagOnDrop::new(&ends, true);
                scope.spawn(|| {
                    while !ends.load(Ordering::SeqCst) {
                        std::thread::yield_now();
                    }
                });
                panic!("the test fails");
            })
        });
        assert!(failed.is_err() && ends.load(Ordering::SeqCst));
    }
}
