//! A model that keeps all values and finds their buckets by integers of any size.

use aggregator_core::histogram::{LOWEST_SCALE, MAX_BUCKETS, MAX_SCALE};
use std::collections::BTreeMap;

/// The number of bits of mantissa^power, a power of two, and whether that has a single one.
fn power(mantissa: u64, power: usize) -> (i64, bool) {
    let mut digits = vec![1u32];
    for _ in 0..power {
        let mut carry = 0u128;
        for digit in &mut digits {
            let sum = u128::from(*digit) * u128::from(mantissa) + carry;
            *digit = sum as u32;
            carry = sum >> 32;
        }
        while carry > 0 {
            digits.push(carry as u32);
            carry >>= 32;
        }
    }
    let ones: u32 = digits.iter().map(|digit| digit.count_ones()).sum();
    let top = digits.last().unwrap().leading_zeros();
    (32 * digits.len() as i64 - i64::from(top), ones == 1)
}

/// Returns the bucket i with 2^(i / 2^scale) < magnitude <= 2^((i + 1) / 2^scale). magnitude^(2^scale) is
/// mantissa^(2^scale) * 2^(exponent * 2^scale), and the exponent of the power of two below it is i; a scale below 0
/// divides the exponent instead.
pub fn bucket(magnitude: f64, scale: i8) -> i64 {
    let bits = magnitude.to_bits();
    let (mantissa, exponent) = match bits >> 52 {
        0 => (bits, -1074),
        biased => (bits & ((1 << 52) - 1) | 1 << 52, biased as i64 - 1075),
    };
    let parts = 1i64 << scale.max(0);
    let (bits, is_power) = power(mantissa, parts as usize);
    let i = bits - 1 + exponent * parts - i64::from(is_power);
    i.div_euclid(1 << (-scale).max(0))
}

/// All samples, by the order of values, with their buckets at the highest scale.
#[derive(Default)]
pub struct Model {
    samples: BTreeMap<u64, (f64, u64, i64)>,
}

impl Model {
    pub fn new(samples: &[(f64, u64)]) -> Model {
        let mut model = Model::default();
        for (value, times) in samples {
            let bits = (value + 0.0).to_bits();
            let key = bits ^ if bits >> 63 == 1 { u64::MAX } else { 1 << 63 };
            let entry = || {
                (
                    value + 0.0,
                    0,
                    if *value == 0.0 {
                        0
                    } else {
                        bucket(value.abs(), MAX_SCALE)
                    },
                )
            };
            model.samples.entry(key).or_insert_with(entry).1 += times;
        }
        model
    }

    pub fn count(&self) -> u64 {
        self.samples.values().map(|(_, times, _)| times).sum()
    }

    /// Returns the counts of a side at a scale.
    fn side(&self, scale: i8, is_negative: bool) -> BTreeMap<i64, u64> {
        let mut side = BTreeMap::new();
        for (value, times, index) in self.samples.values() {
            if *value != 0.0 && (*value < 0.0) == is_negative {
                *side
                    .entry(index.div_euclid(1 << (MAX_SCALE - scale)))
                    .or_default() += times;
            }
        }
        side
    }

    /// Returns the highest scale that fits, at most `max`.
    pub fn scale(&self, max: i8) -> i8 {
        let width = |side: BTreeMap<i64, u64>| match (side.keys().next(), side.keys().last()) {
            (Some(first), Some(last)) => last - first + 1,
            _ => 0,
        };
        (LOWEST_SCALE..=max)
            .rev()
            .find(|s| {
                width(self.side(*s, true)) + width(self.side(*s, false)) <= MAX_BUCKETS as i64
            })
            .unwrap()
    }

    pub fn json(&self, max_scale: i8) -> String {
        let scale = self.scale(max_scale);
        let side = |is_negative| {
            let side = self.side(scale, is_negative);
            let (Some(first), Some(last)) = (side.keys().next(), side.keys().last()) else {
                return "[0,[]]".to_owned();
            };
            let counts = (*first..=*last).map(|i| side.get(&i).copied().unwrap_or(0).to_string());
            format!("[{first},[{}]]", counts.collect::<Vec<_>>().join(","))
        };
        let zeros = self.samples.values().filter(|(value, ..)| *value == 0.0);
        let zero: u64 = zeros.map(|(_, times, _)| times).sum();
        format!(
            "{{\"scale\":{scale},\"zero\":{zero},\"pos\":{},\"neg\":{}}}",
            side(false),
            side(true)
        )
    }

    /// Returns the value of rank ⌈thousandths / 100,000 * n⌉.
    pub fn percentile(&self, thousandths: u64) -> f64 {
        let n = u128::from(self.count());
        let (mut rank, mut below) = (n * u128::from(thousandths), 0);
        rank = rank / 100_000 + u128::from(rank % 100_000 > 0);
        let at = self.samples.values().find(|(_, times, _)| {
            below += u128::from(*times);
            below >= rank
        });
        at.unwrap().0
    }

    pub fn extremes(&self) -> (f64, f64) {
        let (first, last) = (self.samples.values().next(), self.samples.values().last());
        (first.unwrap().0, last.unwrap().0)
    }

    /// Returns the product of the ratios of both signs.
    pub fn ratio(&self) -> f64 {
        [true, false]
            .map(|is_negative| {
                let side = self.samples.values().map(|(value, ..)| *value);
                let side = side
                    .filter(|v| *v != 0.0 && (*v < 0.0) == is_negative)
                    .map(f64::abs);
                let (min, max) = side.fold((f64::MAX, 0f64), |(a, b), v| (a.min(v), b.max(v)));
                (max / min).max(1.0)
            })
            .iter()
            .product()
    }
}
