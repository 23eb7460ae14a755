//! Settings: registration under their names and ranges, reading and writing through the server's CONFIG.

use super::api::Ctx;
use super::guard::guard;
use super::raw::{self, call};
use aggregator_core::settings::{SettingSpec, Unit};
use std::ffi::{CString, c_char, c_int, c_longlong, c_void};
use std::ptr;

/// The module's settings.
pub trait Settings: 'static {
    /// Their table. An index into it identifies a setting below.
    const SPECS: &'static [SettingSpec];

    /// Returns the value of a setting.
    fn get(index: usize) -> i64;

    /// Sets the value of a setting, which is within its range.
    fn set(index: usize, value: i64);

    /// Checks what depends on more than one setting, once for each CONFIG SET, after all of its values were set. On an
    /// error the server sets the old values again.
    ///
    /// # Errors
    /// The text for the client.
    fn check() -> Result<(), &'static str>;
}

/// Registers the settings and reads their values from the server's configuration.
///
/// # Errors
/// A message that names the setting that the server rejected.
pub fn register<S: Settings>(ctx: Ctx<'_>) -> Result<(), String> {
    for (i, setting) in S::SPECS.iter().enumerate() {
        let flags = if setting.unit == Unit::Bytes {
            raw::REDISMODULE_CONFIG_MEMORY
        } else {
            raw::REDISMODULE_CONFIG_DEFAULT
        };
        let name = CString::new(setting.name).unwrap_or_default();
        // SAFETY: the context lives, and the name is copied. The private data is a number that is never followed.
        let status = unsafe {
            call!(RedisModule_RegisterNumericConfig(
                ctx.raw,
                name.as_ptr(),
                S::get(i),
                flags,
                setting.min,
                setting.max,
                Some(get::<S>),
                Some(set::<S>),
                Some(apply::<S>),
                ptr::without_provenance_mut(i)
            ) else raw::REDISMODULE_ERR)
        };
        if status != raw::REDISMODULE_OK {
            let name = setting.name;
            return Err(format!("the server rejected the setting agg.{name}"));
        }
    }
    // SAFETY: the context lives.
    match unsafe { call!(RedisModule_LoadConfigs(ctx.raw) else raw::REDISMODULE_ERR) } {
        raw::REDISMODULE_OK => Ok(()),
        _ => Err("invalid setting agg.* in the server's configuration".into()),
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

unsafe extern "C" fn apply<S: Settings>(
    _: *mut raw::RedisModuleCtx,
    _: *mut c_void,
    error: *mut *mut raw::RedisModuleString,
) -> c_int {
    guard(raw::REDISMODULE_ERR, || match S::check() {
        Ok(()) => raw::REDISMODULE_OK,
        Err(text) => {
            // SAFETY: the server takes the string and frees it.
            unsafe {
                if !error.is_null() {
                    let (text, len) = (text.as_ptr().cast(), text.len());
                    *error = call!(RedisModule_CreateString(ptr::null_mut(), text, len) else ptr::null_mut());
                }
            }
            raw::REDISMODULE_ERR
        }
    })
}
