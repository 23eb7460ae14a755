//! Values that stand for the buckets of histograms.
//!
//! # Invariants
//!
//! - Values are finite, and between the minimum and the maximum if those are known.

use super::cumulative::{Layout, sides};

/// The largest number of occurrences of one value that can be reported.
pub const MAX_TIMES: u64 = 1 << 32;

/// The extremes of the values, as far as they are known.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Range {
    /// No value is less.
    pub min: Option<f64>,
    /// No value is greater.
    pub max: Option<f64>,
    /// True if there are values equal to the minimum and the maximum; false if those are of a longer period.
    pub is_exact: bool,
}

impl Range {
    fn clamp(&self, value: f64) -> f64 {
        let value = self.min.map_or(value, |min| value.max(min));
        self.max.map_or(value, |max| value.min(max))
    }

    /// Returns the minimum or maximum, if there is a value equal to it.
    pub fn exact(&self, value: Option<f64>) -> Option<f64> {
        value.filter(|_| self.is_exact)
    }
}

/// Returns the value that stands for a bucket between explicit bounds: the middle of its part between the minimum and the
/// maximum. The first and the last bucket have only
/// one bound. The minimum stands for the first one, or half its bound, or its bound unless that is positive. The maximum
/// stands for the last one, or its bound.
pub fn of_explicit(bounds: &[f64], bucket: usize, range: &Range) -> f64 {
    let low = bucket.checked_sub(1).and_then(|i| bounds.get(i));
    let value = match (low, bounds.get(bucket)) {
        (Some(low), Some(high)) => range.clamp(*low) / 2.0 + range.clamp(*high) / 2.0,
        (None, Some(high)) => {
            let inside = if *high > 0.0 { high / 2.0 } else { *high };
            range.exact(range.min).unwrap_or(inside)
        }
        (Some(low), None) => range.exact(range.max).unwrap_or(*low),
        (None, None) => 0.0,
    };
    range.clamp(value) + 0.0
}

/// Returns the value that has the same relative distance from both bounds of a bucket of an exponential histogram:
/// 2 low high / (low + high), where high = base low.
pub fn of_exponential(scale: i32, index: i64) -> f64 {
    let width = f64::from(-scale).exp2();
    let low = (index as f64 * width).exp2();
    let value = low * (2.0 / (1.0 + (-width).exp2()));
    value.min(f64::MAX)
}

/// Appends the values of the buckets that have any, each with its number. The mean stands for a histogram without bounds.
///
/// # Errors
/// A number is too large to be reported, or there is neither a bound nor a sum.
pub fn values(
    layout: Layout,
    counts: &[u64],
    bounds: &[f64],
    sum: Option<f64>,
    range: &Range,
    out: &mut Vec<(f64, u64)>,
) -> Result<(), &'static str> {
    let mut push = |value: f64, times: u64| {
        if times > MAX_TIMES {
            return Err("a count above 2^32");
        }
        if times > 0 {
            out.push((range.clamp(value) + 0.0, times));
        }
        Ok(())
    };
    let Some((zero, positive, negative)) = sides(layout, counts) else {
        if let ([], [times]) = (bounds, counts)
            && *times > 0
        {
            let mean = sum.ok_or("neither buckets nor a sum")? / *times as f64;
            return push(mean, *times);
        }
        for (bucket, times) in counts.iter().enumerate() {
            push(of_explicit(bounds, bucket, range), *times)?;
        }
        return Ok(());
    };
    let Layout::Exponential { scale, .. } = layout else {
        return Ok(());
    };
    for (i, times) in negative.1.iter().enumerate().rev() {
        push(
            -of_exponential(scale, negative.0.saturating_add(i as i64)),
            *times,
        )?;
    }
    push(0.0, zero)?;
    for (i, times) in positive.1.iter().enumerate() {
        push(
            of_exponential(scale, positive.0.saturating_add(i as i64)),
            *times,
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn explicit_buckets_have_values() {
        let bounds = [-10.0, 0.0, 5.0, 10.0];
        let unknown = Range::default();
        let values = |range| [0, 1, 2, 3, 4].map(|i| of_explicit(&bounds, i, &range));
        assert_eq!(values(unknown), [-10.0, -5.0, 2.5, 7.5, 10.0]);
        let exact = Range {
            min: Some(-12.0),
            max: Some(99.0),
            is_exact: true,
        };
        assert_eq!(values(exact), [-12.0, -5.0, 2.5, 7.5, 99.0]);
        let wider = Range {
            is_exact: false,
            ..exact
        };
        assert_eq!(values(wider), values(unknown));
        let narrow = Range {
            min: Some(3.0),
            max: Some(4.0),
            is_exact: true,
        };
        assert_eq!(of_explicit(&bounds, 2, &narrow), 3.5);
        let within_one_bucket = Range {
            min: Some(100.0),
            max: Some(109.0),
            is_exact: true,
        };
        assert_eq!(of_explicit(&[100.0, 250.0], 1, &within_one_bucket), 104.5);
        assert_eq!(of_explicit(&[5.0], 0, &unknown), 2.5);
        assert_eq!(of_explicit(&[f64::MIN, f64::MAX], 1, &unknown), 0.0);
    }

    #[test]
    fn exponential_buckets_have_values() {
        assert_eq!(of_exponential(0, 0), 4.0 / 3.0);
        assert_eq!(of_exponential(0, -1), 2.0 / 3.0);
        assert_eq!(of_exponential(-1, 1), 6.4);
        assert!(of_exponential(0, 1023) < f64::MAX);
        assert_eq!(of_exponential(0, 5000), f64::MAX);
        assert_eq!(of_exponential(0, -5000), 0.0);
        assert_eq!(of_exponential(-10, 0), 2.0);
    }

    proptest! {
        #[test]
        fn exponential_values_are_in_their_buckets(scale in -3i32..=20, value in 1e-9..1e9f64) {
            let index = (value.log2() * f64::from(scale).exp2()).ceil() - 1.0;
            let base = f64::from(-scale).exp2().exp2();
            let found = of_exponential(scale, index as i64);
            prop_assert!((found / value).ln().abs() <= base.ln() * 1.001 + 1e-12);
        }
    }
}
