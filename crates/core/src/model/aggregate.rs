//! Samples of a gauge that a reporter has aggregated, as AGG.HIST reports them.

use super::histogram::{Histogram, MAX_COUNT};
use super::sum::{Sum, weighted};
use crate::codec::bytes::{Reader, put_doubles};
use crate::error::DecodeError;

/// The largest number of samples of an aggregate.
pub(crate) const MAX_SAMPLES: u64 = MAX_COUNT;

/// Aggregated samples. Their number is the multiplicity of the [`Sample`](super::Sample) that carries them, its value is
/// the last of theirs.
///
/// # Invariants
/// There is a sample, and `min` is at most `max`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Aggregate {
    pub sum: f64,
    pub min: f64,
    pub max: f64,
    /// It depends on the samples alone, however they are split and ordered. So it can be merged, and takes at most
    /// [`MAX_BYTES`](super::histogram::MAX_BYTES) in an effect, however many values a command has.
    pub histogram: Histogram,
}

impl Aggregate {
    /// Aggregates values with their multiplicities.
    pub fn of(values: &[(f64, u64)]) -> Aggregate {
        let mut sum = Sum::default();
        let (mut min, mut max) = (f64::INFINITY, f64::NEG_INFINITY);
        for (value, times) in values {
            sum.add(weighted(*value, *times));
            (min, max) = (min.min(*value), max.max(*value));
        }
        Aggregate {
            sum: sum.sum,
            min,
            max,
            histogram: Histogram::of_values(values),
        }
    }

    /// Writes the form of effects.
    pub fn put(&self, out: &mut Vec<u8>) {
        put_doubles(out, &[self.sum, self.min, self.max]);
        self.histogram.put(out);
    }

    /// Reads what `put` wrote. Returns it with the number of its samples.
    pub fn read(r: &mut Reader<'_>) -> Result<(Aggregate, u64), DecodeError> {
        let [sum, min, max] = r.doubles()?;
        let histogram = Histogram::read(r)?;
        let samples = histogram.count();
        if samples == 0 || samples > MAX_SAMPLES || min > max {
            return Err(DecodeError("inconsistent aggregated samples"));
        }
        let aggregate = Aggregate {
            sum,
            min,
            max,
            histogram,
        };
        Ok((aggregate, samples))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aggregate_reads_back_and_inconsistent_one_is_rejected() {
        let read = |aggregate: &Aggregate| {
            let mut bytes = Vec::new();
            aggregate.put(&mut bytes);
            for len in 0..bytes.len() {
                assert!(Aggregate::read(&mut Reader::new(&bytes[..len])).is_err());
            }
            Aggregate::read(&mut Reader::new(&bytes)).ok()
        };
        let aggregate = Aggregate::of(&[(0.1, 3), (7.0, 1 << 32), (-2.0, 1)]);
        assert_eq!((aggregate.min, aggregate.max), (-2.0, 7.0));
        assert_eq!(read(&aggregate), Some((aggregate.clone(), (1 << 32) + 4)));
        let swapped = Aggregate {
            min: 1.0,
            max: 0.0,
            ..aggregate.clone()
        };
        assert_eq!(read(&swapped), None);
        let empty = Aggregate {
            histogram: Histogram::default(),
            ..aggregate
        };
        assert_eq!(read(&empty), None);
        let most = Aggregate::of(&[(1.0, MAX_SAMPLES)]);
        assert!(read(&most).is_some());
        assert_eq!(read(&Aggregate::of(&[(1.0, MAX_SAMPLES), (2.0, 1)])), None);
    }

    #[test]
    fn sum_of_many_values_is_exact_and_limited_to_the_largest_double() {
        let sum = |values: &[(f64, u64)]| Aggregate::of(values).sum;
        assert_eq!(sum(&[(0.1, 1); 1_000]), 100.0);
        assert_eq!(sum(&[(1e300, 1 << 32), (1e308, 1 << 32)]), f64::MAX);
    }
}
