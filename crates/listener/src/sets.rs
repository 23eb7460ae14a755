//! Sets, of which the number of distinct members is reported: `s` of statsd.
//!
//! The members of a metric are counted for an interval. At its end their number is a value of a gauge, and the set is
//! empty. A set without members is not reported.
//!
//! # Invariants
//!
//! - Up to [`MAX_EXACT`] members the number is exact, but for members with the same hash of 64 bits. Beyond that it is an
//!   estimate by HyperLogLog with 4,096 registers, whose standard error is 1.6 %: O. Ertl, "New cardinality estimation
//!   algorithms for HyperLogLog sketches", 2017, <https://arxiv.org/abs/1702.01284>, algorithm 6.
//! - Hashes have a random key, so no sender can choose members that count as one.
//! - There are at most [`SetSettings::max_sets`] sets. A set takes at most 4 KiB, and its metric and tags.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

use crate::identity::{Resolved, SeriesId};

/// Maximum members of a set that are counted exactly.
pub const MAX_EXACT: usize = 512;

/// The interval and the limits of sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetSettings {
    /// The time for which members are counted, milliseconds; not 0.
    pub interval_ms: u64,
    /// Maximum sets.
    pub max_sets: usize,
}

impl Default for SetSettings {
    fn default() -> Self {
        SetSettings {
            interval_ms: 10_000,
            max_sets: 10_000,
        }
    }
}

/// There are too many sets, and the member is of none of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManySets;

/// Counts the members of sets.
pub struct Sets {
    settings: SetSettings,
    /// By protocol and metric.
    sets: HashMap<Box<str>, Set>,
    hasher: RandomState,
    /// The interval, as the number of those since time 0. None: no time was passed.
    interval: Option<u64>,
}

/// A set.
struct Set {
    protocol: &'static str,
    tags: Box<str>,
    id: SeriesId,
    members: Members,
}

/// The members of a set.
enum Members {
    /// The hashes of all, sorted.
    Exact(Vec<u64>),
    /// A sketch.
    Sketch(Box<Sketch>),
}

/// The number of members of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetCount<'a> {
    /// The protocol of the last member.
    pub protocol: &'static str,
    /// The metric and the tags of the last member.
    pub series: Resolved<'a>,
    /// The number of distinct members, not 0.
    pub members: u64,
}

impl Sets {
    /// Creates no sets.
    pub fn new(settings: SetSettings) -> Sets {
        Sets {
            settings,
            sets: HashMap::new(),
            hasher: RandomState::new(),
            interval: None,
        }
    }

    /// Adds a member to the set of a metric.
    ///
    /// # Errors
    ///
    /// The set is new, and there are too many. The member does not count.
    pub fn add(
        &mut self,
        protocol: &'static str,
        series: &Resolved<'_>,
        member: &str,
    ) -> Result<(), TooManySets> {
        let hash = self.hasher.hash_one(member);
        if let Some(set) = self.sets.get_mut(series.metric) {
            if set.id != series.id {
                (set.id, set.tags) = (series.id, series.tags.into());
            }
            set.protocol = protocol;
            set.members.add(hash);
            return Ok(());
        }
        if self.sets.len() >= self.settings.max_sets {
            return Err(TooManySets);
        }
        let set = Set {
            protocol,
            tags: series.tags.into(),
            id: series.id,
            members: Members::Exact(vec![hash]),
        };
        self.sets.insert(series.metric.into(), set);
        Ok(())
    }

    /// Passes the time, milliseconds since any fixed time. At the end of an interval passes the number of members of
    /// each set to `each`, and empties the sets.
    pub fn advance(&mut self, now_ms: u64, each: impl FnMut(SetCount<'_>)) {
        let interval = now_ms / self.settings.interval_ms.max(1);
        if self
            .interval
            .replace(interval)
            .is_some_and(|before| before != interval)
        {
            self.flush(each);
        }
    }

    /// Passes the number of members of each set to `each`, and empties the sets.
    pub fn flush(&mut self, mut each: impl FnMut(SetCount<'_>)) {
        for (metric, set) in self.sets.drain() {
            each(SetCount {
                protocol: set.protocol,
                series: Resolved {
                    metric: &metric,
                    tags: &set.tags,
                    id: set.id,
                },
                members: set.members.count(),
            });
        }
    }

    /// Returns the number of sets with members.
    pub fn len(&self) -> usize {
        self.sets.len()
    }

    /// Returns whether no set has members.
    pub fn is_empty(&self) -> bool {
        self.sets.is_empty()
    }

    /// Returns the memory that the sets take, bytes.
    pub fn bytes(&self) -> usize {
        let sets = self.sets.iter();
        let bytes = sets.map(|(metric, set)| {
            let members = match &set.members {
                Members::Exact(hashes) => hashes.capacity() * size_of::<u64>(),
                Members::Sketch(_) => REGISTERS,
            };
            size_of::<Set>() + metric.len() + set.tags.len() + members
        });
        bytes.sum()
    }
}

impl Members {
    fn add(&mut self, hash: u64) {
        match self {
            Members::Exact(hashes) => {
                let Err(at) = hashes.binary_search(&hash) else {
                    return;
                };
                if hashes.len() < MAX_EXACT {
                    hashes.insert(at, hash);
                    return;
                }
                let mut sketch = Box::new(Sketch::default());
                hashes.iter().for_each(|hash| sketch.add(*hash));
                sketch.add(hash);
                *self = Members::Sketch(sketch);
            }
            Members::Sketch(sketch) => sketch.add(hash),
        }
    }

    fn count(&self) -> u64 {
        match self {
            Members::Exact(hashes) => hashes.len() as u64,
            Members::Sketch(sketch) => sketch.estimate(),
        }
    }
}

/// The bits of a hash that choose a register.
const INDEX_BITS: u32 = 12;

const REGISTERS: usize = 1 << INDEX_BITS;

/// The other bits of a hash.
const RANK_BITS: u32 = 64 - INDEX_BITS;

/// A HyperLogLog sketch: for each register the greatest number of leading zeros of its hashes, plus one.
struct Sketch([u8; REGISTERS]);

impl Default for Sketch {
    fn default() -> Self {
        Sketch([0; REGISTERS])
    }
}

impl Sketch {
    fn add(&mut self, hash: u64) {
        let index = (hash >> RANK_BITS) as usize;
        let rank = (hash << INDEX_BITS).leading_zeros().min(RANK_BITS) + 1;
        if let Some(register) = self.0.get_mut(index) {
            *register = (*register).max(rank as u8);
        }
    }

    /// Returns the estimated number of distinct hashes.
    fn estimate(&self) -> u64 {
        const Q: usize = RANK_BITS as usize;
        const M: f64 = REGISTERS as f64;
        // The number of registers with each value.
        let mut counts = [0.0; Q + 2];
        for register in &self.0 {
            if let Some(count) = counts.get_mut(usize::from(*register)) {
                *count += 1.0;
            }
        }
        let [zeros, between @ .., highest] = &counts;
        let mut z = M * tau(1.0 - highest / M);
        for count in between.iter().rev() {
            z = 0.5 * (z + count);
        }
        z += M * sigma(zeros / M);
        (M * M / (2.0 * std::f64::consts::LN_2 * z)).round() as u64
    }
}

/// The sum of x^(2^k) * 2^(k-1) for k from 1, and x.
fn sigma(mut x: f64) -> f64 {
    if x >= 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        if z == before {
            return z;
        }
    }
}

/// A third of 1 - x less the sum of (1 - x^(2^-k))^2 * 2^-k for k from 1.
fn tau(mut x: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = z;
        y *= 0.5;
        z -= (1.0 - x) * (1.0 - x) * y;
        if z == before {
            return z / 3.0;
        }
    }
}

#[cfg(test)]
mod tests;
