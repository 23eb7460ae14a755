//! Blocked clients: how a command makes its client wait for a key, and how the wait ends.
//!
//! A client waits for its key, so the server reports what RENAME, COPY, MOVE, SWAPDB or RESTORE brings there, and ends
//! the wait at its timeout, by CLIENT UNBLOCK and with the connection. But when a module signals that a key is ready,
//! the server tries all clients that wait for it, one after the other (and Valkey 9.1 searches the list of those before
//! each of them). So the module never signals, and only notes what the server reports: the module picks the one client
//! to serve and calls [`unblock`].

use super::api::Ctx;
use super::command::Call;
use super::guard::guard;
use super::raw::{self, call};
use super::strings::KeyName;
use std::ffi::{c_int, c_longlong, c_void};
use std::ptr;

/// Handlers for events of blocked clients, which are known by the ids that were given to [`block`].
pub trait BlockingHooks: 'static {
    /// The server brought something to a key that a client waits for.
    fn on_key_ready(ctx: Ctx<'_>, key: &KeyName<'_>);

    /// The time is over, or the client was unblocked. `ctx` takes the reply.
    fn on_timeout(ctx: Ctx<'_>, id: u64);

    /// The client waits no longer: it has had its reply, has disconnected, or was unblocked with an error. Called at
    /// least once for each client.
    fn on_removed(id: u64);
}

/// A blocked client. Valid until [`BlockingHooks::on_removed`] was called with its id.
#[derive(Clone, Copy)]
pub struct BlockedClient(*mut raw::RedisModuleBlockedClient);

/// Blocks the client of a command until it is unblocked, or for `timeout_ms` (0: without a limit). Returns `None` if
/// the server cannot block it; then the command has to reply.
pub fn block<H: BlockingHooks>(call: &Call<'_>, id: u64, timeout_ms: u64) -> Option<BlockedClient> {
    let mut keys = [call.key.raw];
    // SAFETY: the context and the key live. The private data is a number that is never followed.
    let client = unsafe {
        call!(RedisModule_BlockClientOnKeys(
            call.ctx.raw,
            Some(on_key_ready::<H>),
            Some(on_timeout::<H>),
            Some(on_freed::<H>),
            timeout_ms as c_longlong,
            keys.as_mut_ptr(),
            1,
            ptr::without_provenance_mut(id as usize)
        ) else ptr::null_mut())
    };
    if client.is_null() {
        return None;
    }
    // SAFETY: the server has just made the client.
    unsafe {
        call!(RedisModule_SetDisconnectCallback(client, Some(on_disconnected::<H>)) else ());
    }
    Some(BlockedClient(client))
}

/// Ends the wait of a client. The server then calls [`BlockingHooks::on_timeout`], which sends the reply: Redis 7.0 and
/// Valkey at once, Redis since 7.4 before it sleeps.
pub fn unblock(client: BlockedClient) {
    // SAFETY: the server frees a blocked client only after `on_freed`, which calls `on_removed`; until then the caller
    // may use it.
    unsafe { call!(RedisModule_UnblockClient(client.0, ptr::null_mut()) else 1) };
}

/// Returns the id of the client whose wait ends.
///
/// # Safety
/// The context is that of a callback given to the server by [`block`].
unsafe fn id(ctx: Ctx<'_>) -> u64 {
    // SAFETY: the caller's promise: the private data is what `block` gave.
    let data =
        unsafe { call!(RedisModule_GetBlockedClientPrivateData(ctx.raw) else ptr::null_mut()) };
    data.addr() as u64
}

/// The reply callback. Returning an error lets the client wait on.
unsafe extern "C" fn on_key_ready<H: BlockingHooks>(
    ctx: *mut raw::RedisModuleCtx,
    _: *mut *mut raw::RedisModuleString,
    _: c_int,
) -> c_int {
    guard((), || {
        // SAFETY: the context lives during this call, and with it the name of the key.
        unsafe {
            let ctx = Ctx::new(ctx);
            let key = call!(RedisModule_GetBlockedClientReadyKey(ctx.raw) else ptr::null_mut());
            H::on_key_ready(ctx, &KeyName::new(key));
        }
    });
    raw::REDISMODULE_ERR
}

unsafe extern "C" fn on_timeout<H: BlockingHooks>(
    ctx: *mut raw::RedisModuleCtx,
    _: *mut *mut raw::RedisModuleString,
    _: c_int,
) -> c_int {
    guard((), || {
        // SAFETY: the context lives during this call.
        let (ctx, id) = unsafe {
            let ctx = Ctx::new(ctx);
            (ctx, id(ctx))
        };
        H::on_timeout(ctx, id);
    });
    raw::REDISMODULE_OK
}

unsafe extern "C" fn on_disconnected<H: BlockingHooks>(
    ctx: *mut raw::RedisModuleCtx,
    _: *mut raw::RedisModuleBlockedClient,
) {
    guard((), || {
        // SAFETY: the context lives during this call.
        let id = unsafe { id(Ctx::new(ctx)) };
        H::on_removed(id);
    });
}

/// Frees the private data: the wait is over, however it ended.
unsafe extern "C" fn on_freed<H: BlockingHooks>(_: *mut raw::RedisModuleCtx, id: *mut c_void) {
    guard((), || H::on_removed(id.addr() as u64));
}
