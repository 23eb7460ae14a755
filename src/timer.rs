//! The timer: closes windows, ends leases and lifetimes, queues errors again, trims memory above the limit.
//!
//! A tick visits nodes in turn for about half a millisecond and continues where the previous one stopped. The next tick
//! comes after 5 ms while there is work, after 90 ms otherwise. On a replica, while the server loads, and while clients
//! are paused, a tick changes nothing: what it decides could not be replicated, and replicating during a pause crashes
//! the server. Then it only reads the nodes, for the age of their oldest records.

use crate::ffi::{Content, Ctx, Level, MainThread, Mode, OwnedString, ScanCursor, scan};
use crate::key_registry::{self, KeyLocation};
use crate::memory::accounting;
use crate::memory::eviction::{self, QueueSizes};
use crate::stored_node::StoredNode;
use crate::transaction::{self, Env};
use crate::{blocking, info, replication, totals};
use aggregator_core::Queue;
use aggregator_core::{Node, Now};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Milliseconds to the next tick, without and with work left. Ticks come at least every 100 ms, as promised, though the
/// server is some milliseconds late at times.
const IDLE_MS: u64 = 90;
const BUSY_MS: u64 = 5;

/// The shortest time from the start of a round to the start of the next, unless a round left work: every idle tick
/// starts one. Also the shortest time from one round that checks lifetimes to the next, unless a round left some: while
/// a million windows closed, each tick checked the lifetimes of thousands of metrics, which took as long as the
/// closing.
const ROUND_MS: u64 = 50;

/// The time that a tick works.
const BUDGET: Duration = Duration::from_micros(500);

/// A tick that takes longer is logged.
const SLOW_TICK: Duration = Duration::from_millis(5);

/// The number of items of a node that are swept between two readings of the clock, and the number under memory
/// pressure.
const STEP: usize = 64;
const STEP_UNDER_PRESSURE: usize = 16;

/// The number of keys that a tick scans for nodes: about a third of a millisecond.
const SCAN_STEP: usize = 1000;

/// The shortest time between two scans that were started because a round missed nodes.
const SCAN_INTERVAL_MS: u64 = 1_000;

/// Keys may be missing from the registry: a scan is due.
static IS_SCAN_DUE: AtomicBool = AtomicBool::new(false);

/// The positions at which the round and the scan stopped.
#[derive(Default)]
struct Progress {
    /// True if this round may change nodes. If not, it only reads them.
    may_change: bool,
    /// The last node that an unfinished round has visited.
    last: Option<KeyLocation>,
    /// Uptime at which the next round may start.
    next_round_ms: u64,
    /// A node of this round has work left: the next round starts at once.
    has_more: bool,
    /// This round checks lifetimes.
    checks_lifetimes: bool,
    /// A node of this round has lifetimes left to check, or memory to trim: the next round checks lifetimes, too.
    has_more_lifetimes: bool,
    /// Uptime at which the next round checks lifetimes.
    next_lifetimes_ms: u64,
    /// The oldest id of each queue in this round; 0: none.
    oldest: [u64; 5],
    /// The newest id of this round, and of the round before.
    newest: u64,
    newest_before: u64,
    /// The number of nodes that this round found.
    found: u64,
    queue_sizes: QueueSizes,
    /// The database and position of an unfinished scan.
    scan: Option<(i32, ScanCursor)>,
    /// Uptime at which a round that missed nodes may start the next scan.
    next_scan_ms: u64,
}

static PROGRESS: MainThread<Option<Progress>> = MainThread::new(None);

/// Lets the next ticks scan all databases for nodes.
pub fn request_scan() {
    IS_SCAN_DUE.store(true, Relaxed);
}

/// Runs one tick. Returns the milliseconds to the next.
pub fn tick(ctx: Ctx<'_>) -> u64 {
    let flags = ctx.flags();
    let is_active_primary = flags.is_active_primary();
    replication::set_active_primary(is_active_primary);
    if flags.is_loading() {
        return IDLE_MS;
    }
    let may_change = is_active_primary && !ctx.replication_paused();
    let Some(mut progress) = PROGRESS.with(|p| p.take().unwrap_or_default()) else {
        return IDLE_MS;
    };
    // Clients that could not be served in time, because clients were paused or the server was loading.
    blocking::serve(ctx);
    let started = Instant::now();
    let env = transaction::current_env();
    let newest = transaction::last_id().max(progress.newest_before);
    info::observe_clocks(newest, env.now);
    if progress.may_change != may_change {
        // A round either changes nodes or reads them.
        progress.may_change = may_change;
        (progress.last, progress.next_round_ms) = (None, 0);
    }
    let mut is_busy = may_change && eviction::trim(ctx, &env);
    if progress.last.is_some() || env.now.mono_ms >= progress.next_round_ms {
        is_busy |= visit_nodes(ctx, &mut progress, started, &env);
    }
    if IS_SCAN_DUE.load(Relaxed) {
        is_busy |= scan_step(ctx, &mut progress);
    }
    PROGRESS.with(|p| *p = Some(progress));
    let took = started.elapsed();
    if took > SLOW_TICK {
        let text = format!("a tick of the timer took {} ms", took.as_millis());
        ctx.log(Level::Notice, &text);
    }
    // Reading the oldest records is not urgent.
    if is_busy && may_change {
        BUSY_MS
    } else {
        IDLE_MS
    }
}

/// Visits nodes until the budget is used up or the round ends. Returns whether there is more to do at once.
fn visit_nodes(ctx: Ctx<'_>, progress: &mut Progress, started: Instant, env: &Env) -> bool {
    let mut has_visited = false;
    loop {
        if progress.last.is_none() {
            start_round(progress, env.now);
        }
        let Some(location) = key_registry::next(progress.last.as_ref()) else {
            end_round(progress, env.now);
            // The previous tick stopped after the last node, so this one need not wait for another to continue.
            if progress.has_more && !has_visited {
                has_visited = true;
                continue;
            }
            return progress.has_more;
        };
        has_visited = true;
        let visited = if progress.may_change {
            sweep(ctx, &location, progress, started, env)
        } else {
            read(ctx, &location, progress)
        };
        match visited {
            None => key_registry::remove(&location),
            Some(has_more) => {
                progress.has_more |= has_more;
                progress.found += 1;
            }
        }
        progress.last = Some(location);
        if started.elapsed() >= BUDGET {
            return true;
        }
    }
}

fn start_round(progress: &mut Progress, now: Now) {
    progress.next_round_ms = now.mono_ms + ROUND_MS;
    progress.has_more = false;
    let has_more_lifetimes = std::mem::take(&mut progress.has_more_lifetimes);
    progress.checks_lifetimes = has_more_lifetimes || now.mono_ms >= progress.next_lifetimes_ms;
    if progress.checks_lifetimes {
        progress.next_lifetimes_ms = now.mono_ms + ROUND_MS;
    }
    progress.oldest = [0; 5];
    progress.newest = 0;
    progress.found = 0;
    progress.queue_sizes = QueueSizes::default();
}

fn end_round(progress: &mut Progress, now: Now) {
    progress.last = None;
    info::set_oldest(progress.oldest);
    progress.newest_before = progress.newest;
    if progress.may_change {
        std::mem::take(&mut progress.queue_sizes).publish();
    }
    // A node was renamed or moved, or waits to be freed.
    if progress.found < totals::nodes() && now.mono_ms >= progress.next_scan_ms {
        progress.next_scan_ms = now.mono_ms + SCAN_INTERVAL_MS;
        request_scan();
    }
    if progress.has_more {
        progress.next_round_ms = 0;
    }
}

/// Sweeps a node. Returns whether it has more to do, or `None` if there is no node at the location.
fn sweep(
    ctx: Ctx<'_>,
    location: &KeyLocation,
    progress: &mut Progress,
    started: Instant,
    env: &Env,
) -> Option<bool> {
    if !ctx.select_db(location.0) {
        return None;
    }
    let string = OwnedString::new(&location.1);
    let name = string.name();
    let mut key = ctx.open(&name, Mode::WriteUntracked)?;
    let mut checks_lifetimes = progress.checks_lifetimes;
    let (mut has_more, mut has_more_lifetimes, mut is_ready) = (true, false, false);
    while std::mem::take(&mut has_more) {
        let Content::Value(stored) = key.content::<StoredNode>() else {
            return None;
        };
        if stored.is_decided_elsewhere(env.now.mono_ms) {
            break;
        }
        let mut cost = stored.node.sweep_bound(STEP);
        let fits = |cost| accounting::fits_node(cost, stored.usage(), &env.settings);
        let mut has_room = fits(cost);
        if !has_room {
            let (node, settings) = (&stored.node, &env.settings);
            cost = node.sweep_cost(STEP, checks_lifetimes, env.now, name.bytes(), settings);
            has_room = fits(cost);
        }
        let mut pressure = None;
        if !has_room {
            // Eviction opens keys, perhaps this one.
            drop(key);
            let fits = eviction::evict(ctx, Some(location), cost, env);
            pressure = (!fits).then_some(cost);
            ctx.select_db(location.0);
            key = ctx.open(&name, Mode::WriteUntracked)?;
        }
        let Content::Value(stored) = key.content::<StoredNode>() else {
            return None;
        };
        let step = match pressure {
            Some(_) => STEP_UNDER_PRESSURE,
            None => STEP,
        };
        let swept = transaction::change(ctx, &name, stored, env, pressure, |node, exec| {
            node.sweep(step, std::mem::take(&mut checks_lifetimes), exec)
        })?;
        if pressure.is_some() {
            eviction::enforce_limit(ctx, &name, stored, env);
        }
        has_more_lifetimes |= eviction::trim_node(ctx, &name, stored, env);
        has_more = swept.more;
        has_more_lifetimes |= swept.soon;
        is_ready |= swept.ready;
        if started.elapsed() >= BUDGET {
            break;
        }
    }
    let Content::Value(stored) = key.content::<StoredNode>() else {
        return None;
    };
    progress
        .queue_sizes
        .add(location, stored.node.evictable_bytes());
    note_ids(&stored.node, progress);
    if is_ready {
        blocking::node_changed(ctx, &name, &mut stored.node, env.now);
    }
    progress.has_more_lifetimes |= has_more_lifetimes;
    Some(has_more || has_more_lifetimes)
}

/// Reads a node, which leaves nothing more to do. Returns `None` if there is no node at the location.
fn read(ctx: Ctx<'_>, location: &KeyLocation, progress: &mut Progress) -> Option<bool> {
    if !ctx.select_db(location.0) {
        return None;
    }
    let string = OwnedString::new(&location.1);
    let mut key = ctx.open(&string.name(), Mode::ReadUntracked)?;
    let Content::Value(stored) = key.content::<StoredNode>() else {
        return None;
    };
    note_ids(&stored.node, progress);
    Some(false)
}

/// Notes the oldest and newest ids of a node.
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

/// Continues the scan for nodes that the registry misses. Returns whether it has more to do.
fn scan_step(ctx: Ctx<'_>, progress: &mut Progress) -> bool {
    let (db, cursor) = progress
        .scan
        .take()
        .unwrap_or_else(|| (0, ScanCursor::new()));
    if !ctx.select_db(db) {
        // The last database was scanned.
        IS_SCAN_DUE.store(false, Relaxed);
        return false;
    }
    let is_at_end = scan::<StoredNode>(ctx, &cursor, SCAN_STEP, &mut |name| {
        key_registry::insert(db, name);
    });
    progress.scan = Some(if is_at_end {
        (db + 1, ScanCursor::new())
    } else {
        (db, cursor)
    });
    true
}
