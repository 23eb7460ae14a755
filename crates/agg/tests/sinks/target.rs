//! What the suite has to know of a target.

use serde_json::Value;

use crate::support::proxy::Proxy;

/// What happens while records are drained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Pollers are killed in the middle of their work, as by `kill -9`.
    Kill,
    /// The target is down when the poller starts, and crashes later.
    Away,
    /// Each reply takes longer than the lease; then the target hangs for longer than the timeout.
    Slow,
    /// The target stores a batch, and its reply is lost or cut short.
    Cut,
    /// The target rejects single records for their content.
    Reject,
    /// A disk, a memory or a quota of the target is full.
    Full,
    /// What the sink writes to is missing or of another type, until it is repaired.
    Conflict,
    /// Far more records are queued than the poller may have in flight, while the target does not answer.
    Backlog,
    /// Three pollers drain the same queues. One after the other stops for longer than its leases, and continues with what
    /// it had.
    Several,
}

impl Fault {
    /// All faults, in the order of the table.
    pub const ALL: [Fault; 9] = [
        Fault::Kill,
        Fault::Away,
        Fault::Slow,
        Fault::Cut,
        Fault::Reject,
        Fault::Full,
        Fault::Conflict,
        Fault::Backlog,
        Fault::Several,
    ];

    /// Returns the head of the fault's column.
    pub fn name(self) -> &'static str {
        match self {
            Fault::Kill => "kill -9",
            Fault::Away => "down",
            Fault::Slow => "slow",
            Fault::Cut => "reply lost",
            Fault::Reject => "records rejected",
            Fault::Full => "full",
            Fault::Conflict => "schema conflict",
            Fault::Backlog => "backlog",
            Fault::Several => "several pollers",
        }
    }
}

/// How often the target has a record in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guarantee {
    Once,
    AtLeastOnce,
}

impl Guarantee {
    /// Returns the words of the documentation, as at the beginning of a sentence.
    pub fn name(self) -> &'static str {
        match self {
            Guarantee::Once => "Once",
            Guarantee::AtLeastOnce => "At least once",
        }
    }
}

/// A target of records with its sink.
pub trait Target: Sized {
    /// The type of the sink.
    const NAME: &'static str;
    /// What is stored where, in a few words.
    const SERVER: &'static str;
    /// What distinguishes the target from the others of the suite.
    const TITLE: &'static str = Self::NAME;
    const GUARANTEE: Guarantee;
    /// The queues that the sink takes, of LOG and MIN.
    const QUEUES: &'static [&'static str] = &["LOG", "MIN"];

    /// Whether [`Target::stored`] reads through the proxy, so that it waits while replies are lost.
    const IS_READ_BY_PROXY: bool = false;

    /// Returns why a fault cannot be made with this target, if so.
    fn support(_: Fault) -> Result<(), &'static str> {
        Ok(())
    }

    /// Starts an empty target, prepared for a fault that is yet to come; `None` if a program is missing.
    fn start(fault: Fault) -> Option<Self>;

    /// Returns the keys of the sink; `{dir}` stands for the directory of the poller.
    fn sink(&self) -> String;

    /// Returns what goes before the command that starts a poller, for targets in its own file system.
    fn wrap(&self, command: std::process::Command) -> std::process::Command {
        command
    }

    /// Notes the process of a poller.
    fn attach(&mut self, _pid: u32) {}

    /// Returns how the target identifies a record of the server.
    fn key(record: &Value) -> String {
        by_id(record)
    }

    /// Returns the identity of each stored record, as often as it is stored.
    fn stored(&self) -> Vec<String>;

    /// Returns the same when nothing is written any more, for targets that find it a little later.
    fn stored_in_the_end(&self) -> Vec<String> {
        self.stored()
    }

    /// Returns whether a poller holds a lock on the target, for which others wait.
    fn is_locked(&self) -> bool {
        false
    }

    /// Returns the proxy between the poller and the target, if there is a network between them.
    fn proxy(&self) -> Option<&Proxy>;

    /// Makes a fault of the target. Returns what the poller then logs as its reason, or of [`Fault::Reject`] the reason of
    /// the dead letters.
    fn inflict(&mut self, fault: Fault) -> &'static str;

    /// Ends a fault.
    fn repair(&mut self, fault: Fault);

    /// Returns the message of the log entries, and the name of the metrics, that the target rejects.
    fn poison() -> String {
        "poison".into()
    }
}

/// Returns the identity of a record by node, queue and id.
pub fn by_id(record: &Value) -> String {
    let text = |field: &str| record[field].as_str().unwrap_or_else(|| panic!("{record}"));
    format!("{} {} {}", text("node"), text("queue"), record["id"])
}

/// Returns the identity of a window by node, metric and start, for targets that do not store the id.
pub fn by_window(node: &str, metric: &str, start_ms: i64) -> String {
    format!("{node} {metric} {start_ms}")
}
