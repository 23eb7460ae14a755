//! A cell for state that belongs to the server's main thread, which is all state of the module but a few atomics.
//!
//! The server runs commands, timers, events and type methods one after the other on one thread. Only `free` may run on
//! another, and it touches atomics alone. One callback may run inside another, though (an event inside a command), so
//! the cell lends its content to one borrower at a time and gives the second nothing.

use super::alloc::is_main_thread;
use std::cell::{Cell, UnsafeCell};

/// A value that only the main thread reaches, one borrower at a time.
pub struct MainThread<T> {
    content: UnsafeCell<T>,
    is_borrowed: Cell<bool>,
}

// SAFETY: `with` rejects every thread but the server's main one, so neither cell is ever reached from two threads.
unsafe impl<T> Sync for MainThread<T> {}

impl<T> MainThread<T> {
    /// Creates a cell that holds `content`.
    pub const fn new(content: T) -> MainThread<T> {
        MainThread {
            content: UnsafeCell::new(content),
            is_borrowed: Cell::new(false),
        }
    }

    /// Calls `f` with the content. Returns `None` on any other thread, and while the content is borrowed already.
    #[inline(always)]
    pub fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> Option<R> {
        if !is_main_thread() || self.is_borrowed.get() {
            return None;
        }
        self.is_borrowed.set(true);
        let _release = Release(&self.is_borrowed);
        // SAFETY: this is the main thread, and `is_borrowed` was false: no other reference to the content lives until
        // `_release` is dropped, after `f` has returned or unwound.
        Some(f(unsafe { &mut *self.content.get() }))
    }
}

/// Ends the borrow, also when a panic unwinds.
struct Release<'a>(&'a Cell<bool>);

impl Drop for Release<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}
