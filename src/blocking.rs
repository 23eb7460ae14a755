//! Who waits in AGG.FETCH, and who of them is served when something is there.
//!
//! Each client has a number, in the order in which they came, and stands in line for every queue that it named. A report
//! that brings something to a queue for which nobody waits costs a look at these lists and wakes nobody. Else the lists
//! are served once the command (or the script, or the transaction) is over: who is first in line for an entry that can be
//! handed out gets it, as long as there are such entries.

use crate::commands::fetch_for;
use crate::ffi::acl::User;
use crate::ffi::api::{Content, Ctx, KeyName, Mode, SharedString};
use crate::ffi::blocking::{Blocked, release};
use crate::ffi::callbacks::serve_soon;
use crate::ffi::main_thread::MainThread;
use crate::reply::Answer;
use crate::stored_node::StoredNode;
use crate::transaction;
use aggregator_core::node::Queue;
use aggregator_core::{Node, Now};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// How long clients are served before others have their turn.
const BUDGET: Duration = Duration::from_millis(1);

/// What a client waited for is there, but not for its user any more.
const NO_PERMISSION: &str =
    "NOPERM the user has lost the permission to run AGG.FETCH on this key while it waited";

/// A client that waits, or that has its answer and is about to be released.
pub struct Waiter {
    /// As the server knows it.
    pub blocked: Blocked,
    /// Its number as CLIENT ID says it.
    pub client_id: u64,
    /// Its user, if the ACL knows it.
    pub user: Option<User>,
    /// Where the node is.
    pub db: i32,
    /// The node's name.
    pub name: SharedString,
    /// The command with its arguments.
    pub words: Vec<SharedString>,
    /// The queues that it waits for.
    pub queues: Vec<Queue>,
    /// What it gets.
    pub answer: Option<Answer>,
}

/// The lines of one node: the numbers of those who wait for each queue.
#[derive(Default)]
struct Lines([BTreeSet<u64>; 5]);

/// All who wait.
#[derive(Default)]
struct Waiters {
    /// The last number given.
    last: u64,
    by_number: BTreeMap<u64, Waiter>,
    /// By database and name of the node.
    lines: BTreeMap<i32, BTreeMap<SharedString, Lines>>,
    /// Nodes that may have something for somebody.
    ready: BTreeSet<(i32, SharedString)>,
}

static WAITERS: MainThread<Option<Waiters>> = MainThread::new(None);

fn with<R>(f: impl FnOnce(&mut Waiters) -> R) -> Option<R> {
    WAITERS.with(|waiters| f(waiters.get_or_insert_default()))
}

/// The next number.
pub fn number() -> u64 {
    with(|waiters| {
        waiters.last += 1;
        waiters.last
    })
    .unwrap_or(0)
}

/// A client begins to wait.
pub fn add(number: u64, waiter: Waiter) {
    with(|waiters| {
        let nodes = waiters.lines.entry(waiter.db).or_default();
        let lines = nodes.entry(waiter.name.clone()).or_default();
        for queue in &waiter.queues {
            lines.0[*queue as usize].insert(number);
        }
        waiters.by_number.insert(number, waiter);
    });
}

/// A client does not wait any more: the answer that it gets, if there is one.
pub fn remove(number: u64) -> Option<Answer> {
    with(|waiters| {
        waiters.leave_lines(number);
        waiters.by_number.remove(&number)?.answer
    })
    .flatten()
}

/// Something may have become available in a node: who waits for that is served soon.
pub fn ready(ctx: Ctx<'_>, name: &KeyName<'_>, node: &mut Node, now: Now) {
    mark(ctx, name, |lines| {
        lines.first_served_by(node, now).is_some()
    });
}

/// A key holds something else now, perhaps a node.
pub fn changed(ctx: Ctx<'_>, name: &KeyName<'_>) {
    mark(ctx, name, |_| true);
}

fn mark(ctx: Ctx<'_>, name: &KeyName<'_>, is_ready: impl FnOnce(&Lines) -> bool) {
    let marked = with(|waiters| {
        if waiters.by_number.is_empty() {
            return false;
        }
        let db = ctx.db();
        let is_ready = waiters.lines(db, name.bytes()).is_some_and(is_ready);
        if is_ready {
            waiters.ready.insert((db, SharedString::new(*name)));
        }
        is_ready
    });
    if marked.unwrap_or(false) {
        serve_soon(ctx, 0);
    }
}

/// Any node may have something now; the next tick of the timer looks.
pub fn all_ready() {
    with(|waiters| {
        for (db, nodes) in &waiters.lines {
            let names = nodes.keys().map(|name| (*db, name.clone()));
            waiters.ready.extend(names);
        }
    });
}

/// Serves those who wait for what is there. Does nothing while this server may not change a node: the timer tries again.
pub fn serve(ctx: Ctx<'_>) {
    let started = Instant::now();
    while let Some((db, name)) = with(|waiters| waiters.ready.first().cloned()).flatten() {
        if ctx.replication_paused() || !ctx.flags().is_active_primary() {
            return;
        }
        if serve_first(ctx, db, &name).is_none() {
            with(|waiters| waiters.ready.remove(&(db, name)));
        }
        if started.elapsed() >= BUDGET {
            return serve_soon(ctx, 1);
        }
    }
}

/// Serves the client that waits longest for something that a node has now. `None`: there is no such client.
fn serve_first(ctx: Ctx<'_>, db: i32, name: &SharedString) -> Option<()> {
    if !ctx.select_db(db) {
        return None;
    }
    let mut key = ctx.open(&name.name(), Mode::WriteUntracked)?;
    let stored = match key.content() {
        Content::Node(stored) if !stored.node.is_unfinished() => stored,
        _ => return None,
    };
    let (number, blocked, answer) = answer_first(ctx, db, name, stored)?;
    with(|waiters| {
        waiters.leave_lines(number);
        waiters.by_number.get_mut(&number)?.answer = Some(answer);
        Some(())
    })??;
    release(blocked);
    Some(())
}

/// Fetches for the first in line: its number, itself and what it gets.
fn answer_first(
    ctx: Ctx<'_>,
    db: i32,
    name: &SharedString,
    stored: &mut StoredNode,
) -> Option<(u64, Blocked, Answer)> {
    let now = transaction::now();
    let first = stored.change(now.mono_ms, |node| {
        let first = with(|waiters| {
            waiters
                .lines(db, name.name().bytes())?
                .first_served_by(node, now)
        });
        Ok::<_, ()>(first.flatten())
    });
    let number = first.ok().flatten()?;
    let (blocked, client_id, user, words) = with(|waiters| {
        let w = waiters.by_number.get(&number)?;
        Some((w.blocked, w.client_id, w.user.clone(), w.words.clone()))
    })??;
    let may_run = user.is_none_or(|user| user.may_run(ctx, client_id, &words));
    let answer = if may_run {
        let args: Vec<&[u8]> = words.iter().map(|word| word.name().bytes()).collect();
        fetch_for(ctx, &name.name(), &args, stored)?
    } else {
        Answer::Error(NO_PERMISSION.into())
    };
    Some((number, blocked, answer))
}

impl Waiters {
    fn lines(&self, db: i32, name: &[u8]) -> Option<&Lines> {
        self.lines.get(&db)?.get(name)
    }

    /// A client stands in no line any more.
    fn leave_lines(&mut self, number: u64) {
        let Some(waiter) = self.by_number.get(&number) else {
            return;
        };
        let Some(nodes) = self.lines.get_mut(&waiter.db) else {
            return;
        };
        if let Some(lines) = nodes.get_mut(&waiter.name) {
            for queue in &waiter.queues {
                lines.0[*queue as usize].remove(&number);
            }
            if lines.0.iter().all(BTreeSet::is_empty) {
                nodes.remove(&waiter.name);
            }
        }
        if nodes.is_empty() {
            self.lines.remove(&waiter.db);
        }
    }
}

impl Lines {
    /// The lowest number of those who wait for what a node can hand out.
    fn first_served_by(&self, node: &mut Node, now: Now) -> Option<u64> {
        let firsts = Queue::ALL.iter().filter_map(|queue| {
            let number = self.0[*queue as usize].first()?;
            node.available(&[*queue], now).then_some(*number)
        });
        firsts.min()
    }
}
