//! Safe wrappers of the server's functions: the context of a callback, its replies, clocks and INFO.
//!
//! Functions that every supported server has are checked once at load ([`raw::missing_function`]). A call of a
//! function that is absent all the same does nothing.

use super::raw::{self, call};
use super::strings::KeyName;
use std::ffi::{CStr, CString, c_int, c_void};
use std::marker::PhantomData;
use std::ptr;

/// Returns milliseconds of a monotonic clock that began before the module was loaded; never 0.
///
/// The clock is coarse (a few milliseconds) and costs a quarter of a fine one. It measures quiet times and leases.
#[inline]
pub fn uptime_ms() -> u64 {
    #[cfg(target_os = "linux")]
    let clock = libc::CLOCK_MONOTONIC_COARSE;
    #[cfg(not(target_os = "linux"))]
    let clock = libc::CLOCK_MONOTONIC;
    let time = read_clock(clock);
    time.tv_sec as u64 * 1000 + time.tv_nsec as u64 / 1_000_000 + 1
}

/// Returns the time of the wall clock, Unix microseconds; 0 before 1970.
///
/// Read directly, as `SystemTime::duration_since` takes 45 instructions, and every command of Redis 7.0 asks.
#[inline]
pub fn unix_time_us() -> u64 {
    let time = read_clock(libc::CLOCK_REALTIME);
    let second = u64::try_from(time.tv_sec).unwrap_or(0);
    second * 1_000_000 + time.tv_nsec as u64 / 1000
}

#[inline]
fn read_clock(clock: libc::clockid_t) -> libc::timespec {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the function writes the structure that it is given, and fails for no clock that exists.
    unsafe { libc::clock_gettime(clock, &mut time) };
    time
}

/// Returns when the running command began, in Unix microseconds, from the server's cached clock; `None` before Redis
/// 7.2. The cached clock costs nothing, a system call 20 ns.
#[inline]
pub fn cached_time_us() -> Option<u64> {
    // SAFETY: the function has no preconditions.
    let us = unsafe { call!(RedisModule_CachedMicroseconds() else 0) };
    u64::try_from(us).ok().filter(|us| *us > 0)
}

/// The context of a callback.
#[derive(Clone, Copy)]
pub struct Ctx<'a> {
    pub(super) raw: *mut raw::RedisModuleCtx,
    lifetime: PhantomData<&'a ()>,
}

/// The level of a message in the server's log.
#[derive(Clone, Copy)]
pub enum Level {
    /// Worth knowing for an operator.
    Notice,
    /// Requires an operator's attention.
    Warning,
}

impl Ctx<'_> {
    /// # Safety
    /// `raw` is the context of a callback that does not return before the lifetime of the result ends, or null.
    pub(super) unsafe fn new(raw: *mut raw::RedisModuleCtx) -> Self {
        Ctx {
            raw,
            lifetime: PhantomData,
        }
    }

    /// Returns a context for callbacks that the server gives none. Only [`Ctx::log`] and [`Ctx::flags`] work with it.
    pub(super) fn none() -> Ctx<'static> {
        Ctx {
            raw: ptr::null_mut(),
            lifetime: PhantomData,
        }
    }

    /// Writes a message into the server's log.
    pub fn log(self, level: Level, text: &str) {
        let level = match level {
            Level::Notice => c"notice",
            Level::Warning => c"warning",
        };
        let text = c_string(text);
        // SAFETY: the context lives, or is null, which is allowed here. The format takes one string, which lives during
        // the call.
        unsafe {
            call!(RedisModule_Log(self.raw, level.as_ptr(), c"%s".as_ptr(), text.as_ptr()) else ())
        }
    }

    /// Returns the state of the server and of the caller.
    pub fn flags(self) -> Flags {
        // SAFETY: the context lives, or is null, which is allowed here.
        Flags(unsafe { call!(RedisModule_GetContextFlags(self.raw) else 0) } as u32)
    }

    /// Returns the id of the client whose command runs, as CLIENT ID shows it.
    pub fn client_id(self) -> u64 {
        // SAFETY: the context lives.
        unsafe { call!(RedisModule_GetClientId(self.raw) else 0) }
    }

    /// Returns the number of the selected database.
    pub fn db(self) -> c_int {
        // SAFETY: the context lives.
        unsafe { call!(RedisModule_GetSelectedDb(self.raw) else 0) }
    }

    /// Selects a database. Returns false if there is none of that number.
    pub fn select_db(self, db: c_int) -> bool {
        // SAFETY: the context lives.
        unsafe { call!(RedisModule_SelectDb(self.raw, db) else 1) == 0 }
    }

    /// Calls `f` once, when the running command, script or transaction is over and `delay_ms` have passed.
    pub fn call_later(self, delay_ms: u32, f: fn(Ctx<'_>)) {
        // SAFETY: the context lives. `run_timer` is static, and turns the data back into the same type of function.
        unsafe {
            let data = f as *mut c_void;
            call!(RedisModule_CreateTimer(self.raw, delay_ms.into(), Some(run_timer), data) else 0);
        }
    }

    /// Tells the server that a key was modified, for WATCH and client-side caching.
    fn signal_modified(self, name: &KeyName<'_>) {
        // SAFETY: the context and the name live.
        unsafe { call!(RedisModule_SignalModifiedKey(self.raw, name.raw) else 1) };
    }

    /// Sends `command name payload` to replicas and the AOF, and marks the key as modified.
    pub fn replicate(self, command: &CStr, name: &KeyName<'_>, payload: &[u8]) {
        self.signal_modified(name);
        // SAFETY: the format takes a string of the server, and bytes with their length. Both live during the call,
        // which copies or retains them.
        unsafe {
            call!(RedisModule_Replicate(
                self.raw,
                command.as_ptr(),
                c"sb".as_ptr(),
                name.raw,
                payload.as_ptr(),
                payload.len()
            ) else 1)
        };
    }

    /// Sends the running command to replicas and the AOF as the client wrote it, and marks its key as modified.
    pub fn replicate_verbatim(self, name: &KeyName<'_>) {
        self.signal_modified(name);
        // SAFETY: the context lives.
        unsafe { call!(RedisModule_ReplicateVerbatim(self.raw) else 1) };
    }

    /// Returns whether nothing may be replicated now, because clients are paused. Until the pause ends, only commands
    /// may change a node: replicating from a timer makes Redis 7.0 fail an assertion and exit.
    pub fn replication_paused(self) -> bool {
        // SAFETY: the function has no preconditions.
        unsafe { call!(RedisModule_AvoidReplicaTraffic() else 0) != 0 }
    }

    /// Replies with an integer.
    #[inline]
    pub fn reply_int(self, value: i64) {
        // SAFETY: the context lives, here and in the replies below.
        unsafe { call!(RedisModule_ReplyWithLongLong(self.raw, value) else 1) };
    }

    /// Replies with a bulk string.
    pub fn reply_bulk(self, bytes: &[u8]) {
        // SAFETY: the bytes are copied.
        unsafe {
            call!(RedisModule_ReplyWithStringBuffer(self.raw, bytes.as_ptr().cast(), bytes.len()) else 1)
        };
    }

    /// Begins an array of `len` elements, which follow as replies.
    pub fn reply_array(self, len: usize) {
        // SAFETY: the context lives.
        unsafe { call!(RedisModule_ReplyWithArray(self.raw, len as _) else 1) };
    }

    /// Begins a map of `len` pairs, which follow as replies.
    pub fn reply_map(self, len: usize) {
        // SAFETY: the context lives.
        unsafe { call!(RedisModule_ReplyWithMap(self.raw, len as _) else 1) };
    }

    /// Replies with nil.
    pub fn reply_null(self) {
        // SAFETY: the context lives.
        unsafe { call!(RedisModule_ReplyWithNull(self.raw) else 1) };
    }

    /// Replies with a nil array, as blocking commands do when their time is over.
    pub fn reply_null_array(self) {
        // SAFETY: the context lives.
        unsafe { call!(RedisModule_ReplyWithNullArray(self.raw) else 1) };
    }

    /// Replies with OK.
    pub fn reply_ok(self) {
        // SAFETY: the text is static.
        unsafe { call!(RedisModule_ReplyWithSimpleString(self.raw, c"OK".as_ptr()) else 1) };
    }

    /// Replies with an error: a line that begins with its code.
    pub fn reply_error(self, line: &str) {
        let line = c_string(line);
        // SAFETY: the text is copied.
        unsafe { call!(RedisModule_ReplyWithError(self.raw, line.as_ptr()) else 1) };
    }

    /// Returns the value of a field of the server's INFO.
    pub fn server_info(self, section: &CStr, field: &CStr) -> Option<String> {
        // SAFETY: the data is freed below, after its field was copied.
        unsafe {
            let data =
                call!(RedisModule_GetServerInfo(self.raw, section.as_ptr()) else ptr::null_mut());
            if data.is_null() {
                return None;
            }
            let value =
                call!(RedisModule_ServerInfoGetFieldC(data, field.as_ptr()) else ptr::null());
            let value =
                (!value.is_null()).then(|| CStr::from_ptr(value).to_string_lossy().into_owned());
            call!(RedisModule_FreeServerInfo(self.raw, data) else ());
            value
        }
    }
}

/// The timer of [`Ctx::call_later`].
unsafe extern "C" fn run_timer(ctx: *mut raw::RedisModuleCtx, data: *mut c_void) {
    // SAFETY: `call_later` made the data of a function of this type. The context lives during this call.
    super::guard::guard((), || unsafe {
        let f = std::mem::transmute::<*mut c_void, fn(Ctx<'_>)>(data);
        f(Ctx::new(ctx));
    });
}

/// Returns `text` as a C string, with spaces for zero bytes.
fn c_string(text: &str) -> CString {
    CString::new(text.replace('\0', " ")).unwrap_or_default()
}

/// The state of the server and of the caller.
#[derive(Clone, Copy)]
pub struct Flags(u32);

impl Flags {
    /// Returns whether this server is a primary and loads no data set. Only then it decides what happens to a node.
    pub fn is_active_primary(self) -> bool {
        self.has(raw::REDISMODULE_CTX_FLAGS_MASTER) && !self.is_loading()
    }

    /// Returns whether the server loads a file, or the data set of its primary.
    pub fn is_loading(self) -> bool {
        self.has(raw::REDISMODULE_CTX_FLAGS_LOADING | raw::REDISMODULE_CTX_FLAGS_ASYNC_LOADING)
    }

    /// Returns whether the server is part of a cluster.
    pub fn is_cluster(self) -> bool {
        self.has(raw::REDISMODULE_CTX_FLAGS_CLUSTER)
    }

    /// Returns whether the running command was sent by a primary or read from a file.
    pub fn is_replicated(self) -> bool {
        self.has(raw::REDISMODULE_CTX_FLAGS_REPLICATED | raw::REDISMODULE_CTX_FLAGS_LOADING)
    }

    /// Returns whether the client cannot be blocked, as in a transaction or script.
    pub fn denies_blocking(self) -> bool {
        self.has(
            raw::REDISMODULE_CTX_FLAGS_DENY_BLOCKING
                | raw::REDISMODULE_CTX_FLAGS_MULTI
                | raw::REDISMODULE_CTX_FLAGS_LUA
                | raw::REDISMODULE_CTX_FLAGS_LOADING,
        )
    }

    fn has(self, any: u32) -> bool {
        self.0 & any != 0
    }
}

/// Writes the module's sections of INFO.
pub struct InfoWriter {
    pub(super) raw: *mut raw::RedisModuleInfoCtx,
}

impl InfoWriter {
    /// Begins a section. Returns false if the client did not ask for it.
    pub fn section(&mut self, name: &CStr) -> bool {
        // SAFETY: the writer lives during the callback that it was made in.
        unsafe { call!(RedisModule_InfoAddSection(self.raw, name.as_ptr()) else 1) == 0 }
    }

    /// Writes a field.
    pub fn field(&mut self, name: &CStr, value: u64) {
        // SAFETY: as above.
        unsafe { call!(RedisModule_InfoAddFieldULongLong(self.raw, name.as_ptr(), value) else 1) };
    }
}
