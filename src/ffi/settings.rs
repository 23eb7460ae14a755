//! Settings: registration under their names and ranges, reading and writing through the server's CONFIG.

use super::api::Ctx;
use super::guard::guard;
use super::main_thread::MainThread;
use super::raw::{self, call};
use super::strings::{KeyName, OwnedString};
use aggregator_core::settings::{SettingSpec, Unit};
use aggregator_core::text_settings::TextSpec;
use std::ffi::{CString, c_char, c_int, c_longlong, c_void};
use std::ptr;

/// The module's settings.
pub trait Settings: 'static {
    /// Their table. An index into it identifies a setting below.
    const SPECS: &'static [SettingSpec];

    /// The table of those whose values are texts, likewise.
    const TEXTS: &'static [TextSpec];

    /// Returns the value of a setting.
    fn get(index: usize) -> i64;

    /// Sets the value of a setting, which is within its range.
    fn set(index: usize, value: i64);

    /// Returns the value of a text.
    fn text(index: usize) -> String;

    /// Sets the value of a text.
    ///
    /// # Errors
    /// The text for the client.
    fn set_text(index: usize, text: &str) -> Result<(), String>;

    /// Checks what depends on more than one setting, once for each CONFIG SET, after all of its values were set. On an
    /// error the server sets the old values again.
    ///
    /// # Errors
    /// The text for the client.
    fn check() -> Result<(), &'static str>;
}

/// The values of texts as the server last got them. The server borrows them, so they live until the next time.
static LENT: MainThread<Vec<Option<OwnedString>>> = MainThread::new(Vec::new());

/// Registers the settings and reads their values from the server's configuration.
///
/// # Errors
/// The setting that the server rejected.
pub fn register<S: Settings>(ctx: Ctx<'_>) -> Result<(), String> {
    let rejected = |name| Err(format!("the server rejected the setting agg.{name}"));
    for (i, setting) in S::SPECS.iter().enumerate() {
        if register_number::<S>(ctx, i, setting) != raw::REDISMODULE_OK {
            return rejected(setting.name);
        }
    }
    for (i, setting) in S::TEXTS.iter().enumerate() {
        if register_text::<S>(ctx, i, setting.name) != raw::REDISMODULE_OK {
            return rejected(setting.name);
        }
    }
    // SAFETY: the context lives.
    match unsafe { call!(RedisModule_LoadConfigs(ctx.raw) else raw::REDISMODULE_ERR) } {
        raw::REDISMODULE_OK => Ok(()),
        _ => Err("invalid setting agg.* in the server's configuration".into()),
    }
}

fn register_number<S: Settings>(ctx: Ctx<'_>, index: usize, setting: &SettingSpec) -> c_int {
    let name = CString::new(setting.name).unwrap_or_default();
    let data = ptr::without_provenance_mut(index);
    let flags = match setting.unit {
        Unit::Bytes => raw::REDISMODULE_CONFIG_MEMORY,
        _ => raw::REDISMODULE_CONFIG_DEFAULT,
    };
    // SAFETY: the context lives, and the name is copied. The private data is a number that is never followed.
    unsafe {
        if setting.unit == Unit::YesNo {
            return call!(RedisModule_RegisterBoolConfig(
                ctx.raw,
                name.as_ptr(),
                S::get(index) as c_int,
                flags,
                Some(get_bool::<S>),
                Some(set_bool::<S>),
                Some(apply::<S>),
                data
            ) else raw::REDISMODULE_ERR);
        }
        call!(RedisModule_RegisterNumericConfig(
            ctx.raw,
            name.as_ptr(),
            S::get(index),
            flags,
            setting.min,
            setting.max,
            Some(get::<S>),
            Some(set::<S>),
            Some(apply::<S>),
            data
        ) else raw::REDISMODULE_ERR)
    }
}

fn register_text<S: Settings>(ctx: Ctx<'_>, index: usize, name: &str) -> c_int {
    let name = CString::new(name).unwrap_or_default();
    let value = CString::new(S::text(index)).unwrap_or_default();
    // SAFETY: as above; the value is copied, too.
    unsafe {
        call!(RedisModule_RegisterStringConfig(
            ctx.raw,
            name.as_ptr(),
            value.as_ptr(),
            raw::REDISMODULE_CONFIG_DEFAULT,
            Some(get_text::<S>),
            Some(set_text::<S>),
            Some(apply::<S>),
            ptr::without_provenance_mut(index)
        ) else raw::REDISMODULE_ERR)
    }
}

unsafe extern "C" fn get<S: Settings>(_: *const c_char, setting: *mut c_void) -> c_longlong {
    guard(0, || S::get(setting.addr()))
}

unsafe extern "C" fn set<S: Settings>(
    _: *const c_char,
    value: c_longlong,
    setting: *mut c_void,
    _: *mut *mut raw::RedisModuleString,
) -> c_int {
    guard(raw::REDISMODULE_ERR, || {
        S::set(setting.addr(), value);
        raw::REDISMODULE_OK
    })
}

unsafe extern "C" fn get_bool<S: Settings>(_: *const c_char, setting: *mut c_void) -> c_int {
    guard(0, || S::get(setting.addr()) as c_int)
}

unsafe extern "C" fn set_bool<S: Settings>(
    _: *const c_char,
    value: c_int,
    setting: *mut c_void,
    _: *mut *mut raw::RedisModuleString,
) -> c_int {
    guard(raw::REDISMODULE_ERR, || {
        S::set(setting.addr(), value.into());
        raw::REDISMODULE_OK
    })
}

unsafe extern "C" fn get_text<S: Settings>(
    _: *const c_char,
    setting: *mut c_void,
) -> *mut raw::RedisModuleString {
    guard(ptr::null_mut(), || {
        let index = setting.addr();
        let text = OwnedString::new(S::text(index).as_bytes());
        let raw = text.name().raw;
        let kept = LENT.with(|lent| {
            lent.resize_with(lent.len().max(index + 1), || None);
            lent[index] = Some(text);
        });
        kept.map_or(ptr::null_mut(), |()| raw)
    })
}

unsafe extern "C" fn set_text<S: Settings>(
    _: *const c_char,
    value: *mut raw::RedisModuleString,
    setting: *mut c_void,
    error: *mut *mut raw::RedisModuleString,
) -> c_int {
    guard(raw::REDISMODULE_ERR, || {
        // SAFETY: the server lends the string for the time of this call.
        let text = String::from_utf8_lossy(unsafe { KeyName::new(value) }.bytes());
        // SAFETY: the server gives a place for the error.
        S::set_text(setting.addr(), &text).map_or_else(
            |why| unsafe { give_error(&why, error) },
            |()| raw::REDISMODULE_OK,
        )
    })
}

/// Gives the server the text of an error. Returns the status of errors.
///
/// # Safety
/// `error` is null or a place for a string.
unsafe fn give_error(text: &str, error: *mut *mut raw::RedisModuleString) -> c_int {
    let (text, len) = (text.as_ptr().cast(), text.len());
    // SAFETY: the bytes are copied. The server takes the string and frees it.
    unsafe {
        if !error.is_null() {
            *error =
                call!(RedisModule_CreateString(ptr::null_mut(), text, len) else ptr::null_mut());
        }
    }
    raw::REDISMODULE_ERR
}

unsafe extern "C" fn apply<S: Settings>(
    _: *mut raw::RedisModuleCtx,
    _: *mut c_void,
    error: *mut *mut raw::RedisModuleString,
) -> c_int {
    guard(raw::REDISMODULE_ERR, || match S::check() {
        Ok(()) => raw::REDISMODULE_OK,
        // SAFETY: the server gives a place for the error.
        Err(text) => unsafe { give_error(text, error) },
    })
}
