//! The histogram of a window: from it come the percentiles.
//!
//! Up to [`MAX_RAW`] samples are kept as they are. With more, the histogram counts them in base-2 exponential buckets
//! as in OpenTelemetry's ExponentialHistogram: at scale s, bucket i has the values in (2^(i / 2^s), 2^((i + 1) / 2^s)].
//! Negative values have buckets of their own, by magnitude, and zeros have a count. The scale is the highest, from
//! [`MAX_SCALE`] down to [`MIN_SCALE`], at which the buckets between the lowest and the highest of both signs are
//! at most [`MAX_BUCKETS`]. At [`MIN_SCALE`] any set of doubles has at most 264. Only halving leads to lower scales.
//!
//! # Invariants
//!
//! A histogram, its bytes and the memory that it takes depend only on the multiset of its samples, and on the lowest
//! scale to which [`Histogram::halve_resolution`] has brought a part of it. So inserting and merging give the same in
//! any order and any split:
//!
//! - "Samples" are counted with their multiplicities: a value that occurred 17 times is not kept as it is. (Counting
//!   distinct values would be independent of the order as well, but takes a count beside each value.)
//! - If a part has more than [`MAX_RAW`] samples, the whole has.
//! - Buckets of a lower scale are unions of buckets of a higher one, so reducing the scale early or late gives the same
//!   counts, and a scale that is too high for a part is too high for the whole.
//! - Counts stop at [`MAX_COUNT`], which is associative too.
//! - -0 counts as 0. Nothing is computed with floating-point logarithms.
//!
//! # Errors of percentiles
//!
//! A percentile is a value of the right bucket, so it is wrong by at most (b - 1) / (b + 1), where b is the ratio of
//! the bucket's bounds: 1.09 % at scale 5, 2.17 % at 4, 4.34 % at 3. Scale 5 fits if largest / smallest is up to 10^3,
//! scale 4 up to 10^6, scale 3 up to 10^12. With both signs it is the product of the two ratios that counts. As each
//! side begins and ends within a bucket, that product may be up to 959, 9.1 * 10^5 and 8.4 * 10^11.
//!
//! Measured with 10^7 values of each distribution in windows of 10,000, percentiles 1, 10, 25, 50, 90, 95, 99 and 99.9
//! of each (examples/histogram_errors.rs), worst and mean error by scale:
//!
//! | distribution | scale of the windows | at 5 | at 4 | at 3 |
//! | --- | --- | --- | --- | --- |
//! | log-normal, σ = 1 | 5: 2.3 %, 4: 97.7 % | 1.073 %, 0.512 % | 2.165 %, 1.082 % | 4.328 %, 1.961 % |
//! | uniform, 1 to 1,000 | 5 | 1.083 %, 0.512 % | 2.166 %, 1.008 % | 4.329 %, 1.883 % |
//! | bimodal, 2 and 300 | 5 | 1.083 %, 0.517 % | 2.164 %, 0.959 % | 4.327 %, 1.919 % |
//! | constant | 5 | 0 | 0 | 0 |
//! | negative log-normal | 5: 2.3 %, 4: 97.7 % | 1.078 %, 0.568 % | 2.165 %, 1.098 % | 4.327 %, 1.856 % |
//! | normal, both signs | 3: 99.8 %, 2: 0.2 % | - | - | 4.329 %, 2.688 % |
//! | 90 % zeros, else log-normal | 5: 84.9 %, 4: 15.1 % | 1.083 %, 0.234 % | 2.165 %, 0.474 % | 4.328 %, 0.933 % |
//! | 12 decades | 3 | - | - | 4.329 %, 2.206 % |
//!
//! # Memory
//!
//! Counts are half a byte or 1, 2, 4 or 8 bytes wide, as the largest requires. So the buckets take at most 1,280 bytes
//! unless one counts 2^32 samples or more; then at most [`MAX_HEAP_BYTES`], because exact counts in 1,280 bytes would
//! take a lower scale than the errors above permit. (Two sides of 132 buckets of 8 bytes, as at the lowest
//! scale, exceed them anyway.)
//!
//! # Examples
//!
//! ```
//! use aggregator_core::histogram::{Histogram, Percentiles};
//!
//! let mut histogram = Histogram::default();
//! (1..=1000).for_each(|ms| histogram.insert(f64::from(ms), 1));
//! let list = Percentiles::parse(b"50 99.9").unwrap();
//! let values = histogram.percentiles(&list, 1.0, 1000.0).unwrap();
//! assert!((values[0] / 500.0 - 1.0).abs() < 0.0109);
//! assert!((values[1] / 999.0 - 1.0).abs() < 0.0109);
//! ```

mod buckets;
mod bytes;
mod index;
mod json;
mod limits;
mod percentiles;
mod width;

use buckets::Buckets;
pub use bytes::MAX_BYTES;
pub use limits::{
    LOWEST_SCALE, MAX_BUCKETS, MAX_COUNT, MAX_HEAP_BYTES, MAX_RAW, MAX_SCALE, MIN_SCALE,
};
pub use percentiles::{MAX_DECIMALS, MAX_PERCENTILES, Percentile, Percentiles, PercentilesError};
use width::Width;

/// Returns the limit of [`Histogram::heap_bytes`] where no bucket counts more than `largest` samples.
pub(crate) fn max_heap_bytes(largest: u64) -> usize {
    Width::of(largest).bytes_of(MAX_BUCKETS)
}

/// A histogram; see the [module](self).
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram(State);

#[derive(Clone, Debug, PartialEq)]
enum State {
    /// At most [`MAX_RAW`] values, sorted, without spare capacity.
    Raw(Box<[f64]>),
    Buckets(Buckets),
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram(State::Raw(Box::default()))
    }
}

impl Histogram {
    /// Creates the histogram of values with their multiplicities: as if each was inserted, at once. The values are
    /// finite.
    pub fn of_values(values: &[(f64, u64)]) -> Histogram {
        let all = || values.iter().copied();
        let samples = all().fold(0, |samples: u64, (_, times)| samples.saturating_add(times));
        if samples > MAX_RAW as u64 {
            return Histogram(State::Buckets(Buckets::of_values(all())));
        }
        let mut list = Vec::with_capacity(samples as usize);
        for (value, times) in all() {
            list.extend(std::iter::repeat_n(value + 0.0, times as usize));
        }
        list.sort_unstable_by(f64::total_cmp);
        Histogram(State::Raw(list.into_boxed_slice()))
    }

    /// Adds `times` samples of a finite value. Without samples it does nothing.
    #[inline]
    pub fn insert(&mut self, value: f64, times: u64) {
        debug_assert!(value.is_finite());
        if times == 0 {
            return;
        }
        match &mut self.0 {
            State::Buckets(buckets) => buckets.insert(value, times),
            State::Raw(_) => self.insert_raw(value, times),
        }
    }

    fn insert_raw(&mut self, value: f64, times: u64) {
        let State::Raw(values) = &mut self.0 else {
            return;
        };
        let value = value + 0.0;
        if times > (MAX_RAW - values.len()) as u64 {
            let raw = values.iter().map(|value| (*value, 1));
            let buckets = Buckets::of_values(raw.chain([(value, times)]));
            self.0 = State::Buckets(buckets);
            return;
        }
        let mut list = std::mem::take(values).into_vec();
        list.reserve_exact(times as usize);
        let at = list.partition_point(|v| *v <= value);
        list.splice(at..at, std::iter::repeat_n(value, times as usize));
        *values = list.into_boxed_slice();
    }

    /// Adds the samples of another histogram. The scale is at most the lower of both.
    pub fn merge(&mut self, other: &Histogram) {
        match (&mut self.0, &other.0) {
            (_, State::Raw(values)) => values.iter().for_each(|value| self.insert(*value, 1)),
            (State::Buckets(buckets), State::Buckets(others)) => buckets.merge(others),
            (State::Raw(values), State::Buckets(others)) => {
                let mut buckets = others.clone();
                values.iter().for_each(|value| buckets.insert(*value, 1));
                self.0 = State::Buckets(buckets);
            }
        }
    }

    /// Reduces the scale by one, which takes about half the memory. Returns false, without effect, if the values are
    /// kept as they are or the scale is [`LOWEST_SCALE`].
    pub fn halve_resolution(&mut self) -> bool {
        match &mut self.0 {
            State::Raw(_) => false,
            State::Buckets(buckets) => buckets.halve_resolution(),
        }
    }

    /// Returns `true` if it has no sample.
    pub fn is_empty(&self) -> bool {
        matches!(&self.0, State::Raw(values) if values.is_empty())
    }

    /// Returns the number of samples.
    pub fn count(&self) -> u64 {
        match &self.0 {
            State::Raw(values) => values.len() as u64,
            State::Buckets(buckets) => buckets.total(),
        }
    }

    /// Returns the scale; `None` while the values are kept as they are.
    pub fn scale(&self) -> Option<i8> {
        match &self.0 {
            State::Raw(_) => None,
            State::Buckets(buckets) => Some(buckets.scale()),
        }
    }

    /// Returns the bytes on the heap, without what an allocator adds.
    pub fn heap_bytes(&self) -> usize {
        match &self.0 {
            State::Raw(values) => size_of_val::<[f64]>(values),
            State::Buckets(buckets) => buckets.heap_bytes(),
        }
    }

    /// Returns the percentiles of a list, within `min` and `max`, in the places of the list; `None` without samples.
    pub fn percentiles(
        &self,
        list: &Percentiles,
        min: f64,
        max: f64,
    ) -> Option<[f64; MAX_PERCENTILES]> {
        let mut values = [0.0; MAX_PERCENTILES];
        match &self.0 {
            State::Raw(raw) if raw.is_empty() => return None,
            State::Raw(raw) => {
                for (value, percentile) in values.iter_mut().zip(list.iter()) {
                    let rank = percentile.rank(raw.len() as u64);
                    let at = (rank as usize).saturating_sub(1);
                    *value = raw.get(at).copied().unwrap_or(max);
                }
            }
            State::Buckets(buckets) => buckets.percentiles(list, &mut values),
        }
        // Not `clamp`, which panics if the caller's minimum is above the maximum.
        Some(values.map(|value| value.max(min).min(max)))
    }
}
