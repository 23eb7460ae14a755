//! The content of a snapshot. As JSON it is `/status.json`.
//!
//! The names of the fields are part of the public contract. Times are RFC 3339 in UTC, durations are seconds, and
//! counters count from the start of the program.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::Serialize;

/// A record that is pending for longer than this, in seconds, is late: many times the longest pause between two
/// fetches.
pub const LATE: f64 = 60.0;
/// The state of the poller, or the severity of a problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Healthy.
    Ok,
    /// The poller works and needs attention: records are late, were dropped or rejected, or a configuration was
    /// rejected.
    Warning,
    /// A sink is failing or a server is down.
    Trouble,
}

/// A problem.
#[derive(Debug, Serialize)]
pub struct Problem {
    /// Its severity.
    pub state: State,
    /// Its description.
    pub text: String,
}

/// A snapshot of the state.
#[derive(Serialize)]
pub struct View {
    /// The version of the program.
    pub version: &'static str,
    /// The start of the program.
    pub started: String,
    /// The time of the snapshot.
    pub now: String,
    /// The time from the start to the snapshot.
    pub uptime: f64,
    /// True if shutdown was requested.
    pub ending: bool,
    /// The severity of the worst problem.
    pub state: State,
    /// The problems, the worst first.
    pub problems: Vec<Problem>,
    /// The sums.
    pub totals: Totals,
    /// The pollers that share the servers; null without a fleet.
    pub fleet: Option<FleetView>,
    /// The reloads of the configuration.
    pub reloads: ReloadsView,
    /// The sinks, failing ones first.
    pub sinks: Vec<SinkView>,
    /// The servers, those that are down first, then by lag.
    pub servers: Vec<ServerView>,
    /// The nodes by lag.
    pub nodes: Vec<NodeView>,
    /// The start of the program.
    #[serde(skip)]
    pub started_at: SystemTime,
}

/// Sums over all servers and sinks.
#[derive(Default, Serialize)]
pub struct Totals {
    /// Servers known.
    pub servers: usize,
    /// Servers that are up.
    pub servers_up: usize,
    /// Nodes known.
    pub nodes: usize,
    /// Nodes with records that are pending for longer than a minute.
    pub nodes_late: usize,
    /// The age of the oldest pending record on a server that is up.
    pub lag: f64,
    /// Records pending on servers that are up.
    pub waiting: u64,
    /// Records fetched.
    pub fetched: u64,
    /// Records stored, summed over the sinks.
    pub stored: u64,
    /// Records stored per second.
    pub stored_per_second: f64,
    /// Records that sinks rejected.
    pub dead: u64,
    /// Records that servers dropped since their first scan.
    pub dropped: u64,
}

/// The pollers that share the servers, as this one knows them.
#[derive(Serialize)]
pub struct FleetView {
    /// The name of this poller.
    pub me: String,
    /// The names of all pollers.
    pub members: Vec<String>,
    /// Servers that this poller owns.
    pub owned: usize,
    /// Servers that another poller owns.
    pub watched: usize,
    /// Servers that this poller drains because their owner does not.
    pub taken_over: usize,
    /// Takeovers since the start of the program.
    pub takeovers: u64,
}

/// The outcomes of reloads.
#[derive(Serialize)]
pub struct ReloadsView {
    /// Reloads that took effect.
    pub taken: u64,
    /// Reloads that were rejected.
    #[serde(rename = "refused")]
    pub rejected: u64,
    /// The error of the last reload; null if it took effect.
    pub trouble: Option<String>,
}

/// The state of a sink.
#[derive(Serialize)]
pub struct SinkView {
    /// Its name in the configuration.
    pub name: String,
    /// Its type in the configuration.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The error of the last write; null if the sink is healthy.
    pub trouble: Option<String>,
    /// The start of the failure; null if it is healthy.
    pub since: Option<String>,
    /// The duration of the failure; null if it is healthy.
    pub trouble_for: Option<f64>,
    /// Records stored.
    pub stored: u64,
    /// Bytes of the records stored.
    pub stored_bytes: u64,
    /// Records stored per second over the last seconds.
    pub records_per_second: f64,
    /// Bytes stored per second over the last seconds.
    pub bytes_per_second: f64,
    /// Writes that succeeded.
    pub writes: u64,
    /// Writes that failed.
    pub retries: u64,
    /// Records that it rejected.
    pub dead: u64,
    /// Bytes of the records that it rejected.
    pub dead_bytes: u64,
    /// Bytes in flight to it.
    pub in_flight_bytes: u64,
    /// The maximum number of bytes that may be in flight to it.
    pub in_flight_limit_bytes: u64,
}

/// The state of a server.
#[derive(Serialize)]
pub struct ServerView {
    /// Its id.
    pub id: String,
    /// Its address.
    pub place: String,
    /// True if it is up.
    pub up: bool,
    /// The duty of the poller: `owned`, `watched`, `taken-over`, or `unassigned` before the fleet is known.
    pub duty: &'static str,
    /// The time of its last change between up and down.
    pub since: String,
    /// The time since then.
    pub since_for: f64,
    /// The error of the last attempt; null if it is up or was not tried yet.
    pub trouble: Option<String>,
    /// Connections made.
    pub connects: u64,
    /// Records fetched.
    pub records: u64,
    /// Bytes of the records fetched.
    pub bytes: u64,
    /// Records fetched per second over the last seconds.
    pub records_per_second: f64,
    /// The time of its last scan; null before the first scan.
    pub looked: Option<String>,
    /// The number of its nodes.
    pub nodes: usize,
    /// The age of the oldest pending record, as of the last scan or check.
    pub lag: f64,
    /// Pending records, as of the last scan.
    pub waiting: u64,
    /// Records dropped since the first scan.
    pub dropped: u64,
    /// The sums over its nodes, by queue whose state is known.
    pub queues: BTreeMap<&'static str, QueueView>,
}

/// The state of a node.
#[derive(Serialize)]
pub struct NodeView {
    /// The id of its server.
    pub server: String,
    /// Its name.
    pub name: String,
    /// True if its server is up. If not, the rest is outdated.
    pub up: bool,
    /// The age of the oldest pending record.
    pub lag: f64,
    /// Pending records.
    pub waiting: u64,
    /// Bytes of the pending records.
    pub bytes: u64,
    /// Records dropped since the start of the server.
    pub dropped: u64,
    /// Its queues whose state is known.
    pub queues: BTreeMap<&'static str, QueueView>,
}

/// The state of a queue of a node, or of all nodes of a server.
#[derive(Clone, Copy, Default, Serialize)]
pub struct QueueView {
    /// Records that are pending or leased.
    pub length: u64,
    /// Bytes of these records.
    pub bytes: u64,
    /// The age of the oldest record.
    pub lag: f64,
    /// Records that a client has fetched and not acknowledged.
    pub leased: u64,
    /// Records dropped: by a node since the start of its server, by a server since its first scan.
    pub dropped: u64,
}
