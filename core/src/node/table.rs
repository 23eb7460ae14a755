//! Things with names in numbered slots, found by either.
//!
//! A thing keeps its slot for as long as it lives, and a new one takes the lowest free slot: so which slots are taken
//! follows from the history of insertions and removals alone, and effects may name things by slot. No operation costs
//! more than a fraction of a millisecond, however many things there are: slots come in blocks, and the index grows
//! one shard at a time (extendible hashing) instead of being rehashed as a whole.

use hashbrown::HashTable;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// What a table holds.
pub(crate) trait Named {
    /// The name, unique in its table; it never changes.
    fn name(&self) -> &[u8];
}

/// Slots to a block, which holds its things themselves: a pointer to each would cost a miss of the cache for every look.
/// Some 10 KiB, so a block that grows moves little.
const BLOCK: usize = 32;

/// See the file's header.
pub(crate) struct Table<T> {
    index: Index,
    seed: u64,
    blocks: Vec<Vec<Option<T>>>,
    /// All slots up to here were used; the last of them is taken.
    high: u32,
    /// The free slots below `high`, and stale numbers, which are skipped.
    free: BinaryHeap<Reverse<u32>>,
    len: u32,
}

impl<T: Named> Table<T> {
    /// An empty table. `seed` scatters the index of this process; nothing visible depends on it.
    pub fn new(seed: u64) -> Table<T> {
        Table {
            index: Index::new(),
            seed,
            blocks: Vec::new(),
            high: 0,
            free: BinaryHeap::new(),
            len: 0,
        }
    }

    /// How many things there are.
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Every taken slot is below this.
    pub fn high(&self) -> u32 {
        self.high
    }

    /// The slot of the thing with this name.
    #[inline]
    pub fn find(&self, name: &[u8]) -> Option<u32> {
        let hash = self.hash(name);
        self.index.find(hash, |slot| {
            self.get(slot).is_some_and(|t| t.name() == name)
        })
    }

    /// The thing in a slot.
    #[inline]
    pub fn get(&self, slot: u32) -> Option<&T> {
        self.blocks
            .get(slot as usize / BLOCK)?
            .get(slot as usize % BLOCK)?
            .as_ref()
    }

    /// The thing in a slot.
    #[inline]
    pub fn get_mut(&mut self, slot: u32) -> Option<&mut T> {
        self.blocks
            .get_mut(slot as usize / BLOCK)?
            .get_mut(slot as usize % BLOCK)?
            .as_mut()
    }

    /// Puts a thing, whose name is not there yet, into the lowest free slot.
    pub fn insert(&mut self, thing: T) -> u32 {
        let slot = self.lowest_free();
        self.put(slot, thing);
        slot
    }

    /// While a saved table is read: an empty slot at the end, for the next thing to come after it.
    pub fn skip(&mut self) {
        let slot = self.high;
        self.reserve(slot);
        self.high += 1;
        self.free.push(Reverse(slot));
    }

    /// While a saved table is read: the next thing in order. False, and nothing done, if the name is taken.
    pub fn append(&mut self, thing: T) -> bool {
        if self.find(thing.name()).is_some() {
            return false;
        }
        let slot = self.high;
        self.reserve(slot);
        self.high += 1;
        self.put(slot, thing);
        true
    }

    /// Takes a thing out.
    pub fn remove(&mut self, slot: u32) -> Option<T> {
        let thing = self
            .blocks
            .get_mut(slot as usize / BLOCK)?
            .get_mut(slot as usize % BLOCK)?
            .take()?;
        let hash = self.hash(thing.name());
        self.index.remove(hash, slot);
        self.len -= 1;
        if self.len == 0 {
            *self = Table::new(self.seed);
        } else if slot + 1 == self.high {
            self.trim();
        } else {
            self.free.push(Reverse(slot));
        }
        Some(thing)
    }

    /// All things by slot.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        (0..self.high).filter_map(|slot| Some((slot, self.get(slot)?)))
    }

    fn hash(&self, name: &[u8]) -> u64 {
        xxh3_64_with_seed(name, self.seed)
    }

    fn lowest_free(&mut self) -> u32 {
        while let Some(Reverse(slot)) = self.free.pop() {
            if slot < self.high && self.get(slot).is_none() {
                return slot;
            }
        }
        let slot = self.high;
        self.reserve(slot);
        self.high += 1;
        slot
    }

    fn reserve(&mut self, slot: u32) {
        if slot as usize / BLOCK == self.blocks.len() {
            self.blocks.push(Vec::new());
        }
        if let Some(block) = self.blocks.last_mut() {
            block.push(None);
        }
    }

    fn put(&mut self, slot: u32, thing: T) {
        let hash = self.hash(thing.name());
        if let Some(place) = self
            .blocks
            .get_mut(slot as usize / BLOCK)
            .and_then(|b| b.get_mut(slot as usize % BLOCK))
        {
            *place = Some(thing);
            self.index.insert(hash, slot);
            self.len += 1;
        }
    }

    /// Gives up the empty slots at the end; their numbers in `free` become stale.
    fn trim(&mut self) {
        while let Some(block) = self.blocks.last_mut() {
            while block.pop_if(|place| place.is_none()).is_some() {
                self.high -= 1;
            }
            if !block.is_empty() {
                break;
            }
            self.blocks.pop();
        }
    }
}

/// From hashes to slots: a directory of shards by the leading bits of the hash. A full shard splits in two.
struct Index {
    /// 2^depth numbers of shards.
    directory: Vec<u32>,
    depth: u32,
    shards: Vec<Shard>,
}

/// Part of the index: pairs of (upper half of the hash, slot).
struct Shard {
    depth: u32,
    pairs: HashTable<(u32, u32)>,
}

/// A shard splits at this size: a split, or the growth before it, takes some 20 µs.
const SPLIT: usize = 1792;

/// Shards with equal leading bits beyond this simply grow; it takes names made to collide to get there.
const MAX_DEPTH: u32 = 20;

/// The hash of a pair inside its shard: the bits that chose the shard say nothing there, so all are mixed again.
fn inner(half: u32) -> u64 {
    u64::from(half).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

impl Index {
    fn new() -> Index {
        Index {
            directory: vec![0],
            depth: 0,
            shards: vec![Shard {
                depth: 0,
                pairs: HashTable::new(),
            }],
        }
    }

    #[inline]
    fn shard(&self, half: u32) -> usize {
        // A shift by all 32 bits would overflow.
        let entry = u64::from(half) >> (32 - self.depth);
        self.directory[entry as usize] as usize
    }

    #[inline]
    fn find(&self, hash: u64, mut is: impl FnMut(u32) -> bool) -> Option<u32> {
        let half = (hash >> 32) as u32;
        let pairs = &self.shards[self.shard(half)].pairs;
        pairs
            .find(inner(half), |&(h, slot)| h == half && is(slot))
            .map(|&(_, slot)| slot)
    }

    fn insert(&mut self, hash: u64, slot: u32) {
        let half = (hash >> 32) as u32;
        let mut shard = self.shard(half);
        while self.shards[shard].pairs.len() >= SPLIT && self.shards[shard].depth < MAX_DEPTH {
            self.split(shard);
            shard = self.shard(half);
        }
        self.shards[shard]
            .pairs
            .insert_unique(inner(half), (half, slot), |&(h, _)| inner(h));
    }

    fn remove(&mut self, hash: u64, slot: u32) {
        let half = (hash >> 32) as u32;
        let shard = self.shard(half);
        if let Ok(entry) = self.shards[shard]
            .pairs
            .find_entry(inner(half), |&(_, s)| s == slot)
        {
            entry.remove();
        }
    }

    fn split(&mut self, shard: usize) {
        let depth = self.shards[shard].depth;
        if depth == self.depth {
            self.directory = self.directory.iter().flat_map(|&s| [s, s]).collect();
            self.depth += 1;
        }
        let bit = 1u32 << (31 - depth);
        let old = std::mem::take(&mut self.shards[shard].pairs);
        let (mut low, mut high) = (
            HashTable::with_capacity(SPLIT / 2),
            HashTable::with_capacity(SPLIT / 2),
        );
        for pair in old {
            let half = if pair.0 & bit == 0 {
                &mut low
            } else {
                &mut high
            };
            half.insert_unique(inner(pair.0), pair, |&(h, _)| inner(h));
        }
        let new = self.shards.len() as u32;
        self.shards[shard] = Shard {
            depth: depth + 1,
            pairs: low,
        };
        self.shards.push(Shard {
            depth: depth + 1,
            pairs: high,
        });
        for (entry, s) in self.directory.iter_mut().enumerate() {
            let prefix = (entry as u64) << (32 - self.depth);
            if *s as usize == shard && prefix & u64::from(bit) != 0 {
                *s = new;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    impl Named for Vec<u8> {
        fn name(&self) -> &[u8] {
            self
        }
    }

    fn name(n: u32) -> Vec<u8> {
        format!("metric-{n}").into_bytes()
    }

    #[test]
    fn a_hundred_thousand_names_are_found_and_no_other() {
        let mut table = Table::new(7);
        for n in 0..100_000 {
            assert_eq!(table.insert(name(n)), n);
        }
        assert!((0..100_000).all(|n| table.find(&name(n)) == Some(n)));
        assert!((100_000..110_000).all(|n| table.find(&name(n)).is_none()));
    }

    proptest! {
        #[test]
        fn it_behaves_as_a_map_and_takes_the_lowest_free_slot(ops in prop::collection::vec((any::<bool>(), 0u32..60), 0..300)) {
            let mut table = Table::new(1);
            let mut model: BTreeMap<u32, u32> = BTreeMap::new(); // slot -> n
            for (insert, n) in ops {
                let slot = table.find(&name(n));
                prop_assert_eq!(slot, model.iter().find(|(_, m)| **m == n).map(|(s, _)| *s));
                match (insert, slot) {
                    (true, None) => {
                        let lowest = (0..).find(|s| !model.contains_key(s)).unwrap();
                        prop_assert_eq!(table.insert(name(n)), lowest);
                        model.insert(lowest, n);
                    }
                    (false, Some(slot)) => {
                        prop_assert_eq!(table.remove(slot), Some(name(n)));
                        model.remove(&slot);
                    }
                    _ => {}
                }
                prop_assert_eq!(table.len() as usize, model.len());
                prop_assert_eq!(table.high(), model.keys().next_back().map_or(0, |s| s + 1));
                prop_assert!(table.iter().map(|(s, t)| (s, t.clone())).eq(model.iter().map(|(s, n)| (*s, name(*n)))));
            }
        }
    }
}
