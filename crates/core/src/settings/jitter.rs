//! The jitter of a node: a delay of its windows that depends on its name, so that the nodes of a fleet do not deliver
//! all records in the same second.
//!
//! The delay is part of the rules that a node keeps and that replicas apply. So only the primary derives it from the
//! name, and a replica, a replayed file and a saved node need no name.

use xxhash_rust::xxh3::xxh3_64;

/// Returns the delay of a node's windows, 0 to `limit_ms`: the hash XXH3 (64 bits, no seed) of its name times
/// `limit_ms` + 1, divided by 2^64. It is the same on every server, and names spread evenly over it.
pub fn jitter_ms(name: &[u8], limit_ms: i64) -> i64 {
    let Ok(limit) = u64::try_from(limit_ms) else {
        return 0;
    };
    let product = u128::from(xxh3_64(name)) * (u128::from(limit) + 1);
    // At most the limit.
    (product >> 64) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT_MS: i64 = 60_000;

    /// The sum of squared deviations from an even spread over `BINS`, in units of the expected count. For an even
    /// spread it is about the number of bins.
    fn chi_square(names: impl Iterator<Item = String>) -> f64 {
        const BINS: usize = 100;
        let (mut counts, mut total) = ([0u32; BINS], 0u32);
        for name in names {
            let ms = jitter_ms(name.as_bytes(), LIMIT_MS);
            assert!((0..=LIMIT_MS).contains(&ms), "{name}: {ms}");
            counts[ms as usize * BINS / (LIMIT_MS as usize + 1)] += 1;
            total += 1;
        }
        let expected = f64::from(total) / BINS as f64;
        let deviations = counts.map(|count| (f64::from(count) - expected).powi(2) / expected);
        deviations.iter().sum()
    }

    /// 99 degrees of freedom: an even spread exceeds 149 in one of a thousand cases. The names are fixed, so the test
    /// does not depend on chance.
    #[test]
    fn ten_thousand_names_spread_evenly() {
        for names in [
            (|i| format!("web-{i:05}")) as fn(u32) -> String,
            |i| format!("10.{}.{}.7", i / 256, i % 256),
            |i| format!("node:{{rack-{}}}:{i}.example.com", i / 40),
            |i| i.to_string(),
        ] {
            let chi_square = chi_square((0..10_000).map(names));
            assert!(chi_square < 149.0, "{}: {chi_square}", names(0));
        }
    }

    /// The delay is documented, so that other programs may compute it.
    #[test]
    fn the_delay_of_a_name_is_fixed() {
        let delays = ["", "n", "web-00001"].map(|name| jitter_ms(name.as_bytes(), LIMIT_MS));
        assert_eq!(delays, [10_553, 47_734, 54_677]);
        assert_eq!(jitter_ms(b"n", 0), 0);
        assert_eq!(jitter_ms(b"n", -1), 0);
        assert!((0..=i64::MAX).contains(&jitter_ms(b"n", i64::MAX)));
    }
}
