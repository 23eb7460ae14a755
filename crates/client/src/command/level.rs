//! Levels of log entries and errors.

use std::fmt;
use std::str::FromStr;

use aggregator_protocol::level;

use super::{Arg, Cmd};

/// The level of a log entry or an error, 0 to 9. A higher level is more severe, the reverse of syslog.
///
/// Some levels have names. A level without one is named after the next lower one that has: 6 is a WARNING.
///
/// ```
/// use agg_client::command::Level;
///
/// assert_eq!("warning".parse(), Ok(Level::WARNING));
/// assert_eq!(Level::new(6).map(Level::severity), Some("WARNING"));
/// assert_eq!(Level::new(10), None);
/// assert!(Level::ERROR > Level::INFO);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Level(u8);

impl Level {
    /// Level 0.
    pub const TRACE: Level = Level(0);
    /// Level 1.
    pub const DEBUG: Level = Level(1);
    /// Level 3, the default of a log entry.
    pub const INFO: Level = Level(level::INFO);
    /// Level 4.
    pub const NOTICE: Level = Level(4);
    /// Level 5.
    pub const WARNING: Level = Level(5);
    /// Level 7, the default of an error.
    pub const ERROR: Level = Level(level::ERROR);
    /// Level 9.
    pub const CRITICAL: Level = Level(level::MAX);

    /// Returns the level with this number; none if it is above 9.
    pub fn new(number: u8) -> Option<Level> {
        (number <= level::MAX).then_some(Level(number))
    }

    /// Returns the level of a syslog severity (RFC 5424), of which 0 is the most severe.
    pub fn from_syslog(severity: u8) -> Level {
        Level(level::from_syslog(severity))
    }

    /// Returns the number.
    pub fn number(self) -> u8 {
        self.0
    }

    /// Returns the name at or below the level, the field `severity` of records.
    pub fn severity(self) -> &'static str {
        level::severity(self.0)
    }
}

/// The error of a text that is no level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {}", level::EXPECTED)]
pub struct InvalidLevel;

/// Parses a number from 0 to 9, or a name in any case.
impl FromStr for Level {
    type Err = InvalidLevel;

    fn from_str(text: &str) -> Result<Level, InvalidLevel> {
        level::parse(text.as_bytes()).map(Level).ok_or(InvalidLevel)
    }
}

/// Shows the name at or below the level.
impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.severity())
    }
}

/// Sends the number, which servers of every version accept.
impl Arg for Level {
    fn append_to(&self, cmd: &mut Cmd) {
        self.0.append_to(cmd);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_are_the_named_levels() {
        let constants = [
            Level::TRACE,
            Level::DEBUG,
            Level::INFO,
            Level::NOTICE,
            Level::WARNING,
            Level::ERROR,
            Level::CRITICAL,
        ];
        let named = level::NAMES.map(|(_, number)| Level(number));
        assert_eq!(constants, named);
        for level in constants {
            assert_eq!(level.to_string().parse(), Ok(level));
        }
    }

    #[test]
    fn error_lists_the_valid_levels() {
        let error = "10".parse::<Level>().unwrap_err();
        assert_eq!(error.to_string(), format!("expected {}", level::EXPECTED));
    }
}
