//! An open window of a metric: what its samples add up to, and the values with which it closes.

use crate::codec::bytes::{Reader, put_doubles, put_u64};
use crate::error::DecodeError;
use crate::model::{Aggregate, ClosedWindow, MetricType, Sum, mean, narrow, rate};
use crate::time::MAX_MS;
use std::num::NonZeroU64;

/// An open window. A server has millions of them, two of each metric. So its times are relative to its start, and it is
/// packed (which forbids references to its fields, and nothing else). Its tags are those of the metric.
#[derive(Clone, Debug, PartialEq)]
#[repr(Rust, packed(4))]
pub(crate) struct OpenWindow {
    /// Twice the number of samples plus 2, plus 1 while it awaits an idle metric: never zero, so that
    /// `Option<OpenWindow>` is no larger.
    state: NonZeroU64,
    sum: f64,
    /// ABS: of the values. DIFF, INC: of the rates per second; `min > max` while there is none.
    min: f64,
    max: f64,
    last: f64,
    /// See [`Sum`].
    lost: f32,
    start_s: u32,
    /// Milliseconds. ABS: from the start to the time of `last`. DIFF: between the samples and their predecessors. INC:
    /// 0.
    extent: u32,
}

/// The step and the first value of `state`.
const ONE: NonZeroU64 = NonZeroU64::new(2).unwrap();

impl OpenWindow {
    pub fn new(start_s: u32) -> OpenWindow {
        OpenWindow {
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

    /// Returns its start, Unix seconds.
    #[inline]
    pub fn start_s(&self) -> u32 {
        self.start_s
    }

    /// Returns its start, Unix milliseconds.
    #[inline]
    pub fn start(&self) -> i64 {
        i64::from(self.start_s) * 1000
    }

    /// Returns the number of its samples.
    pub fn count(&self) -> u64 {
        self.state.get() / 2 - 1
    }

    /// Returns the sum of its values or increases.
    pub fn sum(&self) -> f64 {
        self.sum
    }

    /// True if a check of its metric knows it, and not its start. Not part of the value.
    #[inline]
    pub fn is_awaiting_idle(&self) -> bool {
        self.state.get() & 1 != 0
    }

    /// Records that a check of its metric knows it.
    pub fn set_awaiting_idle(&mut self) {
        let state = self.state;
        self.state = state | 1;
    }

    #[inline]
    fn add(&mut self, x: f64, times: u64) {
        // At the end of the range, which a saved node may claim, the lowest bit stays as it is.
        if let Some(state) = self.state.checked_add(2 * times) {
            self.state = state;
        }
        let mut sum = Sum {
            sum: self.sum,
            lost: self.lost,
        };
        sum.add(x);
        (self.sum, self.lost) = (sum.sum, sum.lost);
    }

    /// Adds a value of a gauge, which occurred `times` times; `sum`: the values together.
    #[inline]
    pub fn add_value(&mut self, at: i64, value: f64, sum: f64, times: u64) {
        self.add(sum, times);
        self.widen(value, value);
        self.set_last(at, value);
    }

    /// Includes a range in that of the window. Compared directly, as no value is NaN, which `f64::min` would look for.
    #[inline]
    fn widen(&mut self, min: f64, max: f64) {
        if min < self.min {
            self.min = min;
        }
        if max > self.max {
            self.max = max;
        }
    }

    /// Adds `times` samples of a gauge that were aggregated; `last`: the last of them.
    pub fn add_aggregate(&mut self, at: i64, last: f64, aggregate: &Aggregate, times: u64) {
        self.add(aggregate.sum, times);
        self.widen(aggregate.min, aggregate.max);
        self.set_last(at, last);
    }

    /// Makes a value the last one, unless that of a later time is.
    #[inline]
    fn set_last(&mut self, at: i64, value: f64) {
        let extent = (at - self.start()).clamp(0, u32::MAX.into()) as u32;
        if extent >= self.extent {
            self.extent = extent;
            self.last = value;
        }
    }

    /// Adds an increase of a counter over the `ms` since the sample before it.
    #[inline]
    pub fn add_increase(&mut self, increase: f64, ms: i64) {
        self.add(increase, 1);
        let ms = u32::try_from(ms).unwrap_or(u32::MAX);
        self.extent = self.extent.saturating_add(ms);
    }

    /// Adds increments, which occurred `times` times; `sum`: the increments together.
    #[inline]
    pub fn add_increments(&mut self, sum: f64, times: u64) {
        self.add(sum, times);
    }

    /// Adds a rate per second that ended in this window, `times` times.
    #[inline]
    pub fn add_rates(&mut self, rate: f64, times: u32) {
        if times > 0 {
            self.widen(rate, rate);
            self.last = rate;
        }
    }

    /// Returns the values of the window so far. `ms`: DIFF: the shortest time over which a rate is computed; INC: the
    /// time over which `avg` is computed.
    pub fn close(&self, kind: MetricType, ms: i64) -> ClosedWindow {
        let (count, sum) = (self.count(), self.sum);
        let avg = match kind {
            MetricType::Abs => mean(sum, count),
            MetricType::Diff => rate(sum, i64::from(self.extent).max(ms)),
            MetricType::Inc => rate(sum, ms.max(1)),
        };
        let (min, max, last) = if self.min > self.max {
            (avg, avg, avg)
        } else {
            (self.min, self.max, self.last)
        };
        ClosedWindow {
            start: self.start(),
            count,
            sum,
            avg,
            min,
            max,
            last,
            percentiles: None,
        }
    }

    /// Writes the form of saved nodes, without tags.
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
    pub fn load(r: &mut Reader<'_>) -> Result<OpenWindow, DecodeError> {
        const WRONG: DecodeError = DecodeError("inconsistent open window");
        let mut window = OpenWindow::new(r.u32()?);
        if window.start() > MAX_MS {
            return Err(DecodeError("a time is out of range"));
        }
        let state = r.count()?.saturating_mul(2).saturating_add(ONE.get()) & !1;
        window.state = NonZeroU64::new(state).ok_or(WRONG)?;
        window.extent = r.u32()?;
        let has_range = r.u8()? != 0;
        let [sum, lost] = r.doubles()?;
        (window.sum, window.lost) = (sum, narrow(lost));
        if has_range {
            [window.min, window.max, window.last] = r.doubles()?;
        }
        if window.count() == 0 || has_range && window.min > window.max {
            return Err(WRONG);
        }
        Ok(window)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sum_of_a_million_tenths_is_exact() {
        let mut window = OpenWindow::new(0);
        for _ in 0..1_000_000 {
            window.add_value(0, 0.1, 0.1, 1);
        }
        let closed = window.close(MetricType::Abs, 500);
        assert!((closed.sum - 100_000.0).abs() < 1e-9, "{}", closed.sum);
        assert!((closed.avg - 0.1).abs() < 1e-15);
    }

    #[test]
    fn rate_stays_at_the_largest_double() {
        assert_eq!(rate(f64::MAX, 1), f64::MAX);
        assert_eq!(rate(f64::MAX, 10_000), f64::MAX / 10.0);
    }

    #[test]
    fn count_at_its_limit_does_not_await_idle() {
        let mut saved = Vec::new();
        put_u64(&mut saved, 0);
        put_u64(&mut saved, i64::MAX as u64);
        put_u64(&mut saved, 0);
        saved.push(0);
        put_doubles(&mut saved, &[0.0, 0.0]);
        let mut window = OpenWindow::load(&mut Reader::new(&saved)).unwrap();
        (0..3).for_each(|_| window.add_value(0, 1.0, 1.0, 1));
        assert!(!window.is_awaiting_idle());
        window.set_awaiting_idle();
        window.add_value(0, 1.0, 1.0, 1);
        assert!(window.is_awaiting_idle() && window.count() >= i64::MAX as u64 - 1);
    }

    #[test]
    fn open_windows_fit_two_cache_lines() {
        assert_eq!(size_of::<Option<OpenWindow>>(), 52);
    }

    fn reads_back(closed: &ClosedWindow) -> usize {
        let mut out = Vec::new();
        closed.put(1_699_999_700, &mut out);
        let mut r = Reader::new(&out);
        assert_eq!(
            ClosedWindow::read(1_699_999_700, &mut r).as_ref(),
            Ok(closed)
        );
        assert!(r.is_empty());
        out.len()
    }

    #[test]
    fn closed_window_reads_back_from_few_bytes() {
        let mut window = OpenWindow::new(1_700_000_000);
        for value in (0..300).map(|i| f64::from(i % 7) * 1.25) {
            window.add_value(window.start(), value, value, 1);
        }
        assert!(reads_back(&window.close(MetricType::Abs, 500)) <= 20);
        let mut window = OpenWindow::new(1_700_000_000);
        for i in 0..300 {
            window.add_increase(f64::from(i), 1000);
            window.add_rates(f64::from(i), 1);
        }
        assert!(reads_back(&window.close(MetricType::Diff, 500)) <= 20);
        let one = OpenWindow::new(1_700_000_100).close(MetricType::Abs, 500);
        reads_back(&one);
    }

    proptest! {
        #[test]
        fn any_closed_window_reads_back(count in 0u64..1 << 60, sum in any::<f64>(), few in prop::collection::vec(prop_oneof![Just(0.0), Just(1.5), -1e9..1e9f64, any::<f64>()], 4), as_sum in 0u8..16) {
            prop_assume!(sum.is_finite() && few.iter().all(|v| v.is_finite()));
            let value = |i: usize| if as_sum >> i & 1 == 1 { sum } else { few[i] };
            reads_back(&ClosedWindow { start: 1_700_000_100_000, count, sum, avg: value(0), min: value(1), max: value(2), last: value(3), percentiles: None });
        }
    }
}
