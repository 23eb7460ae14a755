//! A closed window of a metric, and its compact form, which queues and histories hold.

use crate::codec::bytes::{Reader, put_doubles, put_i64, put_u64, signed};
use crate::error::DecodeError;
use crate::time::{MAX_MS, second};

/// A window that has closed, or is shown as it stands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ClosedWindow {
    pub start: i64,
    pub count: u64,
    pub sum: f64,
    pub avg: f64,
    pub min: f64,
    pub max: f64,
    pub last: f64,
}

/// What is left out of a closed window's compact form as it follows from the rest.
mod omitted {
    /// `avg`: it is `sum / count`.
    pub const MEAN: u8 = 1;
    /// `avg`: it is the rate of `sum` over milliseconds that are written instead.
    pub const RATE: u8 = 2;
    /// `last`: it is `min`, `max`.
    pub const LAST_IS_MIN: u8 = 4;
    pub const LAST_IS_MAX: u8 = 8;
    /// `max`: it is `min`.
    pub const MAX: u8 = 16;
    /// `min`: it is `avg`.
    pub const MIN: u8 = 32;
    pub const ALL: u8 = 63;
}

/// The compact form of a closed window but for its start, which is told relative to another: it goes to two places, and
/// is made once.
#[derive(Clone, Copy)]
pub(crate) struct CompactForm<'a> {
    flags: u8,
    rest: &'a [u8],
}

impl<'a> CompactForm<'a> {
    /// Of what [`ClosedWindow::put`] has put.
    pub fn of(out: &'a [u8], (flags, rest): (u8, usize)) -> CompactForm<'a> {
        let rest = out.get(rest..).unwrap_or_default();
        CompactForm { flags, rest }
    }

    /// Writes the whole, as [`ClosedWindow::put`] does, into what `available_bytes` gives for a number of bytes.
    pub fn write<'r>(
        &self,
        start_s: u32,
        before_s: u32,
        available_bytes: impl FnOnce(usize) -> &'r mut [u8],
    ) {
        let (start, n) = signed(i64::from(start_s) - i64::from(before_s));
        let out = available_bytes(1 + n + self.rest.len());
        let parts = [&[self.flags], start.get(..n).unwrap_or_default(), self.rest];
        let bytes = parts.into_iter().flatten();
        out.iter_mut()
            .zip(bytes)
            .for_each(|(out, byte)| *out = *byte);
    }
}

impl ClosedWindow {
    /// The compact form: some 10 to 45 bytes. `before_s`: the start that a reader knows, Unix seconds. Returns what
    /// [`CompactForm::of`] wants to know: the first byte, and where what is behind the start begins.
    pub fn put(&self, before_s: u32, out: &mut Vec<u8>) -> (u8, usize) {
        let same = |a: f64, b: f64| a.to_bits() == b.to_bits();
        let (mut flags, mut covered) = (omitted::MEAN, None);
        if !same(self.avg, mean(self.sum, self.count)) {
            covered = self.covered_ms();
            flags = covered.map_or(0, |_| omitted::RATE);
        }
        if same(self.last, self.min) {
            flags |= omitted::LAST_IS_MIN;
        } else if same(self.last, self.max) {
            flags |= omitted::LAST_IS_MAX;
        }
        if same(self.max, self.min) {
            flags |= omitted::MAX;
        }
        if same(self.min, self.avg) {
            flags |= omitted::MIN;
        }
        out.push(flags);
        put_i64(out, i64::from(second(self.start)) - i64::from(before_s));
        let rest = out.len();
        put_u64(out, self.count);
        if flags & omitted::RATE != 0 {
            put_u64(out, covered.unwrap_or_default());
        }
        let mut values = [self.sum; 5];
        let mut len = 1;
        for (value, without) in [
            (self.avg, omitted::MEAN | omitted::RATE),
            (self.min, omitted::MIN),
            (self.max, omitted::MAX),
            (self.last, omitted::LAST_IS_MIN | omitted::LAST_IS_MAX),
        ] {
            if flags & without == 0 {
                values[len] = value;
                len += 1;
            }
        }
        // The forms of an odd number of doubles take a half byte more.
        put_doubles(out, &values[..len]);
        (flags, rest)
    }

    /// The milliseconds over which the rate of `sum` is `avg`, if there are such.
    fn covered_ms(&self) -> Option<u64> {
        let ms = (self.sum * 1000.0 / self.avg).round();
        let is_it = ms >= 1.0
            && ms <= u32::MAX.into()
            && rate(self.sum, ms as i64).to_bits() == self.avg.to_bits();
        is_it.then_some(ms as u64)
    }

    /// Reads the compact form.
    pub fn read(before_s: u32, r: &mut Reader<'_>) -> Result<ClosedWindow, DecodeError> {
        const WRONG: DecodeError = DecodeError("a closed window is damaged");
        let flags = r.u8()?;
        if flags > omitted::ALL {
            return Err(WRONG);
        }
        let start_s = i64::from(before_s).checked_add(r.i64()?).ok_or(WRONG)?;
        let start = start_s
            .checked_mul(1000)
            .filter(|ms| (0..=MAX_MS).contains(ms));
        let start = start.ok_or(DecodeError("a time is out of range"))?;
        let count = r.count()?;
        let covered = if flags & omitted::RATE != 0 {
            i64::from(r.u32()?).max(1)
        } else {
            0
        };
        let written = |bits: u8| usize::from(flags & bits == 0);
        let len = 1
            + written(omitted::MEAN | omitted::RATE)
            + written(omitted::MIN)
            + written(omitted::MAX)
            + written(omitted::LAST_IS_MIN | omitted::LAST_IS_MAX);
        let values = match len {
            1 => widen(r.doubles::<1>()?),
            2 => widen(r.doubles::<2>()?),
            3 => widen(r.doubles::<3>()?),
            4 => widen(r.doubles::<4>()?),
            _ => r.doubles::<5>()?,
        };
        let mut rest = values.into_iter();
        let mut next = |bits: u8, otherwise: f64| {
            if flags & bits == 0 {
                rest.next().unwrap_or_default()
            } else {
                otherwise
            }
        };
        let sum = next(0, 0.0);
        let derived = if flags & omitted::RATE != 0 {
            rate(sum, covered)
        } else {
            mean(sum, count)
        };
        let avg = next(omitted::MEAN | omitted::RATE, derived);
        let min = next(omitted::MIN, avg);
        let max = next(omitted::MAX, min);
        let extreme = if flags & omitted::LAST_IS_MIN != 0 {
            min
        } else {
            max
        };
        let last = next(omitted::LAST_IS_MIN | omitted::LAST_IS_MAX, extreme);
        Ok(ClosedWindow {
            start,
            count,
            sum,
            avg,
            min,
            max,
            last,
        })
    }
}

/// The mean of so many values.
pub(crate) fn mean(sum: f64, count: u64) -> f64 {
    sum / count.max(1) as f64
}

/// An increase over milliseconds as a rate per second. `ms` is positive.
pub(crate) fn rate(increase: f64, ms: i64) -> f64 {
    // Dividing first would lose precision, multiplying first could overflow: only where it does, divide first.
    let thousandfold = increase * 1000.0;
    finite(if thousandfold.is_finite() {
        thousandfold / ms as f64
    } else {
        increase / (ms as f64 / 1000.0)
    })
}

/// The value, or the largest double where it would pass it.
pub(crate) fn finite(v: f64) -> f64 {
    v.clamp(f64::MIN, f64::MAX)
}

fn widen<const N: usize>(values: [f64; N]) -> [f64; 5] {
    std::array::from_fn(|i| values.get(i).copied().unwrap_or_default())
}
