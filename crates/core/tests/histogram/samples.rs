//! Random samples of several distributions.

/// Random numbers (SplitMix64), and distributions of them.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// Above 0 and at most 1.
    pub fn unit(&mut self) -> f64 {
        ((self.next() >> 11) + 1) as f64 / (1u64 << 53) as f64
    }

    pub fn normal(&mut self) -> f64 {
        (-2.0 * self.unit().ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos()
    }

    pub fn log_normal(&mut self, median: f64) -> f64 {
        median * self.normal().exp()
    }

    pub fn shuffle<T>(&mut self, list: &mut [T]) {
        for i in (1..list.len()).rev() {
            list.swap(i, self.below(i + 1));
        }
    }
}

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
