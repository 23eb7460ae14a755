//! The tag lists of a node's metrics, each kept once however many metrics share it.
//!
//! Lists are held in canonical form (see [`crate::text::tags`]), so equal lists have equal ids.

use super::table::{Named, Table};

/// A list in a [`TagPool`]; the empty list is in none. Whoever holds one holds a reference, given back by `release`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TagId(u32);

impl TagId {
    /// No tags.
    pub const NONE: TagId = TagId(u32::MAX);
}

/// See the file's header.
pub(crate) struct TagPool {
    lists: Table<TagList>,
}

struct TagList {
    text: Box<[u8]>,
    references: u32,
}

impl Named for TagList {
    fn name(&self) -> &[u8] {
        &self.text
    }
}

impl TagPool {
    pub fn new(seed: u64) -> TagPool {
        TagPool {
            lists: Table::new(seed),
        }
    }

    /// The text of a list.
    #[inline]
    pub fn text(&self, id: TagId) -> &[u8] {
        self.lists.get(id.0).map_or(&[], |list| &list.text)
    }

    /// A reference to the list with this canonical text.
    pub fn acquire(&mut self, canonical: &[u8]) -> TagId {
        if canonical.is_empty() {
            return TagId::NONE;
        }
        match self.lists.find(canonical) {
            Some(slot) => self.retain(TagId(slot)),
            None => TagId(self.lists.insert(TagList {
                text: canonical.into(),
                references: 1,
            })),
        }
    }

    /// One more reference.
    #[inline]
    pub fn retain(&mut self, id: TagId) -> TagId {
        if let Some(list) = self.lists.get_mut(id.0) {
            list.references += 1;
        }
        id
    }

    /// One reference less; the last one takes the list along.
    pub fn release(&mut self, id: TagId) {
        if let Some(list) = self.lists.get_mut(id.0) {
            list.references -= 1;
            if list.references == 0 {
                self.lists.remove(id.0);
            }
        }
    }
}
