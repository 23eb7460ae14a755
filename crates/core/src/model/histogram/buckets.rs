//! The buckets of a histogram: dense counts in one allocation, whose layout follows from the counts alone.

use super::index::{bucket, representative};
use super::limits::{LOWEST_SCALE, MAX_BUCKETS, MAX_SCALE, MIN_SCALE};
use super::percentiles::{MAX_PERCENTILES, Percentiles};
use super::width::{Counts, Width, add};

/// The first and the last slot of a side are at multiples of so many buckets, so that a histogram is rarely laid out
/// again when its range grows. Near [`MAX_BUCKETS`] they are the first and the last bucket in use.
const STEP: i32 = 16;

/// The number of slots that the search for a rank skips at once.
const BLOCK: usize = 16;

/// The buckets of both signs, and the zero count.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Buckets {
    /// The counts of all slots, little-endian, in the order of the values: the negative side, the highest index first,
    /// then the positive side, the lowest index first.
    counts: Box<[u8]>,
    zero: u64,
    /// The lowest index of each side's slots.
    neg_first: i32,
    pos_first: i32,
    /// The number of each side's slots.
    neg_len: u16,
    pos_len: u16,
    scale: i8,
    width: Width,
}

/// A bucket that is not empty.
#[derive(Clone, Copy)]
pub(super) struct Entry {
    pub is_negative: bool,
    pub index: i32,
    pub count: u64,
}

impl Entry {
    /// Returns the bucket of a value at the highest scale; `None` for 0.
    #[inline]
    fn of_value(value: f64, count: u64) -> Option<Entry> {
        (value != 0.0).then(|| Entry {
            is_negative: value < 0.0,
            index: bucket(value.abs()),
            count,
        })
    }

    /// Returns the bucket at a scale that is lower by `shift`.
    #[inline]
    fn reduced(self, shift: i8) -> Entry {
        let index = self.index >> shift;
        Entry { index, ..self }
    }
}

/// The buckets of a side from the lowest to the highest in use.
pub(super) struct Side<'a> {
    /// The index of the first; 0 if there is none.
    pub first: i32,
    counts: &'a [u64],
    is_negative: bool,
}

impl Side<'_> {
    /// Returns the number of buckets.
    pub fn len(&self) -> usize {
        self.counts.len()
    }

    /// Returns the counts by ascending index.
    pub fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        let last = self.counts.len().saturating_sub(1);
        let slot = move |i: usize| if self.is_negative { last - i } else { i };
        (0..self.counts.len()).map(move |i| self.counts[slot(i)])
    }
}

/// A range of indexes.
#[derive(Clone, Copy)]
struct Range {
    first: i32,
    last: i32,
}

impl Range {
    const EMPTY: Range = Range {
        first: i32::MAX,
        last: i32::MIN,
    };

    fn len(self) -> usize {
        (i64::from(self.last) - i64::from(self.first) + 1).max(0) as usize
    }

    fn extend(&mut self, index: i32) {
        self.first = self.first.min(index);
        self.last = self.last.max(index);
    }

    fn reduced(self, shift: i8) -> Range {
        match self.len() {
            0 => self,
            _ => Range {
                first: self.first >> shift,
                last: self.last >> shift,
            },
        }
    }

    fn aligned(self) -> Range {
        match self.len() {
            0 => self,
            _ => Range {
                first: self.first & -STEP,
                last: self.last | (STEP - 1),
            },
        }
    }
}

impl Buckets {
    /// Counts values with their multiplicities, of which none is 0.
    pub fn of_values(all: impl Iterator<Item = (f64, u64)> + Clone) -> Buckets {
        let zeros = all.clone().filter(|(value, _)| *value == 0.0);
        let zero = zeros.fold(0, |zero, (_, times)| add(zero, times));
        Buckets::of_entries(
            MAX_SCALE,
            zero,
            all.filter_map(|(value, times)| Entry::of_value(value, times)),
        )
    }

    /// Counts buckets of a scale, at this scale or the next lower one at which they fit.
    pub fn of_entries(
        scale: i8,
        zero: u64,
        entries: impl Iterator<Item = Entry> + Clone,
    ) -> Buckets {
        let (mut neg, mut pos) = (Range::EMPTY, Range::EMPTY);
        for entry in entries.clone() {
            let side = if entry.is_negative {
                &mut neg
            } else {
                &mut pos
            };
            side.extend(entry.index);
        }
        let mut shift = 0;
        let fits = |neg: Range, pos: Range| neg.len() + pos.len() <= MAX_BUCKETS;
        while !fits(neg.reduced(shift), pos.reduced(shift)) && scale - shift > MIN_SCALE {
            shift += 1;
        }
        (neg, pos) = (neg.reduced(shift), pos.reduced(shift));
        if fits(neg.aligned(), pos.aligned()) {
            (neg, pos) = (neg.aligned(), pos.aligned());
        }
        let mut buckets = Buckets {
            counts: Box::default(),
            zero,
            neg_first: if neg.len() == 0 { 0 } else { neg.first },
            pos_first: if pos.len() == 0 { 0 } else { pos.first },
            neg_len: neg.len() as u16,
            pos_len: pos.len() as u16,
            scale: scale - shift,
            width: Width::Half,
        };
        let mut counts = [0; MAX_BUCKETS];
        let mut largest = 0;
        for entry in entries {
            let slot = buckets.slot(&entry.reduced(shift));
            if let Some(count) = slot.and_then(|slot| counts.get_mut(slot)) {
                *count = add(*count, entry.count);
                largest = largest.max(*count);
            }
        }
        buckets.width = Width::of(largest);
        buckets.counts = buckets.width.pack(&counts[..buckets.slots()]);
        buckets
    }

    pub fn insert(&mut self, value: f64, times: u64) {
        let Some(entry) = Entry::of_value(value, times) else {
            self.zero = add(self.zero, times);
            return;
        };
        let entry = entry.reduced(MAX_SCALE - self.scale);
        if !self.try_add(&entry) {
            self.add_slowly(self.scale, std::iter::once(entry));
        }
    }

    pub fn merge(&mut self, other: &Buckets) {
        self.zero = add(self.zero, other.zero);
        let counts = other.unpack();
        let mut entries = other.entries(&counts).peekable();
        if other.scale < self.scale {
            self.add_slowly(other.scale, entries);
            return;
        }
        let shift = other.scale - self.scale;
        while let Some(entry) = entries.peek() {
            if !self.try_add(&entry.reduced(shift)) {
                self.add_slowly(self.scale, entries.map(|entry| entry.reduced(shift)));
                return;
            }
            entries.next();
        }
    }

    pub fn halve_resolution(&mut self) -> bool {
        let is_possible = self.scale > LOWEST_SCALE;
        if is_possible {
            self.add_slowly(self.scale - 1, std::iter::empty());
        }
        is_possible
    }

    pub fn scale(&self) -> i8 {
        self.scale
    }

    pub fn zero(&self) -> u64 {
        self.zero
    }

    pub fn heap_bytes(&self) -> usize {
        self.counts.len()
    }

    /// Returns the number of samples.
    pub fn total(&self) -> u64 {
        self.zero + self.unpack().iter().sum::<u64>()
    }

    /// Computes the values of the ranks of a list.
    pub fn percentiles(&self, list: &Percentiles, values: &mut [f64; MAX_PERCENTILES]) {
        let counts = self.unpack();
        let blocks = counts.as_chunks::<BLOCK>().0;
        let blocks: [u64; MAX_BUCKETS / BLOCK] =
            std::array::from_fn(|i| blocks[i].iter().sum::<u64>());
        let below_zero: u64 = counts[..usize::from(self.neg_len)].iter().sum();
        let up_to_zero = below_zero + self.zero;
        let total = blocks.iter().sum::<u64>() + self.zero;
        // The slots before `slot` count `seen`.
        let (mut slot, mut seen) = (0, 0);
        for (value, percentile) in values.iter_mut().zip(list.iter()) {
            let mut rank = percentile.rank(total);
            if rank > up_to_zero {
                rank -= self.zero;
            } else if rank > below_zero {
                *value = 0.0;
                continue;
            }
            while let Some(count) = counts.get(slot) {
                let block = blocks[slot / BLOCK];
                if slot % BLOCK == 0 && seen + block < rank {
                    (slot, seen) = (slot + BLOCK, seen + block);
                } else if seen + count < rank {
                    (slot, seen) = (slot + 1, seen + count);
                } else {
                    break;
                }
            }
            *value = self.value_of(slot);
        }
    }

    /// Returns the value that stands for the bucket of a slot.
    fn value_of(&self, slot: usize) -> f64 {
        let above = slot as i32 - i32::from(self.neg_len);
        if above < 0 {
            -representative(self.scale, self.neg_first - above - 1)
        } else {
            representative(self.scale, self.pos_first + above)
        }
    }

    /// Returns a side, without empty buckets at its ends.
    pub fn side<'a>(&self, is_negative: bool, counts: &'a Counts) -> Side<'a> {
        let neg = usize::from(self.neg_len);
        let (first, slots) = if is_negative {
            (self.neg_first, &counts[..neg])
        } else {
            (self.pos_first, &counts[neg..self.slots()])
        };
        let used = |slots: &[u64]| slots.iter().position(|count| *count > 0);
        let Some(start) = used(slots) else {
            return Side {
                first: 0,
                counts: &[],
                is_negative,
            };
        };
        let end = slots.iter().rposition(|count| *count > 0).unwrap_or(start) + 1;
        let skipped = if is_negative {
            slots.len() - end
        } else {
            start
        };
        Side {
            first: first + skipped as i32,
            counts: &slots[start..end],
            is_negative,
        }
    }

    /// Returns the counts of all slots; those beyond are 0.
    pub fn unpack(&self) -> Counts {
        let mut counts = [0; MAX_BUCKETS];
        self.width.unpack(&self.counts, &mut counts);
        counts
    }

    /// Returns the buckets that are not empty.
    fn entries<'a>(&self, counts: &'a Counts) -> impl Iterator<Item = Entry> + Clone + use<'a> {
        let (neg, last) = (
            i32::from(self.neg_len),
            self.neg_first + i32::from(self.neg_len) - 1,
        );
        let pos_first = self.pos_first;
        let entry = move |(slot, count): (usize, &u64)| {
            let (slot, is_negative) = (slot as i32, (slot as i32) < neg);
            Entry {
                is_negative,
                index: if is_negative {
                    last - slot
                } else {
                    pos_first + (slot - neg)
                },
                count: *count,
            }
        };
        let used = counts.iter().enumerate().filter(|(_, count)| **count > 0);
        used.map(entry)
    }

    fn slots(&self) -> usize {
        usize::from(self.neg_len) + usize::from(self.pos_len)
    }

    /// Returns the slot of a bucket; `None` if it has none.
    #[inline]
    fn slot(&self, entry: &Entry) -> Option<usize> {
        let (neg, pos) = (i32::from(self.neg_len), i32::from(self.pos_len));
        if entry.is_negative {
            let slot = self.neg_first + neg - 1 - entry.index;
            (0..neg).contains(&slot).then_some(slot as usize)
        } else {
            let slot = entry.index - self.pos_first;
            (0..pos).contains(&slot).then_some((neg + slot) as usize)
        }
    }

    /// Adds to a bucket. Returns false if it has no slot or its count becomes too large for the width.
    #[inline]
    fn try_add(&mut self, entry: &Entry) -> bool {
        match self.slot(entry) {
            Some(slot) => self.width.try_add(&mut self.counts, slot, entry.count),
            None => false,
        }
    }

    /// Adds buckets of a scale that is at most the own one, in a new layout.
    fn add_slowly(&mut self, scale: i8, others: impl Iterator<Item = Entry> + Clone) {
        let counts = self.unpack();
        let shift = self.scale - scale;
        let own = self.entries(&counts).map(|entry| entry.reduced(shift));
        *self = Buckets::of_entries(scale, self.zero, own.chain(others));
    }
}
