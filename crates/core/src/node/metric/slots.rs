//! The slots of INC metrics, over which their rates are computed.
//!
//! A slot is an interval of `agg.inc-slot` seconds, aligned to the epoch, within one window of each length. The
//! increments of the current slot, of which a metric has one, are added up. When a sample of a later slot arrives or
//! the short window closes, their rate goes to the open windows that contain the slot, and each empty slot after it has
//! rate
//! 0. Any number of empty slots takes one step.
//!
//! # Invariants
//! The current slot is not stored: it is that of the newest sample, but none before the end of the last short window
//! that has closed, as the slots of a closed window are complete.

use super::open_window::OpenWindow;
use super::storage::{Metric, SlotState};
use crate::model::{Lengths, Window, rate};
use crate::time::{second, window_start};

/// Rates of slots in one window: that of the current slot and that of empty ones, each with the number of slots.
pub(super) type Rates = [(f64, u32); 2];

/// Slots that are complete: those from `from_s` until `until_s`, Unix seconds.
#[derive(Clone, Copy)]
pub(super) struct CompleteSlots {
    from_s: u32,
    until_s: u32,
    /// The increments of the first of them; those after it have none.
    sum: f64,
    slot_s: u32,
}

impl CompleteSlots {
    /// Adds the rates of the slots to an open window, as far as they are in it. Returns them, with their numbers.
    pub fn add_to(&self, open: &mut OpenWindow, length_s: u32) -> Rates {
        let start_s = open.start_s();
        let mut from_s = self.from_s.max(start_s);
        let until_s = self.until_s.min(start_s.saturating_add(length_s));
        if from_s >= until_s {
            return Rates::default();
        }
        let mut rates = Rates::default();
        if from_s == self.from_s {
            rates[0] = (rate(self.sum, i64::from(self.slot_s) * 1000), 1);
            from_s += self.slot_s;
        }
        let empty_s = until_s.saturating_sub(from_s);
        rates[1].1 = empty_s / self.slot_s;
        for (rate, times) in rates {
            open.add_rates(rate, times);
        }
        rates
    }
}

impl Metric {
    /// Returns the start of the current slot, Unix seconds. The metric has a sample.
    #[inline]
    pub(super) fn current_slot(&self, lengths: &Lengths) -> u32 {
        let newest = self.last_at().unwrap_or_default();
        window_start(second(newest), lengths.slot_s).max(self.watermark_s[Window::Min])
    }

    /// The slots that are complete once all before `until_s` are.
    pub(super) fn complete_slots(&self, until_s: u32, lengths: &Lengths) -> CompleteSlots {
        CompleteSlots {
            from_s: self.current_slot(lengths),
            until_s,
            sum: self.slot_state().sum,
            slot_s: lengths.slot_s,
        }
    }

    /// Adds the rates of complete slots to the open windows. The current slot is one without increments then.
    pub(super) fn add_slots(&mut self, slots: CompleteSlots, lengths: &Lengths) {
        if slots.from_s >= slots.until_s {
            return;
        }
        let (has_histograms, mut observed) = (self.has_histograms(), Vec::new());
        for window in Window::ALL {
            for open in self.open_mut(window) {
                let rates = slots.add_to(open, lengths[window]);
                if has_histograms {
                    observed.push((window, open.start_s(), rates));
                }
            }
        }
        for (window, start_s, rates) in observed {
            self.observe_rates(window, start_s, rates);
        }
        let known_s = self.slot_state().known_s;
        self.set_slot_state(SlotState { sum: 0.0, known_s });
    }

    /// Adds the rates of a window that opens only now: that of each slot before the current one in which the metric was
    /// known is 0. Returns them.
    pub(super) fn add_past_slots(
        &self,
        open: &mut OpenWindow,
        length_s: u32,
        lengths: &Lengths,
    ) -> Rates {
        let from_s = self.slot_state().known_s.max(open.start_s());
        let end_s = open.start_s().saturating_add(length_s);
        let until_s = self.current_slot(lengths).min(end_s);
        let empty = until_s.saturating_sub(from_s) / lengths.slot_s;
        open.add_rates(0.0, empty);
        [(0.0, empty), (0.0, 0)]
    }
}
