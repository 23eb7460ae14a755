//! The trait of sinks, their limits and errors, and how records are encoded as lines.

use std::time::Duration;

use aggregator_protocol::{NodeName, Queue, RecordFormat, masking};
use async_trait::async_trait;

/// The characters of a reason that are kept.
const MAX_REASON: usize = 500;

/// The maximum size of one write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLimits {
    /// The number of records.
    pub records: usize,
    /// Their bytes, including a newline each. A longer record is written alone.
    pub bytes: usize,
}

/// The origin of a record.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    /// The node.
    pub node: &'a NodeName,
    /// The queue.
    pub queue: Queue,
    /// The id in the queue.
    pub id: i64,
    /// The floor of the record: its queue has nothing else from the floor on to the id, and will not have. `None`: not
    /// known.
    pub floor: Option<i64>,
}

/// A record that the sink will never accept.
#[derive(Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The index of the record in the write.
    pub index: usize,
    /// The reason in the words of the sink.
    pub reason: String,
}

/// A write of which not every record is known to be stored.
#[derive(Debug, PartialEq, Eq)]
pub enum SinkError {
    /// The write can be retried.
    Retriable {
        /// A description of the failure.
        reason: String,
        /// The shortest pause before the next attempt, if the sink asks for one.
        retry_after: Option<Duration>,
    },
    /// No later write can succeed. The program ends.
    Fatal(String),
}

impl SinkError {
    /// Creates a retriable error without a pause.
    pub fn retriable(reason: impl Into<String>) -> SinkError {
        SinkError::Retriable {
            reason: reason.into(),
            retry_after: None,
        }
    }
}

/// Stores records.
#[async_trait]
pub trait Sink: Send {
    /// Returns the maximum size of the next write.
    fn limits(&self) -> BatchLimits;

    /// Connects, and checks what can be checked without writing a record, such as the credentials. Returns a short
    /// description of the target, such as the name and version of the server.
    ///
    /// # Errors
    ///
    /// Returns an error if a write would fail too.
    async fn connect(&mut self) -> Result<String, SinkError>;

    /// Writes records, which have no newline at their end. Returns those that are rejected permanently.
    ///
    /// # Errors
    ///
    /// Returns an error if not every record that is accepted is known to be stored.
    async fn write(&mut self, records: &[&[u8]]) -> Result<Vec<Rejection>, SinkError>;

    /// Writes records as [`Sink::write`] does, with the origin of each.
    ///
    /// # Errors
    ///
    /// As [`Sink::write`].
    async fn write_from(
        &mut self,
        records: &[&[u8]],
        _origins: &[Origin<'_>],
    ) -> Result<Vec<Rejection>, SinkError> {
        self.write(records).await
    }
}

/// Returns records as lines that are safe to view: control characters in JSON are escaped.
pub fn printable_lines(records: &[&[u8]], format: RecordFormat) -> Vec<u8> {
    match format {
        RecordFormat::Line => lines(records),
        RecordFormat::Json => {
            let escaped: Vec<_> = records.iter().map(|record| masking::json(record)).collect();
            let escaped: Vec<&[u8]> = escaped.iter().map(AsRef::as_ref).collect();
            lines(&escaped)
        }
    }
}

/// Returns records as lines.
pub fn lines(records: &[&[u8]]) -> Vec<u8> {
    let mut lines = Vec::with_capacity(records.iter().map(|record| record.len() + 1).sum());
    for record in records {
        lines.extend_from_slice(record);
        lines.push(b'\n');
    }
    lines
}

/// Cuts a reason, which may have any length.
pub fn shorten(reason: &str) -> String {
    let mut reason = reason.trim().to_owned();
    if let Some((cut, _)) = reason.char_indices().nth(MAX_REASON) {
        reason.truncate(cut);
        reason.push('…');
    }
    reason
}
