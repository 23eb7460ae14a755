//! Levels of log entries and errors: 0 to 9, with names. A higher level is more severe, the reverse of syslog.

use crate::number;

/// The highest level.
pub const MAX: u8 = 9;
/// The level of a log entry for which none is given.
pub const INFO: u8 = 3;
/// The level of an error for which none is given.
pub const ERROR: u8 = 7;

/// The levels that have names, the lowest first.
pub const NAMES: [(&str, u8); 7] = [
    ("TRACE", 0),
    ("DEBUG", 1),
    ("INFO", INFO),
    ("NOTICE", 4),
    ("WARNING", 5),
    ("ERROR", ERROR),
    ("CRITICAL", MAX),
];

/// What [`parse`] accepts, as messages say it.
pub const EXPECTED: &str = "0 to 9 or one of TRACE, DEBUG, INFO, NOTICE, WARNING, ERROR, CRITICAL";

/// Parses a level: one digit, or a name in any case.
pub fn parse(text: &[u8]) -> Option<u8> {
    let named = NAMES
        .iter()
        .find(|(name, _)| name.as_bytes().eq_ignore_ascii_case(text));
    let digit = || number::parse_u64(text).and_then(|n| u8::try_from(n).ok());
    named
        .map(|(_, level)| *level)
        .or_else(digit)
        .filter(|level| *level <= MAX)
}

/// Returns the name of a level, the field `severity` of records: the one at or below it.
pub fn severity(level: u8) -> &'static str {
    let named = NAMES.iter().rev().find(|(_, named)| *named <= level);
    named.map_or(NAMES[0].0, |(name, _)| name)
}

/// Returns the level of a syslog severity (RFC 5424): 0 is an emergency there, 7 a debug message.
pub fn from_syslog(severity: u8) -> u8 {
    match severity {
        0..=2 => MAX,
        3 => ERROR,
        4 => 5,
        5 => 4,
        6 => INFO,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_have_numbers_and_names() {
        for (name, level) in NAMES {
            assert_eq!(parse(name.as_bytes()), Some(level));
            assert_eq!(parse(name.to_lowercase().as_bytes()), Some(level));
            assert_eq!(severity(level), name);
        }
        assert_eq!(parse(b"Warning"), Some(5));
        for level in 0..=MAX {
            assert_eq!(parse(level.to_string().as_bytes()), Some(level));
        }
        for text in [
            "", "10", "-1", "+5", "05", "5.0", "WARN", "INFO ", "256", "259",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text:?}");
        }
        let names = NAMES.map(|(name, _)| name).join(", ");
        assert_eq!(EXPECTED, format!("0 to {MAX} or one of {names}"));
    }

    #[test]
    fn severity_is_the_name_at_or_below_a_level() {
        assert_eq!(
            [0, 1, 2, 3, 4, 5, 6, 7, 8, 9].map(severity),
            [
                "TRACE", "DEBUG", "DEBUG", "INFO", "NOTICE", "WARNING", "WARNING", "ERROR",
                "ERROR", "CRITICAL"
            ]
        );
    }

    #[test]
    fn syslog_severities_are_reversed() {
        assert_eq!(
            [0, 1, 2, 3, 4, 5, 6, 7].map(from_syslog),
            [9, 9, 9, 7, 5, 4, 3, 1]
        );
    }
}
