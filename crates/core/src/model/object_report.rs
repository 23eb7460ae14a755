//! A report of an object, as AGG.REALITY makes it.

use crate::codec::bytes::{Reader, put_bytes, put_i64, put_u64};
use crate::codec::json;
use crate::error::DecodeError;

/// A report of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ObjectReport<'a> {
    pub key: &'a [u8],
    pub model: &'a [u8],
    /// As it was given, without insignificant white space.
    pub json: &'a [u8],
    /// Equal for two texts of the same JSON value; see [`crate::codec::json`].
    pub identity: u128,
    /// In canonical form.
    pub tags: &'a [u8],
    pub at: i64,
    /// Seconds; 0: never expires; `None`: as the setting says.
    pub ttl_s: Option<u64>,
}

impl<'a> ObjectReport<'a> {
    /// Writes the form of effects and saved nodes.
    pub fn put(&self, out: &mut Vec<u8>) {
        put_bytes(out, self.key);
        put_bytes(out, self.model);
        put_bytes(out, self.json);
        out.extend_from_slice(&self.identity.to_le_bytes());
        put_bytes(out, self.tags);
        put_i64(out, self.at);
        put_u64(out, self.ttl_s.map_or(0, |s| s.saturating_add(1)));
    }

    /// Checks that the JSON is in the form in which the core keeps it, with the right identity.
    pub fn check(&self) -> Result<(), DecodeError> {
        match json::scan(self.json) {
            Ok(scanned) if scanned.compact == self.json && scanned.identity == self.identity => {
                Ok(())
            }
            _ => Err(DecodeError("invalid JSON of an object")),
        }
    }

    /// Reads what `put` wrote.
    pub fn read(r: &mut Reader<'a>) -> Result<ObjectReport<'a>, DecodeError> {
        let (key, model, json) = (r.name()?, r.name()?, r.bytes()?);
        let mut identity = [0; 16];
        for byte in &mut identity {
            *byte = r.u8()?;
        }
        let (tags, at) = (r.bytes()?, r.ms()?);
        let ttl_s = r.u64()?.checked_sub(1);
        Ok(ObjectReport {
            key,
            model,
            json,
            identity: u128::from_le_bytes(identity),
            tags,
            at,
            ttl_s,
        })
    }
}
