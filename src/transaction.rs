//! One change of a node from the outside: clocks are read, the core runs, what it decided is replicated.
//!
//! This is the only way in which a node is changed by the server that decides; AGG.APPLY and loading are the others.

use crate::config;
use crate::ffi::api::{Content, Ctx, Key, KeyName, command_began_us, running_ms};
use crate::ffi::main_thread::MainThread;
use crate::stored_node::StoredNode;
use crate::{memory, replication};
use aggregator_core::{Counters, Effects, Memory, Node, Now, Propagation, Settings, Turn};
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

/// What changes share.
struct State {
    effects: Effects,
    counters: Counters,
    last_id: u64,
}

impl Default for State {
    fn default() -> State {
        State {
            effects: Effects::with_buffer(),
            counters: Counters::default(),
            last_id: 0,
        }
    }
}

static STATE: MainThread<Option<State>> = MainThread::new(None);

/// Allocates what changes share, so that no node is measured with it: on a replica and after a restart from an AOF the
/// first node comes before any command runs.
pub fn begin() {
    STATE.with(|work| {
        work.get_or_insert_default();
    });
}

/// Scatters the hash tables of this process.
static SEED: OnceLock<u64> = OnceLock::new();

/// Both clocks.
#[inline]
pub fn now() -> Now {
    let wall = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Now {
        wall_us: wall.as_secs() * 1_000_000 + u64::from(wall.subsec_micros()),
        mono_ms: running_ms(),
    }
}

/// The seed for hash tables: random where the system gives randomness.
pub fn seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    *SEED.get_or_init(|| RandomState::new().hash_one(std::process::id()))
}

/// Runs a change of a node that a key holds, and replicates what was decided. `tight`: memory has no room for so many
/// bytes, which it may cost.
pub fn change<R>(
    ctx: Ctx<'_>,
    name: &KeyName<'_>,
    stored: &mut StoredNode,
    now: Now,
    settings: &Settings,
    tight: Option<u64>,
    f: impl FnOnce(&mut Node, &mut Turn<'_>) -> R,
) -> Option<R> {
    try_change(ctx, name, stored, now, settings, tight, |node, turn| {
        Ok::<R, std::convert::Infallible>(f(node, turn))
    })
    .map(|Ok(result)| result)
}

/// The same with a change that may be refused, which then has changed nothing.
#[inline]
pub fn try_change<R, E>(
    ctx: Ctx<'_>,
    name: &KeyName<'_>,
    stored: &mut StoredNode,
    now: Now,
    settings: &Settings,
    tight: Option<u64>,
    f: impl FnOnce(&mut Node, &mut Turn<'_>) -> Result<R, E>,
) -> Option<Result<R, E>> {
    if stored.needs_registration() {
        stored.place(ctx.db(), name.bytes());
    }
    stored.take_ownership(now.mono_ms);
    let memory = memory::of(Some(stored), tight.unwrap_or(0), settings);
    with_turn(now, settings, tight.is_some(), memory, |turn| {
        stored.change(now.mono_ms, |node| {
            let result = f(node, turn);
            match turn.effects.propagation() {
                Propagation::Nothing => {}
                Propagation::Command => ctx.replicate_verbatim(name),
                Propagation::Payload(payload) => ctx.replicate(name, payload),
            }
            // What the buffer grew by is not the node's.
            turn.effects.clear();
            result
        })
    })
}

/// A new node that is to be put into its key.
pub struct PendingNode {
    stored: Box<StoredNode>,
    payload: Vec<u8>,
    before: i64,
}

impl PendingNode {
    /// Puts it there, and replicates it.
    pub fn put(self, ctx: Ctx<'_>, name: &KeyName<'_>, key: &mut Key<'_>) {
        key.set(self.stored);
        ctx.replicate(name, &self.payload);
        drop(self.payload);
        if let Content::Node(stored) = key.content() {
            stored.set_allocated_since(self.before);
            stored.place(ctx.db(), name.bytes());
        }
    }
}

/// Runs a change of a node that no key holds yet. The node is there only if something was decided.
pub fn create<R>(
    now: Now,
    settings: &Settings,
    f: impl FnOnce(&mut Node, &mut Turn<'_>) -> R,
) -> Option<(R, Option<PendingNode>)> {
    let memory = memory::of(None, 0, settings);
    with_turn(now, settings, false, memory, |turn| {
        let before = crate::ffi::alloc::main_bytes();
        let mut node = Node::new(settings, seed());
        let result = f(&mut node, turn);
        // A command is never propagated as it came before a payload has told the node's rules.
        let made = match turn.effects.propagation() {
            Propagation::Payload(payload) => Some(PendingNode {
                payload: payload.to_vec(),
                stored: StoredNode::new(node, before),
                before,
            }),
            _ => None,
        };
        turn.effects.clear();
        (result, made)
    })
}

fn with_turn<R>(
    now: Now,
    settings: &Settings,
    is_tight: bool,
    memory: Memory,
    f: impl FnOnce(&mut Turn<'_>) -> R,
) -> Option<R> {
    STATE.with(|work| {
        let State {
            effects,
            counters,
            last_id,
        } = work.get_or_insert_default();
        effects.clear();
        f(&mut Turn {
            now,
            settings,
            last_id,
            effects,
            may_repeat: replication::may_repeat(),
            is_tight,
            memory,
            counters,
        })
    })
}

/// The server's counters.
pub fn with_counters<R>(f: impl FnOnce(&mut Counters) -> R) -> Option<R> {
    STATE.with(|work| f(&mut work.get_or_insert_default().counters))
}

/// The last id that this server gave or saw.
pub fn last_id() -> u64 {
    STATE
        .with(|work| work.get_or_insert_default().last_id)
        .unwrap_or(0)
}

/// An id that came from elsewhere: those given from now on are greater. Not beyond an hour ahead of the clock, so that
/// no payload can use the ids up.
pub fn observe_id(id: u64, now: Now) {
    const HOUR_US: u64 = 3_600_000_000;
    STATE.with(|work| {
        let work = work.get_or_insert_default();
        work.last_id = work
            .last_id
            .max(id.min(now.wall_us.saturating_add(HOUR_US)));
    });
}

/// The settings and the clocks for a command.
#[inline]
pub fn command_env() -> (std::rc::Rc<Settings>, Now) {
    let now = match command_began_us() {
        Some(wall_us) => Now {
            wall_us,
            mono_ms: running_ms(),
        },
        None => now(),
    };
    (config::settings(), now)
}
