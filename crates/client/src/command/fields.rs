//! Reads maps, which RESP 2 writes as flat lists of names and values.

use std::collections::BTreeMap;

use aggregator_protocol::percentile;

use crate::reply::{self, Value};

/// A map of a reply. Each field is taken out once. Fields that nobody takes are ignored, because a newer server may send
/// more of them.
pub struct Fields(Vec<(String, Value)>);

impl Fields {
    /// Reads a map; none if the reply is not one.
    pub fn read(reply: Value) -> Option<Fields> {
        let mut items = reply::items(reply)?.into_iter();
        let mut fields = Vec::new();
        while let Some(name) = items.next() {
            fields.push((reply::text(name)?, items.next()?));
        }
        Some(Fields(fields))
    }

    /// Takes a value. The others keep their order.
    pub fn take(&mut self, name: &str) -> Option<Value> {
        let index = self.0.iter().position(|(other, _)| other == name)?;
        Some(self.0.remove(index).1)
    }

    /// Takes an integer.
    pub fn int(&mut self, name: &str) -> Option<i64> {
        reply::int(&self.take(name)?)
    }

    /// Takes an integer that is not negative.
    pub fn count(&mut self, name: &str) -> Option<u64> {
        u64::try_from(self.int(name)?).ok()
    }

    /// Takes an integer that is not negative; `default` if the server, which may be older, does not send it.
    pub fn count_or(&mut self, name: &str, default: u64) -> Option<u64> {
        match self.take(name) {
            Some(value) => u64::try_from(reply::int(&value)?).ok(),
            None => Some(default),
        }
    }

    /// Takes a text.
    pub fn text(&mut self, name: &str) -> Option<String> {
        reply::text(self.take(name)?)
    }

    /// Takes a decimal number, which RESP 2 writes as a string.
    pub fn float(&mut self, name: &str) -> Option<f64> {
        self.text(name)?.parse().ok()
    }

    /// Takes a decimal number that the server sends only of some metrics, and an older server of none.
    pub fn float_or_none(&mut self, name: &str) -> Option<Option<f64>> {
        super::maybe(self.take(name).unwrap_or(Value::Nil), |value| {
            reply::text(value)?.parse().ok()
        })
    }

    /// Takes the percentiles, in the order of the reply.
    pub fn percentiles(&mut self) -> Option<Vec<(String, f64)>> {
        let is_percentile =
            |(name, _): &mut (String, Value)| percentile::percentage(name).is_some();
        let found = self.0.extract_if(.., is_percentile);
        found
            .map(|(name, value)| Some((name, reply::text(value)?.parse().ok()?)))
            .collect()
    }

    /// Takes tags. A tag without a value has the text `true`.
    pub fn tags(&mut self, name: &str) -> Option<BTreeMap<String, String>> {
        let fields = Fields::read(self.take(name)?)?;
        fields
            .0
            .into_iter()
            .map(|(name, value)| Some((name, reply::text(value)?)))
            .collect()
    }

    /// Takes a map of counts, which is empty if the server does not send it.
    pub fn counts(&mut self, name: &str) -> Option<BTreeMap<String, u64>> {
        let fields = Fields::read(self.take(name).unwrap_or(Value::Nil))?;
        fields
            .0
            .into_iter()
            .map(|(name, value)| Some((name, u64::try_from(reply::int(&value)?).ok()?)))
            .collect()
    }

    /// Returns the names and values that are left.
    pub fn rest(self) -> impl Iterator<Item = (String, Value)> {
        self.0.into_iter()
    }
}
