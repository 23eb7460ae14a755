//! The arguments of commands that report samples, and how a value is read.

use agg_client::command::{Number, SampleType, Stat};
use aggregator_protocol::number::{self, NumberError};
use aggregator_protocol::tags;
use clap::builder::{PossibleValuesParser, TypedValueParser};

/// The arguments that say what the samples mean.
#[derive(clap::Args)]
pub struct SampleArguments {
    /// The meaning of a value: of a gauge (abs), the change of a gauge (add), an increment of a counter (inc), or the
    /// total of a counter that one program keeps (diff)
    #[arg(long = "type", ignore_case = true, default_value = "abs", value_parser = sample_type(), value_name = "TYPE")]
    sample_type: SampleType,

    /// Keep a histogram, so that windows have percentiles
    #[arg(long)]
    hist: bool,

    /// A tag of the metric; may be given several times
    #[arg(long = "tag", value_parser = tags::tag, value_name = "NAME:VALUE")]
    tags: Vec<String>,
}

impl SampleArguments {
    /// Returns the list of the tags; none if there is none.
    pub fn tags(&self) -> Option<String> {
        (!self.tags.is_empty()).then(|| self.tags.join(" "))
    }

    /// Sets the options of a sample but for its tags.
    pub fn apply<'a>(&self, stat: Stat<'a>) -> Stat<'a> {
        let stat = stat.sample_type(self.sample_type);
        if self.hist { stat.hist() } else { stat }
    }
}

fn sample_type() -> impl TypedValueParser<Value = SampleType> {
    PossibleValuesParser::new(["abs", "add", "inc", "diff"]).map(|word| {
        match word.to_ascii_lowercase().as_str() {
            "add" => SampleType::Add,
            "inc" => SampleType::Inc,
            "diff" => SampleType::Diff,
            _ => SampleType::Abs,
        }
    })
}

/// Reads a value as the server does.
///
/// # Errors
/// The text is an invalid value, or too large or too small for a double.
pub fn value(text: &[u8]) -> Result<Number, String> {
    let reason = match number::parse(text) {
        Ok(number::Number::Int(value)) => return Ok(Number::Unsigned(value)),
        Ok(number::Number::Float(value)) => return Ok(Number::Float(value)),
        Err(NumberError::NotDecimal) => "expected a decimal number",
        Err(NumberError::TooLarge) => "too large for a double",
        Err(NumberError::TooSmall) => "too close to 0 for a double",
    };
    let text = String::from_utf8_lossy(text);
    Err(format!("invalid value '{text}': {reason}"))
}

/// Reads the time of a sample: Unix milliseconds.
///
/// # Errors
/// The text is not a positive integer.
pub fn time(text: &str) -> Result<i64, String> {
    let time = text.parse().ok().filter(|time| *time > 0);
    time.ok_or_else(|| format!("invalid time '{text}': expected Unix milliseconds"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_decimal_numbers() {
        assert_eq!(
            value(b"18446744073709551615"),
            Ok(Number::Unsigned(u64::MAX))
        );
        assert_eq!(value(b"-1.5e3"), Ok(Number::Float(-1500.0)));
        for (text, reason) in [
            ("12,5", "expected a decimal number"),
            ("0x10", "expected a decimal number"),
            ("", "expected a decimal number"),
            ("nan", "expected a decimal number"),
            ("1e999", "too large for a double"),
        ] {
            let expected = format!("invalid value '{text}': {reason}");
            assert_eq!(value(text.as_bytes()), Err(expected));
        }
    }

    #[test]
    fn times_are_positive() {
        assert_eq!(time("1760000000000"), Ok(1_760_000_000_000));
        for bad in ["", "0", "-5", "1.5", "now"] {
            assert!(time(bad).is_err(), "{bad}");
        }
    }
}
