//! How we call the server: safe wrappers of what the module needs of its API, and nothing else.
//!
//! A handle ([`Ctx`], [`Key`], [`Text`]) lives no longer than the callback that it was made in. Functions that every
//! supported server has (Redis 7.0) are checked once at load ([`missing`]); where one is absent all the same, a call
//! does nothing.

use crate::stored_node::StoredNode;
use redis_module::raw;
use std::borrow::Borrow;
use std::cmp::Ordering;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::marker::PhantomData;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering::Relaxed};

/// Calls a function of the server, or gives the value behind `else` where there is none.
macro_rules! call {
    ($function:ident($($argument:expr),*) else $none:expr) => {
        match raw::$function {
            Some(function) => function($($argument),*),
            None => $none,
        }
    };
}
pub(super) use call;

/// The data type, as the server registered it.
static TYPE: AtomicPtr<raw::RedisModuleType> = AtomicPtr::new(ptr::null_mut());

/// Remembers the registered data type.
pub(super) fn set_type(of: *mut raw::RedisModuleType) {
    TYPE.store(of, Relaxed);
}

/// The name of a function that the module cannot do without and the server does not have.
pub fn missing() -> Option<&'static str> {
    macro_rules! first_missing {
        ($($function:ident),*) => {
            // SAFETY: the server has set these variables at load, before any thread of ours, and never changes them.
            $(if unsafe { (&raw const raw::$function).read() }.is_none() { return Some(stringify!($function)); })*
        };
    }
    first_missing!(
        RedisModule_SetCommandInfo,
        RedisModule_GetCommand,
        RedisModule_RegisterNumericConfig,
        RedisModule_LoadConfigs,
        RedisModule_MallocSize,
        RedisModule_AvoidReplicaTraffic,
        RedisModule_BlockClientOnKeys,
        RedisModule_ReplyWithMap,
        RedisModule_GetDbIdFromIO,
        RedisModule_GetKeyNameFromIO,
        RedisModule_SetDisconnectCallback,
        RedisModule_UnblockClient,
        RedisModule_HoldString,
        RedisModule_ACLCheckCommandPermissions,
        RedisModule_SignalModifiedKey
    );
    None
}

/// Milliseconds of running time, from some moment before the module was loaded; never 0, never back. A coarse clock
/// (a few milliseconds) at a quarter of the price of a fine one: it measures quiet times and leases.
#[inline]
pub fn running_ms() -> u64 {
    #[cfg(target_os = "linux")]
    let clock = libc::CLOCK_MONOTONIC_COARSE;
    #[cfg(not(target_os = "linux"))]
    let clock = libc::CLOCK_MONOTONIC;
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: it writes the structure that it is given, and fails for no clock that exists.
    unsafe { libc::clock_gettime(clock, &mut time) };
    time.tv_sec as u64 * 1000 + time.tv_nsec as u64 / 1_000_000 + 1
}

/// When the command that runs began, Unix microseconds, as the server knows it; `None` before Redis 7.2. It costs nothing,
/// where asking the system is 20 ns.
#[inline]
pub fn command_began_us() -> Option<u64> {
    // SAFETY: it has no preconditions.
    let us = unsafe { call!(RedisModule_CachedMicroseconds() else 0) };
    u64::try_from(us).ok().filter(|us| *us > 0)
}

/// The context of a callback.
#[derive(Clone, Copy)]
pub struct Ctx<'a> {
    pub(super) raw: *mut raw::RedisModuleCtx,
    of: PhantomData<&'a ()>,
}

/// How a line of the server's log is marked.
#[derive(Clone, Copy)]
pub enum Level {
    /// What an operator wants to know.
    Notice,
    /// What an operator must know.
    Warning,
}

/// Servers before 7.2 ignore bits that they do not know.
const TRACELESS: u32 = raw::REDISMODULE_OPEN_KEY_NOTOUCH | raw::REDISMODULE_OPEN_KEY_NOSTATS;

/// How a key is opened.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// To be read.
    Read,
    /// To be changed.
    Write,
    /// To be changed by a timer: without a trace in what the server knows of its use.
    WriteUntracked,
    /// To be read, likewise without a trace.
    ReadUntracked,
}

impl<'a> Ctx<'a> {
    /// # Safety
    /// `raw` is the context of a callback that does not return before `'a` ends, or null.
    pub(super) unsafe fn new(raw: *mut raw::RedisModuleCtx) -> Ctx<'a> {
        Ctx {
            raw,
            of: PhantomData,
        }
    }

    /// Writes a line into the server's log.
    pub fn log(self, level: Level, text: &str) {
        let level = match level {
            Level::Notice => c"notice",
            Level::Warning => c"warning",
        };
        let text = CString::new(text.replace('\0', " ")).unwrap_or_default();
        // SAFETY: the context lives (null is allowed here); the format takes one string, which lives during the call.
        unsafe {
            call!(RedisModule_Log(self.raw, level.as_ptr(), c"%s".as_ptr(), text.as_ptr()) else ())
        }
    }

    /// The state of the server and of the caller: bits `REDISMODULE_CTX_FLAGS_*`.
    pub fn flags(self) -> Flags {
        // SAFETY: the context lives.
        Flags(unsafe { call!(RedisModule_GetContextFlags(self.raw) else 0) } as u32)
    }

    /// The number of the client whose command runs.
    pub fn client_id(self) -> u64 {
        // SAFETY: the context lives.
        unsafe { call!(RedisModule_GetClientId(self.raw) else 0) }
    }

    /// The database that is selected.
    pub fn db(self) -> c_int {
        // SAFETY: the context lives.
        unsafe { call!(RedisModule_GetSelectedDb(self.raw) else 0) }
    }

    /// Selects a database; false if there is none of that number.
    pub fn select_db(self, db: c_int) -> bool {
        // SAFETY: the context lives.
        unsafe { call!(RedisModule_SelectDb(self.raw, db) else 1) == 0 }
    }

    /// A string of the server's kind.
    pub fn text(self, bytes: &[u8]) -> OwnedString<'a> {
        // SAFETY: the bytes are copied; the context is not kept (automatic memory is off).
        let raw = unsafe {
            call!(RedisModule_CreateString(ptr::null_mut(), bytes.as_ptr().cast(), bytes.len()) else ptr::null_mut())
        };
        OwnedString {
            raw,
            of: PhantomData,
        }
    }

    /// Opens a key. `None`: to be read, and there is none.
    pub fn open(self, name: &KeyName<'_>, mode: Mode) -> Option<Key<'a>> {
        let bits = match mode {
            Mode::Read => raw::REDISMODULE_READ,
            Mode::Write => raw::REDISMODULE_READ | raw::REDISMODULE_WRITE,
            Mode::WriteUntracked => raw::REDISMODULE_READ | raw::REDISMODULE_WRITE | TRACELESS,
            Mode::ReadUntracked => raw::REDISMODULE_READ | TRACELESS,
        };
        // SAFETY: the context and the name live; the key is closed when it is dropped.
        let raw = unsafe {
            call!(RedisModule_OpenKey(self.raw, name.raw, bits as c_int) else ptr::null_mut())
        };
        (!raw.is_null()).then_some(Key {
            raw,
            of: PhantomData,
        })
    }

    /// Tells the server that the key was modified: who watches or caches it is told.
    fn signal_modified(self, name: &KeyName<'_>) {
        // SAFETY: the context and the name live.
        unsafe { call!(RedisModule_SignalModifiedKey(self.raw, name.raw) else 1) };
    }

    /// Sends AGG.APPLY to replicas and the AOF; the key was modified.
    pub fn replicate(self, name: &KeyName<'_>, payload: &[u8]) {
        self.signal_modified(name);
        // SAFETY: the format takes a string of the server's kind, and bytes with their length; both live during the
        // call and are copied or retained by it.
        unsafe {
            call!(RedisModule_Replicate(
                self.raw,
                c"AGG.APPLY".as_ptr(),
                c"sb".as_ptr(),
                name.raw,
                payload.as_ptr().cast::<c_char>(),
                payload.len()
            ) else 1)
        };
    }

    /// Sends the command that runs, as it is; its key was modified.
    pub fn replicate_verbatim(self, name: &KeyName<'_>) {
        self.signal_modified(name);
        // SAFETY: the context lives.
        unsafe { call!(RedisModule_ReplicateVerbatim(self.raw) else 1) };
    }

    /// Whether nothing may be replicated now (clients are paused): then nothing may be changed of one's own accord.
    pub fn replication_paused(self) -> bool {
        // SAFETY: it has no preconditions.
        unsafe { call!(RedisModule_AvoidReplicaTraffic() else 0) != 0 }
    }

    /// Answers with an integer.
    #[inline]
    pub fn reply_int(self, value: i64) {
        // SAFETY: the context lives, here and in the replies below.
        unsafe { call!(RedisModule_ReplyWithLongLong(self.raw, value) else 1) };
    }

    /// Answers with bytes.
    pub fn reply_bulk(self, bytes: &[u8]) {
        // SAFETY: the bytes are copied.
        unsafe {
            call!(RedisModule_ReplyWithStringBuffer(self.raw, bytes.as_ptr().cast(), bytes.len()) else 1)
        };
    }

    /// Answers with a list: `len` elements follow.
    pub fn reply_array(self, len: usize) {
        // SAFETY: the context lives.
        unsafe { call!(RedisModule_ReplyWithArray(self.raw, len as _) else 1) };
    }

    /// Answers with a map: `len` pairs follow.
    pub fn reply_map(self, len: usize) {
        // SAFETY: the context lives.
        unsafe { call!(RedisModule_ReplyWithMap(self.raw, len as _) else 1) };
    }

    /// Answers with nil.
    pub fn reply_null(self) {
        // SAFETY: the context lives.
        unsafe { call!(RedisModule_ReplyWithNull(self.raw) else 1) };
    }

    /// Answers with a nil array: nothing came in time.
    pub fn reply_null_array(self) {
        // SAFETY: the context lives.
        unsafe { call!(RedisModule_ReplyWithNullArray(self.raw) else 1) };
    }

    /// Answers that something was done.
    pub fn reply_ok(self) {
        // SAFETY: the text is static.
        unsafe { call!(RedisModule_ReplyWithSimpleString(self.raw, c"OK".as_ptr()) else 1) };
    }

    /// Answers with an error: a line that begins with its code.
    pub fn reply_error(self, line: &str) {
        let line = CString::new(line.replace('\0', " ")).unwrap_or_default();
        // SAFETY: the text is copied.
        unsafe { call!(RedisModule_ReplyWithError(self.raw, line.as_ptr()) else 1) };
    }

    /// The value of a field of INFO, as a string.
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

/// Bits of [`Ctx::flags`].
#[derive(Clone, Copy)]
pub struct Flags(u32);

impl Flags {
    /// This server decides: it is no replica and is not loading.
    pub fn is_active_primary(self) -> bool {
        self.has(raw::REDISMODULE_CTX_FLAGS_MASTER) && !self.is_loading()
    }

    /// It loads a file, or what a primary sends.
    pub fn is_loading(self) -> bool {
        self.has(raw::REDISMODULE_CTX_FLAGS_LOADING | raw::REDISMODULE_CTX_FLAGS_ASYNC_LOADING)
    }

    /// This server is part of a cluster.
    pub fn is_cluster(self) -> bool {
        self.has(raw::REDISMODULE_CTX_FLAGS_CLUSTER)
    }

    /// What runs was sent by a primary, or read from a file.
    pub fn is_repeated(self) -> bool {
        self.has(raw::REDISMODULE_CTX_FLAGS_REPLICATED | raw::REDISMODULE_CTX_FLAGS_LOADING)
    }

    /// In a transaction, a script, or where else nobody can wait.
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

/// A string of the server's kind that we made.
pub struct OwnedString<'a> {
    raw: *mut raw::RedisModuleString,
    of: PhantomData<&'a ()>,
}

impl OwnedString<'_> {
    /// As a name of a key.
    pub fn name(&self) -> KeyName<'_> {
        KeyName {
            raw: self.raw,
            of: PhantomData,
        }
    }
}

impl Drop for OwnedString<'_> {
    fn drop(&mut self) {
        // SAFETY: we made it and nobody else frees it.
        unsafe { call!(RedisModule_FreeString(ptr::null_mut(), self.raw) else ()) }
    }
}

/// A string of the server's kind, as the server lends it.
#[derive(Clone, Copy)]
pub struct KeyName<'a> {
    pub(super) raw: *mut raw::RedisModuleString,
    of: PhantomData<&'a ()>,
}

impl<'a> KeyName<'a> {
    /// # Safety
    /// `raw` is null or a string that lives during `'a`.
    pub(super) unsafe fn new(raw: *mut raw::RedisModuleString) -> KeyName<'a> {
        KeyName {
            raw,
            of: PhantomData,
        }
    }

    /// Its bytes; empty where there is none.
    #[inline]
    pub fn bytes(self) -> &'a [u8] {
        if self.raw.is_null() {
            return &[];
        }
        let mut len = 0;
        // SAFETY: the string lives during 'a, and with it its bytes.
        unsafe {
            let bytes = call!(RedisModule_StringPtrLen(self.raw, &mut len) else ptr::null());
            if bytes.is_null() {
                &[]
            } else {
                std::slice::from_raw_parts(bytes.cast(), len)
            }
        }
    }
}

/// The words of a command, as the server lends them.
#[derive(Clone, Copy)]
pub struct ArgVector<'a> {
    argv: *mut *mut raw::RedisModuleString,
    argc: c_int,
    of: PhantomData<&'a ()>,
}

impl<'a> ArgVector<'a> {
    /// # Safety
    /// `argv` holds `argc` strings that live during `'a`.
    pub(super) unsafe fn new(argv: *mut *mut raw::RedisModuleString, argc: c_int) -> ArgVector<'a> {
        ArgVector {
            argv,
            argc,
            of: PhantomData,
        }
    }

    /// Keeps them.
    pub fn share(self) -> Vec<SharedString> {
        (0..usize::try_from(self.argc).unwrap_or(0))
            // SAFETY: `argv` holds as many strings, which live.
            .map(|i| SharedString::new(unsafe { KeyName::new(*self.argv.add(i)) }))
            .collect()
    }
}

/// A string of the server's kind, kept beyond the callback that lent it. The server counts references, so it costs nothing
/// while the client that sent it waits.
pub struct SharedString {
    raw: *mut raw::RedisModuleString,
}

impl SharedString {
    /// Keeps a string.
    pub fn new(name: KeyName<'_>) -> SharedString {
        // SAFETY: the string lives; without a context nobody but us releases what is held here.
        let raw = unsafe {
            call!(RedisModule_HoldString(ptr::null_mut(), name.raw) else ptr::null_mut())
        };
        SharedString { raw }
    }

    /// As it is used in calls.
    pub fn name(&self) -> KeyName<'_> {
        KeyName {
            raw: self.raw,
            of: PhantomData,
        }
    }
}

impl Clone for SharedString {
    fn clone(&self) -> SharedString {
        SharedString::new(self.name())
    }
}

impl Drop for SharedString {
    fn drop(&mut self) {
        // SAFETY: held by `new` and released once. Names are kept on the main thread alone.
        unsafe { call!(RedisModule_FreeString(ptr::null_mut(), self.raw) else ()) }
    }
}

impl Borrow<[u8]> for SharedString {
    fn borrow(&self) -> &[u8] {
        self.name().bytes()
    }
}

impl PartialEq for SharedString {
    fn eq(&self, other: &SharedString) -> bool {
        self.name().bytes() == other.name().bytes()
    }
}

impl Eq for SharedString {}

impl PartialOrd for SharedString {
    fn partial_cmp(&self, other: &SharedString) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for SharedString {
    fn cmp(&self, other: &SharedString) -> Ordering {
        self.name().bytes().cmp(other.name().bytes())
    }
}

/// An open key.
pub struct Key<'a> {
    raw: *mut raw::RedisModuleKey,
    of: PhantomData<&'a ()>,
}

/// What a key holds.
pub enum Content<'k> {
    /// Nothing.
    Empty,
    /// One of our nodes.
    Node(&'k mut StoredNode),
    /// Something else.
    Other,
}

impl Key<'_> {
    /// What it holds.
    #[inline]
    pub fn content(&mut self) -> Content<'_> {
        // SAFETY: the key is open. A value of our type is a `Held` that `Key::set` or the type's methods boxed; the
        // server runs one callback at a time, and the reference ends with the borrow of the key.
        unsafe {
            // Null where it holds no value of a module.
            let of = call!(RedisModule_ModuleTypeGetType(self.raw) else ptr::null_mut());
            if of.is_null() || of != TYPE.load(Relaxed) {
                let kind = call!(RedisModule_KeyType(self.raw) else 0) as isize;
                return if kind == raw::REDISMODULE_KEYTYPE_EMPTY {
                    Content::Empty
                } else {
                    Content::Other
                };
            }
            let value = call!(RedisModule_ModuleTypeGetValue(self.raw) else ptr::null_mut());
            value
                .cast::<StoredNode>()
                .as_mut()
                .map_or(Content::Other, Content::Node)
        }
    }

    /// Puts a node into an empty key.
    pub fn set(&mut self, stored: Box<StoredNode>) {
        let value = Box::into_raw(stored);
        // SAFETY: the key is open for writing. On success it owns the value and frees it through the type; else it is
        // still ours.
        unsafe {
            if call!(RedisModule_ModuleTypeSetValue(self.raw, TYPE.load(Relaxed), value.cast()) else 1)
                != 0
            {
                drop(Box::from_raw(value));
            }
        }
    }
}

impl Drop for Key<'_> {
    fn drop(&mut self) {
        // SAFETY: it was opened by `Ctx::open` and is closed once.
        unsafe { call!(RedisModule_CloseKey(self.raw) else ()) }
    }
}

/// Looks at the next keys of the selected database, calling `found` with the names of our nodes, until about `most`
/// keys were seen; true at the end. The cursor goes on from call to call.
pub fn scan(ctx: Ctx<'_>, cursor: &ScanCursor, most: usize, found: &mut dyn FnMut(&[u8])) -> bool {
    struct Seen<'f> {
        found: &'f mut dyn FnMut(&[u8]),
        count: usize,
    }
    unsafe extern "C" fn see(
        _: *mut raw::RedisModuleCtx,
        name: *mut raw::RedisModuleString,
        key: *mut raw::RedisModuleKey,
        data: *mut c_void,
    ) {
        // SAFETY: `data` is the `Seen` below, which outlives the scan; name and key live during this call.
        unsafe {
            let seen = &mut *data.cast::<Seen<'_>>();
            seen.count += 1;
            let ours = !key.is_null()
                && call!(RedisModule_ModuleTypeGetType(key) else ptr::null_mut())
                    == TYPE.load(Relaxed);
            if ours {
                let name = KeyName::new(name).bytes();
                super::callbacks::guard((), || (seen.found)(name));
            }
        }
    }
    let mut seen = Seen { found, count: 0 };
    while seen.count < most {
        // SAFETY: the cursor was made by the server; `seen` outlives the call.
        let more = unsafe {
            call!(RedisModule_Scan(ctx.raw, cursor.raw, Some(see), ptr::from_mut(&mut seen).cast()) else 0)
        };
        if more == 0 {
            return true;
        }
    }
    false
}

/// How far a scan has come.
pub struct ScanCursor {
    raw: *mut raw::RedisModuleScanCursor,
}

impl ScanCursor {
    /// At the beginning.
    pub fn new() -> ScanCursor {
        // SAFETY: it has no preconditions.
        let raw = unsafe { call!(RedisModule_ScanCursorCreate() else ptr::null_mut()) };
        ScanCursor { raw }
    }
}

impl Drop for ScanCursor {
    fn drop(&mut self) {
        // SAFETY: it was made by `new` and is destroyed once.
        unsafe { call!(RedisModule_ScanCursorDestroy(self.raw) else ()) }
    }
}

/// A section or field of INFO.
pub struct InfoWriter {
    pub(super) raw: *mut raw::RedisModuleInfoCtx,
}

impl InfoWriter {
    /// Begins a section; false if it was not asked for.
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
