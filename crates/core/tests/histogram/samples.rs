//! Random samples of several distributions.

pub use testkit::Random;

/// The distributions; the last are bit patterns of all doubles.
pub const DISTRIBUTIONS: [&str; 9] = [
    "log-normal",
    "uniform",
    "bimodal",
    "constant",
    "negative",
    "mixed signs",
    "mostly zero",
    "12 decades",
    "any double",
];

pub fn value(distribution: &str, r: &mut Random) -> f64 {
    match distribution {
        "log-normal" => r.log_normal(20.0),
        "uniform" => 1.0 + 999.0 * r.unit(),
        "bimodal" if r.below(10) < 9 => 2.0 + 0.1 * r.normal(),
        "bimodal" => 300.0 + 20.0 * r.normal(),
        "constant" => 42.5,
        "negative" => -r.log_normal(20.0),
        "mixed signs" => 100.0 * r.normal(),
        "mostly zero" if r.below(10) < 9 => 0.0,
        "mostly zero" => r.log_normal(1.0),
        "12 decades" => 10f64.powf(12.0 * r.unit() - 6.0),
        _ => match f64::from_bits(r.next()) {
            value if value.is_finite() => value,
            _ => f64::from_bits(1),
        },
    }
}

/// Samples of a distribution: values and multiplicities, mostly 1.
pub fn samples(distribution: &str, n: usize, r: &mut Random) -> Vec<(f64, u64)> {
    let times = |r: &mut Random| match r.below(20) {
        0 => 1 + r.next() % (1 << 32),
        1 => 1 + r.next() % 400,
        2 => 1 + r.next() % 4,
        _ => 1,
    };
    (0..n).map(|_| (value(distribution, r), times(r))).collect()
}

/// Returns the number of samples of a case: often near the change from values to buckets.
pub fn size(r: &mut Random) -> usize {
    match r.below(4) {
        0 => r.below(20),
        1 => r.below(100),
        _ => r.below(700),
    }
}
