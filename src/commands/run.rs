//! The execution of a command: its arguments are parsed, its key is opened, memory is checked, the core runs, and
//! clients that wait are notified.

use crate::ffi::{Call, Content, Ctx, Key, KeyName, Mode};
use crate::memory::accounting::{self, NodeUsage, TransientMemory};
use crate::memory::eviction;
use crate::replication::{self, Origin};
use crate::reply::{Answer, INTERNAL, RecordedReply, Replier, WRONG_TYPE};
use crate::stored_node::StoredNode;
use crate::transaction::{self, Env};
use crate::{blocking, config, info};
use aggregator_core::{Command, CommandError, Memory, Now, Request, Settings};

/// The error for a node between the first and the last AGG.APPLY of a saved one.
const UNFINISHED: &str = "ERR the node is being restored by AGG.APPLY: retry when the restore is complete, or DEL the node";

/// Replies with an error of arguments or memory, and counts it, in the node too if it exists.
#[cold]
#[inline(never)]
pub fn reject(call: &Call<'_>, error: &CommandError) {
    transaction::with_counters(|counters| counters.reject(error.reason));
    if let Some(mut key) = call.ctx.open(&call.key, Mode::ReadUntracked)
        && let Content::Value(stored) = key.content::<StoredNode>()
    {
        stored.node.count_rejection(error);
    }
    call.ctx.reply_error(&error.to_string());
}

/// Runs a command that reads.
pub fn read(command: Command, call: &Call<'_>) {
    let Env { settings, now } = transaction::command_env();
    let request = match Request::parse(command, call.args, &settings, now) {
        Ok(request) => request,
        Err(error) => return reject(call, &error),
    };
    let mut reply = Replier(call.ctx);
    let Some(mut key) = call.ctx.open(&call.key, Mode::Read) else {
        return request.run_missing(&mut reply);
    };
    match key.content::<StoredNode>() {
        Content::Empty => request.run_missing(&mut reply),
        Content::Other => call.ctx.reply_error(WRONG_TYPE),
        Content::Value(stored) if stored.node.is_unfinished() => call.ctx.reply_error(UNFINISHED),
        Content::Value(stored) => {
            let (name, bytes) = (call.key.bytes(), stored.bytes());
            let read = info::with_ages(|ages| {
                request.read(name, &stored.node, (ages, now), bytes, &mut reply);
            });
            if read.is_none() {
                call.ctx.reply_error(INTERNAL);
            }
        }
    }
}

/// Runs a command that changes a node.
pub fn write(command: Command, call: &Call<'_>) {
    write_inlined(command, call);
}

/// Runs a command as [`write`] does, inlined into one function for each command that reports; see [`Request::parse`].
/// Commands that report create the node if it does not exist.
#[inline(always)]
fn write_inlined(command: Command, call: &Call<'_>) {
    let env = transaction::command_env();
    let request = match Request::parse(command, call.args, &env.settings, env.now) {
        Ok(request) => request,
        Err(error) => return reject(call, &error),
    };
    let transient = TransientMemory::since(call.bytes_before);
    let Some(mut key) = call.ctx.open(&call.key, Mode::Write) else {
        return call.ctx.reply_error(INTERNAL);
    };
    let cost = match key.content::<StoredNode>() {
        Content::Other => return call.ctx.reply_error(WRONG_TYPE),
        Content::Value(stored) if stored.node.is_unfinished() => {
            return call.ctx.reply_error(UNFINISHED);
        }
        Content::Empty if !command.creates() => {
            return request.run_missing(&mut Replier(call.ctx));
        }
        // The core checks the limits, and accepts what fits.
        Content::Empty if !command.may_evict() => {
            return create(&boxed(request, &transient), &mut key, &env, call);
        }
        Content::Value(stored) if !command.may_evict() => {
            let limit = accounting::tighter_limit(stored.usage(), 0, &env.settings);
            return change(&request, stored, &env, (limit, false), call);
        }
        Content::Empty => match check_cost(&request, None, &env.settings, &transient) {
            Ok(_) => return create(&boxed(request, &transient), &mut key, &env, call),
            Err(cost) => cost,
        },
        Content::Value(stored) => {
            match check_cost(&request, Some(stored), &env.settings, &transient) {
                Ok(limit) => return change(&request, stored, &env, (limit, false), call),
                Err(cost) => cost,
            }
        }
    };
    // Eviction opens keys, perhaps this one.
    drop(key);
    evict_and_write(command, &boxed(request, &transient), cost, &env, call);
}

/// Moves a request to where functions that are rarely called may refer to it. A reference to the variable itself would
/// keep the compiler from holding it in registers.
#[inline(always)]
fn boxed<'a>(request: Request<'a>, transient: &TransientMemory) -> Box<Request<'a>> {
    let request = Box::new(request);
    transient.update();
    request
}

/// Evicts records for a request that costs more than is available, and runs it.
#[cold]
#[inline(never)]
fn evict_and_write(command: Command, request: &Request<'_>, cost: u64, env: &Env, call: &Call<'_>) {
    let location = (call.ctx.db(), call.key.bytes().to_vec());
    let fits = eviction::evict(call.ctx, Some(&location), cost, env);
    let Some(mut key) = call.ctx.open(&call.key, Mode::Write) else {
        return call.ctx.reply_error(INTERNAL);
    };
    let stored = match key.content::<StoredNode>() {
        Content::Value(stored) => stored,
        _ if !fits => {
            let limit = accounting::tighter_limit(NodeUsage::default(), cost, &env.settings);
            return reject(call, &CommandError::memory(command.name(), &limit));
        }
        _ => return create(request, &mut key, env, call),
    };
    let requested = if fits { 0 } else { cost };
    let limit = accounting::tighter_limit(stored.usage(), requested, &env.settings);
    change(request, stored, env, (limit, !fits), call);
}

/// Checks whether a request fits below the memory limits: by a quick upper bound of its cost, then by a close one.
/// Returns the limit that leaves less.
///
/// # Errors
/// The close bound, if the request does not fit.
#[inline(always)]
fn check_cost(
    request: &Request<'_>,
    stored: Option<&StoredNode>,
    settings: &Settings,
    transient: &TransientMemory,
) -> Result<Memory, u64> {
    let usage = stored.map_or(NodeUsage::default(), StoredNode::usage);
    let node = stored.map(|stored| &stored.node);
    let check = |cost: u64| {
        let limit = accounting::tighter_limit(usage, cost, settings);
        let granted = Memory {
            requested: 0,
            ..limit
        };
        (cost == 0 || limit.excess() == 0).then_some(granted)
    };
    if let Some(limit) = check(request.cost(node, false, settings)) {
        return Ok(limit);
    }
    let cost = request.cost(node, true, settings);
    transient.update();
    check(cost).ok_or(cost)
}

/// Runs a request on a node that exists. `limit`: see [`transaction::change_within`].
#[inline(always)]
fn change(
    request: &Request<'_>,
    stored: &mut StoredNode,
    env: &Env,
    limit: (Memory, bool),
    call: &Call<'_>,
) {
    if let Some(wait) = request.block()
        && !is_available(request, stored, env.now)
        && !call.ctx.flags().denies_blocking()
    {
        return blocking::block(call, request.queues(), wait.timeout_ms, fetch_for);
    }
    let mut reply = Replier(call.ctx);
    let (ctx, name) = (call.ctx, call.key.bytes());
    let ran = transaction::change_within(ctx, &call.key, stored, env, limit, |node, exec| {
        request.run(name, node, exec, &mut reply)
    });
    if limit.1 {
        eviction::enforce_limit(ctx, &call.key, stored, env);
    }
    match ran {
        Some(Ok(ran)) if ran.ready => {
            blocking::node_changed(ctx, &call.key, &mut stored.node, env.now);
        }
        Some(Ok(_)) => {}
        Some(Err(error)) => reply_error(call, &error),
        None => call.ctx.reply_error(INTERNAL),
    }
}

#[cold]
#[inline(never)]
fn reply_error(call: &Call<'_>, error: &CommandError) {
    call.ctx.reply_error(&error.to_string());
}

/// Runs a command on a node that does not exist.
#[inline(never)]
fn create(request: &Request<'_>, key: &mut Key<'_>, env: &Env, call: &Call<'_>) {
    let mut reply = Replier(call.ctx);
    let created = transaction::create(&call.key, env, |node, exec| {
        request.run(call.key.bytes(), node, exec, &mut reply)
    });
    let Some((ran, pending)) = created else {
        return call.ctx.reply_error(INTERNAL);
    };
    if let Err(error) = &ran {
        return call.ctx.reply_error(&error.to_string());
    }
    if let Some(pending) = pending {
        pending.store(call.ctx, &call.key, key);
    }
    if ran.is_ok_and(|ran| ran.ready) {
        blocking::key_changed(call.ctx, &call.key);
    }
}

/// Runs a command that reports, and that another server may have accepted already.
#[inline(always)]
pub fn report(command: Command, call: &Call<'_>) {
    if !(replication::may_be_replicated() && replay(command, call)) {
        write_inlined(command, call);
    }
}

/// Replays a command that was accepted elsewhere. Returns false if it was not, or if a client replays a file and the
/// command exceeds the limits of this server; then it runs like any other.
#[cold]
#[inline(never)]
fn replay(command: Command, call: &Call<'_>) -> bool {
    let Some(mut key) = call.ctx.open(&call.key, Mode::Write) else {
        return false;
    };
    let Content::Value(stored) = key.content::<StoredNode>() else {
        return false;
    };
    let origin = replication::origin(call.ctx, stored.replay_client);
    let accepted = match origin {
        Origin::Client => return false,
        Origin::Server => Settings::unlimited(),
        Origin::Replay => Settings::clone(&config::settings()),
    };
    let settings = &Settings {
        is_version_1: stored.node.is_version_1(),
        ..accepted
    };
    let mono_ms = transaction::now().mono_ms;
    let node_clock = Now {
        wall_us: u64::try_from(stored.node.clock_ms()).unwrap_or(0) * 1000,
        mono_ms,
    };
    let request = Request::parse(command, call.args, settings, node_clock);
    if origin == Origin::Replay
        && !request
            .as_ref()
            .is_ok_and(|request| may_replay(request, stored, settings))
    {
        return false;
    }
    match request {
        Ok(request) => replay_on(&request, stored, mono_ms, call),
        Err(error) => call.ctx.reply_error(&error.to_string()),
    }
    true
}

/// Returns whether what a client replays is within the limits of this server.
fn may_replay(request: &Request<'_>, stored: &StoredNode, settings: &Settings) -> bool {
    let cost = request.cost(Some(&stored.node), true, settings);
    !stored.node.is_unfinished()
        && request.is_replayable(&stored.node, settings)
        && accounting::fits_node(cost, stored.usage(), settings)
}

fn replay_on(request: &Request<'_>, stored: &mut StoredNode, mono_ms: u64, call: &Call<'_>) {
    stored.register(|| call.ctx.db(), call.key.bytes());
    let done = transaction::with_counters(|counters| {
        stored.change(mono_ms, |node| {
            request.replay(node, mono_ms, counters);
            Ok::<(), ()>(())
        })
    });
    if done.is_none() {
        return call.ctx.reply_error(INTERNAL);
    }
    call.ctx.replicate_verbatim(&call.key);
    call.ctx.reply_ok();
}

/// Runs AGG.FETCH. With BLOCK it may wait, also for a node that does not exist yet.
pub fn fetch(call: &Call<'_>) {
    let env = transaction::command_env();
    let request = match Request::parse(Command::Fetch, call.args, &env.settings, env.now) {
        Ok(request) => request,
        Err(error) => return reject(call, &error),
    };
    if let Some(wait) = request.block()
        && !call.ctx.flags().denies_blocking()
        && is_missing(call)
    {
        return blocking::block(call, request.queues(), wait.timeout_ms, fetch_for);
    }
    write(Command::Fetch, call);
}

fn is_available(request: &Request<'_>, stored: &mut StoredNode, now: Now) -> bool {
    let available = stored.change(now.mono_ms, |node| {
        Ok::<_, ()>(request.available(node, now))
    });
    available.unwrap_or(false)
}

fn is_missing(call: &Call<'_>) -> bool {
    call.ctx
        .open(&call.key, Mode::Read)
        .is_none_or(|mut key| matches!(key.content::<StoredNode>(), Content::Empty))
}

/// Runs the AGG.FETCH of a client that waited. `None`: it cannot run now.
fn fetch_for(
    ctx: Ctx<'_>,
    name: &KeyName<'_>,
    args: &[&[u8]],
    stored: &mut StoredNode,
) -> Option<Answer> {
    let env = transaction::current_env();
    // The arguments were checked when the client began to wait, but settings may have changed since.
    let request = match Request::parse(Command::Fetch, args, &env.settings, env.now) {
        Ok(request) => request,
        Err(error) => {
            transaction::with_counters(|counters| counters.reject(error.reason));
            stored.node.count_rejection(&error);
            return Some(Answer::Error(error.to_string()));
        }
    };
    let mut reply = RecordedReply::default();
    let ran = transaction::try_change(ctx, name, stored, &env, None, |node, exec| {
        request.run(name.bytes(), node, exec, &mut reply)
    })?;
    Some(match ran {
        Ok(_) => Answer::Reply(reply),
        Err(error) => Answer::Error(error.to_string()),
    })
}
