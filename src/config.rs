//! The values of the settings `agg.*`. Their table is the core's ([`SETTINGS`]).
//!
//! A value comes from the default in the table, an argument of `loadmodule`, redis.conf, or CONFIG SET. The latest one
//! applies.

use crate::ffi::MainThread;
use crate::ffi::settings;
use aggregator_core::Settings;
use aggregator_core::settings::{SETTINGS, Setting, SettingSpec, Unit, Values, check};
use aggregator_core::text_settings::{TEXTS, TextSpec};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::Relaxed};

static VALUES: [AtomicI64; SETTINGS.len()] = [const { AtomicI64::new(0) }; SETTINGS.len()];

/// The values of the settings that are texts; empty: the defaults.
static TEXT_VALUES: MainThread<Vec<String>> = MainThread::new(Vec::new());

/// A value was set since the settings were last built for the core.
static CHANGED: AtomicBool = AtomicBool::new(true);

/// The settings as last built for the core.
static BUILT: MainThread<Option<Rc<Settings>>> = MainThread::new(None);

/// Returns the settings in force.
#[inline]
pub fn settings() -> Rc<Settings> {
    if CHANGED.load(Relaxed) {
        CHANGED.store(false, Relaxed);
        let mut settings = Settings::of(&values());
        for (i, spec) in TEXTS.iter().enumerate() {
            // The text was checked when it was set.
            let _ = spec.set(&mut settings, &text(i));
        }
        BUILT.with(|built| *built = Some(Rc::new(settings)));
    }
    BUILT
        .with(|built| built.clone())
        .flatten()
        .unwrap_or_default()
}

/// Returns the value of a setting in its own unit.
pub fn value(setting: Setting) -> i64 {
    VALUES[setting as usize].load(Relaxed)
}

fn values() -> Values {
    std::array::from_fn(|i| VALUES[i].load(Relaxed))
}

fn set(index: usize, value: i64) {
    if let Some(v) = VALUES.get(index) {
        v.store(value, Relaxed);
    }
    CHANGED.store(true, Relaxed);
}

fn text(index: usize) -> String {
    let text = TEXT_VALUES.with(|texts| texts.get(index).cloned());
    let default = || TEXTS.get(index).map_or("", |spec| spec.default).to_owned();
    text.flatten().unwrap_or_else(default)
}

fn set_text(index: usize, text: &str) -> Result<(), String> {
    let spec = TEXTS.get(index).ok_or("unknown setting")?;
    spec.check(text)?;
    TEXT_VALUES.with(|texts| {
        let known = texts.len();
        texts.extend(TEXTS.iter().skip(known).map(|spec| spec.default.to_owned()));
        texts[index] = text.to_owned();
    });
    CHANGED.store(true, Relaxed);
    Ok(())
}

/// The settings as the server sees them.
pub struct ServerConfig;

impl settings::Settings for ServerConfig {
    const SPECS: &'static [SettingSpec] = &SETTINGS;
    const TEXTS: &'static [TextSpec] = &TEXTS;

    fn get(index: usize) -> i64 {
        VALUES.get(index).map_or(0, |v| v.load(Relaxed))
    }

    fn set(index: usize, value: i64) {
        set(index, value);
    }

    fn text(index: usize) -> String {
        text(index)
    }

    fn set_text(index: usize, text: &str) -> Result<(), String> {
        set_text(index, text)
    }

    fn check() -> Result<(), &'static str> {
        check_values()
    }
}

/// Checks what depends on more than one setting.
///
/// # Errors
/// The text for the client.
pub fn check_values() -> Result<(), &'static str> {
    check(&values())
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
    TEXT_VALUES.with(Vec::clear);
    for pair in args.chunks(2) {
        let name = String::from_utf8_lossy(pair[0]).to_lowercase();
        let number = SETTINGS.iter().position(|s| s.name == name);
        let text_setting = TEXTS.iter().position(|s| s.name == name);
        if number.or(text_setting).is_none() {
            return Err(format!(
                "unknown setting '{name}' in the arguments of loadmodule"
            ));
        }
        let Some(text) = pair.get(1) else {
            return Err(format!(
                "setting '{name}' in the arguments of loadmodule has no value"
            ));
        };
        let text = String::from_utf8_lossy(text);
        if let Some(i) = number {
            set(i, parse(&SETTINGS[i], &text)?);
        }
        if let Some(i) = text_setting {
            set_text(i, &text).map_err(|why| {
                format!("invalid value '{text}' for '{name}' in the arguments of loadmodule: {why}")
            })?;
        }
    }
    check_values().map_err(str::to_owned)
}

/// Parses a value of a setting and checks its range.
///
/// # Errors
/// The reason for the log.
fn parse(setting: &SettingSpec, text: &str) -> Result<i64, String> {
    let &SettingSpec {
        name,
        min,
        max,
        unit,
        ..
    } = setting;
    if unit == Unit::YesNo {
        let value = ["no", "yes"]
            .iter()
            .position(|word| word.eq_ignore_ascii_case(text));
        return value.map(|value| value as i64).ok_or_else(|| {
            format!(
                "invalid value '{text}' for '{name}' in the arguments of loadmodule: expected yes or no"
            )
        });
    }
    let is_memory = unit == Unit::Bytes;
    let value = number(text, is_memory).filter(|value| (min..=max).contains(value));
    value.ok_or_else(|| {
        let kind = if is_memory {
            "a size"
        } else {
            "a whole number"
        };
        format!("invalid value '{text}' for '{name}' in the arguments of loadmodule: expected {kind} from {min} to {max}")
    })
}

/// Parses a number, or a size with a unit of redis.conf.
fn number(text: &str, is_memory: bool) -> Option<i64> {
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
