//! A record of a closed window.

use crate::codec::bytes::{Reader, put_bytes};
use crate::error::DecodeError;
use crate::model::histogram::Histogram;
use crate::model::{ClosedWindow, MetricType};

/// A closed window as MIN and HOUR hold it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct WindowRecord<'a> {
    pub name: &'a [u8],
    pub metric_type: MetricType,
    pub tags: &'a [u8],
    pub closed: ClosedWindow,
    /// The histogram, if the record has it.
    pub histogram: Option<Histogram>,
}

impl<'a> WindowRecord<'a> {
    /// Writes the record except for the histogram. Returns what [`ClosedWindow::put`] returns.
    pub fn put(&self, out: &mut Vec<u8>) -> (u8, usize) {
        put_bytes(out, self.name);
        put_bytes(out, self.tags);
        out.push(self.metric_type.number());
        self.closed.put(0, out)
    }

    /// Writes the histogram, after the rest of the record.
    pub fn put_histogram(&self, out: &mut Vec<u8>) {
        if let Some(histogram) = &self.histogram {
            histogram.put(out);
        }
    }

    /// Reads a record.
    pub fn read(bytes: &'a [u8]) -> Result<WindowRecord<'a>, DecodeError> {
        let mut r = Reader::new(bytes);
        let (name, tags) = (r.name()?, r.bytes()?);
        let metric_type =
            MetricType::from_number(r.u8()?).ok_or(DecodeError("an unknown type of a metric"))?;
        let closed = ClosedWindow::read(0, &mut r)?;
        let histogram = match r.is_empty() {
            true => None,
            false => Some(Histogram::read(&mut r)?),
        };
        let record = WindowRecord {
            name,
            tags,
            metric_type,
            closed,
            histogram,
        };
        r.finish()?;
        Ok(record)
    }
}
