//! The records of one queue that were imported from another server, and the ids that were accepted.
//!
//! Ids arrive in any order and may be repeated: several pollers relay a node, each with its own leases, and after a
//! lease has expired an old id arrives late. So the accepted ids are kept, as ranges. Each record has a floor: between
//! its floor and its id the sender has no other record. The range of the record begins at its floor. Ids are times, so
//! consecutive records seldom have consecutive ids; with floors the number of ranges is the number of gaps that another
//! relay may still fill, not the number of records. A record with nothing before it raises the mark. All ids below the
//! mark are known.
//!
//! # Invariants
//!
//! Ranges neither overlap nor touch, and begin at the mark or above. The id of each record is below the mark or in a
//! range. Mark, ranges and records are part of the value; they depend on no clock and no seed.

use std::collections::BTreeMap;

/// The limit of the ranges of a queue.
pub(crate) const MAX_RANGES: usize = 16_384;

/// The bytes that an imported record counts for besides its own: its place in the tree, and its block.
const RECORD_BYTES: u64 = 64;

/// Returns the first id that a record covers. A floor above its own record covers nothing else.
pub(crate) fn first_of(floor: u64, id: u64) -> u64 {
    match floor {
        0 => id,
        floor => floor.min(id),
    }
}

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

    /// Returns `true` if the id was accepted, or is below the mark.
    pub fn is_known(&self, id: u64) -> bool {
        let before = self.ranges.range(..=id).next_back();
        id < self.mark || before.is_some_and(|(_, last)| id <= *last)
    }

    /// Returns the lowest id from which on all ids below `id` are known.
    pub fn known_from(&self, id: u64) -> u64 {
        if id <= self.mark {
            return 1;
        }
        match self.ranges.range(..id).next_back() {
            Some((first, last)) if *last + 1 >= id && *first > self.mark => *first,
            Some((_, last)) if *last + 1 >= id => 1,
            _ => id,
        }
    }

    /// Returns `true` if the ids from `first` to `last` would be a range of their own.
    pub fn opens_range(&self, first: u64, last: u64) -> bool {
        let before = self.ranges.range(..=last + 1).next_back();
        first > self.mark && before.is_none_or(|(_, end)| *end + 1 < first)
    }

    /// Notes that the ids from `first` to `last` are known.
    fn cover(&mut self, mut first: u64, mut last: u64) {
        if let Some((start, end)) = self.ranges.range(..first).next_back()
            && *end + 1 >= first
        {
            (first, last) = (*start, last.max(*end));
        }
        while let Some((&start, &end)) = self.ranges.range(first..=last + 1).next() {
            last = last.max(end);
            self.ranges.remove(&start);
        }
        if first > self.mark {
            self.ranges.insert(first, last);
            return;
        }
        self.mark = self.mark.max(last + 1);
        while let Some(range) = self.ranges.first_entry().filter(|r| *r.key() <= self.mark) {
            self.mark = self.mark.max(range.remove() + 1);
        }
    }

    /// Accepts a record whose id is not known. Nothing else will come from `first` on to its id.
    pub fn insert(&mut self, first: u64, id: u64, text: &[u8]) {
        self.cover(first, id);
        self.load(id, text);
    }

    /// Loads the mark of a saved node.
    pub fn load_mark(&mut self, mark: u64) {
        self.mark = mark;
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
        fn ranges_behave_as_a_set_of_ids(ops in prop::collection::vec((0u64..8, 1u64..60), 0..200)) {
            let (mut imported, mut known, mut mark) = (Imported::default(), BTreeSet::new(), 0);
            let mut records = 0;
            for (back, id) in ops {
                let first = if back == 7 { 1 } else { id.saturating_sub(back).max(1) };
                if id >= mark && !known.contains(&id) {
                    prop_assert!(!imported.is_known(id));
                    let is_known = |id: u64| id < mark || known.contains(&id);
                    let opens = first > mark && !(first - 1..=id + 1).any(is_known);
                    prop_assert_eq!(imported.opens_range(first, id), opens);
                    let ranges = imported.ranges_len();
                    imported.insert(first, id, &[0; 7]);
                    records += 1;
                    prop_assert!(opens == (imported.ranges_len() > ranges));
                    known.extend(first..=id);
                    if first <= mark {
                        mark = id + 1;
                    }
                    while known.contains(&mark) {
                        mark += 1;
                    }
                    known.retain(|id| *id >= mark);
                }
                prop_assert_eq!(imported.mark(), mark);
                for id in 0..62 {
                    prop_assert_eq!(imported.is_known(id), id < mark || known.contains(&id));
                    let from = (1..id).rev().find(|id| *id >= mark && !known.contains(id));
                    prop_assert_eq!(imported.known_from(id.max(1)), from.map_or(1, |id| id + 1));
                }
                let ids: Vec<u64> = imported.ranges().flat_map(|(first, last)| first..=last).collect();
                prop_assert!(ids.iter().eq(known.iter()));
                prop_assert!(imported.ranges().zip(imported.ranges().skip(1)).all(|(a, b)| a.1 + 1 < b.0));
            }
            prop_assert_eq!((imported.len(), imported.bytes()), (records, records * Imported::cost(7)));
            while let Some(id) = imported.next_from(0) {
                prop_assert!(imported.remove(id) && !imported.remove(id));
            }
            prop_assert_eq!((imported.bytes(), imported.len()), (0, 0));
        }
    }
}
