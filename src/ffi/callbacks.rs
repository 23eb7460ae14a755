//! How the server calls us: loading, commands, timers, events, INFO. The methods of the data type, settings and clients
//! that wait are in files of their own beside this.
//!
//! Every function that the server calls runs inside [`guard`]: a panic becomes a line in the log and an answer, never an
//! unwinding through C.

use super::alloc;
use super::api::{ArgVector, Ctx, InfoWriter, KeyName, Level, call};
use crate::commands::{COMMANDS, Call};
use crate::replication::Slots;
use crate::stored_node::start_epoch;
use crate::{blocking, info, key_registry, replication, timer};
use redis_module::raw;
use std::ffi::{c_char, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

pub(super) const OK: c_int = 0;
pub(super) const ERR: c_int = 1;

/// Valkey's option by which a module says that it bears atomic slot migration, and the number of its events (valkeymodule.h
/// of Valkey 9.0).
const HANDLE_SLOT_MIGRATION: u32 = 1 << 5;
const SLOT_MIGRATION: u64 = 19;

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

/// Begins to be called for more than commands: INFO, events, the timer. Nothing may fail after this.
///
/// There is no subscription to events of keys: on Valkey 8.1 and 9.0 any such subscription leaves a client of MOVE in
/// the other database (valkey pull request 4024), and it would cost every write of every key.
pub fn begin(ctx: Ctx<'_>) {
    // Keys that the timer opens, or a command leaves as they were, are not modified; we say which are.
    // A copy that is loaded beside the nodes that go on being read (repl-diskless-load swapdb) needs nothing of us: where
    // nodes are is a hint, and totals count both.
    let mut options = raw::REDISMODULE_OPTIONS_HANDLE_IO_ERRORS
        | raw::REDISMODULE_OPTIONS_HANDLE_REPL_ASYNC_LOAD
        | raw::REDISMODULE_OPTION_NO_IMPLICIT_SIGNAL_MODIFIED;
    // Redis gives both numbers other meanings.
    let is_valkey = ctx.server_info(c"server", c"valkey_version").is_some();
    if is_valkey {
        options |= HANDLE_SLOT_MIGRATION;
    }
    let slot_migration = is_valkey.then_some(SLOT_MIGRATION);
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
        ]
        .into_iter()
        .chain(slot_migration)
        {
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
    let arg = |i: usize| unsafe { KeyName::new(*argv.add(i)).bytes() };
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
            let (name, before) = (KeyName::new(*argv.add(1)), alloc::main_bytes());
            let words = ArgVector::new(argv, argc);
            with_args(argv, argc, |args| {
                (COMMANDS[I].handler)(&Call {
                    ctx,
                    args,
                    words,
                    name,
                    before,
                })
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
pub static HANDLERS: [Handler; COMMANDS.len()] = [
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

/// What the event of a slot migration brings (valkeymodule.h of Valkey 9.0).
#[repr(C)]
struct SlotMigration {
    version: u64,
    job: [c_char; 41],
    ranges: *const [c_int; 2],
    count: u32,
}

/// The slots of a migration.
///
/// # Safety
/// `data` is that of an event of a slot migration, or null.
unsafe fn slots_of(data: *const c_void) -> Vec<Slots> {
    // SAFETY: the caller's promise; the ranges are an array of so many, first and last slot each.
    let ranges = unsafe {
        match data.cast::<SlotMigration>().as_ref() {
            Some(m) if !m.ranges.is_null() => {
                std::slice::from_raw_parts(m.ranges, m.count as usize)
            }
            _ => &[],
        }
    };
    ranges.iter().map(|[a, b]| (*a as u16, *b as u16)).collect()
}

unsafe extern "C" fn server_event(
    _: *mut raw::RedisModuleCtx,
    event: raw::RedisModuleEvent,
    sub: u64,
    data: *mut c_void,
) {
    guard((), || match (event.id, sub) {
        (raw::REDISMODULE_EVENT_REPLICATION_ROLE_CHANGED, _) => {
            replication::role_may_have_changed();
            start_epoch();
            timer::request_scan();
        }
        (raw::REDISMODULE_EVENT_LOADING, _) => {
            replication::role_may_have_changed();
            if sub == raw::REDISMODULE_SUBEVENT_LOADING_ENDED {
                start_epoch();
                timer::request_scan();
                // What was leased is to be had again (DEBUG RELOAD), and the server wakes nobody for what it loads.
                blocking::all_ready();
            }
        }
        // Subscribed to on Valkey alone. Imports start with 0, and end with 2 (aborted) or 4 (completed).
        // SAFETY: the data of this event, which lives during this call.
        (SLOT_MIGRATION, 0) => replication::import_begins(&unsafe { slots_of(data) }),
        (SLOT_MIGRATION, 2 | 4) => {
            // SAFETY: as above.
            replication::import_ended(&unsafe { slots_of(data) });
            timer::request_scan();
        }
        (raw::REDISMODULE_EVENT_REPL_ASYNC_LOAD, _) => {
            replication::role_may_have_changed();
            timer::request_scan();
        }
        (raw::REDISMODULE_EVENT_FLUSHDB, raw::REDISMODULE_SUBEVENT_FLUSHDB_START) => {
            // SAFETY: the data of this event, which lives during this call.
            if let Some(flush) = unsafe { data.cast::<raw::RedisModuleFlushInfo>().as_ref() } {
                key_registry::clear(flush.dbnum);
            }
        }
        (raw::REDISMODULE_EVENT_SWAPDB, _) => {
            // SAFETY: the data of this event, which lives during this call.
            if let Some(swap) = unsafe { data.cast::<raw::RedisModuleSwapDbInfo>().as_ref() } {
                key_registry::swap(swap.dbnum_first, swap.dbnum_second);
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

/// A call of [`waiters::serve`] is under way.
static IS_SERVING_SOON: AtomicBool = AtomicBool::new(false);

/// Lets [`waiters::serve`] run once what runs now is over (a command, a script, a transaction), or a millisecond later.
pub fn serve_soon(ctx: Ctx<'_>, after_ms: u32) {
    if IS_SERVING_SOON.swap(true, Relaxed) {
        return;
    }
    // SAFETY: the context lives; the function is static.
    unsafe {
        call!(RedisModule_CreateTimer(ctx.raw, after_ms.into(), Some(serve), ptr::null_mut()) else 0);
    }
}

unsafe extern "C" fn serve(ctx: *mut raw::RedisModuleCtx, _: *mut c_void) {
    IS_SERVING_SOON.store(false, Relaxed);
    // SAFETY: the context lives during this call.
    guard((), || blocking::serve(unsafe { Ctx::new(ctx) }));
}

unsafe extern "C" fn write_info(info: *mut raw::RedisModuleInfoCtx, for_crash_report: c_int) {
    guard((), || {
        info::write(&mut InfoWriter { raw: info }, for_crash_report != 0)
    });
}
