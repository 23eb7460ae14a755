//! The lines of `agg pipe stat`: a metric, its value, and perhaps its time.

use agg_client::command::Number;

use crate::sample_arguments::{time, value};

/// A line with a sample.
#[derive(Debug, PartialEq)]
pub struct LineOfSample<'a> {
    pub metric: &'a [u8],
    pub value: Number,
    /// Unix milliseconds; `None` is the server's clock.
    pub time: Option<i64>,
}

impl<'a> LineOfSample<'a> {
    /// Reads a line.
    ///
    /// # Errors
    /// The line has another form.
    pub fn parse(line: &'a [u8]) -> Result<LineOfSample<'a>, String> {
        let words = line.split(u8::is_ascii_whitespace);
        let mut words = words.filter(|word| !word.is_empty());
        let (Some(metric), Some(number), at, None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err("expected a metric and its value, and perhaps a time".into());
        };
        Ok(LineOfSample {
            metric,
            value: value(number)?,
            time: at
                .map(|at| time(&String::from_utf8_lossy(at)))
                .transpose()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_has_two_or_three_words() {
        let line = LineOfSample::parse(b" m\xff\t-2.5 1760000000000").unwrap();
        assert_eq!(line.metric, b"m\xff");
        assert_eq!(line.value, Number::Float(-2.5));
        assert_eq!(line.time, Some(1_760_000_000_000));
        assert_eq!(LineOfSample::parse(b"m 2").unwrap().time, None);
        for (line, expected) in [
            ("m", "expected a metric and its value"),
            (" ", "expected a metric and its value"),
            ("m 1 2 3", "expected a metric and its value"),
            ("m 1,5", "invalid value '1,5': expected a decimal number"),
            ("m 1 now", "invalid time 'now': expected Unix milliseconds"),
        ] {
            let error = LineOfSample::parse(line.as_bytes()).unwrap_err();
            assert!(error.starts_with(expected), "{line}: {error}");
        }
    }
}
