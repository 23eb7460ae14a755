//! How the server calls us: loading, commands, the data type, timers, events, settings, INFO, clients that wait.
//!
//! Every function here that the server calls runs inside [`guard`]: a panic becomes a line in the log and an answer,
//! never an unwinding through C. A value behind a `void *` is a [`Held`] that `Box::into_raw` gave away; the server
//! gives it back through `free`, once, on any thread.

use super::alloc;
use super::api::{Ctx, InfoWriter, Level, Name, call, set_type};
use crate::commands::{Call, ROWS, fetch_again};
use crate::config::{self, SETTINGS};
use crate::held::{Held, begin_era};
use crate::{info, origin, registry, timer, work};
use aggregator_core::node::Loader;
use redis_module::raw;
use std::ffi::{c_char, c_int, c_longlong, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

const OK: c_int = 0;
const ERR: c_int = 1;

/// The version of the data type's encoding in RDB files.
const ENCODING: c_int = 1;

/// A command as the server calls it.
pub type Handler = unsafe extern "C" fn(
    *mut raw::RedisModuleCtx,
    *mut *mut raw::RedisModuleString,
    c_int,
) -> c_int;

/// Runs what the server called; a panic ends here, with `otherwise` for the server.
#[inline]
pub fn guard<R>(otherwise: R, f: impl FnOnce() -> R) -> R {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or(otherwise)
}

/// Loads the module.
///
/// # Safety
/// Called by the server, once, on its main thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn RedisModule_OnLoad(
    ctx: *mut raw::RedisModuleCtx,
    argv: *mut *mut raw::RedisModuleString,
    argc: c_int,
) -> c_int {
    alloc::on_main_thread();
    // SAFETY: the server's context and arguments. Nothing has allocated before this call sets the functions.
    unsafe {
        if raw::Export_RedisModule_Init(ctx, c"agg".as_ptr(), 1, raw::REDISMODULE_APIVER_1 as c_int)
            != OK
        {
            return ERR;
        }
        guard(ERR, || {
            std::panic::set_hook(Box::new(|panic| {
                Ctx::new(ptr::null_mut())
                    .log(Level::Warning, &format!("agg: internal error: {panic}"));
            }));
            let ctx = Ctx::new(ctx);
            let loaded = with_args(argv, argc, |args| crate::load(ctx, args));
            match loaded {
                Ok(()) => OK,
                Err(why) => {
                    ctx.log(Level::Warning, &format!("agg: {why}"));
                    ERR
                }
            }
        })
    }
}

/// Registers the data type.
///
/// # Errors
/// The server refused it.
pub fn register_type(ctx: Ctx<'_>) -> Result<(), String> {
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

/// Begins to be called for more than commands: INFO, events, the timer. Nothing may fail after this.
///
/// There is no subscription to events of keys: on Valkey 8.1 and 9.0 any such subscription leaves a client of MOVE in
/// the other database (valkey pull request 4024), and it would cost every write of every key.
pub fn begin(ctx: Ctx<'_>) {
    // Keys that the timer opens, or a command leaves as they were, are not modified; we say which are.
    let options = raw::REDISMODULE_OPTIONS_HANDLE_IO_ERRORS
        | raw::REDISMODULE_OPTION_NO_IMPLICIT_SIGNAL_MODIFIED;
    // SAFETY: the context lives; the functions are static.
    unsafe {
        call!(RedisModule_SetModuleOptions(ctx.raw, options as c_int) else ());
        call!(RedisModule_RegisterInfoFunc(ctx.raw, Some(write_info)) else ERR);
        for id in [
            raw::REDISMODULE_EVENT_REPLICATION_ROLE_CHANGED,
            raw::REDISMODULE_EVENT_FLUSHDB,
            raw::REDISMODULE_EVENT_LOADING,
            raw::REDISMODULE_EVENT_SWAPDB,
            raw::REDISMODULE_EVENT_REPL_ASYNC_LOAD,
        ] {
            let event = raw::RedisModuleEvent { id, dataver: 1 };
            call!(RedisModule_SubscribeToServerEvent(ctx.raw, event, Some(server_event)) else ERR);
        }
        call!(RedisModule_CreateTimer(ctx.raw, 100, Some(tick), ptr::null_mut()) else 0);
    }
}

/// Lends the bytes of arguments, on the stack as far as they are few.
///
/// # Safety
/// `argv` holds `argc` strings that live during the call.
unsafe fn with_args<R>(
    argv: *mut *mut raw::RedisModuleString,
    argc: c_int,
    f: impl FnOnce(&[&[u8]]) -> R,
) -> R {
    const FEW: usize = 16;
    let argc = usize::try_from(argc).unwrap_or(0);
    // SAFETY: the caller's promise.
    let arg = |i: usize| unsafe { Name::new(*argv.add(i)).bytes() };
    if argc <= FEW {
        let mut few: [&[u8]; FEW] = [&[]; FEW];
        for (i, place) in few.iter_mut().take(argc).enumerate() {
            *place = arg(i);
        }
        f(&few[..argc])
    } else {
        let many: Vec<&[u8]> = (0..argc).map(arg).collect();
        f(&many)
    }
}

unsafe extern "C" fn command<const I: usize>(
    ctx: *mut raw::RedisModuleCtx,
    argv: *mut *mut raw::RedisModuleString,
    argc: c_int,
) -> c_int {
    // SAFETY: context and arguments live during this call. The server has checked the arity; without a key there is
    // nothing at argv[1], so it is looked at only if argc says so.
    unsafe {
        let answered = guard(false, || {
            let ctx = Ctx::new(ctx);
            if argc < 2 {
                ctx.reply_error("ERR wrong number of arguments");
                return true;
            }
            let name = Name::new(*argv.add(1));
            with_args(argv, argc, |args| {
                (ROWS[I].handler)(&Call { ctx, args, name })
            });
            true
        });
        if !answered {
            Ctx::new(ctx).reply_error("ERR internal error: see the server's log");
        }
        OK
    }
}

/// The functions for the rows of [`ROWS`], in their order.
pub static HANDLERS: [Handler; ROWS.len()] = [
    command::<0>,
    command::<1>,
    command::<2>,
    command::<3>,
    command::<4>,
    command::<5>,
    command::<6>,
    command::<7>,
    command::<8>,
    command::<9>,
    command::<10>,
    command::<11>,
    command::<12>,
    command::<13>,
    command::<14>,
    command::<15>,
    command::<16>,
    command::<17>,
];

unsafe extern "C" fn rdb_save(io: *mut raw::RedisModuleIO, value: *mut c_void) {
    guard((), || {
        // SAFETY: the value is a live `Held`; each frame lives during its call.
        unsafe {
            let Some(held) = value.cast::<Held>().as_ref() else {
                return;
            };
            held.node.frames(&mut |frame| {
                call!(RedisModule_SaveStringBuffer(io, frame.as_ptr().cast(), frame.len()) else ());
            });
        }
    });
}

unsafe extern "C" fn rdb_load(io: *mut raw::RedisModuleIO, encoding: c_int) -> *mut c_void {
    guard(ptr::null_mut(), || {
        // SAFETY: the server's context of this load; null where it has none.
        let ctx = unsafe { Ctx::new(call!(RedisModule_GetContextFromIO(io) else ptr::null_mut())) };
        let limited = ctx.flags().decides() && !ctx.flags().is_repeated();
        // SAFETY: `io` lives during this call.
        match unsafe { load(io, encoding, limited) } {
            Ok(held) => Box::into_raw(held).cast(),
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
) -> Result<Box<Held>, String> {
    if encoding > ENCODING {
        return Err(format!(
            "its encoding {encoding} is of a newer version of the module"
        ));
    }
    let before = alloc::main_bytes();
    let now = work::now();
    let mut loader = Loader::new(work::seed(), now.mono_ms, origin::max_id(limited, now));
    let most = config::settings().max_memory;
    loop {
        let mut len = 0;
        // SAFETY: `io` lives; the buffer is ours until it is freed below, and `len` is its length.
        let is_last = unsafe {
            let buffer = call!(RedisModule_LoadStringBuffer(io, &mut len) else ptr::null_mut());
            if buffer.is_null() || call!(RedisModule_IsIOError(io) else 0) != 0 {
                return Err("cut short".into());
            }
            let is_last = loader.frame(std::slice::from_raw_parts(buffer.cast(), len));
            call!(RedisModule_Free(buffer.cast()) else ());
            is_last
        };
        if is_last.map_err(|damaged| damaged.to_string())? {
            break;
        }
        if limited && alloc::held() > most {
            return Err(format!("it does not fit agg.max-memory ({most} bytes)"));
        }
    }
    let node = loader.finish().map_err(|damaged| damaged.to_string())?;
    work::saw_id(node.last_id(), now);
    let held = Held::new(node, before);
    if limited && alloc::held() > most {
        return Err(format!("it does not fit agg.max-memory ({most} bytes)"));
    }
    // SAFETY: `io` lives, and with it the key's name, which may be null.
    unsafe {
        let name = Name::new(call!(RedisModule_GetKeyNameFromIO(io) else ptr::null()).cast_mut());
        if !name.bytes().is_empty() {
            held.place(call!(RedisModule_GetDbIdFromIO(io) else 0), name.bytes());
        }
    }
    Ok(held)
}

unsafe extern "C" fn aof_rewrite(
    io: *mut raw::RedisModuleIO,
    key: *mut raw::RedisModuleString,
    value: *mut c_void,
) {
    guard((), || {
        // SAFETY: the value is a live `Held`; the format takes a string of the server's kind and bytes with their
        // length.
        unsafe {
            let Some(held) = value.cast::<Held>().as_ref() else {
                return;
            };
            held.node.frames(&mut |frame| {
                let (bytes, len) = (frame.as_ptr().cast::<c_char>(), frame.len());
                call!(RedisModule_EmitAOF(io, c"AGG.APPLY".as_ptr(), c"sb".as_ptr(), key, bytes, len) else ());
            });
        }
    });
}

unsafe extern "C" fn digest(md: *mut raw::RedisModuleDigest, value: *mut c_void) {
    guard((), || {
        // SAFETY: the value is a live `Held`; each element lives during its call.
        unsafe {
            let Some(held) = value.cast::<Held>().as_ref() else {
                return;
            };
            held.node.digest(&mut |element| {
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
            drop(Box::from_raw(value.cast::<Held>()));
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
        let held = unsafe { value.cast::<Held>().as_ref() };
        held.map_or(0, |held| usize::try_from(held.bytes).unwrap_or(0))
    })
}

unsafe extern "C" fn free_effort(_: *mut raw::RedisModuleKeyOptCtx, value: *const c_void) -> usize {
    guard(1, || {
        // SAFETY: the value is a live `Held`.
        let held = unsafe { value.cast::<Held>().as_ref() };
        held.map_or(1, |held| held.node.free_effort())
    })
}

/// The node leaves its name: it goes, or gets another that nobody tells us.
unsafe extern "C" fn unlink(_: *mut raw::RedisModuleKeyOptCtx, value: *const c_void) {
    guard((), || {
        // SAFETY: the value is a live `Held`.
        if let Some(held) = unsafe { value.cast::<Held>().as_ref() } {
            held.lost_its_name();
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
            let Some(held) = value.cast::<Held>().as_ref() else {
                return ptr::null_mut();
            };
            let most = config::settings().max_memory;
            let size = u64::try_from(held.bytes).unwrap_or(0);
            if Ctx::new(ptr::null_mut()).flags().decides() && alloc::held() + size > most {
                return ptr::null_mut();
            }
            let before = alloc::main_bytes();
            let copy = match held.node.duplicate(work::seed(), work::now().mono_ms) {
                Ok(copy) => Held::new(copy, before),
                Err(damaged) => {
                    Ctx::new(ptr::null_mut()).log(
                        Level::Warning,
                        &format!("agg: internal error: a node does not read back: {damaged}"),
                    );
                    return ptr::null_mut();
                }
            };
            let name = Name::new(
                call!(RedisModule_GetToKeyNameFromOptCtx(ctx) else ptr::null()).cast_mut(),
            );
            copy.place(
                call!(RedisModule_GetToDbIdFromOptCtx(ctx) else 0),
                name.bytes(),
            );
            Box::into_raw(copy).cast()
        }
    })
}

unsafe extern "C" fn server_event(
    _: *mut raw::RedisModuleCtx,
    event: raw::RedisModuleEvent,
    sub: u64,
    data: *mut c_void,
) {
    guard((), || match (event.id, sub) {
        (raw::REDISMODULE_EVENT_REPLICATION_ROLE_CHANGED, _) => {
            origin::may_have_changed();
            begin_era();
            timer::scan_soon();
        }
        (raw::REDISMODULE_EVENT_LOADING, _) => {
            origin::may_have_changed();
            if sub == raw::REDISMODULE_SUBEVENT_LOADING_ENDED {
                begin_era();
                timer::scan_soon();
            }
        }
        (raw::REDISMODULE_EVENT_REPL_ASYNC_LOAD, _) => {
            origin::may_have_changed();
            timer::scan_soon();
        }
        (raw::REDISMODULE_EVENT_FLUSHDB, raw::REDISMODULE_SUBEVENT_FLUSHDB_START) => {
            // SAFETY: the data of this event, which lives during this call.
            if let Some(flush) = unsafe { data.cast::<raw::RedisModuleFlushInfo>().as_ref() } {
                registry::clear(flush.dbnum);
            }
        }
        (raw::REDISMODULE_EVENT_SWAPDB, _) => {
            // SAFETY: the data of this event, which lives during this call.
            if let Some(swap) = unsafe { data.cast::<raw::RedisModuleSwapDbInfo>().as_ref() } {
                registry::swap(swap.dbnum_first, swap.dbnum_second);
            }
        }
        _ => {}
    });
}

unsafe extern "C" fn tick(ctx: *mut raw::RedisModuleCtx, _: *mut c_void) {
    // SAFETY: the context lives during this call; the function is static.
    unsafe {
        let next_ms = guard(100, || timer::tick(Ctx::new(ctx)));
        call!(RedisModule_CreateTimer(ctx, next_ms as raw::mstime_t, Some(tick), ptr::null_mut()) else 0);
    }
}

unsafe extern "C" fn write_info(info: *mut raw::RedisModuleInfoCtx, for_crash_report: c_int) {
    guard((), || {
        info::write(&mut InfoWriter { raw: info }, for_crash_report != 0)
    });
}

/// Registers the settings and reads their values from the configuration.
///
/// # Errors
/// What the server refused.
pub fn register_settings(ctx: Ctx<'_>) -> Result<(), String> {
    for (i, setting) in SETTINGS.iter().enumerate() {
        let flags = if setting.is_memory {
            raw::REDISMODULE_CONFIG_MEMORY
        } else {
            raw::REDISMODULE_CONFIG_DEFAULT
        };
        // SAFETY: the context lives, the name is static; the private data is a number that is never followed.
        let status = unsafe {
            call!(RedisModule_RegisterNumericConfig(
                ctx.raw,
                setting.name.as_ptr(),
                config::value(i),
                flags,
                setting.min,
                setting.max,
                Some(get_setting),
                Some(set_setting),
                Some(apply_settings),
                ptr::without_provenance_mut(i)
            ) else ERR)
        };
        if status != OK {
            return Err(format!(
                "the server refused the setting agg.{}",
                setting.name.to_string_lossy()
            ));
        }
    }
    // SAFETY: the context lives.
    match unsafe { call!(RedisModule_LoadConfigs(ctx.raw) else ERR) } {
        OK => Ok(()),
        _ => Err("a setting agg.* of the configuration is refused".into()),
    }
}

unsafe extern "C" fn get_setting(_: *const c_char, setting: *mut c_void) -> c_longlong {
    config::value(setting.addr())
}

unsafe extern "C" fn set_setting(
    _: *const c_char,
    value: c_longlong,
    setting: *mut c_void,
    _: *mut *mut raw::RedisModuleString,
) -> c_int {
    config::set(setting.addr(), value);
    OK
}

unsafe extern "C" fn apply_settings(
    _: *mut raw::RedisModuleCtx,
    _: *mut c_void,
    error: *mut *mut raw::RedisModuleString,
) -> c_int {
    match config::check() {
        Ok(()) => OK,
        Err(why) => {
            // SAFETY: the server takes the string and frees it.
            unsafe {
                if !error.is_null() {
                    let (text, len) = (why.as_ptr(), why.count_bytes());
                    *error = call!(RedisModule_CreateString(ptr::null_mut(), text, len) else ptr::null_mut());
                }
            }
            ERR
        }
    }
}

/// The arguments of clients that wait.
type Waiting = Vec<Vec<u8>>;

/// Lets the client of a FETCH wait until something is there, or for some milliseconds (0: without limit).
pub fn block(call: &Call<'_>, timeout_ms: u64) {
    let args: Box<Waiting> = Box::new(call.args.iter().map(|arg| arg.to_vec()).collect());
    let mut keys = [call.name.raw];
    // SAFETY: the context and the key live; the server copies the key and gives the arguments back to `end_wait` once.
    unsafe {
        call!(RedisModule_BlockClientOnKeys(
            call.ctx.raw,
            Some(try_again),
            Some(end_of_time),
            Some(end_wait),
            timeout_ms as c_longlong,
            keys.as_mut_ptr(),
            1,
            Box::into_raw(args).cast()
        ) else ptr::null_mut());
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
            let args: Vec<&[u8]> = waiting.iter().map(Vec::as_slice).collect();
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
