//! The open windows of a node's metrics over time: when to look at which.
//!
//! Every open window is known to the node's [`Deadlines`], by its start while its end is ahead, by a time to look again
//! once it can only wait for quiet.

use super::open_window::OpenWindow;
use std::collections::{BTreeMap, BTreeSet};

/// When to look at which windows of one length. Derived from the open windows; not part of the value.
#[derive(Default)]
pub(crate) struct Deadlines {
    /// Open windows by start (Unix seconds), as far as their end was ahead when they were opened: few distinct ones,
    /// however many metrics there are.
    starts: BTreeMap<u32, u32>,
    /// (running time, slot): windows past their end whose metric was not quiet when last looked at.
    await_idle: BTreeSet<(u64, u32)>,
    /// The same by slot and start.
    awaiting_idle: BTreeMap<(u32, u32), u64>,
    /// The pass over all metrics that looks for windows past their end: the next slot to look at.
    pub scan: Option<u32>,
}

impl Deadlines {
    /// A window was opened in `slot` whose end is ahead.
    pub fn opened(&mut self, window: &OpenWindow, slot: u32) {
        debug_assert!(!window.is_awaiting_idle(), "slot {slot}");
        *self.starts.entry(window.start_s()).or_insert(0) += 1;
    }

    /// The window is not open any more.
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

    /// The window's metric has moved.
    pub fn moved(&mut self, window: &OpenWindow, from: u32, slot: u32) {
        if let Some(until) = self.awaiting_idle.remove(&(from, window.start_s())) {
            self.await_idle.remove(&(until, from));
            self.awaiting_idle.insert((slot, window.start_s()), until);
            self.await_idle.insert((until, slot));
        }
    }

    /// Looks at the window, which was opened before or is new, again at `until`. It is past its end.
    pub fn await_idle(&mut self, window: &mut OpenWindow, is_new: bool, slot: u32, until: u64) {
        if !is_new {
            self.closed(window, slot);
        }
        window.set_awaiting_idle();
        self.awaiting_idle.insert((slot, window.start_s()), until);
        self.await_idle.insert((until, slot));
    }

    /// Whether it is time to look at this window again.
    pub fn is_idle_check_due(&self, window: &OpenWindow, slot: u32, mono_ms: u64) -> bool {
        self.awaiting_idle
            .get(&(slot, window.start_s()))
            .is_some_and(|until| *until <= mono_ms)
    }

    /// Whether windows that begin at `start` (Unix milliseconds) or before are waiting to be found by a pass.
    pub fn waits_before(&self, start: i64) -> bool {
        self.starts
            .first_key_value()
            .is_some_and(|(&first, _)| i64::from(first) * 1000 <= start)
    }

    /// The slot of the next window to look at again; it is to be closed, or to linger on.
    pub fn next_idle_check(&mut self, mono_ms: u64) -> Option<u32> {
        if self.await_idle.first()?.0 > mono_ms {
            return None;
        }
        self.await_idle.pop_first().map(|(_, slot)| slot)
    }
}
