//! Parses durations and sizes of command lines and configuration files. Each error says what was expected.

use std::time::Duration;

/// Parses a duration of at most a day: `500ms`, `1s`, `2m`, `1h`.
///
/// # Errors
/// The text is no duration, or it has no unit.
pub fn duration(text: &str) -> Result<Duration, String> {
    let expected = || format!("expected a duration such as 500ms, 1s, 2m or 1h, not {text:?}");
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| expected())?;
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "" => return Err(format!("{text:?} has no unit: write {text}s or {text}ms")),
        _ => return Err(expected()),
    };
    // No duration here needs more, and adding a day overflows no clock.
    match number.checked_mul(unit_ms) {
        Some(ms) if ms <= 86_400_000 => Ok(Duration::from_millis(ms)),
        _ => Err(format!("{text:?} is more than a day")),
    }
}

/// Parses a time span of at most a year, also in days: `30m`, `24h`, `7d`.
///
/// # Errors
/// The text is no time span, or it is zero.
pub fn span(text: &str) -> Result<Duration, String> {
    let days = |count: u64| Duration::from_secs(count * 86_400);
    let expected = || format!("expected a time such as 30m, 24h or 7d, not {text:?}");
    let (number, hours) = match (text.strip_suffix('d'), text.strip_suffix('h')) {
        (Some(number), _) => (number, 24),
        (_, Some(number)) => (number, 1),
        _ => return positive_duration(text),
    };
    let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    match number.parse::<u64>() {
        Ok(0) => Err("expected more than 0".into()),
        Ok(count) if digits && count <= 366 * 24 / hours => Ok(days(count * hours) / 24),
        _ if digits => Err(format!("{text:?} is more than a year")),
        _ => Err(expected()),
    }
}

/// Parses a duration of at least a millisecond, the server's unit.
///
/// # Errors
/// The text is no duration, or it is zero.
pub fn positive_duration(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("expected more than 0".into()),
        duration => Ok(duration),
    }
}

/// Parses a size in bytes, spelled as in the server's settings: `64kb`, `16mb`, `1gb`.
///
/// # Errors
/// The text is no size, or it is zero.
pub fn size(text: &str) -> Result<u64, String> {
    let expected = || format!("expected a size such as 64kb, 16mb or 1gb, not {text:?}");
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| expected())?;
    let shift = match unit {
        "b" => 0,
        "kb" => 10,
        "mb" => 20,
        "gb" => 30,
        "" => return Err(format!("{text:?} has no unit: write {text}b or {text}kb")),
        _ => return Err(expected()),
    };
    match number.checked_mul(1 << shift) {
        Some(0) => Err("expected more than 0".into()),
        // No machine has more, and adding a petabyte overflows no integer.
        Some(bytes) if bytes <= 1 << 50 => Ok(bytes),
        _ => Err(format!("{text:?} is more than a petabyte")),
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
            duration("5").unwrap_err(),
            "\"5\" has no unit: write 5s or 5ms"
        );
    }

    #[test]
    fn errors_of_durations_say_what_was_expected() {
        for bad in ["", "s", "-1s", "1.5s", "1 s", "1S", "1d", "ms1"] {
            let error = duration(bad).unwrap_err();
            assert!(
                error.starts_with("expected a duration such as"),
                "{bad}: {error}"
            );
        }
        assert_eq!(duration("25h").unwrap_err(), "\"25h\" is more than a day");
        assert!(
            duration("18446744073709551615h")
                .unwrap_err()
                .ends_with("more than a day")
        );
        assert!(duration("99999999999999999999s").is_err());
    }

    #[test]
    fn positive_duration_is_not_zero() {
        assert_eq!(
            positive_duration("0ms").unwrap_err(),
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
        assert_eq!(span("400d").unwrap_err(), "\"400d\" is more than a year");
    }

    #[test]
    fn sizes_need_a_unit() {
        assert_eq!(size("1b"), Ok(1));
        assert_eq!(size("64kb"), Ok(65_536));
        assert_eq!(size("2gb"), Ok(2 << 30));
        assert_eq!(size("5").unwrap_err(), "\"5\" has no unit: write 5b or 5kb");
        for bad in ["", "mb", "-1mb", "1.5mb", "1 mb", "1MB", "0kb"] {
            assert!(
                size(bad).unwrap_err().starts_with("expected"),
                "{bad} was taken"
            );
        }
        assert!(size("9999999999gb").is_err() && size("99999999999999999999b").is_err());
    }
}
