//! The percentiles of a window.

use super::histogram::{Histogram, MAX_PERCENTILES, Percentile, Percentiles};
use crate::codec::bytes::{Reader, put_doubles};
use crate::error::DecodeError;

/// The percentiles of a window with their values. They are computed when it closes, and stay as they are.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct WindowPercentiles {
    list: Percentiles,
    values: [f64; MAX_PERCENTILES],
}

impl WindowPercentiles {
    /// Computes the percentiles of a list for a window with these extremes. Without samples, as in a window of a
    /// counter without a rate, all are `avg`. `None`: the list is empty.
    pub fn of(
        histogram: &Histogram,
        list: Percentiles,
        (min, max): (f64, f64),
        avg: f64,
    ) -> Option<Box<WindowPercentiles>> {
        if list.is_empty() {
            return None;
        }
        let values = histogram.percentiles(&list, min, max);
        let values = values.unwrap_or([avg; MAX_PERCENTILES]);
        Some(Box::new(WindowPercentiles { list, values }))
    }

    /// Returns the number of percentiles.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Returns the percentiles, ascending, and their values.
    pub fn iter(&self) -> impl Iterator<Item = (Percentile, f64)> + '_ {
        self.list.iter().zip(self.values)
    }

    /// Appends the byte form: with four percentiles some 15 to 40 bytes.
    pub fn put(&self, out: &mut Vec<u8>) {
        self.list.put(out);
        put_doubles(out, self.values.get(..self.len()).unwrap_or_default());
    }

    /// Reads what `put` wrote.
    pub fn read(r: &mut Reader<'_>) -> Result<WindowPercentiles, DecodeError> {
        let list = Percentiles::read(r)?;
        let mut values = [0.0; MAX_PERCENTILES];
        r.doubles_into(values.get_mut(..list.len()).unwrap_or_default())?;
        Ok(WindowPercentiles { list, values })
    }
}
