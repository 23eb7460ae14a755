//! Reads the data points that are numbers or summaries, and the attributes of all.

use aggregator_protocol::number::Number;

use super::histogram::Point;
use super::resource::MAX_ATTRIBUTES;
use super::text::attribute;
use super::wire::{Fields, messages};
use crate::report::Attribute;

/// Lists that are reused for each point.
#[derive(Default)]
pub struct Buffers {
    /// A point of a histogram.
    pub point: Point,
    /// The counts since the previous report.
    pub part: Vec<u64>,
    /// Values of a distribution.
    pub values: Vec<(f64, u64)>,
}

/// The attributes of a resource, followed by those of a point.
pub struct Attributes<'a> {
    list: Vec<Attribute<'a>>,
    of_resource: usize,
    are_too_many: bool,
}

impl<'a> Attributes<'a> {
    /// Begins with those of a resource.
    pub fn new(of_resource: Vec<Attribute<'a>>) -> Attributes<'a> {
        Attributes {
            of_resource: of_resource.len(),
            list: of_resource,
            are_too_many: false,
        }
    }

    /// Begins another point.
    pub fn begin(&mut self) {
        self.list.truncate(self.of_resource);
        self.are_too_many = false;
    }

    /// Adds a `KeyValue`.
    pub fn add(&mut self, key_value: &'a [u8]) {
        if self.list.len() - self.of_resource < MAX_ATTRIBUTES {
            self.list.push(attribute(key_value));
        } else {
            self.are_too_many = true;
        }
    }

    /// Adds an attribute that is not one of the sender's.
    pub fn push(&mut self, attribute: Attribute<'a>) {
        self.list.push(attribute);
    }

    /// Checks their number.
    ///
    /// # Errors
    /// There are too many.
    pub fn check(&self) -> Result<(), &'static str> {
        if self.are_too_many {
            return Err("too many attributes");
        }
        Ok(())
    }

    /// Returns all.
    pub fn get(&self) -> &[Attribute<'a>] {
        &self.list
    }
}

/// A `NumberDataPoint`.
pub struct NumberPoint {
    /// The time at which counting began, Unix nanoseconds, or 0.
    pub start: u64,
    /// Unix nanoseconds, or 0.
    pub time: u64,
    /// True if the sender has no value.
    pub is_missing: bool,
    value: Option<Number>,
}

impl NumberPoint {
    /// Reads a point.
    ///
    /// # Errors
    /// The reason why it cannot be used.
    #[inline]
    pub fn read<'a>(
        message: &'a [u8],
        attributes: &mut Attributes<'a>,
    ) -> Result<NumberPoint, &'static str> {
        let mut point = NumberPoint {
            start: 0,
            time: 0,
            is_missing: false,
            value: None,
        };
        attributes.begin();
        for (number, value) in Fields::new(message) {
            match number {
                2 => point.start = value.bits(),
                3 => point.time = value.bits(),
                4 => point.value = Some(Number::Float(value.double())),
                6 => point.value = Some(integer(value.bits() as i64)),
                7 => attributes.add(value.bytes()),
                8 => point.is_missing = value.bits() & 1 != 0,
                _ => {}
            }
        }
        attributes.check()?;
        Ok(point)
    }

    /// Returns the value.
    ///
    /// # Errors
    /// There is none, or it is not finite.
    pub fn number(&self) -> Result<Number, &'static str> {
        match self.value {
            None => Err("no value"),
            Some(Number::Float(v)) if !v.is_finite() => Err("not a finite number"),
            // Adding 0 turns -0 into 0.
            Some(Number::Float(v)) => Ok(Number::Float(v + 0.0)),
            Some(number) => Ok(number),
        }
    }
}

fn integer(value: i64) -> Number {
    u64::try_from(value).map_or(Number::Float(value as f64), Number::Int)
}

/// A `SummaryDataPoint`.
pub struct Summary<'a> {
    /// The time at which counting began, Unix nanoseconds, or 0.
    pub start: u64,
    /// Unix nanoseconds, or 0.
    pub time: u64,
    /// True if the sender has no value.
    pub is_missing: bool,
    /// The number of values.
    pub count: u64,
    /// The sum of the values; none if it is negative, which a counter cannot be.
    pub sum: Option<f64>,
    message: &'a [u8],
}

impl<'a> Summary<'a> {
    /// Reads a point.
    ///
    /// # Errors
    /// The reason why it cannot be used.
    pub fn read(
        message: &'a [u8],
        attributes: &mut Attributes<'a>,
    ) -> Result<Summary<'a>, &'static str> {
        let mut summary = Summary {
            start: 0,
            time: 0,
            is_missing: false,
            count: 0,
            sum: None,
            message,
        };
        let mut sum = 0.0;
        attributes.begin();
        for (number, value) in Fields::new(message) {
            match number {
                2 => summary.start = value.bits(),
                3 => summary.time = value.bits(),
                4 => summary.count = value.bits(),
                5 => sum = value.double(),
                7 => attributes.add(value.bytes()),
                8 => summary.is_missing = value.bits() & 1 != 0,
                _ => {}
            }
        }
        attributes.check()?;
        let mut all = messages(message, 6).map(quantile);
        if !summary.is_missing
            && (!sum.is_finite() || all.any(|(q, v)| !q.is_finite() || v.is_infinite()))
        {
            return Err("not a finite number");
        }
        summary.sum = Some(sum + 0.0).filter(|sum| *sum >= 0.0);
        Ok(summary)
    }

    /// Visits quantiles, 0 to 1, and their values. Quantiles of no values are NaN, and left out.
    pub fn quantiles(&self) -> impl Iterator<Item = (f64, f64)> {
        let all = messages(self.message, 6).map(quantile);
        all.filter(|(_, value)| !value.is_nan())
            .map(|(quantile, value)| (quantile, value + 0.0))
    }
}

fn quantile(message: &[u8]) -> (f64, f64) {
    let (mut quantile, mut value) = (0.0, 0.0);
    for (number, field) in Fields::new(message) {
        match number {
            1 => quantile = field.double(),
            2 => value = field.double(),
            _ => {}
        }
    }
    (quantile, value)
}
