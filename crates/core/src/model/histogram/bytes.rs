//! The byte form of a histogram. Equal histograms have equal bytes, and only these are read.
//!
//! The first byte is the number of values that are kept as they are, and they follow, sorted, two doubles at a time.
//! Or it is [`SCALE`] + scale - [`MIN_SCALE`], and there follow the zero count, the negative and the positive side:
//! the number of buckets from the lowest to the highest, the index of the lowest if there is one, and tokens. An even
//! token is twice a count, an odd one is 2n + 1 for n empty buckets.

use super::buckets::{Buckets, Entry, Side};
use super::{
    Histogram, LOWEST_SCALE, MAX_BUCKETS, MAX_COUNT, MAX_RAW, MAX_SCALE, MIN_SCALE, State, index,
};
use crate::codec::bytes::{Reader, put_doubles, put_i64, put_u64};
use crate::error::DecodeError;

/// The first byte of the form with buckets at scale [`MIN_SCALE`]. Those of lower scales are still above [`MAX_RAW`].
const SCALE: u8 = 32;

/// The limit of the byte form: the first byte, the zero count, two lengths and two indexes, and the counts.
pub const MAX_BYTES: usize = 1 + 8 + 2 * (2 + 3) + 8 * MAX_BUCKETS;

const WRONG: DecodeError = DecodeError("a histogram is damaged");

impl Histogram {
    /// Appends the byte form: with values at most 137 bytes, with buckets at most [`MAX_BYTES`].
    pub fn put(&self, out: &mut Vec<u8>) {
        match &self.0 {
            State::Raw(values) => {
                out.push(values.len() as u8);
                values.chunks(2).for_each(|pair| put_doubles(out, pair));
            }
            State::Buckets(buckets) => {
                out.push(SCALE.wrapping_add_signed(buckets.scale() - MIN_SCALE));
                put_u64(out, buckets.zero());
                let counts = buckets.unpack();
                put_side(out, &buckets.side(true, &counts));
                put_side(out, &buckets.side(false, &counts));
            }
        }
    }

    /// Reads bytes that are a whole byte form.
    ///
    /// # Errors
    /// The bytes are not the form of any histogram.
    pub fn decode(bytes: &[u8]) -> Result<Histogram, DecodeError> {
        let mut r = Reader::new(bytes);
        let histogram = Histogram::read(&mut r)?;
        r.finish()?;
        Ok(histogram)
    }

    /// Reads the byte form. Allocates what the histogram takes, and its byte form again, whatever the input claims.
    ///
    /// # Errors
    /// The bytes do not begin with the form of any histogram.
    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Histogram, DecodeError> {
        let start = *r;
        let first = r.u8()?;
        let histogram = match usize::from(first) <= MAX_RAW {
            true => Histogram(State::Raw(read_values(first, r)?)),
            false => Histogram(State::Buckets(read_buckets(first, r)?)),
        };
        // Varints and doubles have several forms, of which only one is written.
        let read = start.up_to(r);
        let mut again = Vec::with_capacity(read.len());
        histogram.put(&mut again);
        if again == read {
            Ok(histogram)
        } else {
            Err(WRONG)
        }
    }
}

fn put_side(out: &mut Vec<u8>, side: &Side<'_>) {
    put_u64(out, side.len() as u64);
    if side.len() == 0 {
        return;
    }
    put_i64(out, side.first.into());
    let mut empty = 0;
    for count in side.iter() {
        if count == 0 {
            empty += 1;
            continue;
        }
        if empty > 0 {
            put_u64(out, 2 * empty + 1);
            empty = 0;
        }
        put_u64(out, 2 * count);
    }
}

fn read_values(len: u8, r: &mut Reader<'_>) -> Result<Box<[f64]>, DecodeError> {
    let len = usize::from(len);
    let mut values = [0.0; MAX_RAW];
    let values = values.get_mut(..len).ok_or(WRONG)?;
    for pair in values.chunks_mut(2) {
        if let [value] = pair {
            [*value] = r.doubles()?;
        } else {
            pair.copy_from_slice(&r.doubles::<2>()?);
        }
    }
    let is_zero = |value: &f64| value.to_bits() == (-0.0f64).to_bits();
    if !values.is_sorted() || values.iter().any(is_zero) {
        return Err(WRONG);
    }
    Ok(Box::from(&*values))
}

fn read_buckets(first: u8, r: &mut Reader<'_>) -> Result<Buckets, DecodeError> {
    let scale = first.wrapping_sub(SCALE) as i8;
    let scale = scale.checked_add(MIN_SCALE).ok_or(WRONG)?;
    if !(LOWEST_SCALE..=MAX_SCALE).contains(&scale) {
        return Err(WRONG);
    }
    let zero = r.u64()?;
    let mut entries = Entries::default();
    let neg = read_side(scale, true, MAX_BUCKETS, &mut entries, r)?;
    read_side(scale, false, MAX_BUCKETS - neg, &mut entries, r)?;
    let entries = &entries.list[..entries.len];
    let total = zero.saturating_add(entries.iter().map(|entry| entry.count).sum());
    // Fewer samples would be kept as they are.
    if zero > MAX_COUNT || total <= MAX_RAW as u64 {
        return Err(WRONG);
    }
    Ok(Buckets::of_entries(scale, zero, entries.iter().copied()))
}

/// The buckets that have been read.
struct Entries {
    list: [Entry; MAX_BUCKETS],
    len: usize,
}

impl Default for Entries {
    fn default() -> Entries {
        let none = Entry {
            is_negative: false,
            index: 0,
            count: 0,
        };
        Entries {
            list: [none; MAX_BUCKETS],
            len: 0,
        }
    }
}

/// Reads a side of at most `max` buckets, and returns their number.
fn read_side(
    scale: i8,
    is_negative: bool,
    max: usize,
    entries: &mut Entries,
    r: &mut Reader<'_>,
) -> Result<usize, DecodeError> {
    let len = r.u32()?;
    if len as usize > max {
        return Err(WRONG);
    }
    if len == 0 {
        return Ok(0);
    }
    let (lowest, highest) = index::extremes(scale);
    let first = i32::try_from(r.i64()?).map_err(|_| WRONG)?;
    let end = first.checked_add(len as i32).ok_or(WRONG)?;
    if first < lowest || end - 1 > highest {
        return Err(WRONG);
    }
    let mut index = first;
    while index < end {
        let token = r.u64()?;
        if token % 2 == 1 {
            let empty = i32::try_from(token / 2).map_err(|_| WRONG)?;
            index = index.checked_add(empty).ok_or(WRONG)?;
            continue;
        }
        let count = token / 2;
        let place = entries.list.get_mut(entries.len).ok_or(WRONG)?;
        if count == 0 || count > MAX_COUNT {
            return Err(WRONG);
        }
        *place = Entry {
            is_negative,
            index,
            count,
        };
        entries.len += 1;
        index += 1;
    }
    if index > end {
        return Err(WRONG);
    }
    Ok(len as usize)
}
