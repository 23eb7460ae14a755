//! The percentiles that a window reports: `agg.percentiles`.

use crate::codec::bytes::{Reader, put_u64};
use crate::error::DecodeError;
use aggregator_protocol::number::is_json_number;
use std::fmt;

/// The limit of the percentiles of a list.
pub const MAX_PERCENTILES: usize = 8;

/// The limit of the decimals of a percentile, without zeros at the end.
pub const MAX_DECIMALS: usize = 7;

/// The number of units of 1.
const ONE: u32 = 10u32.pow(MAX_DECIMALS as u32);

/// The largest percentile, and the number of units of all samples.
const MAX: u32 = 100 * ONE;

/// A percentile, above 0 and at most 100, as an exact decimal: a multiple of 10^-[`MAX_DECIMALS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percentile(u32);

/// A list of percentiles, ascending and without duplicates. The rules of a node contain it and are copied with each
/// command, so it is small: 0 stands for none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Percentiles([u32; MAX_PERCENTILES]);

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
        let zeros = std::iter::repeat_n(&b'0', MAX_DECIMALS - fraction.len());
        let digits = whole.iter().chain(fraction).chain(zeros);
        // At most 10 digits.
        let units = digits.fold(0, |n, digit| 10 * n + u64::from(digit - b'0'));
        let units = u32::try_from(units).ok().and_then(Percentile::new);
        units.ok_or_else(|| PercentilesError::OutOfRange(text()))
    }

    fn new(units: u32) -> Option<Percentile> {
        (1..=MAX).contains(&units).then_some(Percentile(units))
    }

    /// Returns the rank of the percentile among n samples, which begin with 1: ⌈percentile / 100 * n⌉.
    #[inline]
    pub fn rank(self, n: u64) -> u64 {
        match n.checked_mul(self.0.into()) {
            // Divisions of 128 bits are slow.
            Some(product) => product.div_ceil(MAX.into()),
            None => (u128::from(n) * u128::from(self.0)).div_ceil(MAX.into()) as u64,
        }
    }

    /// Returns the name of its field: `p50`, `p99_9`.
    pub fn field(self) -> String {
        format!("p{self}").replace('.', "_")
    }
}

impl fmt::Display for Percentile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, fraction) = (self.0 / ONE, self.0 % ONE);
        if fraction == 0 {
            return write!(f, "{whole}");
        }
        let digits = format!("{fraction:0MAX_DECIMALS$}");
        write!(f, "{whole}.{}", digits.trim_end_matches('0'))
    }
}

impl Percentiles {
    /// The list without percentiles.
    pub const NONE: Percentiles = Percentiles([0; MAX_PERCENTILES]);

    /// The list `50 90 95 99`.
    pub const DEFAULT: Percentiles =
        Percentiles([50 * ONE, 90 * ONE, 95 * ONE, 99 * ONE, 0, 0, 0, 0]);

    /// Reads percentiles separated by blanks. An empty text is an empty list.
    ///
    /// # Errors
    /// The first error in the text.
    pub fn parse(text: &[u8]) -> Result<Percentiles, PercentilesError> {
        let (mut all, mut len) = ([u32::MAX; MAX_PERCENTILES], 0);
        let words = text.split(u8::is_ascii_whitespace);
        for word in words.filter(|word| !word.is_empty()) {
            let Percentile(units) = Percentile::parse(word)?;
            if all.contains(&units) {
                let text = String::from_utf8_lossy(word).into_owned();
                return Err(PercentilesError::Duplicate(text));
            }
            *all.get_mut(len).ok_or(PercentilesError::TooMany)? = units;
            len += 1;
        }
        all.sort_unstable();
        all[len..].fill(0);
        Ok(Percentiles(all))
    }

    /// Returns the percentiles, ascending.
    pub fn iter(&self) -> impl Iterator<Item = Percentile> + '_ {
        self.0.into_iter().map_while(Percentile::new)
    }

    /// Returns their number.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Returns `true` if there is none.
    pub fn is_empty(&self) -> bool {
        *self == Percentiles::NONE
    }

    /// Appends the byte form: the number of percentiles, and each. A whole one takes a byte.
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        out.push(self.len() as u8);
        for Percentile(units) in self.iter() {
            if units % ONE == 0 {
                out.push((units / ONE) as u8);
            } else {
                out.push(0);
                put_u64(out, units.into());
            }
        }
    }

    /// Reads what `put` wrote.
    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Percentiles, DecodeError> {
        const WRONG: DecodeError = DecodeError("inconsistent percentiles");
        let len = usize::from(r.u8()?);
        let mut list = [0; MAX_PERCENTILES];
        let (mut before, given) = (0, list.get_mut(..len).ok_or(WRONG)?);
        for place in given {
            let units = match r.u8()? {
                0 => r.u32()?,
                whole => u32::from(whole) * ONE,
            };
            if units <= before || units > MAX {
                return Err(WRONG);
            }
            (*place, before) = (units, units);
        }
        Ok(Percentiles(list))
    }
}

impl Default for Percentiles {
    /// Returns `50 90 95 99`.
    fn default() -> Percentiles {
        Percentiles::DEFAULT
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
