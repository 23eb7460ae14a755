//! The settings `agg.*`: their table, their values, and the form in which the core reads them.
//!
//! A value comes from the default in the table, an argument of `loadmodule`, redis.conf, or CONFIG SET; the later wins.

use crate::ffi::MainThread;
use crate::ffi::settings::{self, SettingSpec};
use aggregator_core::settings::{
    MAX_GAP_MS, MAX_HISTORY, MAX_ITEMS, MAX_NODE_NAME, MAX_WINDOW_S, Rules, Settings,
    max_flush_delay_ms,
};
use std::ffi::CStr;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::Relaxed};

const fn number(name: &'static CStr, default: i64, min: i64, max: i64) -> SettingSpec {
    SettingSpec {
        name,
        default,
        min,
        max,
        is_memory: false,
    }
}

const fn memory(name: &'static CStr, default: i64, min: i64, max: i64) -> SettingSpec {
    SettingSpec {
        name,
        default,
        min,
        max,
        is_memory: true,
    }
}

const MB: i64 = 1 << 20;
const TB: i64 = 1 << 40;
/// A hundred years, seconds.
const CENTURY_S: i64 = 100 * 366 * 86_400;
/// Four weeks, milliseconds.
const MONTH_MS: i64 = 28 * 86_400_000;

/// All settings. The constants below are indices into the table.
const SETTINGS: [SettingSpec; 21] = [
    memory(c"max-memory", 256 * MB, MB, TB),
    memory(c"max-node-memory", 0, 0, TB),
    number(c"max-series", 20_000, 1, 100_000_000),
    number(c"max-errors", 10_000, 1, 10_000_000),
    number(c"max-realities", 10_000, 1, 10_000_000),
    memory(c"queue-min", 64 * MB, 1024, TB),
    memory(c"queue-hour", 32 * MB, 1024, TB),
    memory(c"queue-log", 16 * MB, 1024, TB),
    memory(c"max-item-size", 64 << 10, 64, 16 * MB),
    number(c"min-window", 300, 1, MAX_WINDOW_S as i64),
    number(c"hour-window", 3_600, 1, MAX_WINDOW_S as i64),
    number(c"min-history", 12, 0, MAX_HISTORY as i64),
    number(c"hour-history", 24, 0, MAX_HISTORY as i64),
    number(c"flush-delay-ms", 5_000, 0, 3_600_000),
    number(c"max-future-ms", 60_000, 0, MONTH_MS),
    number(c"min-interval-ms", 500, 1, 3_600_000),
    number(c"max-gap", 7_200, 1, MAX_GAP_MS / 1000),
    number(c"error-interval-ms", 300_000, 1, MONTH_MS),
    number(c"series-ttl", 86_400, 0, CENTURY_S),
    number(c"error-ttl", 604_800, 0, CENTURY_S),
    number(c"reality-ttl", 0, 0, CENTURY_S),
];

/// The index of `agg.max-memory`.
pub const MAX_MEMORY: usize = 0;
/// The index of `agg.max-node-memory`.
pub const MAX_NODE_MEMORY: usize = 1;
const MIN_WINDOW: usize = 9;
const HOUR_WINDOW: usize = 10;
const FLUSH_DELAY: usize = 13;

/// The default is accepted with any short window. If it is longer than the window allows, the longest one is in force.
const DEFAULT_FLUSH_DELAY: i64 = SETTINGS[FLUSH_DELAY].default;

static VALUES: [AtomicI64; SETTINGS.len()] = [const { AtomicI64::new(0) }; SETTINGS.len()];

/// A value was set since the settings were last built for the core.
static CHANGED: AtomicBool = AtomicBool::new(true);

/// The settings as last built for the core.
static BUILT: MainThread<Option<Rc<Settings>>> = MainThread::new(None);

/// Returns the settings in force.
#[inline]
pub fn settings() -> Rc<Settings> {
    if CHANGED.load(Relaxed) {
        CHANGED.store(false, Relaxed);
        BUILT.with(|built| *built = Some(Rc::new(build())));
    }
    BUILT
        .with(|built| built.clone())
        .flatten()
        .unwrap_or_default()
}

/// Returns the value of a setting in its own unit.
pub fn value(setting: usize) -> i64 {
    VALUES.get(setting).map_or(0, |v| v.load(Relaxed))
}

/// Sets the value of a setting, which is within its range.
fn set(setting: usize, value: i64) {
    if let Some(v) = VALUES.get(setting) {
        v.store(value, Relaxed);
    }
    CHANGED.store(true, Relaxed);
}

/// The settings as the server sees them.
pub struct ServerConfig;

impl settings::Settings for ServerConfig {
    const SPECS: &'static [SettingSpec] = &SETTINGS;

    fn get(index: usize) -> i64 {
        value(index)
    }

    fn set(index: usize, value: i64) {
        set(index, value);
    }

    fn check() -> Result<(), &'static CStr> {
        check()
    }
}

/// Checks what depends on more than one setting.
///
/// # Errors
/// The text for the client.
pub fn check() -> Result<(), &'static CStr> {
    if value(HOUR_WINDOW) % value(MIN_WINDOW).max(1) != 0 {
        return Err(c"agg.hour-window must be a multiple of agg.min-window");
    }
    let delay = value(FLUSH_DELAY);
    if delay > max_flush_delay_ms(value(MIN_WINDOW)) && delay != DEFAULT_FLUSH_DELAY {
        return Err(c"agg.flush-delay-ms must be at most 3 times agg.min-window");
    }
    Ok(())
}

/// Sets the values to the defaults and to the arguments of `loadmodule`, which are pairs of a name without `agg.` and a
/// value.
///
/// # Errors
/// The reason for the log.
pub fn read_arguments(args: &[&[u8]]) -> Result<(), String> {
    for (setting, v) in SETTINGS.iter().zip(&VALUES) {
        v.store(setting.default, Relaxed);
    }
    for pair in args.chunks(2) {
        let name = String::from_utf8_lossy(pair[0]).to_lowercase();
        let Some(i) = SETTINGS
            .iter()
            .position(|s| s.name.to_bytes() == name.as_bytes())
        else {
            return Err(format!("argument '{name}' of loadmodule is no setting"));
        };
        let Some(text) = pair.get(1) else {
            return Err(format!("argument '{name}' of loadmodule has no value"));
        };
        let text = String::from_utf8_lossy(text);
        let setting = &SETTINGS[i];
        let value =
            parse(&text, setting.is_memory).filter(|v| (setting.min..=setting.max).contains(v));
        let Some(value) = value else {
            let (min, max) = (setting.min, setting.max);
            let kind = if setting.is_memory {
                "a size"
            } else {
                "a whole number"
            };
            return Err(format!(
                "argument '{name}' of loadmodule: '{text}' is not {kind} from {min} to {max}"
            ));
        };
        set(i, value);
    }
    check().map_err(|e| e.to_string_lossy().into_owned())
}

/// Parses a number, or a size with a unit of redis.conf.
fn parse(text: &str, is_memory: bool) -> Option<i64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text.get(digits.len()..)?.to_lowercase().as_str() {
        "" => 1,
        _ if !is_memory => return None,
        "b" => 1,
        "k" => 1_000,
        "kb" => 1 << 10,
        "m" => 1_000_000,
        "mb" => 1 << 20,
        "g" => 1_000_000_000,
        "gb" => 1 << 30,
        _ => return None,
    };
    digits.parse::<i64>().ok()?.checked_mul(unit)
}

/// Returns the settings for the core.
fn build() -> Settings {
    let [
        max_memory,
        max_node_memory,
        max_series,
        max_errors,
        max_realities,
        queue_min,
        queue_hour,
        queue_log,
        max_item_size,
        min_window,
        hour_window,
        min_history,
        hour_history,
        flush_delay_ms,
        max_future_ms,
        min_interval_ms,
        max_gap,
        error_interval_ms,
        series_ttl,
        error_ttl,
        reality_ttl,
    ] = std::array::from_fn(value);
    // The ranges of the table keep every value within its type.
    Settings {
        max_memory: max_memory as u64,
        max_node_memory: max_node_memory as u64,
        max_series: max_series as u32,
        max_errors: max_errors as u32,
        max_realities: max_realities as u32,
        max_item_size: max_item_size as usize,
        max_values: MAX_ITEMS,
        max_node_name: MAX_NODE_NAME,
        min_window_s: min_window as u32,
        hour_window_s: hour_window as u32,
        error_interval_ms: error_interval_ms as u64,
        series_ttl_s: series_ttl as u64,
        error_ttl_s: error_ttl as u64,
        reality_ttl_s: reality_ttl as u64,
        rules: Rules {
            queue_bytes: [queue_min as u64, queue_hour as u64, queue_log as u64],
            history: [min_history as u32, hour_history as u32],
            flush_delay_ms: flush_delay_ms.min(max_flush_delay_ms(min_window)),
            max_future_ms,
            min_interval_ms,
            max_gap_ms: max_gap * 1000,
        },
    }
}
