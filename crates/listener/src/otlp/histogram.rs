//! Reads the points of histograms and exponential histograms.
//!
//! # Invariants
//!
//! - A point that is read is consistent: bounds rise, the counts add up to the count, and all numbers are finite.
//! - Memory is limited to [`MAX_BUCKETS`] buckets, and reused for the next point.

use super::cumulative::{CumulativeState, Layout};
use super::wire::{Fields, Value, varint};

/// The largest number of buckets of a point.
pub const MAX_BUCKETS: usize = 4096;

/// Scales beyond these are not used by any sender: buckets are finer than doubles, or one has all values.
const SCALES: std::ops::RangeInclusive<i32> = -16..=32;

const TOO_MANY: &str = "too many buckets";

/// A point of a histogram. It is reused, as it has lists.
#[derive(Debug, Default)]
pub struct Point {
    /// Unix nanoseconds, or 0.
    pub start: u64,
    /// Unix nanoseconds, or 0.
    pub time: u64,
    /// The number of values.
    pub count: u64,
    /// Their sum.
    pub sum: Option<f64>,
    /// The least one.
    pub min: Option<f64>,
    /// The greatest one.
    pub max: Option<f64>,
    /// True if the sender has no value.
    pub is_missing: bool,
    /// The bounds of the buckets of a histogram.
    pub bounds: Vec<f64>,
    /// The counts of the buckets, as [`Layout`] says.
    pub counts: Vec<u64>,
    zero: u64,
    zero_threshold: u64,
    scale: i32,
    positive: (i32, usize),
    negative: (i32, usize),
    negative_counts: Vec<u64>,
}

impl Point {
    /// Prepares it for the next point.
    fn clear(&mut self) {
        let (mut bounds, mut counts, mut negative_counts) = (
            std::mem::take(&mut self.bounds),
            std::mem::take(&mut self.counts),
            std::mem::take(&mut self.negative_counts),
        );
        bounds.clear();
        counts.clear();
        negative_counts.clear();
        *self = Point {
            bounds,
            counts,
            negative_counts,
            ..Point::default()
        };
    }

    /// Reads a `HistogramDataPoint`. Calls `attribute` for each `KeyValue`.
    ///
    /// # Errors
    /// The reason why it cannot be used.
    pub fn read<'a>(
        &mut self,
        message: &'a [u8],
        mut attribute: impl FnMut(&'a [u8]),
    ) -> Result<(), &'static str> {
        self.clear();
        for (number, value) in Fields::new(message) {
            match number {
                9 => attribute(value.bytes()),
                6 => fixed(value, |bits| push(&mut self.counts, bits))?,
                7 => fixed(value, |bits| push(&mut self.bounds, f64::from_bits(bits)))?,
                10 => self.is_missing = value.bits() & 1 != 0,
                11 => self.min = Some(value.double()),
                12 => self.max = Some(value.double()),
                _ => self.read_common(number, value),
            }
        }
        Ok(())
    }

    /// Reads an `ExponentialHistogramDataPoint`. Calls `attribute` for each `KeyValue`.
    ///
    /// # Errors
    /// The reason why it cannot be used.
    pub fn read_exponential<'a>(
        &mut self,
        message: &'a [u8],
        mut attribute: impl FnMut(&'a [u8]),
    ) -> Result<(), &'static str> {
        self.clear();
        self.counts.push(0);
        for (number, value) in Fields::new(message) {
            match number {
                1 => attribute(value.bytes()),
                6 => self.scale = value.zigzag(),
                7 => self.zero = value.bits(),
                8 => {
                    self.counts.truncate(1);
                    self.positive.0 = buckets(value.bytes(), &mut self.counts)?;
                }
                9 => {
                    self.negative_counts.clear();
                    self.negative.0 = buckets(value.bytes(), &mut self.negative_counts)?;
                }
                10 => self.is_missing = value.bits() & 1 != 0,
                12 => self.min = Some(value.double()),
                13 => self.max = Some(value.double()),
                14 => self.zero_threshold = value.bits(),
                _ => self.read_common(number, value),
            }
        }
        self.positive.1 = self.counts.len() - 1;
        self.negative.1 = self.negative_counts.len();
        if let Some(zero) = self.counts.first_mut() {
            *zero = self.zero;
        }
        self.counts.append(&mut self.negative_counts);
        Ok(())
    }

    fn read_common(&mut self, number: u32, value: Value<'_>) {
        match number {
            2 => self.start = value.bits(),
            3 => self.time = value.bits(),
            4 => self.count = value.bits(),
            5 => self.sum = Some(value.double()),
            _ => {}
        }
    }

    /// Checks a point of a histogram.
    ///
    /// # Errors
    /// The reason why it cannot be used.
    pub fn layout(&mut self, state: &CumulativeState) -> Result<Layout, &'static str> {
        if self.counts.is_empty() && self.bounds.is_empty() {
            // A histogram without buckets is one bucket.
            self.counts.push(self.count);
        }
        if self.counts.len() != self.bounds.len() + 1 {
            return Err("bounds and counts do not match");
        }
        let is_rising = self.bounds.is_sorted_by(|a, b| a < b);
        if !is_rising || !self.bounds.iter().all(|b| b.is_finite()) {
            return Err("bounds do not rise");
        }
        self.check_totals()?;
        Ok(Layout::Explicit {
            bounds: state.bounds(&self.bounds),
        })
    }

    /// Checks a point of an exponential histogram.
    ///
    /// # Errors
    /// The reason why it cannot be used.
    pub fn exponential_layout(&self) -> Result<Layout, &'static str> {
        if self.counts.len() > MAX_BUCKETS {
            return Err(TOO_MANY);
        }
        if !SCALES.contains(&self.scale) {
            return Err("an invalid scale");
        }
        self.check_totals()?;
        Ok(Layout::Exponential {
            scale: self.scale,
            zero_threshold: self.zero_threshold,
            positive: self.positive.0.into(),
            positive_len: self.positive.1,
            negative: self.negative.0.into(),
        })
    }

    fn check_totals(&self) -> Result<(), &'static str> {
        let mut counts = self.counts.iter();
        if counts.try_fold(0u64, |sum, n| sum.checked_add(*n)) != Some(self.count) {
            return Err("counts do not add up");
        }
        let is_finite = |v: Option<f64>| v.is_none_or(f64::is_finite);
        if ![self.sum, self.min, self.max].into_iter().all(is_finite) {
            return Err("not a finite number");
        }
        match self.min.zip(self.max) {
            Some((min, max)) if min > max && self.count > 0 => Err("a minimum above the maximum"),
            _ => Ok(()),
        }
    }
}

fn push<T>(list: &mut Vec<T>, value: T) -> Result<(), &'static str> {
    if list.len() >= MAX_BUCKETS {
        return Err(TOO_MANY);
    }
    list.push(value);
    Ok(())
}

/// Visits repeated numbers of eight bytes: packed, or one.
fn fixed(
    value: Value<'_>,
    mut visit: impl FnMut(u64) -> Result<(), &'static str>,
) -> Result<(), &'static str> {
    let Value::Bytes(packed) = value else {
        return visit(value.bits());
    };
    let (numbers, _) = packed.as_chunks();
    numbers
        .iter()
        .try_for_each(|n| visit(u64::from_le_bytes(*n)))
}

/// Appends the counts of `Buckets`, and returns the offset.
fn buckets(message: &[u8], counts: &mut Vec<u64>) -> Result<i32, &'static str> {
    let mut offset = 0;
    for (number, value) in Fields::new(message) {
        match (number, value) {
            (1, value) => offset = value.zigzag(),
            (2, Value::Bytes(mut packed)) => {
                while let Some((count, rest)) = varint(packed) {
                    push(counts, count)?;
                    packed = rest;
                }
            }
            (2, value) => push(counts, value.bits())?,
            _ => {}
        }
    }
    Ok(offset)
}
