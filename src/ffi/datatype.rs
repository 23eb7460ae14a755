//! The data type `aggr-node`: how its values are saved, loaded, copied, measured and freed.
//!
//! A value behind a `void *` is a [`Held`] that `Box::into_raw` gave away; the server gives it back through `free`, once,
//! on any thread.

use super::alloc;
use super::api::{Ctx, KeyName, Level, call, set_type};
use super::callbacks::guard;
use crate::config;
use crate::stored_node::StoredNode;
use crate::{memory, replication, transaction};
use aggregator_core::node::Loader;
use redis_module::raw;
use std::ffi::{c_char, c_int, c_void};
use std::ptr;

/// The version of the data type's encoding in RDB files.
const ENCODING: c_int = 1;

/// Registers the data type.
///
/// # Errors
/// The server refused it.
pub fn register(ctx: Ctx<'_>) -> Result<(), String> {
    let mut methods = raw::RedisModuleTypeMethods {
        version: raw::REDISMODULE_TYPE_METHOD_VERSION.into(),
        rdb_load: Some(rdb_load),
        rdb_save: Some(rdb_save),
        aof_rewrite: Some(aof_rewrite),
        mem_usage: None,
        digest: Some(digest),
        free: Some(free),
        aux_load: None,
        aux_save: None,
        aux_save_triggers: 0,
        free_effort: None,
        unlink: None,
        copy: None,
        defrag: None,
        mem_usage2: Some(mem_usage),
        free_effort2: Some(free_effort),
        unlink2: Some(unlink),
        copy2: Some(copy),
        aux_save2: None,
    };
    // SAFETY: the context lives; the server copies the methods and keeps the functions, which are static.
    unsafe {
        let of = call!(RedisModule_CreateDataType(ctx.raw, c"aggr-node".as_ptr(), ENCODING, &mut methods)
            else ptr::null_mut());
        if of.is_null() {
            return Err("the server refused the data type aggr-node".into());
        }
        set_type(of);
    }
    Ok(())
}

unsafe extern "C" fn rdb_save(io: *mut raw::RedisModuleIO, value: *mut c_void) {
    // SAFETY: `io` lives; the value is a live `Held`; each frame lives during its call.
    unsafe {
        save(io, value, |frame| {
            call!(RedisModule_SaveStringBuffer(io, frame.as_ptr().cast(), frame.len()) else ());
        });
    }
}

/// Writes a node by frames. A panic on the way fails the save: a node of which a part is missing would be a file that
/// does not load, found out when it is needed.
///
/// # Safety
/// `io` lives during the call; the value is a live `Held`.
unsafe fn save(io: *mut raw::RedisModuleIO, value: *mut c_void, mut emit: impl FnMut(&[u8])) {
    let is_saved = guard(false, || {
        // SAFETY: the caller's promise.
        let Some(stored) = (unsafe { value.cast::<StoredNode>().as_ref() }) else {
            return false;
        };
        stored.node.frames(&mut emit);
        true
    });
    if !is_saved {
        // SAFETY: the caller's promise.
        unsafe { fail(io) };
    }
}

/// Makes a save or a rewrite of the AOF fail. The server has no function for that, but a command that it does not know
/// sets the error of what is written, be it an AOF or an RDB file, and writes nothing: SAVE answers an error, the child of
/// a BGSAVE, a full synchronisation or a BGREWRITEAOF ends with one, and the files before stay. Only DUMP looks at no
/// error; its payload lacks the node's last frame, so no server takes it.
///
/// # Safety
/// `io` lives during the call.
unsafe fn fail(io: *mut raw::RedisModuleIO) {
    // SAFETY: the caller's promise; the strings are static, and the empty format takes no argument.
    unsafe {
        call!(RedisModule_EmitAOF(io, c"AGG.(internal error)".as_ptr(), c"".as_ptr()) else ());
    }
}

unsafe extern "C" fn rdb_load(io: *mut raw::RedisModuleIO, encoding: c_int) -> *mut c_void {
    guard(ptr::null_mut(), || {
        // SAFETY: the server's context of this load; null where it has none.
        let ctx = unsafe { Ctx::new(call!(RedisModule_GetContextFromIO(io) else ptr::null_mut())) };
        let limited = ctx.flags().is_active_primary() && !ctx.flags().is_repeated();
        // SAFETY: `io` lives during this call.
        match unsafe { load(io, encoding, limited) } {
            Ok(stored) => Box::into_raw(stored).cast(),
            Err(why) => {
                ctx.log(
                    Level::Warning,
                    &format!("agg: a node was not loaded: {why}"),
                );
                ptr::null_mut()
            }
        }
    })
}

/// # Safety
/// `io` lives during the call.
unsafe fn load(
    io: *mut raw::RedisModuleIO,
    encoding: c_int,
    limited: bool,
) -> Result<Box<StoredNode>, String> {
    if encoding > ENCODING {
        return Err(format!(
            "its encoding {encoding} is of a newer version of the module"
        ));
    }
    let now = transaction::now();
    let most = config::settings().max_memory;
    let full = || format!("it does not fit agg.max-memory ({most} bytes)");
    let before = alloc::main_bytes();
    let mut loader = Loader::new(
        transaction::seed(),
        now.mono_ms,
        replication::max_id(limited, now),
    );
    loop {
        let mut len = 0;
        // SAFETY: `io` lives; the buffer is ours until it is freed below, and `len` is its length.
        let is_last = unsafe {
            let buffer = call!(RedisModule_LoadStringBuffer(io, &mut len) else ptr::null_mut());
            if buffer.is_null() || call!(RedisModule_IsIOError(io) else 0) != 0 {
                return Err("cut short".into());
            }
            // What a frame holds takes about its bytes, or more.
            let fits = !limited || memory::used().saturating_add(len as u64) <= most;
            let frame = std::slice::from_raw_parts(buffer.cast(), len);
            let is_last = fits.then(|| loader.frame(frame));
            call!(RedisModule_Free(buffer.cast()) else ());
            is_last.ok_or_else(full)?
        };
        if is_last.map_err(|damaged| damaged.to_string())? {
            break;
        }
        if limited && memory::used() > most {
            return Err(full());
        }
    }
    let node = loader.finish().map_err(|damaged| damaged.to_string())?;
    transaction::observe_id(node.last_id(), now);
    let stored = StoredNode::new(node, before);
    let mut has_place = true;
    // SAFETY: `io` lives, and with it the key's name, which may be null.
    unsafe {
        let name =
            KeyName::new(call!(RedisModule_GetKeyNameFromIO(io) else ptr::null()).cast_mut());
        if !name.bytes().is_empty() {
            has_place = stored.place(call!(RedisModule_GetDbIdFromIO(io) else 0), name.bytes());
        }
    }
    if limited && (!has_place || memory::used() > most) {
        return Err(full());
    }
    Ok(stored)
}

unsafe extern "C" fn aof_rewrite(
    io: *mut raw::RedisModuleIO,
    key: *mut raw::RedisModuleString,
    value: *mut c_void,
) {
    // SAFETY: `io` lives; the value is a live `Held`; the format takes a string of the server's kind and bytes with their
    // length.
    unsafe {
        save(io, value, |frame| {
            let (bytes, len) = (frame.as_ptr().cast::<c_char>(), frame.len());
            call!(RedisModule_EmitAOF(io, c"AGG.APPLY".as_ptr(), c"sb".as_ptr(), key, bytes, len) else ());
        });
    }
}

unsafe extern "C" fn digest(md: *mut raw::RedisModuleDigest, value: *mut c_void) {
    guard((), || {
        // SAFETY: the value is a live `Held`; each element lives during its call.
        unsafe {
            let Some(stored) = value.cast::<StoredNode>().as_ref() else {
                return;
            };
            stored.node.digest(&mut |element| {
                let bytes = element.as_ptr().cast_mut().cast();
                call!(RedisModule_DigestAddStringBuffer(md, bytes, element.len()) else ());
                call!(RedisModule_DigestEndSequence(md) else ());
            });
        }
    });
}

unsafe extern "C" fn free(value: *mut c_void) {
    // SAFETY: the server gives back, once, a value that `Box::into_raw` gave it.
    guard((), || unsafe {
        if !value.is_null() {
            drop(Box::from_raw(value.cast::<StoredNode>()));
        }
    });
}

unsafe extern "C" fn mem_usage(
    _: *mut raw::RedisModuleKeyOptCtx,
    value: *const c_void,
    _: usize,
) -> usize {
    guard(0, || {
        // SAFETY: the value is a live `Held`.
        let stored = unsafe { value.cast::<StoredNode>().as_ref() };
        stored.map_or(0, |stored| usize::try_from(stored.bytes).unwrap_or(0))
    })
}

unsafe extern "C" fn free_effort(_: *mut raw::RedisModuleKeyOptCtx, value: *const c_void) -> usize {
    guard(1, || {
        // SAFETY: the value is a live `Held`.
        let stored = unsafe { value.cast::<StoredNode>().as_ref() };
        stored.map_or(1, |stored| stored.node.free_effort())
    })
}

/// The node leaves its name: it goes, or gets another that nobody tells us.
unsafe extern "C" fn unlink(_: *mut raw::RedisModuleKeyOptCtx, value: *const c_void) {
    guard((), || {
        // SAFETY: the value is a live `Held`.
        if let Some(stored) = unsafe { value.cast::<StoredNode>().as_ref() } {
            stored.unlinked();
        }
    });
}

unsafe extern "C" fn copy(
    ctx: *mut raw::RedisModuleKeyOptCtx,
    value: *const c_void,
) -> *mut c_void {
    guard(ptr::null_mut(), || {
        // SAFETY: the value is a live `Held`; names live during this call. Flags may be asked for without a context.
        unsafe {
            let Some(stored) = value.cast::<StoredNode>().as_ref() else {
                return ptr::null_mut();
            };
            let most = config::settings().max_memory;
            let size = u64::try_from(stored.bytes).unwrap_or(0);
            let limited = Ctx::new(ptr::null_mut()).flags().is_active_primary();
            if limited && memory::used() + size > most {
                return ptr::null_mut();
            }
            let before = alloc::main_bytes();
            let copy = match stored
                .node
                .duplicate(transaction::seed(), transaction::now().mono_ms)
            {
                Ok(copy) => StoredNode::new(copy, before),
                Err(damaged) => {
                    Ctx::new(ptr::null_mut()).log(
                        Level::Warning,
                        &format!("agg: internal error: a node does not read back: {damaged}"),
                    );
                    return ptr::null_mut();
                }
            };
            let name = KeyName::new(
                call!(RedisModule_GetToKeyNameFromOptCtx(ctx) else ptr::null()).cast_mut(),
            );
            let has_place = copy.place(
                call!(RedisModule_GetToDbIdFromOptCtx(ctx) else 0),
                name.bytes(),
            );
            if limited && (!has_place || memory::used() > most) {
                return ptr::null_mut();
            }
            Box::into_raw(copy).cast()
        }
    })
}
