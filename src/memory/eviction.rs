//! Eviction: dropping the oldest records until a change fits below the memory limits.
//!
//! A write that may not fit first drops the oldest records, imported ones excepted, of the largest of all MIN, HOUR and
//! LOG queues of the server: at most about [`SLICE`] for one command, and none if that is not enough. Then the change
//! runs under memory pressure: the core counts what it uses and rejects what is new. `agg.max-node-memory` limits each
//! node likewise; below that limit the node's own queues are evicted.
//!
//! Which queues are large is known from the timer's last round over the nodes and from evictions since, so eviction
//! takes no longer with many nodes. The timer trims what is far above the limit (it was lowered, or a file was loaded).
//! Until it has, writes that need memory are rejected.

use super::accounting::{MIN_STEP, NodeUsage, node_memory, server_memory, tighter_limit};
use crate::ffi::{Content, Ctx, KeyName, MainThread, Mode, OwnedString};
use crate::key_registry::KeyLocation;
use crate::stored_node::StoredNode;
use crate::transaction::{self, Env};
use aggregator_core::Queue;
use aggregator_core::{Memory, MemoryLimit};
use std::collections::BTreeSet;

/// The most that one command evicts, and one record more, as records are not cut.
const SLICE: u64 = 1 << 20;

/// The most that a command may need: steps are rounded up, and dropped records keep a little memory for a while.
const MAX_NEEDED: u64 = SLICE - 4 * MIN_STEP;

/// The most that the timer evicts in one step.
const TIMER_SLICE: u64 = SLICE / 4;

/// The number of large queues that are remembered.
const REMEMBERED: usize = 64;

/// The queues that records are dropped from.
const QUEUES: [Queue; 3] = [Queue::Min, Queue::Hour, Queue::Log];

/// The largest queues that the timer's last round saw, and those that records were dropped from since.
static LARGEST: MainThread<Vec<QueueSize>> = MainThread::new(Vec::new());

/// The bytes of a queue, and where it is.
type QueueSize = (u64, KeyLocation, Queue);

/// Collects the largest queues during a round over the nodes.
#[derive(Default)]
pub struct QueueSizes(Vec<QueueSize>);

impl QueueSizes {
    /// Adds the queues of a node.
    pub fn add(&mut self, location: &KeyLocation, bytes: [u64; 5]) {
        for queue in QUEUES {
            self.add_queue(bytes[queue as usize], location, queue);
        }
    }

    fn add_queue(&mut self, size: u64, location: &KeyLocation, queue: Queue) {
        let smallest = self.0.last().map_or(0, |(smallest, ..)| *smallest);
        if size == 0 || self.0.len() == REMEMBERED && size <= smallest {
            return;
        }
        self.0.truncate(REMEMBERED - 1);
        let at = self.0.partition_point(|(other, ..)| *other >= size);
        self.0.insert(at, (size, location.clone(), queue));
    }

    /// Publishes the result of a round; it holds until the next round ends, but for [`remember`].
    pub fn publish(self) {
        LARGEST.with(|largest| *largest = self.0);
    }
}

/// Remembers a queue that records were dropped from. Without it, a node that filled the memory since the timer's last
/// round would lose records for its own reports only, and new nodes would be rejected until the next round.
fn remember(size: u64, location: &KeyLocation, queue: Queue) {
    LARGEST.with(|largest| {
        let is_it = |(_, at, of): &QueueSize| at == location && *of == queue;
        if !largest.iter().any(is_it) {
            let mut sizes = QueueSizes(std::mem::take(largest));
            sizes.add_queue(size, location, queue);
            *largest = sizes.0;
        }
    });
}

/// Evicts until a change that may cost `cost` bytes fits, and returns whether it does. No key may be open. `target` is
/// the node of the change. Above its own limit the node's queues are evicted, above the server's limit the largest of
/// all nodes. Whether there is enough to drop, and no more than one command may, is checked first: if eviction would
/// not suffice, nothing is dropped.
pub fn evict(ctx: Ctx<'_>, target: Option<&KeyLocation>, cost: u64, env: &Env) -> bool {
    // What a primary sent, or a file holds, was decided elsewhere.
    if ctx.flags().is_replicated() {
        return true;
    }
    let db = ctx.db();
    let node_excess = || target.map_or(0, |target| node_excess(ctx, target, cost, env));
    let server_excess = || server_memory(cost, &env.settings).excess();
    let own: Vec<&KeyLocation> = target.into_iter().collect();
    let largest = LARGEST.with(|largest| largest.clone()).unwrap_or_default();
    let all: Vec<&KeyLocation> = largest.iter().map(|(_, at, _)| at).chain(target).collect();
    let is_possible = is_enough(ctx, &own, node_excess()) && is_enough(ctx, &all, server_excess());
    if is_possible {
        let eviction = |limit| Eviction { limit, env };
        eviction(MemoryLimit::Node).run(ctx, &own, SLICE, &node_excess);
        eviction(MemoryLimit::Server).run(ctx, &all, SLICE, &server_excess);
    }
    let fits = is_possible && node_excess() == 0 && server_excess() == 0;
    ctx.select_db(db);
    fits
}

/// Returns whether one command may drop `bytes`, and the queues of the nodes hold as many.
fn is_enough(ctx: Ctx<'_>, locations: &[&KeyLocation], bytes: u64) -> bool {
    bytes == 0
        || bytes <= MAX_NEEDED && {
            let queues = evictable_queues(ctx, locations);
            queues.iter().map(|(size, ..)| size).sum::<u64>() >= bytes
        }
}

/// Returns the bytes by which a change that may cost `cost` would exceed the node's own limit.
fn node_excess(ctx: Ctx<'_>, location: &KeyLocation, cost: u64, env: &Env) -> u64 {
    if env.settings.max_node_memory == 0 {
        return 0;
    }
    let usage = read_node(ctx, location, StoredNode::usage).unwrap_or_default();
    excess_of(usage, cost, env)
}

fn excess_of(usage: NodeUsage, cost: u64, env: &Env) -> u64 {
    node_memory(usage, cost, &env.settings).map_or(0, |memory| memory.excess())
}

/// Brings a node back below the limits after a change under memory pressure that took what must stay free. The node's
/// own oldest records are dropped, the new ones among them if need be. Otherwise the next samples of other metrics,
/// which are not checked, would exceed the limit until the timer's next tick.
pub fn enforce_limit(ctx: Ctx<'_>, name: &KeyName<'_>, stored: &mut StoredNode, env: &Env) {
    loop {
        let memory = tighter_limit(stored.usage(), 0, &env.settings);
        if memory.excess() == 0 || !drop_own(ctx, name, stored, &memory, u64::MAX, env) {
            return;
        }
    }
}

/// Drops one slice of what a node uses above its own limit, as when the setting was lowered. Returns whether anything
/// was dropped.
pub fn trim_node(ctx: Ctx<'_>, name: &KeyName<'_>, stored: &mut StoredNode, env: &Env) -> bool {
    if stored.node.is_unfinished() {
        return false;
    }
    let memory = node_memory(stored.usage(), 0, &env.settings).filter(|m| m.excess() > 0);
    memory.is_some_and(|memory| drop_own(ctx, name, stored, &memory, TIMER_SLICE, env))
}

/// Drops the excess of a limit, at most about `max` bytes, from the node's largest queue. Returns whether anything was
/// dropped.
fn drop_own(
    ctx: Ctx<'_>,
    name: &KeyName<'_>,
    stored: &mut StoredNode,
    memory: &Memory,
    max: u64,
    env: &Env,
) -> bool {
    let bytes = stored.node.evictable_bytes();
    let Some(queue) = QUEUES.into_iter().max_by_key(|q| bytes[*q as usize]) else {
        return false;
    };
    let excess = memory.excess().min(max);
    let dropped = transaction::change(ctx, name, stored, env, None, |node, exec| {
        node.drop_oldest(queue, excess, memory.limit, exec)
    });
    dropped.unwrap_or(0) > 0
}

/// Drops one slice of what is above the server's limit. Returns whether anything was dropped.
pub fn trim(ctx: Ctx<'_>, env: &Env) -> bool {
    let excess = || server_memory(0, &env.settings).excess();
    if excess() == 0 {
        return false;
    }
    let largest = LARGEST.with(|largest| largest.clone()).unwrap_or_default();
    let locations: Vec<&KeyLocation> = largest.iter().map(|(_, at, _)| at).collect();
    let eviction = Eviction {
        limit: MemoryLimit::Server,
        env,
    };
    eviction.run(ctx, &locations, TIMER_SLICE, &excess) > 0
}

/// An eviction for a limit.
struct Eviction<'a> {
    limit: MemoryLimit,
    env: &'a Env,
}

impl Eviction<'_> {
    /// Drops the oldest records of the largest queue of the nodes, again and again, until nothing is in excess, at most
    /// about `max` bytes. Returns how many bytes were dropped.
    fn run(
        &self,
        ctx: Ctx<'_>,
        locations: &[&KeyLocation],
        max: u64,
        excess: &dyn Fn() -> u64,
    ) -> u64 {
        let mut queues = Vec::new();
        let mut dropped = 0;
        while dropped < max {
            let bytes = excess();
            if bytes == 0 {
                break;
            }
            if queues.is_empty() {
                queues = evictable_queues(ctx, locations);
            }
            let largest = queues.iter_mut().max_by_key(|(size, ..)| *size);
            let Some((size, location, queue)) = largest.filter(|(size, ..)| *size > 0) else {
                break;
            };
            let bytes = bytes.max(MIN_STEP).min(max - dropped);
            let freed = self.drop_oldest(ctx, location, *queue, bytes);
            // A queue that is gone, or cannot be changed, is not tried again.
            *size = if freed == 0 {
                0
            } else {
                size.saturating_sub(freed)
            };
            remember(*size, location, *queue);
            dropped += freed;
        }
        dropped
    }

    /// Drops the oldest records of a queue. Returns how many bytes they counted for.
    fn drop_oldest(&self, ctx: Ctx<'_>, location: &KeyLocation, queue: Queue, bytes: u64) -> u64 {
        if !ctx.select_db(location.0) {
            return 0;
        }
        let string = OwnedString::new(&location.1);
        let name = string.name();
        let Some(mut key) = ctx.open(&name, Mode::WriteUntracked) else {
            return 0;
        };
        let Content::Value(stored) = key.content::<StoredNode>() else {
            return 0;
        };
        let before = stored.node.evictable_bytes()[queue as usize];
        transaction::change(ctx, &name, stored, self.env, None, |node, exec| {
            node.drop_oldest(queue, bytes, self.limit, exec)
        });
        before.saturating_sub(stored.node.evictable_bytes()[queue as usize])
    }
}

/// Returns the queues of the nodes, each once, with their bytes. Nodes of slots that are being imported are skipped, as
/// is a node that AGG.APPLY is assembling: its last frame counts what came before. A node that a client is replaying is
/// not skipped, because the memory limit has priority.
fn evictable_queues<'l>(
    ctx: Ctx<'_>,
    locations: &[&'l KeyLocation],
) -> Vec<(u64, &'l KeyLocation, Queue)> {
    let locations: BTreeSet<&KeyLocation> = locations.iter().copied().collect();
    let mut queues = Vec::new();
    for location in locations {
        let bytes = read_node(ctx, location, |stored| {
            let is_evictable = !stored.is_importing() && !stored.node.is_unfinished();
            is_evictable.then(|| stored.node.evictable_bytes())
        });
        if let Some(bytes) = bytes.flatten() {
            queues.extend(QUEUES.map(|queue| (bytes[queue as usize], location, queue)));
        }
    }
    queues
}

/// Calls `f` with the node at a location, if there is one.
fn read_node<R>(
    ctx: Ctx<'_>,
    location: &KeyLocation,
    f: impl FnOnce(&StoredNode) -> R,
) -> Option<R> {
    if !ctx.select_db(location.0) {
        return None;
    }
    let string = OwnedString::new(&location.1);
    match ctx
        .open(&string.name(), Mode::ReadUntracked)?
        .content::<StoredNode>()
    {
        Content::Value(stored) => Some(f(stored)),
        _ => None,
    }
}
