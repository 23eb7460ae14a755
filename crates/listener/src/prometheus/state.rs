//! The totals of histograms at the previous scrape.
//!
//! # Invariants
//!
//! - The number of series and the bytes they take stay within the limits.
//! - A series in use is not evicted for another one. Scrapes read all series in turn, so the series that was used least
//!   recently is the one that is needed next: to evict it for a new one would lose all of them at each scrape.

use std::collections::HashMap;
use std::ops::Range;

use super::histogram::{Bucket, Totals};

/// The bytes that a series takes besides its key and its buckets: the slot of the map, which may be half
/// empty, and two allocations.
const SERIES_BYTES: usize = 224;

/// Limits of a [`State`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most histograms.
    pub max_series: usize,
    /// The limit of their memory, bytes.
    pub max_bytes: usize,
    /// A histogram that was not scraped for this time may be evicted for a new one, milliseconds. It should be the time
    /// of several scrapes.
    pub idle_ms: i64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            max_series: 20_000,
            max_bytes: 32 << 20,
            idle_ms: 600_000,
        }
    }
}

/// The totals of histograms at the previous scrape. Targets may share it, as the labels of a target are a part of what
/// identifies a histogram; with a state for each target, none takes memory from another.
#[derive(Debug, Default)]
pub struct State {
    limits: Limits,
    series: HashMap<Box<[u8]>, Series>,
    bytes: usize,
    evicted: u64,
    rejected: u64,
    /// While no series is idle: from the last search until the first may be, milliseconds.
    none_idle: Range<i64>,
}

#[derive(Debug)]
struct Series {
    totals: Totals,
    used_ms: i64,
}

fn size(key: &[u8], totals: &Totals) -> usize {
    SERIES_BYTES + key.len() + totals.buckets.len() * size_of::<Bucket>()
}

/// The state of a histogram.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Known {
    /// Its totals are the baseline from now on.
    Baseline,
    /// It was compared with its last totals. The sum of what was added, if both sums are known.
    Since(Option<f64>),
    /// It is new, and all memory is used by others.
    Rejected,
}

impl State {
    /// Creates an empty state.
    pub fn new(limits: Limits) -> State {
        State {
            limits,
            ..State::default()
        }
    }

    /// Returns the number of histograms.
    pub fn series(&self) -> usize {
        self.series.len()
    }

    /// Returns the bytes that the histograms take, estimated.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns how many idle histograms were evicted for new ones. If they are scraped again, what was added in between
    /// is not known.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Returns how often a new histogram was rejected, because no other one was idle. It counts again at each scrape.
    pub fn rejected(&self) -> u64 {
        self.rejected
    }

    /// Replaces the totals of a histogram. Sets `increases` as [`Totals::since`] if there were any.
    pub(super) fn replace(
        &mut self,
        key: &[u8],
        totals: Totals,
        now_ms: i64,
        increases: &mut Vec<Bucket>,
    ) -> Known {
        let new_size = size(key, &totals);
        let known = self.series.get_mut(key).map(|series| {
            let sum = totals.since(&series.totals, increases);
            series.used_ms = now_ms;
            (size(key, &series.totals), sum)
        });
        let (old_size, result) = match known {
            Some((old_size, sum)) => (old_size, Known::Since(sum)),
            None => (0, Known::Baseline),
        };
        let is_new = old_size == 0;
        if !self.is_within(new_size, old_size) && !self.evict(new_size, old_size, now_ms) {
            self.rejected += 1;
            if !is_new {
                self.remove(key);
                return result;
            }
            return Known::Rejected;
        }
        self.bytes = self.bytes - old_size + new_size;
        match self.series.get_mut(key) {
            Some(series) => series.totals = totals,
            None => {
                let series = Series {
                    totals,
                    used_ms: now_ms,
                };
                self.series.insert(key.into(), series);
            }
        }
        result
    }

    /// Returns `true` if a series may take `new_size` bytes, which takes `old_size` now.
    fn is_within(&self, new_size: usize, old_size: usize) -> bool {
        let number = self.series.len() + usize::from(old_size == 0);
        number <= self.limits.max_series
            && self.bytes - old_size + new_size <= self.limits.max_bytes
    }

    /// Evicts idle series, the least recently used first, until a series fits and a sixteenth of the memory is free, so
    /// that the next new series need no search. Returns `false` if it does not fit.
    fn evict(&mut self, new_size: usize, old_size: usize, now_ms: i64) -> bool {
        if self.none_idle.contains(&now_ms) {
            return false;
        }
        let idle_since = now_ms.saturating_sub(self.limits.idle_ms);
        let mut idle: Vec<(i64, Box<[u8]>)> = self
            .series
            .iter()
            .filter(|(_, series)| series.used_ms < idle_since)
            .map(|(key, series)| (series.used_ms, key.clone()))
            .collect();
        idle.sort_unstable();
        let (most, most_bytes) = (self.limits.max_series, self.limits.max_bytes);
        for (_, key) in idle {
            let has_free = self.series.len() < most - most / 16
                && self.bytes + new_size < most_bytes - most_bytes / 16;
            if has_free {
                return true;
            }
            self.remove(&key);
            self.evicted += 1;
        }
        let oldest = self.series.values().map(|series| series.used_ms).min();
        let next_idle = oldest
            .unwrap_or(now_ms)
            .saturating_add(self.limits.idle_ms)
            .saturating_add(1);
        self.none_idle = now_ms..next_idle;
        self.is_within(new_size, old_size)
    }

    fn remove(&mut self, key: &[u8]) {
        if let Some(series) = self.series.remove(key) {
            self.bytes -= size(key, &series.totals);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(n: u64) -> Totals {
        Totals {
            buckets: vec![(1.0, n), (f64::INFINITY, n)],
            sum: Some(n as f64),
            created: None,
        }
    }

    fn replace(state: &mut State, key: &str, n: u64, now_ms: i64) -> (Known, Vec<Bucket>) {
        let mut increases = Vec::new();
        let known = state.replace(key.as_bytes(), totals(n), now_ms, &mut increases);
        (known, increases)
    }

    fn state(max_series: usize, max_bytes: usize) -> State {
        State::new(Limits {
            max_series,
            max_bytes,
            idle_ms: 100,
        })
    }

    #[test]
    fn first_totals_are_the_baseline() {
        let mut state = state(9, 9_999);
        assert_eq!(replace(&mut state, "a", 5, 0), (Known::Baseline, vec![]));
        let expected = (Known::Since(Some(3.0)), vec![(1.0, 3), (f64::INFINITY, 3)]);
        assert_eq!(replace(&mut state, "a", 8, 1), expected);
        assert_eq!(state.series(), 1);
    }

    #[test]
    fn idle_series_are_evicted_the_oldest_first() {
        let mut state = state(3, 9_999);
        for (key, at) in [("a", 0), ("b", 10), ("c", 50), ("a", 90)] {
            assert_ne!(replace(&mut state, key, 1, at).0, Known::Rejected);
        }
        assert_eq!(replace(&mut state, "d", 1, 110).0, Known::Rejected);
        assert_eq!((state.evicted(), state.rejected()), (0, 1));
        // `b` is idle since 111.
        assert_eq!(replace(&mut state, "d", 1, 111).0, Known::Baseline);
        assert_eq!((state.evicted(), state.rejected()), (1, 1));
        assert_eq!(replace(&mut state, "c", 1, 112).0, Known::Since(Some(0.0)));
        assert_eq!(replace(&mut state, "b", 1, 112).0, Known::Rejected);
        assert_eq!(state.series(), 3);
    }

    #[test]
    fn a_flood_of_new_series_evicts_none_in_use() {
        let mut state = state(100, 1 << 20);
        for scrape in 0..5 {
            let now = scrape * 60;
            for i in 0..100 {
                let known = replace(&mut state, &format!("own{i}"), 1, now).0;
                assert_eq!(known == Known::Baseline, scrape == 0);
            }
            for i in 0..1_000 {
                let key = format!("flood{scrape}.{i}");
                assert_eq!(replace(&mut state, &key, 1, now).0, Known::Rejected);
            }
        }
        assert_eq!((state.evicted(), state.rejected()), (0, 5_000));
    }

    #[test]
    fn clock_that_is_set_back_does_not_block_eviction() {
        let mut state = state(1, 9_999);
        replace(&mut state, "a", 1, 1_000_000);
        assert_eq!(replace(&mut state, "b", 1, 1_000_000).0, Known::Rejected);
        assert_eq!(replace(&mut state, "a", 1, 0).0, Known::Since(Some(0.0)));
        assert_eq!(replace(&mut state, "b", 1, 101).0, Known::Baseline);
    }

    #[test]
    fn bytes_are_limited() {
        let one = size(b"a", &totals(1));
        let mut state = state(99, 2 * one + one / 2);
        replace(&mut state, "a", 1, 0);
        replace(&mut state, "b", 1, 0);
        assert_eq!(state.bytes(), 2 * one);
        assert_eq!(replace(&mut state, "c", 1, 0).0, Known::Rejected);
        // More buckets that do not fit: the increase counts, and then the series is forgotten.
        let buckets = (0..90)
            .map(|i| (f64::from(i), 2))
            .chain([(f64::INFINITY, 2)]);
        let large = Totals {
            buckets: buckets.collect(),
            sum: None,
            created: None,
        };
        let mut increases = Vec::new();
        let known = state.replace(b"a", large, 1, &mut increases);
        assert_eq!(known, Known::Since(None));
        assert_eq!(increases, [(1.0, 1), (f64::INFINITY, 1)]);
        assert_eq!((state.bytes(), state.series()), (one, 1));
    }
}
