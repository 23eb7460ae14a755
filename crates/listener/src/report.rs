//! The reports that protocols pass on: samples, log records and objects.

use std::borrow::Cow;

use aggregator_protocol::number::Number;

/// A name and a value that describe a report, such as a label of Prometheus or a tag of statsd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// The name.
    pub name: Cow<'a, str>,
    /// The value; empty if there is none.
    pub value: Cow<'a, str>,
}

impl<'a> Attribute<'a> {
    /// Creates an attribute of borrowed text.
    pub fn new(name: &'a str, value: &'a str) -> Attribute<'a> {
        Attribute {
            name: Cow::Borrowed(name),
            value: Cow::Borrowed(value),
        }
    }
}

/// A measurement of a series. A series is a name with attributes.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample<'a> {
    /// The name, without attributes.
    pub name: Cow<'a, str>,
    /// The attributes, in any order. Of equal names the last counts.
    pub attributes: &'a [Attribute<'a>],
    /// The unit, such as `ms`; empty if it is not known.
    pub unit: &'a str,
    /// The time, Unix milliseconds. None: now.
    pub at: Option<i64>,
    /// The measured value.
    pub value: SampleValue<'a>,
}

/// The value of a sample. Values are finite.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SampleValue<'a> {
    /// The value of a gauge.
    Abs(Number),
    /// The change of a gauge.
    Add(Number),
    /// The total of a counter, which only one sender maintains. Not negative.
    Diff(Number),
    /// An increment of a counter. Not negative.
    Inc(Number),
    /// A value that occurred some times, of which percentiles are wanted.
    Hist {
        /// The value.
        value: Number,
        /// The number of occurrences, 1 to 2^32.
        times: u64,
    },
    /// Values that the sender has aggregated.
    Distribution(Distribution<'a>),
    /// A member of a set, whose distinct members are counted.
    Member(&'a str),
}

/// Values that a sender has aggregated in buckets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Distribution<'a> {
    /// The sum of the values; none if it is not known.
    pub sum: Option<f64>,
    /// The least value; none if it is not known.
    pub min: Option<f64>,
    /// The greatest value; none if it is not known.
    pub max: Option<f64>,
    /// Values and the number of their occurrences, 1 to 2^32 each. Not empty.
    pub values: &'a [(f64, u64)],
}

/// A line of a log.
#[derive(Clone, Debug, PartialEq)]
pub struct LogRecord<'a> {
    /// The level of the module, 0 to 9: see [`aggregator_protocol::level`].
    pub level: u8,
    /// The message. It may have several lines.
    pub message: Cow<'a, str>,
    /// Attributes of the record, such as the name of the program.
    pub attributes: &'a [Attribute<'a>],
    /// The time, Unix milliseconds. None: now.
    pub at: Option<i64>,
}

/// The state of something.
#[derive(Clone, Debug, PartialEq)]
pub struct ObjectReport<'a> {
    /// The key, which identifies the object.
    pub key: Cow<'a, str>,
    /// The model, which says what kind of object it is, such as `service.Check`.
    pub model: &'a str,
    /// The state, a JSON object.
    pub json: Cow<'a, str>,
    /// Attributes of the object.
    pub attributes: &'a [Attribute<'a>],
}

/// Takes what a protocol has parsed.
pub trait Receiver {
    /// Takes a sample.
    fn sample(&mut self, sample: &Sample<'_>);

    /// Takes a log record.
    fn log(&mut self, record: &LogRecord<'_>);

    /// Takes the state of an object.
    fn object(&mut self, object: &ObjectReport<'_>);

    /// Counts input that the protocol cannot use. `reason` says why, as "an invalid value". `input` is the part of the
    /// input that is not used, such as one line.
    fn invalid(&mut self, reason: &'static str, input: &[u8]);

    /// Returns false once a request has passed on more than it may: the rest of it is invalid for the reason [`TOO_MUCH`].
    fn takes_more(&self) -> bool {
        true
    }

    /// Counts values that are valid and no samples, such as strings.
    fn skipped(&mut self, count: u64) {
        let _ = count;
    }
}

/// The reason why the rest of a request is not used.
pub const TOO_MUCH: &str = "a request with too much content, or too many repetitions";
