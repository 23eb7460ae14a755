//! The sinks: what writes records where they belong.
//!
//! What holds for each: when [`Sink::write`] returns well, all records but those it names are where they belong, to
//! stay; a record may be written again (at least once), so a sink does no harm by that or leaves it to the reader.

mod file;
mod halve;
mod http;
mod influx;
mod mongo;
mod post;
mod stdout;

use std::time::Duration;

use aggregator_protocol::masking;

use super::config::Kind;
use aggregator_protocol::RecordFormat;

/// Of what one write consists at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Records.
    pub lines: usize,
    /// Their bytes, newlines included; a longer record goes alone.
    pub bytes: usize,
}

/// A record that the sink will never take.
#[derive(Debug, PartialEq, Eq)]
pub struct Refused {
    /// Its place among those given.
    pub index: usize,
    /// The sink's words.
    pub reason: String,
}

/// Why nothing is certain of what was given.
#[derive(Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It may pass: try again, where the sink says when, not before.
    Later {
        /// What went wrong.
        why: String,
        /// When the sink wants to be asked again.
        after: Option<Duration>,
    },
    /// It will not pass: the program has to end.
    Never(String),
}

/// Somewhere to write to.
pub trait Sink: Send {
    /// Of what the next write may consist.
    fn limits(&self) -> Limits;

    /// Writes records, which have no newline at their end. Returns those that are refused for good.
    fn write(&mut self, records: &[&[u8]]) -> Result<Vec<Refused>, Trouble>;
}

/// The sink that the configuration describes.
pub fn open(kind: Kind, format: RecordFormat) -> Box<dyn Sink> {
    match kind {
        Kind::Stdout => Box::new(stdout::Stdout(format)),
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

/// The records as lines that somebody may look at: JSON has no character that a terminal obeys.
fn shown(records: &[&[u8]], format: RecordFormat) -> Vec<u8> {
    match format {
        RecordFormat::Line => lines(records),
        RecordFormat::Json => {
            let safe: Vec<_> = records.iter().map(|record| masking::json(record)).collect();
            let safe: Vec<&[u8]> = safe.iter().map(AsRef::as_ref).collect();
            lines(&safe)
        }
    }
}

/// The records as lines.
fn lines(records: &[&[u8]]) -> Vec<u8> {
    let mut lines = Vec::with_capacity(records.iter().map(|record| record.len() + 1).sum());
    for record in records {
        lines.extend_from_slice(record);
        lines.push(b'\n');
    }
    lines
}
