//! The time that stands for a window in a target that has one time for a point.

use toml::Spanned;

use super::super::error::ConfigError;

/// The time that stands for a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timestamp {
    /// Its start.
    Start,
    /// Its last millisecond. Its end belongs to the next window.
    End,
}

/// Checks the word, which may be missing.
pub fn check(
    given: &Option<Spanned<String>>,
    default: Timestamp,
) -> Result<Timestamp, ConfigError> {
    let Some(given) = given else {
        return Ok(default);
    };
    match given.get_ref().as_str() {
        "start" => Ok(Timestamp::Start),
        "end" => Ok(Timestamp::End),
        other => {
            let text = format!("expected start or end, not {other:?}");
            Err(ConfigError::at(given, text))
        }
    }
}
