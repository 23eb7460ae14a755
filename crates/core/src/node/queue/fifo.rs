//! A queue of byte strings with growing ids, in segments of contiguous memory.
//!
//! A record costs its bytes and [`RECORD_BYTES`], without an allocation of its own. Records are removed in any order: a
//! hole stays until half of its segment is holes, then the segment is packed. A segment is small, so no operation takes
//! longer than moving some 16 KiB (or one record that is larger).

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The bytes that a record counts for besides its own.
pub(crate) const RECORD_BYTES: u64 = 16;

/// A segment begins no new record beyond this size.
const SEGMENT: usize = 16 << 10;

/// The growth of the first segment of a queue: so little that the cost of a record is known closely.
const GROWTH: usize = 2 << 10;

/// The growth of the others. Each step moves what the segment contains: by 2 KiB at a time, that was a tenth of the
/// instructions of a log entry.
const LATER_GROWTH: usize = SEGMENT / 2;

/// The first allocation of a segment.
const FIRST: usize = 192;

/// Returns an upper bound of what a record of `len` bytes adds to a queue, except for the step by which the queue
/// grows.
pub(crate) fn max_cost_of(len: usize) -> u64 {
    // Rounded up to an allocator's size class: a quarter at most.
    let bytes = len + size_of::<RecordEnd>();
    (bytes + bytes / 4) as u64
}

/// The most memory that removed records keep of their segments: until half of one is empty.
pub(crate) const PACKED: u64 = SEGMENT as u64;

/// The most by which a queue grows ahead of its records.
pub(crate) const AHEAD: u64 =
    (LATER_GROWTH + GROWTH + GROWTH / 2 + size_of::<Segment>()) as u64 + 1024;

/// A queue of byte strings.
#[derive(Default, Clone)]
pub(crate) struct Fifo {
    segments: VecDeque<Segment>,
    len: u64,
    bytes: u64,
    /// Where the last record was found: its segment and its place there. Whoever drains a queue asks for one record
    /// after the other, and to search for each of them took 300 instructions. It is checked before it is used.
    found: Found,
}

/// A position: the upper half is the number of a segment, the lower a place there.
#[derive(Default)]
struct Found(AtomicU64);

impl Clone for Found {
    fn clone(&self) -> Found {
        Found::default()
    }
}

impl Found {
    fn get(&self) -> (usize, usize) {
        let found = self.0.load(Relaxed);
        ((found >> 32) as usize, found as u32 as usize)
    }

    fn set(&self, segment: usize, place: usize) {
        let found = (segment as u64) << 32 | u64::from(place as u32);
        self.0.store(found, Relaxed);
    }
}

#[derive(Default, Clone)]
struct Segment {
    data: Vec<u8>,
    ends: Vec<RecordEnd>,
    /// Records before this are removed.
    first: usize,
    live: u32,
    dead_bytes: usize,
}

/// The end of a record; it begins where the one before it ends.
#[derive(Clone, Copy)]
struct RecordEnd {
    /// The id, with [`DEAD`] once the record is removed.
    id: u64,
    end: u32,
}

const DEAD: u64 = 1 << 63;

impl RecordEnd {
    fn id(self) -> u64 {
        self.id & !DEAD
    }
}

impl Fifo {
    /// Returns the number of records.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Returns the bytes of all records, with their overhead.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns the bytes of a record of `len` bytes, with its overhead.
    pub fn cost(len: usize) -> u64 {
        len as u64 + RECORD_BYTES
    }

    /// Appends a record whose id is larger than every id before.
    pub fn push(&mut self, id: u64, bytes: &[u8]) {
        let full = self
            .segments
            .back()
            .is_none_or(|s| s.data.len() + bytes.len() > SEGMENT && !s.data.is_empty());
        if full {
            if let Some(last) = self.segments.back_mut() {
                last.data.shrink_to_fit();
                last.ends.shrink_to_fit();
            }
            self.segments.push_back(Segment::default());
        }
        let is_later = self.segments.len() > 1;
        if let Some(segment) = self.segments.back_mut() {
            let growth = match is_later {
                true => LATER_GROWTH..=LATER_GROWTH,
                false => FIRST..=GROWTH,
            };
            segment.reserve(bytes.len(), growth);
            segment.data.extend_from_slice(bytes);
            segment.ends.push(RecordEnd {
                id,
                end: segment.data.len() as u32,
            });
            segment.live += 1;
            self.len += 1;
            self.bytes += Fifo::cost(bytes.len());
        }
    }

    /// Removes the oldest record. Returns its id.
    pub fn pop_first(&mut self) -> Option<u64> {
        let segment = self.segments.front()?;
        let id = segment.ends.get(segment.first)?.id;
        self.take(0, segment.first);
        Some(id)
    }

    /// Returns the oldest id that is at least `id`.
    pub fn next_from(&self, id: u64) -> Option<u64> {
        let (s, start) = self.position_of(id);
        let segment = self.segments.get(s)?;
        let alive = |p: &&RecordEnd| p.id & DEAD == 0;
        let mut here = segment.ends.get(start.max(segment.first)..)?.iter();
        let next = here.find(alive).or_else(|| {
            let behind = self.segments.get(s + 1)?;
            behind.ends.get(behind.first)
        });
        next.map(|p| p.id)
    }

    /// Returns the ids from `id` on upwards.
    pub fn ids_from(&self, id: u64) -> impl Iterator<Item = u64> {
        self.segments
            .range(self.segment_of(id)..)
            .enumerate()
            .flat_map(move |(i, s)| {
                let before = |p: &RecordEnd| p.id() < id;
                let start = if i == 0 {
                    s.ends.partition_point(before)
                } else {
                    0
                };
                s.ends.get(start.max(s.first)..).unwrap_or_default()
            })
            .filter(|p| p.id & DEAD == 0)
            .map(|p| p.id)
    }

    /// Returns the ids from `id` on downwards.
    pub fn ids_back_from(&self, id: u64) -> impl Iterator<Item = u64> {
        let end = self
            .segments
            .partition_point(|s| s.ends.first().is_none_or(|p| p.id() <= id));
        self.segments
            .range(..end)
            .rev()
            .flat_map(|s| s.ends.iter().rev())
            .filter(move |p| p.id <= id && p.id & DEAD == 0)
            .map(|p| p.id)
    }

    /// Returns the bytes of a record.
    pub fn get(&self, id: u64) -> Option<&[u8]> {
        let (s, p) = self.locate(id)?;
        self.segments.get(s)?.bytes(p)
    }

    /// Removes a record; false if there is none of this id.
    pub fn remove(&mut self, id: u64) -> bool {
        let Some((s, p)) = self.locate(id) else {
            return false;
        };
        self.take(s, p);
        true
    }

    /// Removes the record `p` of segment `s`.
    fn take(&mut self, s: usize, p: usize) {
        let Some(segment) = self.segments.get_mut(s) else {
            return;
        };
        let len = segment.bytes(p).map_or(0, <[u8]>::len);
        segment.kill(p, len);
        self.len -= 1;
        self.bytes -= Fifo::cost(len);
        if segment.live == 0 {
            self.segments.remove(s);
        } else if segment.is_sparse() {
            segment.pack();
        }
    }

    /// Returns the first segment whose last id is at least `id`, or the end. It is near the front for clients that
    /// drain the queue, and each look elsewhere is a cache miss: so it is searched from the front, in steps that
    /// double.
    fn segment_of(&self, id: u64) -> usize {
        let is_before = |s: &Segment| s.ends.last().is_none_or(|p| p.id() < id);
        let (mut start, mut end) = (0, 1);
        while self.segments.get(end - 1).is_some_and(is_before) {
            (start, end) = (end, 2 * end);
        }
        let (mut low, mut high) = (start, end.min(self.segments.len()));
        while low < high {
            let middle = low.midpoint(high);
            match self.segments.get(middle).is_some_and(is_before) {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        low
    }

    /// Returns the segment and the place there of the first record, removed or not, whose id is at least `id`.
    fn position_of(&self, id: u64) -> (usize, usize) {
        let (s, p) = self.found.get();
        // It is the one that was found last, or the next one of its segment.
        let ends = self.segments.get(s).map_or(&[][..], |s| &s.ends);
        let is_at = |p: usize| {
            let is_before = p
                .checked_sub(1)
                .and_then(|p| ends.get(p))
                .is_some_and(|p| p.id() < id);
            is_before && ends.get(p).is_some_and(|p| p.id() >= id)
        };
        if let Some(p) = [p, p + 1].into_iter().find(|p| is_at(*p)) {
            return (s, p);
        }
        let s = self.segment_of(id);
        let ends = self.segments.get(s).map_or(&[][..], |s| &s.ends);
        (s, ends.partition_point(|p| p.id() < id))
    }

    fn locate(&self, id: u64) -> Option<(usize, usize)> {
        // Nearly always the oldest record is acknowledged.
        let front = self.segments.front()?;
        if front.ends.get(front.first)?.id == id {
            return Some((0, front.first));
        }
        let (s, p) = self.position_of(id);
        let found = self.segments.get(s)?.ends.get(p)?;
        self.found.set(s, p);
        (found.id == id).then_some((s, p))
    }
}

impl Segment {
    fn bytes(&self, p: usize) -> Option<&[u8]> {
        let start = if p == 0 {
            0
        } else {
            self.ends.get(p - 1)?.end as usize
        };
        self.data.get(start..self.ends.get(p)?.end as usize)
    }

    /// Reserves memory for a record. The segment becomes twice as large, within the limits of `growth`: a queue of one
    /// record is small. It does not grow beyond its maximum size: if it were cut off again, all of it would move again.
    fn reserve(&mut self, bytes: usize, growth: RangeInclusive<usize>) {
        let (len, capacity) = (self.data.len(), self.data.capacity());
        if capacity - len < bytes {
            let step = capacity.clamp(*growth.start(), *growth.end());
            let rest = SEGMENT.saturating_sub(len);
            self.data.reserve_exact(bytes.max(step.min(rest)));
        }
        if self.ends.len() == self.ends.capacity() {
            let step = self
                .ends
                .capacity()
                .clamp(4, GROWTH / size_of::<RecordEnd>());
            self.ends.reserve_exact(step);
        }
    }

    fn kill(&mut self, p: usize, len: usize) {
        if let Some(end_mark) = self.ends.get_mut(p) {
            end_mark.id |= DEAD;
            self.live -= 1;
            self.dead_bytes += len + size_of::<RecordEnd>();
        }
        let rest = self.ends.get(self.first..).unwrap_or_default();
        self.first += rest
            .iter()
            .take_while(|end_mark| end_mark.id & DEAD != 0)
            .count();
    }

    fn is_sparse(&self) -> bool {
        self.dead_bytes * 2 > self.data.len() + self.ends.len() * size_of::<RecordEnd>()
    }

    fn pack(&mut self) {
        let dead_ends = (self.ends.len() - self.live as usize) * size_of::<RecordEnd>();
        let dead = self.dead_bytes.saturating_sub(dead_ends);
        // As large as the records: growing step by step took 400 instructions for each record of a queue that is full.
        let mut packed = Segment {
            data: Vec::with_capacity(self.data.len().saturating_sub(dead)),
            ends: Vec::with_capacity(self.live as usize),
            live: self.live,
            ..Segment::default()
        };
        for (p, mark) in self.ends.iter().enumerate().skip(self.first) {
            if mark.id & DEAD == 0 {
                let bytes = self.bytes(p).unwrap_or_default();
                packed.data.extend_from_slice(bytes);
                packed.ends.push(RecordEnd {
                    id: mark.id,
                    end: packed.data.len() as u32,
                });
            }
        }
        *self = packed;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn fifo_behaves_as_a_sorted_map(ops in prop::collection::vec((0u8..4, 0usize..200, any::<prop::sample::Index>()), 0..400)) {
            let mut fifo = Fifo::default();
            let mut model: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
            let mut next = 1;
            for (op, len, pick) in ops {
                if op < 2 {
                    let bytes = vec![next as u8; len * len];
                    fifo.push(next, &bytes);
                    model.insert(next, bytes);
                    next += 1 + len as u64 % 3;
                } else {
                    let id = pick.index(next as usize) as u64;
                    prop_assert_eq!(fifo.remove(id), model.remove(&id).is_some());
                }
                let from = pick.index(next as usize) as u64;
                prop_assert_eq!(fifo.len(), model.len() as u64);
                prop_assert_eq!(fifo.bytes(), model.values().map(|v| Fifo::cost(v.len())).sum::<u64>());
                prop_assert_eq!(fifo.next_from(0), model.keys().next().copied());
                if op == 3 && len > 150 {
                    prop_assert_eq!(fifo.pop_first(), model.pop_first().map(|(id, _)| id));
                }
                prop_assert_eq!(fifo.get(from), model.get(&from).map(|v| &v[..]));
                prop_assert!(fifo.ids_from(from).eq(model.range(from..).map(|(k, _)| *k)));
                prop_assert!(fifo.ids_back_from(from).eq(model.range(..=from).rev().map(|(k, _)| *k)));
            }
        }
    }
}
