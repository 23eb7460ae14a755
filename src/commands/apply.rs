//! AGG.APPLY: effects and frames of a saved node, from a primary, a file, or a client that replays them.
//!
//! It is not guarded by who sends it, so that a replayed AOF, migration tools and slot migration work. Its ACL
//! categories keep ordinary users from it, and its payload is checked like that of RESTORE. What a client sends has to
//! fit below the memory limit: one payload may use more than is checked here, and then no other is accepted until the
//! timer has trimmed.

use super::run::reject;
use crate::ffi::alloc::main_thread_bytes;
use crate::ffi::{Call, Content, Key, Mode};
use crate::memory::accounting::{self, NodeUsage};
use crate::memory::eviction;
use crate::reply::{INTERNAL, WRONG_TYPE};
use crate::stored_node::StoredNode;
use crate::transaction::{self, Env};
use crate::{blocking, replication};
use aggregator_core::node::max_histogram_bytes;
use aggregator_core::settings::MAX_NODE_NAME;
use aggregator_core::{CommandError, DecodeError, Node};

/// Bytes that must fit below the memory limit for each byte of a payload: about what a metric uses for each of its
/// saved ones. Histograms have a bound of their own.
const GROWTH: u64 = 8;

/// The origin of a payload.
struct Source {
    /// The client that sent it; 0: a primary or a file.
    replay_client: u64,
    /// True if it belongs to a slot that is being imported.
    is_imported: bool,
    /// True if the limits apply to it. A payload from a primary, a file or an import was accepted elsewhere.
    is_limited: bool,
}

/// Runs AGG.APPLY.
pub fn apply(call: &Call<'_>) {
    let payload = call.args.get(2).copied().unwrap_or_default();
    let env = transaction::command_env();
    let replay_client = replication::replay_client(call.ctx, env.now.mono_ms);
    let is_imported = replication::is_imported(call.key.bytes());
    let source = Source {
        replay_client,
        is_imported,
        is_limited: replay_client != 0 && !is_imported,
    };
    if source.is_limited {
        let cost = payload.len() as u64 * GROWTH + max_histogram_bytes(payload);
        if !accounting::fits(cost, &env.settings) && !eviction::evict(call.ctx, None, cost, &env) {
            let limit = accounting::tighter_limit(NodeUsage::default(), cost, &env.settings);
            return reject(call, &CommandError::memory("AGG.APPLY", &limit));
        }
    }
    let Some(mut key) = call.ctx.open(&call.key, Mode::Write) else {
        return call.ctx.reply_error(INTERNAL);
    };
    let applied = match key.content::<StoredNode>() {
        Content::Other => return call.ctx.reply_error(WRONG_TYPE),
        Content::Value(stored) => apply_to(stored, payload, &source, &env, call),
        Content::Empty if source.is_limited && call.key.bytes().len() > MAX_NODE_NAME => {
            let (len, most) = (call.key.bytes().len(), MAX_NODE_NAME);
            let why =
                format!("ERR AGG.APPLY: the node's name has {len} bytes: the maximum is {most}");
            return call.ctx.reply_error(&why);
        }
        Content::Empty => create(&mut key, payload, &source, &env, call),
    };
    match applied {
        Some(Ok(last_id)) => {
            transaction::observe_id(last_id, env.now);
            call.ctx.replicate_verbatim(&call.key);
            blocking::key_changed(call.ctx, &call.key);
            call.ctx.reply_ok();
        }
        Some(Err(error)) => call
            .ctx
            .reply_error(&format!("ERR AGG.APPLY: invalid payload: {error}")),
        None => call.ctx.reply_error(INTERNAL),
    }
}

/// Applies a payload to a node that exists. Returns the node's last id.
fn apply_to(
    stored: &mut StoredNode,
    payload: &[u8],
    source: &Source,
    env: &Env,
    call: &Call<'_>,
) -> Option<Result<u64, DecodeError>> {
    let mono_ms = env.now.mono_ms;
    let max_id = replication::max_id(source.replay_client != 0, env.now);
    stored.replay_client = source.replay_client;
    stored.is_imported |= source.is_imported;
    stored.register(|| call.ctx.db(), call.key.bytes());
    transaction::with_counters(|counters| {
        stored.change(mono_ms, |node| {
            node.apply(payload, mono_ms, max_id, counters)
        })
    })
}

/// Creates a node from a payload. Returns the node's last id.
fn create(
    key: &mut Key<'_>,
    payload: &[u8],
    source: &Source,
    env: &Env,
    call: &Call<'_>,
) -> Option<Result<u64, DecodeError>> {
    let bytes_before = main_thread_bytes();
    let max_id = replication::max_id(source.replay_client != 0, env.now);
    let created = transaction::with_counters(|counters| {
        let (seed, mono_ms) = (transaction::seed(), env.now.mono_ms);
        Node::create(payload, seed, mono_ms, max_id, counters)
    })?;
    Some(created.map(|(node, last_id)| {
        let mut stored = StoredNode::new(node, bytes_before);
        stored.replay_client = source.replay_client;
        stored.is_imported = source.is_imported;
        stored.register(|| call.ctx.db(), call.key.bytes());
        key.set(stored);
        last_id
    }))
}
