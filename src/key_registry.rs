//! The registry of keys: where the nodes are, by database and name. It is a hint.
//!
//! The server does not report every change of keys: RENAME and MOVE report the old name alone, and FLUSHALL frees
//! values without a notice. So the registry is never the truth. Whoever visits a name opens the key and looks: a name
//! without a node is removed, a node that has left its name is registered by the next command for it, and when a round
//! of the timer finds fewer nodes than exist, a scan of the keys finds the others.

use crate::config;
use crate::ffi::MainThread;
use crate::memory::accounting;
use crate::totals;
use std::collections::BTreeSet;
use std::ops::Bound;

/// The number of a database and the name of a key in it.
pub type KeyLocation = (i32, Vec<u8>);

static LOCATIONS: MainThread<BTreeSet<KeyLocation>> = MainThread::new(BTreeSet::new());

/// A longer name is registered only if it fits below the memory limit. If it does not, a scan finds the node later.
const SHORT_NAME: usize = 256;

/// Returns the size of a name, about as an allocator rounds it up.
fn size(name: &[u8]) -> u64 {
    (name.len() + name.len() / 4) as u64
}

/// Registers a key that may hold a node. Returns false if its name does not fit below the memory limit.
///
/// Counts the name in the server's key. The copy of the name in the registry is allocated by the module and counted
/// with everything else.
pub fn insert(db: i32, name: &[u8]) -> bool {
    let cost = 2 * size(name) + 64;
    if name.len() > SHORT_NAME && !accounting::fits(cost, &config::settings()) {
        return false;
    }
    if LOCATIONS.with(|locations| locations.insert((db, name.to_vec()))) == Some(true) {
        totals::add_name_bytes(size(name));
    }
    true
}

/// Removes a key that holds no node.
pub fn remove(location: &KeyLocation) {
    if LOCATIONS.with(|locations| locations.remove(location)) == Some(true) {
        totals::remove_name_bytes(size(&location.1));
    }
}

/// Returns the key that follows another, or the first.
pub fn next(after: Option<&KeyLocation>) -> Option<KeyLocation> {
    let start = after.map_or(Bound::Unbounded, Bound::Excluded);
    LOCATIONS
        .with(|locations| {
            let mut following = locations.range((start, Bound::Unbounded));
            following.next().cloned()
        })
        .flatten()
}

/// Removes the keys of a database that was flushed, or of all if `db` is negative.
pub fn clear(db: i32) {
    LOCATIONS.with(|locations| {
        locations.retain(|(d, _)| db >= 0 && *d != db);
        let left = locations.iter().map(|(_, name)| size(name)).sum();
        totals::set_name_bytes(left);
    });
}

/// Follows a SWAPDB.
pub fn swap(a: i32, b: i32) {
    LOCATIONS.with(|locations| {
        let swapped = |db| match db {
            db if db == a => b,
            db if db == b => a,
            db => db,
        };
        *locations = std::mem::take(locations)
            .into_iter()
            .map(|(db, name)| (swapped(db), name))
            .collect();
    });
}
