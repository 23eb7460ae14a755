//! Differences of cumulative histograms.
//!
//! A cumulative histogram contains all values since its start. What is passed on is the difference to the previous report
//! of the same series and start, so the sum of the differences is what happened, and a lost report loses nothing.
//!
//! # Invariants
//!
//! - Nothing counts twice. The first report of a series and start counts only if it started later than the horizon;
//!   otherwise it is the baseline of the next. The horizon is the start of this process, and rises to the last report of
//!   each series that is evicted, because parts of such a series may have been passed on.
//! - A sender that restarts begins with another start, which is later than the horizon: all of it counts. Senders
//!   with the same attributes are told apart by their start.
//! - Reports that are not newer than the last one are covered by it, and change nothing.
//! - The number of series and their memory are limited. The least recently used are evicted and counted.

use std::hash::{BuildHasher, RandomState};

use lru::LruCache;

use crate::report::Attribute;

/// The meaning of the counts of a histogram.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Layout {
    /// One count for each bucket.
    Explicit {
        /// The hash of the bounds.
        bounds: u64,
    },
    /// One count for zero, then those of the positive buckets, then those of the negative ones.
    Exponential {
        /// Bounds are powers of 2^(2^-scale).
        scale: i32,
        /// The bits of the threshold of the zero bucket.
        zero_threshold: u64,
        /// The index of the first positive bucket.
        positive: i64,
        /// The number of positive buckets.
        positive_len: usize,
        /// The index of the first negative bucket.
        negative: i64,
    },
}

/// A cumulative histogram.
#[derive(Clone, Copy, Debug)]
pub struct Report<'p> {
    /// The time at which counting began, Unix nanoseconds; 0 if it is not known.
    pub start: u64,
    /// The time of the counts, Unix nanoseconds; 0 if it is not known.
    pub time: u64,
    /// The sum of its values, if it is known.
    pub sum: Option<f64>,
    /// The meaning of the counts.
    pub layout: Layout,
    /// The counts.
    pub counts: &'p [u64],
}

/// The part of a report that counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Difference {
    /// Nothing: it is a baseline, or old.
    Nothing,
    /// All of it.
    All,
    /// The counts that were returned, which have this layout and sum.
    Part(Layout, Option<f64>),
    /// It has other buckets than the previous report, which it replaces as the baseline.
    OtherBuckets,
}

/// The limits of the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest number of series.
    pub series: usize,
    /// The largest number of bytes of all series.
    pub bytes: usize,
}

impl Default for Limits {
    /// 100,000 series and 64 MiB.
    fn default() -> Limits {
        Limits {
            series: 100_000,
            bytes: 64 << 20,
        }
    }
}

struct Entry {
    request: u64,
    time: u64,
    sum: Option<f64>,
    layout: Layout,
    counts: Box<[u64]>,
}

impl Entry {
    /// The bytes it takes, with those of the map and the list.
    fn size(&self) -> usize {
        size_of::<Entry>() + 64 + size_of_val(&*self.counts)
    }
}

/// The changes of a request, so that they can be undone: the keys of series, and their state before.
#[derive(Default)]
pub struct Changes(Vec<(u64, Option<Entry>)>, u64);

/// The last report of each series.
pub struct CumulativeState {
    series: LruCache<u64, Entry>,
    hasher: RandomState,
    limits: Limits,
    bytes: usize,
    horizon: u64,
    evicted: u64,
    changes: Changes,
}

impl CumulativeState {
    /// Creates it. `now` is the time in Unix milliseconds: what started later counts from its first report.
    pub fn new(limits: Limits, now: i64) -> CumulativeState {
        CumulativeState {
            series: LruCache::unbounded(),
            hasher: RandomState::new(),
            limits,
            bytes: 0,
            horizon: u64::try_from(now).unwrap_or(0).saturating_mul(1_000_000),
            evicted: 0,
            changes: Changes::default(),
        }
    }

    /// Returns the number of series that were evicted. Each loses what happens up to its next report.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Returns the number of series and of their bytes.
    pub fn used(&self) -> (usize, usize) {
        (self.series.len(), self.bytes)
    }

    /// Returns the key of a series and start. The order of the attributes does not matter.
    pub fn key(&self, name: &str, attributes: &[Attribute<'_>], start: u64) -> u64 {
        let of = |a: &Attribute<'_>| self.hasher.hash_one((&a.name, &a.value));
        let sum = attributes
            .iter()
            .map(of)
            .fold(0, |a: u64, b| a.wrapping_add(b));
        self.hasher.hash_one((name, sum, start))
    }

    /// Returns the hash of the bounds of buckets.
    pub fn bounds(&self, bounds: &[f64]) -> u64 {
        use std::hash::Hasher as _;
        let mut hasher = self.hasher.build_hasher();
        for bound in bounds {
            hasher.write_u64(bound.to_bits());
        }
        hasher.finish()
    }

    /// Takes a report, and returns what of it counts. `part` is for the counts of [`Difference::Part`].
    pub fn difference(&mut self, key: u64, report: Report<'_>, part: &mut Vec<u64>) -> Difference {
        let result = match self.series.get(&key) {
            None if report.start > self.horizon && report.start < report.time => Difference::All,
            None => Difference::Nothing,
            Some(last) if is_covered(last, &report) => return Difference::Nothing,
            Some(last) => match part_since(last, &report, part) {
                Since::Part(layout) => {
                    let sum = report.sum.zip(last.sum).map(|(now, then)| now - then);
                    Difference::Part(layout, sum.filter(|sum| sum.is_finite()))
                }
                Since::Restarted => Difference::All,
                Since::OtherBuckets => Difference::OtherBuckets,
            },
        };
        self.replace(key, &report);
        result
    }

    /// Takes a total of a counter. Returns whether it is the first since a start that is known, so all of it is an increase.
    pub fn begins(&mut self, key: u64, start: u64, time: u64) -> bool {
        let report = Report {
            start,
            time,
            sum: None,
            layout: Layout::Explicit { bounds: 0 },
            counts: &[],
        };
        self.difference(key, report, &mut Vec::new()) == Difference::All
    }

    fn replace(&mut self, key: u64, report: &Report<'_>) {
        let request = self.changes.1;
        let entry = Entry {
            request,
            time: report.time,
            sum: report.sum,
            layout: report.layout,
            counts: report.counts.into(),
        };
        self.bytes += entry.size();
        let previous = self.series.put(key, entry);
        self.bytes -= previous.as_ref().map_or(0, Entry::size);
        if previous.as_ref().is_none_or(|e| e.request != request) {
            self.changes.0.push((key, previous));
        }
        self.evict();
    }

    fn evict(&mut self) {
        while self.series.len() > self.limits.series || self.bytes > self.limits.bytes {
            let Some((_, entry)) = self.series.pop_lru() else {
                return;
            };
            self.bytes -= entry.size();
            self.evicted += 1;
            self.horizon = self.horizon.max(entry.time);
        }
    }

    /// Ends a request, and returns what it has changed.
    pub fn take_changes(&mut self) -> Changes {
        let next = Changes(Vec::new(), self.changes.1 + 1);
        std::mem::replace(&mut self.changes, next)
    }

    /// Undoes what a request has changed, so that the same request counts again. Series that have changed since are left.
    pub fn undo(&mut self, changes: Changes) {
        let Changes(series, request) = changes;
        for (key, previous) in series {
            if self.series.peek(&key).is_none_or(|e| e.request != request) {
                continue;
            }
            let removed = self.series.pop(&key);
            self.bytes -= removed.as_ref().map_or(0, Entry::size);
            if let Some(previous) = previous {
                self.bytes += previous.size();
                self.series.put(key, previous);
            }
        }
        self.evict();
    }
}

/// Returns true if the last report contains all of this one.
fn is_covered(last: &Entry, report: &Report<'_>) -> bool {
    report.time != 0 && report.time <= last.time
}

enum Since {
    Part(Layout),
    Restarted,
    OtherBuckets,
}

/// Writes the counts since the last report to `part`.
fn part_since(last: &Entry, report: &Report<'_>, part: &mut Vec<u64>) -> Since {
    part.clear();
    let layout = match (last.layout, report.layout) {
        (Layout::Explicit { bounds: a }, Layout::Explicit { bounds: b })
            if a == b && last.counts.len() == report.counts.len() =>
        {
            part.extend_from_slice(report.counts);
            report.layout
        }
        (
            Layout::Exponential {
                zero_threshold: a,
                scale: then,
                ..
            },
            Layout::Exponential {
                zero_threshold: b,
                scale: now,
                ..
            },
        ) if a == b => reduce(report.layout, report.counts, now.min(then), part),
        _ => return Since::OtherBuckets,
    };
    if subtract(part, layout, last).is_none() {
        return Since::Restarted;
    }
    Since::Part(layout)
}

/// Returns the index of a bucket that contains those of a finer scale.
fn coarser(index: i64, by: i32) -> i64 {
    // Scales are limited, so this does not shift out.
    index >> by.clamp(0, 63)
}

/// Writes counts with a scale that is not finer.
fn reduce(layout: Layout, counts: &[u64], scale: i32, out: &mut Vec<u64>) -> Layout {
    let Some((zero, positive, negative)) = sides(layout, counts) else {
        out.extend_from_slice(counts);
        return layout;
    };
    let Layout::Exponential {
        scale: finer,
        zero_threshold,
        ..
    } = layout
    else {
        return layout;
    };
    let by = finer.saturating_sub(scale);
    out.push(zero);
    let mut add = |(first, counts): (i64, &[u64])| {
        let (start, base) = (coarser(first, by), out.len());
        for (i, count) in counts.iter().enumerate() {
            let at = coarser(first.saturating_add(i as i64), by) - start;
            let at = base + usize::try_from(at).unwrap_or(0);
            if at >= out.len() {
                out.resize(at + 1, 0);
            }
            if let Some(bucket) = out.get_mut(at) {
                *bucket = bucket.saturating_add(*count);
            }
        }
        (start, out.len() - base)
    };
    let (positive, positive_len) = add(positive);
    let (negative, _) = add(negative);
    Layout::Exponential {
        scale,
        zero_threshold,
        positive,
        positive_len,
        negative,
    }
}

/// The counts of one sign, with the index of the first bucket.
pub type Side<'p> = (i64, &'p [u64]);

/// Returns the parts of the counts of an exponential histogram: of zero, positive and negative.
pub fn sides(layout: Layout, counts: &[u64]) -> Option<(u64, Side<'_>, Side<'_>)> {
    let Layout::Exponential {
        positive,
        positive_len,
        negative,
        ..
    } = layout
    else {
        return None;
    };
    let (zero, rest) = counts.split_first()?;
    let (p, n) = rest.split_at_checked(positive_len)?;
    Some((*zero, (positive, p), (negative, n)))
}

/// Subtracts the last report. None: a count would be negative.
fn subtract(part: &mut [u64], layout: Layout, last: &Entry) -> Option<()> {
    let take = |bucket: Option<&mut u64>, count: u64| {
        if count > 0 {
            let bucket = bucket?;
            *bucket = bucket.checked_sub(count)?;
        }
        Some(())
    };
    let Layout::Exponential {
        scale,
        positive,
        positive_len,
        negative,
        ..
    } = layout
    else {
        let both = part.iter_mut().zip(&last.counts);
        return both
            .map(|(bucket, count)| take(Some(bucket), *count))
            .collect();
    };
    let Layout::Exponential { scale: finer, .. } = last.layout else {
        return None;
    };
    let by = finer.saturating_sub(scale);
    let (zero, last_positive, last_negative) = sides(last.layout, &last.counts)?;
    let (of_zero, rest) = part.split_first_mut()?;
    let (of_positive, of_negative) = rest.split_at_mut_checked(positive_len)?;
    take(Some(of_zero), zero)?;
    let take_side = |to: &mut [u64], first: i64, (index, counts): Side<'_>| {
        for (i, count) in counts.iter().enumerate() {
            let at = coarser(index.saturating_add(i as i64), by) - first;
            let bucket = usize::try_from(at).ok().and_then(|at| to.get_mut(at));
            take(bucket, *count)?;
        }
        Some(())
    };
    take_side(of_positive, positive, last_positive)?;
    take_side(of_negative, negative, last_negative)
}

#[cfg(test)]
mod tests;
