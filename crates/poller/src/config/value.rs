//! Values of the file that need their own syntax, and checks that several parts of the file share.

use std::fmt::Formatter;
use std::path::PathBuf;
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};
use toml::Spanned;

use crate::rotation::Mode;
use aggregator_protocol::units;

use super::error::ConfigError;

/// A duration with its unit, such as `30s`.
#[derive(Clone, Copy)]
pub struct Time(pub Duration);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let quoted = Quoted {
            what: "a time with its unit, such as \"30s\"",
            number: |number| format!("a time has a unit: write \"{number}s\""),
        };
        let text = from.deserialize_any(quoted)?;
        units::positive_duration(&text)
            .map(Time)
            .map_err(D::Error::custom)
    }
}

/// File permissions in octal digits, such as `0640`.
#[derive(Clone, Copy)]
pub struct Permissions(pub Mode);

impl<'de> Deserialize<'de> for Permissions {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let quoted = Quoted {
            what: "octal permissions in quotes, such as \"0640\"",
            number: |_| "permissions are octal digits in quotes: write \"0640\"".into(),
        };
        let text = from.deserialize_any(quoted)?;
        let octal = (3..=4).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        match u32::from_str_radix(&text, 8) {
            Ok(bits) if octal && bits & !0o666 == 0 && bits & 0o600 == 0o600 => {
                Ok(Permissions(Mode::Exact(bits)))
            }
            _ => {
                let text = format!(
                    "expected octal permissions such as \"0640\" that let the owner read and write, not {text:?}"
                );
                Err(D::Error::custom(text))
            }
        }
    }
}

/// Reads a string that is often written as a number by mistake.
struct Quoted {
    /// A description of the expected value.
    what: &'static str,
    /// The error for a number.
    number: fn(i64) -> String,
}

impl Visitor<'_> for Quoted {
    type Value = String;

    fn expecting(&self, f: &mut Formatter) -> std::fmt::Result {
        f.write_str(self.what)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<String, E> {
        Err(E::custom((self.number)(number)))
    }
}

/// A size in bytes with its unit, such as `64mb`.
#[derive(Clone, Copy)]
pub struct Size(pub u64);

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let quoted = Quoted {
            what: "a size with its unit, such as \"64mb\"",
            number: |number| format!("a size has a unit: write \"{number}b\" or \"{number}mb\""),
        };
        let text = from.deserialize_any(quoted)?;
        units::size(&text).map(Size).map_err(D::Error::custom)
    }
}

/// Checks the path of a file to write to. Its folder may be created later, as on a file system that is mounted late.
pub fn output(path: &Spanned<PathBuf>) -> Result<PathBuf, ConfigError> {
    let file = path.get_ref();
    let text = file.to_string_lossy();
    let error = |text: String| Err(ConfigError::at(path, text));
    if text.is_empty() {
        return error("the name of the file is empty".into());
    }
    if text == "~" || text.starts_with("~/") {
        return error("`~` is not expanded: write the whole path".into());
    }
    if text.ends_with('/') || file.is_dir() {
        return error(format!("{text} is a directory, not a file"));
    }
    if file.metadata().is_ok_and(|data| !data.is_file()) {
        return error(format!("{text} is not a regular file"));
    }
    Ok(file.clone())
}

/// Returns the byte at which a value begins.
pub fn start<T>(value: &Option<Spanned<T>>) -> Option<usize> {
    value.as_ref().map(|value| value.span().start)
}

/// Returns the value of a required key of a sink.
///
/// # Errors
///
/// Returns an error about `sink` if the key is not set.
pub fn required<'a, T, S>(
    value: &'a Option<Spanned<T>>,
    key: &'static str,
    sink: &Spanned<S>,
) -> Result<&'a Spanned<T>, ConfigError> {
    let missing = || ConfigError::missing_key(sink, key, format!("expected {key:?} in this sink"));
    value.as_ref().ok_or_else(missing)
}

/// Reads a password or token from a file or the environment.
pub fn secret(
    what: &str,
    file: &Option<Spanned<PathBuf>>,
    env: &Option<Spanned<String>>,
) -> Result<Option<String>, ConfigError> {
    let (text, at) = match (file, env) {
        (None, None) => return Ok(None),
        (Some(_), Some(env)) => {
            let text = format!("{what}-file and {what}-env are mutually exclusive");
            return Err(ConfigError::at(env, text));
        }
        (Some(file), None) => {
            let cannot_read = |error| {
                let path = file.get_ref().display();
                ConfigError::at(file, format!("cannot read {path}: {error}"))
            };
            let text = std::fs::read_to_string(file.get_ref()).map_err(cannot_read)?;
            (text, file.span().start)
        }
        (None, Some(env)) => {
            let name = env.get_ref();
            let text = match std::env::var_os(name) {
                Some(text) => text.to_string_lossy().into_owned(),
                None => {
                    let text = format!("the environment variable {name} of the {what} is not set");
                    return Err(ConfigError::at(env, text));
                }
            };
            (text, env.span().start)
        }
    };
    // Editors end a file with a newline.
    let secret = text.trim_end_matches(['\r', '\n']);
    let problem = match secret {
        "" => "is empty",
        secret if secret.contains(|c: char| c.is_control()) => "is not a single line of text",
        secret => return Ok(Some(secret.to_owned())),
    };
    Err(ConfigError::at_byte(at, format!("the {what} {problem}")))
}

/// Returns a number from 1 to `max`, or the default if it is not set.
pub fn within(value: &Option<Spanned<u64>>, default: u64, max: u64) -> Result<u64, ConfigError> {
    match value {
        None => Ok(default),
        Some(value) if (1..=max).contains(value.get_ref()) => Ok(*value.get_ref()),
        Some(value) => Err(ConfigError::at(
            value,
            format!("expected a number from 1 to {max}"),
        )),
    }
}

/// Returns the longest time that a reply may take: at least 1 s, and 10 s if it is not set.
pub fn timeout(value: &Option<Spanned<Time>>) -> Result<Duration, ConfigError> {
    match value {
        None => Ok(Duration::from_secs(10)),
        Some(time) if time.get_ref().0 < Duration::from_secs(1) => {
            Err(ConfigError::at(time, "expected at least 1s"))
        }
        Some(time) => Ok(time.get_ref().0),
    }
}

/// The characters that are percent-encoded in a URL: all but those that RFC 3986 calls unreserved.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Percent-encodes a part of a URL.
pub fn encode(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}
