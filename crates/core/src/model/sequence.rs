//! A sequence number, as SEQ gives it.

use crate::codec::bytes::{Reader, put_bytes, put_u64};
use crate::error::DecodeError;

/// The longest name of a source, bytes.
pub(crate) const MAX_SOURCE: usize = 256;

/// The largest number of a source.
pub(crate) const MAX_NUMBER: u64 = i64::MAX as u64;

/// The number of a report among those of its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sequence<'a> {
    pub source: &'a [u8],
    pub number: u64,
}

impl<'a> Sequence<'a> {
    /// Writes the form of effects, digests and saved nodes.
    pub fn put(&self, out: &mut Vec<u8>) {
        put_bytes(out, self.source);
        put_u64(out, self.number);
    }

    /// Reads what `put` wrote.
    pub fn read(r: &mut Reader<'a>) -> Result<Sequence<'a>, DecodeError> {
        let (source, number) = (r.name()?, r.u64()?);
        if source.len() > MAX_SOURCE || number > MAX_NUMBER {
            return Err(DecodeError("a source is out of range"));
        }
        Ok(Sequence { source, number })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequence_number_out_of_range_is_rejected() {
        let reads = |source: &[u8], number| {
            let mut bytes = Vec::new();
            let sequence = Sequence { source, number };
            sequence.put(&mut bytes);
            for len in 0..bytes.len() {
                assert!(Sequence::read(&mut Reader::new(&bytes[..len])).is_err());
            }
            Sequence::read(&mut Reader::new(&bytes)).is_ok_and(|read| read == sequence)
        };
        let longest = [b'x'; MAX_SOURCE];
        assert!(reads(b"x", 0) && reads(&longest, MAX_NUMBER));
        assert!(!reads(b"", 1));
        assert!(!reads(&[&longest[..], b"x"].concat(), 1));
        assert!(!reads(b"x", MAX_NUMBER + 1));
    }
}
