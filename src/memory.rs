//! The ceiling: `agg.max-memory` over all that the module holds in this server.
//!
//! What is held is counted exactly (`ffi::alloc`). A write that may not fit first makes room: the oldest entries of the
//! largest of all MIN, HOUR and LOG queues of the server go. Where that is not enough, the turn is tight: the core counts
//! what it holds and refuses what is new.
//!
//! Which queues are large is known from the timer's last round over the nodes, so making room takes no longer with many
//! nodes. Room is made in slices: what is far above the ceiling (it was lowered, or a file was loaded) is for the timer
//! to trim, and until it has, writes that need memory are refused.

use crate::ffi::alloc::held;
use crate::ffi::api::{Content, Ctx, Mode, Name};
use crate::ffi::main_thread::MainThread;
use crate::held::{Held, metrics, nodes};
use crate::registry::Place;
use crate::work;
use aggregator_core::node::{METRIC_RESERVE, NODE_RESERVE, Queue};
use aggregator_core::{Now, Settings};

/// Room for what commands take and give back (a reply's text, effects), at most; less where the ceiling is low.
const MOST_SLACK: u64 = 2 << 20;

/// The least that is made free at once.
const AT_ONCE: u64 = 64 << 10;

/// The most that one command makes free, or one slice of the timer.
const SLICE: u64 = 1 << 20;

/// How many large queues are remembered.
const REMEMBERED: usize = 64;

/// The largest queues as the timer's last round saw them: bytes, where, which.
static LARGEST: MainThread<Vec<Large>> = MainThread::new(Vec::new());

/// A queue and its bytes when it was looked at.
type Large = (u64, Place, Queue);

/// The largest queues of a round.
#[derive(Default)]
pub struct Census(Vec<Large>);

impl Census {
    /// Looks at the queues of a node.
    pub fn count(&mut self, place: &Place, bytes: [u64; 5]) {
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

/// Whether `cost` bytes fit below the ceiling as things are.
#[inline]
pub fn fits(cost: u64, settings: &Settings) -> bool {
    cost == 0
        || held()
            .saturating_add(cost)
            .saturating_add(reserve(settings))
            <= settings.max_memory
}

/// Bytes that may still be allocated below the ceiling.
#[inline]
pub fn room(settings: &Settings) -> u64 {
    settings.max_memory.saturating_sub(held())
}

/// Drops oldest entries until `cost` bytes fit; whether they do. No key may be open. `here`: the node that it is for,
/// whose queues may have grown since the last round.
pub fn make_room(
    ctx: Ctx<'_>,
    here: Option<&Place>,
    cost: u64,
    now: Now,
    settings: &Settings,
) -> bool {
    // What a primary sent, or a file holds, was decided elsewhere.
    if ctx.flags().is_repeated() {
        return true;
    }
    let least = settings.max_memory.saturating_sub(reserve(settings));
    if cost > least || held() > settings.max_memory.saturating_add(SLICE) {
        return fits(cost, settings);
    }
    let db = ctx.db();
    while !fits(cost, settings) {
        let wanted = held().saturating_add(cost).saturating_sub(least);
        if !drop_some(ctx, here, wanted.clamp(AT_ONCE, SLICE), now, settings) {
            break;
        }
    }
    ctx.select_db(db);
    fits(cost, settings)
}

/// After a change that had to go on though memory was tight: where it took what must stay free, the node's own oldest
/// entries go, the new ones among them if need be. Else the next samples of other metrics, which ask for nothing, would
/// pass the ceiling until the timer's next look.
pub fn settle(ctx: Ctx<'_>, name: &Name<'_>, node: &mut Held, now: Now, settings: &Settings) {
    let least = settings.max_memory.saturating_sub(reserve(settings));
    while held() > least {
        let bytes = node.node.gauges().bytes;
        let queues = [Queue::Min, Queue::Hour, Queue::Log];
        let Some(queue) = queues.into_iter().max_by_key(|q| bytes[*q as usize]) else {
            return;
        };
        let excess = (held() - least).max(1);
        let dropped = work::change(ctx, name, node, now, settings, true, |node, turn| {
            node.drop_oldest(queue, excess, turn)
        });
        if dropped.unwrap_or(0) == 0 {
            return;
        }
    }
}

/// One slice of what is above the ceiling goes; whether there was any, and something to drop.
pub fn trim(ctx: Ctx<'_>, now: Now, settings: &Settings) -> bool {
    let least = settings.max_memory.saturating_sub(reserve(settings));
    held() > least
        && drop_some(
            ctx,
            None,
            (held() - least).clamp(AT_ONCE, SLICE / 4),
            now,
            settings,
        )
}

/// Drops about `bytes` of the largest queue; false: there is none.
fn drop_some(
    ctx: Ctx<'_>,
    here: Option<&Place>,
    bytes: u64,
    now: Now,
    settings: &Settings,
) -> bool {
    let mut largest: Option<Large> = None;
    let mut look = |place: &Place| {
        let sizes = queue_bytes(ctx, place).unwrap_or_default();
        for queue in [Queue::Min, Queue::Hour, Queue::Log] {
            let size = sizes[queue as usize];
            if size > largest.as_ref().map_or(0, |(most, ..)| *most) {
                largest = Some((size, place.clone(), queue));
            }
        }
    };
    let known = LARGEST.with(|largest| largest.clone()).unwrap_or_default();
    known.iter().for_each(|(_, place, _)| look(place));
    here.into_iter().for_each(&mut look);
    let Some((_, place, queue)) = largest else {
        return false;
    };
    drop_oldest(ctx, &place, queue, bytes, now, settings)
}

fn queue_bytes(ctx: Ctx<'_>, place: &Place) -> Option<[u64; 5]> {
    if !ctx.select_db(place.0) {
        return None;
    }
    let text = ctx.text(&place.1);
    match ctx.open(&text.name(), Mode::Look)?.content() {
        Content::Node(held) if !held.is_anothers() => Some(held.node.gauges().bytes),
        _ => None,
    }
}

fn drop_oldest(
    ctx: Ctx<'_>,
    place: &Place,
    queue: Queue,
    bytes: u64,
    now: Now,
    settings: &Settings,
) -> bool {
    if !ctx.select_db(place.0) {
        return false;
    }
    let text = ctx.text(&place.1);
    let name = text.name();
    let Some(mut key) = ctx.open(&name, Mode::Visit) else {
        return false;
    };
    let Content::Node(held) = key.content() else {
        return false;
    };
    work::change(ctx, &name, held, now, settings, false, |node, turn| {
        node.drop_oldest(queue, bytes, turn)
    })
    .is_some_and(|dropped| dropped > 0)
}
