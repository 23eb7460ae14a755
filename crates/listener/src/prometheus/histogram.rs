//! The difference between two scrapes of a histogram.
//!
//! The buckets of a histogram are cumulative twice: each counts what is at or below its bound, since the process started.

/// The most occurrences that one pair of a [`crate::report::Distribution`] has.
const MAX_TIMES: u64 = 1 << 32;
/// The most pairs for one bucket: 2^36 occurrences between two scrapes are no measurement.
const MAX_PAIRS: u64 = 16;

/// A bucket: its upper bound, which is not NaN, and the number of values at or below it.
pub(super) type Bucket = (f64, u64);

/// A histogram as it was scraped.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Totals {
    /// Sorted by bounds, no bound twice. The last bound is infinite.
    pub(super) buckets: Vec<Bucket>,
    /// The sum of the values, finite.
    pub(super) sum: Option<f64>,
    /// The time since which the histogram counts, Unix seconds.
    pub(super) created: Option<f64>,
}

impl Totals {
    /// Sets what was added since an earlier scrape, and returns the sum of it.
    ///
    /// `increases` becomes cumulative: bounds, and how much was added at or below them. If the bounds changed without a
    /// reset, it has those that both scrapes have, so the total is exact. After a reset everything was added.
    pub(super) fn since(&self, earlier: &Totals, increases: &mut Vec<Bucket>) -> Option<f64> {
        increases.clear();
        let is_reset = !subtract(&self.buckets, &earlier.buckets, increases)
            || matches!((self.created, earlier.created), (Some(now), Some(then)) if now != then);
        if is_reset {
            increases.clone_from(&self.buckets);
            return self.sum;
        }
        let difference = self.sum? - earlier.sum?;
        difference.is_finite().then_some(difference)
    }
}

/// Sets the differences at the bounds that both have. Returns `false` if one is negative.
fn subtract(now: &[Bucket], then: &[Bucket], differences: &mut Vec<Bucket>) -> bool {
    let mut then = then.iter().peekable();
    for (bound, n) in now {
        while then.next_if(|(earlier, _)| earlier < bound).is_some() {}
        if let Some((_, earlier)) = then.next_if(|(earlier, _)| earlier == bound) {
            match n.checked_sub(*earlier) {
                Some(difference) => differences.push((*bound, difference)),
                None => return false,
            }
        }
    }
    true
}

/// Sets values and their occurrences from cumulative buckets, the last of which is infinite. Returns `false` if there are
/// implausibly many occurrences.
///
/// A value is the middle of the bounds of its bucket. The first bucket begins at 0 if its bound is positive, else the
/// value is the bound. Values above the highest finite bound are that bound. Without a finite bound they are the average.
///
/// A scrape may see some buckets before and some after a value was added to all of them. So a bucket counts at least as
/// much as the one below it, and at most as much as the last.
pub(super) fn distribute(
    cumulative: &[Bucket],
    sum: Option<f64>,
    values: &mut Vec<(f64, u64)>,
) -> bool {
    values.clear();
    let total = cumulative.last().map_or(0, |(_, n)| *n);
    let average = sum.map(|sum| sum / total as f64).filter(|v| v.is_finite());
    let (mut below, mut passed) = (None, 0);
    for (bound, n) in cumulative {
        let up_to = (*n).clamp(passed, total);
        let mut left = up_to - passed;
        passed = up_to;
        if left.div_ceil(MAX_TIMES) > MAX_PAIRS {
            return false;
        }
        let value = match below {
            _ if bound.is_infinite() => below.or(average).unwrap_or(0.0),
            None if *bound > 0.0 => bound / 2.0,
            None => *bound,
            // Half of the sum may be infinite.
            Some(below) => below / 2.0 + bound / 2.0,
        };
        while left > 0 {
            let times = left.min(MAX_TIMES);
            values.push((value, times));
            left -= times;
        }
        below = Some(*bound);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    const INF: f64 = f64::INFINITY;

    fn totals(buckets: &[Bucket], sum: f64) -> Totals {
        Totals {
            buckets: buckets.to_vec(),
            sum: Some(sum),
            created: None,
        }
    }

    fn since(now: &Totals, then: &Totals) -> (Vec<Bucket>, Option<f64>) {
        let mut increases = Vec::new();
        let sum = now.since(then, &mut increases);
        (increases, sum)
    }

    #[test]
    fn difference_is_by_bucket() {
        let then = totals(&[(1.0, 2), (5.0, 4), (INF, 5)], 20.0);
        let now = totals(&[(1.0, 2), (5.0, 6), (INF, 8)], 45.0);
        let expected = (vec![(1.0, 0), (5.0, 2), (INF, 3)], Some(25.0));
        assert_eq!(since(&now, &then), expected);
    }

    #[test]
    fn reset_counts_all() {
        let then = totals(&[(1.0, 2), (INF, 5)], 20.0);
        // Only one bucket is less.
        let now = totals(&[(1.0, 1), (INF, 6)], 30.0);
        assert_eq!(since(&now, &then), (now.buckets.clone(), Some(30.0)));
        // More than before, but created later.
        let created = |totals: &Totals, at| Totals {
            created: Some(at),
            ..totals.clone()
        };
        let now = totals(&[(1.0, 3), (INF, 7)], 30.0);
        let (now, then) = (created(&now, 60.0), created(&then, 0.0));
        assert_eq!(since(&now, &then), (now.buckets.clone(), Some(30.0)));
        let (increases, _) = since(&now, &created(&then, 60.0));
        assert_eq!(increases, [(1.0, 1), (INF, 2)]);
    }

    #[test]
    fn other_bounds_are_compared_where_they_are_equal() {
        let then = totals(&[(1.0, 2), (3.0, 3), (INF, 5)], 20.0);
        let now = totals(&[(2.0, 4), (3.0, 5), (4.0, 6), (INF, 8)], 30.0);
        assert_eq!(since(&now, &then).0, [(3.0, 2), (INF, 3)]);
    }

    #[test]
    fn values_are_the_middle_of_their_buckets() {
        let distribution = |cumulative: &[Bucket], sum| {
            let mut values = Vec::new();
            assert!(distribute(cumulative, sum, &mut values));
            values
        };
        assert_eq!(
            distribution(&[(1.0, 1), (3.0, 3), (5.0, 3), (INF, 7)], None),
            [(0.5, 1), (2.0, 2), (5.0, 4)]
        );
        assert_eq!(
            distribution(&[(-2.0, 1), (0.0, 2), (4.0, 3), (INF, 3)], None),
            [(-2.0, 1), (-1.0, 1), (2.0, 1)]
        );
        assert_eq!(distribution(&[(0.0, 1), (INF, 1)], None), [(0.0, 1)]);
        assert_eq!(distribution(&[(INF, 4)], Some(10.0)), [(2.5, 4)]);
        assert_eq!(distribution(&[(INF, 4)], None), [(0.0, 4)]);
        assert_eq!(distribution(&[(INF, 0)], Some(1.0)), []);
        let max = f64::MAX;
        assert_eq!(
            distribution(&[(max / 2.0, 0), (max, 1), (INF, 1)], None),
            [(max * 0.75, 1)]
        );
        // Buckets seen at different times.
        assert_eq!(
            distribution(&[(1.0, 2), (2.0, 1), (3.0, 5), (INF, 4)], None),
            [(0.5, 2), (2.5, 2)]
        );
    }

    #[test]
    fn many_occurrences_take_several_pairs() {
        let mut values = Vec::new();
        assert!(distribute(&[(INF, MAX_TIMES * 2 + 1)], None, &mut values));
        assert_eq!(values, [(0.0, MAX_TIMES), (0.0, MAX_TIMES), (0.0, 1)]);
        assert!(!distribute(
            &[(INF, MAX_TIMES * MAX_PAIRS + 1)],
            None,
            &mut values
        ));
    }
}
