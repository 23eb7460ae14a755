//! A log entry, as AGG.LOG reports it and the queue LOG contains it.

use crate::codec::bytes::{Reader, put_bytes, put_i64};
use crate::error::DecodeError;

/// A log entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LogEntry<'a> {
    pub message: &'a [u8],
    pub tags: &'a [u8],
    pub level: u8,
    pub at: i64,
}

impl<'a> LogEntry<'a> {
    /// Writes the form of queues and effects.
    pub fn put(&self, out: &mut Vec<u8>) {
        put_bytes(out, self.message);
        put_bytes(out, self.tags);
        out.push(self.level);
        put_i64(out, self.at);
    }

    /// Reads a log entry to the end of the bytes.
    pub fn read(bytes: &'a [u8]) -> Result<LogEntry<'a>, DecodeError> {
        let mut r = Reader::new(bytes);
        let entry = LogEntry::read_from(&mut r)?;
        r.finish()?;
        Ok(entry)
    }

    /// Reads a log entry that may be followed by others.
    pub fn read_from(r: &mut Reader<'a>) -> Result<LogEntry<'a>, DecodeError> {
        Ok(LogEntry {
            message: r.bytes()?,
            tags: r.bytes()?,
            level: r.u8().and_then(|level| match level {
                0..=9 => Ok(level),
                _ => Err(DecodeError("a level is out of range")),
            })?,
            at: r.ms()?,
        })
    }
}
