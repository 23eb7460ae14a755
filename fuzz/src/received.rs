//! Receivers of what protocols of `agg-listener` pass on, which check what holds for each report.

use agg_listener::report::{Attribute, LogRecord, ObjectReport, Receiver, Sample, SampleValue};
use aggregator_protocol::level;
use aggregator_protocol::number::Number;

/// A report, as text where the text is not looked at.
#[derive(Clone, Debug, PartialEq)]
pub enum Report {
    /// A sample.
    Sample(ReceivedSample),
    /// A log record.
    Log(String),
    /// The state of an object.
    Object(String),
    /// Invalid input: the reason and the input.
    Invalid(&'static str, Vec<u8>),
}

/// A sample.
#[derive(Clone, Debug, PartialEq)]
pub struct ReceivedSample {
    /// The name.
    pub name: String,
    /// The attributes.
    pub attributes: Vec<(String, String)>,
    /// The time, Unix milliseconds.
    pub at: Option<i64>,
    /// The type, with what belongs to it except the value: `INC`, `HIST x10 ms`, `MEMBER a`.
    pub kind: String,
    /// The value; 0 if it has none.
    pub value: f64,
}

/// Keeps all reports.
#[derive(Debug, Default)]
pub struct Received {
    /// The reports, in order.
    pub reports: Vec<Report>,
}

fn check(number: Number, is_signed: bool) -> f64 {
    let value = number.to_f64();
    assert!(value.is_finite() && (value.is_sign_positive() || is_signed && value != 0.0));
    value
}

fn owned(attributes: &[Attribute<'_>]) -> Vec<(String, String)> {
    let owned = |a: &Attribute<'_>| (a.name.clone().into_owned(), a.value.clone().into_owned());
    attributes.iter().map(owned).collect()
}

impl Receiver for Received {
    fn sample(&mut self, sample: &Sample<'_>) {
        let (kind, value) = match sample.value {
            SampleValue::Abs(value) => ("ABS".to_owned(), check(value, true)),
            SampleValue::Add(value) => ("ADD".to_owned(), check(value, true)),
            SampleValue::Diff(value) => ("DIFF".to_owned(), check(value, false)),
            SampleValue::Inc(value) => ("INC".to_owned(), check(value, false)),
            SampleValue::Hist { value, times } => {
                assert!((1..=1 << 32).contains(&times));
                (format!("HIST x{times}"), check(value, true))
            }
            SampleValue::Distribution(distribution) => {
                assert!(!distribution.values.is_empty());
                (format!("{distribution:?}"), 0.0)
            }
            SampleValue::Member(member) => (format!("MEMBER {member}"), 0.0),
        };
        let unit = if sample.unit.is_empty() { "" } else { " " };
        self.reports.push(Report::Sample(ReceivedSample {
            name: sample.name.clone().into_owned(),
            attributes: owned(sample.attributes),
            at: sample.at,
            kind: kind + unit + sample.unit,
            value,
        }));
    }

    fn log(&mut self, record: &LogRecord<'_>) {
        assert!(record.level <= level::MAX && !record.message.is_empty());
        self.reports.push(Report::Log(format!("{record:?}")));
    }

    fn object(&mut self, object: &ObjectReport<'_>) {
        assert!(!object.key.is_empty() && !object.model.is_empty());
        let json: serde_json::Value = serde_json::from_str(&object.json).expect("JSON");
        assert!(json.is_object());
        self.reports.push(Report::Object(format!("{object:?}")));
    }

    fn invalid(&mut self, reason: &'static str, input: &[u8]) {
        assert!((1..=64).contains(&reason.len()) && reason.is_ascii());
        self.reports.push(Report::Invalid(reason, input.to_vec()));
    }
}

/// Takes reports without allocating.
pub struct Ignored;

impl Receiver for Ignored {
    fn sample(&mut self, _: &Sample<'_>) {}

    fn log(&mut self, _: &LogRecord<'_>) {}

    fn object(&mut self, _: &ObjectReport<'_>) {}

    fn invalid(&mut self, _: &'static str, _: &[u8]) {}
}
