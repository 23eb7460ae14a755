//! The check of a payload before it is applied: its form, and the work and memory that it brings beyond what its size
//! says.

use super::read::{Change, Payload};
use crate::codec::tags::check_tags;
use crate::error::DecodeError;
use crate::model::histogram::max_heap_bytes;
use crate::model::{Sample, imported_record};

/// The bytes that a metric takes besides if its windows have histograms: the blocks that lead to these.
const HIST_METRIC: u64 = 512;

impl Payload<'_> {
    /// Reads the payload to its end, to check its form and to measure its work.
    pub fn check(&self) -> Result<Work, DecodeError> {
        let mut copy = self.clone();
        let mut work = Work::default();
        let mut shared = None;
        while let Some(mut change) = copy.next()? {
            // A tag list that samples share is checked once.
            if let Change::Sample { sample, .. } | Change::Hist { sample, .. } = &change
                && let Some(tags) = sample.tags
                && shared
                    .replace(tags)
                    .is_some_and(|before| std::ptr::eq(before, tags))
            {
                work.add(&change);
                continue;
            }
            check(&mut change, self.version == 1)?;
            work.add(&change);
        }
        Ok(work)
    }
}

/// Checks what the form alone does not say: texts of records, and what is compared, are in canonical form.
fn check(change: &mut Change<'_>, is_version_1: bool) -> Result<(), DecodeError> {
    if let Change::Reality { report, .. } = change {
        report.check()?;
    }
    if let Change::Import { queue, records, .. } = change {
        for (id, text) in records.iter() {
            imported_record::check(text, *queue, id, None)
                .map_err(|_| DecodeError("an invalid imported record"))?;
        }
    }
    match change.tags_mut() {
        Some(tags) => check_tags(tags, is_version_1),
        None => Ok(()),
    }
}

/// The work of a payload beyond its own bytes: lists of slots are runs, and samples may share a tag list, which each
/// record of a window that they close contains.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Work {
    slots: u64,
    tag_bytes: u64,
    /// The largest id that is imported, or floor.
    pub imported_id: u64,
}

impl Work {
    pub fn add(&mut self, change: &Change<'_>) {
        match change {
            Change::Sample { sample, .. } | Change::Hist { sample, .. } => {
                self.tag_bytes += sample.tags.map_or(0, |tags| tags.len() as u64);
            }
            Change::Close { slots, .. }
            | Change::TrimHistory { slots, .. }
            | Change::ResetTime(slots)
            | Change::ForgetMetrics(slots)
            | Change::DropForgotten(slots)
            | Change::HalveHistograms(slots)
            | Change::ForgetErrors(slots)
            | Change::End { slots, .. }
            | Change::Requeue { slots, .. } => self.slots += slots.total(),
            Change::Import { floor, records, .. } => {
                self.imported_id = self.imported_id.max(records.last).max(*floor);
            }
            _ => {}
        }
    }

    /// Returns `true` if the work is out of proportion: slots named more often than any table is long, or tags written
    /// out far beyond the size of the payload.
    pub fn is_too_much_for(self, len: usize) -> bool {
        self.slots > 4_000_000 || self.tag_bytes > 64 * len as u64 + (1 << 20)
    }
}

/// Returns an upper bound of the bytes that histograms take when a payload of effects is applied, beside the reserve of
/// metrics that have some already.
///
/// A sample of 15 bytes that occurred 2^32 times makes the counts of a histogram 8 bytes wide, and one far from it
/// makes them 320. So each change counts what a histogram with counts of its occurrences may take: the widths are made
/// of the occurrences of all together, and two counts need four times the sum to be twice as wide.
pub(crate) fn histogram_bytes(payload: &[u8]) -> u64 {
    let Ok(mut payload) = Payload::open(payload) else {
        return 0;
    };
    let mut bytes = 0;
    // A damaged payload is rejected when it is applied.
    while let Ok(Some(change)) = payload.next() {
        if let Change::Sample { sample, .. } | Change::Hist { sample, .. } = change {
            bytes += sample_bytes(&sample);
        }
    }
    bytes
}

fn sample_bytes(sample: &Sample<'_>) -> u64 {
    let new = if sample.hist { HIST_METRIC } else { 0 };
    // A single sample of a metric that has histograms is covered by what each byte of a payload may take.
    match (sample.hist, sample.times) {
        (false, 1) => 0,
        (_, times) => new + max_heap_bytes(times) as u64,
    }
}
