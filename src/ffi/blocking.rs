//! Clients that wait for an entry: FETCH with BLOCK.
//!
//! A client waits for its key, so the server tells us what RENAME, COPY, MOVE, SWAPDB or RESTORE brings there, and ends
//! the wait after its time, by CLIENT UNBLOCK and with the connection. But a server that is told that a key is ready
//! tries all who wait for it one after the other (and before each of them Valkey 9.1 looks through those before it). So
//! it is never told, and what it tells us itself is only noted: [`waiters::serve`] fetches for the one client that is first
//! in line, and [`release`] lets it have the answer.

use super::acl::User;
use super::api::{Ctx, KeyName, SharedString, call};
use super::callbacks::{ERR, OK, guard};
use crate::blocking::{self, Waiter};
use crate::commands::Call;
use aggregator_core::node::Queue;
use redis_module::raw;
use std::ffi::{c_int, c_longlong, c_void};
use std::ptr;

/// A client that waits, as the server knows it. Valid until [`waiters::remove`] was called with its number.
#[derive(Clone, Copy)]
pub struct Blocked(*mut raw::RedisModuleBlockedClient);

/// Lets the client of a FETCH wait until one of these queues has something, or for some milliseconds (0: without limit).
///
/// It costs what the server keeps for any client and some words of ours, which `maxclients` bounds: so it is possible
/// however little memory is left, because draining is what frees memory.
pub fn block(call: &Call<'_>, queues: &[Queue], timeout_ms: u64) {
    let number = blocking::number();
    let mut keys = [call.name.raw];
    // SAFETY: the context and the key live. The private data is a number, not a pointer.
    let blocked = unsafe {
        call!(RedisModule_BlockClientOnKeys(
            call.ctx.raw,
            Some(key_is_ready),
            Some(end_wait),
            Some(forget),
            timeout_ms as c_longlong,
            keys.as_mut_ptr(),
            1,
            ptr::without_provenance_mut(number as usize)
        ) else ptr::null_mut())
    };
    if blocked.is_null() {
        return call
            .ctx
            .reply_error("ERR AGG.FETCH: the server cannot block this client: ask without BLOCK");
    }
    // SAFETY: the server has just made it.
    unsafe { call!(RedisModule_SetDisconnectCallback(blocked, Some(disconnected)) else ()) };
    let client_id = call.ctx.client_id();
    let waiter = Waiter {
        blocked: Blocked(blocked),
        client_id,
        user: User::of(call.ctx, client_id),
        db: call.ctx.db(),
        name: SharedString::new(call.name),
        words: call.words.share(),
        queues: queues.to_vec(),
        answer: None,
    };
    blocking::add(number, waiter);
}

/// Ends the wait of a client for which there is an answer. Redis 7.0 and Valkey call `end_wait` at once, Redis since 7.4
/// before it sleeps: therefore the answer is kept with the client.
pub fn release(blocked: Blocked) {
    // SAFETY: the server frees a blocked client only after `forget`, which takes it out of the lists that it comes from.
    unsafe { call!(RedisModule_UnblockClient(blocked.0, ptr::null_mut()) else 1) };
}

/// The number of the client whose wait ends.
///
/// # Safety
/// The context is that of a callback given to [`block`].
unsafe fn number(ctx: Ctx<'_>) -> u64 {
    // SAFETY: the caller's promise: the private data is what `block` gave.
    let data =
        unsafe { call!(RedisModule_GetBlockedClientPrivateData(ctx.raw) else ptr::null_mut()) };
    data.addr() as u64
}

/// The server has brought something to the key: noted, so that it is looked at soon. The client goes on waiting.
unsafe extern "C" fn key_is_ready(
    ctx: *mut raw::RedisModuleCtx,
    _: *mut *mut raw::RedisModuleString,
    _: c_int,
) -> c_int {
    guard((), || {
        // SAFETY: the context lives during this call, and the key's name with it.
        unsafe {
            let ctx = Ctx::new(ctx);
            let key = call!(RedisModule_GetBlockedClientReadyKey(ctx.raw) else ptr::null_mut());
            blocking::changed(ctx, &KeyName::new(key));
        }
    });
    ERR
}

/// The time is over, or there is an answer.
unsafe extern "C" fn end_wait(
    ctx: *mut raw::RedisModuleCtx,
    _: *mut *mut raw::RedisModuleString,
    _: c_int,
) -> c_int {
    guard((), || {
        // SAFETY: the context lives during this call.
        let (ctx, number) = unsafe {
            let ctx = Ctx::new(ctx);
            (ctx, number(ctx))
        };
        match blocking::remove(number) {
            Some(answer) => answer.send(ctx),
            None => ctx.reply_null_array(),
        }
    });
    OK
}

/// The client has gone, or was sent away with an error.
unsafe extern "C" fn disconnected(
    ctx: *mut raw::RedisModuleCtx,
    _: *mut raw::RedisModuleBlockedClient,
) {
    guard((), || {
        // SAFETY: the context lives during this call.
        let number = unsafe { number(Ctx::new(ctx)) };
        blocking::remove(number);
    });
}

/// The wait is over, however it ended.
unsafe extern "C" fn forget(_: *mut raw::RedisModuleCtx, number: *mut c_void) {
    guard((), || {
        blocking::remove(number.addr() as u64);
    });
}
