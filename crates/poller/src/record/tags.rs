//! The tags of a record.

use std::borrow::Cow;

use crate::json::Members;

use super::error::RecordError;
use super::fields::{Fields, text};

/// The tags of a record, in their order.
#[derive(Debug, PartialEq)]
pub struct Tags<'a> {
    json: &'a str,
    pairs: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

impl<'a> Tags<'a> {
    pub(super) fn of(fields: &Fields<'a>) -> Result<Tags<'a>, RecordError> {
        let invalid = || RecordError::Invalid("tags");
        let json = fields.raw("tags")?.get();
        let Members(members) = serde_json::from_str(json).map_err(|_| invalid())?;
        let mut pairs = Vec::with_capacity(members.len());
        for (name, raw) in members {
            let value = match raw.get() {
                // A tag without a value is `true`.
                word @ ("true" | "false") => Cow::Borrowed(word),
                _ => text(raw).ok_or_else(invalid)?,
            };
            pairs.push((name, value));
        }
        Ok(Tags { json, pairs })
    }

    /// Returns the tags as the JSON object of the record. A tag without a value is `true` there.
    pub fn json(&self) -> &'a str {
        self.json
    }

    /// Returns the names and values. The value of a tag that has none is the text `true`.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(name, value)| (&**name, &**value))
    }

    /// Returns the value of a tag.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter()
            .find(|(other, _)| *other == name)
            .map(|(_, value)| value)
    }
}
