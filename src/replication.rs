//! Replication: where the running command comes from, and whether it may be propagated verbatim.
//!
//! A command comes from a client that reports, or from a server that has accepted it already (a primary, or a file).
//! What another server accepted is replayed at the node's own clock and is subject to no limit here. A client that
//! replays a file is between the two: it is not trusted, so what it sends is replayed at that clock, but within the
//! limits.
//!
//! A primary that loads nothing is recognised by two atomic loads, as every sample passes here.

use crate::ffi::{Ctx, MainThread, SlotRange};
use aggregator_core::Now;
use aggregator_core::id::{MAX_AHEAD_US, MAX_ID};
use aggregator_protocol::slot::slot;
use std::ffi::CStr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

/// The command that carries effects and the frames of saved nodes.
pub const APPLY: &CStr = c"AGG.APPLY";

/// This server is known to be a primary and not to be loading. Set by the timer, cleared by every event that may change
/// it.
static IS_ACTIVE_PRIMARY: AtomicBool = AtomicBool::new(false);

/// A client of this server has sent AGG.APPLY: it replays a file, or moves slots here.
static HAS_REPLAY_CLIENT: AtomicBool = AtomicBool::new(false);

/// The clients that are replaying a file, and the uptime until which each counts as doing so.
static REPLAYS: MainThread<Vec<(u64, u64)>> = MainThread::new(Vec::new());

/// The limit of [`REPLAYS`]. The timer does not skip the nodes of further clients.
const MAX_REPLAYS: usize = 16;

/// The time after an AGG.APPLY of a client during which the timer skips the nodes that this client sent, milliseconds.
/// The file contains the decisions of its server, and decisions of this server's timer between them would make the
/// nodes differ: an item that expired here would be missing when the next effect names it by its slot.
const REPLAY_PAUSE_MS: u64 = 1_000;

/// In a cluster slots move in ways that do not mark what they replay, so nothing is propagated verbatim.
static IS_CLUSTER: AtomicBool = AtomicBool::new(false);

/// Slots that are being imported (atomic slot migration of Valkey). What comes for them belongs to their old owner
/// until the import ends. The server redirects ordinary clients that name a key of theirs.
static IMPORTS: MainThread<Vec<SlotRange>> = MainThread::new(Vec::new());

/// The length of [`IMPORTS`].
static IMPORT_COUNT: AtomicUsize = AtomicUsize::new(0);

/// An import of slots began.
pub fn import_started(slots: &[SlotRange]) {
    change_imports(|imports| imports.extend_from_slice(slots));
}

/// An import of slots was completed or aborted.
pub fn import_ended(slots: &[SlotRange]) {
    change_imports(|imports| {
        for ended in slots {
            if let Some(i) = imports.iter().position(|import| import == ended) {
                imports.swap_remove(i);
            }
        }
    });
}

fn change_imports(change: impl FnOnce(&mut Vec<SlotRange>)) {
    IMPORTS.with(|imports| {
        change(imports);
        IMPORT_COUNT.store(imports.len(), Relaxed);
    });
}

/// Returns whether any slots are being imported.
pub fn is_importing_slots() -> bool {
    IMPORT_COUNT.load(Relaxed) != 0
}

/// Returns whether the slot of a key is being imported.
pub fn is_imported(name: &[u8]) -> bool {
    let slot = slot(name);
    let contains = |imports: &mut Vec<SlotRange>| {
        imports
            .iter()
            .any(|(first, last)| (*first..=*last).contains(&slot))
    };
    is_importing_slots() && IMPORTS.with(contains) == Some(true)
}

/// Sets what the timer sees of the server's role.
pub fn set_active_primary(is_active_primary: bool) {
    IS_ACTIVE_PRIMARY.store(is_active_primary, Relaxed);
}

/// The server's role may have changed, or a load may have begun.
pub fn role_may_have_changed() {
    IS_ACTIVE_PRIMARY.store(false, Relaxed);
}

/// Sets at load whether the server is part of a cluster.
pub fn set_cluster(is_cluster: bool) {
    IS_CLUSTER.store(is_cluster, Relaxed);
}

/// Returns whether commands may be propagated verbatim.
#[inline]
pub fn may_propagate_verbatim() -> bool {
    !IS_CLUSTER.load(Relaxed)
}

/// Returns whether the running command may be a replicated or replayed one. If not, [`origin`] need not be asked.
#[inline]
pub fn may_be_replicated() -> bool {
    !IS_ACTIVE_PRIMARY.load(Relaxed) || HAS_REPLAY_CLIENT.load(Relaxed)
}

/// Returns the largest id that is accepted from elsewhere: any of a primary or a file, and from a client
/// (`is_from_client`) none far ahead of the clock, so that no client can exhaust the ids.
pub fn max_id(is_from_client: bool, now: Now) -> u64 {
    if is_from_client {
        now.wall_us.saturating_add(MAX_AHEAD_US).min(MAX_ID)
    } else {
        MAX_ID
    }
}

/// Returns the id of the client that sent the running AGG.APPLY, which the node remembers; 0 for a primary or a file.
pub fn replay_client(ctx: Ctx<'_>, mono_ms: u64) -> u64 {
    if ctx.flags().is_replicated() {
        return 0;
    }
    HAS_REPLAY_CLIENT.store(true, Relaxed);
    let client = ctx.client_id();
    REPLAYS.with(|replays| {
        replays.retain(|(other, until_ms)| *other != client && *until_ms > mono_ms);
        if replays.len() < MAX_REPLAYS {
            replays.push((client, mono_ms + REPLAY_PAUSE_MS));
        }
    });
    client
}

/// Returns `true` if this client sent an AGG.APPLY within the last second, so it is replaying a file.
pub fn is_replaying(client: u64, mono_ms: u64) -> bool {
    let is_it = |(other, until_ms): &(u64, u64)| *other == client && *until_ms > mono_ms;
    client != 0 && REPLAYS.with(|replays| replays.iter().any(is_it)) == Some(true)
}

/// The sender of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A client that reports.
    Client,
    /// A primary or a file: the command was accepted already.
    Server,
    /// The client that sent the last AGG.APPLY for the node: it may replay a file.
    Replay,
}

/// Returns who sent the running command for a node whose last AGG.APPLY came from `replay_client`.
pub fn origin(ctx: Ctx<'_>, replay_client: u64) -> Origin {
    if ctx.flags().is_replicated() {
        Origin::Server
    } else if replay_client != 0 && replay_client == ctx.client_id() {
        Origin::Replay
    } else {
        Origin::Client
    }
}
