//! The compact binary format of effects, snapshots and queue records.
//!
//! Integers are LEB128 varints (signed ones zigzag-coded first), byte strings have their length in front, doubles omit
//! their trailing zero bytes, which makes small whole numbers short. A reader never trusts a length: everything that it
//! returns is part of its input, and it never allocates.

use crate::error::DecodeError;
use aggregator_protocol::number::{TENS, decimal};

/// Appends an unsigned varint: 1 byte below 128, at most 10.
#[inline]
pub fn put_u64(out: &mut Vec<u8>, mut v: u64) {
    while v >= 0x80 {
        out.push(v as u8 | 0x80);
        v >>= 7;
    }
    out.push(v as u8);
}

/// Appends a signed varint: small magnitudes are short.
#[inline]
pub fn put_i64(out: &mut Vec<u8>, v: i64) {
    put_u64(out, zigzag(v));
}

/// Encodes a signed varint: its bytes and their number.
#[inline]
pub fn signed(v: i64) -> ([u8; 10], usize) {
    let (mut bytes, mut len, mut rest) = ([0; 10], 1, zigzag(v));
    for byte in &mut bytes {
        *byte = rest as u8 & 0x7f;
        rest >>= 7;
        if rest == 0 {
            break;
        }
        *byte |= 0x80;
        len += 1;
    }
    (bytes, len)
}

/// Appends a byte string with its length.
#[inline]
pub fn put_bytes(out: &mut Vec<u8>, v: &[u8]) {
    put_u64(out, v.len() as u64);
    out.extend_from_slice(v);
}

/// Removes `bytes` from the front of `rest`; false: it does not begin with them.
#[inline]
pub fn strip(rest: &mut &[u8], bytes: &[u8]) -> bool {
    let behind = rest.strip_prefix(bytes);
    *rest = behind.unwrap_or_default();
    behind.is_some()
}

/// Removes the varint of `n` from the front of `rest`, as [`put_u64`] writes it; false: it does not begin so.
#[inline]
pub fn strip_u64(rest: &mut &[u8], mut n: u64) -> bool {
    while let Some((first, behind)) = rest.split_first() {
        *rest = behind;
        if n < 0x80 {
            return u64::from(*first) == n;
        }
        if *first != n as u8 | 0x80 {
            return false;
        }
        n >>= 7;
    }
    false
}

/// Removes a byte string from the front of `rest`, as [`put_bytes`] writes it; false: it does not begin so.
#[inline]
pub fn strip_bytes(rest: &mut &[u8], v: &[u8]) -> bool {
    strip_u64(rest, v.len() as u64) && strip(rest, v)
}

/// Appends finite doubles: a nibble for the form of each (two to a byte), then the forms themselves. A nibble up to 8
/// is the number of leading bytes that are kept, the others being zero; 9 + n means that a signed varint follows, the
/// value times 10^n. The shorter form is used: most measurements have few decimals and take 1 to 4 bytes.
pub fn put_doubles(out: &mut Vec<u8>, values: &[f64]) {
    let first = out.len();
    out.resize(first + values.len().div_ceil(2), 0);
    for (i, &v) in values.iter().enumerate() {
        let kept = 8 - (v.to_bits().trailing_zeros() / 8).min(8) as u8;
        let form = match decimal(v).filter(|_| kept > 2) {
            Some((n, whole)) if varint_len(zigzag(whole)) < kept.into() => {
                put_i64(out, whole);
                DECIMAL + n
            }
            _ => {
                out.extend_from_slice(&v.to_bits().to_be_bytes()[..kept.into()]);
                kept
            }
        };
        out[first + i / 2] |= form << (4 * (i % 2));
    }
}

/// The first form of doubles that is decimal.
const DECIMAL: u8 = 9;

fn zigzag(v: i64) -> u64 {
    ((v << 1) ^ (v >> 63)) as u64
}

fn varint_len(v: u64) -> usize {
    (64 - (v | 1).leading_zeros() as usize).div_ceil(7)
}

/// Reads what the functions above have written.
#[derive(Clone, Copy)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the first byte.
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { rest: bytes }
    }

    /// Returns `true` if no byte is left.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Returns the number of bytes left.
    pub fn left(&self) -> usize {
        self.rest.len()
    }

    /// Returns the bytes that `later`, a reader of the same bytes, has read since.
    pub fn up_to(&self, later: &Reader<'a>) -> &'a [u8] {
        self.rest
            .get(..self.rest.len().saturating_sub(later.rest.len()))
            .unwrap_or_default()
    }

    /// Checks that everything has been read.
    pub fn finish(&self) -> Result<(), DecodeError> {
        if self.is_empty() {
            Ok(())
        } else {
            Err(DecodeError("trailing bytes"))
        }
    }

    /// Reads one byte.
    #[inline]
    pub fn u8(&mut self) -> Result<u8, DecodeError> {
        let (&first, rest) = self.rest.split_first().ok_or(CUT)?;
        self.rest = rest;
        Ok(first)
    }

    /// Reads an unsigned varint.
    #[inline]
    pub fn u64(&mut self) -> Result<u64, DecodeError> {
        let mut v = 0u64;
        for shift in (0..70).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            v |= bits << shift;
            if byte < 0x80 {
                return Ok(v);
            }
        }
        Err(DecodeError("a varint is too long"))
    }

    /// Reads an unsigned varint that fits 32 bits.
    #[inline]
    pub fn u32(&mut self) -> Result<u32, DecodeError> {
        u32::try_from(self.u64()?).map_err(|_| DecodeError("a number is out of range"))
    }

    /// Reads a signed varint.
    #[inline]
    pub fn i64(&mut self) -> Result<i64, DecodeError> {
        let v = self.u64()?;
        Ok((v >> 1) as i64 ^ -((v & 1) as i64))
    }

    /// Reads a time in Unix milliseconds: from the epoch to [`crate::time::MAX_MS`].
    #[inline]
    pub fn ms(&mut self) -> Result<i64, DecodeError> {
        let v = self.i64()?;
        if (0..=crate::time::MAX_MS).contains(&v) {
            Ok(v)
        } else {
            Err(DecodeError("a time is out of range"))
        }
    }

    /// Reads a number of samples, which replies write as a signed integer.
    pub fn count(&mut self) -> Result<u64, DecodeError> {
        match self.u64()? {
            n if i64::try_from(n).is_ok() => Ok(n),
            _ => Err(DecodeError("a count is out of range")),
        }
    }

    /// Reads a queue id.
    #[inline]
    pub fn id(&mut self) -> Result<u64, DecodeError> {
        let v = self.u64()?;
        if v <= crate::id::MAX_ID {
            Ok(v)
        } else {
            Err(DecodeError("an id is out of range"))
        }
    }

    /// Reads a name: a byte string that is not empty.
    pub fn name(&mut self) -> Result<&'a [u8], DecodeError> {
        match self.bytes()? {
            [] => Err(DecodeError("empty name")),
            name => Ok(name),
        }
    }

    /// Reads a byte string.
    #[inline]
    pub fn bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        let len = usize::try_from(self.u64()?).map_err(|_| CUT)?;
        let (bytes, rest) = self.rest.split_at_checked(len).ok_or(CUT)?;
        self.rest = rest;
        Ok(bytes)
    }

    /// Reads as many doubles as were written together.
    #[inline]
    pub fn doubles<const N: usize>(&mut self) -> Result<[f64; N], DecodeError> {
        let mut values = [0.0; N];
        self.doubles_into(&mut values)?;
        Ok(values)
    }

    /// Reads as many doubles as were written together.
    #[inline]
    pub fn doubles_into(&mut self, values: &mut [f64]) -> Result<(), DecodeError> {
        let (forms, rest) = self
            .rest
            .split_at_checked(values.len().div_ceil(2))
            .ok_or(CUT)?;
        let mut later = Reader { rest };
        for (i, value) in values.iter_mut().enumerate() {
            let form = forms[i / 2] >> (4 * (i % 2)) & 0xf;
            *value = match form.checked_sub(DECIMAL) {
                Some(n) => {
                    let ten = TENS
                        .get(usize::from(n))
                        .ok_or(DecodeError("invalid encoding of a double"))?;
                    later.i64()? as f64 / ten
                }
                None => later.leading(form.into())?,
            };
            if !value.is_finite() {
                return Err(DecodeError("a double is not finite"));
            }
        }
        self.rest = later.rest;
        Ok(())
    }

    /// Reads a double of which `len` leading bytes were kept, at most 8.
    fn leading(&mut self, len: usize) -> Result<f64, DecodeError> {
        let mut bits = [0; 8];
        let (kept, rest) = self.rest.split_at_checked(len).ok_or(CUT)?;
        bits.get_mut(..len).ok_or(CUT)?.copy_from_slice(kept);
        self.rest = rest;
        Ok(f64::from_bits(u64::from_be_bytes(bits)))
    }
}

const CUT: DecodeError = DecodeError("unexpected end of data");

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn encoded_values_read_back(u in any::<u64>(), i in any::<i64>(), b in any::<Vec<u8>>(),
                                d in prop::array::uniform5(-1e300f64..1e300)) {
            let mut out = Vec::new();
            put_u64(&mut out, u);
            put_i64(&mut out, i);
            put_bytes(&mut out, &b);
            put_doubles(&mut out, &d);
            let (bytes, len) = signed(i);
            prop_assert_eq!(Reader::new(&bytes[..len]).i64().unwrap(), i);
            let mut r = Reader::new(&out);
            prop_assert_eq!(r.u64().unwrap(), u);
            prop_assert_eq!(r.i64().unwrap(), i);
            prop_assert_eq!(r.bytes().unwrap(), &b[..]);
            prop_assert_eq!(r.doubles::<5>().unwrap(), d);
            prop_assert!(r.finish().is_ok());
        }

        #[test]
        fn decimals_are_short_and_read_back(whole in -9_999_999i64..10_000_000, n in 0usize..4) {
            let v = whole as f64 / TENS[n];
            let mut out = Vec::new();
            put_doubles(&mut out, &[v]);
            prop_assert!(out.len() <= 5, "{} bytes for {}", out.len(), v);
            let [read] = Reader::new(&out).doubles().unwrap();
            prop_assert_eq!(read.to_bits(), v.to_bits());
        }

        #[test]
        fn any_double_reads_back(bits in any::<u64>()) {
            let v = f64::from_bits(bits);
            prop_assume!(v.is_finite());
            let mut out = Vec::new();
            put_doubles(&mut out, &[v, -v, v / 3.0]);
            let read = Reader::new(&out).doubles::<3>().unwrap();
            prop_assert_eq!(read.map(f64::to_bits), [v, -v, v / 3.0].map(f64::to_bits));
        }

        #[test]
        fn any_bytes_are_read_or_rejected(bytes in any::<Vec<u8>>()) {
            let mut r = Reader::new(&bytes);
            let _ = (r.u64(), r.i64(), r.bytes().map(<[u8]>::len), r.doubles::<5>(), r.u8());
        }
    }

    #[test]
    fn small_whole_doubles_are_short() {
        let mut out = Vec::new();
        put_doubles(&mut out, &[0.0, 5.0, -2.0, 100.0, 0.5]);
        assert_eq!(out.len(), 3 + 2 + 1 + 2 + 2);
    }
}
