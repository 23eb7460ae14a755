//! The state of a poller, its servers and its sinks. The tasks write it; the status page and systemd read it. Counters
//! count from the start of the program.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use agg_client::command::QueueInfo;
use aggregator_protocol::Queue;
use parking_lot::Mutex;

use super::budget::Budget;
use super::ownership::{Duty, Members};
use super::takeovers::Takeovers;

/// The state of a poller.
pub struct Status {
    /// The time at which the poller started.
    pub started: SystemTime,
    /// The servers by id.
    servers: Mutex<BTreeMap<String, Shared<ServerStatus>>>,
    /// The sinks in force, by name.
    sinks: Mutex<BTreeMap<String, Arc<SinkStatus>>>,
    /// The members of the fleet, if the configuration has one.
    pub members: Mutex<Option<Arc<Members>>>,
    /// The servers that the poller took over from their owners.
    pub takeovers: Arc<Takeovers>,
    /// The reloads of the configuration.
    pub reloads: Mutex<Reloads>,
    /// True if shutdown was requested. Records in flight are still written.
    pub ending: AtomicBool,
}

/// A value that one task writes and others read.
pub type Shared<T> = Arc<Mutex<T>>;

/// The outcomes of reloads.
#[derive(Clone, Default)]
pub struct Reloads {
    /// The number of configurations that took effect.
    pub taken: u64,
    /// The number of configurations that were rejected.
    pub rejected: u64,
    /// The error for which the last one was rejected. `None` if it was not.
    pub error: Option<String>,
}

/// The state of a server.
#[derive(Clone)]
pub struct ServerStatus {
    /// Its address, without user and password.
    pub address: String,
    /// True if it is up.
    pub up: bool,
    /// Since when it is up or down.
    pub since: SystemTime,
    /// The error for which it is down.
    pub error: Option<String>,
    /// Connections made.
    pub connects: u64,
    /// Records fetched.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Its nodes by name, as of the last scan; set by [`ServerStatus::set_nodes`].
    pub nodes: BTreeMap<String, NodeStatus>,
    /// The duty of the poller for the server.
    pub duty: Duty,
    /// The age of the oldest record of a server that another poller drains, as of the last check.
    pub watched_lag: Duration,
    /// The takeovers of all servers.
    pub takeovers: Arc<Takeovers>,
    /// The time of the last scan.
    pub scanned_at: Option<SystemTime>,
    /// Records that it dropped since the first scan, in the order of [`Queue::ALL`]. These counters never decrease,
    /// whatever becomes of the nodes and the server.
    pub dropped: [u64; Queue::ALL.len()],
}

/// The state of a node.
#[derive(Clone, Default)]
pub struct NodeStatus {
    /// The state of each queue as of the last scan, in the order of [`Queue::ALL`]. `None` if it is unknown.
    pub queues: [Option<QueueInfo>; Queue::ALL.len()],
}

/// The state of a sink.
pub struct SinkStatus {
    /// Its name in the configuration.
    pub name: String,
    /// Its type in the configuration.
    pub kind: &'static str,
    /// Records stored.
    pub stored: AtomicU64,
    /// Bytes of stored records, as they were given to the sink.
    pub stored_bytes: AtomicU64,
    /// Writes that succeeded.
    pub writes: AtomicU64,
    /// Writes that failed and were or will be retried.
    pub retries: AtomicU64,
    /// Records that became dead letters.
    pub dead: AtomicU64,
    /// Bytes of the dead letters.
    pub dead_bytes: AtomicU64,
    /// The error of the last write, and since when the sink fails. `None` if it is healthy.
    error: Mutex<Option<(String, SystemTime)>>,
    /// The memory for records in flight to it.
    pub budget: Budget,
}

impl Status {
    /// Creates the state of a poller that starts now.
    pub fn new() -> Status {
        Status {
            started: SystemTime::now(),
            servers: Mutex::default(),
            sinks: Mutex::default(),
            members: Mutex::default(),
            takeovers: Arc::default(),
            reloads: Mutex::default(),
            ending: AtomicBool::new(false),
        }
    }

    /// Adds a server and returns its state.
    pub fn server(&self, id: &str, address: &str) -> Shared<ServerStatus> {
        let status = Arc::new(Mutex::new(ServerStatus {
            address: address.to_owned(),
            up: false,
            since: SystemTime::now(),
            error: None,
            connects: 0,
            records: 0,
            bytes: 0,
            nodes: BTreeMap::new(),
            scanned_at: None,
            duty: Duty::Owns,
            watched_lag: Duration::ZERO,
            takeovers: self.takeovers.clone(),
            dropped: Default::default(),
        }));
        self.servers.lock().insert(id.to_owned(), status.clone());
        status
    }

    /// Removes a server.
    pub fn remove_server(&self, id: &str) {
        self.servers.lock().remove(id);
    }

    /// Returns the state of all servers, with their ids.
    pub fn servers(&self) -> Vec<(String, ServerStatus)> {
        let all: Vec<_> = self
            .servers
            .lock()
            .iter()
            .map(|(id, status)| (id.clone(), status.clone()))
            .collect();
        all.into_iter()
            .map(|(id, status)| (id, status.lock().clone()))
            .collect()
    }

    /// Returns the records and bytes fetched from each server, with its id. Cheap enough to be called often.
    pub fn fetched(&self) -> Vec<(String, (u64, u64))> {
        let fetched = |(id, server): (&String, &Shared<ServerStatus>)| {
            let server = server.lock();
            (id.clone(), (server.records, server.bytes))
        };
        self.servers.lock().iter().map(fetched).collect()
    }

    /// Sets the sinks of the configuration in force.
    pub fn set_sinks(&self, sinks: impl Iterator<Item = Arc<SinkStatus>>) {
        *self.sinks.lock() = sinks.map(|sink| (sink.name.clone(), sink)).collect();
    }

    /// Returns the sinks of the configuration in force.
    pub fn sinks(&self) -> Vec<Arc<SinkStatus>> {
        self.sinks.lock().values().cloned().collect()
    }
}

impl ServerStatus {
    /// Sets the nodes as the last scan found them.
    pub fn set_nodes(&mut self, nodes: BTreeMap<String, NodeStatus>, now: SystemTime) {
        for (name, node) in &nodes {
            // Drops before the first scan do not count.
            let Some(before) = self.nodes.get(name) else {
                continue;
            };
            for (sum, pair) in self
                .dropped
                .iter_mut()
                .zip(before.queues.iter().zip(&node.queues))
            {
                if let (Some(before), Some(now)) = pair {
                    // A restarted server counts from 0.
                    let more = now.dropped.checked_sub(before.dropped);
                    *sum += more.unwrap_or(now.dropped);
                }
            }
        }
        self.nodes = nodes;
        self.scanned_at = Some(now);
    }
}

impl SinkStatus {
    /// Creates the state of a sink that has done nothing yet.
    pub fn new(name: &str, kind: &'static str, budget: Budget) -> SinkStatus {
        SinkStatus {
            name: name.to_owned(),
            kind,
            stored: AtomicU64::new(0),
            stored_bytes: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            retries: AtomicU64::new(0),
            dead: AtomicU64::new(0),
            dead_bytes: AtomicU64::new(0),
            error: Mutex::new(None),
            budget,
        }
    }

    /// Adds to a counter.
    pub fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Ordering::Relaxed);
    }

    /// Returns the error of the last write, and since when the sink fails.
    pub fn error(&self) -> Option<(String, SystemTime)> {
        self.error.lock().clone()
    }

    /// Sets since when the sink fails.
    #[cfg(test)]
    pub fn set_failing_since(&self, then: SystemTime) {
        if let Some((_, since)) = &mut *self.error.lock() {
            *since = then;
        }
    }

    /// Sets the error of the last write, or `None` after it succeeded.
    pub fn set_error(&self, reason: Option<&str>) {
        let mut error = self.error.lock();
        match reason {
            None => *error = None,
            Some(reason) => {
                let since = error.as_ref().map(|(_, since)| *since);
                *error = Some((reason.to_owned(), since.unwrap_or_else(SystemTime::now)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drop_counters_never_decrease() {
        let status = Status::new();
        let server = status.server("s", "s");
        let scan = |dropped: &[(&str, u64)]| {
            let node = |(name, dropped): &(&str, u64)| {
                let mut node = NodeStatus::default();
                node.queues[2] = Some(QueueInfo {
                    dropped: *dropped,
                    ..QueueInfo::default()
                });
                (name.to_string(), node)
            };
            let nodes = dropped.iter().map(node).collect();
            server.lock().set_nodes(nodes, SystemTime::now());
            server.lock().dropped[2]
        };
        assert_eq!(scan(&[("a", 100)]), 0);
        assert_eq!(scan(&[("a", 103), ("b", 50)]), 3);
        assert_eq!(scan(&[("b", 51)]), 4);
        assert_eq!(scan(&[("b", 2)]), 6);
        assert_eq!(scan(&[]), 6);
    }
}
