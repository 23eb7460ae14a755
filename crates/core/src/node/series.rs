//! The open windows of a node's metrics over time: when to look at which.
//!
//! Every open window is known to the node's [`Deadlines`], by its start while its end is ahead, by a time to look again
//! once it can only wait for quiet.

use super::bucket::Bucket;
use std::collections::{BTreeMap, BTreeSet};

/// When to look at which windows of one length. Derived from the open windows; not part of the value.
#[derive(Default)]
pub(crate) struct Deadlines {
    /// Open windows by start (Unix seconds), as far as their end was ahead when they were opened: few distinct ones,
    /// however many metrics there are.
    starts: BTreeMap<u32, u32>,
    /// (running time, slot): windows past their end whose metric was not quiet when last looked at.
    linger: BTreeSet<(u64, u32)>,
    /// The same by slot and start.
    lingering: BTreeMap<(u32, u32), u64>,
    /// The pass over all metrics that looks for windows past their end: the next slot to look at.
    pub scan: Option<u32>,
}

impl Deadlines {
    /// A window was opened in `slot` whose end is ahead.
    pub fn opened(&mut self, bucket: &Bucket, slot: u32) {
        debug_assert!(!bucket.lingers(), "slot {slot}");
        *self.starts.entry(bucket.start_s()).or_insert(0) += 1;
    }

    /// The window is not open any more.
    pub fn closed(&mut self, bucket: &Bucket, slot: u32) {
        if bucket.lingers() {
            if let Some(until) = self.lingering.remove(&(slot, bucket.start_s())) {
                self.linger.remove(&(until, slot));
            }
        } else if let Some(count) = self.starts.get_mut(&bucket.start_s()) {
            *count -= 1;
            if *count == 0 {
                self.starts.remove(&bucket.start_s());
            }
        }
    }

    /// The window's metric has moved.
    pub fn moved(&mut self, bucket: &Bucket, from: u32, slot: u32) {
        if let Some(until) = self.lingering.remove(&(from, bucket.start_s())) {
            self.linger.remove(&(until, from));
            self.lingering.insert((slot, bucket.start_s()), until);
            self.linger.insert((until, slot));
        }
    }

    /// Looks at the window, which was opened before or is new, again at `until`. It is past its end.
    pub fn linger(&mut self, bucket: &mut Bucket, is_new: bool, slot: u32, until: u64) {
        if !is_new {
            self.closed(bucket, slot);
        }
        bucket.set_lingering();
        self.lingering.insert((slot, bucket.start_s()), until);
        self.linger.insert((until, slot));
    }

    /// Whether it is time to look at this window again.
    pub fn is_lingering(&self, bucket: &Bucket, slot: u32, mono_ms: u64) -> bool {
        self.lingering
            .get(&(slot, bucket.start_s()))
            .is_some_and(|until| *until <= mono_ms)
    }

    /// Whether windows that begin at `start` (Unix milliseconds) or before are waiting to be found by a pass.
    pub fn waits_before(&self, start: i64) -> bool {
        self.starts
            .first_key_value()
            .is_some_and(|(&first, _)| i64::from(first) * 1000 <= start)
    }

    /// The slot of the next window to look at again; it is to be closed, or to linger on.
    pub fn take_linger(&mut self, mono_ms: u64) -> Option<u32> {
        if self.linger.first()?.0 > mono_ms {
            return None;
        }
        self.linger.pop_first().map(|(_, slot)| slot)
    }
}
