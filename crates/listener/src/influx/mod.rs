//! InfluxDB line protocol, as the write requests of InfluxDB 1 and 2 have it
//! (<https://docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol/>).
//!
//! Each field that is a number is a sample of the metric `measurement.field`, and tags are its attributes. A boolean is a
//! gauge of 1 or 0. A string is skipped and counted.
//!
//! # Invariants
//!
//! A line counts as a whole or not at all, as in InfluxDB. Only numbers that their kind does not allow, such as negative
//! increments, are left out of a line. What is allocated besides escaped names and values does not grow with the input:
//! the tags and fields of a line are limited.

mod line;
mod rules;
#[cfg(test)]
mod tests;
mod value;

use std::fmt::Write;

use aggregator_protocol::number::Number;

use crate::report::{Receiver, Sample, SampleValue, TOO_MUCH};

use line::Reader;
use value::Value;

pub use rules::{Kind, Rules};
pub use value::Precision;

/// The most invalid lines of which a [`Summary`] has the numbers.
pub const MAX_LISTED: usize = 10;

/// The number of lines, samples and errors of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// The number of valid lines. Blank lines and comments do not count.
    pub lines: u64,
    /// The number of samples passed on.
    pub samples: u64,
    /// The number of fields that are strings.
    pub skipped_strings: u64,
    /// The number of lines and fields that cannot be used.
    pub invalid: u64,
    /// The first [`MAX_LISTED`] of them.
    pub first_invalid: Vec<InvalidLine>,
}

/// A line that cannot be used, or has a field that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidLine {
    /// The number of the line, from 1. A string with newlines takes several lines.
    pub number: u64,
    /// The reason, such as "no fields".
    pub reason: &'static str,
}

impl Summary {
    /// Returns the message of the answer to a request, `None` if all lines are valid: as
    /// `partial write: 2 errors: line 3: no fields; line 7: an invalid time`.
    pub fn message(&self) -> Option<String> {
        let errors = match self.invalid {
            0 => return None,
            1 => "error",
            _ => "errors",
        };
        let mut message = format!("partial write: {} {errors}", self.invalid);
        for (i, line) in self.first_invalid.iter().enumerate() {
            let separator = if i == 0 { ':' } else { ';' };
            // Writing to a string does not fail.
            let _ = write!(message, "{separator} line {}: {}", line.number, line.reason);
        }
        let listed = u64::try_from(self.first_invalid.len()).unwrap_or(u64::MAX);
        if self.invalid > listed {
            message.push_str("; ...");
        }
        Some(message)
    }

    fn add_invalid(&mut self, number: u64, reason: &'static str) {
        self.invalid += 1;
        if self.first_invalid.len() < MAX_LISTED {
            self.first_invalid.push(InvalidLine { number, reason });
        }
    }
}

/// Parses the body of a write request. `precision` is the unit of its times.
pub fn parse(
    body: &[u8],
    precision: Precision,
    rules: &Rules,
    receiver: &mut impl Receiver,
) -> Summary {
    let text = String::from_utf8_lossy(body);
    let mut reader = Reader::new(&text, precision);
    let mut summary = Summary::default();
    let mut name = String::new();
    while let Some(result) = reader.next_line() {
        match result {
            Ok(()) => pass_on(&reader, rules, &mut name, &mut summary, receiver),
            Err((reason, line)) => {
                summary.add_invalid(reader.number, reason);
                receiver.invalid(reason, line.as_bytes());
            }
        }
    }
    summary
}

/// Passes on the samples of a line. `name` is memory for a name.
fn pass_on(
    line: &Reader<'_>,
    rules: &Rules,
    name: &mut String,
    summary: &mut Summary,
    receiver: &mut impl Receiver,
) {
    summary.lines += 1;
    if !receiver.takes_more() {
        summary.add_invalid(line.number, TOO_MUCH);
        return receiver.invalid(TOO_MUCH, line.measurement.as_bytes());
    }
    summary.skipped_strings += line.strings;
    receiver.skipped(line.strings);
    name.clear();
    name.push_str(&line.measurement);
    name.push('.');
    let start = name.len();
    for (field, value) in &line.fields {
        if !receiver.takes_more() {
            summary.add_invalid(line.number, TOO_MUCH);
            return receiver.invalid(TOO_MUCH, line.measurement.as_bytes());
        }
        name.truncate(start);
        name.push_str(&field.unescaped(line::KEY_ESCAPES));
        match sample_value(*value, rules, name) {
            Ok(value) => {
                summary.samples += 1;
                receiver.sample(&Sample {
                    name: name.as_str().into(),
                    attributes: &line.tags,
                    unit: "",
                    at: line.time,
                    value,
                });
            }
            Err(reason) => {
                summary.add_invalid(line.number, reason);
                receiver.invalid(reason, name.as_bytes());
            }
        }
    }
}

fn sample_value(
    value: Value,
    rules: &Rules,
    name: &str,
) -> Result<SampleValue<'static>, &'static str> {
    let value = match value {
        Value::Boolean(value) => return Ok(SampleValue::Abs(Number::Int(value.into()))),
        Value::Number(value) => value,
    };
    let is_negative = value.to_f64() < 0.0;
    match rules.kind(name) {
        Kind::Abs => Ok(SampleValue::Abs(value)),
        Kind::Hist => Ok(SampleValue::Hist { value, times: 1 }),
        Kind::Diff | Kind::Inc if is_negative => Err("a negative value of a counter"),
        Kind::Diff => Ok(SampleValue::Diff(value)),
        Kind::Inc => Ok(SampleValue::Inc(value)),
    }
}
