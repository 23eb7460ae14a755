//! The values of windows, computed from all their samples.

use super::close;
use super::windows::{Counted, Key, Kind, Model};
use proptest::prelude::*;

/// The histograms of the first metric are compared with all its values.
pub(super) const HIST: u8 = 0;

/// Checks the percentiles of a window, whose values are sorted: exact while it has at most 16, otherwise within the
/// bound of values of both signs whose ratio may be 10^13.
fn check_percentiles(
    values: &[(f64, u64)],
    shown: &impl Fn(&str) -> f64,
) -> Result<(), TestCaseError> {
    let n: u128 = values.iter().map(|value| u128::from(value.1)).sum();
    for (percent, field) in [(50, "p50"), (90, "p90"), (95, "p95"), (99, "p99")] {
        let mut rank = (n * percent).div_ceil(100);
        let mut expected = 0.0;
        for (value, times) in values {
            if rank > 0 {
                expected = *value;
            }
            rank = rank.saturating_sub((*times).into());
        }
        let bound = if n <= 16 { 1e-9 } else { 0.09 };
        let value = shown(field);
        prop_assert!(
            (value - expected).abs() <= bound * expected.abs().max(1e-6),
            "{}: {} for {} of {} samples",
            field,
            value,
            expected,
            n
        );
    }
    Ok(())
}

impl Model {
    /// Checks the values of a window: the slots before `until` are complete, and `avg` of increments is over `ms`.
    pub(super) fn check_values(
        &self,
        key: Key,
        samples: &[Counted],
        until: i64,
        ms: i64,
        shown: impl Fn(&str) -> f64,
    ) -> Result<(), TestCaseError> {
        let sum: f64 = samples.iter().map(|s| s.sum).sum();
        let count: u64 = samples.iter().map(|s| s.times).sum();
        prop_assert_eq!(shown("count"), count as f64);
        prop_assert!(close(shown("sum"), sum));
        let newest = samples.iter().map(|s| s.at).max().unwrap();
        let last = samples.iter().rev().find(|s| s.at == newest).unwrap().value;
        // The values, each with its occurrences.
        let (avg, mut values, last): (f64, Vec<(f64, u64)>, f64) =
            match self.kinds[usize::from(key.0)] {
                Kind::Gauge => {
                    let values = samples.iter().map(|s| (s.value, s.times)).collect();
                    (sum / count as f64, values, last)
                }
                Kind::Increments => {
                    let (avg, rates) = (sum * 1_000.0 / ms as f64, self.rates(key, until));
                    let last = rates.last().copied().unwrap_or(avg);
                    (avg, rates.into_iter().map(|rate| (rate, 1)).collect(), last)
                }
            };
        if values.is_empty() {
            values.push((avg, 1));
        }
        values.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (min, max) = (values[0].0, values[values.len() - 1].0);
        if key.0 == HIST {
            check_percentiles(&values, &shown)?;
        }
        for (name, expected) in [("avg", avg), ("min", min), ("max", max), ("last", last)] {
            let shown = shown(name);
            prop_assert!(
                close(shown, expected),
                "{} of {:?}: {} instead of {}",
                name,
                key,
                shown,
                expected
            );
        }
        Ok(())
    }
}
