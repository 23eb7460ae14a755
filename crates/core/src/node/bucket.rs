//! One window of one metric: what its samples add up to, and the closed form that goes into queue and history.

use crate::codec::bytes::{Reader, put_doubles, put_i64, put_u64, signed};
use crate::error::Damaged;
use crate::time::{MAX_MS, second};
use std::num::NonZeroU64;

/// Whether the value itself counts or the growth of a total.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An absolute measurement (a gauge).
    Abs,
    /// A differential one (a counter).
    Diff,
}

impl Kind {
    /// The word of the commands.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Abs => "ABS",
            Kind::Diff => "DIFF",
        }
    }

    pub(crate) fn from_bit(diff: bool) -> Kind {
        if diff { Kind::Diff } else { Kind::Abs }
    }
}

/// A sum that carries its rounding error along, as a pair of doubles whose second is at most half a unit in the last
/// place of the first (Dekker, "A floating-point technique for extending the available precision", Numerische Mathematik
/// 18, 1971); of the second, half the bits are kept. It stays at the largest double instead of passing it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Sum {
    sum: f64,
    lost: f32,
}

impl Sum {
    #[inline]
    fn add(&mut self, x: f64) {
        let total = self.sum + x;
        // What rounding took from it, exactly.
        let lost = if self.sum.abs() >= x.abs() {
            (self.sum - total) + x
        } else {
            (x - total) + self.sum
        } + f64::from(self.lost);
        let sum = total + lost;
        *self = if sum.is_finite() {
            Sum {
                sum,
                lost: narrow((total - sum) + lost),
            }
        } else {
            Sum {
                sum: f64::MAX.copysign(total),
                lost: 0.0,
            }
        };
    }
}

/// What is lost of a sum, in half the bits. Of sums beyond 1e54 it would be too large, and is left out.
#[inline]
fn narrow(lost: f64) -> f32 {
    let narrow = lost as f32;
    if narrow.is_finite() { narrow } else { 0.0 }
}

/// The value, or the largest double where it would pass it.
pub(crate) fn finite(v: f64) -> f64 {
    v.clamp(f64::MIN, f64::MAX)
}

/// An open window. Millions of them are held, two of each metric: so times in it are relative to its start, and it is
/// packed (which takes away references to its fields, and nothing else); its tags are the metric's.
#[derive(Clone, Debug, PartialEq)]
#[repr(Rust, packed(4))]
pub(crate) struct Bucket {
    /// Twice the number of samples plus 2, plus 1 where it lingers: never zero, so that `Option<Bucket>` is no larger.
    state: NonZeroU64,
    sum: f64,
    /// ABS: of the values. DIFF: of the rates per second; `min > max` while there is none.
    min: f64,
    max: f64,
    last: f64,
    /// See [`Sum`].
    lost: f32,
    start_s: u32,
    /// Milliseconds. ABS: from its start to the time of `last`. DIFF: between its samples and their predecessors.
    extent: u32,
}

/// What `state` counts in steps of, and begins with.
const ONE: NonZeroU64 = NonZeroU64::new(2).unwrap();

impl Bucket {
    pub fn new(start_s: u32) -> Bucket {
        Bucket {
            state: ONE,
            sum: 0.0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
            last: 0.0,
            lost: 0.0,
            start_s,
            extent: 0,
        }
    }

    /// When it begins, Unix seconds.
    #[inline]
    pub fn start_s(&self) -> u32 {
        self.start_s
    }

    /// When it begins, Unix milliseconds.
    #[inline]
    pub fn start(&self) -> i64 {
        i64::from(self.start_s) * 1000
    }

    /// Its samples.
    fn count(&self) -> u64 {
        self.state.get() / 2 - 1
    }

    /// The node's deadlines know it by a time to look again, not by its start. Not part of the value.
    #[inline]
    pub fn lingers(&self) -> bool {
        self.state.get() & 1 != 0
    }

    /// It is known by a time to look again from now on.
    pub fn set_lingering(&mut self) {
        let state = self.state;
        self.state = state | 1;
    }

    #[inline]
    fn add(&mut self, x: f64) {
        // At the end of the range, which a saved node may claim, the lowest bit stays what it is.
        if self.state.get() < u64::MAX - 2 {
            self.state = self.state.saturating_add(2);
        }
        let mut sum = Sum {
            sum: self.sum,
            lost: self.lost,
        };
        sum.add(x);
        (self.sum, self.lost) = (sum.sum, sum.lost);
    }

    /// Counts a gauge's value.
    #[inline]
    pub fn add_value(&mut self, at: i64, value: f64) {
        self.add(value);
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        let extent = (at - self.start()).clamp(0, u32::MAX.into()) as u32;
        if extent >= self.extent {
            self.extent = extent;
            self.last = value;
        }
    }

    /// Counts a counter's increase over the `ms` since the sample before it.
    #[inline]
    pub fn add_increase(&mut self, increase: f64, ms: i64) {
        self.add(increase);
        let ms = u32::try_from(ms).unwrap_or(u32::MAX);
        self.extent = self.extent.saturating_add(ms);
    }

    /// A rate per second that ended in this window.
    #[inline]
    pub fn add_rate(&mut self, rate: f64) {
        self.min = self.min.min(rate);
        self.max = self.max.max(rate);
        self.last = rate;
    }

    /// The window as it stands. `min_interval_ms`: the shortest time over which a rate is taken.
    pub fn close(&self, kind: Kind, min_interval_ms: i64) -> Closed {
        let (count, sum) = (self.count(), self.sum);
        let avg = match kind {
            Kind::Abs => mean(sum, count),
            Kind::Diff => rate(sum, i64::from(self.extent).max(min_interval_ms)),
        };
        let (min, max, last) = if self.min > self.max {
            (avg, avg, avg)
        } else {
            (self.min, self.max, self.last)
        };
        Closed {
            start: self.start(),
            count,
            sum,
            avg,
            min,
            max,
            last,
        }
    }

    /// Writes it into a saved node; tags are the caller's.
    pub fn save(&self, out: &mut Vec<u8>) {
        put_u64(out, self.start_s.into());
        put_u64(out, self.count());
        put_u64(out, self.extent.into());
        let has_range = self.min <= self.max;
        out.push(has_range.into());
        put_doubles(out, &[self.sum, self.lost.into()]);
        if has_range {
            put_doubles(out, &[self.min, self.max, self.last]);
        }
    }

    /// Reads what `save` wrote.
    pub fn load(r: &mut Reader<'_>) -> Result<Bucket, Damaged> {
        const WRONG: Damaged = Damaged("an open window does not hold together");
        let mut bucket = Bucket::new(r.u32()?);
        if bucket.start() > MAX_MS {
            return Err(Damaged("a time is out of range"));
        }
        let state = r.count()?.saturating_mul(2).saturating_add(ONE.get()) & !1;
        bucket.state = NonZeroU64::new(state).ok_or(WRONG)?;
        bucket.extent = r.u32()?;
        let has_range = r.u8()? != 0;
        let [sum, lost] = r.doubles()?;
        (bucket.sum, bucket.lost) = (sum, narrow(lost));
        if has_range {
            [bucket.min, bucket.max, bucket.last] = r.doubles()?;
        }
        if bucket.count() == 0 || has_range && bucket.min > bucket.max {
            return Err(WRONG);
        }
        Ok(bucket)
    }
}

/// The mean of so many values.
fn mean(sum: f64, count: u64) -> f64 {
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

/// A window that has closed, or is shown as it stands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Closed {
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
pub(crate) struct Form<'a> {
    flags: u8,
    rest: &'a [u8],
}

impl<'a> Form<'a> {
    /// Of what [`Closed::put`] has put.
    pub fn of(out: &'a [u8], (flags, rest): (u8, usize)) -> Form<'a> {
        let rest = out.get(rest..).unwrap_or_default();
        Form { flags, rest }
    }

    /// Writes the whole, as [`Closed::put`] does, into what `room` gives for a number of bytes.
    pub fn write<'r>(&self, start_s: u32, before_s: u32, room: impl FnOnce(usize) -> &'r mut [u8]) {
        let (start, n) = signed(i64::from(start_s) - i64::from(before_s));
        let out = room(1 + n + self.rest.len());
        let parts = [&[self.flags], start.get(..n).unwrap_or_default(), self.rest];
        let bytes = parts.into_iter().flatten();
        out.iter_mut()
            .zip(bytes)
            .for_each(|(out, byte)| *out = *byte);
    }
}

impl Closed {
    /// The compact form: some 10 to 45 bytes. `before_s`: the start that a reader knows, Unix seconds. Returns what
    /// [`Form::of`] wants to know: the first byte, and where what is behind the start begins.
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
    pub fn read(before_s: u32, r: &mut Reader<'_>) -> Result<Closed, Damaged> {
        const WRONG: Damaged = Damaged("a closed window is damaged");
        let flags = r.u8()?;
        if flags > omitted::ALL {
            return Err(WRONG);
        }
        let start_s = i64::from(before_s).checked_add(r.i64()?).ok_or(WRONG)?;
        let start = start_s
            .checked_mul(1000)
            .filter(|ms| (0..=MAX_MS).contains(ms));
        let start = start.ok_or(Damaged("a time is out of range"))?;
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
        Ok(Closed {
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

fn widen<const N: usize>(values: [f64; N]) -> [f64; 5] {
    std::array::from_fn(|i| values.get(i).copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_million_samples_of_a_tenth_give_a_hundred_thousand() {
        let mut bucket = Bucket::new(0);
        for _ in 0..1_000_000 {
            bucket.add_value(0, 0.1);
        }
        let closed = bucket.close(Kind::Abs, 500);
        assert!((closed.sum - 100_000.0).abs() < 1e-9, "{}", closed.sum);
        assert!((closed.avg - 0.1).abs() < 1e-15);
    }

    #[test]
    fn a_sum_stays_at_the_largest_double() {
        let mut sum = Sum::default();
        sum.add(f64::MAX);
        sum.add(f64::MAX);
        assert_eq!(sum.sum, f64::MAX);
        assert_eq!(rate(f64::MAX, 1), f64::MAX);
        assert_eq!(rate(f64::MAX, 10_000), f64::MAX / 10.0);
    }

    #[test]
    fn a_count_at_its_end_does_not_linger() {
        let mut saved = Vec::new();
        put_u64(&mut saved, 0);
        put_u64(&mut saved, i64::MAX as u64);
        put_u64(&mut saved, 0);
        saved.push(0);
        put_doubles(&mut saved, &[0.0, 0.0]);
        let mut bucket = Bucket::load(&mut Reader::new(&saved)).unwrap();
        (0..3).for_each(|_| bucket.add_value(0, 1.0));
        assert!(!bucket.lingers());
        bucket.set_lingering();
        bucket.add_value(0, 1.0);
        assert!(bucket.lingers() && bucket.count() >= i64::MAX as u64 - 1);
    }

    #[test]
    fn a_metric_holds_two_windows_in_two_cache_lines() {
        assert_eq!(size_of::<Option<Bucket>>(), 52);
    }

    fn reads_back(closed: &Closed) -> usize {
        let mut out = Vec::new();
        closed.put(1_699_999_700, &mut out);
        let mut r = Reader::new(&out);
        assert_eq!(Closed::read(1_699_999_700, &mut r).as_ref(), Ok(closed));
        assert!(r.is_empty());
        out.len()
    }

    #[test]
    fn a_closed_window_reads_back_from_few_bytes() {
        let mut bucket = Bucket::new(1_700_000_000);
        (0..300).for_each(|i| bucket.add_value(bucket.start(), f64::from(i % 7) * 1.25));
        assert!(reads_back(&bucket.close(Kind::Abs, 500)) <= 20);
        let mut bucket = Bucket::new(1_700_000_000);
        for i in 0..300 {
            bucket.add_increase(f64::from(i), 1000);
            bucket.add_rate(f64::from(i));
        }
        assert!(reads_back(&bucket.close(Kind::Diff, 500)) <= 20);
        let one = Bucket::new(1_700_000_100).close(Kind::Abs, 500);
        reads_back(&one);
    }

    proptest! {
        #[test]
        fn any_closed_window_reads_back(count in 0u64..1 << 60, sum in any::<f64>(), few in prop::collection::vec(prop_oneof![Just(0.0), Just(1.5), -1e9..1e9f64, any::<f64>()], 4), as_sum in 0u8..16) {
            prop_assume!(sum.is_finite() && few.iter().all(|v| v.is_finite()));
            let value = |i: usize| if as_sum >> i & 1 == 1 { sum } else { few[i] };
            reads_back(&Closed { start: 1_700_000_100_000, count, sum, avg: value(0), min: value(1), max: value(2), last: value(3) });
        }
    }
}
