//! Keys: opening them, their content, and scans for the values of a data type.

use super::api::Ctx;
use super::data_type::DataType;
use super::guard::guard;
use super::raw::{self, call};
use super::strings::KeyName;
use std::ffi::c_void;
use std::marker::PhantomData;
use std::ptr;

/// The mode in which a key is opened. The untracked modes are for timers: they do not count as a use of the key (LRU,
/// hits, misses).
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// To read the value.
    Read,
    /// To change the value.
    Write,
    /// To read the value, untracked.
    ReadUntracked,
    /// To change the value, untracked.
    WriteUntracked,
}

/// Servers before 7.2 ignore bits that they do not know.
const UNTRACKED: i32 = raw::REDISMODULE_OPEN_KEY_NOTOUCH | raw::REDISMODULE_OPEN_KEY_NOSTATS;

impl<'a> Ctx<'a> {
    /// Opens a key of the selected database. Returns `None` if it is to be read and does not exist.
    pub fn open(self, name: &KeyName<'_>, mode: Mode) -> Option<Key<'a>> {
        let bits = match mode {
            Mode::Read => raw::REDISMODULE_READ,
            Mode::Write => raw::REDISMODULE_READ | raw::REDISMODULE_WRITE,
            Mode::WriteUntracked => raw::REDISMODULE_READ | raw::REDISMODULE_WRITE | UNTRACKED,
            Mode::ReadUntracked => raw::REDISMODULE_READ | UNTRACKED,
        };
        // SAFETY: the context and the name live. The key is closed when it is dropped.
        let raw =
            unsafe { call!(RedisModule_OpenKey(self.raw, name.raw, bits) else ptr::null_mut()) };
        (!raw.is_null()).then_some(Key {
            raw,
            lifetime: PhantomData,
        })
    }
}

/// An open key.
pub struct Key<'a> {
    raw: *mut raw::RedisModuleKey,
    lifetime: PhantomData<&'a ()>,
}

/// The content of a key.
pub enum Content<'k, T> {
    /// The key does not exist.
    Empty,
    /// A value of the data type.
    Value(&'k mut T),
    /// A value of another type.
    Other,
}

impl Key<'_> {
    /// Returns the content of the key.
    #[inline]
    pub fn content<T: DataType>(&mut self) -> Content<'_, T> {
        // SAFETY: the key is open. A value of this type is a `T` that `Key::set` or the type's methods boxed, as only
        // the registration of `T` sets its handle. The reference ends with the borrow of the key, and no second `Key`
        // of this name has a reference to the value: a caller keeps one key open at a time, and a callback that runs
        // inside another (a timeout of a blocked client) opens none.
        unsafe {
            // Null for a value that is of no module.
            let of = call!(RedisModule_ModuleTypeGetType(self.raw) else ptr::null_mut());
            if of.is_null() || of != T::handle().get() {
                let kind = call!(RedisModule_KeyType(self.raw) else 0);
                return if kind == raw::REDISMODULE_KEYTYPE_EMPTY {
                    Content::Empty
                } else {
                    Content::Other
                };
            }
            let value = call!(RedisModule_ModuleTypeGetValue(self.raw) else ptr::null_mut());
            value
                .cast::<T>()
                .as_mut()
                .map_or(Content::Other, Content::Value)
        }
    }

    /// Puts a value into an empty key that is open for writing.
    pub fn set<T: DataType>(&mut self, value: Box<T>) {
        let value = Box::into_raw(value);
        // SAFETY: on success the key owns the value and frees it through the type; otherwise it is still ours.
        unsafe {
            let status = call!(RedisModule_ModuleTypeSetValue(
                self.raw,
                T::handle().get(),
                value.cast()
            ) else raw::REDISMODULE_ERR);
            if status != raw::REDISMODULE_OK {
                drop(Box::from_raw(value));
            }
        }
    }
}

impl Drop for Key<'_> {
    fn drop(&mut self) {
        // SAFETY: `Ctx::open` opened the key, and it is closed once.
        unsafe { call!(RedisModule_CloseKey(self.raw) else ()) }
    }
}

/// The position of a scan.
pub struct ScanCursor {
    raw: *mut raw::RedisModuleScanCursor,
}

impl ScanCursor {
    /// Creates a cursor at the first key.
    pub fn new() -> ScanCursor {
        // SAFETY: the function has no preconditions.
        let raw = unsafe { call!(RedisModule_ScanCursorCreate() else ptr::null_mut()) };
        ScanCursor { raw }
    }
}

impl Drop for ScanCursor {
    fn drop(&mut self) {
        // SAFETY: `new` made the cursor, and it is destroyed once.
        unsafe { call!(RedisModule_ScanCursorDestroy(self.raw) else ()) }
    }
}

/// Scans the next keys of the selected database, about `count` of them, and calls `found` with the names of those that
/// hold a `T`. Returns true at the end. The cursor keeps the position from call to call.
pub fn scan<T: DataType>(
    ctx: Ctx<'_>,
    cursor: &ScanCursor,
    count: usize,
    found: &mut dyn FnMut(&[u8]),
) -> bool {
    let mut progress = ScanProgress { found, count: 0 };
    while progress.count < count {
        // SAFETY: the server made the cursor; `progress` outlives the call.
        let more = unsafe {
            let data = ptr::from_mut(&mut progress).cast();
            call!(RedisModule_Scan(ctx.raw, cursor.raw, Some(visit::<T>), data) else 0)
        };
        if more == 0 {
            return true;
        }
    }
    false
}

struct ScanProgress<'f> {
    found: &'f mut dyn FnMut(&[u8]),
    count: usize,
}

unsafe extern "C" fn visit<T: DataType>(
    _: *mut raw::RedisModuleCtx,
    name: *mut raw::RedisModuleString,
    key: *mut raw::RedisModuleKey,
    data: *mut c_void,
) {
    // SAFETY: `data` is the `ScanProgress` of `scan`, which outlives the scan. Name and key live during this call.
    guard((), || unsafe {
        let progress = &mut *data.cast::<ScanProgress<'_>>();
        progress.count += 1;
        let is_ours = !key.is_null()
            && call!(RedisModule_ModuleTypeGetType(key) else ptr::null_mut()) == T::handle().get();
        if is_ours {
            (progress.found)(KeyName::new(name).bytes());
        }
    });
}
