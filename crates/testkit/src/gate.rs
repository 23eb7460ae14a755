//! A gate for tests that keep a processor busy or measure time: as many run at once as the machine has processors,
//! however many threads the test runner has.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

static RUNNING: Mutex<usize> = Mutex::new(0);
static FREED: Condvar = Condvar::new();

/// A place among the tests that run; freed with its value.
pub struct Slot(());

/// Waits for a place among the tests that run.
pub fn slot() -> Slot {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let mut running = lock();
    while *running >= processors {
        running = FREED.wait(running).unwrap_or_else(PoisonError::into_inner);
    }
    *running += 1;
    Slot(())
}

impl Drop for Slot {
    fn drop(&mut self) {
        *lock() -= 1;
        FREED.notify_one();
    }
}

// A count is whole whatever happened to the test that changed it.
fn lock() -> MutexGuard<'static, usize> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}
