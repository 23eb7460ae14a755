//! Decimal numbers of protocols in plain text.
//!
//! Senders print numbers as their language does. So `.5`, `5.` and `007` are read besides what
//! [`aggregator_protocol::number`] reads. Hex, infinities and NaN are not.

use aggregator_protocol::number::{self, Number, NumberError};

/// 2^63: integers below are passed on as such.
const INTEGERS: f64 = (1u64 << 63) as f64;
/// The latest time that is read, Unix milliseconds: the end of the year 9999.
const MAX_TIME: i64 = 253_402_300_799_999;

/// Reads a number that is finite as a double. One that no double except 0 is near is 0.
pub(crate) fn parse(text: &[u8]) -> Option<Number> {
    match number::parse(text) {
        Ok(number) => Some(number),
        Err(NumberError::NotDecimal) => parse_loose(text),
        Err(NumberError::TooLarge) => None,
        Err(NumberError::TooSmall) => Some(Number::Int(0)),
    }
}

#[cold]
fn parse_loose(text: &[u8]) -> Option<Number> {
    let is_decimal = |byte: &u8| byte.is_ascii_digit() || b"+-.eE".contains(byte);
    if !text.iter().all(is_decimal) {
        return None;
    }
    from_f64(std::str::from_utf8(text).ok()?.parse().ok()?)
}

/// Returns the number of a double: an integer if it is one from 0 to 2^63 - 1, none if it is not finite.
pub(crate) fn from_f64(value: f64) -> Option<Number> {
    if (0.0..INTEGERS).contains(&value) && value.fract() == 0.0 {
        return Some(Number::Int(value as u64));
    }
    // Adding 0 turns -0 into 0.
    value.is_finite().then_some(Number::Float(value + 0.0))
}

/// Reads a time in Unix seconds, from 1970 to 9999, and returns it in milliseconds.
pub(crate) fn unix_seconds(text: &[u8]) -> Option<i64> {
    let time = match parse(text)? {
        Number::Int(seconds) => i64::try_from(seconds).ok()?.checked_mul(1000)?,
        // The cast is at an end of the range if the product is outside.
        Number::Float(seconds) => (seconds * 1000.0).round() as i64,
    };
    (0..=MAX_TIME).contains(&time).then_some(time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_are_read_as_senders_print_them() {
        for (text, number) in [
            ("320", Number::Int(320)),
            ("18446744073709551615", Number::Int(u64::MAX)),
            ("-1.5", Number::Float(-1.5)),
            (".5", Number::Float(0.5)),
            ("-.5", Number::Float(-0.5)),
            ("+.5", Number::Float(0.5)),
            ("5.", Number::Int(5)),
            ("007", Number::Int(7)),
            ("-00", Number::Int(0)),
            ("1.E3", Number::Int(1000)),
            ("1e-400", Number::Int(0)),
            ("01e-400", Number::Int(0)),
        ] {
            assert_eq!(parse(text.as_bytes()), Some(number), "{text}");
        }
        for text in [
            "",
            ".",
            "+",
            "-",
            "e",
            "1e",
            "+-1",
            "--1",
            "1.2.3",
            " 1",
            "1 ",
            "0x10",
            "1_000",
            "nan",
            "NaN",
            "inf",
            "-Infinity",
            "1e309",
            "01e999",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn doubles_without_fraction_are_integers_below_2_to_the_63() {
        assert_eq!(from_f64(3.0), Some(Number::Int(3)));
        assert_eq!(from_f64(-3.0), Some(Number::Float(-3.0)));
        assert_eq!(from_f64(INTEGERS), Some(Number::Float(INTEGERS)));
        assert_eq!(
            from_f64(INTEGERS.next_down()),
            Some(Number::Int((1 << 63) - 1024))
        );
        assert_eq!(from_f64(f64::NAN), None);
        assert_eq!(from_f64(f64::INFINITY), None);
    }

    #[test]
    fn seconds_may_have_decimals() {
        assert_eq!(unix_seconds(b"1656581400"), Some(1_656_581_400_000));
        assert_eq!(unix_seconds(b"1656581400.123"), Some(1_656_581_400_123));
        assert_eq!(unix_seconds(b"0"), Some(0));
        assert_eq!(unix_seconds(b"253402300799"), Some(253_402_300_799_000));
        for text in [
            "-1",
            "253402300800",
            "18446744073709551615",
            "1e300",
            "-1e300",
            "now",
            "",
        ] {
            assert_eq!(unix_seconds(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_finite_number_or_none(text in "[-+0-9.eE]{0,12}") {
            let expected = text.parse::<f64>().ok().filter(|value| value.is_finite());
            prop_assert_eq!(parse(text.as_bytes()).map(|number| number.to_f64()), expected);
        }
    }
}
