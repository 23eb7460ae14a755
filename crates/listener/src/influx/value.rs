//! Values of fields, and times.

use aggregator_protocol::number::Number;

use crate::decimal;

/// The unit of the times in a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// `ns`, or `n` in version 1.
    #[default]
    Nanoseconds,
    /// `us`, or `u` or `µ` in version 1.
    Microseconds,
    /// `ms`.
    Milliseconds,
    /// `s`.
    Seconds,
    /// `m`, only in version 1.
    Minutes,
    /// `h`, only in version 1.
    Hours,
}

impl Precision {
    /// Parses the parameter `precision` of a request. Empty means nanoseconds.
    pub fn parse(text: &str) -> Option<Precision> {
        Some(match text {
            "" | "ns" | "n" => Precision::Nanoseconds,
            // The micro sign and the Greek letter.
            "us" | "u" | "µ" | "µs" | "μ" | "μs" => Precision::Microseconds,
            "ms" => Precision::Milliseconds,
            "s" => Precision::Seconds,
            "m" => Precision::Minutes,
            "h" => Precision::Hours,
            _ => return None,
        })
    }

    /// Converts a time to milliseconds, rounded down.
    fn to_ms(self, time: i64) -> Option<i64> {
        match self {
            Precision::Nanoseconds => Some(time.div_euclid(1_000_000)),
            Precision::Microseconds => Some(time.div_euclid(1_000)),
            Precision::Milliseconds => Some(time),
            Precision::Seconds => time.checked_mul(1_000),
            Precision::Minutes => time.checked_mul(60_000),
            Precision::Hours => time.checked_mul(3_600_000),
        }
    }
}

/// The value of a field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value {
    Number(Number),
    Boolean(bool),
}

/// Parses a value that is not a string.
pub(super) fn parse(text: &[u8]) -> Option<Value> {
    match text.split_last() {
        Some((b'i', digits)) => integer(digits).map(Value::Number),
        Some((b'u', digits)) => Some(Value::Number(Number::Int(unsigned(digits)?))),
        _ => match text {
            b"t" | b"T" | b"true" | b"True" | b"TRUE" => Some(Value::Boolean(true)),
            b"f" | b"F" | b"false" | b"False" | b"FALSE" => Some(Value::Boolean(false)),
            _ => decimal::parse(text).map(Value::Number),
        },
    }
}

/// Parses a time, and returns Unix milliseconds.
pub(super) fn parse_time(text: &[u8], precision: Precision) -> Option<i64> {
    signed(text).and_then(|time| precision.to_ms(time))
}

fn integer(text: &[u8]) -> Option<Number> {
    let value = signed(text)?;
    Some(match u64::try_from(value) {
        Ok(value) => Number::Int(value),
        Err(_) => Number::Float(value as f64),
    })
}

fn signed(text: &[u8]) -> Option<i64> {
    match text.strip_prefix(b"-") {
        Some(digits) => 0i64.checked_sub_unsigned(unsigned(digits)?),
        None => {
            let digits = text.strip_prefix(b"+").unwrap_or(text);
            i64::try_from(unsigned(digits)?).ok()
        }
    }
}

fn unsigned(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |value, byte| {
        let digit = byte.wrapping_sub(b'0');
        let value = value.checked_mul(10)?.checked_add(digit.into())?;
        (digit <= 9).then_some(value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Option<Number> {
        match parse(text.as_bytes()) {
            Some(Value::Number(number)) => Some(number),
            _ => None,
        }
    }

    #[test]
    fn numbers_have_types() {
        assert_eq!(number("1"), Some(Number::Int(1)));
        assert_eq!(number("-1.5e3"), Some(Number::Float(-1500.0)));
        assert_eq!(number("7i"), Some(Number::Int(7)));
        assert_eq!(number("-7i"), Some(Number::Float(-7.0)));
        assert_eq!(number("007i"), Some(Number::Int(7)));
        assert_eq!(
            number("-9223372036854775808i"),
            Some(Number::Float(-9223372036854775808.0))
        );
        assert_eq!(number("18446744073709551615u"), Some(Number::Int(u64::MAX)));
        for text in [
            "",
            "i",
            "u",
            "-",
            "9223372036854775808i",
            "-9223372036854775809i",
            "18446744073709551616u",
            "-1u",
            "1.5i",
            "1e5u",
            "NaN",
            "inf",
            "1e999",
            "0x1",
            "1ii",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn booleans_have_five_spellings() {
        for text in ["t", "T", "true", "True", "TRUE"] {
            assert_eq!(parse(text.as_bytes()), Some(Value::Boolean(true)));
        }
        for text in ["f", "F", "false", "False", "FALSE"] {
            assert_eq!(parse(text.as_bytes()), Some(Value::Boolean(false)));
        }
        for text in ["tRUE", "yes", "tr", "falsee"] {
            assert_eq!(parse(text.as_bytes()), None);
        }
    }

    #[test]
    fn times_have_a_precision() {
        for (precision, time, expected) in [
            ("", "1465839830100400200", Some(1_465_839_830_100)),
            ("ns", "-1", Some(-1)),
            ("u", "1465839830100400", Some(1_465_839_830_100)),
            ("ms", "1465839830100", Some(1_465_839_830_100)),
            ("s", "1465839830", Some(1_465_839_830_000)),
            ("m", "24430663", Some(1_465_839_780_000)),
            ("h", "407177", Some(1_465_837_200_000)),
            ("h", "9223372036854775807", None),
            ("s", "-9223372036854775808", None),
            ("ms", "-9223372036854775808", Some(i64::MIN)),
            ("ms", "9223372036854775808", None),
            ("s", "1.5", None),
            ("s", "", None),
            ("s", "now", None),
        ] {
            let precision = Precision::parse(precision).unwrap();
            assert_eq!(parse_time(time.as_bytes(), precision), expected, "{time}");
        }
        assert_eq!(Precision::parse("µ"), Some(Precision::Microseconds));
        assert_eq!(Precision::parse("d"), None);
    }
}
