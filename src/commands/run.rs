//! How a command runs: arguments to a request, the key, memory, the core, what follows.

use crate::ffi::api::{ArgVector, Content, Ctx, Key, KeyName, Mode};
use crate::ffi::blocking::block;
use crate::memory::TransientMemory;
use crate::replication::Origin;
use crate::reply::{Answer, Recorded, Replier, WRONG_TYPE};
use crate::stored_node::StoredNode;
use crate::{blocking, config, info, memory, replication, transaction};
use aggregator_core::{Command, Now, Refusal, Request, Settings};

/// A command as it was called.
pub struct Call<'a> {
    /// Its context.
    pub ctx: Ctx<'a>,
    /// Name and arguments.
    pub args: &'a [&'a [u8]],
    /// The same, as the server lends them.
    pub words: ArgVector<'a>,
    /// The key.
    pub name: KeyName<'a>,
    /// [`crate::ffi::alloc::main_bytes`] when it began.
    pub before: i64,
}

impl Call<'_> {
    /// Answers with a refusal that was raised before a node was looked at; it counts in the node, too, if there is one.
    pub fn refuse(&self, refusal: &Refusal) {
        transaction::with_counters(|counters| counters.refuse(refusal.reason));
        if let Some(mut key) = self.ctx.open(&self.name, Mode::ReadUntracked)
            && let Content::Node(stored) = key.content()
        {
            stored.node.count_refusal(refusal);
        }
        self.ctx.reply_error(&refusal.text);
    }
}

/// Runs a command that reads.
pub fn read(command: Command, call: &Call<'_>) {
    let (settings, now) = transaction::command_env();
    let request = match Request::parse(command, call.args, &settings, now) {
        Ok(request) => request,
        Err(refusal) => return call.refuse(&refusal),
    };
    let mut reply = Replier(call.ctx);
    let Some(mut key) = call.ctx.open(&call.name, Mode::Read) else {
        return request.run_missing(&mut reply);
    };
    match key.content() {
        Content::Empty => request.run_missing(&mut reply),
        Content::Other => call.ctx.reply_error(WRONG_TYPE),
        Content::Node(stored) if stored.node.is_unfinished() => call.ctx.reply_error(UNFINISHED),
        Content::Node(stored) => {
            let bytes = u64::try_from(stored.bytes).unwrap_or(0);
            let name = call.name.bytes();
            let read = info::with_ages(|ages| {
                request.read(name, &stored.node, (ages, now), bytes, &mut reply);
            });
            if read.is_none() {
                call.ctx.reply_error(INTERNAL);
            }
        }
    }
}

/// Runs a command that changes a node; `creates`: it makes one where there is none.
pub fn write(command: Command, creates: bool, call: &Call<'_>) {
    let (settings, now) = transaction::command_env();
    let request = match Request::parse(command, call.args, &settings, now) {
        Ok(request) => request,
        Err(refusal) => return call.refuse(&refusal),
    };
    let transient = TransientMemory::since(call.before);
    let Some(mut key) = call.ctx.open(&call.name, Mode::Write) else {
        return call.ctx.reply_error(INTERNAL);
    };
    let fits = |stored: Option<&StoredNode>| {
        let fits = |cost| memory::fits_node(cost, stored, &settings);
        let cost = |closely| request.cost(stored.map(|stored| &stored.node), closely, &settings);
        if fits(cost(false)) {
            return Ok(());
        }
        let cost = cost(true);
        transient.measure();
        if fits(cost) { Ok(()) } else { Err(cost) }
    };
    let cost = match key.content() {
        Content::Other => return call.ctx.reply_error(WRONG_TYPE),
        Content::Node(stored) if stored.node.is_unfinished() => {
            return call.ctx.reply_error(UNFINISHED);
        }
        Content::Empty if !creates => return request.run_missing(&mut Replier(call.ctx)),
        Content::Empty => match fits(None) {
            Ok(()) => return create(&request, &mut key, now, &settings, call),
            Err(cost) => cost,
        },
        Content::Node(stored) => match fits(Some(stored)) {
            Ok(()) => return change(&request, stored, now, &settings, None, call),
            Err(cost) => cost,
        },
    };
    // Making room opens keys, perhaps this one.
    drop(key);
    let place = (call.ctx.db(), call.name.bytes().to_vec());
    let has_room = memory::evict(call.ctx, Some(&place), cost, now, &settings);
    let tight = (!has_room).then_some(cost);
    let Some(mut key) = call.ctx.open(&call.name, Mode::Write) else {
        return call.ctx.reply_error(INTERNAL);
    };
    match key.content() {
        Content::Node(stored) => change(&request, stored, now, &settings, tight, call),
        _ if !has_room => {
            let memory = memory::of(None, cost, &settings);
            call.refuse(&Request::full(command, &memory));
        }
        _ => create(&request, &mut key, now, &settings, call),
    }
}

/// Runs it on a node that is there.
#[inline]
fn change(
    request: &Request<'_>,
    stored: &mut StoredNode,
    now: Now,
    settings: &Settings,
    tight: Option<u64>,
    call: &Call<'_>,
) {
    if let Some(wait) = request.block()
        && !is_available(request, stored, now)
        && !call.ctx.flags().denies_blocking()
    {
        return block(call, request.queues(), wait.timeout_ms);
    }
    let mut reply = Replier(call.ctx);
    let (ctx, name) = (call.ctx, call.name.bytes());
    let ran = transaction::try_change(
        ctx,
        &call.name,
        stored,
        now,
        settings,
        tight,
        |node, turn| request.run(name, node, turn, &mut reply),
    );
    if tight.is_some() {
        memory::enforce_limit(ctx, &call.name, stored, now, settings);
    }
    match ran {
        Some(Ok(ran)) if ran.ready => blocking::ready(ctx, &call.name, &mut stored.node, now),
        Some(Ok(_)) => {}
        Some(Err(refusal)) => call.ctx.reply_error(&refusal.text),
        None => call.ctx.reply_error(INTERNAL),
    }
}

/// Runs a command that may come from another server that has taken it already.
pub fn report(command: Command, call: &Call<'_>) {
    if !(replication::may_be_replicated() && repeat(command, call)) {
        write(command, true, call);
    }
}

/// Repeats a command that was taken elsewhere; false: it was not, or it is a client that replays a file and the command
/// does not keep to the limits of this server, by which it then runs as any other.
fn repeat(command: Command, call: &Call<'_>) -> bool {
    let Some(mut key) = call.ctx.open(&call.name, Mode::Write) else {
        return false;
    };
    let Content::Node(stored) = key.content() else {
        return false;
    };
    let origin = replication::of(call.ctx, stored.replay_client);
    // On the stack: a replica comes here with every command.
    let (unlimited, own);
    let settings: &Settings = match origin {
        Origin::Report => return false,
        Origin::Server => {
            unlimited = Settings::unlimited();
            &unlimited
        }
        Origin::Replay => {
            own = config::settings();
            &own
        }
    };
    let mono_ms = transaction::now().mono_ms;
    let told = Now {
        wall_us: u64::try_from(stored.node.clock_ms()).unwrap_or(0) * 1000,
        mono_ms,
    };
    let request = Request::parse(command, call.args, settings, told);
    if origin == Origin::Replay
        && !request
            .as_ref()
            .is_ok_and(|r| may_replay(r, stored, settings))
    {
        return false;
    }
    match request {
        Ok(request) => {
            if stored.needs_registration() {
                stored.place(call.ctx.db(), call.name.bytes());
            }
            let done = transaction::with_counters(|counters| {
                stored.change(mono_ms, |node| {
                    request.repeat(node, mono_ms, counters);
                    Ok::<(), ()>(())
                })
            });
            if done.is_none() {
                call.ctx.reply_error(INTERNAL);
            } else {
                call.ctx.replicate_verbatim(&call.name);
                call.ctx.reply_ok();
            }
        }
        Err(refusal) => call.ctx.reply_error(&refusal.text),
    }
    true
}

/// Whether what a client replays keeps to the limits of this server.
fn may_replay(request: &Request<'_>, stored: &StoredNode, settings: &Settings) -> bool {
    let cost = request.cost(Some(&stored.node), true, settings);
    !stored.node.is_unfinished()
        && request.is_repeatable(&stored.node, settings)
        && memory::fits_node(cost, Some(stored), settings)
}

/// A node between the first and the last AGG.APPLY of a saved one.
const UNFINISHED: &str =
    "ERR the node is being restored by AGG.APPLY: try again when it is whole, or DEL it";

/// What should not happen.
pub const INTERNAL: &str = "ERR internal error: the module was called inside itself";

fn create(
    request: &Request<'_>,
    key: &mut Key<'_>,
    now: Now,
    settings: &Settings,
    call: &Call<'_>,
) {
    let mut reply = Replier(call.ctx);
    let made = transaction::create(now, settings, |node, turn| {
        request.run(call.name.bytes(), node, turn, &mut reply)
    });
    let Some((ran, kept)) = made else {
        return call.ctx.reply_error(INTERNAL);
    };
    if let Err(refusal) = &ran {
        return call.ctx.reply_error(&refusal.text);
    }
    if let Some(kept) = kept {
        kept.put(call.ctx, &call.name, key);
    }
    if ran.is_ok_and(|ran| ran.ready) {
        blocking::changed(call.ctx, &call.name);
    }
}

/// Runs AGG.FETCH; with BLOCK it may wait, also for a node that is not there yet.
pub fn fetch(call: &Call<'_>) {
    let (settings, now) = transaction::command_env();
    let request = match Request::parse(Command::Fetch, call.args, &settings, now) {
        Ok(request) => request,
        Err(refusal) => return call.refuse(&refusal),
    };
    if let Some(wait) = request.block()
        && !call.ctx.flags().denies_blocking()
        && is_empty(call)
    {
        return block(call, request.queues(), wait.timeout_ms);
    }
    write(Command::Fetch, false, call);
}

fn is_available(request: &Request<'_>, stored: &mut StoredNode, now: Now) -> bool {
    let available = stored.change(now.mono_ms, |node| {
        Ok::<_, ()>(request.available(node, now))
    });
    available.unwrap_or(false)
}

fn is_empty(call: &Call<'_>) -> bool {
    call.ctx
        .open(&call.name, Mode::Read)
        .is_none_or(|mut key| matches!(key.content(), Content::Empty))
}

/// Runs a FETCH that waited. `None`: it cannot be run now.
pub fn fetch_for(
    ctx: Ctx<'_>,
    name: &KeyName<'_>,
    args: &[&[u8]],
    stored: &mut StoredNode,
) -> Option<Answer> {
    let (settings, now) = (config::settings(), transaction::now());
    // Its arguments were checked when it began to wait, but settings may have changed since.
    let request = match Request::parse(Command::Fetch, args, &settings, now) {
        Ok(request) => request,
        Err(refusal) => {
            transaction::with_counters(|counters| counters.refuse(refusal.reason));
            stored.node.count_refusal(&refusal);
            return Some(Answer::Error(refusal.text));
        }
    };
    let mut reply = Recorded::default();
    let ran = transaction::try_change(ctx, name, stored, now, &settings, None, |node, turn| {
        request.run(name.bytes(), node, turn, &mut reply)
    })?;
    Some(match ran {
        Ok(_) => Answer::Reply(reply),
        Err(refusal) => Answer::Error(refusal.text),
    })
}
