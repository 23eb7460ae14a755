//! The fields of a record by name, each read as the type that its queue defines.

use std::borrow::Cow;
use std::str::FromStr;

use serde_json::value::RawValue;

use crate::json::{Members, Text};

use super::error::RecordError;

/// The fields of a record, verbatim.
pub(super) struct Fields<'a>(Members<'a>);

impl<'a> Fields<'a> {
    pub fn new(members: Members<'a>) -> Fields<'a> {
        Fields(members)
    }

    /// Returns all fields, in the order of the record.
    pub fn iter(&self) -> impl Iterator<Item = (&Cow<'a, str>, &'a RawValue)> {
        self.0.0.iter().map(|(name, raw)| (name, *raw))
    }

    /// Returns a field as it was written, or `None` if the record lacks it. Of equal names the first one holds.
    pub fn find(&self, name: &str) -> Option<&'a RawValue> {
        let mut found = self.iter().filter(|(other, _)| *other == name);
        found.next().map(|(_, raw)| raw)
    }

    /// Returns a field as it was written.
    pub fn raw(&self, name: &'static str) -> Result<&'a RawValue, RecordError> {
        self.find(name).ok_or(RecordError::Missing(name))
    }

    /// Returns a string.
    pub fn text(&self, name: &'static str) -> Result<Cow<'a, str>, RecordError> {
        text(self.raw(name)?).ok_or(RecordError::Invalid(name))
    }

    /// Returns an integer in the range of its type.
    pub fn integer<T: FromStr>(&self, name: &'static str) -> Result<T, RecordError> {
        let number = self.raw(name)?.get().parse();
        number.map_err(|_| RecordError::Invalid(name))
    }

    /// Returns a finite number.
    pub fn number(&self, name: &'static str) -> Result<f64, RecordError> {
        number(self.raw(name)?).ok_or(RecordError::Invalid(name))
    }

    /// Returns a truth value.
    pub fn boolean(&self, name: &'static str) -> Result<bool, RecordError> {
        let word = self.raw(name)?.get().parse();
        word.map_err(|_| RecordError::Invalid(name))
    }
}

/// Reads a number, which must be finite. JSON has no words such as NaN, but a number may exceed the range of a double.
pub(super) fn number(raw: &RawValue) -> Option<f64> {
    let text = raw.get();
    let is_number = text.starts_with(|c: char| c == '-' || c.is_ascii_digit());
    let number: f64 = is_number.then(|| text.parse().ok())??;
    number.is_finite().then_some(number)
}

/// Reads a JSON string.
pub(super) fn text(raw: &RawValue) -> Option<Cow<'_, str>> {
    let Text(text) = serde_json::from_str(raw.get()).ok()?;
    Some(text)
}
