//! Counts in as few bytes as the largest requires.

use super::limits::{MAX_BUCKETS, MAX_COUNT};

/// The counts of all slots, in the order of the values.
pub(super) type Counts = [u64; MAX_BUCKETS];

/// The bytes of each count: as few as the largest count requires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Width {
    /// Half a byte: the lower half is that of the first of two slots.
    Half,
    One,
    Two,
    Four,
    Eight,
}

/// Returns the sum of two counts.
#[inline]
pub(super) fn add(count: u64, times: u64) -> u64 {
    count.saturating_add(times).min(MAX_COUNT)
}

impl Width {
    pub fn of(largest: u64) -> Width {
        match largest {
            0..=0xf => Width::Half,
            0x10..=0xff => Width::One,
            0x100..=0xffff => Width::Two,
            0x1_0000..=0xffff_ffff => Width::Four,
            _ => Width::Eight,
        }
    }

    /// Returns the bytes of so many counts.
    pub fn bytes_of(self, counts: usize) -> usize {
        match self {
            Width::Half => counts.div_ceil(2),
            Width::One => counts,
            Width::Two => 2 * counts,
            Width::Four => 4 * counts,
            Width::Eight => 8 * counts,
        }
    }

    pub fn pack(self, counts: &[u64]) -> Box<[u8]> {
        match self {
            Width::Half => pack_halves(counts),
            Width::One => pack::<1>(counts),
            Width::Two => pack::<2>(counts),
            Width::Four => pack::<4>(counts),
            Width::Eight => pack::<8>(counts),
        }
    }

    pub fn unpack(self, bytes: &[u8], out: &mut Counts) {
        match self {
            Width::Half => unpack_halves(bytes, out),
            Width::One => unpack::<1>(bytes, out),
            Width::Two => unpack::<2>(bytes, out),
            Width::Four => unpack::<4>(bytes, out),
            Width::Eight => unpack::<8>(bytes, out),
        }
    }

    /// Adds to a count. Returns false if it becomes too large.
    #[inline]
    pub fn try_add(self, bytes: &mut [u8], slot: usize, times: u64) -> bool {
        match self {
            Width::Half => try_add_half(bytes, slot, times),
            Width::One => try_add::<1>(bytes, slot, times),
            Width::Two => try_add::<2>(bytes, slot, times),
            Width::Four => try_add::<4>(bytes, slot, times),
            Width::Eight => try_add::<8>(bytes, slot, times),
        }
    }
}

fn pack<const N: usize>(counts: &[u64]) -> Box<[u8]> {
    let mut bytes = vec![0; counts.len() * N];
    for (place, count) in bytes.as_chunks_mut::<N>().0.iter_mut().zip(counts) {
        *place = narrow(*count);
    }
    bytes.into_boxed_slice()
}

fn pack_halves(counts: &[u64]) -> Box<[u8]> {
    let second = |pair: &[u64]| pair.get(1).copied().unwrap_or_default();
    let byte = |pair: &[u64]| pair[0] as u8 | (second(pair) as u8) << 4;
    counts.chunks(2).map(byte).collect()
}

fn unpack<const N: usize>(bytes: &[u8], out: &mut Counts) {
    for (out, count) in out.iter_mut().zip(bytes.as_chunks::<N>().0) {
        *out = widen(*count);
    }
}

fn unpack_halves(bytes: &[u8], out: &mut Counts) {
    for (pair, byte) in out.as_chunks_mut().0.iter_mut().zip(bytes) {
        *pair = [(byte & 0xf).into(), (byte >> 4).into()];
    }
}

#[inline]
fn try_add<const N: usize>(bytes: &mut [u8], slot: usize, times: u64) -> bool {
    let Some(count) = bytes.as_chunks_mut::<N>().0.get_mut(slot) else {
        return false;
    };
    let sum = add(widen(*count), times);
    let fits = widen(narrow::<N>(sum)) == sum;
    if fits {
        *count = narrow(sum);
    }
    fits
}

#[inline]
fn try_add_half(bytes: &mut [u8], slot: usize, times: u64) -> bool {
    let Some(pair) = bytes.get_mut(slot / 2) else {
        return false;
    };
    let shift = 4 * (slot % 2);
    let sum = add((*pair >> shift & 0xf).into(), times);
    let fits = sum <= 0xf;
    if fits {
        *pair = *pair & !(0xf << shift) | (sum as u8) << shift;
    }
    fits
}

/// Returns the lowest N bytes of a count, the lowest first.
#[inline]
fn narrow<const N: usize>(count: u64) -> [u8; N] {
    let bytes = count.to_le_bytes();
    std::array::from_fn(|i| bytes[i])
}

#[inline]
fn widen<const N: usize>(bytes: [u8; N]) -> u64 {
    let mut all = [0; 8];
    all[..N].copy_from_slice(&bytes);
    u64::from_le_bytes(all)
}
