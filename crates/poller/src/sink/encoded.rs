//! Records as a server takes them, for sinks that convert each record before it is sent.
//!
//! # Invariants
//!
//! A record that cannot be converted is rejected with the reason, and the others are written.

use crate::record::Record;

use super::{Rejection, Sink, SinkError};

/// Converted records of a write, and their places in it.
#[derive(Default)]
pub struct Encoded {
    items: Vec<Vec<u8>>,
    places: Vec<usize>,
}

impl Encoded {
    /// Adds a converted record with its index in the write.
    pub fn push(&mut self, index: usize, item: Vec<u8>) {
        self.items.push(item);
        self.places.push(index);
    }

    /// Writes the records. Returns those that are rejected, by their indexes in the write.
    ///
    /// # Errors
    ///
    /// As [`Sink::write`].
    pub async fn write_to(&self, sink: &mut impl Sink) -> Result<Vec<Rejection>, SinkError> {
        if self.items.is_empty() {
            return Ok(Vec::new());
        }
        let items: Vec<&[u8]> = self.items.iter().map(Vec::as_slice).collect();
        let mut rejections = sink.write(&items).await?;
        for rejection in &mut rejections {
            rejection.index = self.places[rejection.index];
        }
        Ok(rejections)
    }
}

/// Parses records and passes each to `convert` with its index. Returns those that are no records, or that `convert`
/// refuses, with the reason.
pub fn convert(
    records: &[&[u8]],
    mut convert: impl FnMut(usize, &Record<'_>) -> Result<(), String>,
) -> Vec<Rejection> {
    let mut rejections = Vec::new();
    for (index, text) in records.iter().enumerate() {
        let record = Record::parse(text).map_err(|error| error.to_string());
        if let Err(reason) = record.and_then(|record| convert(index, &record)) {
            rejections.push(Rejection { index, reason });
        }
    }
    rejections
}
