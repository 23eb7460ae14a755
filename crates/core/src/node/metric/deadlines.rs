//! The deadlines of the open windows of a node: when to check which.
//!
//! Every open window is known to the node's [`Deadlines`]: by its start while its end is ahead, and by a time of the
//! next check once it only waits for its metric to be idle.

use super::open_window::OpenWindow;
use std::collections::{BTreeMap, BTreeSet};

/// Schedules the checks of the windows of one length. Derived from the open windows; not part of the value.
#[derive(Default)]
pub(crate) struct Deadlines {
    /// Open windows by start (Unix seconds) whose end was ahead when they were opened: few distinct starts, however
    /// many metrics there are.
    starts: BTreeMap<u32, u32>,
    /// (running time, slot): windows past their end whose metric was not idle at the last check.
    await_idle: BTreeSet<(u64, u32)>,
    /// The same by slot and start.
    awaiting_idle: BTreeMap<(u32, u32), u64>,
    /// The pass over all metrics that finds windows past their end: the next slot to check.
    pub scan: Option<u32>,
}

impl Deadlines {
    /// Records a window that was opened in `slot`, whose end is ahead.
    pub fn opened(&mut self, window: &OpenWindow, slot: u32) {
        debug_assert!(!window.is_awaiting_idle(), "slot {slot}");
        *self.starts.entry(window.start_s()).or_insert(0) += 1;
    }

    /// Records that a window is not open any more.
    pub fn closed(&mut self, window: &OpenWindow, slot: u32) {
        if window.is_awaiting_idle() {
            if let Some(until) = self.awaiting_idle.remove(&(slot, window.start_s())) {
                self.await_idle.remove(&(until, slot));
            }
        } else if let Some(count) = self.starts.get_mut(&window.start_s()) {
            *count -= 1;
            if *count == 0 {
                self.starts.remove(&window.start_s());
            }
        }
    }

    /// Records that the metric of a window has moved.
    pub fn moved(&mut self, window: &OpenWindow, from: u32, slot: u32) {
        if let Some(until) = self.awaiting_idle.remove(&(from, window.start_s())) {
            self.await_idle.remove(&(until, from));
            self.awaiting_idle.insert((slot, window.start_s()), until);
            self.await_idle.insert((until, slot));
        }
    }

    /// Checks a window, which was opened before or is new, again at `until`. It is past its end.
    pub fn await_idle(&mut self, window: &mut OpenWindow, is_new: bool, slot: u32, until: u64) {
        if !is_new {
            self.closed(window, slot);
        }
        window.set_awaiting_idle();
        self.awaiting_idle.insert((slot, window.start_s()), until);
        self.await_idle.insert((until, slot));
    }

    /// Returns `true` if it is time to check this window again.
    pub fn is_idle_check_due(&self, window: &OpenWindow, slot: u32, mono_ms: u64) -> bool {
        self.awaiting_idle
            .get(&(slot, window.start_s()))
            .is_some_and(|until| *until <= mono_ms)
    }

    /// Returns `true` if windows that begin at `start` (Unix milliseconds) or before wait to be found by a pass.
    pub fn waits_before(&self, start: i64) -> bool {
        self.starts
            .first_key_value()
            .is_some_and(|(&first, _)| i64::from(first) * 1000 <= start)
    }

    /// Returns `true` if it is time to check a window again.
    pub fn has_idle_check(&self, mono_ms: u64) -> bool {
        self.await_idle
            .first()
            .is_some_and(|(until, _)| *until <= mono_ms)
    }

    /// Returns the slot of the next window to check again; it is to be closed, or to wait again.
    pub fn next_idle_check(&mut self, mono_ms: u64) -> Option<u32> {
        if !self.has_idle_check(mono_ms) {
            return None;
        }
        self.await_idle.pop_first().map(|(_, slot)| slot)
    }
}
