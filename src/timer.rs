//! The timer: windows close, leases and lifetimes end, errors are queued again, memory above the ceiling is trimmed.
//!
//! A tick visits nodes in turn for about half a millisecond and goes on where it stopped at the next, which comes soon
//! while there is work and after 90 ms else. It changes nothing on a replica, while loading, or while clients are
//! paused: replicating then would end the server. Then it looks at the nodes alone, for the age of the oldest records.

use crate::ffi::api::{Content, Ctx, Level, Mode, ScanCursor, scan};
use crate::ffi::main_thread::MainThread;
use crate::key_registry::{self, KeyLocation};
use crate::memory::QueueSizes;
use crate::{blocking, config, info, memory, replication, stored_node, transaction};
use aggregator_core::node::Queue;
use aggregator_core::{Node, Now, Settings};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Ticks come at least every 100 ms, as promised, though the server is some milliseconds late at times: while there is
/// nothing to do, and while there is, milliseconds.
const IDLE_MS: u64 = 90;
const BUSY_MS: u64 = 5;

/// The least from the beginning of a round to the next, unless it left something to do: every idle tick begins one. And
/// from one round that looks at lifetimes to the next, unless it left some: while a million windows closed, each tick
/// looked at thousands of metrics for theirs, which took as long as the closing.
const ROUND_MS: u64 = 50;

/// How long a tick works.
const BUDGET: Duration = Duration::from_micros(500);

/// Things of a node between two looks at the clock, and where memory is tight.
const AT_ONCE: usize = 64;
const TIGHT: usize = 16;

/// Keys that a scan for nodes looks at in a tick: about a third of a millisecond.
const SCAN_AT_ONCE: usize = 1000;

/// The shortest time between two scans because a round has missed nodes, milliseconds.
const SCAN_EVERY_MS: u64 = 1_000;

/// Names may have been missed: scan soon.
static SCAN_REQUESTED: AtomicBool = AtomicBool::new(false);

/// Where the round and the scan stopped.
#[derive(Default)]
struct Progress {
    /// The node that was visited last in a round that is not finished.
    last: Option<KeyLocation>,
    /// Running time at which the next round begins.
    next_round: u64,
    /// A node of this round has more to do: the next round begins at once.
    more: bool,
    /// This round looks at lifetimes; a node of it has more of them; running time at which the next does.
    lifetimes: bool,
    soon: bool,
    next_lifetimes: u64,
    oldest: [u64; 5],
    /// The newest id of this round, and of the round before.
    newest: u64,
    newest_seen: u64,
    /// This tick may change nodes, and not only look at them.
    may_change: bool,
    /// Nodes that this round found.
    found: u64,
    queue_sizes: QueueSizes,
    scan: Option<(i32, ScanCursor)>,
    next_scan: u64,
}

static PROGRESS: MainThread<Option<Progress>> = MainThread::new(None);

/// All databases are to be scanned soon.
pub fn request_scan() {
    SCAN_REQUESTED.store(true, Relaxed);
}

/// One tick; the milliseconds to the next.
pub fn tick(ctx: Ctx<'_>) -> u64 {
    let flags = ctx.flags();
    let decides = flags.is_active_primary();
    replication::set_active_primary(decides);
    if flags.is_loading() {
        return IDLE_MS;
    }
    let may_change = decides && !ctx.replication_paused();
    let Some(mut progress) = PROGRESS.with(|p| p.take().unwrap_or_default()) else {
        return IDLE_MS;
    };
    // Those who could not be served when they were to be: clients were paused, or something was loaded.
    blocking::serve(ctx);
    let started = Instant::now();
    let (settings, now) = (config::settings(), transaction::now());
    info::look_at_clocks(transaction::last_id().max(progress.newest_seen), now);
    if progress.may_change != may_change {
        progress.may_change = may_change;
        // A round is of one kind.
        (progress.last, progress.next_round) = (None, 0);
    }
    let mut busy = may_change && memory::trim(ctx, now, &settings);
    if progress.last.is_some() || now.mono_ms >= progress.next_round {
        busy |= visit(ctx, &mut progress, started, now, &settings);
    }
    if SCAN_REQUESTED.load(Relaxed) {
        busy |= scan_some(ctx, &mut progress);
    }
    PROGRESS.with(|p| *p = Some(progress));
    let took = started.elapsed();
    if took > Duration::from_millis(5) {
        ctx.log(
            Level::Notice,
            &format!("a tick of the timer took {} ms", took.as_millis()),
        );
    }
    // To look at the oldest records is not urgent.
    if busy && may_change { BUSY_MS } else { IDLE_MS }
}

/// Visits nodes until the budget is used up or the round is over; whether there is more to do at once.
fn visit(
    ctx: Ctx<'_>,
    progress: &mut Progress,
    started: Instant,
    now: Now,
    settings: &Settings,
) -> bool {
    let mut worked = false;
    loop {
        if progress.last.is_none() {
            begin_round(progress, now);
        }
        let Some(place) = key_registry::next(progress.last.as_ref()) else {
            end_round(progress, now);
            // Where the tick before stopped behind the last node, this one need not wait for another to go on.
            if progress.more && !worked {
                worked = true;
                continue;
            }
            return progress.more;
        };
        worked = true;
        let visited = match progress.may_change {
            true => sweep(ctx, &place, progress, started, now, settings),
            false => look(ctx, &place, progress),
        };
        match visited {
            None => key_registry::remove(&place),
            Some(has_more) => {
                progress.more |= has_more;
                progress.found += 1;
            }
        }
        progress.last = Some(place);
        if started.elapsed() >= BUDGET {
            return true;
        }
    }
}

fn begin_round(progress: &mut Progress, now: Now) {
    progress.next_round = now.mono_ms + ROUND_MS;
    progress.more = false;
    let soon = std::mem::take(&mut progress.soon);
    progress.lifetimes = soon || now.mono_ms >= progress.next_lifetimes;
    if progress.lifetimes {
        progress.next_lifetimes = now.mono_ms + ROUND_MS;
    }
    progress.oldest = [0; 5];
    progress.newest = 0;
    progress.found = 0;
    progress.queue_sizes = QueueSizes::default();
}

fn end_round(progress: &mut Progress, now: Now) {
    progress.last = None;
    info::set_oldest(progress.oldest);
    progress.newest_seen = progress.newest;
    if progress.may_change {
        std::mem::take(&mut progress.queue_sizes).publish();
    }
    // A renamed or moved node, or one that waits to be freed.
    if progress.found < stored_node::totals().0 && now.mono_ms >= progress.next_scan {
        progress.next_scan = now.mono_ms + SCAN_EVERY_MS;
        request_scan();
    }
    if progress.more {
        progress.next_round = 0;
    }
}

/// Sweeps a node; whether it has more to do. `None`: there is no node here.
fn sweep(
    ctx: Ctx<'_>,
    place: &KeyLocation,
    progress: &mut Progress,
    started: Instant,
    now: Now,
    settings: &Settings,
) -> Option<bool> {
    if !ctx.select_db(place.0) {
        return None;
    }
    let text = ctx.text(&place.1);
    let name = text.name();
    let mut key = ctx.open(&name, Mode::WriteUntracked)?;
    let (mut more, mut soon, mut ready, mut first) = (true, false, false, progress.lifetimes);
    while std::mem::take(&mut more) {
        let Content::Node(stored) = key.content() else {
            return None;
        };
        // What is being imported is its old owner's to sweep.
        if stored.is_importing() {
            break;
        }
        let cost = stored.node.sweep_bound(AT_ONCE);
        let mut tight = None;
        if !memory::fits_node(cost, Some(stored), settings) {
            // Making room opens keys, perhaps this one.
            drop(key);
            tight = (!memory::evict(ctx, Some(place), cost, now, settings)).then_some(cost);
            ctx.select_db(place.0);
            key = ctx.open(&name, Mode::WriteUntracked)?;
        }
        let Content::Node(stored) = key.content() else {
            return None;
        };
        let budget = if tight.is_some() { TIGHT } else { AT_ONCE };
        let swept = transaction::change(ctx, &name, stored, now, settings, tight, |node, turn| {
            node.sweep(budget, std::mem::take(&mut first), turn)
        })?;
        if tight.is_some() {
            memory::enforce_limit(ctx, &name, stored, now, settings);
        }
        soon |= memory::trim_node(ctx, &name, stored, now, settings);
        more = swept.more;
        soon |= swept.soon;
        ready |= swept.ready;
        if started.elapsed() >= BUDGET {
            break;
        }
    }
    let Content::Node(stored) = key.content() else {
        return None;
    };
    progress
        .queue_sizes
        .count(place, stored.node.gauges().bytes);
    note_ids(&stored.node, progress);
    if ready {
        blocking::ready(ctx, &name, &mut stored.node, now);
    }
    progress.soon |= soon;
    Some(more || soon)
}

/// Looks at a node without changing it; there is nothing more to do. `None`: there is no node here.
fn look(ctx: Ctx<'_>, place: &KeyLocation, progress: &mut Progress) -> Option<bool> {
    if !ctx.select_db(place.0) {
        return None;
    }
    let text = ctx.text(&place.1);
    let mut key = ctx.open(&text.name(), Mode::ReadUntracked)?;
    let Content::Node(stored) = key.content() else {
        return None;
    };
    note_ids(&stored.node, progress);
    Some(false)
}

/// Which ids of a node are the oldest and the newest.
fn note_ids(node: &Node, progress: &mut Progress) {
    for queue in Queue::ALL {
        let oldest = &mut progress.oldest[queue as usize];
        match node.oldest(queue) {
            Some(id) if *oldest == 0 || id < *oldest => *oldest = id,
            _ => {}
        }
    }
    progress.newest = progress.newest.max(node.last_id());
}

/// Goes on with the scan for nodes that nobody told of; whether it is not at its end.
fn scan_some(ctx: Ctx<'_>, progress: &mut Progress) -> bool {
    let (db, cursor) = progress
        .scan
        .take()
        .unwrap_or_else(|| (0, ScanCursor::new()));
    if !ctx.select_db(db) {
        // Behind the last database.
        SCAN_REQUESTED.store(false, Relaxed);
        return false;
    }
    let ended = scan(ctx, &cursor, SCAN_AT_ONCE, &mut |name| {
        key_registry::insert(db, name);
    });
    progress.scan = Some(if ended {
        (db + 1, ScanCursor::new())
    } else {
        (db, cursor)
    });
    true
}
