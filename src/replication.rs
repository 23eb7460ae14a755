//! Where a command comes from: from somebody who reports, or from another server that has taken it already (a primary,
//! a file). What was taken elsewhere is repeated at the node's told clock and judged by no limit here. A client that replays
//! a file is between the two: as it may be anybody, what it sends is repeated at that clock, but within the limits.
//!
//! A primary that loads nothing is told apart by two loads, as every sample passes here.

use crate::ffi::api::Ctx;
use crate::ffi::main_thread::MainThread;
use aggregator_core::Now;
use aggregator_core::text::slot::slot;
use aggregator_core::turn::{MAX_AHEAD_US, MAX_ID};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

/// This server is a primary and loads nothing, as far as is known: set by the timer, taken back by every event that
/// may change it.
static IS_ACTIVE_PRIMARY: AtomicBool = AtomicBool::new(false);

/// A client of this server has sent AGG.APPLY: it replays a file, or moves slots here.
static REPLAYED: AtomicBool = AtomicBool::new(false);

/// In a cluster slots move by ways that do not mark what they repeat: there nothing is propagated as it came.
static IS_CLUSTER: AtomicBool = AtomicBool::new(false);

/// Slots, the first and the last.
pub type Slots = (u16, u16);

/// Slots that are being imported (Valkey's atomic slot migration). What comes for them belongs to its old owner until the
/// import ends; the server redirects ordinary clients that name a key of theirs.
static IMPORTS: MainThread<Vec<Slots>> = MainThread::new(Vec::new());

/// How many they are.
static IMPORTED: AtomicUsize = AtomicUsize::new(0);

/// An import of slots begins.
pub fn import_begins(slots: &[Slots]) {
    change_imports(|imports| imports.extend_from_slice(slots));
}

/// An import of slots has ended, well or not.
pub fn import_ended(slots: &[Slots]) {
    change_imports(|imports| {
        for ended in slots {
            if let Some(i) = imports.iter().position(|import| import == ended) {
                imports.swap_remove(i);
            }
        }
    });
}

fn change_imports(change: impl FnOnce(&mut Vec<Slots>)) {
    IMPORTS.with(|imports| {
        change(imports);
        IMPORTED.store(imports.len(), Relaxed);
    });
}

/// Whether an import of slots runs.
pub fn imports() -> bool {
    IMPORTED.load(Relaxed) != 0
}

/// Whether an import of slots runs that this key belongs to.
pub fn is_imported(name: &[u8]) -> bool {
    let slot = slot(name);
    let is_in = |imports: &mut Vec<Slots>| imports.iter().any(|(a, b)| (*a..=*b).contains(&slot));
    imports() && IMPORTS.with(is_in) == Some(true)
}

/// What the timer sees of the server's state.
pub fn set_active_primary(decides: bool) {
    IS_ACTIVE_PRIMARY.store(decides, Relaxed);
}

/// The server's state may have changed.
pub fn role_may_have_changed() {
    IS_ACTIVE_PRIMARY.store(false, Relaxed);
}

/// Remembers at load whether the server is part of a cluster.
pub fn set_cluster(is_cluster: bool) {
    IS_CLUSTER.store(is_cluster, Relaxed);
}

/// Whether commands may be propagated as they came.
#[inline]
pub fn may_repeat() -> bool {
    !IS_CLUSTER.load(Relaxed)
}

/// Whether the command that runs may be a repeated one; if not, nothing more has to be looked at.
#[inline]
pub fn may_be_replicated() -> bool {
    !IS_ACTIVE_PRIMARY.load(Relaxed) || REPLAYED.load(Relaxed)
}

/// The largest id that is taken from elsewhere: any of a primary or a file, none far ahead of the clock of somebody else
/// (`is_handed_in`), so that nobody can use the ids up.
pub fn max_id(is_handed_in: bool, now: Now) -> u64 {
    if is_handed_in {
        now.wall_us.saturating_add(MAX_AHEAD_US).min(MAX_ID)
    } else {
        MAX_ID
    }
}

/// The client that sent AGG.APPLY, as its node remembers it; 0: a primary or a file did.
pub fn replay_client(ctx: Ctx<'_>) -> u64 {
    if ctx.flags().is_repeated() {
        return 0;
    }
    REPLAYED.store(true, Relaxed);
    ctx.client_id()
}

/// Who sent the command that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Somebody who reports.
    Report,
    /// A primary or a file: it was taken already.
    Server,
    /// The client that sent the last AGG.APPLY to the node: it may replay a file.
    Replay,
}

/// Who sent the command that runs. `applier`: of the last AGG.APPLY to its node.
pub fn of(ctx: Ctx<'_>, replay_client: u64) -> Origin {
    if ctx.flags().is_repeated() {
        Origin::Server
    } else if replay_client != 0 && replay_client == ctx.client_id() {
        Origin::Replay
    } else {
        Origin::Report
    }
}
