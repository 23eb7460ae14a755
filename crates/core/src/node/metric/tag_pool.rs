//! The tag lists of the metrics of a node, each stored once however many metrics share it.
//!
//! Lists are in canonical form (see [`aggregator_protocol::tags`]), so equal lists have equal ids.

use crate::model::TagId;
use crate::node::index::Index;
use crate::node::table::hash;

/// The tag list that samples of a payload share, and its id from the second sample with it on: so it is looked up once,
/// not for each sample.
#[derive(Default)]
pub(crate) struct SharedTags<'a> {
    last: Option<&'a [u8]>,
    id: Option<TagId>,
}

impl<'a> SharedTags<'a> {
    /// Returns the id of a sample's tags, if they are those of the sample before.
    pub fn id_of(&mut self, tags: Option<&'a [u8]>, pool: &mut TagPool) -> Option<TagId> {
        let tags = tags?;
        // Shared lists are one in the payload; the sample itself looks up another one.
        if !self.last.is_some_and(|last| std::ptr::eq(last, tags)) {
            self.release(pool);
            self.last = Some(tags);
            return None;
        }
        Some(*self.id.get_or_insert_with(|| pool.acquire(tags)))
    }

    /// Returns its reference.
    pub fn release(&mut self, pool: &mut TagPool) {
        if let Some(id) = self.id.take() {
            pool.release(id);
        }
    }
}

/// Lists in a block.
const BLOCK: usize = 64;

/// The tag lists of a node. A list keeps its number for as long as it has references.
pub(crate) struct TagPool {
    index: Index,
    seed: u64,
    blocks: Vec<Vec<Option<TagList>>>,
    free: Vec<u32>,
    /// The number of lists with references.
    live: u32,
}

struct TagList {
    text: Box<[u8]>,
    references: u32,
}

impl TagPool {
    pub fn new(seed: u64) -> TagPool {
        TagPool {
            index: Index::new(),
            seed,
            blocks: Vec::new(),
            free: Vec::new(),
            live: 0,
        }
    }

    /// Returns the text of a list.
    #[inline]
    pub fn text(&self, id: TagId) -> &[u8] {
        self.get(id.0).map_or(&[], |list| &list.text)
    }

    /// Returns `true` if there is a list with this canonical text, so that a reference to it costs nothing.
    pub fn holds(&self, canonical: &[u8]) -> bool {
        canonical.is_empty() || self.find(canonical).is_some()
    }

    /// Acquires a reference to the list with this canonical text.
    pub fn acquire(&mut self, canonical: &[u8]) -> TagId {
        if canonical.is_empty() {
            return TagId::NONE;
        }
        match self.find(canonical) {
            Some(slot) => self.retain(TagId(slot)),
            None => self.add(canonical),
        }
    }

    /// Acquires another reference.
    #[inline]
    pub fn retain(&mut self, id: TagId) -> TagId {
        if let Some(list) = self.place(id.0).and_then(Option::as_mut) {
            list.references += 1;
        }
        id
    }

    /// Releases a reference; the last one removes the list.
    pub fn release(&mut self, id: TagId) {
        let Some(place) = self.place(id.0) else {
            return;
        };
        if let Some(list) = place {
            list.references -= 1;
            if list.references == 0
                && let Some(list) = place.take()
            {
                self.index.remove(hash(&list.text, self.seed), id.0);
                self.free.push(id.0);
                self.live -= 1;
                if self.live == 0 {
                    *self = TagPool::new(self.seed);
                }
            }
        }
    }

    fn find(&self, canonical: &[u8]) -> Option<u32> {
        self.index.find(hash(canonical, self.seed), |slot| {
            self.get(slot).is_some_and(|list| *list.text == *canonical)
        })
    }

    fn add(&mut self, canonical: &[u8]) -> TagId {
        let list = Some(TagList {
            text: canonical.into(),
            references: 1,
        });
        let slot = match self.free.pop() {
            Some(slot) => {
                if let Some(place) = self.place(slot) {
                    *place = list;
                }
                slot
            }
            None => {
                if self.blocks.last().is_none_or(|block| block.len() == BLOCK) {
                    self.blocks.push(Vec::new());
                }
                let before = (self.blocks.len() - 1) * BLOCK;
                self.blocks.last_mut().map_or(0, |block| {
                    block.push(list);
                    (before + block.len() - 1) as u32
                })
            }
        };
        self.index.insert(hash(canonical, self.seed), slot);
        self.live += 1;
        TagId(slot)
    }

    #[inline]
    fn get(&self, slot: u32) -> Option<&TagList> {
        self.blocks
            .get(slot as usize / BLOCK)?
            .get(slot as usize % BLOCK)?
            .as_ref()
    }

    #[inline]
    fn place(&mut self, slot: u32) -> Option<&mut Option<TagList>> {
        self.blocks
            .get_mut(slot as usize / BLOCK)?
            .get_mut(slot as usize % BLOCK)
    }
}
