//! Clients that wait for an entry: FETCH with BLOCK.

use super::api::{Ctx, Name, call};
use super::callbacks::{ERR, OK, guard};
use crate::commands::{Call, fetch_again};
use redis_module::raw;
use std::ffi::{c_int, c_longlong, c_void};
use std::ptr;

/// The arguments of clients that wait, without the node's name, which the server keeps.
type Waiting = Vec<Vec<u8>>;

/// The place of the node's name among them.
const NODE: usize = 1;

/// Lets the client of a FETCH wait until something is there, or for some milliseconds (0: without limit).
pub fn block(call: &Call<'_>, timeout_ms: u64) {
    let args: Box<Waiting> = Box::new(
        call.args
            .iter()
            .enumerate()
            .map(|(i, arg)| if i == NODE { Vec::new() } else { arg.to_vec() })
            .collect(),
    );
    let mut keys = [call.name.raw];
    let args = Box::into_raw(args);
    // SAFETY: the context and the key live; the server copies the key and gives the arguments back to `end_wait` once. A
    // null says that it blocks no client and keeps nothing, so they are still ours.
    let refused = unsafe {
        let blocked = call!(RedisModule_BlockClientOnKeys(
            call.ctx.raw,
            Some(try_again),
            Some(end_of_time),
            Some(end_wait),
            timeout_ms as c_longlong,
            keys.as_mut_ptr(),
            1,
            args.cast()
        ) else ptr::null_mut());
        blocked.is_null().then(|| Box::from_raw(args))
    };
    if refused.is_some() {
        call.ctx
            .reply_error("ERR AGG.FETCH: the server cannot block this client: ask without BLOCK");
    }
}

unsafe extern "C" fn try_again(
    ctx: *mut raw::RedisModuleCtx,
    _: *mut *mut raw::RedisModuleString,
    _: c_int,
) -> c_int {
    guard(ERR, || {
        // SAFETY: the private data is the `Waiting` that `block` gave away and `end_wait` has not taken back yet; the
        // key's name lives during this call.
        unsafe {
            let waiting = call!(RedisModule_GetBlockedClientPrivateData(ctx) else ptr::null_mut());
            let Some(waiting) = waiting.cast::<Waiting>().as_ref() else {
                return ERR;
            };
            let name =
                Name::new(call!(RedisModule_GetBlockedClientReadyKey(ctx) else ptr::null_mut()));
            let mut args: Vec<&[u8]> = waiting.iter().map(Vec::as_slice).collect();
            if let Some(node) = args.get_mut(NODE) {
                *node = name.bytes();
            }
            if fetch_again(&Call {
                ctx: Ctx::new(ctx),
                args: &args,
                name,
            }) {
                OK
            } else {
                ERR
            }
        }
    })
}

unsafe extern "C" fn end_of_time(
    ctx: *mut raw::RedisModuleCtx,
    _: *mut *mut raw::RedisModuleString,
    _: c_int,
) -> c_int {
    // SAFETY: the context lives during this call.
    guard((), || unsafe { Ctx::new(ctx).reply_null_array() });
    OK
}

unsafe extern "C" fn end_wait(_: *mut raw::RedisModuleCtx, waiting: *mut c_void) {
    guard((), || {
        // SAFETY: given back once, after `block` gave it away.
        unsafe { drop(Box::from_raw(waiting.cast::<Waiting>())) }
    });
}
