//! Declarations of the server's module API: the functions, structures and constants that the module uses.
//!
//! They are written by hand, as the module uses 77 of the API's 400 functions. With generated bindings (the crate
//! redis-module) the module linked 41 more crates, and needed a C compiler and libclang. The API is stable:
//! servers add functions and versions of structures, and change none that exist. The names are those of `redismodule.h`
//! and `valkeymodule.h`; Valkey answers to both prefixes.
//!
//! # Invariants
//! [`load`] sets the function variables once, on the main thread, before any other thread of the server calls the
//! module. They never change afterwards. A function that the server does not have stays `None`.
//!
//! Every declaration matches the header of Redis 7.0, the oldest server supported, or, where it is newer, the header of
//! the server that added it: the functions of [`NEWER`], `display_text` of arguments, `aux_save2`, opening keys without
//! effects, and what Valkey's name precedes. The assertions at the end check the sizes of the structures that the
//! server reads or writes, and the places of fields that could be exchanged.
#![allow(non_upper_case_globals)]

use std::ffi::{CStr, c_char, c_int, c_long, c_longlong, c_uint, c_ulonglong, c_void};
use std::mem::offset_of;

/// Declares types of which the module only holds pointers.
macro_rules! opaque {
    ($($(#[$doc:meta])* $name:ident;)*) => {
        $($(#[$doc])* #[repr(C)] pub struct $name { _private: [u8; 0] })*
    };
}

opaque! {
    /// The context of a callback.
    RedisModuleCtx;
    /// A string of the server.
    RedisModuleString;
    /// An open key.
    RedisModuleKey;
    /// A registered data type.
    RedisModuleType;
    /// A registered command.
    RedisModuleCommand;
    /// A client that waits.
    RedisModuleBlockedClient;
    /// A file or connection that a value is saved to or loaded from.
    RedisModuleIO;
    /// The digest of DEBUG DIGEST-VALUE.
    RedisModuleDigest;
    /// The key of a value, for the methods of its type.
    RedisModuleKeyOptCtx;
    /// The position of a scan.
    RedisModuleScanCursor;
    /// A reply of INFO under construction.
    RedisModuleInfoCtx;
    /// A section of the server's INFO.
    RedisModuleServerInfoData;
    /// A user of the ACL.
    RedisModuleUser;
}

pub type CommandFn =
    unsafe extern "C" fn(*mut RedisModuleCtx, *mut *mut RedisModuleString, c_int) -> c_int;
pub type DisconnectFn = unsafe extern "C" fn(*mut RedisModuleCtx, *mut RedisModuleBlockedClient);
pub type FreePrivateDataFn = unsafe extern "C" fn(*mut RedisModuleCtx, *mut c_void);
pub type TimerFn = unsafe extern "C" fn(*mut RedisModuleCtx, *mut c_void);
pub type InfoFn = unsafe extern "C" fn(*mut RedisModuleInfoCtx, c_int);
pub type EventFn = unsafe extern "C" fn(*mut RedisModuleCtx, RedisModuleEvent, u64, *mut c_void);
pub type ScanFn = unsafe extern "C" fn(
    *mut RedisModuleCtx,
    *mut RedisModuleString,
    *mut RedisModuleKey,
    *mut c_void,
);
pub type GetNumericFn = unsafe extern "C" fn(*const c_char, *mut c_void) -> c_longlong;
pub type SetNumericFn = unsafe extern "C" fn(
    *const c_char,
    c_longlong,
    *mut c_void,
    *mut *mut RedisModuleString,
) -> c_int;
pub type GetStringFn = unsafe extern "C" fn(*const c_char, *mut c_void) -> *mut RedisModuleString;
pub type SetStringFn = unsafe extern "C" fn(
    *const c_char,
    *mut RedisModuleString,
    *mut c_void,
    *mut *mut RedisModuleString,
) -> c_int;
pub type GetBoolFn = unsafe extern "C" fn(*const c_char, *mut c_void) -> c_int;
pub type SetBoolFn =
    unsafe extern "C" fn(*const c_char, c_int, *mut c_void, *mut *mut RedisModuleString) -> c_int;
pub type ApplyFn =
    unsafe extern "C" fn(*mut RedisModuleCtx, *mut c_void, *mut *mut RedisModuleString) -> c_int;

/// Calls a function of the server, or evaluates to the value behind `else` if the server does not have it.
macro_rules! call {
    ($function:ident($($argument:expr),* $(,)?) else $none:expr) => {
        match $crate::ffi::raw::$function {
            Some(function) => function($($argument),*),
            None => $none,
        }
    };
}
pub(super) use call;

/// Declares a variable for each function, and a function that sets all of them.
macro_rules! functions {
    ($($name:ident: fn $args:tt $(-> $result:ty)?;)*) => {
        $(pub static mut $name: Option<unsafe extern "C" fn $args $(-> $result)?> = None;)*

        /// Asks the server for every function.
        ///
        /// # Safety
        /// `get_api` is the server's; nothing else runs that reads or writes the variables.
        unsafe fn set_functions(get_api: GetApi) {
            $(
                let name = concat!(stringify!($name), "\0").as_ptr().cast();
                // SAFETY: the name is static and ends with a zero. The server writes a function of this name, which
                // has the declared type, or leaves the variable alone; `None` is a null pointer.
                unsafe { get_api(name, (&raw mut $name).cast()) };
            )*
        }

        /// Returns the name of a function that the module requires and the server does not have.
        pub fn missing_function() -> Option<&'static str> {
            $(
                // SAFETY: `load` has set the variables, and they never change afterwards.
                let is_missing = unsafe { (&raw const $name).read() }.is_none();
                if is_missing && !NEWER.contains(&stringify!($name)) {
                    return Some(stringify!($name));
                }
            )*
            None
        }
    };
}

/// The functions that some supported servers do not have.
const NEWER: [&str; 3] = [
    "RedisModule_CachedMicroseconds",
    "RedisModule_AddACLCategory",
    "RedisModule_SetCommandACLCategories",
];

functions! {
    RedisModule_SetModuleAttribs: fn(*mut RedisModuleCtx, *const c_char, c_int, c_int);
    RedisModule_IsModuleNameBusy: fn(*const c_char) -> c_int;
    RedisModule_SetModuleOptions: fn(*mut RedisModuleCtx, c_int);
    RedisModule_Log: fn(*mut RedisModuleCtx, *const c_char, *const c_char, ...);

    RedisModule_Alloc: fn(usize) -> *mut c_void;
    RedisModule_Calloc: fn(usize, usize) -> *mut c_void;
    RedisModule_Realloc: fn(*mut c_void, usize) -> *mut c_void;
    RedisModule_Free: fn(*mut c_void);
    RedisModule_MallocSize: fn(*mut c_void) -> usize;

    RedisModule_CreateString: fn(*mut RedisModuleCtx, *const c_char, usize) -> *mut RedisModuleString;
    RedisModule_HoldString: fn(*mut RedisModuleCtx, *mut RedisModuleString) -> *mut RedisModuleString;
    RedisModule_FreeString: fn(*mut RedisModuleCtx, *mut RedisModuleString);
    RedisModule_StringPtrLen: fn(*const RedisModuleString, *mut usize) -> *const c_char;

    RedisModule_GetContextFlags: fn(*mut RedisModuleCtx) -> c_int;
    RedisModule_GetClientId: fn(*mut RedisModuleCtx) -> c_ulonglong;
    RedisModule_GetSelectedDb: fn(*mut RedisModuleCtx) -> c_int;
    RedisModule_SelectDb: fn(*mut RedisModuleCtx, c_int) -> c_int;
    RedisModule_CachedMicroseconds: fn() -> c_longlong;
    RedisModule_CreateTimer: fn(*mut RedisModuleCtx, c_longlong, Option<TimerFn>, *mut c_void) -> u64;

    RedisModule_OpenKey: fn(*mut RedisModuleCtx, *mut RedisModuleString, c_int) -> *mut RedisModuleKey;
    RedisModule_CloseKey: fn(*mut RedisModuleKey);
    RedisModule_KeyType: fn(*mut RedisModuleKey) -> c_int;
    RedisModule_SignalModifiedKey: fn(*mut RedisModuleCtx, *mut RedisModuleString) -> c_int;
    RedisModule_ScanCursorCreate: fn() -> *mut RedisModuleScanCursor;
    RedisModule_ScanCursorDestroy: fn(*mut RedisModuleScanCursor);
    RedisModule_Scan: fn(*mut RedisModuleCtx, *mut RedisModuleScanCursor, Option<ScanFn>, *mut c_void) -> c_int;

    RedisModule_Replicate: fn(*mut RedisModuleCtx, *const c_char, *const c_char, ...) -> c_int;
    RedisModule_ReplicateVerbatim: fn(*mut RedisModuleCtx) -> c_int;
    RedisModule_AvoidReplicaTraffic: fn() -> c_int;

    RedisModule_ReplyWithLongLong: fn(*mut RedisModuleCtx, c_longlong) -> c_int;
    RedisModule_ReplyWithStringBuffer: fn(*mut RedisModuleCtx, *const c_char, usize) -> c_int;
    RedisModule_ReplyWithSimpleString: fn(*mut RedisModuleCtx, *const c_char) -> c_int;
    RedisModule_ReplyWithError: fn(*mut RedisModuleCtx, *const c_char) -> c_int;
    RedisModule_ReplyWithArray: fn(*mut RedisModuleCtx, c_long) -> c_int;
    RedisModule_ReplyWithMap: fn(*mut RedisModuleCtx, c_long) -> c_int;
    RedisModule_ReplyWithNull: fn(*mut RedisModuleCtx) -> c_int;
    RedisModule_ReplyWithNullArray: fn(*mut RedisModuleCtx) -> c_int;

    RedisModule_CreateCommand: fn(
        *mut RedisModuleCtx, *const c_char, Option<CommandFn>, *const c_char, c_int, c_int, c_int
    ) -> c_int;
    RedisModule_GetCommand: fn(*mut RedisModuleCtx, *const c_char) -> *mut RedisModuleCommand;
    RedisModule_SetCommandInfo: fn(*mut RedisModuleCommand, *const RedisModuleCommandInfo) -> c_int;
    RedisModule_AddACLCategory: fn(*mut RedisModuleCtx, *const c_char) -> c_int;
    RedisModule_SetCommandACLCategories: fn(*mut RedisModuleCommand, *const c_char) -> c_int;

    RedisModule_CreateDataType: fn(
        *mut RedisModuleCtx, *const c_char, c_int, *mut RedisModuleTypeMethods
    ) -> *mut RedisModuleType;
    RedisModule_ModuleTypeGetType: fn(*mut RedisModuleKey) -> *mut RedisModuleType;
    RedisModule_ModuleTypeGetValue: fn(*mut RedisModuleKey) -> *mut c_void;
    RedisModule_ModuleTypeSetValue: fn(*mut RedisModuleKey, *mut RedisModuleType, *mut c_void) -> c_int;
    RedisModule_SaveStringBuffer: fn(*mut RedisModuleIO, *const c_char, usize);
    RedisModule_LoadStringBuffer: fn(*mut RedisModuleIO, *mut usize) -> *mut c_char;
    RedisModule_IsIOError: fn(*mut RedisModuleIO) -> c_int;
    RedisModule_GetContextFromIO: fn(*mut RedisModuleIO) -> *mut RedisModuleCtx;
    RedisModule_GetKeyNameFromIO: fn(*mut RedisModuleIO) -> *const RedisModuleString;
    RedisModule_GetDbIdFromIO: fn(*mut RedisModuleIO) -> c_int;
    RedisModule_EmitAOF: fn(*mut RedisModuleIO, *const c_char, *const c_char, ...);
    RedisModule_DigestAddStringBuffer: fn(*mut RedisModuleDigest, *const c_char, usize);
    RedisModule_DigestEndSequence: fn(*mut RedisModuleDigest);
    RedisModule_GetToKeyNameFromOptCtx: fn(*mut RedisModuleKeyOptCtx) -> *const RedisModuleString;
    RedisModule_GetToDbIdFromOptCtx: fn(*mut RedisModuleKeyOptCtx) -> c_int;

    RedisModule_RegisterNumericConfig: fn(
        *mut RedisModuleCtx, *const c_char, c_longlong, c_uint, c_longlong, c_longlong,
        Option<GetNumericFn>, Option<SetNumericFn>, Option<ApplyFn>, *mut c_void
    ) -> c_int;
    RedisModule_RegisterStringConfig: fn(
        *mut RedisModuleCtx, *const c_char, *const c_char, c_uint,
        Option<GetStringFn>, Option<SetStringFn>, Option<ApplyFn>, *mut c_void
    ) -> c_int;
    RedisModule_RegisterBoolConfig: fn(
        *mut RedisModuleCtx, *const c_char, c_int, c_uint,
        Option<GetBoolFn>, Option<SetBoolFn>, Option<ApplyFn>, *mut c_void
    ) -> c_int;
    RedisModule_LoadConfigs: fn(*mut RedisModuleCtx) -> c_int;

    RedisModule_SubscribeToServerEvent: fn(*mut RedisModuleCtx, RedisModuleEvent, Option<EventFn>) -> c_int;
    RedisModule_RegisterInfoFunc: fn(*mut RedisModuleCtx, Option<InfoFn>) -> c_int;
    RedisModule_InfoAddSection: fn(*mut RedisModuleInfoCtx, *const c_char) -> c_int;
    RedisModule_InfoAddFieldULongLong: fn(*mut RedisModuleInfoCtx, *const c_char, c_ulonglong) -> c_int;
    RedisModule_GetServerInfo: fn(*mut RedisModuleCtx, *const c_char) -> *mut RedisModuleServerInfoData;
    RedisModule_FreeServerInfo: fn(*mut RedisModuleCtx, *mut RedisModuleServerInfoData);
    RedisModule_ServerInfoGetFieldC: fn(*mut RedisModuleServerInfoData, *const c_char) -> *const c_char;

    RedisModule_BlockClientOnKeys: fn(
        *mut RedisModuleCtx, Option<CommandFn>, Option<CommandFn>, Option<FreePrivateDataFn>, c_longlong,
        *mut *mut RedisModuleString, c_int, *mut c_void
    ) -> *mut RedisModuleBlockedClient;
    RedisModule_UnblockClient: fn(*mut RedisModuleBlockedClient, *mut c_void) -> c_int;
    RedisModule_SetDisconnectCallback: fn(*mut RedisModuleBlockedClient, Option<DisconnectFn>);
    RedisModule_GetBlockedClientPrivateData: fn(*mut RedisModuleCtx) -> *mut c_void;
    RedisModule_GetBlockedClientReadyKey: fn(*mut RedisModuleCtx) -> *mut RedisModuleString;

    RedisModule_GetClientUserNameById: fn(*mut RedisModuleCtx, u64) -> *mut RedisModuleString;
    RedisModule_GetModuleUserFromUserName: fn(*mut RedisModuleString) -> *mut RedisModuleUser;
    RedisModule_FreeModuleUser: fn(*mut RedisModuleUser);
    RedisModule_ACLCheckCommandPermissions: fn(
        *mut RedisModuleUser, *mut *mut RedisModuleString, c_int
    ) -> c_int;
}

/// The function that hands out all others; see [`load`].
type GetApi = unsafe extern "C" fn(*const c_char, *mut c_void) -> c_int;

/// Sets the function variables and names the module to the server. Returns false if another module has the name.
///
/// # Safety
/// `ctx` is the context that the server gave to `RedisModule_OnLoad`, and this is called once, before anything else of
/// the module runs.
pub unsafe fn load(ctx: *mut RedisModuleCtx, name: &'static CStr, version: c_int) -> bool {
    // SAFETY: the first word of this context is a pointer to the server's `RM_GetApi`; that is how `RedisModule_Init`
    // of the header finds it. No other thread knows the module yet.
    unsafe {
        set_functions(*ctx.cast::<GetApi>());
        if RedisModule_IsModuleNameBusy.is_some_and(|is_busy| is_busy(name.as_ptr()) != 0) {
            return false;
        }
        let Some(set_attributes) = RedisModule_SetModuleAttribs else {
            return false;
        };
        set_attributes(ctx, name.as_ptr(), version, REDISMODULE_APIVER_1);
    }
    true
}

/// The methods of a data type. Servers before 7.2 know version 4 and ignore what follows.
#[repr(C)]
pub struct RedisModuleTypeMethods {
    pub version: u64,
    pub rdb_load: Option<unsafe extern "C" fn(*mut RedisModuleIO, c_int) -> *mut c_void>,
    pub rdb_save: Option<unsafe extern "C" fn(*mut RedisModuleIO, *mut c_void)>,
    pub aof_rewrite:
        Option<unsafe extern "C" fn(*mut RedisModuleIO, *mut RedisModuleString, *mut c_void)>,
    pub mem_usage: Option<unsafe extern "C" fn(*const c_void) -> usize>,
    pub digest: Option<unsafe extern "C" fn(*mut RedisModuleDigest, *mut c_void)>,
    pub free: Option<unsafe extern "C" fn(*mut c_void)>,
    pub aux_load: Option<unsafe extern "C" fn(*mut RedisModuleIO, c_int, c_int) -> c_int>,
    pub aux_save: Option<unsafe extern "C" fn(*mut RedisModuleIO, c_int)>,
    pub aux_save_triggers: c_int,
    pub free_effort: Option<unsafe extern "C" fn(*mut RedisModuleString, *const c_void) -> usize>,
    pub unlink: Option<unsafe extern "C" fn(*mut RedisModuleString, *const c_void)>,
    pub copy: Option<
        unsafe extern "C" fn(
            *mut RedisModuleString,
            *mut RedisModuleString,
            *const c_void,
        ) -> *mut c_void,
    >,
    /// Unused, so its type is of no interest.
    pub defrag: Option<unsafe extern "C" fn()>,
    pub mem_usage2:
        Option<unsafe extern "C" fn(*mut RedisModuleKeyOptCtx, *const c_void, usize) -> usize>,
    pub free_effort2:
        Option<unsafe extern "C" fn(*mut RedisModuleKeyOptCtx, *const c_void) -> usize>,
    pub unlink2: Option<unsafe extern "C" fn(*mut RedisModuleKeyOptCtx, *const c_void)>,
    pub copy2:
        Option<unsafe extern "C" fn(*mut RedisModuleKeyOptCtx, *const c_void) -> *mut c_void>,
    pub aux_save2: Option<unsafe extern "C" fn(*mut RedisModuleIO, c_int)>,
}

/// The layout of the structures below.
#[repr(C)]
pub struct RedisModuleCommandInfoVersion {
    pub version: c_int,
    pub sizeof_historyentry: usize,
    pub sizeof_keyspec: usize,
    pub sizeof_arg: usize,
}

/// The description of a command in COMMAND INFO and COMMAND DOCS.
#[repr(C)]
pub struct RedisModuleCommandInfo {
    pub version: *const RedisModuleCommandInfoVersion,
    pub summary: *const c_char,
    pub complexity: *const c_char,
    pub since: *const c_char,
    pub history: *mut RedisModuleCommandHistoryEntry,
    pub tips: *const c_char,
    pub arity: c_int,
    pub key_specs: *mut RedisModuleCommandKeySpec,
    pub args: *mut RedisModuleCommandArg,
}

#[repr(C)]
pub struct RedisModuleCommandHistoryEntry {
    pub since: *const c_char,
    pub changes: *const c_char,
}

/// The places of the keys of a command. Ends a list when it is all zero.
#[repr(C)]
pub struct RedisModuleCommandKeySpec {
    pub notes: *const c_char,
    pub flags: u64,
    pub begin_search_type: c_uint,
    pub begin_search: BeginSearch,
    pub find_keys_type: c_uint,
    pub find_keys: FindKeys,
}

#[repr(C)]
pub union BeginSearch {
    pub index: c_int,
    pub keyword: BeginSearchKeyword,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct BeginSearchKeyword {
    pub keyword: *const c_char,
    pub start_from: c_int,
}

#[repr(C)]
pub union FindKeys {
    pub range: FindKeysRange,
    pub key_number: [c_int; 3],
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct FindKeysRange {
    pub last_key: c_int,
    pub key_step: c_int,
    pub limit: c_int,
}

/// An argument of a command. Ends a list when it is all zero.
#[repr(C)]
pub struct RedisModuleCommandArg {
    pub name: *const c_char,
    pub type_: c_uint,
    pub key_spec_index: c_int,
    pub token: *const c_char,
    pub summary: *const c_char,
    pub since: *const c_char,
    pub flags: c_int,
    pub deprecated_since: *const c_char,
    pub subargs: *mut RedisModuleCommandArg,
    pub display_text: *const c_char,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct RedisModuleEvent {
    pub id: u64,
    pub dataver: u64,
}

/// The data of [`REDISMODULE_EVENT_FLUSHDB`].
#[repr(C)]
pub struct RedisModuleFlushInfo {
    pub version: u64,
    pub sync: i32,
    /// -1: all databases.
    pub dbnum: i32,
}

/// The data of [`REDISMODULE_EVENT_SWAPDB`].
#[repr(C)]
pub struct RedisModuleSwapDbInfo {
    pub version: u64,
    pub dbnum_first: i32,
    pub dbnum_second: i32,
}

/// The data of [`VALKEYMODULE_EVENT_ATOMIC_SLOT_MIGRATION`] (valkeymodule.h of Valkey 9.0).
#[repr(C)]
pub struct ValkeyModuleAtomicSlotMigrationInfo {
    pub version: u64,
    pub job: [c_char; 41],
    pub ranges: *const [c_int; 2],
    pub count: u32,
}

pub const REDISMODULE_OK: c_int = 0;
pub const REDISMODULE_ERR: c_int = 1;
pub const REDISMODULE_APIVER_1: c_int = 1;

pub const REDISMODULE_READ: c_int = 1;
pub const REDISMODULE_WRITE: c_int = 1 << 1;
pub const REDISMODULE_OPEN_KEY_NOTOUCH: c_int = 1 << 16;
pub const REDISMODULE_OPEN_KEY_NOSTATS: c_int = 1 << 18;
pub const REDISMODULE_KEYTYPE_EMPTY: c_int = 0;
pub const REDISMODULE_TYPE_METHOD_VERSION: u64 = 5;

pub const REDISMODULE_CTX_FLAGS_LUA: u32 = 1;
pub const REDISMODULE_CTX_FLAGS_MULTI: u32 = 1 << 1;
pub const REDISMODULE_CTX_FLAGS_MASTER: u32 = 1 << 2;
pub const REDISMODULE_CTX_FLAGS_CLUSTER: u32 = 1 << 5;
pub const REDISMODULE_CTX_FLAGS_REPLICATED: u32 = 1 << 12;
pub const REDISMODULE_CTX_FLAGS_LOADING: u32 = 1 << 13;
pub const REDISMODULE_CTX_FLAGS_DENY_BLOCKING: u32 = 1 << 21;
pub const REDISMODULE_CTX_FLAGS_ASYNC_LOADING: u32 = 1 << 23;

pub const REDISMODULE_OPTIONS_HANDLE_IO_ERRORS: c_int = 1;
pub const REDISMODULE_OPTION_NO_IMPLICIT_SIGNAL_MODIFIED: c_int = 1 << 1;
pub const REDISMODULE_OPTIONS_HANDLE_REPL_ASYNC_LOAD: c_int = 1 << 2;
/// Redis gives this bit another meaning.
pub const VALKEYMODULE_OPTIONS_HANDLE_ATOMIC_SLOT_MIGRATION: c_int = 1 << 5;

pub const REDISMODULE_EVENT_REPLICATION_ROLE_CHANGED: u64 = 0;
pub const REDISMODULE_EVENT_FLUSHDB: u64 = 2;
pub const REDISMODULE_EVENT_LOADING: u64 = 3;
pub const REDISMODULE_EVENT_SWAPDB: u64 = 11;
pub const REDISMODULE_EVENT_REPL_ASYNC_LOAD: u64 = 14;
/// Redis gives this number another meaning.
pub const VALKEYMODULE_EVENT_ATOMIC_SLOT_MIGRATION: u64 = 19;
pub const REDISMODULE_SUBEVENT_FLUSHDB_START: u64 = 0;
pub const REDISMODULE_SUBEVENT_LOADING_ENDED: u64 = 3;
pub const VALKEYMODULE_SUBEVENT_IMPORT_STARTED: u64 = 0;
pub const VALKEYMODULE_SUBEVENT_IMPORT_ABORTED: u64 = 2;
pub const VALKEYMODULE_SUBEVENT_IMPORT_COMPLETED: u64 = 4;

pub const REDISMODULE_CONFIG_DEFAULT: c_uint = 0;
pub const REDISMODULE_CONFIG_MEMORY: c_uint = 1 << 7;

pub const REDISMODULE_CMD_KEY_RO: u64 = 1;
pub const REDISMODULE_CMD_KEY_RW: u64 = 1 << 1;
pub const REDISMODULE_CMD_KEY_ACCESS: u64 = 1 << 4;
pub const REDISMODULE_CMD_KEY_UPDATE: u64 = 1 << 5;
pub const REDISMODULE_CMD_KEY_DELETE: u64 = 1 << 7;
pub const REDISMODULE_KSPEC_BS_INDEX: c_uint = 2;
pub const REDISMODULE_KSPEC_FK_RANGE: c_uint = 2;

pub const REDISMODULE_ARG_TYPE_STRING: c_uint = 0;
pub const REDISMODULE_ARG_TYPE_INTEGER: c_uint = 1;
pub const REDISMODULE_ARG_TYPE_KEY: c_uint = 3;
pub const REDISMODULE_ARG_TYPE_PATTERN: c_uint = 4;
pub const REDISMODULE_ARG_TYPE_UNIX_TIME: c_uint = 5;
pub const REDISMODULE_ARG_TYPE_PURE_TOKEN: c_uint = 6;
pub const REDISMODULE_ARG_TYPE_ONEOF: c_uint = 7;
pub const REDISMODULE_ARG_TYPE_BLOCK: c_uint = 8;
pub const REDISMODULE_CMD_ARG_NONE: c_int = 0;
pub const REDISMODULE_CMD_ARG_OPTIONAL: c_int = 1;
pub const REDISMODULE_CMD_ARG_MULTIPLE: c_int = 1 << 1;

// The sizes that a C compiler gives these structures on 64-bit systems.
#[cfg(target_pointer_width = "64")]
const _: () = {
    assert!(size_of::<RedisModuleTypeMethods>() == 152);
    assert!(size_of::<RedisModuleCommandInfoVersion>() == 32);
    assert!(size_of::<RedisModuleCommandInfo>() == 72);
    assert!(size_of::<RedisModuleCommandHistoryEntry>() == 16);
    assert!(size_of::<RedisModuleCommandKeySpec>() == 56);
    assert!(size_of::<RedisModuleCommandArg>() == 72);
    assert!(size_of::<RedisModuleEvent>() == 16);
    assert!(size_of::<RedisModuleFlushInfo>() == 16);
    assert!(size_of::<RedisModuleSwapDbInfo>() == 16);
    assert!(size_of::<ValkeyModuleAtomicSlotMigrationInfo>() == 72);
    assert!(offset_of!(RedisModuleTypeMethods, copy2) == 136);
    assert!(offset_of!(RedisModuleTypeMethods, unlink2) == 128);
    assert!(offset_of!(RedisModuleCommandInfo, summary) == 8);
    assert!(offset_of!(RedisModuleCommandInfo, complexity) == 16);
};
