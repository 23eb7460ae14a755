//! The deadlines of the open windows of a node: when to check which.
//!
//! Every open window is known to the node's [`Deadlines`]: by its start while its end is ahead, and by a check of its
//! metric once it only waits for its metric to be idle. A metric has at most one check for each length, which stays when
//! the window closes before: a metric whose windows are all opened after their end needs no other for the next one.

use super::open_window::OpenWindow;
use std::collections::{BTreeMap, BTreeSet};

/// Schedules the checks of the windows of one length. Derived from the open windows; not part of the value.
#[derive(Default)]
pub(crate) struct Deadlines {
    /// Open windows by start (Unix seconds) that no check knows: few distinct starts, however many metrics there are.
    starts: BTreeMap<u32, u32>,
    /// (running time, slot): the checks of metrics that were not idle.
    checks: BTreeSet<(u64, u32)>,
    /// The same by slot.
    checked_at: BTreeMap<u32, u64>,
    /// The pass over all metrics that finds windows past their end: the next slot to check.
    pub scan: Option<u32>,
}

impl Deadlines {
    /// Records a window that was opened and that no check knows.
    pub fn opened(&mut self, window: &OpenWindow) {
        debug_assert!(!window.is_awaiting_idle());
        *self.starts.entry(window.start_s()).or_insert(0) += 1;
    }

    /// Records that a window is not open any more, or that a check knows it now.
    pub fn closed(&mut self, window: &OpenWindow) {
        if !window.is_awaiting_idle()
            && let Some(count) = self.starts.get_mut(&window.start_s())
        {
            *count -= 1;
            if *count == 0 {
                self.starts.remove(&window.start_s());
            }
        }
    }

    /// Schedules the check of a metric that has none. `Metric::schedule_check` knows whether it has one.
    pub fn schedule(&mut self, slot: u32, at_ms: u64) {
        debug_assert!(!self.checked_at.contains_key(&slot), "slot {slot}");
        self.checked_at.insert(slot, at_ms);
        self.checks.insert((at_ms, slot));
    }

    /// Removes the check of a metric. Returns its time.
    pub fn unschedule(&mut self, slot: u32) -> Option<u64> {
        let at_ms = self.checked_at.remove(&slot)?;
        self.checks.remove(&(at_ms, slot));
        Some(at_ms)
    }

    /// Moves the check of a metric that has moved.
    pub fn moved(&mut self, from: u32, slot: u32) {
        if let Some(at_ms) = self.unschedule(from) {
            self.schedule(slot, at_ms);
        }
    }

    /// Returns `true` if windows that begin at `start` (Unix milliseconds) or before wait to be found by a pass.
    pub fn waits_before(&self, start: i64) -> bool {
        self.starts
            .first_key_value()
            .is_some_and(|(&first, _)| i64::from(first) * 1000 <= start)
    }

    /// Returns `true` if it is time for a check.
    pub fn has_due_check(&self, mono_ms: u64) -> bool {
        self.checks.first().is_some_and(|(at, _)| *at <= mono_ms)
    }

    /// Removes the next check that is due, and returns its slot.
    pub fn take_due_check(&mut self, mono_ms: u64) -> Option<u32> {
        if !self.has_due_check(mono_ms) {
            return None;
        }
        let (_, slot) = self.checks.pop_first()?;
        self.checked_at.remove(&slot);
        Some(slot)
    }
}
