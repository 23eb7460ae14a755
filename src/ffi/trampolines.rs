//! The functions that the server calls, except those of commands, values and blocked clients: load, events, the timer,
//! INFO.

use super::alloc;
use super::api::{Ctx, InfoWriter, Level};
use super::guard::guard;
use super::raw::{self, call};
use super::strings::ArgVector;
use std::ffi::{CStr, c_int, c_void};
use std::ptr;

/// The module's handlers of calls of the server.
pub trait Hooks: 'static {
    /// The name of the module.
    const NAME: &'static CStr;

    /// Loads the module, once the server's functions are known. `args` are those of `loadmodule`.
    ///
    /// # Errors
    /// The reason for the log; the server then unloads the module.
    fn load(ctx: Ctx<'_>, args: &[&[u8]]) -> Result<(), String>;

    /// Handles an event of the server.
    fn on_event(event: ServerEvent);

    /// Runs a tick of the timer. Returns the milliseconds until the next tick.
    fn on_tick(ctx: Ctx<'_>) -> u64;

    /// Writes the module's sections of INFO. In a crash report the heap may be damaged: then it neither allocates nor
    /// waits.
    fn write_info(info: &mut InfoWriter, for_crash_report: bool);
}

/// Hash slots of a cluster, the first and the last of a range.
pub type SlotRange = (u16, u16);

/// An event of the server.
pub enum ServerEvent {
    /// The server became a primary or a replica.
    RoleChanged,
    /// A load of the data set began or failed.
    Loading,
    /// A load of the data set ended.
    Loaded,
    /// A data set is loaded beside the one in use (`repl-diskless-load swapdb`), or that has ended.
    AsyncLoading,
    /// Valkey began to import slots.
    SlotImportStarted(Vec<SlotRange>),
    /// An import of slots was completed or aborted.
    SlotImportEnded(Vec<SlotRange>),
    /// A database is about to be flushed; a negative number stands for all.
    DbFlushed(i32),
    /// Two databases were swapped.
    DbsSwapped(i32, i32),
}

/// Loads the module; see [`export_module`](super::export_module).
///
/// # Safety
/// Called by `RedisModule_OnLoad` with its arguments.
pub unsafe fn on_load<H: Hooks>(
    ctx: *mut raw::RedisModuleCtx,
    argv: *mut *mut raw::RedisModuleString,
    argc: c_int,
) -> c_int {
    alloc::set_main_thread();
    // SAFETY: the server's context and arguments, which live during this call. Nothing has allocated before `raw::load`
    // sets the functions.
    let (ctx, argv) = unsafe {
        if !raw::load(ctx, H::NAME, 1) {
            return raw::REDISMODULE_ERR;
        }
        (Ctx::new(ctx), ArgVector::new(argv, argc))
    };
    guard(raw::REDISMODULE_ERR, || {
        std::panic::set_hook(Box::new(|panic| {
            Ctx::none().log(Level::Warning, &format!("agg: internal error: {panic}"));
        }));
        match argv.with_bytes(0, |args| H::load(ctx, args)) {
            Ok(()) => raw::REDISMODULE_OK,
            Err(why) => {
                ctx.log(Level::Warning, &format!("agg: {why}"));
                raw::REDISMODULE_ERR
            }
        }
    })
}

/// Subscribes to INFO, events and the timer. Nothing of a load may fail after this: the server takes back the commands,
/// settings and types of a rejected module, but no timer or subscription.
///
/// There is no subscription to keyspace events: on Valkey 8.1 and 9.0 any such subscription leaves a client of MOVE in
/// the other database (valkey pull request 4024), and it would cost every write of every key.
pub fn subscribe<H: Hooks>(ctx: Ctx<'_>) {
    // Without implicit signals, keys that a timer opens or that a command leaves unchanged do not count as modified.
    // A data set that is loaded beside the one in use needs nothing of the module: its registry of keys is a hint, and
    // its totals count both.
    let mut options = raw::REDISMODULE_OPTIONS_HANDLE_IO_ERRORS
        | raw::REDISMODULE_OPTIONS_HANDLE_REPL_ASYNC_LOAD
        | raw::REDISMODULE_OPTION_NO_IMPLICIT_SIGNAL_MODIFIED;
    let is_valkey = ctx.server_info(c"server", c"valkey_version").is_some();
    if is_valkey {
        options |= raw::VALKEYMODULE_OPTIONS_HANDLE_ATOMIC_SLOT_MIGRATION;
    }
    let slot_migration = is_valkey.then_some(raw::VALKEYMODULE_EVENT_ATOMIC_SLOT_MIGRATION);
    let events = [
        raw::REDISMODULE_EVENT_REPLICATION_ROLE_CHANGED,
        raw::REDISMODULE_EVENT_FLUSHDB,
        raw::REDISMODULE_EVENT_LOADING,
        raw::REDISMODULE_EVENT_SWAPDB,
        raw::REDISMODULE_EVENT_REPL_ASYNC_LOAD,
    ];
    // SAFETY: the context lives; the functions are static.
    unsafe {
        call!(RedisModule_SetModuleOptions(ctx.raw, options) else ());
        call!(RedisModule_RegisterInfoFunc(ctx.raw, Some(write_info::<H>)) else 1);
        for id in events.into_iter().chain(slot_migration) {
            let event = raw::RedisModuleEvent { id, dataver: 1 };
            call!(RedisModule_SubscribeToServerEvent(ctx.raw, event, Some(on_event::<H>)) else 1);
        }
        call!(RedisModule_CreateTimer(ctx.raw, 100, Some(on_tick::<H>), ptr::null_mut()) else 0);
    }
}

unsafe extern "C" fn on_event<H: Hooks>(
    _: *mut raw::RedisModuleCtx,
    event: raw::RedisModuleEvent,
    sub: u64,
    data: *mut c_void,
) {
    guard((), || {
        // SAFETY: the data of this event, which lives during this call.
        if let Some(event) = unsafe { server_event(event.id, sub, data) } {
            H::on_event(event);
        }
    });
}

/// Returns an event in the module's terms; `None` if the module does not handle it.
///
/// # Safety
/// `data` is that of the event, or null.
unsafe fn server_event(id: u64, sub: u64, data: *const c_void) -> Option<ServerEvent> {
    // SAFETY: the caller's promise, here and below.
    let slots = || unsafe { slot_ranges(data) };
    Some(match (id, sub) {
        (raw::REDISMODULE_EVENT_REPLICATION_ROLE_CHANGED, _) => ServerEvent::RoleChanged,
        (raw::REDISMODULE_EVENT_LOADING, raw::REDISMODULE_SUBEVENT_LOADING_ENDED) => {
            ServerEvent::Loaded
        }
        (raw::REDISMODULE_EVENT_LOADING, _) => ServerEvent::Loading,
        (raw::REDISMODULE_EVENT_REPL_ASYNC_LOAD, _) => ServerEvent::AsyncLoading,
        // Subscribed to on Valkey only.
        (raw::VALKEYMODULE_EVENT_ATOMIC_SLOT_MIGRATION, sub) => match sub {
            raw::VALKEYMODULE_SUBEVENT_IMPORT_STARTED => ServerEvent::SlotImportStarted(slots()),
            raw::VALKEYMODULE_SUBEVENT_IMPORT_ABORTED
            | raw::VALKEYMODULE_SUBEVENT_IMPORT_COMPLETED => ServerEvent::SlotImportEnded(slots()),
            _ => return None,
        },
        (raw::REDISMODULE_EVENT_FLUSHDB, raw::REDISMODULE_SUBEVENT_FLUSHDB_START) => {
            // SAFETY: as above.
            let flush = unsafe { data.cast::<raw::RedisModuleFlushInfo>().as_ref() }?;
            ServerEvent::DbFlushed(flush.dbnum)
        }
        (raw::REDISMODULE_EVENT_SWAPDB, _) => {
            // SAFETY: as above.
            let swap = unsafe { data.cast::<raw::RedisModuleSwapDbInfo>().as_ref() }?;
            ServerEvent::DbsSwapped(swap.dbnum_first, swap.dbnum_second)
        }
        _ => return None,
    })
}

/// Returns the slots of a migration.
///
/// # Safety
/// `data` is that of an event of a slot migration, or null.
unsafe fn slot_ranges(data: *const c_void) -> Vec<SlotRange> {
    // SAFETY: the caller's promise. The ranges are an array of `count` pairs of the first and the last slot.
    let ranges = unsafe {
        match data
            .cast::<raw::ValkeyModuleAtomicSlotMigrationInfo>()
            .as_ref()
        {
            Some(m) if !m.ranges.is_null() => {
                std::slice::from_raw_parts(m.ranges, m.count as usize)
            }
            _ => &[],
        }
    };
    ranges.iter().map(|[a, b]| (*a as u16, *b as u16)).collect()
}

/// The timer. Timers of the server fire once, so this one starts the next.
unsafe extern "C" fn on_tick<H: Hooks>(ctx: *mut raw::RedisModuleCtx, _: *mut c_void) {
    // SAFETY: the context lives during this call; the function is static.
    unsafe {
        let next_ms = guard(100, || H::on_tick(Ctx::new(ctx)));
        call!(RedisModule_CreateTimer(ctx, next_ms as i64, Some(on_tick::<H>), ptr::null_mut()) else 0);
    }
}

unsafe extern "C" fn write_info<H: Hooks>(
    info: *mut raw::RedisModuleInfoCtx,
    for_crash_report: c_int,
) {
    guard((), || {
        H::write_info(&mut InfoWriter { raw: info }, for_crash_report != 0);
    });
}
