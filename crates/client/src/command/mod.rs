//! Typed commands of the module, and their replies.
//!
//! A value of this module describes one command and does no I/O. [`Connection::run`] sends it and reads the reply, and
//! [`Connection::run_all`] sends many in one pipeline. [`Outbox`] sends reports until they are answered. The first
//! argument of every command is the node, which is the key. Names may have any bytes. Options that are not set are not
//! sent, so the server's defaults apply. Times are Unix milliseconds.
//!
//! [`Connection::run`]: crate::Connection::run
//! [`Connection::run_all`]: crate::Connection::run_all
//! [`Outbox`]: crate::Outbox

mod cmd;
mod drain;
mod error;
mod fields;
mod hist;
mod import;
mod info;
mod level;
mod log;
mod metric;
mod mstat;
mod name;
mod number;
mod object;
mod report;
mod sample;

use crate::reply::Value;

pub use cmd::{Arg, Cmd};
pub use drain::{
    Ack, Extend, Fetch, FetchWithFloor, FetchedRecord, Nack, Peek, Pop, Requeue,
    read_floored_records, read_records,
};
pub use error::{Error, ErrorType, Occurrence, StoredError};
pub use hist::Hist;
pub use import::Import;
pub use info::{Info, NodeInfo, QueueInfo};
pub use level::{InvalidLevel, Level};
pub use log::Log;
pub use metric::{Metric, MetricWindow, Range, StoredType, Window};
pub use mstat::{Mstat, MstatReply, RejectedSample};
pub use name::{Forget, GetError, GetMetric, GetObject, Page, Scan};
pub use number::Number;
pub use object::{ObjectState, Reality, StoredObject};
pub use report::{Numbered, Report, Sequence};
pub use sample::{Sample, SampleType, Stat};

/// A command of the module.
pub trait Command {
    /// The reply of the server.
    type Output;

    /// The name of the command.
    const NAME: &'static str;

    /// Appends the arguments behind the name.
    fn write_args(&self, cmd: &mut Cmd);

    /// Reads a reply other than an error; none if the command does not reply so.
    fn read_reply(&self, reply: Value) -> Option<Self::Output>;

    /// Returns the command as it is sent.
    fn to_cmd(&self) -> Cmd {
        let mut cmd = Cmd::new(Self::NAME);
        self.write_args(&mut cmd);
        cmd
    }
}

/// A kind of content that a node stores by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Metrics.
    Metric,
    /// Errors.
    Error,
    /// Objects, which AGG.REALITY reports.
    Reality,
}

impl Kind {
    /// Returns the word of the commands.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Metric => "METRIC",
            Kind::Error => "ERROR",
            Kind::Reality => "REALITY",
        }
    }
}

/// Appends an option if it is given.
fn option<T: Arg>(cmd: &mut Cmd, name: &str, value: Option<T>) {
    if let Some(value) = value {
        cmd.arg(name).arg(value);
    }
}

/// Reads an integer that is not negative.
fn count(reply: &Value) -> Option<u64> {
    u64::try_from(crate::reply::int(reply)?).ok()
}

/// Reads a reply that may be nil.
fn maybe<T>(reply: Value, read: impl FnOnce(Value) -> Option<T>) -> Option<Option<T>> {
    match reply {
        Value::Nil => Some(None),
        reply => read(reply).map(Some),
    }
}
