//! A closed window of a metric, and its compact form, which queues and histories hold.

use crate::codec::bytes::{Reader, put_doubles, put_i64, put_u64, signed};
use crate::error::DecodeError;
use crate::model::WindowPercentiles;
use crate::time::{MAX_MS, second};

/// The values of a window: one that has closed, or an open one so far.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ClosedWindow {
    pub start: i64,
    pub count: u64,
    pub sum: f64,
    pub avg: f64,
    pub min: f64,
    pub max: f64,
    pub last: f64,
    /// Of a window with a histogram.
    pub percentiles: Option<Box<WindowPercentiles>>,
}

/// The bits of the first byte: what the compact form omits because it follows from the rest, and whether there are
/// percentiles.
mod flag {
    /// `avg`, which is `sum / count`.
    pub const MEAN: u8 = 1;
    /// `avg`, which is the rate of `sum` over the milliseconds that are written instead.
    pub const RATE: u8 = 2;
    /// `last`, which is `min` or `max`.
    pub const LAST_IS_MIN: u8 = 4;
    pub const LAST_IS_MAX: u8 = 8;
    /// `max`, which is `min`.
    pub const MAX: u8 = 16;
    /// `min`, which is `avg`.
    pub const MIN: u8 = 32;
    /// Percentiles follow.
    pub const PERCENTILES: u8 = 64;
    pub const ALL: u8 = 127;
}

/// The compact form of a closed window without its start, which is written relative to another one. The form is used in
/// two places, and is made once.
#[derive(Clone, Copy)]
pub(crate) struct CompactForm<'a> {
    flags: u8,
    rest: &'a [u8],
}

impl<'a> CompactForm<'a> {
    /// Returns the form that [`ClosedWindow::put`] has written.
    pub fn of(out: &'a [u8], (flags, rest): (u8, usize)) -> CompactForm<'a> {
        let rest = out.get(rest..).unwrap_or_default();
        CompactForm { flags, rest }
    }

    /// Writes the whole form, as [`ClosedWindow::put`] does, into the buffer that `buffer` returns for a
    /// length.
    pub fn write<'r>(
        &self,
        start_s: u32,
        before_s: u32,
        buffer: impl FnOnce(usize) -> &'r mut [u8],
    ) {
        let (start, n) = signed(i64::from(start_s) - i64::from(before_s));
        // As slices: byte by byte it took 600 instructions.
        let mut out = buffer(1 + n + self.rest.len());
        for part in [&[self.flags], start.get(..n).unwrap_or_default(), self.rest] {
            let Some((place, rest)) = out.split_at_mut_checked(part.len()) else {
                return;
            };
            place.copy_from_slice(part);
            out = rest;
        }
    }
}

impl ClosedWindow {
    /// Writes the compact form: some 10 to 45 bytes, and those of the percentiles. `before_s`: the start that a reader
    /// knows, Unix seconds. Returns the argument of [`CompactForm::of`]: the first byte, and where the part after the
    /// start begins.
    pub fn put(&self, before_s: u32, out: &mut Vec<u8>) -> (u8, usize) {
        let same = |a: f64, b: f64| a.to_bits() == b.to_bits();
        let (mut flags, mut covered) = (flag::MEAN, None);
        if !same(self.avg, mean(self.sum, self.count)) {
            covered = self.covered_ms();
            flags = covered.map_or(0, |_| flag::RATE);
        }
        if same(self.last, self.min) {
            flags |= flag::LAST_IS_MIN;
        } else if same(self.last, self.max) {
            flags |= flag::LAST_IS_MAX;
        }
        if same(self.max, self.min) {
            flags |= flag::MAX;
        }
        if same(self.min, self.avg) {
            flags |= flag::MIN;
        }
        if self.percentiles.is_some() {
            flags |= flag::PERCENTILES;
        }
        out.push(flags);
        put_i64(out, i64::from(second(self.start)) - i64::from(before_s));
        let rest = out.len();
        put_u64(out, self.count);
        if flags & flag::RATE != 0 {
            put_u64(out, covered.unwrap_or_default());
        }
        let mut values = [self.sum; 5];
        let mut len = 1;
        for (value, without) in [
            (self.avg, flag::MEAN | flag::RATE),
            (self.min, flag::MIN),
            (self.max, flag::MAX),
            (self.last, flag::LAST_IS_MIN | flag::LAST_IS_MAX),
        ] {
            if flags & without == 0 {
                values[len] = value;
                len += 1;
            }
        }
        // The forms of an odd number of doubles take half a byte more.
        put_doubles(out, &values[..len]);
        if let Some(percentiles) = &self.percentiles {
            percentiles.put(out);
        }
        (flags, rest)
    }

    /// Returns the milliseconds over which `avg` is the rate of `sum`, if there are any.
    fn covered_ms(&self) -> Option<u64> {
        let ms = (self.sum * 1000.0 / self.avg).round();
        let is_it = ms >= 1.0
            && ms <= u32::MAX.into()
            && rate(self.sum, ms as i64).to_bits() == self.avg.to_bits();
        is_it.then_some(ms as u64)
    }

    /// Reads the compact form.
    pub fn read(before_s: u32, r: &mut Reader<'_>) -> Result<ClosedWindow, DecodeError> {
        const WRONG: DecodeError = DecodeError("inconsistent closed window");
        let flags = r.u8()?;
        if flags > flag::ALL {
            return Err(WRONG);
        }
        let start_s = i64::from(before_s).checked_add(r.i64()?).ok_or(WRONG)?;
        let start = start_s
            .checked_mul(1000)
            .filter(|ms| (0..=MAX_MS).contains(ms));
        let start = start.ok_or(DecodeError("a time is out of range"))?;
        let count = r.count()?;
        let covered = if flags & flag::RATE != 0 {
            i64::from(r.u32()?).max(1)
        } else {
            0
        };
        let written = |bits: u8| usize::from(flags & bits == 0);
        let len = 1
            + written(flag::MEAN | flag::RATE)
            + written(flag::MIN)
            + written(flag::MAX)
            + written(flag::LAST_IS_MIN | flag::LAST_IS_MAX);
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
        let derived = if flags & flag::RATE != 0 {
            rate(sum, covered)
        } else {
            mean(sum, count)
        };
        let avg = next(flag::MEAN | flag::RATE, derived);
        let min = next(flag::MIN, avg);
        let max = next(flag::MAX, min);
        let extreme = if flags & flag::LAST_IS_MIN != 0 {
            min
        } else {
            max
        };
        let last = next(flag::LAST_IS_MIN | flag::LAST_IS_MAX, extreme);
        let percentiles = match flags & flag::PERCENTILES {
            0 => None,
            _ => Some(Box::new(WindowPercentiles::read(r)?)),
        };
        Ok(ClosedWindow {
            start,
            count,
            sum,
            avg,
            min,
            max,
            last,
            percentiles,
        })
    }
}

/// Returns the mean of `count` values.
pub(crate) fn mean(sum: f64, count: u64) -> f64 {
    sum / count.max(1) as f64
}

/// Returns an increase over milliseconds as a rate per second. `ms` is positive.
pub(crate) fn rate(increase: f64, ms: i64) -> f64 {
    // Dividing first would lose precision, and multiplying first could overflow: divide first only where it does.
    let thousandfold = increase * 1000.0;
    finite(if thousandfold.is_finite() {
        thousandfold / ms as f64
    } else {
        increase / (ms as f64 / 1000.0)
    })
}

/// Returns the value, limited to the largest double.
pub(crate) fn finite(v: f64) -> f64 {
    v.clamp(f64::MIN, f64::MAX)
}

fn widen<const N: usize>(values: [f64; N]) -> [f64; 5] {
    std::array::from_fn(|i| values.get(i).copied().unwrap_or_default())
}
