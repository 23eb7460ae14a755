//! What belongs to the server's main thread: all state of the module but a few atomics.
//!
//! The server runs commands, timers, events and type methods one after the other on one thread; only `free` may run
//! elsewhere, and it touches atomics alone. A callback may run inside another, though (a notification inside a
//! command), so a cell lends its content to one at a time and says so when it is lent already.

use super::alloc::is_main_thread;
use std::cell::{Cell, UnsafeCell};

/// See the file's header.
pub struct MainThread<T> {
    content: UnsafeCell<T>,
    is_lent: Cell<bool>,
}

// SAFETY: `with` refuses every thread but the server's main one, so neither cell is ever reached from two threads.
unsafe impl<T> Sync for MainThread<T> {}

impl<T> MainThread<T> {
    /// Holds a value.
    pub const fn new(content: T) -> MainThread<T> {
        MainThread {
            content: UnsafeCell::new(content),
            is_lent: Cell::new(false),
        }
    }

    /// Lends the content. `None`: this is another thread, or it is lent already.
    #[inline]
    pub fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> Option<R> {
        if !is_main_thread() || self.is_lent.get() {
            return None;
        }
        self.is_lent.set(true);
        let _back = Back(&self.is_lent);
        // SAFETY: this is the main thread, and `is_lent` was false: no other reference to the content lives until
        // `_back` is dropped, after `f` has returned or unwound.
        Some(f(unsafe { &mut *self.content.get() }))
    }
}

/// Marks the content as not lent, also when a panic passes.
struct Back<'a>(&'a Cell<bool>);

impl Drop for Back<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}
