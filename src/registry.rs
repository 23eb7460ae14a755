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

/// A place: the database's number and the key's name.
pub type Place = (i32, Vec<u8>);

static PLACES: MainThread<BTreeSet<Place>> = MainThread::new(BTreeSet::new());

/// A longer name is taken only where the ceiling leaves room for it; a scan finds the node later.
const SHORT: usize = 256;

/// There may be a node here.
pub fn insert(db: i32, name: &[u8]) {
    let cost = (name.len() + name.len() / 4 + 64) as u64;
    if name.len() > SHORT && !memory::fits(cost, &config::settings()) {
        return;
    }
    PLACES.with(|places| {
        places.insert((db, name.to_vec()));
    });
}

/// There is none.
pub fn remove(place: &Place) {
    PLACES.with(|places| places.remove(place));
}

/// The next place behind one, or the first.
pub fn next(after: Option<&Place>) -> Option<Place> {
    let start = after.map_or(Bound::Unbounded, Bound::Excluded);
    PLACES
        .with(|places| places.range((start, Bound::Unbounded)).next().cloned())
        .flatten()
}

/// A database was emptied; a negative number: all.
pub fn clear(db: i32) {
    PLACES.with(|places| places.retain(|(d, _)| db >= 0 && *d != db));
}

/// Two databases changed places.
pub fn swap(a: i32, b: i32) {
    PLACES.with(|places| {
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
