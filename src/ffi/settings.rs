//! The settings as the server knows them: registered by name and range, read and written through its CONFIG.

use super::api::{Ctx, call};
use super::callbacks::{ERR, OK, guard};
use crate::config::{self, SETTINGS};
use redis_module::raw;
use std::ffi::{c_char, c_int, c_longlong, c_void};
use std::ptr;

/// Registers the settings and reads their values from the configuration.
///
/// # Errors
/// What the server refused.
pub fn register(ctx: Ctx<'_>) -> Result<(), String> {
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
    guard(0, || config::value(setting.addr()))
}

unsafe extern "C" fn set_setting(
    _: *const c_char,
    value: c_longlong,
    setting: *mut c_void,
    _: *mut *mut raw::RedisModuleString,
) -> c_int {
    guard(ERR, || {
        config::set(setting.addr(), value);
        OK
    })
}

unsafe extern "C" fn apply_settings(
    _: *mut raw::RedisModuleCtx,
    _: *mut c_void,
    error: *mut *mut raw::RedisModuleString,
) -> c_int {
    guard(ERR, || match config::check() {
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
    })
}
