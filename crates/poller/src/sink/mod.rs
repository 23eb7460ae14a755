//! The sinks: where records are written.
//!
//! # Invariants
//!
//! When [`Sink::write`] succeeds, all records but the rejected ones are stored durably. A record may be written more than
//! once (at least once), so a sink makes that harmless or leaves it to the reader.

mod bisect;
mod file;
mod http;
mod http_client;
mod influx;
mod mongo;
mod post;
mod stdout;

use std::time::Duration;

use aggregator_protocol::RecordFormat;
use aggregator_protocol::masking;
use async_trait::async_trait;

use super::config::Kind;

/// The most that one write takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLimits {
    /// The number of records.
    pub records: usize,
    /// Their bytes, including a newline each. A longer record is written alone.
    pub bytes: usize,
}

/// A record that the sink will never accept.
#[derive(Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The index of the record in the write.
    pub index: usize,
    /// The reason in the words of the sink.
    pub reason: String,
}

/// A write of which nothing is known to be stored.
#[derive(Debug, PartialEq, Eq)]
pub enum SinkError {
    /// The write can be retried.
    Retriable {
        /// What went wrong.
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
    /// Returns the most that the next write takes.
    fn limits(&self) -> BatchLimits;

    /// Writes records, which have no newline at their end. Returns those that are rejected for good.
    ///
    /// # Errors
    ///
    /// Returns an error if nothing is known to be stored.
    async fn write(&mut self, records: &[&[u8]]) -> Result<Vec<Rejection>, SinkError>;
}

/// Opens the sink that the configuration describes.
pub fn open(kind: Kind, format: RecordFormat) -> Box<dyn Sink> {
    match kind {
        Kind::Stdout => Box::new(stdout::Stdout::new(format)),
        Kind::File {
            path,
            rotation,
            mode,
        } => Box::new(file::File::new((path, mode), rotation, format)),
        Kind::Influx(settings) => Box::new(post::Post::new(settings, influx::Influx)),
        Kind::Http(settings, body) => Box::new(post::Post::new(settings, body)),
        Kind::Mongo(settings) => Box::new(mongo::Mongo::new(*settings)),
    }
}

/// Returns records as lines that are safe to view: control characters in JSON are escaped.
fn printable_lines(records: &[&[u8]], format: RecordFormat) -> Vec<u8> {
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
fn lines(records: &[&[u8]]) -> Vec<u8> {
    let mut lines = Vec::with_capacity(records.iter().map(|record| record.len() + 1).sum());
    for record in records {
        lines.extend_from_slice(record);
        lines.push(b'\n');
    }
    lines
}
