//! The values of samples, and the content of entries, as they are collected.

use std::sync::Arc;

use agg_client::command::SampleType;
use aggregator_protocol::number::Number;

/// Maximum occurrences of a sample or of a value.
pub const MAX_TIMES: u64 = 1 << 32;

/// Maximum values of AGG.HIST.
pub const MAX_VALUES: usize = 10_000;

/// The value of a sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchedValue {
    /// The meaning of the value.
    pub sample_type: SampleType,
    /// The windows of the metric have histograms.
    pub hist: bool,
    /// The value: finite, and not negative where it is an increment or the total of a counter.
    pub value: Number,
    /// The number of occurrences, 1 to [`MAX_TIMES`]; 1 unless the type is ABS or INC.
    pub times: u64,
}

/// A log entry or an error.
#[derive(Clone, Debug)]
pub struct BatchedEntry {
    /// The message.
    pub message: Arc<str>,
    /// The level, 0 to 9.
    pub level: u8,
    /// The tag list in canonical form.
    pub tags: Arc<str>,
    /// The time, Unix milliseconds. None: the server's clock.
    pub at: Option<i64>,
}
