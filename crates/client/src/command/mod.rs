//! The commands of the module: what each takes, and what it answers.
//!
//! A value of this module describes one command. It does no I/O; [`Connection::run`] sends it and reads the reply, and
//! [`Connection::run_all`] sends many in one pipeline. The first argument of every command is the node, which is the
//! key; all names are any bytes. Options that are not given are not sent, so the server's default holds. Times are Unix
//! milliseconds; the default is the server's clock.
//!
//! [`Connection::run`]: crate::Connection::run
//! [`Connection::run_all`]: crate::Connection::run_all

mod drain;
mod fields;
mod read;
mod report;

use redis::{Cmd, ToRedisArgs, Value};

pub use drain::{Ack, Extend, Fetch, FetchedRecord, Nack, Peek, Pop, Requeue, read_records};
pub use read::{
    GetError, GetMetric, GetObject, Info, Metric, MetricWindow, NodeInfo, Page, QueueInfo, Range,
    Scan, StoredError, StoredObject, Window,
};
pub use report::{
    Error, ErrorType, Forget, Log, MetricType, Mstat, MstatReply, Number, ObjectState, Occurrence,
    Reality, Stat,
};

/// A command of the module.
pub trait Command {
    /// What the server answers.
    type Output;

    /// The name of the command.
    const NAME: &'static str;

    /// Appends the arguments behind the name.
    fn write_args(&self, cmd: &mut Cmd);

    /// Reads a reply that is no error; none if it is not what the command answers.
    fn read_reply(&self, reply: Value) -> Option<Self::Output>;

    /// Returns the command as it is sent.
    fn to_cmd(&self) -> Cmd {
        let mut cmd = redis::cmd(Self::NAME);
        self.write_args(&mut cmd);
        cmd
    }
}

/// What a node holds by name.
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
fn option<T: ToRedisArgs>(cmd: &mut Cmd, name: &str, value: Option<T>) {
    if let Some(value) = value {
        cmd.arg(name).arg(value);
    }
}

/// Reads an integer that is not negative.
fn count(reply: &Value) -> Option<u64> {
    u64::try_from(crate::reply::int(reply)?).ok()
}
