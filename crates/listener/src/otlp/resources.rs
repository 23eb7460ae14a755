//! The resources that were reported, so that a resource is reported when it is first seen or changes.

use std::hash::{BuildHasher, RandomState};

use lru::LruCache;

/// The resources that were reported last: hashes of their keys, and of what they are.
pub struct Resources {
    known: LruCache<u64, u64>,
    hasher: RandomState,
    limit: usize,
    reported: Vec<u64>,
}

impl Resources {
    /// Creates it for up to a number of resources. More of them are reported repeatedly.
    pub fn new(limit: usize) -> Resources {
        Resources {
            known: LruCache::unbounded(),
            hasher: RandomState::new(),
            limit,
            reported: Vec::new(),
        }
    }

    /// Takes the key of a resource and what it is; returns true if it is to be reported.
    pub fn is_new(&mut self, key: &str, resource: &[u8]) -> bool {
        let (key, hash) = (self.hasher.hash_one(key), self.hasher.hash_one(resource));
        if self.known.put(key, hash) == Some(hash) {
            return false;
        }
        if self.known.len() > self.limit {
            self.known.pop_lru();
        }
        self.reported.push(key);
        true
    }

    /// Returns what was reported since the last call.
    pub fn take_reported(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.reported)
    }

    /// Forgets resources, so that they are reported again.
    pub fn undo(&mut self, reported: Vec<u64>) {
        for key in reported {
            self.known.pop(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_resources_are_reported() {
        let mut resources = Resources::new(2);
        assert!(resources.is_new("a", b"1"));
        assert!(!resources.is_new("a", b"1"));
        assert!(resources.is_new("a", b"2"));
        assert!(resources.is_new("b", b"1"));
        assert!(resources.is_new("c", b"1"));
        assert_eq!(resources.known.len(), 2);
        assert!(resources.is_new("a", b"2"));
        let reported = resources.take_reported();
        assert_eq!(reported.len(), 5);
        assert!(!resources.is_new("a", b"2"));
        resources.undo(reported);
        assert!(resources.is_new("a", b"2"));
    }
}
