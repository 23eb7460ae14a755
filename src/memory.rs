//! The ceiling: `agg.max-memory` over all that the module holds in this server.
//!
//! What is held is counted exactly (`ffi::alloc`). A write that may not fit first makes room: the oldest entries of the
//! largest of all MIN, HOUR and LOG queues of the server go. Where that is not enough, the core is told that memory is
//! full: it counts what it holds and refuses what is new.

use crate::ffi::alloc::held;
use crate::ffi::api::{Content, Ctx, Mode};
use crate::registry::{self, Place};
use crate::work;
use aggregator_core::node::Queue;
use aggregator_core::{Now, Settings};

/// Room for what a command allocates and frees again: a reply's text, the effects.
const SLACK: u64 = 64 << 10;

/// The least that is made free at once.
const AT_ONCE: u64 = 64 << 10;

/// The most rounds of one command.
const ROUNDS: usize = 64;

/// Whether the ceiling leaves no room for `cost` bytes, after room was made.
#[inline]
pub fn is_full(ctx: Ctx<'_>, cost: u64, now: Now, settings: &Settings) -> bool {
    if cost == 0 || held() + cost + SLACK <= settings.max_memory {
        return false;
    }
    // What a primary sent, or a file holds, was decided elsewhere.
    if ctx.flags().is_repeated() {
        return false;
    }
    !make_room(ctx, cost, now, settings, ROUNDS)
}

/// Drops oldest entries until `cost` bytes fit, in at most `rounds` slices; whether they do.
pub fn make_room(ctx: Ctx<'_>, cost: u64, now: Now, settings: &Settings, rounds: usize) -> bool {
    let db = ctx.db();
    let mut fits = false;
    for _ in 0..rounds {
        let wanted = (held() + cost + SLACK).saturating_sub(settings.max_memory);
        if wanted == 0 {
            fits = true;
            break;
        }
        let Some((place, queue)) = largest_queue(ctx) else {
            break;
        };
        drop_oldest(ctx, &place, queue, wanted.max(AT_ONCE), now, settings);
    }
    ctx.select_db(db);
    fits
}

fn largest_queue(ctx: Ctx<'_>) -> Option<(Place, Queue)> {
    let mut largest: Option<(u64, Place, Queue)> = None;
    let mut place = registry::next(None);
    while let Some(here) = place {
        if let Some(bytes) = queue_bytes(ctx, &here) {
            for queue in [Queue::Min, Queue::Hour, Queue::Log] {
                let size = bytes[queue as usize];
                if size > largest.as_ref().map_or(0, |(most, ..)| *most) {
                    largest = Some((size, here.clone(), queue));
                }
            }
        }
        place = registry::next(Some(&here));
    }
    largest.map(|(_, place, queue)| (place, queue))
}

fn queue_bytes(ctx: Ctx<'_>, place: &Place) -> Option<[u64; 5]> {
    if !ctx.select_db(place.0) {
        return None;
    }
    let text = ctx.text(&place.1);
    match ctx.open(&text.name(), Mode::Visit)?.content() {
        Content::Node(held) => Some(held.node.gauges().bytes),
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
) {
    if !ctx.select_db(place.0) {
        return;
    }
    let text = ctx.text(&place.1);
    let name = text.name();
    let Some(mut key) = ctx.open(&name, Mode::Visit) else {
        return;
    };
    if let Content::Node(held) = key.content() {
        work::change(ctx, &name, held, now, settings, |node, turn| {
            node.drop_oldest(queue, bytes, turn)
        });
    }
}
