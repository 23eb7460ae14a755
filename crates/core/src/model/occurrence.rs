//! An occurrence of an error, as AGG.ERROR reports it, and the state of its delivery.

use crate::codec::bytes::{Reader, put_bytes, put_i64, put_u64};
use crate::error::DecodeError;

/// The types of errors, in the order of their numbers.
pub(crate) const ERROR_TYPES: [&str; 4] = ["UNKNOWN", "BUG", "PERF", "OPS"];

/// An occurrence of an error, with its texts as they are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Occurrence<'a> {
    pub key: &'a [u8],
    /// Message, public, code, func, file, backtrace.
    pub texts: [&'a [u8]; 6],
    /// In canonical form.
    pub tags: &'a [u8],
    pub level: u8,
    /// An index of [`ERROR_TYPES`].
    pub kind: u8,
    pub gid: u64,
    pub nid: u64,
    pub at: i64,
}

impl<'a> Occurrence<'a> {
    /// Writes the form of effects and saved nodes.
    pub fn put(&self, out: &mut Vec<u8>) {
        put_bytes(out, self.key);
        self.put_content(out);
        put_i64(out, self.at);
    }

    /// Reads what `put` wrote.
    pub fn read(r: &mut Reader<'a>) -> Result<Occurrence<'a>, DecodeError> {
        let key = r.name()?;
        let mut occurrence = Occurrence::read_content(key, r)?;
        occurrence.at = r.ms()?;
        Ok(occurrence)
    }

    pub fn put_content(&self, out: &mut Vec<u8>) {
        for text in self.texts {
            put_bytes(out, text);
        }
        put_bytes(out, self.tags);
        out.extend([self.level, self.kind]);
        put_u64(out, self.gid);
        put_u64(out, self.nid);
    }

    pub fn read_content(key: &'a [u8], r: &mut Reader<'a>) -> Result<Occurrence<'a>, DecodeError> {
        let mut texts = [&[][..]; 6];
        for text in &mut texts {
            *text = r.bytes()?;
        }
        let tags = r.bytes()?;
        let (level, kind) = (r.u8()?, r.u8()?);
        if level > 9 || usize::from(kind) >= ERROR_TYPES.len() {
            return Err(DecodeError("an error's level or type is out of range"));
        }
        Ok(Occurrence {
            key,
            texts,
            tags,
            level,
            kind,
            gid: r.u64()?,
            nid: r.u64()?,
            at: 0,
        })
    }
}

/// The delivery of an error: its time, and the number of occurrences by then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Delivery {
    /// Unix milliseconds; 0: never.
    pub ms: i64,
    pub occurrences: u64,
}
