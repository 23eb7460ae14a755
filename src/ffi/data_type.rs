//! The module's data type: how the server saves, loads, copies, measures and frees its values.
//!
//! # Invariants
//! A value behind a `void *` is a `T` that `Box::into_raw` gave to the server. The server gives it back through `free`,
//! once, on any thread.

use super::api::Ctx;
use super::guard::guard;
use super::raw::{self, call};
use super::strings::KeyName;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::marker::PhantomData;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering::Relaxed};

/// A type whose values keys hold.
///
/// A value is saved as a series of chunks. An AOF that is rewritten without a preamble holds a command with the key and
/// the chunk for each of them.
pub trait DataType: Sized + Send + Sync + 'static {
    /// The name of the type, nine characters.
    const NAME: &'static CStr;
    /// The version of the encoding in RDB files.
    const ENCODING: c_int;
    /// The command that loads a chunk from a rewritten AOF.
    const LOAD_COMMAND: &'static CStr;

    /// Returns where the registration of this type is kept: a static of the implementation.
    fn handle() -> &'static TypeHandle<Self>;

    /// Passes the value to `emit`, chunk by chunk.
    fn save(&self, emit: &mut dyn FnMut(&[u8]));

    /// Reads a value. `None` makes the load fail.
    fn load(input: &mut LoadInput<'_>) -> Option<Box<Self>>;

    /// Copies the value for the key `name` of database `db`. `None` makes COPY fail.
    fn copy(&self, ctx: Ctx<'_>, db: c_int, name: &[u8]) -> Option<Box<Self>>;

    /// Passes the elements of the value's digest to `add`.
    fn digest(&self, add: &mut dyn FnMut(&[u8]));

    /// Returns the bytes of the value, for MEMORY USAGE.
    fn memory_usage(&self) -> usize;

    /// Returns the number of blocks to free. Above 64 the server frees the value on another thread.
    fn free_effort(&self) -> usize;

    /// Called when the value leaves its name: it is deleted, or renamed without a further notice.
    fn unlinked(&self);
}

/// The registration of a data type.
pub struct TypeHandle<T> {
    raw: AtomicPtr<raw::RedisModuleType>,
    of: PhantomData<fn() -> T>,
}

impl<T> TypeHandle<T> {
    /// Creates the handle of a type that is not registered yet.
    pub const fn new() -> TypeHandle<T> {
        TypeHandle {
            raw: AtomicPtr::new(ptr::null_mut()),
            of: PhantomData,
        }
    }

    pub(super) fn get(&self) -> *mut raw::RedisModuleType {
        self.raw.load(Relaxed)
    }
}

/// Registers the data type.
///
/// # Errors
/// The server rejected it.
pub fn register_data_type<T: DataType>(ctx: Ctx<'_>) -> Result<(), String> {
    let mut methods = raw::RedisModuleTypeMethods {
        version: raw::REDISMODULE_TYPE_METHOD_VERSION,
        rdb_load: Some(rdb_load::<T>),
        rdb_save: Some(rdb_save::<T>),
        aof_rewrite: Some(aof_rewrite::<T>),
        mem_usage: None,
        digest: Some(digest::<T>),
        free: Some(free::<T>),
        aux_load: None,
        aux_save: None,
        aux_save_triggers: 0,
        free_effort: None,
        unlink: None,
        copy: None,
        defrag: None,
        mem_usage2: Some(mem_usage::<T>),
        free_effort2: Some(free_effort::<T>),
        unlink2: Some(unlink::<T>),
        copy2: Some(copy::<T>),
        aux_save2: None,
    };
    // SAFETY: the context lives. The server copies the methods and keeps the functions, which are static.
    let of = unsafe {
        call!(RedisModule_CreateDataType(ctx.raw, T::NAME.as_ptr(), T::ENCODING, &mut methods)
            else ptr::null_mut())
    };
    if of.is_null() {
        let name = T::NAME.to_string_lossy();
        return Err(format!("the server rejected the data type {name}"));
    }
    T::handle().raw.store(of, Relaxed);
    Ok(())
}

/// A value that is being loaded.
pub struct LoadInput<'a> {
    io: *mut raw::RedisModuleIO,
    encoding: c_int,
    ctx: Ctx<'a>,
}

impl LoadInput<'_> {
    /// Returns the context of the load.
    pub fn ctx(&self) -> Ctx<'_> {
        self.ctx
    }

    /// Returns the version of the encoding that the value was saved with.
    pub fn encoding(&self) -> c_int {
        self.encoding
    }

    /// Calls `f` with the next chunk. Returns `None` if the input ends before it.
    pub fn next_chunk<R>(&mut self, f: impl FnOnce(&[u8]) -> R) -> Option<R> {
        let mut len = 0;
        // SAFETY: `io` lives. The buffer is ours, and `len` is its length.
        unsafe {
            let buffer =
                call!(RedisModule_LoadStringBuffer(self.io, &mut len) else ptr::null_mut());
            let buffer = Buffer(buffer);
            if buffer.0.is_null() || call!(RedisModule_IsIOError(self.io) else 0) != 0 {
                return None;
            }
            Some(f(std::slice::from_raw_parts(buffer.0.cast(), len)))
        }
    }

    /// Returns the database and name of the value's key; the name is empty where the server does not know it.
    pub fn key(&self) -> (c_int, &[u8]) {
        // SAFETY: `io` lives, and with it the name of the key, which may be null.
        unsafe {
            let name = call!(RedisModule_GetKeyNameFromIO(self.io) else ptr::null());
            let db = call!(RedisModule_GetDbIdFromIO(self.io) else 0);
            (db, KeyName::new(name.cast_mut()).bytes())
        }
    }
}

/// A buffer that the server allocated for a chunk.
struct Buffer(*mut c_char);

impl Drop for Buffer {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: the server allocated the buffer for its caller, and it is freed once.
            unsafe { call!(RedisModule_Free(self.0.cast()) else ()) }
        }
    }
}

unsafe extern "C" fn rdb_save<T: DataType>(io: *mut raw::RedisModuleIO, value: *mut c_void) {
    // SAFETY: `io` lives; the value is a live `T`; each chunk lives during its call.
    unsafe {
        save::<T>(io, value, &mut |chunk| {
            call!(RedisModule_SaveStringBuffer(io, chunk.as_ptr().cast(), chunk.len()) else ());
        });
    }
}

unsafe extern "C" fn aof_rewrite<T: DataType>(
    io: *mut raw::RedisModuleIO,
    key: *mut raw::RedisModuleString,
    value: *mut c_void,
) {
    // SAFETY: `io` lives; the value is a live `T`; the format takes a string of the server and bytes with their length.
    unsafe {
        save::<T>(io, value, &mut |chunk| {
            let (command, format) = (T::LOAD_COMMAND.as_ptr(), c"sb".as_ptr());
            call!(RedisModule_EmitAOF(io, command, format, key, chunk.as_ptr(), chunk.len()) else ());
        });
    }
}

/// Saves a value. A panic during the save fails all of it: an incomplete value would make a file that does not load,
/// which would be found out only when it is needed.
///
/// # Safety
/// `io` lives during the call; the value is a live `T`.
unsafe fn save<T: DataType>(
    io: *mut raw::RedisModuleIO,
    value: *mut c_void,
    emit: &mut dyn FnMut(&[u8]),
) {
    let is_saved = guard(false, || {
        // SAFETY: the caller's promise.
        let Some(value) = (unsafe { value.cast::<T>().as_ref() }) else {
            return false;
        };
        value.save(emit);
        true
    });
    if !is_saved {
        // SAFETY: the caller's promise.
        unsafe { fail(io) };
    }
}

/// Makes a save or a rewrite of the AOF fail.
///
/// The server has no function for that. But a command that it does not know sets the error of what is written, be it an
/// AOF or an RDB file, and writes nothing: SAVE replies with an error, the child of a BGSAVE, a full synchronisation or
/// a BGREWRITEAOF exits with one, and the previous files stay. Only DUMP ignores the error; its payload lacks the last
/// chunk of the value, so no server accepts it.
///
/// # Safety
/// `io` lives during the call.
unsafe fn fail(io: *mut raw::RedisModuleIO) {
    // SAFETY: the caller's promise; the strings are static, and the empty format takes no argument.
    unsafe {
        call!(RedisModule_EmitAOF(io, c"AGG.(internal error)".as_ptr(), c"".as_ptr()) else ());
    }
}

unsafe extern "C" fn rdb_load<T: DataType>(
    io: *mut raw::RedisModuleIO,
    encoding: c_int,
) -> *mut c_void {
    guard(ptr::null_mut(), || {
        // SAFETY: the server's context of this load; null where it has none.
        let ctx = unsafe { Ctx::new(call!(RedisModule_GetContextFromIO(io) else ptr::null_mut())) };
        let mut input = LoadInput { io, encoding, ctx };
        T::load(&mut input).map_or(ptr::null_mut(), |value| Box::into_raw(value).cast())
    })
}

unsafe extern "C" fn digest<T: DataType>(md: *mut raw::RedisModuleDigest, value: *mut c_void) {
    guard((), || {
        // SAFETY: the value is a live `T`; each element lives during its call.
        unsafe {
            let Some(value) = value.cast::<T>().as_ref() else {
                return;
            };
            value.digest(&mut |element| {
                let (bytes, len) = (element.as_ptr().cast(), element.len());
                call!(RedisModule_DigestAddStringBuffer(md, bytes, len) else ());
                call!(RedisModule_DigestEndSequence(md) else ());
            });
        }
    });
}

unsafe extern "C" fn free<T: DataType>(value: *mut c_void) {
    // SAFETY: the server gives back, once, a value that `Box::into_raw` gave it. `T` is `Send`, as this may be another
    // thread than the one that made the value.
    guard((), || unsafe {
        if !value.is_null() {
            drop(Box::from_raw(value.cast::<T>()));
        }
    });
}

unsafe extern "C" fn mem_usage<T: DataType>(
    _: *mut raw::RedisModuleKeyOptCtx,
    value: *const c_void,
    _: usize,
) -> usize {
    guard(0, || {
        // SAFETY: the value is a live `T`.
        let value = unsafe { value.cast::<T>().as_ref() };
        value.map_or(0, T::memory_usage)
    })
}

unsafe extern "C" fn free_effort<T: DataType>(
    _: *mut raw::RedisModuleKeyOptCtx,
    value: *const c_void,
) -> usize {
    guard(1, || {
        // SAFETY: the value is a live `T`.
        let value = unsafe { value.cast::<T>().as_ref() };
        value.map_or(1, T::free_effort)
    })
}

unsafe extern "C" fn unlink<T: DataType>(_: *mut raw::RedisModuleKeyOptCtx, value: *const c_void) {
    guard((), || {
        // SAFETY: the value is a live `T`.
        if let Some(value) = unsafe { value.cast::<T>().as_ref() } {
            value.unlinked();
        }
    });
}

unsafe extern "C" fn copy<T: DataType>(
    ctx: *mut raw::RedisModuleKeyOptCtx,
    value: *const c_void,
) -> *mut c_void {
    guard(ptr::null_mut(), || {
        // SAFETY: the value is a live `T`, and names live during this call.
        unsafe {
            let Some(value) = value.cast::<T>().as_ref() else {
                return ptr::null_mut();
            };
            let name = call!(RedisModule_GetToKeyNameFromOptCtx(ctx) else ptr::null());
            let name = KeyName::new(name.cast_mut()).bytes();
            let db = call!(RedisModule_GetToDbIdFromOptCtx(ctx) else 0);
            let copied = value.copy(Ctx::none(), db, name);
            copied.map_or(ptr::null_mut(), |value| Box::into_raw(value).cast())
        }
    })
}
