//! Samples: `name:value|type|@rate|#tags|T1656581400`.

use std::borrow::Cow;

use aggregator_protocol::number::Number;

use super::fields::{Attributes, add_tags, fields, is_origin, split, split_or_all};
use crate::decimal;
use crate::report::{Receiver, Sample, SampleValue};

/// The most occurrences that a sample stands for.
const MAX_TIMES: f64 = (1u64 << 32) as f64;
/// The limit of the bytes of names and attributes that the packed values of one line repeat. With this the cost of a line is
/// bounded: without it a line of many values and long tags costs the square of its length.
const MAX_REPEATED: usize = 1 << 20;

#[derive(Clone, Copy)]
enum Kind {
    Counter,
    Gauge,
    Timer,
    Histogram,
    Set,
}

/// The sample rate: the reporter passed on this part of what occurred.
#[derive(Clone, Copy)]
struct Rate {
    /// Above 0, at most 1.
    rate: f64,
    /// The nearest integer of 1 / rate.
    times: f64,
}

impl Rate {
    const ALL: Rate = Rate {
        rate: 1.0,
        times: 1.0,
    };

    fn parse(text: &str) -> Option<Rate> {
        let rate = decimal::parse(text.as_bytes())?.to_f64();
        let times = (1.0 / rate).round();
        let is_valid = rate > 0.0 && rate <= 1.0 && times <= MAX_TIMES;
        is_valid.then_some(Rate { rate, times })
    }

    /// Returns value / rate, exactly if the rate is 1 / n.
    fn scale(self, value: Number) -> Option<Number> {
        if self.times == 1.0 && self.rate == 1.0 {
            return Some(value);
        }
        if 1.0 / self.times != self.rate {
            return decimal::from_f64(value.to_f64() / self.rate);
        }
        let exact = match value {
            Number::Int(value) => value.checked_mul(self.times as u64),
            Number::Float(_) => None,
        };
        match exact {
            Some(value) if value < 1 << 63 => Some(Number::Int(value)),
            _ => decimal::from_f64(value.to_f64() * self.times),
        }
    }
}

/// Parses a line. Not empty.
#[inline]
pub(super) fn parse(line: &str, receiver: &mut impl Receiver) {
    let mut attributes = Attributes::new();
    if let Err(reason) = parse_line(line, &mut attributes, receiver) {
        receiver.invalid(reason, line.as_bytes());
    }
}

#[inline]
fn parse_line<'a>(
    line: &'a str,
    attributes: &mut Attributes<'a>,
    receiver: &mut impl Receiver,
) -> Result<(), &'static str> {
    let (name, rest) = split(line, b':').ok_or("no value")?;
    if name.is_empty() {
        return Err("no name");
    }
    let (values, rest) = split(rest, b'|').ok_or("no type")?;
    let (kind, rest) = split_or_all(rest, b'|');
    let kind = match kind {
        "c" => Kind::Counter,
        "g" => Kind::Gauge,
        "ms" => Kind::Timer,
        "h" | "d" => Kind::Histogram,
        "s" => Kind::Set,
        "" => return Err("no type"),
        _ => return Err("an unknown type"),
    };
    let (mut rate, mut at) = (Rate::ALL, None);
    for field in fields(rest) {
        if let Some(tags) = field.strip_prefix('#') {
            add_tags(tags, attributes, receiver);
        } else if let Some(text) = field.strip_prefix('@') {
            rate = Rate::parse(text).ok_or("an invalid sample rate")?;
        } else if let Some(seconds) = field.strip_prefix('T') {
            let time = decimal::unix_seconds(seconds.as_bytes());
            at = Some(time.ok_or("an invalid timestamp")?);
        } else if !is_origin(field) {
            receiver.invalid("an unknown field", field.as_bytes());
        }
    }
    let unit = match kind {
        Kind::Timer => "ms",
        _ => "",
    };
    let sample = |value| Sample {
        name: Cow::Borrowed(name),
        attributes,
        unit,
        at,
        value,
    };
    let is_packed = !matches!(kind, Kind::Set) && values.contains(':');
    if !is_packed {
        receiver.sample(&sample(parse_value(values, kind, rate)?));
        return Ok(());
    }
    let mut repeated = 0;
    for value in values.split(':') {
        repeated += line.len() - values.len();
        if repeated > MAX_REPEATED {
            receiver.invalid("too many values with long tags", value.as_bytes());
            break;
        }
        match parse_value(value, kind, rate) {
            Ok(value) => receiver.sample(&sample(value)),
            Err(reason) => receiver.invalid(reason, value.as_bytes()),
        }
    }
    Ok(())
}

#[inline]
fn parse_value(text: &str, kind: Kind, rate: Rate) -> Result<SampleValue<'_>, &'static str> {
    if text.is_empty() {
        return Err("no value");
    }
    let number = || decimal::parse(text.as_bytes()).ok_or("an invalid value");
    match kind {
        Kind::Counter => match number()? {
            value if value.to_f64() < 0.0 => Err("a negative increment"),
            value => {
                let increment = rate.scale(value).ok_or("an increment that is too large")?;
                Ok(SampleValue::Inc(increment))
            }
        },
        Kind::Gauge if text.starts_with(['+', '-']) => number().map(SampleValue::Add),
        Kind::Gauge => number().map(SampleValue::Abs),
        Kind::Timer | Kind::Histogram => Ok(SampleValue::Hist {
            value: number()?,
            times: rate.times as u64,
        }),
        Kind::Set => Ok(SampleValue::Member(text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scaled(value: &str, rate: &str) -> Option<Number> {
        let value = decimal::parse(value.as_bytes()).expect("a number");
        Rate::parse(rate).expect("a rate").scale(value)
    }

    #[test]
    fn increments_are_divided_exactly_by_rates_that_are_parts() {
        for n in 1..=1000u64 {
            // The shortest decimal that is read as the double next to 1 / n.
            let rate = format!("{}", 1.0 / n as f64);
            assert_eq!(scaled("7", &rate), Some(Number::Int(7 * n)), "{rate}");
        }
        assert_eq!(scaled("0.5", "0.1"), Some(Number::Int(5)));
        assert_eq!(scaled("0.3", "0.1"), Some(Number::Int(3)));
        assert_eq!(scaled("0.25", "0.5"), Some(Number::Float(0.5)));
        assert_eq!(scaled("3", "0.75"), Some(Number::Int(4)));
        assert_eq!(scaled("1", "0.3"), Some(Number::Float(1.0 / 0.3)));
        assert_eq!(scaled("0", "0.3"), Some(Number::Int(0)));
    }

    #[test]
    fn large_increments_are_integers_below_2_to_the_63() {
        let most = (1u64 << 63) - 1;
        assert_eq!(scaled(&most.to_string(), "1"), Some(Number::Int(most)));
        assert_eq!(
            scaled("4611686018427387903", "0.5"),
            Some(Number::Int(most - 1))
        );
        let beyond = Some(Number::Float(9_223_372_036_854_775_808.0));
        assert_eq!(scaled("4611686018427387904", "0.5"), beyond);
        assert_eq!(
            scaled("18446744073709551615", "0.001"),
            Some(Number::Float(1.844_674_407_370_955_2e22))
        );
        assert_eq!(scaled("1e308", "0.01"), None);
        assert_eq!(scaled("1e308", "0.03"), None);
    }

    #[test]
    fn rate_is_above_0_and_at_most_1() {
        for text in [
            "", "0", "-0.1", "1.001", "2", "x", "nan", "inf", "1e-10", "0.1 ",
        ] {
            assert!(Rate::parse(text).is_none(), "{text}");
        }
        for (text, times) in [
            ("1", 1.0),
            ("1.0", 1.0),
            (".5", 2.0),
            ("0.4", 3.0),
            ("1e-3", 1000.0),
            ("2.4e-10", MAX_TIMES),
        ] {
            let parsed = Rate::parse(text).map(|rate| rate.times);
            assert!(
                parsed == Some(times) || times == MAX_TIMES && parsed <= Some(MAX_TIMES),
                "{text}"
            );
        }
    }
}
