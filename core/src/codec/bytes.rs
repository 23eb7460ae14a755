//! The compact binary format of effects, saved frames and queue entries.
//!
//! Integers are LEB128 varints (signed ones zigzag-coded first), byte strings carry their length in front, doubles
//! drop their trailing zero bytes, which makes small whole numbers short. A reader never trusts a length: everything
//! it hands out lies inside what it was given, and it never allocates.

use crate::error::Damaged;

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
    put_u64(out, ((v << 1) ^ (v >> 63)) as u64);
}

/// Appends a byte string with its length.
#[inline]
pub fn put_bytes(out: &mut Vec<u8>, v: &[u8]) {
    put_u64(out, v.len() as u64);
    out.extend_from_slice(v);
}

/// Appends finite doubles: a nibble with the number of leading bytes kept for each (two to a byte), then those bytes.
pub fn put_doubles(out: &mut Vec<u8>, values: &[f64]) {
    let kept = |v: f64| 8 - (v.to_bits().trailing_zeros() / 8).min(8) as u8;
    for pair in values.chunks(2) {
        let second = pair.get(1).map_or(0, |&v| kept(v));
        out.push(kept(pair[0]) | second << 4);
    }
    for &v in values {
        out.extend_from_slice(&v.to_bits().to_be_bytes()[..kept(v) as usize]);
    }
}

/// Reads what the functions above wrote.
#[derive(Clone, Copy)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the first byte.
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { rest: bytes }
    }

    /// Nothing is left.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// How many bytes are left.
    pub fn left(&self) -> usize {
        self.rest.len()
    }

    /// The bytes that `later`, a reader of the same bytes, has read since.
    pub fn up_to(&self, later: &Reader<'a>) -> &'a [u8] {
        self.rest
            .get(..self.rest.len().saturating_sub(later.rest.len()))
            .unwrap_or_default()
    }

    /// Everything was read; what is left over is damage.
    pub fn finish(&self) -> Result<(), Damaged> {
        if self.is_empty() {
            Ok(())
        } else {
            Err(Damaged("bytes left over"))
        }
    }

    /// One byte.
    #[inline]
    pub fn u8(&mut self) -> Result<u8, Damaged> {
        let (&first, rest) = self.rest.split_first().ok_or(CUT)?;
        self.rest = rest;
        Ok(first)
    }

    /// An unsigned varint.
    #[inline]
    pub fn u64(&mut self) -> Result<u64, Damaged> {
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
        Err(Damaged("a varint is too long"))
    }

    /// An unsigned varint that fits 32 bits.
    #[inline]
    pub fn u32(&mut self) -> Result<u32, Damaged> {
        u32::try_from(self.u64()?).map_err(|_| Damaged("a number is out of range"))
    }

    /// A signed varint.
    #[inline]
    pub fn i64(&mut self) -> Result<i64, Damaged> {
        let v = self.u64()?;
        Ok((v >> 1) as i64 ^ -((v & 1) as i64))
    }

    /// A time in Unix milliseconds: from the epoch to [`crate::time::MAX_MS`].
    #[inline]
    pub fn ms(&mut self) -> Result<i64, Damaged> {
        let v = self.i64()?;
        if (0..=crate::time::MAX_MS).contains(&v) {
            Ok(v)
        } else {
            Err(Damaged("a time is out of range"))
        }
    }

    /// A number of samples: it leaves as a signed integer.
    pub fn count(&mut self) -> Result<u64, Damaged> {
        match self.u64()? {
            n if i64::try_from(n).is_ok() => Ok(n),
            _ => Err(Damaged("a count is out of range")),
        }
    }

    /// A queue id.
    #[inline]
    pub fn id(&mut self) -> Result<u64, Damaged> {
        let v = self.u64()?;
        if v <= crate::turn::MAX_ID {
            Ok(v)
        } else {
            Err(Damaged("an id is out of range"))
        }
    }

    /// A name: a byte string that is not empty.
    pub fn name(&mut self) -> Result<&'a [u8], Damaged> {
        match self.bytes()? {
            [] => Err(Damaged("a name is empty")),
            name => Ok(name),
        }
    }

    /// A byte string.
    #[inline]
    pub fn bytes(&mut self) -> Result<&'a [u8], Damaged> {
        let len = usize::try_from(self.u64()?).map_err(|_| CUT)?;
        let (bytes, rest) = self.rest.split_at_checked(len).ok_or(CUT)?;
        self.rest = rest;
        Ok(bytes)
    }

    /// As many doubles as were put together.
    pub fn doubles<const N: usize>(&mut self) -> Result<[f64; N], Damaged> {
        let (lengths, mut rest) = self.rest.split_at_checked(N.div_ceil(2)).ok_or(CUT)?;
        let mut values = [0.0; N];
        for (i, value) in values.iter_mut().enumerate() {
            let len = (lengths[i / 2] >> (4 * (i % 2)) & 0xf) as usize;
            let mut bits = [0; 8];
            let (kept, after) = rest.split_at_checked(len).ok_or(CUT)?;
            bits.get_mut(..len)
                .ok_or(Damaged("a double is too long"))?
                .copy_from_slice(kept);
            rest = after;
            *value = f64::from_bits(u64::from_be_bytes(bits));
            if !value.is_finite() {
                return Err(Damaged("a double is not finite"));
            }
        }
        self.rest = rest;
        Ok(values)
    }
}

const CUT: Damaged = Damaged("cut short");

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_was_put_is_read(u in any::<u64>(), i in any::<i64>(), b in any::<Vec<u8>>(),
                                d in prop::array::uniform5(-1e300f64..1e300)) {
            let mut out = Vec::new();
            put_u64(&mut out, u);
            put_i64(&mut out, i);
            put_bytes(&mut out, &b);
            put_doubles(&mut out, &d);
            let mut r = Reader::new(&out);
            prop_assert_eq!(r.u64().unwrap(), u);
            prop_assert_eq!(r.i64().unwrap(), i);
            prop_assert_eq!(r.bytes().unwrap(), &b[..]);
            prop_assert_eq!(r.doubles::<5>().unwrap(), d);
            prop_assert!(r.finish().is_ok());
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in any::<Vec<u8>>()) {
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
