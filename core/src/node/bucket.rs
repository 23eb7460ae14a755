//! One window of one metric: what its samples add up to, and the closed form that goes into queue and history.

use super::tags::TagId;
use crate::codec::bytes::{Reader, put_doubles, put_i64, put_u64};
use crate::error::Damaged;

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

/// A sum that carries its rounding error along (Neumaier, "Rundungsfehleranalyse einiger Verfahren zur Summation
/// endlicher Summen", ZAMM 54, 1974), and that stays at the largest double instead of passing it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Sum {
    sum: f64,
    lost: f64,
}

impl Sum {
    #[inline]
    pub fn add(&mut self, x: f64) {
        let t = self.sum + x;
        if t.is_infinite() {
            *self = Sum {
                sum: f64::MAX.copysign(t),
                lost: 0.0,
            };
            return;
        }
        self.lost += if self.sum.abs() >= x.abs() {
            (self.sum - t) + x
        } else {
            (x - t) + self.sum
        };
        self.sum = t;
    }

    #[inline]
    pub fn value(self) -> f64 {
        finite(self.sum + self.lost)
    }
}

/// The value, or the largest double where it would pass it.
pub(crate) fn finite(v: f64) -> f64 {
    v.clamp(f64::MIN, f64::MAX)
}

/// An open window.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Bucket {
    pub start: i64,
    pub count: u64,
    pub sum: Sum,
    /// ABS: of the values. DIFF: of the rates per second; `min > max` while there is none.
    pub min: f64,
    pub max: f64,
    pub last: f64,
    /// ABS: the time of `last`. DIFF: the milliseconds between its samples and their predecessors.
    pub extent: i64,
    /// The tags in force at the last sample to arrive.
    pub tags: TagId,
    /// When to look again whether the metric is quiet (running time); 0: the window is counted in the node's
    /// deadlines by its start instead. Not part of the value.
    pub linger: u64,
}

impl Bucket {
    pub fn new(start: i64) -> Bucket {
        Bucket {
            start,
            count: 0,
            sum: Sum::default(),
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
            last: 0.0,
            extent: 0,
            tags: TagId::NONE,
            linger: 0,
        }
    }

    /// Counts a gauge's value.
    #[inline]
    pub fn add_value(&mut self, at: i64, value: f64) {
        self.count += 1;
        self.sum.add(value);
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        if at >= self.extent {
            self.extent = at;
            self.last = value;
        }
    }

    /// Counts a counter's increase over the `ms` since the sample before it.
    #[inline]
    pub fn add_increase(&mut self, increase: f64, ms: i64) {
        self.count += 1;
        self.sum.add(increase);
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
        let sum = self.sum.value();
        let avg = match kind {
            Kind::Abs => sum / self.count.max(1) as f64,
            Kind::Diff => rate(sum, self.extent.max(min_interval_ms)),
        };
        let (min, max, last) = if self.min > self.max {
            (avg, avg, avg)
        } else {
            (self.min, self.max, self.last)
        };
        Closed {
            start: self.start,
            count: self.count,
            sum,
            avg,
            min,
            max,
            last,
        }
    }

    /// Writes it into a saved node; tags are the caller's.
    pub fn save(&self, out: &mut Vec<u8>) {
        put_i64(out, self.start);
        put_u64(out, self.count);
        put_i64(out, self.extent);
        let has_range = self.min <= self.max;
        out.push(has_range.into());
        put_doubles(out, &[self.sum.sum, self.sum.lost]);
        if has_range {
            put_doubles(out, &[self.min, self.max, self.last]);
        }
    }

    /// Reads what `save` wrote.
    pub fn load(r: &mut Reader<'_>) -> Result<Bucket, Damaged> {
        let mut bucket = Bucket::new(r.ms()?);
        bucket.count = r.count()?;
        bucket.extent = r.i64()?;
        let has_range = r.u8()? != 0;
        let [sum, lost] = r.doubles()?;
        bucket.sum = Sum { sum, lost };
        if has_range {
            [bucket.min, bucket.max, bucket.last] = r.doubles()?;
        }
        if bucket.count == 0 || bucket.extent < 0 || has_range && bucket.min > bucket.max {
            return Err(Damaged("an open window does not hold together"));
        }
        Ok(bucket)
    }
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

impl Closed {
    /// The compact form: some 20 to 45 bytes.
    pub fn put(&self, out: &mut Vec<u8>) {
        put_i64(out, self.start);
        put_u64(out, self.count);
        put_doubles(out, &[self.sum, self.avg, self.min, self.max, self.last]);
    }

    /// Reads the compact form.
    pub fn read(r: &mut Reader<'_>) -> Result<Closed, Damaged> {
        let (start, count) = (r.ms()?, r.count()?);
        let [sum, avg, min, max, last] = r.doubles()?;
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

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(sum.value(), f64::MAX);
        assert_eq!(rate(f64::MAX, 1), f64::MAX);
        assert_eq!(rate(f64::MAX, 10_000), f64::MAX / 10.0);
    }

    #[test]
    fn a_closed_window_reads_back() {
        let closed = Closed {
            start: 1_700_000_000_000,
            count: 3,
            sum: 0.3,
            avg: 0.1,
            min: -1e-9,
            max: 5.0,
            last: 1e300,
        };
        let mut out = Vec::new();
        closed.put(&mut out);
        assert_eq!(Closed::read(&mut Reader::new(&out)), Ok(closed));
    }
}
