//! Parses durations and sizes of command lines and configuration files. Each error says what was expected.

use std::error::Error;
use std::fmt;
use std::time::Duration;

/// An error in a duration, a time span or a size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnitError {
    /// The text has another form than the expected one, such as `a duration such as 1s`.
    Form {
        /// The text.
        text: String,
        /// The expected form.
        expected: &'static str,
    },
    /// The text is a number without a unit.
    NoUnit {
        /// The text.
        text: String,
        /// Two units that it may have.
        units: [&'static str; 2],
    },
    /// The text is zero.
    Zero,
    /// The text is more than the maximum.
    TooLarge {
        /// The text.
        text: String,
        /// The maximum, such as `a day`.
        max: &'static str,
    },
}

impl fmt::Display for UnitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UnitError::Form { text, expected } => write!(f, "expected {expected}, not {text:?}"),
            UnitError::NoUnit { text, units } => {
                let [first, second] = units;
                write!(
                    f,
                    "{text:?} has no unit: write {text}{first} or {text}{second}"
                )
            }
            UnitError::Zero => write!(f, "expected more than 0"),
            UnitError::TooLarge { text, max } => write!(f, "{text:?} is more than {max}"),
        }
    }
}

impl Error for UnitError {}

impl UnitError {
    fn form(text: &str, expected: &'static str) -> UnitError {
        UnitError::Form {
            text: text.to_owned(),
            expected,
        }
    }

    fn no_unit(text: &str, units: [&'static str; 2]) -> UnitError {
        UnitError::NoUnit {
            text: text.to_owned(),
            units,
        }
    }

    fn too_large(text: &str, max: &'static str) -> UnitError {
        UnitError::TooLarge {
            text: text.to_owned(),
            max,
        }
    }
}

/// Splits a text into its digits and the unit behind them.
fn split(text: &str) -> (&str, &str) {
    text.split_at(text.bytes().take_while(u8::is_ascii_digit).count())
}

/// Parses a duration of at most a day: `500ms`, `1s`, `2m`, `1h`.
///
/// # Errors
/// The text is no duration, or it has no unit.
pub fn duration(text: &str) -> Result<Duration, UnitError> {
    let expected = || UnitError::form(text, "a duration such as 500ms, 1s, 2m or 1h");
    let (number, unit) = split(text);
    let number: u64 = number.parse().map_err(|_| expected())?;
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "" => return Err(UnitError::no_unit(text, ["s", "ms"])),
        _ => return Err(expected()),
    };
    // No duration here needs more, and adding a day overflows no clock.
    match number.checked_mul(unit_ms) {
        Some(ms) if ms <= 86_400_000 => Ok(Duration::from_millis(ms)),
        _ => Err(UnitError::too_large(text, "a day")),
    }
}

/// Parses a time span of at most a year, also in days: `30m`, `24h`, `7d`.
///
/// # Errors
/// The text is no time span, or it is zero.
pub fn span(text: &str) -> Result<Duration, UnitError> {
    let days = |count: u64| Duration::from_secs(count * 86_400);
    let (number, hours) = match (text.strip_suffix('d'), text.strip_suffix('h')) {
        (Some(number), _) => (number, 24),
        (_, Some(number)) => (number, 1),
        _ => return positive_duration(text),
    };
    let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    match number.parse::<u64>() {
        Ok(0) => Err(UnitError::Zero),
        Ok(count) if digits && count <= 366 * 24 / hours => Ok(days(count * hours) / 24),
        _ if digits => Err(UnitError::too_large(text, "a year")),
        _ => Err(UnitError::form(text, "a time such as 30m, 24h or 7d")),
    }
}

/// Parses a duration of at least a millisecond, the server's unit.
///
/// # Errors
/// The text is no duration, or it is zero.
pub fn positive_duration(text: &str) -> Result<Duration, UnitError> {
    match duration(text)? {
        Duration::ZERO => Err(UnitError::Zero),
        duration => Ok(duration),
    }
}

/// Parses a size in bytes, spelled as in the server's settings: `64kb`, `16mb`, `1gb`.
///
/// # Errors
/// The text is no size, or it is zero.
pub fn size(text: &str) -> Result<u64, UnitError> {
    let expected = || UnitError::form(text, "a size such as 64kb, 16mb or 1gb");
    let (number, unit) = split(text);
    let number: u64 = number.parse().map_err(|_| expected())?;
    let shift = match unit {
        "b" => 0,
        "kb" => 10,
        "mb" => 20,
        "gb" => 30,
        "" => return Err(UnitError::no_unit(text, ["b", "kb"])),
        _ => return Err(expected()),
    };
    match number.checked_mul(1 << shift) {
        Some(0) => Err(UnitError::Zero),
        // No machine has more, and adding a petabyte overflows no integer.
        Some(bytes) if bytes <= 1 << 50 => Ok(bytes),
        _ => Err(UnitError::too_large(text, "a petabyte")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("1s"), Ok(Duration::from_secs(1)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(duration("24h"), Ok(Duration::from_secs(86_400)));
        assert_eq!(duration("0s"), Ok(Duration::ZERO));
        assert_eq!(
            duration("5").unwrap_err().to_string(),
            "\"5\" has no unit: write 5s or 5ms"
        );
    }

    #[test]
    fn errors_of_durations_say_what_was_expected() {
        for bad in ["", "s", "-1s", "1.5s", "1 s", "1S", "1d", "ms1"] {
            let error = duration(bad).unwrap_err().to_string();
            assert!(
                error.starts_with("expected a duration such as"),
                "{bad}: {error}"
            );
        }
        assert_eq!(
            duration("25h").unwrap_err().to_string(),
            "\"25h\" is more than a day"
        );
        assert!(
            duration("18446744073709551615h")
                .unwrap_err()
                .to_string()
                .ends_with("more than a day")
        );
        assert!(duration("99999999999999999999s").is_err());
    }

    #[test]
    fn positive_duration_is_not_zero() {
        assert_eq!(
            positive_duration("0ms").unwrap_err().to_string(),
            "expected more than 0"
        );
        assert_eq!(positive_duration("1ms"), Ok(Duration::from_millis(1)));
    }

    #[test]
    fn span_may_be_in_days() {
        assert_eq!(span("7d"), Ok(Duration::from_secs(7 * 86_400)));
        assert_eq!(span("48h"), Ok(Duration::from_secs(2 * 86_400)));
        assert_eq!(span("1h"), duration("1h"));
        assert_eq!(span("30m"), duration("30m"));
        for bad in [
            "d",
            "-1d",
            "1.5h",
            "+1d",
            "5",
            "0d",
            "0h",
            "0s",
            "367d",
            "99999999999999999999d",
        ] {
            assert!(span(bad).is_err(), "{bad} was taken");
        }
        assert_eq!(
            span("400d").unwrap_err().to_string(),
            "\"400d\" is more than a year"
        );
    }

    #[test]
    fn sizes_need_a_unit() {
        assert_eq!(size("1b"), Ok(1));
        assert_eq!(size("64kb"), Ok(65_536));
        assert_eq!(size("2gb"), Ok(2 << 30));
        assert_eq!(
            size("5").unwrap_err().to_string(),
            "\"5\" has no unit: write 5b or 5kb"
        );
        for bad in ["", "mb", "-1mb", "1.5mb", "1 mb", "1MB", "0kb"] {
            assert!(
                size(bad).unwrap_err().to_string().starts_with("expected"),
                "{bad} was taken"
            );
        }
        assert!(size("9999999999gb").is_err() && size("99999999999999999999b").is_err());
    }
}
