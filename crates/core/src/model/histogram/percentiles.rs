//! The percentiles that a window reports: `agg.percentiles`.

use aggregator_protocol::number::is_json_number;
use std::fmt;

/// The limit of the percentiles of a list.
pub const MAX_PERCENTILES: usize = 8;

/// The limit of the decimals of a percentile, without zeros at the end.
pub const MAX_DECIMALS: usize = 9;

/// A percentile, above 0 and at most 100, as an exact decimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Percentile {
    /// The percentile times 10^`decimals`. It does not end in 0 unless `decimals` is 0.
    digits: u64,
    decimals: u8,
}

/// A list of percentiles, ascending and without duplicates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Percentiles {
    list: [Percentile; MAX_PERCENTILES],
    len: u8,
}

/// An error in a list of percentiles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PercentilesError {
    /// It has more than [`MAX_PERCENTILES`].
    TooMany,
    /// A word is not a number such as `99` or `99.9`.
    NotDecimal(String),
    /// A number has more than [`MAX_DECIMALS`] decimals.
    TooPrecise(String),
    /// A number is 0 or above 100.
    OutOfRange(String),
    /// A number is given twice.
    Duplicate(String),
}

impl Percentile {
    /// The largest.
    const MAX: Percentile = Percentile {
        digits: 100,
        decimals: 0,
    };

    fn parse(word: &[u8]) -> Result<Percentile, PercentilesError> {
        let text = || String::from_utf8_lossy(word).into_owned();
        let is_plain = word.iter().all(|b| b.is_ascii_digit() || *b == b'.');
        if !is_plain || !is_json_number(word) {
            return Err(PercentilesError::NotDecimal(text()));
        }
        let mut parts = word.splitn(2, |b| *b == b'.');
        let whole = parts.next().unwrap_or_default();
        let fraction = parts.next().unwrap_or_default();
        let len = fraction
            .iter()
            .rposition(|b| *b != b'0')
            .map_or(0, |at| at + 1);
        let fraction = &fraction[..len];
        if whole.len() > 3 {
            return Err(PercentilesError::OutOfRange(text()));
        }
        if fraction.len() > MAX_DECIMALS {
            return Err(PercentilesError::TooPrecise(text()));
        }
        let digits = whole.iter().chain(fraction);
        let percentile = Percentile {
            digits: digits.fold(0, |n, digit| 10 * n + u64::from(digit - b'0')),
            decimals: fraction.len() as u8,
        };
        if percentile.digits == 0 || percentile.billionths() > Percentile::MAX.billionths() {
            return Err(PercentilesError::OutOfRange(text()));
        }
        Ok(percentile)
    }

    fn power(self) -> u64 {
        10u64.pow(self.decimals.into())
    }

    /// Returns the percentile in units of 10^-9.
    fn billionths(self) -> u64 {
        self.digits * 10u64.pow((MAX_DECIMALS - usize::from(self.decimals)) as u32)
    }

    /// Returns the rank of the percentile among n samples, which begin with 1: ⌈percentile / 100 * n⌉.
    #[inline]
    pub fn rank(self, n: u64) -> u64 {
        let whole = 100 * self.power();
        match n.checked_mul(self.digits) {
            // Divisions of 128 bits are slow.
            Some(product) => product.div_ceil(whole),
            None => (u128::from(n) * u128::from(self.digits)).div_ceil(whole.into()) as u64,
        }
    }

    /// Returns the name of its field: `p50`, `p99_9`.
    pub fn field(self) -> String {
        format!("p{self}").replace('.', "_")
    }
}

impl fmt::Display for Percentile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, fraction) = (self.digits / self.power(), self.digits % self.power());
        match usize::from(self.decimals) {
            0 => write!(f, "{whole}"),
            decimals => write!(f, "{whole}.{fraction:0decimals$}"),
        }
    }
}

impl Percentiles {
    /// The list without percentiles.
    pub const NONE: Percentiles = Percentiles {
        list: [Percentile::MAX; MAX_PERCENTILES],
        len: 0,
    };

    /// Reads percentiles separated by blanks. An empty text is an empty list.
    ///
    /// # Errors
    /// The first error in the text.
    pub fn parse(text: &[u8]) -> Result<Percentiles, PercentilesError> {
        let mut all = Percentiles::NONE;
        let words = text.split(u8::is_ascii_whitespace);
        for word in words.filter(|word| !word.is_empty()) {
            let percentile = Percentile::parse(word)?;
            if all.iter().any(|other| other == percentile) {
                let text = String::from_utf8_lossy(word).into_owned();
                return Err(PercentilesError::Duplicate(text));
            }
            let place = all.list.get_mut(usize::from(all.len));
            *place.ok_or(PercentilesError::TooMany)? = percentile;
            all.len += 1;
        }
        let len = all.len();
        all.list[..len].sort_unstable_by_key(|percentile| percentile.billionths());
        Ok(all)
    }

    /// Returns the percentiles, ascending.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Percentile> + '_ {
        self.list[..self.len()].iter().copied()
    }

    /// Returns their number.
    pub fn len(&self) -> usize {
        usize::from(self.len).min(MAX_PERCENTILES)
    }

    /// Returns `true` if there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl Default for Percentiles {
    /// Returns `50 90 95 99`.
    fn default() -> Percentiles {
        let mut all = Percentiles::NONE;
        for (place, digits) in all.list.iter_mut().zip([50, 90, 95, 99]) {
            *place = Percentile {
                digits,
                decimals: 0,
            };
            all.len += 1;
        }
        all
    }
}

impl fmt::Display for Percentiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, percentile) in self.iter().enumerate() {
            let blank = if i > 0 { " " } else { "" };
            write!(f, "{blank}{percentile}")?;
        }
        Ok(())
    }
}

impl fmt::Display for PercentilesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PercentilesError::TooMany => write!(f, "more than {MAX_PERCENTILES} percentiles"),
            PercentilesError::NotDecimal(word) => {
                write!(f, "invalid percentile '{word}': expected a decimal number")
            }
            PercentilesError::TooPrecise(word) => {
                write!(f, "'{word}' has more than {MAX_DECIMALS} decimals")
            }
            PercentilesError::OutOfRange(word) => {
                write!(f, "'{word}' is not above 0 and at most 100")
            }
            PercentilesError::Duplicate(word) => write!(f, "'{word}' is given twice"),
        }
    }
}

impl std::error::Error for PercentilesError {}
