//! The ceiling: `agg.max-memory` over all that the module holds in this server.
//!
//! What is held is counted exactly (`ffi::alloc`), with the names of the keys. A write that may not fit first makes room:
//! the oldest entries of the largest of all MIN, HOUR and LOG queues of the server go, at most about [`SLICE`] for one
//! command, and none where that is not enough. Then the turn is tight: the core counts what it holds and refuses what is
//! new. `agg.max-node-memory` limits each node likewise; there the node's own queues make room.
//!
//! Which queues are large is known from the timer's last round over the nodes, so making room takes no longer with many
//! nodes. What is far above the ceiling (it was lowered, or a file was loaded) is for the timer to trim, and until it has,
//! writes that need memory are refused.

use crate::ffi::alloc;
use crate::ffi::api::{Content, Ctx, KeyName, Mode};
use crate::ffi::main_thread::MainThread;
use crate::key_registry::{self, KeyLocation};
use crate::stored_node::{StoredNode, metrics, nodes};
use crate::transaction;
use aggregator_core::node::{METRIC_RESERVE, NODE_RESERVE, Queue};
use aggregator_core::{Memory, MemoryLimit, Now, Settings};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Room for what commands take and give back (a reply's text, effects), at most; less where the ceiling is low.
const MOST_SLACK: u64 = 2 << 20;

/// The least that is made free at once.
const AT_ONCE: u64 = 64 << 10;

/// The most that one command makes free; an entry more, as none is cut.
const SLICE: u64 = 1 << 20;

/// The most that a command may want: what is made free is rounded up, and entries that are gone keep a little for a while.
const MOST_WANTED: u64 = SLICE - 4 * AT_ONCE;

/// How many large queues are remembered.
const REMEMBERED: usize = 64;

/// The largest queues as the timer's last round saw them: bytes, where, which.
static LARGEST: MainThread<Vec<Large>> = MainThread::new(Vec::new());

/// A queue and its bytes when it was looked at.
type Large = (u64, KeyLocation, Queue);

/// The largest queues of a round.
#[derive(Default)]
pub struct QueueSizes(Vec<Large>);

impl QueueSizes {
    /// Looks at the queues of a node.
    pub fn count(&mut self, place: &KeyLocation, bytes: [u64; 5]) {
        for queue in [Queue::Min, Queue::Hour, Queue::Log] {
            let size = bytes[queue as usize];
            let least = self.0.last().map_or(0, |(least, ..)| *least);
            if size == 0 || self.0.len() == REMEMBERED && size <= least {
                continue;
            }
            self.0.truncate(REMEMBERED - 1);
            let at = self.0.partition_point(|(other, ..)| *other >= size);
            self.0.insert(at, (size, place.clone(), queue));
        }
    }

    /// The round is over: this holds until the next is.
    pub fn publish(self) {
        LARGEST.with(|largest| *largest = self.0);
    }
}

/// What must stay free below the ceiling: for what comes and goes, and for what metrics that are there may come to hold.
fn reserve(settings: &Settings) -> u64 {
    let slack = (settings.max_memory / 64).clamp(AT_ONCE, MOST_SLACK);
    slack + metrics() * METRIC_RESERVE + nodes() * NODE_RESERVE
}

/// Bytes that the command which runs holds for itself: its arguments, as they came and as they were read.
static TRANSIENT: AtomicU64 = AtomicU64::new(0);

/// Lasts as long as the command that runs. What it allocates before it changes anything is gone when it is over: other
/// nodes lose nothing for that, and nothing is refused because of it.
pub struct TransientMemory {
    before: i64,
}

impl TransientMemory {
    /// `before`: [`alloc::main_bytes`] when the command began.
    pub fn since(before: i64) -> TransientMemory {
        let transient = TransientMemory { before };
        transient.measure();
        transient
    }

    /// Nothing was changed yet; what has been allocated by now passes.
    pub fn measure(&self) {
        let bytes = u64::try_from(alloc::main_bytes() - self.before).unwrap_or(0);
        TRANSIENT.store(bytes, Relaxed);
    }
}

impl Drop for TransientMemory {
    fn drop(&mut self) {
        TRANSIENT.store(0, Relaxed);
    }
}

/// Bytes that count against the ceiling: what the module has allocated, and the names of its keys, which the server holds.
#[inline]
pub fn used() -> u64 {
    let transient = TRANSIENT.load(Relaxed);
    alloc::used_bytes().saturating_sub(transient) + key_registry::name_bytes()
}

/// The server's limit, and what stands against it.
fn of_server(requested: u64, settings: &Settings) -> Memory {
    Memory {
        limit: MemoryLimit::Server,
        most: settings.max_memory,
        used: used(),
        reserved: reserve(settings),
        requested,
    }
}

/// The same of a node, or of a new one, where there is a limit for nodes.
fn of_node(node: Option<&StoredNode>, requested: u64, settings: &Settings) -> Option<Memory> {
    (settings.max_node_memory != 0).then(|| Memory {
        limit: MemoryLimit::Node,
        most: settings.max_node_memory,
        used: node.map_or(0, |stored| u64::try_from(stored.bytes).unwrap_or(0)),
        reserved: NODE_RESERVE + node.map_or(0, StoredNode::metrics) * METRIC_RESERVE,
        requested,
    })
}

/// The limit that leaves less for a change of a node, or of a new one, that may cost `requested` bytes.
#[inline]
pub fn of(node: Option<&StoredNode>, requested: u64, settings: &Settings) -> Memory {
    let server = of_server(requested, settings);
    let left = |m: &Memory| m.most as i128 - i128::from(m.used) - i128::from(m.reserved);
    match of_node(node, requested, settings) {
        Some(node) if left(&node) < left(&server) => node,
        _ => server,
    }
}

/// Whether `cost` bytes fit below the ceiling as things are.
#[inline]
pub fn fits(cost: u64, settings: &Settings) -> bool {
    cost == 0 || of_server(cost, settings).excess() == 0
}

/// The same of a node, or of a new one, and its own limit.
#[inline]
pub fn fits_node(cost: u64, node: Option<&StoredNode>, settings: &Settings) -> bool {
    fits(cost, settings)
        && (cost == 0 || of_node(node, cost, settings).is_none_or(|m| m.excess() == 0))
}

/// Makes room for a change that may cost `cost` bytes; whether it fits then. No key may be open. `here`: the node that it
/// is for. Below its own limit the node makes room itself, below the ceiling the largest queues of all nodes do. Whether
/// there is enough to drop, and no more than one command may, is looked at first: where it would be in vain, nothing goes.
pub fn evict(
    ctx: Ctx<'_>,
    here: Option<&KeyLocation>,
    cost: u64,
    now: Now,
    settings: &Settings,
) -> bool {
    // What a primary sent, or a file holds, was decided elsewhere.
    if ctx.flags().is_repeated() {
        return true;
    }
    let db = ctx.db();
    let of_node = || here.map_or(0, |place| node_excess(ctx, place, cost, settings));
    let of_server = || of_server(cost, settings).excess();
    let own: Vec<&KeyLocation> = here.into_iter().collect();
    let known = LARGEST.with(|largest| largest.clone()).unwrap_or_default();
    let all: Vec<&KeyLocation> = known.iter().map(|large| &large.1).chain(here).collect();
    let can = is_enough(ctx, &own, of_node()) && is_enough(ctx, &all, of_server());
    if can {
        let drop = |limit| Dropping {
            limit,
            now,
            settings,
        };
        drop(MemoryLimit::Node).until(ctx, &own, SLICE, &of_node);
        drop(MemoryLimit::Server).until(ctx, &all, SLICE, &of_server);
    }
    let fits = can && of_node() == 0 && of_server() == 0;
    ctx.select_db(db);
    fits
}

/// Whether the queues of these nodes hold so many bytes, and one command may drop them.
fn is_enough(ctx: Ctx<'_>, places: &[&KeyLocation], bytes: u64) -> bool {
    bytes == 0
        || bytes <= MOST_WANTED && {
            let queues = queues_of(ctx, places);
            queues.iter().map(|(size, ..)| size).sum::<u64>() >= bytes
        }
}

/// Bytes by which a change that may cost `cost` would pass the node's own limit.
fn node_excess(ctx: Ctx<'_>, place: &KeyLocation, cost: u64, settings: &Settings) -> u64 {
    if settings.max_node_memory == 0 {
        return 0;
    }
    let excess =
        |stored: Option<&StoredNode>| of_node(stored, cost, settings).map_or(0, |m| m.excess());
    look(ctx, place, |stored| excess(Some(stored))).unwrap_or_else(|| excess(None))
}

/// After a change that had to go on though memory was tight: where it took what must stay free, the node's own oldest
/// entries go, the new ones among them if need be. Else the next samples of other metrics, which ask for nothing, would
/// pass the ceiling until the timer's next look.
pub fn enforce_limit(
    ctx: Ctx<'_>,
    name: &KeyName<'_>,
    node: &mut StoredNode,
    now: Now,
    settings: &Settings,
) {
    loop {
        let memory = of(Some(node), 0, settings);
        if memory.excess() == 0 || !drop_own(ctx, name, node, &memory, u64::MAX, now, settings) {
            return;
        }
    }
}

/// One slice of what a node holds above its own limit goes, as where the setting was lowered; whether there was any, and
/// something to drop.
pub fn trim_node(
    ctx: Ctx<'_>,
    name: &KeyName<'_>,
    node: &mut StoredNode,
    now: Now,
    settings: &Settings,
) -> bool {
    if node.node.is_unfinished() {
        return false;
    }
    let memory = of_node(Some(node), 0, settings).filter(|memory| memory.excess() > 0);
    memory.is_some_and(|memory| drop_own(ctx, name, node, &memory, SLICE / 4, now, settings))
}

/// Drops what is in excess, at most about `most` bytes, of the node's largest queue; false: there is nothing to drop.
fn drop_own(
    ctx: Ctx<'_>,
    name: &KeyName<'_>,
    node: &mut StoredNode,
    memory: &Memory,
    most: u64,
    now: Now,
    settings: &Settings,
) -> bool {
    let bytes = node.node.gauges().bytes;
    let Some(queue) = QUEUES.into_iter().max_by_key(|q| bytes[*q as usize]) else {
        return false;
    };
    let excess = memory.excess().min(most);
    let dropped = transaction::change(ctx, name, node, now, settings, None, |node, turn| {
        node.drop_oldest(queue, excess, memory.limit, turn)
    });
    dropped.unwrap_or(0) > 0
}

/// One slice of what is above the ceiling goes; whether there was any, and something to drop.
pub fn trim(ctx: Ctx<'_>, now: Now, settings: &Settings) -> bool {
    let excess = || of_server(0, settings).excess();
    if excess() == 0 {
        return false;
    }
    let known = LARGEST.with(|largest| largest.clone()).unwrap_or_default();
    let places: Vec<&KeyLocation> = known.iter().map(|large| &large.1).collect();
    let drop = Dropping {
        limit: MemoryLimit::Server,
        now,
        settings,
    };
    drop.until(ctx, &places, SLICE / 4, &excess) > 0
}

/// How entries are dropped.
struct Dropping<'a> {
    limit: MemoryLimit,
    now: Now,
    settings: &'a Settings,
}

impl Dropping<'_> {
    /// Drops the oldest entries of the largest queue of these nodes until nothing is in excess, at most about `most` bytes:
    /// how many bytes.
    fn until(
        &self,
        ctx: Ctx<'_>,
        places: &[&KeyLocation],
        most: u64,
        excess: &dyn Fn() -> u64,
    ) -> u64 {
        let mut queues = Vec::new();
        let mut dropped = 0;
        while dropped < most {
            let bytes = excess();
            if bytes == 0 {
                break;
            }
            if queues.is_empty() {
                queues = queues_of(ctx, places);
            }
            let largest = queues.iter_mut().max_by_key(|(size, ..)| *size);
            let Some((size, place, queue)) = largest.filter(|(size, ..)| *size > 0) else {
                break;
            };
            let bytes = bytes.max(AT_ONCE).min(most - dropped);
            let freed = self.oldest(ctx, place, *queue, bytes);
            // What is not there any more, or cannot be changed, is not looked at again.
            *size = if freed == 0 {
                0
            } else {
                size.saturating_sub(freed)
            };
            dropped += freed;
        }
        dropped
    }

    /// Drops the oldest entries of a queue: how many bytes they counted for.
    fn oldest(&self, ctx: Ctx<'_>, place: &KeyLocation, queue: Queue, bytes: u64) -> u64 {
        if !ctx.select_db(place.0) {
            return 0;
        }
        let text = ctx.text(&place.1);
        let name = text.name();
        let Some(mut key) = ctx.open(&name, Mode::WriteUntracked) else {
            return 0;
        };
        let Content::Node(stored) = key.content() else {
            return 0;
        };
        let before = stored.node.gauges().bytes[queue as usize];
        transaction::change(
            ctx,
            &name,
            stored,
            self.now,
            self.settings,
            None,
            |node, turn| node.drop_oldest(queue, bytes, self.limit, turn),
        );
        before.saturating_sub(stored.node.gauges().bytes[queue as usize])
    }
}

/// The queues that make room.
const QUEUES: [Queue; 3] = [Queue::Min, Queue::Hour, Queue::Log];

/// The queues of nodes that this server decides for, each once, with their bytes. One that is being put together by
/// AGG.APPLY is left alone: its last frame counts what came before.
fn queues_of<'p>(ctx: Ctx<'_>, places: &[&'p KeyLocation]) -> Vec<(u64, &'p KeyLocation, Queue)> {
    let places: BTreeSet<&KeyLocation> = places.iter().copied().collect();
    let mut queues = Vec::new();
    for place in places {
        let bytes = look(ctx, place, |stored| {
            let is_ours = !stored.is_importing() && !stored.node.is_unfinished();
            is_ours.then(|| stored.node.gauges().bytes)
        });
        if let Some(bytes) = bytes.flatten() {
            queues.extend(QUEUES.map(|queue| (bytes[queue as usize], place, queue)));
        }
    }
    queues
}

/// Looks at the node in this place, if there is one.
fn look<R>(ctx: Ctx<'_>, place: &KeyLocation, f: impl FnOnce(&StoredNode) -> R) -> Option<R> {
    if !ctx.select_db(place.0) {
        return None;
    }
    let text = ctx.text(&place.1);
    match ctx.open(&text.name(), Mode::ReadUntracked)?.content() {
        Content::Node(stored) => Some(f(stored)),
        _ => None,
    }
}
