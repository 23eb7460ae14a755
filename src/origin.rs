//! Where a command comes from: from somebody who reports, or from another server that has taken it already (a primary,
//! a file, a replayed file). What was taken elsewhere is repeated at the node's told clock and judged by no limit here.
//!
//! A primary that loads nothing is told apart by two loads, as every sample passes here.

use crate::ffi::api::Ctx;
use aggregator_core::Now;
use aggregator_core::turn::{MAX_AHEAD_US, MAX_ID};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// This server is a primary and loads nothing, as far as is known: set by the timer, taken back by every event that
/// may change it.
static DECIDES: AtomicBool = AtomicBool::new(false);

/// A client of this server has sent AGG.APPLY: it replays a file, or moves slots here.
static REPLAYED: AtomicBool = AtomicBool::new(false);

/// In a cluster slots move by ways that do not mark what they repeat: there nothing is propagated as it came.
static IS_CLUSTER: AtomicBool = AtomicBool::new(false);

/// Imports of slots that run (Valkey's atomic slot migration). What they bring belongs to its old owner until they end.
static IMPORTS: AtomicU64 = AtomicU64::new(0);

/// An import of slots begins.
pub fn import_begins() {
    IMPORTS.fetch_add(1, Relaxed);
}

/// An import of slots has ended, well or not.
pub fn import_ended() {
    IMPORTS.store(IMPORTS.load(Relaxed).saturating_sub(1), Relaxed);
}

/// Whether an import of slots runs, which what AGG.APPLY brings now may belong to.
pub fn imports() -> bool {
    IMPORTS.load(Relaxed) != 0
}

/// What the timer sees of the server's state.
pub fn set_decides(decides: bool) {
    DECIDES.store(decides, Relaxed);
}

/// The server's state may have changed.
pub fn may_have_changed() {
    DECIDES.store(false, Relaxed);
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
pub fn is_doubtful() -> bool {
    !DECIDES.load(Relaxed) || REPLAYED.load(Relaxed)
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
pub fn applier(ctx: Ctx<'_>) -> u64 {
    if ctx.flags().is_repeated() {
        return 0;
    }
    REPLAYED.store(true, Relaxed);
    ctx.client_id()
}

/// Whether the command that runs was taken elsewhere. `applier`: of the last AGG.APPLY to its node.
pub fn is_repeated(ctx: Ctx<'_>, applier: u64) -> bool {
    ctx.flags().is_repeated() || applier != 0 && applier == ctx.client_id()
}
