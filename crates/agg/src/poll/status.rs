//! What a poller knows of its servers and sinks, for whoever wants to see it: written by those who do the work, read
//! by the pages (web.rs). Counters grow from the start of the program.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use aggregator_protocol::Queue;

use super::room::Share;

/// A poller as a whole.
pub struct Status {
    /// When it began.
    pub started: SystemTime,
    /// The servers by what they are known by.
    servers: Mutex<BTreeMap<String, Shared<ServerStatus>>>,
    /// The sinks in force, by name.
    sinks: Mutex<BTreeMap<String, Arc<SinkStatus>>>,
    /// How long the end may take.
    pub grace: Mutex<Duration>,
    /// The settings: how often they were read anew, and what was wrong with them the last time.
    pub reloads: Mutex<Reloads>,
    /// Whether the end was asked for: what is on the way is still written.
    pub ending: AtomicBool,
}

/// A value that one writes and others read.
pub type Shared<T> = Arc<Mutex<T>>;

/// What became of changed settings.
#[derive(Clone, Default)]
pub struct Reloads {
    /// Taken so often.
    pub taken: u64,
    /// Refused so often.
    pub refused: u64,
    /// Why the last one was refused; none where it was taken.
    pub trouble: Option<String>,
}

/// A server.
#[derive(Clone)]
pub struct ServerStatus {
    /// Its address, without user and password.
    pub place: String,
    /// Whether it answers.
    pub up: bool,
    /// Since when it does or does not.
    pub since: SystemTime,
    /// Why it does not.
    pub trouble: Option<String>,
    /// Connections made.
    pub connects: u64,
    /// Records fetched.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Its nodes by name, as of the last look; to be set by [`ServerStatus::looked`].
    pub nodes: BTreeMap<String, NodeStatus>,
    /// When that was.
    pub looked: Option<SystemTime>,
    /// Entries that it dropped while it was looked at, by [`Queue::ALL`]'s order. It only grows, whatever becomes of
    /// nodes and server.
    pub dropped: [u64; Queue::ALL.len()],
}

/// A node: what AGG.INFO says of its queues, by [`Queue::ALL`]'s order.
#[derive(Clone, Default)]
pub struct NodeStatus {
    /// None where it was not asked yet.
    pub queues: [Option<QueueStatus>; Queue::ALL.len()],
}

/// A queue of a node as of the last look at it.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct QueueStatus {
    /// Entries that wait or are leased.
    pub length: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The age of the oldest, milliseconds: how far everything behind it lags.
    pub oldest_ms: u64,
    /// Entries that somebody has fetched and not acknowledged.
    pub leased: u64,
    /// Entries dropped since the server's start.
    pub dropped: u64,
}

/// A sink.
pub struct SinkStatus {
    /// Its name in the file.
    pub name: String,
    /// Its type in the file.
    pub kind: &'static str,
    /// Records written.
    pub stored: AtomicU64,
    /// Their bytes as they were given to it.
    pub stored_bytes: AtomicU64,
    /// Writes that succeeded.
    pub writes: AtomicU64,
    /// Writes that failed and were or will be tried again.
    pub retries: AtomicU64,
    /// Records among the dead letters.
    pub dead: AtomicU64,
    /// Their bytes.
    pub dead_bytes: AtomicU64,
    /// What is wrong now, and since when.
    trouble: Mutex<Option<(String, SystemTime)>>,
    /// The memory for what is on the way to it.
    pub share: Share,
}

impl Status {
    /// Of a poller that begins now.
    pub fn new() -> Status {
        Status {
            started: SystemTime::now(),
            servers: Mutex::default(),
            sinks: Mutex::default(),
            grace: Mutex::default(),
            reloads: Mutex::default(),
            ending: AtomicBool::new(false),
        }
    }

    /// A server that was found.
    pub fn server(&self, id: &str, place: &str) -> Shared<ServerStatus> {
        let status = Arc::new(Mutex::new(ServerStatus {
            place: place.to_owned(),
            up: false,
            since: SystemTime::now(),
            trouble: None,
            connects: 0,
            records: 0,
            bytes: 0,
            nodes: BTreeMap::new(),
            looked: None,
            dropped: Default::default(),
        }));
        lock(&self.servers).insert(id.to_owned(), status.clone());
        status
    }

    /// A server that is no more.
    pub fn forget(&self, id: &str) {
        lock(&self.servers).remove(id);
    }

    /// All servers by what they are known by.
    pub fn servers(&self) -> Vec<(String, ServerStatus)> {
        let all: Vec<_> = lock(&self.servers)
            .iter()
            .map(|(id, status)| (id.clone(), status.clone()))
            .collect();
        all.into_iter()
            .map(|(id, status)| (id, lock(&status).clone()))
            .collect()
    }

    /// The records and bytes fetched so far by what the servers are known by: what costs little to look at often.
    pub fn fetched(&self) -> Vec<(String, (u64, u64))> {
        let fetched = |(id, server): (&String, &Shared<ServerStatus>)| {
            let server = lock(server);
            (id.clone(), (server.records, server.bytes))
        };
        lock(&self.servers).iter().map(fetched).collect()
    }

    /// Sets the sinks that are in force.
    pub fn set_sinks(&self, sinks: impl Iterator<Item = Arc<SinkStatus>>) {
        *lock(&self.sinks) = sinks.map(|sink| (sink.name.clone(), sink)).collect();
    }

    /// The sinks in force.
    pub fn sinks(&self) -> Vec<Arc<SinkStatus>> {
        lock(&self.sinks).values().cloned().collect()
    }
}

impl ServerStatus {
    /// Notes what a look at the nodes has shown.
    pub fn looked(&mut self, nodes: BTreeMap<String, NodeStatus>, now: SystemTime) {
        for (name, node) in &nodes {
            // What was dropped before the first look is not news.
            let Some(before) = self.nodes.get(name) else {
                continue;
            };
            for (sum, pair) in self
                .dropped
                .iter_mut()
                .zip(before.queues.iter().zip(&node.queues))
            {
                if let (Some(before), Some(now)) = pair {
                    // A server that was restarted counts from 0.
                    let news = now.dropped.checked_sub(before.dropped);
                    *sum += news.unwrap_or(now.dropped);
                }
            }
        }
        self.nodes = nodes;
        self.looked = Some(now);
    }
}

impl SinkStatus {
    /// A sink that has done nothing yet.
    pub fn new(name: &str, kind: &'static str, share: Share) -> SinkStatus {
        SinkStatus {
            name: name.to_owned(),
            kind,
            stored: AtomicU64::new(0),
            stored_bytes: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            retries: AtomicU64::new(0),
            dead: AtomicU64::new(0),
            dead_bytes: AtomicU64::new(0),
            trouble: Mutex::new(None),
            share,
        }
    }

    /// Adds to a counter.
    pub fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Ordering::Relaxed);
    }

    /// What is wrong now, and since when.
    pub fn trouble(&self) -> Option<(String, SystemTime)> {
        lock(&self.trouble).clone()
    }

    /// As if the trouble had begun then.
    #[cfg(test)]
    pub fn set_since(&self, then: SystemTime) {
        if let Some((_, since)) = &mut *lock(&self.trouble) {
            *since = then;
        }
    }

    /// Notes what is wrong, or that nothing is.
    pub fn set_trouble(&self, why: Option<&str>) {
        let mut trouble = lock(&self.trouble);
        match why {
            None => *trouble = None,
            Some(why) => {
                let since = trouble.as_ref().map(|(_, since)| *since);
                *trouble = Some((why.to_owned(), since.unwrap_or_else(SystemTime::now)));
            }
        }
    }
}

/// Locks what is whole whatever happened to the thread that held it.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_only_grow() {
        let status = Status::new();
        let server = status.server("s", "s");
        let look = |dropped: &[(&str, u64)]| {
            let node = |(name, dropped): &(&str, u64)| {
                let mut node = NodeStatus::default();
                node.queues[2] = Some(QueueStatus {
                    dropped: *dropped,
                    ..QueueStatus::default()
                });
                (name.to_string(), node)
            };
            let nodes = dropped.iter().map(node).collect();
            lock(&server).looked(nodes, SystemTime::now());
            lock(&server).dropped[2]
        };
        assert_eq!(look(&[("a", 100)]), 0);
        assert_eq!(look(&[("a", 103), ("b", 50)]), 3);
        assert_eq!(look(&[("b", 51)]), 4);
        assert_eq!(look(&[("b", 2)]), 6);
        assert_eq!(look(&[]), 6);
    }
}
