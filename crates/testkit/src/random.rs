//! Random choices that a seed fixes, and how much a test does: quick, or long with AGG_HEAVY=1.

/// Returns whether the long versions of tests run (AGG_HEAVY=1).
pub fn is_heavy() -> bool {
    std::env::var("AGG_HEAVY").as_deref() == Ok("1")
}

/// Returns an amount for the quick version of a test, or for the long one.
pub fn amount(quick: usize, heavy: usize) -> usize {
    if is_heavy() { heavy } else { quick }
}

/// Returns an environment variable as a number.
pub fn env_number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Returns the seed of AGG_SEED, or a fixed one. Tests that fail print it.
pub fn seed() -> u64 {
    env_number("AGG_SEED").unwrap_or(20_260_115)
}

/// Random numbers that a seed fixes (SplitMix64).
#[derive(Clone)]
pub struct Random(pub u64);

impl Random {
    /// Returns the next 64 bits.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns a number below `n`, which is not 0.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// Returns one of these.
    pub fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    /// Returns one of these words.
    pub fn word<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }

    /// Returns letters that no compression shortens much.
    pub fn text(&mut self, len: usize) -> String {
        let mut text = String::with_capacity(len + 8);
        while text.len() < len {
            let n = self.next();
            text.extend((0..8).map(|i| char::from(b'a' + (n >> (8 * i) & 0xff) as u8 % 26)));
        }
        text.truncate(len);
        text
    }

    /// Returns a number above 0 and at most 1, evenly distributed.
    pub fn unit(&mut self) -> f64 {
        ((self.next() >> 11) + 1) as f64 / (1u64 << 53) as f64
    }

    /// Returns a number of the standard normal distribution (Box-Muller).
    pub fn normal(&mut self) -> f64 {
        (-2.0 * self.unit().ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// Returns a number of the log-normal distribution with σ = 1.
    pub fn log_normal(&mut self, median: f64) -> f64 {
        median * self.normal().exp()
    }

    /// Shuffles a list.
    pub fn shuffle<T>(&mut self, list: &mut [T]) {
        for i in (1..list.len()).rev() {
            list.swap(i, self.below(i + 1));
        }
    }
}
