//! Collects reports, and makes them commands of the module.
//!
//! Samples are collected in AGG.MSTAT commands, one at a time for each protocol. All other reports are commands of their
//! own.
//!
//! # Invariants
//!
//! - The samples of a series from one protocol keep their order, except that a distribution may be sent before them.
//! - A sample that repeats the one before it in its series is counted by that (`TIMES`) only where the server counts the
//!   same as for both: both have the same tags and time, are increments or values with a histogram, and the sum is an
//!   integer that a double represents exactly.
//! - A command has at most [`MAX_SAMPLES`] samples and about [`MAX_BYTES`] bytes, unless one report is larger.

mod report;
mod samples;
mod value;

use std::sync::Arc;

use aggregator_protocol::NodeName;

use crate::identity::Resolved;
use crate::report::Distribution;
use report::{Body, ErrorBody, HistBody, LogBody, ObjectBody};
use samples::Samples;

pub use report::{BatchedReport, Outcome, RejectedReport, ReportKind};
pub use value::{BatchedEntry, BatchedValue, MAX_TIMES, MAX_VALUES};

/// Maximum samples of a command. The server accepts 10,000, and takes them without interruption.
pub const MAX_SAMPLES: usize = 1000;

/// Bytes of the names, tags and values of a command after which a new one begins.
pub const MAX_BYTES: usize = 256 << 10;

/// Reports that are not yet passed on.
pub struct Batch {
    node: Arc<NodeName>,
    ready: Vec<BatchedReport>,
    /// The bytes of `ready`.
    ready_bytes: usize,
    open: Vec<Open>,
    /// The last samples of metrics, by their places.
    last: Vec<LastRow>,
    next_serial: u32,
}

/// A command to which samples are added.
struct Open {
    protocol: &'static str,
    /// Its number among the commands; not 0.
    serial: u32,
    samples: Samples,
}

/// The last sample of a metric in the command with this number.
#[derive(Clone, Copy, Default)]
struct LastRow {
    serial: u32,
    row: u32,
}

impl Batch {
    /// Creates an empty batch of reports of this node.
    pub fn new(node: NodeName) -> Batch {
        Batch {
            node: Arc::new(node),
            ready: Vec::new(),
            ready_bytes: 0,
            open: Vec::new(),
            last: Vec::new(),
            next_serial: 1,
        }
    }

    /// Adds a sample.
    pub fn sample(
        &mut self,
        protocol: &'static str,
        series: &Resolved<'_>,
        value: BatchedValue,
        at: Option<i64>,
    ) {
        let index = self.open_of(protocol);
        let Some(open) = self.open.get_mut(index) else {
            return;
        };
        let place = series.id.place as usize;
        if self.last.len() <= place {
            self.last.resize(place + 1, LastRow::default());
        }
        let Some(last) = self.last.get_mut(place) else {
            return;
        };
        let before = (last.serial == open.serial).then_some(last.row);
        let row = open.samples.add(series, value, at, before);
        *last = LastRow {
            serial: open.serial,
            row,
        };
        if open.samples.len() >= MAX_SAMPLES || open.samples.encoded_bytes() >= MAX_BYTES {
            self.close(index);
        }
    }

    /// Adds a distribution: 1 to [`MAX_VALUES`] values, and numbers that are finite.
    pub fn distribution(
        &mut self,
        protocol: &'static str,
        series: &Resolved<'_>,
        distribution: &Distribution<'_>,
        at: Option<i64>,
    ) {
        let body = HistBody::new(series, distribution, at);
        self.push(protocol, Body::Hist(Box::new(body)));
    }

    /// Adds a log entry.
    pub fn log(&mut self, protocol: &'static str, entry: BatchedEntry) {
        self.push(protocol, Body::Log(LogBody { entry }));
    }

    /// Adds an error with its key.
    pub fn error(&mut self, protocol: &'static str, entry: BatchedEntry, key: &str) {
        let key = key.into();
        self.push(protocol, Body::Error(ErrorBody { entry, key }));
    }

    /// Adds the state of an object. `json` is a JSON document.
    pub fn object(
        &mut self,
        protocol: &'static str,
        key: &str,
        model: &str,
        json: &str,
        tags: String,
    ) {
        let body = ObjectBody {
            key: key.into(),
            model: model.into(),
            json: json.into(),
            tags: tags.into(),
        };
        self.push(protocol, Body::Object(Box::new(body)));
    }

    /// Returns the number of commands.
    pub fn len(&self) -> usize {
        self.ready.len() + self.open.len()
    }

    /// Returns whether there is no report.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the memory that the reports take, bytes.
    pub fn bytes(&self) -> usize {
        let open = self.open.iter().map(|open| open.samples.bytes());
        self.ready_bytes + open.sum::<usize>()
    }

    /// Removes all reports, and returns them in the order in which they are to be sent.
    pub fn take(&mut self) -> Vec<BatchedReport> {
        while !self.open.is_empty() {
            self.close(0);
        }
        self.ready_bytes = 0;
        std::mem::take(&mut self.ready)
    }

    /// Returns the index of the command for samples of a protocol.
    fn open_of(&mut self, protocol: &'static str) -> usize {
        let known = self.open.iter().position(|open| open.protocol == protocol);
        known.unwrap_or_else(|| {
            let serial = self.next_serial;
            self.next_serial = serial.checked_add(1).unwrap_or_else(|| {
                self.last.clear();
                1
            });
            self.open.push(Open {
                protocol,
                serial,
                samples: Samples::default(),
            });
            self.open.len() - 1
        })
    }

    fn close(&mut self, index: usize) {
        let open = self.open.remove(index);
        self.push(open.protocol, Body::Samples(open.samples));
    }

    fn push(&mut self, protocol: &'static str, body: Body) {
        let report = BatchedReport::new(self.node.clone(), protocol, body);
        self.ready_bytes += report.bytes();
        self.ready.push(report);
    }
}

#[cfg(test)]
mod tests;
