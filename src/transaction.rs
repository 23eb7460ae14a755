//! One change of a node: clocks are read, the core runs, and its effects are replicated.
//!
//! A primary changes the value of a node in no other way, except by AGG.APPLY, loads, and commands that are replayed.

use crate::config;
use crate::ffi::alloc::main_thread_bytes;
use crate::ffi::{Content, Ctx, Key, KeyName, MainThread, cached_time_us, unix_time_us, uptime_ms};
use crate::memory::accounting::{self, NodeUsage};
use crate::replication;
use crate::stored_node::StoredNode;
use crate::suspects;
use aggregator_core::id::MAX_DRAG_US;
use aggregator_core::{Counters, Effects, ExecContext, Memory, Node, Now, Propagation, Settings};
use std::convert::Infallible;
use std::rc::Rc;
use std::sync::OnceLock;

/// The state that all changes share.
struct Shared {
    effects: Effects,
    counters: Counters,
    last_id: u64,
}

impl Default for Shared {
    fn default() -> Shared {
        Shared {
            effects: Effects::with_buffer(),
            counters: Counters::default(),
            last_id: 0,
        }
    }
}

static SHARED: MainThread<Option<Shared>> = MainThread::new(None);

/// Seeds the hash tables of this process.
static SEED: OnceLock<u64> = OnceLock::new();

/// The settings and clocks of a change.
#[derive(Clone)]
pub struct Env {
    /// The settings in force.
    pub settings: Rc<Settings>,
    /// Both clocks.
    pub now: Now,
}

/// Allocates what changes share, so that no node is measured with it. On a replica and after a restart from an AOF,
/// nodes are created before any command runs.
pub fn init() {
    SHARED.with(|shared| {
        shared.get_or_insert_default();
    });
    suspects::init();
}

/// Returns both clocks.
#[inline]
pub fn now() -> Now {
    Now {
        wall_us: unix_time_us(),
        mono_ms: uptime_ms(),
    }
}

/// Returns the environment of a command, at the time when the server began it.
#[inline]
pub fn command_env() -> Env {
    Env {
        settings: config::settings(),
        now: Now {
            wall_us: cached_time_us().unwrap_or_else(unix_time_us),
            mono_ms: uptime_ms(),
        },
    }
}

/// Returns the environment of anything but a command: a timer, a waiting client.
pub fn current_env() -> Env {
    Env {
        settings: config::settings(),
        now: now(),
    }
}

/// Returns the seed for hash tables; random if the system provides randomness.
pub fn seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    *SEED.get_or_init(|| RandomState::new().hash_one(std::process::id()))
}

/// Changes a stored node and replicates the effects. `pressure` is the cost of the change if memory does not suffice
/// for it. Returns `None` if another change is running.
pub fn change<R>(
    ctx: Ctx<'_>,
    name: &KeyName<'_>,
    stored: &mut StoredNode,
    env: &Env,
    pressure: Option<u64>,
    f: impl FnOnce(&mut Node, &mut ExecContext<'_>) -> R,
) -> Option<R> {
    try_change(ctx, name, stored, env, pressure, |node, exec| {
        Ok::<R, Infallible>(f(node, exec))
    })
    .map(|Ok(result)| result)
}

/// Like [`change`], but the change may fail. If it fails, nothing has changed.
#[inline]
pub fn try_change<R, E>(
    ctx: Ctx<'_>,
    name: &KeyName<'_>,
    stored: &mut StoredNode,
    env: &Env,
    pressure: Option<u64>,
    f: impl FnOnce(&mut Node, &mut ExecContext<'_>) -> Result<R, E>,
) -> Option<Result<R, E>> {
    let limit = accounting::tighter_limit(stored.usage(), pressure.unwrap_or(0), &env.settings);
    change_within(ctx, name, stored, env, (limit, pressure.is_some()), f)
}

/// Does the same within a limit that is known; `has_pressure`: memory does not suffice for the change.
#[inline(always)]
pub fn change_within<R, E>(
    ctx: Ctx<'_>,
    name: &KeyName<'_>,
    stored: &mut StoredNode,
    env: &Env,
    (limit, has_pressure): (Memory, bool),
    f: impl FnOnce(&mut Node, &mut ExecContext<'_>) -> Result<R, E>,
) -> Option<Result<R, E>> {
    let mono_ms = env.now.mono_ms;
    stored.register(|| ctx.db(), name.bytes());
    stored.take_ownership(mono_ms);
    with_context(env, name, has_pressure, limit, |exec| {
        stored.change(mono_ms, |node| {
            let result = f(node, exec);
            match exec.effects.propagation() {
                Propagation::Nothing => {}
                Propagation::Verbatim => ctx.replicate_verbatim(name),
                Propagation::Payload(payload) => ctx.replicate(replication::APPLY, name, payload),
            }
            // The growth of the buffer must not be measured as the node's.
            exec.effects.clear();
            if node.has_suspects() {
                suspects::log(ctx, name.bytes(), &node.take_suspects(), env.now);
            }
            result
        })
    })
}

/// A new node that is not in its key yet.
pub struct PendingNode {
    stored: Box<StoredNode>,
    payload: Vec<u8>,
    bytes_before: i64,
}

impl PendingNode {
    /// Stores the node in its key and replicates it.
    pub fn store(self, ctx: Ctx<'_>, name: &KeyName<'_>, key: &mut Key<'_>) {
        key.set(self.stored);
        ctx.replicate(replication::APPLY, name, &self.payload);
        drop(self.payload);
        if let Content::Value(stored) = key.content::<StoredNode>() {
            stored.set_allocated_since(self.bytes_before);
            stored.register(|| ctx.db(), name.bytes());
        }
    }
}

/// Creates a node by a first change. The node is returned only if the change had an effect.
pub fn create<R>(
    name: &KeyName<'_>,
    env: &Env,
    f: impl FnOnce(&mut Node, &mut ExecContext<'_>) -> R,
) -> Option<(R, Option<PendingNode>)> {
    let limit = accounting::tighter_limit(NodeUsage::default(), 0, &env.settings);
    with_context(env, name, false, limit, |exec| {
        let bytes_before = main_thread_bytes();
        let mut node = Node::new(&env.settings, seed());
        let result = f(&mut node, exec);
        // A command is never propagated verbatim before a payload has carried the node's rules.
        let pending = match exec.effects.propagation() {
            Propagation::Payload(payload) => Some(PendingNode {
                payload: payload.to_vec(),
                stored: StoredNode::new(node, bytes_before),
                bytes_before,
            }),
            _ => None,
        };
        exec.effects.clear();
        (result, pending)
    })
}

#[inline(always)]
fn with_context<R>(
    env: &Env,
    name: &KeyName<'_>,
    memory_pressure: bool,
    memory: Memory,
    f: impl FnOnce(&mut ExecContext<'_>) -> R,
) -> Option<R> {
    SHARED.with(|shared| {
        let Shared {
            effects,
            counters,
            last_id,
        } = shared.get_or_insert_default();
        // The core clears the effects when the change begins.
        f(&mut ExecContext {
            now: env.now,
            settings: &env.settings,
            node_name: name.bytes(),
            last_id,
            effects,
            allow_verbatim: replication::may_propagate_verbatim(),
            memory_pressure,
            memory,
            counters,
        })
    })
}

/// Calls `f` with the server's counters.
pub fn with_counters<R>(f: impl FnOnce(&mut Counters) -> R) -> Option<R> {
    SHARED.with(|shared| f(&mut shared.get_or_insert_default().counters))
}

/// Returns the last id that this server assigned or saw.
pub fn last_id() -> u64 {
    SHARED
        .with(|shared| shared.get_or_insert_default().last_id)
        .unwrap_or(0)
}

/// Makes the next ids larger than one that came from elsewhere. An id more than an hour ahead of the clock counts as
/// one hour ahead, so that no payload can exhaust the ids.
pub fn observe_id(id: u64, now: Now) {
    let id = id.min(now.wall_us.saturating_add(MAX_DRAG_US));
    SHARED.with(|shared| {
        let shared = shared.get_or_insert_default();
        shared.last_id = shared.last_id.max(id);
    });
}
