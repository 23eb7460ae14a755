//! Passes samples on, and counts them.

use super::scrape::Summary;
use crate::report::{Receiver, Sample};

/// Counts what it passes on.
pub(super) struct Output<'r, R> {
    pub summary: Summary,
    pub receiver: &'r mut R,
}

impl<R: Receiver> Output<'_, R> {
    pub fn sample(&mut self, sample: &Sample<'_>) {
        self.summary.samples += 1;
        self.receiver.sample(sample);
    }

    pub fn invalid(&mut self, reason: &'static str, line: &str) {
        self.summary.invalid += 1;
        self.receiver.invalid(reason, line.as_bytes());
    }
}
