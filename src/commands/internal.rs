//! AGG.APPLY: effects and frames of a saved node, from a primary, a file, or whoever replays them.
//!
//! It is not guarded by who sends it, so that a replayed AOF, migration tools and slot migration work; its ACL
//! categories keep it from ordinary users, and its payload is checked like RESTORE's. From a client it has to fit the
//! ceiling, too: one payload may come to hold more than is asked for here, and then no other is taken until the timer
//! has made room.

use super::run::{Call, INTERNAL};
use crate::ffi::api::{Content, Mode};
use crate::ffi::command_info::{Access, Arg, CommandSpec, Kind};
use crate::reply::WRONG_TYPE;
use crate::stored_node::StoredNode;
use crate::{blocking, memory, replication, transaction};
use aggregator_core::Node;
use aggregator_core::request::full;
use aggregator_core::settings::MAX_NODE_NAME;

/// Bytes that are asked for below the ceiling for each byte of a payload: about what a metric holds for each of its
/// saved ones.
const GROWTH: u64 = 8;

/// AGG.APPLY.
pub static APPLY: CommandSpec = CommandSpec {
    name: c"AGG.APPLY",
    handler: apply,
    flags: c"write",
    access: Access::Everything,
    categories: c"write admin dangerous",
    arity: 3,
    summary: c"Applies what a primary decided, or a part of a saved node. Internal.",
    complexity: c"O(n), n being the size of the payload",
    args: &[Arg::key(), Arg::new(c"payload", Kind::Text)],
};

fn apply(call: &Call<'_>) {
    let payload = call.args.get(2).copied().unwrap_or_default();
    let (settings, now) = transaction::command_env();
    let replay_client = replication::replay_client(call.ctx);
    // What an import brings is another's decision already, as what a primary or a file does.
    let is_imported = replication::is_imported(call.name.bytes());
    let is_limited = replay_client != 0 && !is_imported;
    if is_limited {
        let cost = payload.len() as u64 * GROWTH;
        if !memory::fits(cost, &settings) && !memory::evict(call.ctx, None, cost, now, &settings) {
            let memory = memory::of(None, cost, &settings);
            return call.refuse(&full("AGG.APPLY", &memory));
        }
    }
    let Some(mut key) = call.ctx.open(&call.name, Mode::Write) else {
        return call.ctx.reply_error(INTERNAL);
    };
    let max_id = replication::max_id(replay_client != 0, now);
    let applied = match key.content() {
        Content::Other => return call.ctx.reply_error(WRONG_TYPE),
        Content::Node(stored) => {
            stored.replay_client = replay_client;
            stored.is_imported |= is_imported;
            if stored.needs_registration() {
                stored.place(call.ctx.db(), call.name.bytes());
            }
            transaction::with_counters(|counters| {
                stored.change(now.mono_ms, |node| {
                    node.apply(payload, now.mono_ms, max_id, counters)
                })
            })
        }
        Content::Empty if is_limited && call.name.bytes().len() > MAX_NODE_NAME => {
            let (len, most) = (call.name.bytes().len(), MAX_NODE_NAME);
            let why = format!("ERR AGG.APPLY: the node's name has {len} bytes: it may have {most}");
            return call.ctx.reply_error(&why);
        }
        Content::Empty => {
            let before = crate::ffi::alloc::main_bytes();
            let made = transaction::with_counters(|counters| {
                Node::create(payload, transaction::seed(), now.mono_ms, max_id, counters)
            });
            made.map(|made| {
                made.map(|(node, last_id)| {
                    let mut stored = StoredNode::new(node, before);
                    stored.replay_client = replay_client;
                    stored.is_imported = is_imported;
                    stored.place(call.ctx.db(), call.name.bytes());
                    key.set(stored);
                    last_id
                })
            })
        }
    };
    match applied {
        Some(Ok(last_id)) => {
            transaction::observe_id(last_id, now);
            call.ctx.replicate_verbatim(&call.name);
            blocking::changed(call.ctx, &call.name);
            call.ctx.reply_ok();
        }
        Some(Err(damaged)) => call
            .ctx
            .reply_error(&format!("ERR AGG.APPLY: the payload is refused: {damaged}")),
        None => call.ctx.reply_error(INTERNAL),
    }
}
