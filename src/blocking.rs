//! Clients that wait in AGG.FETCH with BLOCK, and the order in which they get records that become available.
//!
//! Each client has an id, in the order of arrival, and is listed for every queue that it named. A report that queues
//! a record for which nobody waits costs a lookup in these lists and wakes nobody. Otherwise the lists are served once
//! the command (or the script, or the transaction) is over: the client that has waited longest for an available record
//! gets it, as long as there are such records.

use crate::ffi::blocking::{BlockedClient, BlockingHooks, block as block_client, unblock};
use crate::ffi::{Call, Content, Ctx, KeyName, MainThread, Mode, SharedString, User};
use crate::reply::Answer;
use crate::stored_node::StoredNode;
use crate::transaction;
use aggregator_core::Queue;
use aggregator_core::{Node, Now};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// The time for which clients are served before other commands run.
const BUDGET: Duration = Duration::from_millis(1);

const NO_PERMISSION: &str =
    "NOPERM the user has lost the permission to run AGG.FETCH on this key while it waited";

const CANNOT_BLOCK: &str =
    "ERR AGG.FETCH: the server cannot block this client: retry without BLOCK";

/// Runs the command of a waiting client on a node that has a record for it. Returns `None` if it cannot run now.
pub type RunFn = fn(Ctx<'_>, &KeyName<'_>, &[&[u8]], &mut StoredNode) -> Option<Answer>;

/// A client that waits, or that has its answer and is about to be unblocked.
struct Waiter {
    command: WaitingCommand,
    /// The database of the node.
    db: i32,
    key: SharedString,
    /// The queues that the client waits for.
    queues: Vec<Queue>,
    /// The reply, once the client was served.
    answer: Option<Answer>,
}

/// The command of a client that waits.
#[derive(Clone)]
struct WaitingCommand {
    client: BlockedClient,
    /// The client's id, as CLIENT ID shows it.
    client_id: u64,
    /// The client's user, if the ACL knows it.
    user: Option<User>,
    /// The command's name and arguments.
    args: Vec<SharedString>,
    run: RunFn,
}

/// The clients that wait for each queue of a node.
#[derive(Default)]
struct WaitLists([BTreeSet<u64>; 5]);

/// All clients that wait.
#[derive(Default)]
struct Waiters {
    last_id: u64,
    by_id: BTreeMap<u64, Waiter>,
    /// By database and key.
    lists: BTreeMap<i32, BTreeMap<SharedString, WaitLists>>,
    /// Keys that may have a record for a client.
    ready: BTreeSet<(i32, SharedString)>,
}

static WAITERS: MainThread<Option<Waiters>> = MainThread::new(None);

/// True while [`serve`] is scheduled.
static IS_SERVE_SCHEDULED: AtomicBool = AtomicBool::new(false);

fn with<R>(f: impl FnOnce(&mut Waiters) -> R) -> Option<R> {
    WAITERS.with(|waiters| f(waiters.get_or_insert_default()))
}

/// Blocks the client of a command until one of the queues has an available record, or for `timeout_ms` milliseconds (0:
/// without a limit). Then `run` runs the command.
///
/// A waiting client costs what the server keeps for any client and a few words here, and `maxclients` bounds their
/// number. So a client may wait however little memory is left, because draining frees memory.
pub fn block(call: &Call<'_>, queues: &[Queue], timeout_ms: u64, run: RunFn) {
    let Some(id) = with(Waiters::next_id) else {
        return call.ctx.reply_error(CANNOT_BLOCK);
    };
    let Some(client) = block_client::<Hooks>(call, id, timeout_ms) else {
        return call.ctx.reply_error(CANNOT_BLOCK);
    };
    let client_id = call.ctx.client_id();
    let command = WaitingCommand {
        client,
        client_id,
        user: User::of(call.ctx, client_id),
        args: call.argv.share(),
        run,
    };
    let waiter = Waiter {
        command,
        db: call.ctx.db(),
        key: SharedString::new(call.key),
        queues: queues.to_vec(),
        answer: None,
    };
    with(|waiters| waiters.add(id, waiter));
}

/// The calls of the server about waiting clients.
struct Hooks;

impl BlockingHooks for Hooks {
    fn on_key_ready(ctx: Ctx<'_>, key: &KeyName<'_>) {
        key_changed(ctx, key);
    }

    fn on_timeout(ctx: Ctx<'_>, id: u64) {
        match with(|waiters| waiters.remove(id)).flatten() {
            Some(answer) => answer.send(ctx),
            None => ctx.reply_null_array(),
        }
    }

    fn on_removed(id: u64) {
        with(|waiters| waiters.remove(id));
    }
}

/// Schedules serving if a client waits for a record that a changed node has now.
pub fn node_changed(ctx: Ctx<'_>, name: &KeyName<'_>, node: &mut Node, now: Now) {
    mark_ready(ctx, name, |lists| {
        lists.first_served_by(node, now).is_some()
    });
}

/// Schedules serving if a client waits for a key that has a new value, perhaps a node.
pub fn key_changed(ctx: Ctx<'_>, name: &KeyName<'_>) {
    mark_ready(ctx, name, |_| true);
}

/// Lets the next tick of the timer try all waiting clients, because any node may have changed.
pub fn all_changed() {
    with(|waiters| {
        for (db, keys) in &waiters.lists {
            let keys = keys.keys().map(|key| (*db, key.clone()));
            waiters.ready.extend(keys);
        }
    });
}

fn mark_ready(ctx: Ctx<'_>, name: &KeyName<'_>, is_ready: impl FnOnce(&WaitLists) -> bool) {
    let is_ready = with(|waiters| {
        if waiters.by_id.is_empty() {
            return false;
        }
        let db = ctx.db();
        let is_ready = waiters.lists(db, name.bytes()).is_some_and(is_ready);
        if is_ready {
            waiters.ready.insert((db, SharedString::new(*name)));
        }
        is_ready
    });
    if is_ready == Some(true) {
        schedule_serve(ctx, 0);
    }
}

/// Calls [`serve`] once the running command is over, or a millisecond later.
fn schedule_serve(ctx: Ctx<'_>, delay_ms: u32) {
    if !IS_SERVE_SCHEDULED.swap(true, Relaxed) {
        ctx.call_later(delay_ms, |ctx| {
            IS_SERVE_SCHEDULED.store(false, Relaxed);
            serve(ctx);
        });
    }
}

/// Serves clients that wait for what is available. Does nothing while this server may not change a node; the timer
/// tries again.
pub fn serve(ctx: Ctx<'_>) {
    let started = Instant::now();
    while let Some((db, key)) = with(|waiters| waiters.ready.first().cloned()).flatten() {
        if ctx.replication_paused() || !ctx.flags().is_active_primary() {
            return;
        }
        if serve_first(ctx, db, &key).is_none() {
            with(|waiters| waiters.ready.remove(&(db, key)));
        }
        if started.elapsed() >= BUDGET {
            return schedule_serve(ctx, 1);
        }
    }
}

/// Serves the client that has waited longest for a record that is available. Returns `None` if there is no such client.
fn serve_first(ctx: Ctx<'_>, db: i32, key_name: &SharedString) -> Option<()> {
    if !ctx.select_db(db) {
        return None;
    }
    let mut key = ctx.open(&key_name.name(), Mode::WriteUntracked)?;
    let stored = match key.content::<StoredNode>() {
        Content::Value(stored) if !stored.node.is_unfinished() => stored,
        _ => return None,
    };
    let id = first_waiter(db, key_name, stored)?;
    let command = with(|waiters| Some(waiters.by_id.get(&id)?.command.clone())).flatten()?;
    let may_run = command
        .user
        .is_none_or(|user| user.may_run(ctx, command.client_id, &command.args));
    let answer = if may_run {
        let args: Vec<&[u8]> = command.args.iter().map(|arg| arg.name().bytes()).collect();
        (command.run)(ctx, &key_name.name(), &args, stored)?
    } else {
        Answer::Error(NO_PERMISSION.into())
    };
    with(|waiters| {
        waiters.leave_lists(id);
        waiters.by_id.get_mut(&id)?.answer = Some(answer);
        Some(())
    })
    .flatten()?;
    unblock(command.client);
    Some(())
}

/// Returns the client that has waited longest for a record that is available in a node.
fn first_waiter(db: i32, key: &SharedString, stored: &mut StoredNode) -> Option<u64> {
    let now = transaction::now();
    let first = stored.change(now.mono_ms, |node| {
        let first = with(|waiters| {
            let lists = waiters.lists(db, key.name().bytes())?;
            lists.first_served_by(node, now)
        });
        Ok::<_, ()>(first.flatten())
    });
    first.ok().flatten()
}

impl Waiters {
    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    fn add(&mut self, id: u64, waiter: Waiter) {
        let keys = self.lists.entry(waiter.db).or_default();
        let lists = keys.entry(waiter.key.clone()).or_default();
        for queue in &waiter.queues {
            lists.0[*queue as usize].insert(id);
        }
        self.by_id.insert(id, waiter);
    }

    /// Removes a client. Returns its answer, if it was served.
    fn remove(&mut self, id: u64) -> Option<Answer> {
        self.leave_lists(id);
        self.by_id.remove(&id)?.answer
    }

    fn lists(&self, db: i32, key: &[u8]) -> Option<&WaitLists> {
        self.lists.get(&db)?.get(key)
    }

    /// Removes a client from all lists.
    fn leave_lists(&mut self, id: u64) {
        let Some(waiter) = self.by_id.get(&id) else {
            return;
        };
        let Some(keys) = self.lists.get_mut(&waiter.db) else {
            return;
        };
        if let Some(lists) = keys.get_mut(&waiter.key) {
            for queue in &waiter.queues {
                lists.0[*queue as usize].remove(&id);
            }
            if lists.0.iter().all(BTreeSet::is_empty) {
                keys.remove(&waiter.key);
            }
        }
        if keys.is_empty() {
            self.lists.remove(&waiter.db);
        }
    }
}

impl WaitLists {
    /// Returns the first client that waits for a queue with an available record.
    fn first_served_by(&self, node: &mut Node, now: Now) -> Option<u64> {
        let firsts = Queue::ALL.iter().filter_map(|queue| {
            let id = self.0[*queue as usize].first()?;
            node.available(&[*queue], now).then_some(*id)
        });
        firsts.min()
    }
}
