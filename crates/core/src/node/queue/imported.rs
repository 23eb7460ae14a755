//! The records of one queue that came from another server, and the ids that came.
//!
//! The ids arrive in any order, and again: several pollers relay a node, each with leases of its own, and a lease that
//! expires brings old ids late. So the ids that were accepted are kept, as ranges, until the sender says that none below
//! a floor will come that is new. An id below the mark, which is the highest floor so far, was accepted or will never
//! come.
//!
//! # Invariants
//!
//! Ranges neither overlap nor touch, and begin at the mark or above. The id of each record is below the mark or in a
//! range. Mark, ranges and records are part of the value; they depend on no clock and no seed.

use std::collections::BTreeMap;

/// The limit of the ranges of a queue. A floor removes those below it.
pub(crate) const MAX_RANGES: usize = 16_384;

/// The bytes that an imported record counts for besides its own: its place in the tree, and its block.
const RECORD_BYTES: u64 = 64;

/// The imported records of one queue.
#[derive(Default)]
pub(crate) struct Imported {
    records: BTreeMap<u64, Box<[u8]>>,
    bytes: u64,
    mark: u64,
    /// From the first id of each range to its last.
    ranges: BTreeMap<u64, u64>,
}

impl Imported {
    /// Returns the bytes that a record of `len` bytes counts for.
    pub fn cost(len: usize) -> u64 {
        len as u64 + RECORD_BYTES
    }

    /// Returns the number of records.
    pub fn len(&self) -> u64 {
        self.records.len() as u64
    }

    /// Returns the bytes of all records, with their overhead.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns the mark: no new record has an id below it.
    pub fn mark(&self) -> u64 {
        self.mark
    }

    /// Returns the ranges of accepted ids: the first and the last id of each.
    pub fn ranges(&self) -> impl Iterator<Item = (u64, u64)> {
        self.ranges.iter().map(|(first, last)| (*first, *last))
    }

    /// Returns the number of ranges.
    pub fn ranges_len(&self) -> usize {
        self.ranges.len()
    }

    /// Returns how many ranges a floor leaves.
    pub fn ranges_above(&self, floor: u64) -> usize {
        let ended = self.ranges.iter().take_while(|(_, last)| **last < floor);
        self.ranges.len() - ended.count()
    }

    /// Returns `true` if the id was accepted, or is below the mark.
    pub fn is_known(&self, id: u64) -> bool {
        let before = self.ranges.range(..=id).next_back();
        id < self.mark || before.is_some_and(|(_, last)| id <= *last)
    }

    /// Returns `true` if the id, which is not known, is a range of its own.
    pub fn opens_range(&self, id: u64) -> bool {
        let before = self.ranges.range(..id).next_back();
        let extends = before.is_some_and(|(_, last)| *last + 1 == id);
        !extends && !self.ranges.contains_key(&(id + 1))
    }

    /// Raises the mark, and removes the ranges below it.
    pub fn raise(&mut self, floor: u64) {
        if floor <= self.mark {
            return;
        }
        self.mark = floor;
        while let Some(range) = self.ranges.first_entry().filter(|r| *r.key() < floor) {
            let last = range.remove();
            if last >= floor {
                self.ranges.insert(floor, last);
            }
        }
    }

    /// Accepts a record whose id is not known.
    pub fn insert(&mut self, id: u64, text: &[u8]) {
        let last = self.ranges.remove(&(id + 1)).unwrap_or(id);
        match self.ranges.range_mut(..id).next_back() {
            Some((_, before)) if *before + 1 == id => *before = last,
            _ => {
                self.ranges.insert(id, last);
            }
        }
        self.load(id, text);
    }

    /// Loads a range above all others of a saved node.
    pub fn load_range(&mut self, first: u64, last: u64) {
        self.ranges.insert(first, last);
    }

    /// Loads a record of a saved node.
    pub fn load(&mut self, id: u64, text: &[u8]) {
        self.bytes += Imported::cost(text.len());
        if let Some(before) = self.records.insert(id, text.into()) {
            self.bytes -= Imported::cost(before.len());
        }
    }

    /// Returns the text of a record.
    pub fn get(&self, id: u64) -> Option<&[u8]> {
        self.records.get(&id).map(|text| &**text)
    }

    /// Removes a record; false if there is none of this id.
    pub fn remove(&mut self, id: u64) -> bool {
        let removed = self.records.remove(&id);
        self.bytes -= removed
            .as_ref()
            .map_or(0, |text| Imported::cost(text.len()));
        removed.is_some()
    }

    /// Returns the oldest id that is at least `id`.
    pub fn next_from(&self, id: u64) -> Option<u64> {
        self.records.range(id..).next().map(|(id, _)| *id)
    }

    /// Returns the newest id.
    pub fn last(&self) -> Option<u64> {
        self.records.last_key_value().map(|(id, _)| *id)
    }

    /// Returns the ids from `id` on upwards.
    pub fn ids_from(&self, id: u64) -> impl Iterator<Item = u64> {
        self.records.range(id..).map(|(id, _)| *id)
    }

    /// Returns the ids from `id` on downwards.
    pub fn ids_back_from(&self, id: u64) -> impl Iterator<Item = u64> {
        self.records.range(..=id).rev().map(|(id, _)| *id)
    }

    /// Returns the records.
    pub fn records(&self) -> impl Iterator<Item = (u64, &[u8])> {
        self.records.iter().map(|(id, text)| (*id, &**text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn ranges_behave_as_a_set_of_ids(ops in prop::collection::vec((0u8..8, 1u64..60), 0..200)) {
            let (mut imported, mut known, mut mark) = (Imported::default(), BTreeSet::new(), 0);
            for (op, id) in ops {
                if op == 0 {
                    mark = mark.max(id);
                    known.retain(|id| *id >= mark);
                    let above = imported.ranges_above(mark);
                    imported.raise(id);
                    prop_assert_eq!(imported.ranges_len(), above);
                } else if id >= mark && !known.contains(&id) {
                    prop_assert!(!imported.is_known(id));
                    let opens = !known.contains(&(id - 1)) && !known.contains(&(id + 1));
                    prop_assert_eq!(imported.opens_range(id), opens);
                    imported.insert(id, &[0; 7]);
                    known.insert(id);
                }
                for id in 0..62 {
                    prop_assert_eq!(imported.is_known(id), id < mark || known.contains(&id));
                }
                let ids: Vec<u64> = imported.ranges().flat_map(|(first, last)| first..=last).collect();
                prop_assert!(ids.iter().eq(known.iter()));
                prop_assert!(imported.ranges().zip(imported.ranges().skip(1)).all(|(a, b)| a.1 + 1 < b.0));
            }
            prop_assert_eq!(imported.bytes(), imported.len() * Imported::cost(7));
            while let Some(id) = imported.next_from(0) {
                prop_assert!(imported.remove(id) && !imported.remove(id));
            }
            prop_assert_eq!((imported.bytes(), imported.len()), (0, 0));
        }
    }
}
