//! A sum of doubles that keeps its rounding error.

/// A sum with its rounding error, as a pair of doubles whose second is at most half a unit in the last place of the
/// first (Dekker, "A floating-point technique for extending the available precision", Numerische Mathematik 18, 1971);
/// half the bits of the second are kept. A sum stops at the largest double.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Sum {
    pub sum: f64,
    pub lost: f32,
}

impl Sum {
    #[inline]
    pub fn add(&mut self, x: f64) {
        let total = self.sum + x;
        // The exact rounding error, whichever of the two is larger (Knuth's TwoSum, without a branch).
        let added = total - self.sum;
        let lost = (self.sum - (total - added)) + (x - added) + f64::from(self.lost);
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

/// The rounding error of a sum, in half the bits. That of sums beyond 1e54 would be too large, and is omitted.
#[inline]
pub(crate) fn narrow(lost: f64) -> f32 {
    let narrow = lost as f32;
    if narrow.is_finite() { narrow } else { 0.0 }
}

/// Returns what so many occurrences of a value add to a sum: the product, rounded once and limited to the largest
/// double.
#[inline]
pub(crate) fn weighted(value: f64, times: u64) -> f64 {
    match times {
        1 => value,
        times => (value * times as f64).clamp(f64::MIN, f64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sum_stays_at_the_largest_double() {
        let mut sum = Sum::default();
        sum.add(f64::MAX);
        sum.add(f64::MAX);
        assert_eq!(sum.sum, f64::MAX);
    }
}
