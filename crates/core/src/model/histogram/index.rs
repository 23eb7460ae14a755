//! The bucket of a value, and the value that stands for a bucket: integers and correctly rounded operations only, so
//! the same on every platform.

use super::limits::{LOWEST_SCALE, MAX_SCALE};

/// Buckets per power of two at the highest scale.
const PER_OCTAVE: usize = 1 << MAX_SCALE;

/// 2^(k/32) * 2^52, rounded down. Only the first and the last are exact: the others are irrational, so a mantissa
/// equals none of them, and is above the bound if it is above the rounded one.
#[rustfmt::skip]
const BOUNDS: [u64; PER_OCTAVE + 1] = [
    0x10_0000_0000_0000, 0x10_59b0_d315_8574, 0x10_b558_6cf9_890f, 0x11_1301_d012_5b50,
    0x11_72b8_3c7d_517a, 0x11_d487_3168_b9aa, 0x12_387a_6e75_6238, 0x12_9e9d_f51f_dee1,
    0x13_06fe_0a31_b715, 0x13_71a7_373a_a9ca, 0x13_dea6_4c12_3422, 0x14_4e08_6061_892d,
    0x14_bfda_d536_2a27, 0x15_342b_569d_4f81, 0x15_ab07_dd48_5429, 0x16_247e_b03a_5584,
    0x16_a09e_667f_3bcc, 0x17_1f75_e8ec_5f73, 0x17_a114_73eb_0186, 0x18_2589_994c_ce12,
    0x18_ace5_422a_a0db, 0x19_3737_b0cd_c5e4, 0x19_c491_82a3_f090, 0x1a_5503_b23e_255c,
    0x1a_e89f_995a_d3ad, 0x1b_7f76_f2fb_5e46, 0x1c_199b_dd85_529c, 0x1c_b720_dcef_9069,
    0x1d_5818_dcfb_a487, 0x1d_fc97_337b_9b5e, 0x1e_a4af_a2a4_90d9, 0x1f_5076_5b6e_4540,
    0x20_0000_0000_0000,
];

/// The top bits of a mantissa that find its bucket: their cells are narrower than the narrowest bucket, so none
/// contains two bounds.
const CELL_BITS: u32 = 6;

/// The number of bounds below all mantissas of a cell.
const BELOW: [u8; 1 << CELL_BITS] = {
    let mut below = [0; 1 << CELL_BITS];
    let mut cell = 0;
    while cell < below.len() {
        let lowest = (1 << 52) + ((cell as u64) << (52 - CELL_BITS));
        while BOUNDS[below[cell] as usize] < lowest {
            below[cell] += 1;
        }
        cell += 1;
    }
    below
};

/// Returns the bucket of a magnitude at the highest scale: that with 2^(i/32) < magnitude <= 2^((i+1)/32).
/// `magnitude` is positive and finite.
#[inline]
pub(super) fn bucket(magnitude: f64) -> i32 {
    let bits = magnitude.to_bits();
    let biased = (bits >> 52) as i32;
    let (exponent, mantissa) = if biased == 0 {
        let shift = bits.leading_zeros().saturating_sub(11);
        (-1022 - shift as i32, bits << shift)
    } else {
        (biased - 1023, bits & ((1 << 52) - 1) | 1 << 52)
    };
    let cell = (mantissa >> (52 - CELL_BITS)) as usize % BELOW.len();
    let below = BELOW[cell];
    let below = i32::from(below) + i32::from(mantissa > BOUNDS[usize::from(below)]);
    PER_OCTAVE as i32 * exponent - 1 + below
}

/// Returns the lowest and the highest bucket that any double has at a scale.
pub(super) fn extremes(scale: i8) -> (i32, i32) {
    let shift = MAX_SCALE - scale;
    (
        bucket(f64::from_bits(1)) >> shift,
        bucket(f64::MAX) >> shift,
    )
}

/// Returns the magnitude that stands for a bucket with the bounds lo and hi: 2 * lo * hi / (lo + hi), whose relative
/// distance from both is the same. It is positive and finite.
pub(super) fn representative(scale: i8, index: i32) -> f64 {
    let shift = MAX_SCALE - scale.clamp(LOWEST_SCALE, MAX_SCALE);
    let (lo, hi, exponent) = if shift <= MAX_SCALE {
        let first = index << shift;
        let lo = first.rem_euclid(PER_OCTAVE as i32) as usize;
        let hi = (lo + (1 << shift)).min(PER_OCTAVE);
        let bound = |k: usize| BOUNDS[k] as f64 / power(52);
        (bound(lo), bound(hi), first.div_euclid(PER_OCTAVE as i32))
    } else {
        let octaves = 1 << (shift - MAX_SCALE);
        (1.0, power(octaves), index.saturating_mul(octaves))
    };
    let mean = 2.0 * lo / (lo / hi + 1.0);
    // The lowest bucket at a low scale begins below the smallest double.
    times_power(mean, exponent).max(f64::from_bits(1))
}

/// Returns 2^exponent, for a normal double.
fn power(exponent: i32) -> f64 {
    f64::from_bits(((exponent.clamp(-1022, 1023) + 1023) as u64) << 52)
}

/// Returns x * 2^exponent, rounded once. 1 <= x < 2.
fn times_power(x: f64, exponent: i32) -> f64 {
    if exponent < -1022 {
        x * power(-1022) * power(exponent + 1022)
    } else {
        x * power(exponent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A product of integers of any size, in digits of 32 bits, the lowest first.
    fn product(a: &[u32], b: &[u32]) -> Vec<u32> {
        let mut out = vec![0; a.len() + b.len()];
        for (i, x) in a.iter().enumerate() {
            let mut carry = 0;
            for (j, y) in b.iter().enumerate() {
                let digit = u64::from(*x) * u64::from(*y) + u64::from(out[i + j]) + carry;
                out[i + j] = digit as u32;
                carry = digit >> 32;
            }
            out[i + b.len()] = carry as u32;
        }
        out
    }

    /// The number of bits of m^32, and whether it is a power of two.
    fn power_32(m: u64) -> (usize, bool) {
        let mut power = vec![m as u32, (m >> 32) as u32];
        for _ in 0..5 {
            power = product(&power, &power);
        }
        let top = power.iter().rposition(|digit| *digit != 0).unwrap();
        let ones: u32 = power.iter().map(|digit| digit.count_ones()).sum();
        (
            32 * (top + 1) - power[top].leading_zeros() as usize,
            ones == 1,
        )
    }

    #[test]
    fn bounds_are_the_roots_of_two_rounded_down() {
        for (k, bound) in BOUNDS.into_iter().enumerate() {
            // bound^32 <= 2^(52 * 32 + k) < (bound + 1)^32
            let target = 52 * 32 + k + 1;
            let (bits, is_power) = power_32(bound);
            assert!(bits < target || bits == target && is_power, "{k}");
            let (bits, is_power) = power_32(bound + 1);
            assert!(bits > target || bits == target && !is_power, "{k}");
        }
    }

    #[test]
    fn values_beside_each_bound_are_in_neighbouring_buckets() {
        for exponent in [-1022, -700, -1, 0, 1, 5, 52, 1000, 1023] {
            for (k, bound) in BOUNDS[..PER_OCTAVE].iter().enumerate() {
                let at = times_power(*bound as f64 / power(52), exponent);
                assert_eq!(bucket(at), 32 * exponent + k as i32 - 1);
                let above = f64::from_bits(at.to_bits() + 1);
                assert_eq!(bucket(above), 32 * exponent + k as i32);
            }
        }
    }

    #[test]
    fn representatives_are_equally_far_from_both_bounds() {
        for scale in LOWEST_SCALE..=MAX_SCALE {
            let (first, last) = extremes(scale);
            let octaves = f64::from(-i32::from(scale)).exp2();
            // (ratio - 1) / (ratio + 1), without overflow.
            let error = 1.0 - 2.0 / (octaves.exp2() + 1.0);
            for index in first..=last {
                let value = representative(scale, index);
                assert!(value > 0.0 && value.is_finite(), "{scale} {index} {value}");
                let lo = (f64::from(index) * octaves).exp2();
                if lo >= f64::MIN_POSITIVE {
                    assert_eq!(bucket(value) >> (MAX_SCALE - scale), index);
                    assert!((value / lo - 1.0 - error).abs() < 1e-9, "{scale} {value}");
                }
            }
        }
    }
}
