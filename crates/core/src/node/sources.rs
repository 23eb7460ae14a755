//! The sources of a node: of each stream of numbered reports, the last number that was accepted.
//!
//! A report whose number is not greater than the last one of its source is a repetition. The sources are in the order
//! in which their last numbers were accepted, and the first in this order is evicted where there are too many. The
//! order follows from the accepted numbers alone, without a clock or a seed. So it is part of the value, and a replica
//! or a loaded node evicts the same source.
//!
//! The order is a list through the slots of the table: finding a source, accepting a number and evicting take constant
//! time. A tree of (tick, slot), as the errors of a node have it, would cost each source some 30 bytes more and each
//! report two changes of the tree.

use crate::codec::bytes::Reader;
use crate::error::DecodeError;
use crate::model::Sequence;
use crate::node::metric::name::Name;
use crate::node::table::{FREE, Named, Table};

/// A source.
pub(crate) struct Source {
    name: Name,
    /// The last accepted number.
    last: u64,
    /// The slots of its neighbours in the order of use; [`FREE`] at an end.
    older: u32,
    newer: u32,
}

impl Named for Source {
    fn name(&self) -> &[u8] {
        &self.name
    }
}

impl Source {
    fn new(sequence: Sequence<'_>) -> Source {
        Source {
            name: Name::from(sequence.source),
            last: sequence.number,
            older: FREE,
            newer: FREE,
        }
    }

    /// Writes the form of digests and saved nodes.
    pub fn save(&self, out: &mut Vec<u8>) {
        let sequence = Sequence {
            source: &self.name,
            number: self.last,
        };
        sequence.put(out);
    }

    /// Reads what `save` wrote.
    pub fn load(r: &mut Reader<'_>) -> Result<Source, DecodeError> {
        Sequence::read(r).map(Source::new)
    }

    /// Returns the bytes that the source takes, without its place in the index.
    pub fn size(&self) -> usize {
        Source::size_of(&self.name)
    }

    /// Returns the bytes that a source of this name takes.
    pub fn size_of(name: &[u8]) -> usize {
        size_of::<Source>() + Name::allocated(name.len())
    }
}

/// The sources of a node. Most nodes have none, and then nothing but a pointer.
pub(crate) struct Sources {
    list: Option<Box<List>>,
    seed: u64,
}

impl Sources {
    pub fn new(seed: u64) -> Sources {
        Sources { list: None, seed }
    }

    /// Returns the number of sources.
    #[inline]
    pub fn len(&self) -> u32 {
        self.list.as_ref().map_or(0, |list| list.table.len())
    }

    /// Returns the slot of a source, which stays the same until a source is evicted, and its last accepted number.
    #[inline]
    pub fn find(&self, name: &[u8]) -> Option<(u32, u64)> {
        self.list.as_ref()?.find(name)
    }

    fn list(&mut self) -> &mut List {
        let seed = self.seed;
        self.list.get_or_insert_with(|| Box::new(List::new(seed)))
    }

    /// Accepts a number of the source that [`Sources::find`] found in `slot`, or of a new one. The source becomes the
    /// newest.
    pub fn accept(&mut self, slot: Option<u32>, sequence: Sequence<'_>) {
        self.list().accept(slot, sequence);
    }

    /// Accepts a number whatever the last one of its source was.
    pub fn replay(&mut self, sequence: Sequence<'_>) {
        let list = self.list();
        list.accept(list.table.find(sequence.source), sequence);
    }

    /// Adds a source, which does not exist, as the newest.
    pub fn append(&mut self, source: Source) {
        self.list().append(source);
    }

    /// Evicts the oldest sources, at most `n`. Returns how many it evicted.
    pub fn evict(&mut self, n: u32) -> u32 {
        let Some(list) = &mut self.list else {
            return 0;
        };
        let evicted = (0..n).take_while(|_| list.evict_oldest()).count() as u32;
        if list.table.len() == 0 {
            self.list = None;
        }
        evicted
    }

    /// Returns the sources from the oldest to the newest.
    pub fn iter(&self) -> impl Iterator<Item = &Source> {
        self.list.iter().flat_map(|list| list.iter())
    }
}

/// The bytes that the first source takes besides its own.
pub(crate) const FIRST_SOURCE: usize = size_of::<List>();

/// Sources in the order of use.
struct List {
    table: Table<Source>,
    /// The ends of the order of use; [`FREE`] where there is no source.
    oldest: u32,
    newest: u32,
}

impl List {
    fn new(seed: u64) -> List {
        List {
            table: Table::new(seed),
            oldest: FREE,
            newest: FREE,
        }
    }

    #[inline]
    fn find(&self, name: &[u8]) -> Option<(u32, u64)> {
        let slot = self.table.find(name)?;
        Some((slot, self.table.get(slot)?.last))
    }

    fn accept(&mut self, slot: Option<u32>, sequence: Sequence<'_>) {
        match slot {
            None => self.append(Source::new(sequence)),
            Some(slot) => {
                if slot != self.newest {
                    self.unlink(slot);
                    self.link(slot);
                }
                if let Some(source) = self.table.get_mut(slot) {
                    source.last = sequence.number;
                }
            }
        }
    }

    fn append(&mut self, source: Source) {
        let slot = self.table.insert(source);
        self.link(slot);
    }

    fn evict_oldest(&mut self) -> bool {
        let slot = self.oldest;
        self.unlink(slot);
        let Some(removed) = self.table.remove(slot) else {
            return false;
        };
        if removed.moved_from.is_some()
            && let Some((older, newer)) = self.neighbours(slot)
        {
            self.set_newer(older, slot);
            self.set_older(newer, slot);
        }
        true
    }

    fn iter(&self) -> impl Iterator<Item = &Source> {
        let mut next = self.oldest;
        (0..self.table.len()).map_while(move |_| {
            let source = self.table.get(next)?;
            next = source.newer;
            Some(source)
        })
    }

    fn neighbours(&self, slot: u32) -> Option<(u32, u32)> {
        let source = self.table.get(slot)?;
        Some((source.older, source.newer))
    }

    /// Makes a source in no place of the order the newest.
    fn link(&mut self, slot: u32) {
        let before = self.newest;
        self.set_newer(before, slot);
        self.set_older(slot, before);
        self.set_newer(slot, FREE);
        self.newest = slot;
    }

    /// Takes a source out of the order.
    fn unlink(&mut self, slot: u32) {
        if let Some((older, newer)) = self.neighbours(slot) {
            self.set_newer(older, newer);
            self.set_older(newer, older);
        }
    }

    /// Sets what follows a source, or with [`FREE`] what comes first.
    fn set_newer(&mut self, slot: u32, newer: u32) {
        match self.table.get_mut(slot) {
            Some(source) => source.newer = newer,
            None => self.oldest = newer,
        }
    }

    /// Sets what precedes a source, or with [`FREE`] what comes last.
    fn set_older(&mut self, slot: u32, older: u32) {
        match self.table.get_mut(slot) {
            Some(source) => source.older = older,
            None => self.newest = older,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Short and long names: only the latter are allocated.
    fn name(n: u32) -> Vec<u8> {
        let len = if n.is_multiple_of(3) { 40 } else { 1 };
        format!("{n:0len$}").into_bytes()
    }

    fn listed(sources: &Sources) -> Vec<(Vec<u8>, u64)> {
        let parts = |source: &Source| (source.name().to_vec(), source.last);
        sources.iter().map(parts).collect()
    }

    fn reloaded(sources: &Sources, seed: u64) -> Sources {
        let (mut bytes, mut loaded) = (Vec::new(), Sources::new(seed));
        sources.iter().for_each(|source| source.save(&mut bytes));
        let mut r = Reader::new(&bytes);
        while !r.is_empty() {
            loaded.append(Source::load(&mut r).unwrap());
        }
        loaded
    }

    #[derive(Clone, Debug)]
    enum Act {
        Accept { source: u32, number: u64 },
        Evict(u32),
        Reload,
    }

    fn acts() -> impl Strategy<Value = Vec<Act>> {
        let act = prop_oneof![
            20 => (0u32..40, 0u64..1_000).prop_map(|(source, number)| Act::Accept { source, number }),
            3 => (0u32..5).prop_map(Act::Evict),
            1 => Just(Act::Reload),
        ];
        prop::collection::vec(act, 0..400)
    }

    proptest! {
        #[test]
        fn sources_behave_as_a_list_in_the_order_of_use(acts in acts(), seeds: [u64; 2]) {
            // Two with other seeds: the order must not depend on them.
            let mut both = seeds.map(Sources::new);
            let mut model: Vec<(Vec<u8>, u64)> = Vec::new();
            for act in acts {
                match act {
                    Act::Accept { source, number } => {
                        let name = name(source);
                        let known = model.iter().position(|(n, _)| *n == name);
                        let last = known.map(|i| model.remove(i).1);
                        model.push((name.clone(), number));
                        for sources in &mut both {
                            let known = sources.find(&name);
                            prop_assert_eq!(known.map(|(_, last)| last), last);
                            let slot = known.map(|(slot, _)| slot);
                            sources.accept(slot, Sequence { source: &name, number });
                        }
                    }
                    Act::Evict(n) => {
                        let evicted = (n as usize).min(model.len());
                        model.drain(..evicted);
                        for sources in &mut both {
                            prop_assert_eq!(sources.evict(n) as usize, evicted);
                        }
                    }
                    Act::Reload => both[1] = reloaded(&both[1], seeds[0]),
                }
                for sources in &both {
                    prop_assert_eq!(sources.len() as usize, model.len());
                    prop_assert_eq!(&listed(sources), &model);
                }
            }
        }
    }

    #[test]
    fn source_takes_forty_bytes_besides_its_place_in_the_index() {
        assert_eq!(size_of::<Source>(), 40);
    }

    #[test]
    fn hundred_thousand_sources_are_evicted_from_the_oldest() {
        let mut sources = Sources::new(3);
        for n in 0..100_000 {
            sources.replay(Sequence {
                source: &name(n),
                number: 1,
            });
        }
        for n in (0..100_000).step_by(2) {
            sources.replay(Sequence {
                source: &name(n),
                number: 2,
            });
        }
        assert_eq!(sources.evict(50_000), 50_000);
        let left = listed(&sources);
        let expected: Vec<_> = (0..100_000).step_by(2).map(|n| (name(n), 2)).collect();
        assert!(left == expected);
        assert_eq!(sources.evict(u32::MAX), 50_000);
        assert_eq!((sources.len(), sources.iter().count()), (0, 0));
        assert!(sources.list.is_none());
    }
}
