//! Where the nodes are: names by database, as a hint.
//!
//! The server does not tell us of every change of keys (RENAME and MOVE tell the old name alone, FLUSHALL frees values
//! without a word). So a name here is never the truth: whoever visits it opens the key and looks; a name without a node
//! is dropped; a node that has left its name tells its new one with the next command to it; and where a round of the
//! timer finds fewer nodes than there are, a scan of the keys finds the others.

use crate::ffi::main_thread::MainThread;
use crate::{config, memory};
use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A place: the database's number and the key's name.
pub type KeyLocation = (i32, Vec<u8>);

static LOCATIONS: MainThread<BTreeSet<KeyLocation>> = MainThread::new(BTreeSet::new());

/// Bytes of the names as the server holds them in its keys.
static NAME_BYTES: AtomicU64 = AtomicU64::new(0);

/// A longer name is taken only where the ceiling leaves room for it; a scan finds the node later.
const SHORT: usize = 256;

/// Bytes that the names of nodes take in the server's keys, about: the module has no other count of them. (The names here
/// are allocated by the module and counted with all else.)
pub fn name_bytes() -> u64 {
    NAME_BYTES.load(Relaxed)
}

/// A name as an allocator rounds it up.
fn size(name: &[u8]) -> u64 {
    (name.len() + name.len() / 4) as u64
}

/// There may be a node here; false: there is no room for its name.
pub fn insert(db: i32, name: &[u8]) -> bool {
    let cost = 2 * size(name) + 64;
    if name.len() > SHORT && !memory::fits(cost, &config::settings()) {
        return false;
    }
    let is_new = LOCATIONS.with(|places| places.insert((db, name.to_vec())));
    if is_new == Some(true) {
        NAME_BYTES.fetch_add(size(name), Relaxed);
    }
    true
}

/// There is none.
pub fn remove(place: &KeyLocation) {
    if LOCATIONS.with(|places| places.remove(place)) == Some(true) {
        NAME_BYTES.fetch_sub(size(&place.1), Relaxed);
    }
}

/// The next place behind one, or the first.
pub fn next(after: Option<&KeyLocation>) -> Option<KeyLocation> {
    let start = after.map_or(Bound::Unbounded, Bound::Excluded);
    LOCATIONS
        .with(|places| places.range((start, Bound::Unbounded)).next().cloned())
        .flatten()
}

/// A database was emptied; a negative number: all.
pub fn clear(db: i32) {
    LOCATIONS.with(|places| {
        places.retain(|(d, _)| db >= 0 && *d != db);
        let left = places.iter().map(|(_, name)| size(name)).sum();
        NAME_BYTES.store(left, Relaxed);
    });
}

/// Two databases changed places.
pub fn swap(a: i32, b: i32) {
    LOCATIONS.with(|places| {
        let swapped = |db| match db {
            db if db == a => b,
            db if db == b => a,
            db => db,
        };
        *places = std::mem::take(places)
            .into_iter()
            .map(|(db, name)| (swapped(db), name))
            .collect();
    });
}
