//! An occurrence of an error, as AGG.ERROR reports it, and the state of its delivery.

use crate::codec::bytes::{Reader, put_bytes, put_i64, put_u64, strip, strip_bytes, strip_u64};
use crate::error::DecodeError;

/// The type of an error. The numbers are those of effects and saved nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ErrorType {
    #[default]
    Unknown = 0,
    Bug = 1,
    Perf = 2,
    Ops = 3,
}

impl ErrorType {
    /// All types, in the order of the grammar.
    pub const ALL: [ErrorType; 4] = [
        ErrorType::Bug,
        ErrorType::Perf,
        ErrorType::Ops,
        ErrorType::Unknown,
    ];

    /// Returns the keyword of the commands and records.
    pub const fn name(self) -> &'static str {
        match self {
            ErrorType::Unknown => "UNKNOWN",
            ErrorType::Bug => "BUG",
            ErrorType::Perf => "PERF",
            ErrorType::Ops => "OPS",
        }
    }

    /// Returns the type of a number.
    fn from_number(number: u8) -> Option<ErrorType> {
        ErrorType::ALL.into_iter().find(|t| *t as u8 == number)
    }
}

/// An occurrence of an error, with its texts as they are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Occurrence<'a> {
    pub key: &'a [u8],
    /// Message, public, code, func, file, backtrace.
    pub texts: [&'a [u8]; 6],
    /// In canonical form.
    pub tags: &'a [u8],
    pub level: u8,
    pub error_type: ErrorType,
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
        out.extend([self.level, self.error_type as u8]);
        put_u64(out, self.gid);
        put_u64(out, self.nid);
    }

    /// Returns `true` if `content` is what [`Occurrence::put_content`] writes. An error that occurs again nearly always
    /// has the content that is stored, and comparing takes half of what writing takes.
    pub fn has_content(&self, content: &[u8]) -> bool {
        let mut rest = content;
        let mut texts = self.texts.into_iter().chain([self.tags]);
        texts.all(|text| strip_bytes(&mut rest, text))
            && strip(&mut rest, &[self.level, self.error_type as u8])
            && strip_u64(&mut rest, self.gid)
            && strip_u64(&mut rest, self.nid)
            && rest.is_empty()
    }

    pub fn read_content(key: &'a [u8], r: &mut Reader<'a>) -> Result<Occurrence<'a>, DecodeError> {
        let mut texts = [&[][..]; 6];
        for text in &mut texts {
            *text = r.bytes()?;
        }
        let tags = r.bytes()?;
        let (level, error_type) = (r.u8()?, ErrorType::from_number(r.u8()?));
        let (0..=9, Some(error_type)) = (level, error_type) else {
            return Err(DecodeError("an error's level or type is out of range"));
        };
        Ok(Occurrence {
            key,
            texts,
            tags,
            level,
            error_type,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_recognized_and_no_other_is() {
        let long = [b'x'; 300];
        let occurrence = Occurrence {
            key: b"key",
            texts: [b"message", b"", b"E5", &long, b"disk.c", b""],
            tags: b"a:b",
            level: 5,
            error_type: ErrorType::Ops,
            gid: 7,
            nid: 1 << 40,
            at: 0,
        };
        let mut content = Vec::new();
        occurrence.put_content(&mut content);
        assert!(occurrence.has_content(&content));
        for i in 0..content.len() {
            assert!(!occurrence.has_content(&content[..i]));
            let mut other = content.clone();
            other[i] ^= 1;
            assert!(!occurrence.has_content(&other), "{i}");
        }
        content.push(0);
        assert!(!occurrence.has_content(&content));
    }
}
