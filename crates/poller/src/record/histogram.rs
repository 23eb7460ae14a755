//! The histogram of a window, as `agg.hist-records` adds it to a record: an exponential histogram as OpenTelemetry
//! defines it (<https://opentelemetry.io/docs/specs/otel/metrics/data-model/#exponentialhistogram>).

use serde::Deserialize;
use serde_json::value::RawValue;

use super::error::RecordError;

/// An exponential histogram.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram<'a> {
    /// The scale: bucket i has the values above b^i up to b^(i+1), where b is 2^(2^-scale).
    pub scale: i32,
    /// The number of zeros.
    pub zero: u64,
    /// The buckets of positive values.
    pub positive: Buckets,
    /// The buckets of negative values, by their absolute values.
    pub negative: Buckets,
    /// The histogram as JSON, as it was written.
    pub json: &'a str,
}

/// The buckets of one sign, from the lowest used one on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Buckets {
    /// The index of the first bucket.
    pub offset: i32,
    /// The number of samples in each bucket.
    pub counts: Vec<u64>,
}

/// The histogram as the record has it.
#[derive(Deserialize)]
struct Members {
    scale: i32,
    zero: u64,
    pos: Buckets,
    neg: Buckets,
}

impl<'a> Histogram<'a> {
    pub(super) fn parse(raw: &'a RawValue) -> Result<Histogram<'a>, RecordError> {
        let invalid = || RecordError::Invalid("hist");
        let Members {
            scale,
            zero,
            pos,
            neg,
        } = serde_json::from_str(raw.get()).map_err(|_| invalid())?;
        // So that the index of every bucket is a 32-bit number.
        let fits = |buckets: &Buckets| {
            let length = i32::try_from(buckets.counts.len());
            length.is_ok_and(|length| buckets.offset.checked_add(length).is_some())
        };
        if !fits(&pos) || !fits(&neg) {
            return Err(invalid());
        }
        Ok(Histogram {
            scale,
            zero,
            positive: pos,
            negative: neg,
            json: raw.get(),
        })
    }
}
