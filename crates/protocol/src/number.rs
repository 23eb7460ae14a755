//! Reading and writing decimal numbers.
//!
//! The input follows the grammar of JSON numbers (RFC 8259, section 6), with an optional `+` in front: no hex, no
//! blanks, no NaN, no infinity. The output is the shortest text that reads back to the same number.

/// A number as it was given. Integers up to 2^64 - 1 stay exact.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// Only digits, in the range of `u64`.
    Int(u64),
    /// Any other number; always finite, never -0.
    Float(f64),
}

impl Number {
    /// Returns the nearest double.
    #[inline]
    pub fn to_f64(self) -> f64 {
        match self {
            Number::Int(v) => v as f64,
            Number::Float(v) => v,
        }
    }
}

/// An error in a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NumberError {
    /// It does not follow the grammar.
    NotDecimal,
    /// It is beyond the largest double.
    TooLarge,
    /// It is not 0, but no double except 0 is near it.
    TooSmall,
}

/// Reads a number.
///
/// # Errors
/// See [`NumberError`].
#[inline]
pub fn parse(text: &[u8]) -> Result<Number, NumberError> {
    match short(text) {
        Some(number) => Ok(number),
        None => parse_other(text),
    }
}

/// Reads a number that [`short`] does not.
#[inline(never)]
fn parse_other(text: &[u8]) -> Result<Number, NumberError> {
    let unsigned = text.strip_prefix(b"+").unwrap_or(text);
    match parse_u64(unsigned) {
        Some(v) => Ok(Number::Int(v)),
        None => parse_float(unsigned, unsigned.len() != text.len()),
    }
}

fn parse_float(text: &[u8], has_plus: bool) -> Result<Number, NumberError> {
    if !is_json_number(text) || has_plus && text.first() == Some(&b'-') {
        return Err(NumberError::NotDecimal);
    }
    let value: f64 = std::str::from_utf8(text)
        .ok()
        .and_then(|t| t.parse().ok())
        .ok_or(NumberError::NotDecimal)?;
    if value.is_infinite() {
        return Err(NumberError::TooLarge);
    }
    let mantissa = text
        .split(|b| matches!(b, b'e' | b'E'))
        .next()
        .unwrap_or_default();
    if value == 0.0 && mantissa.iter().any(|b| (b'1'..=b'9').contains(b)) {
        return Err(NumberError::TooSmall);
    }
    // Adding 0 turns -0 into 0.
    Ok(Number::Float(value + 0.0))
}

/// Powers of ten, all exact.
const POWERS: [f64; 16] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
];

/// Reads a number of up to 15 digits without an exponent, as nearly all are, in one pass; `None`: it is not one, or
/// needs a closer look. Its digits are an integer that a double represents exactly, and so is the power of ten: so one
/// division rounds correctly.
#[inline]
fn short(text: &[u8]) -> Option<Number> {
    let (is_negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    if digits.len() > 16 {
        return None;
    }
    let mut value = 0u64;
    let mut rest = take_digits(digits, &mut value);
    let whole = digits.len() - rest.len();
    if whole == 0 || whole > 1 && digits[0] == b'0' {
        return None;
    }
    let mut power = 1.0;
    if let [b'.', decimals @ ..] = rest {
        rest = take_digits(decimals, &mut value);
        power = *POWERS
            .get(decimals.len())
            .filter(|_| !decimals.is_empty())?;
    } else if !is_negative {
        return rest.is_empty().then_some(Number::Int(value));
    }
    if !rest.is_empty() {
        return None;
    }
    let value = value as f64 / power;
    // Adding 0 turns -0 into 0.
    Some(Number::Float(
        if is_negative { -value } else { value } + 0.0,
    ))
}

/// Appends leading digits to a number. Returns what follows them.
#[inline]
fn take_digits<'t>(mut text: &'t [u8], value: &mut u64) -> &'t [u8] {
    while let [byte, rest @ ..] = text {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            break;
        }
        *value = *value * 10 + u64::from(digit);
        text = rest;
    }
    text
}

/// `-? (0 | [1-9][0-9]*) (. [0-9]+)? ([eE] [+-]? [0-9]+)?`
pub fn is_json_number(text: &[u8]) -> bool {
    let digits = |text: &[u8]| text.iter().take_while(|b| b.is_ascii_digit()).count();
    let mut rest = text.strip_prefix(b"-").unwrap_or(text);
    let whole = digits(rest);
    if whole == 0 || whole > 1 && rest[0] == b'0' {
        return false;
    }
    rest = &rest[whole..];
    if let Some(fraction) = rest.strip_prefix(b".") {
        let n = digits(fraction);
        if n == 0 {
            return false;
        }
        rest = &fraction[n..];
    }
    if let Some(exponent) = rest.strip_prefix(b"e").or(rest.strip_prefix(b"E")) {
        let exponent = exponent
            .strip_prefix(b"+")
            .or(exponent.strip_prefix(b"-"))
            .unwrap_or(exponent);
        let n = digits(exponent);
        if n == 0 {
            return false;
        }
        rest = &exponent[n..];
    }
    rest.is_empty()
}

/// Reads plain digits: no sign, no leading zeros except `0` itself, at most 2^64 - 1.
#[inline]
pub fn parse_u64(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 20 || text.len() > 1 && text[0] == b'0' {
        return None;
    }
    let mut value = 0u64;
    for &byte in text {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(digit.into())?;
    }
    Some(value)
}

/// The powers of ten that [`decimal`] uses. They are exact, so the quotient is the double next to the decimal.
pub const TENS: [f64; 4] = [1.0, 10.0, 100.0, 1000.0];

/// Returns (n, v times 10^n) for the smallest n for which that is an integer and gives exactly v back: the shortest
/// decimal that does, as no two decimals of up to 15 digits share a double. Minus zero has none.
pub fn decimal(v: f64) -> Option<(u8, i64)> {
    const MOST: f64 = (1u64 << 49) as f64;
    let times = |n: u8| {
        let ten = TENS[usize::from(n)];
        let scaled = v * ten;
        // Rounded; a cast of a number that is too large is at an end of the range.
        let whole = (scaled + 0.5f64.copysign(scaled)) as i64;
        // Each of two roundings takes at most half a unit in the last place: a larger difference need not be divided.
        let is_near = (scaled - whole as f64).abs() <= scaled.abs() * (2.0 * f64::EPSILON);
        let is_it = is_near && scaled.abs() < MOST && (whole as f64 / ten).to_bits() == v.to_bits();
        is_it.then_some(whole)
    };
    if let Some(whole) = times(0) {
        return Some((0, whole));
    }
    if v.abs() * TENS[3] >= MOST {
        return (1..3).find_map(|n| Some((n, times(n)?)));
    }
    // A number with fewer decimals has three as well, with zeros at the end.
    let (mut n, mut whole) = (3, times(3)?);
    while whole % 10 == 0 {
        (n, whole) = (n - 1, whole / 10);
    }
    Some((n, whole))
}

/// Appends a double as the shortest decimal that reads back to it, always with a point or an exponent (`5.0`, `1e300`).
/// Infinities and NaN are never passed, and would be written as `0.0`.
pub fn write_f64(out: &mut Vec<u8>, v: f64) {
    let Some((n, whole)) = decimal(v) else {
        let v = if v.is_finite() { v } else { 0.0 };
        out.extend_from_slice(ryu::Buffer::new().format_finite(v).as_bytes());
        return;
    };
    // Most measurements have few decimals, and are written so in a third of the time: from the last digit to the first,
    // and copied once. 15 digits, a sign and two more characters are the most.
    let mut text = [0; 24];
    let mut start = text.len();
    let mut put = |byte| {
        start -= 1;
        text[start] = byte;
    };
    let mut rest = whole.unsigned_abs();
    if n == 0 {
        put(b'0');
    }
    for _ in 0..n {
        put(b'0' + (rest % 10) as u8);
        rest /= 10;
    }
    put(b'.');
    loop {
        put(b'0' + (rest % 10) as u8);
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if whole < 0 {
        put(b'-');
    }
    out.extend_from_slice(&text[start..]);
}

/// Appends an unsigned integer.
pub fn write_u64(out: &mut Vec<u8>, v: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(v).as_bytes());
}

/// Appends a signed integer.
pub fn write_i64(out: &mut Vec<u8>, v: i64) {
    out.extend_from_slice(itoa::Buffer::new().format(v).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn is_written_as_ryu_writes_it(v: f64) {
        let mut out = Vec::new();
        write_f64(&mut out, v);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            ryu::Buffer::new().format_finite(v)
        );
    }

    #[test]
    fn edge_doubles_are_written_as_ryu_writes_them() {
        for v in [
            0.0,
            -0.0,
            0.001,
            -0.001,
            0.0001,
            999.999,
            5e14,
            6e14,
            1e15,
            1e16,
            0.1 + 0.2,
            57.23,
            1e300,
        ] {
            is_written_as_ryu_writes_it(v);
            is_written_as_ryu_writes_it(-v);
        }
    }

    proptest! {
        #[test]
        fn doubles_are_written_as_ryu_writes_them(whole in any::<i64>(), shift in 0u32..63, n in 0usize..6, any in any::<f64>()) {
            is_written_as_ryu_writes_it((whole >> shift) as f64 / [1.0, 10.0, 100.0, 1e3, 1e4, 1e5][n]);
            if any.is_finite() {
                is_written_as_ryu_writes_it(any);
            }
        }
    }

    #[test]
    fn numbers_are_read_as_json_writes_them() {
        for (text, number) in [
            ("0", Number::Int(0)),
            ("+7", Number::Int(7)),
            ("18446744073709551615", Number::Int(u64::MAX)),
            (
                "18446744073709551616",
                Number::Float(18446744073709551616.0),
            ),
            ("-0", Number::Float(0.0)),
            ("-1", Number::Float(-1.0)),
            ("1.5e3", Number::Float(1500.0)),
            ("+1E-2", Number::Float(0.01)),
            ("5e-324", Number::Float(5e-324)),
            ("0e999", Number::Float(0.0)),
        ] {
            assert_eq!(parse(text.as_bytes()), Ok(number), "{text}");
            assert!(parse(text.as_bytes()).unwrap().to_f64().is_sign_positive() || text == "-1");
        }
        for text in [
            "", "+", "-", "0x10", " 1", "1 ", "nan", "NaN", "inf", "-inf", "1.", ".5", "01", "-01",
            "--1", "+-1", "++1", "1e", "1e+", "1_000", "1,5", "1.5.2", "٣", "1\0",
        ] {
            assert_eq!(
                parse(text.as_bytes()),
                Err(NumberError::NotDecimal),
                "{text:?}"
            );
        }
        assert_eq!(parse(b"1e309"), Err(NumberError::TooLarge));
        assert_eq!(parse(b"-1e309"), Err(NumberError::TooLarge));
        assert_eq!(parse(b"1e-400"), Err(NumberError::TooSmall));
        assert_eq!(parse(b"0.0000"), Ok(Number::Float(0.0)));
    }

    proptest! {
        #[test]
        fn written_numbers_read_back(v in any::<f64>().prop_filter("finite", |v| v.is_finite())) {
            let mut out = Vec::new();
            write_f64(&mut out, v);
            prop_assert_eq!(parse(&out).unwrap().to_f64(), v + 0.0);
        }

        #[test]
        fn short_decimals_are_read_as_others_read_them(text in "-?[0-9]{0,9}[.]?[0-9]{0,9}") {
            if let Some(number) = short(text.as_bytes()) {
                prop_assert!(is_json_number(text.as_bytes()), "{}", text);
                let is_whole = text.bytes().all(|byte| byte.is_ascii_digit());
                prop_assert_eq!(matches!(number, Number::Int(_)), is_whole);
                prop_assert_eq!(number.to_f64().to_bits(), (text.parse::<f64>().unwrap() + 0.0).to_bits());
            } else {
                prop_assert!(!is_json_number(text.as_bytes()) || text.len() > 15, "{}", text);
            }
        }

        #[test]
        fn numbers_of_json_are_read(text in "[-+]?[0-9.eE+-]{0,12}") {
            let ours = parse(text.as_bytes()).is_ok() && !text.starts_with('+');
            let theirs = serde_json::from_str::<f64>(&text).is_ok_and(|v| v.is_finite());
            let tiny = parse(text.as_bytes()) == Err(NumberError::TooSmall);
            prop_assert!(ours == theirs || text.starts_with('+') || tiny, "{}", text);
        }
    }
}
