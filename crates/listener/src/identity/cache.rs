//! The cache of series as they were received.
//!
//! # Invariants
//!
//! - A key is all that was received of a series, each part with its length. It is compared by its bytes.
//! - The hash has a random key, so no sender can choose series whose lookup is slow.
//! - The cache has at most [`CACHE_ENTRIES`] entries and [`CACHE_BYTES`] bytes of texts. When it is full it is cleared:
//!   senders that repeat their series fill it again, others do not profit from it.

use std::collections::HashMap;
use std::sync::Arc;

use super::metrics::is_forgotten;
use super::series::{Resolved, SeriesId};
use crate::report::Attribute;

/// Maximum entries in the cache: each order of attributes and each set of tags of a series is one.
pub const CACHE_ENTRIES: usize = 200_000;

/// Maximum bytes of the keys, names and tags in the cache.
pub const CACHE_BYTES: usize = 64 << 20;

/// Series by their keys.
#[derive(Default)]
pub(super) struct Cache {
    /// Indexes of `entries`.
    by_key: HashMap<Box<[u8]>, u32>,
    entries: Vec<Entry>,
    bytes: usize,
}

/// A series.
pub(super) struct Entry {
    pub metric: Arc<str>,
    pub tags: Box<str>,
    pub id: SeriesId,
    /// The generation in which it was resolved last.
    pub seen: u32,
}

impl Entry {
    pub fn resolved(&self) -> Resolved<'_> {
        Resolved {
            metric: &self.metric,
            tags: &self.tags,
            id: self.id,
        }
    }

    /// Returns the bytes of the entry with its key.
    fn bytes(&self, key: &[u8]) -> usize {
        key.len() + self.metric.len() + self.tags.len()
    }
}

/// Writes the key of a series.
pub(super) fn write_key(key: &mut Vec<u8>, name: &str, attributes: &[Attribute<'_>], unit: &str) {
    key.clear();
    let mut push = |text: &str| {
        key.extend_from_slice(&text.len().to_ne_bytes());
        key.extend_from_slice(text.as_bytes());
    };
    push(name);
    push(unit);
    for attribute in attributes {
        push(&attribute.name);
        push(&attribute.value);
    }
}

impl Cache {
    /// Returns the index of a series.
    pub fn find(&self, key: &[u8]) -> Option<u32> {
        self.by_key.get(key).copied()
    }

    pub fn get_mut(&mut self, index: u32) -> Option<&mut Entry> {
        self.entries.get_mut(index as usize)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    /// Returns whether the cache must be cleared before this entry is added.
    pub fn is_full_for(&self, key: &[u8], entry: &Entry) -> bool {
        self.entries.len() >= CACHE_ENTRIES || self.bytes + entry.bytes(key) > CACHE_BYTES
    }

    /// Adds a series, and returns its index.
    pub fn insert(&mut self, key: &[u8], entry: Entry) -> u32 {
        let index = self.entries.len() as u32;
        self.bytes += entry.bytes(key);
        self.entries.push(entry);
        self.by_key.insert(key.into(), index);
        index
    }

    pub fn clear(&mut self) {
        self.by_key.clear();
        self.entries.clear();
        self.bytes = 0;
    }

    /// Removes the series that were not resolved for so long that they are forgotten.
    pub fn forget(&mut self, generation: u32) {
        let mut entries: Vec<Option<Entry>> = self.entries.drain(..).map(Some).collect();
        self.bytes = 0;
        self.by_key.retain(|key, index| {
            let entry = entries.get_mut(*index as usize).and_then(Option::take);
            let Some(mut entry) = entry.filter(|entry| !is_forgotten(entry.seen, generation))
            else {
                return false;
            };
            // It is greater if the clock was set back.
            entry.seen = entry.seen.min(generation);
            *index = self.entries.len() as u32;
            self.bytes += entry.bytes(key);
            self.entries.push(entry);
            true
        });
    }

    #[cfg(test)]
    pub fn counts(&self) -> [usize; 3] {
        [self.by_key.len(), self.entries.len(), self.bytes]
    }
}
