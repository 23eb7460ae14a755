//! The servers, their nodes, and how fast these change. No I/O: [`Update`]s come in, with the time of the reading.
//!
//! Rates are the differences of two readings. Texts from outside contain no hidden characters: they are replaced when
//! an update is applied.

use std::collections::BTreeMap;
use std::time::Instant;

use aggregator_protocol::masking::cell as visible;

use super::node_detail::NodeDetail;
use super::rates::{Rates, speed};
use crate::stats::{NodeStats, ServerStats};

/// A node of a server.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeKey {
    /// The server's id.
    pub server: String,
    /// The node's name, as the server spells it.
    pub node: Vec<u8>,
}

/// The choice of the user: the node whose details are read, and whether anything is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// The node whose details are shown.
    pub node: Option<NodeKey>,
    /// True if reading is paused.
    pub paused: bool,
}

/// One reading of a server.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// `None` if the user may not run INFO.
    pub server: Option<ServerStats>,
    pub nodes: Vec<(Vec<u8>, NodeStats)>,
    /// The parts that could not be read, each with its reason.
    pub note: Option<String>,
}

/// A change to the model.
pub enum Update {
    /// A server exists at this endpoint.
    Found { id: String, endpoint: String },
    /// A server no longer exists.
    Gone { id: String },
    /// A server was read.
    Read {
        id: String,
        at: Instant,
        reading: Reading,
    },
    /// A server cannot be read.
    Down {
        id: String,
        reason: String,
        retry_at: Instant,
    },
    /// The details of a node were read.
    Detail { key: NodeKey, detail: NodeDetail },
}

/// The state of the connection to a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Not read yet.
    Connecting,
    Up,
    Down {
        reason: String,
        retry_at: Instant,
    },
}

/// A server.
pub struct Server {
    pub endpoint: String,
    pub state: State,
    /// Number of readings.
    pub readings: u64,
    /// Of the last reading.
    pub stats: Option<ServerStats>,
    /// Reports per second.
    pub reports: Option<f64>,
    /// Dropped records per second.
    pub drops: Option<f64>,
    pub nodes: BTreeMap<Vec<u8>, Node>,
    pub note: Option<String>,
    /// Time of the last reading; `None` if no rate can be computed from it.
    last_reading: Option<Instant>,
}

/// A node.
pub struct Node {
    /// The name, without hidden characters.
    pub name: String,
    pub stats: NodeStats,
    pub rates: Rates,
}

/// A node and its server.
#[derive(Clone, Copy)]
pub struct Row<'a> {
    /// The server's id.
    pub id: &'a str,
    pub server: &'a Server,
    pub key: &'a [u8],
    pub node: &'a Node,
}

impl Row<'_> {
    pub fn key(&self) -> NodeKey {
        NodeKey {
            server: self.id.to_owned(),
            node: self.key.to_owned(),
        }
    }

    /// Returns whether the values are outdated, as the server is down.
    pub fn is_down(&self) -> bool {
        matches!(self.server.state, State::Down { .. })
    }
}

/// Sums over all servers that are up.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Totals {
    pub up: usize,
    pub down: usize,
    pub connecting: usize,
    pub nodes: usize,
    pub memory_used: u64,
    pub memory_limit: u64,
    /// Memory usage of the server that uses most of its limit, from 0 to 1.
    pub highest_usage: f64,
    /// Pending records.
    pub pending: u64,
    /// Age of the oldest pending record, ms.
    pub lag_ms: u64,
    /// Change of the pending records per second.
    pub growth: Option<f64>,
    /// Reports per second.
    pub reports: Option<f64>,
    /// Dropped records per second.
    pub drops: Option<f64>,
    /// Dropped records since the servers started.
    pub dropped: u64,
    /// Rejected reports per second.
    pub refused: Option<f64>,
    /// Late samples per second.
    pub late: Option<f64>,
}

/// Everything that has been read.
#[derive(Default)]
pub struct Model {
    /// By id.
    pub servers: BTreeMap<String, Server>,
    /// The selected node.
    pub detail: Option<(NodeKey, NodeDetail)>,
}

impl Model {
    /// Applies an update.
    pub fn apply(&mut self, update: Update) {
        match update {
            Update::Found { id, endpoint } => {
                let server = self.servers.entry(id).or_insert_with(Server::new);
                server.endpoint = visible(&endpoint);
            }
            Update::Gone { id } => {
                self.servers.remove(&id);
            }
            Update::Read { id, at, reading } => {
                if let Some(server) = self.servers.get_mut(&id) {
                    server.apply(at, reading);
                }
            }
            Update::Down {
                id,
                reason,
                retry_at,
            } => {
                if let Some(server) = self.servers.get_mut(&id) {
                    let reason = visible(&reason);
                    server.state = State::Down { reason, retry_at };
                    server.reset_rates();
                }
            }
            Update::Detail { key, detail } => self.detail = Some((key, detail)),
        }
    }

    /// Returns all nodes, by server and name.
    pub fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        self.servers.iter().flat_map(|(id, server)| {
            server.nodes.iter().map(move |(key, node)| Row {
                id,
                server,
                key,
                node,
            })
        })
    }

    /// Returns a node, if it exists.
    pub fn row(&self, key: &NodeKey) -> Option<Row<'_>> {
        let (id, server) = self.servers.get_key_value(&key.server)?;
        let (key, node) = server.nodes.get_key_value(&key.node)?;
        Some(Row {
            id,
            server,
            key,
            node,
        })
    }

    /// Returns the sums. A server that is down counts in no other sum than that of such servers.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for server in self.servers.values() {
            match server.state {
                State::Up => totals.up += 1,
                State::Down { .. } => totals.down += 1,
                State::Connecting => totals.connecting += 1,
            }
            if server.state != State::Up {
                continue;
            }
            totals.nodes += server.nodes.len();
            totals.highest_usage = totals.highest_usage.max(server.memory_usage());
            if let Some(stats) = &server.stats {
                totals.memory_used += stats.memory_used;
                totals.memory_limit += stats.memory_limit;
                totals.dropped += stats.dropped();
            }
            add(&mut totals.reports, server.reports);
            add(&mut totals.drops, server.drops);
            for node in server.nodes.values() {
                totals.pending += node.stats.pending();
                totals.lag_ms = totals.lag_ms.max(node.stats.lag_ms());
                add(&mut totals.growth, node.rates.growth);
                add(&mut totals.refused, node.rates.refused);
                add(&mut totals.late, node.rates.late);
            }
        }
        totals
    }
}

fn add(sum: &mut Option<f64>, rate: Option<f64>) {
    if let Some(rate) = rate {
        *sum = Some(sum.unwrap_or(0.0) + rate);
    }
}

impl Server {
    fn new() -> Server {
        Server {
            endpoint: String::new(),
            state: State::Connecting,
            readings: 0,
            stats: None,
            reports: None,
            drops: None,
            nodes: BTreeMap::new(),
            note: None,
            last_reading: None,
        }
    }

    /// Returns the part of the memory limit that is used, from 0 to 1; 0 if it is unknown.
    pub fn memory_usage(&self) -> f64 {
        match &self.stats {
            Some(stats) if stats.memory_limit > 0 => {
                stats.memory_used as f64 / stats.memory_limit as f64
            }
            _ => 0.0,
        }
    }

    fn apply(&mut self, at: Instant, reading: Reading) {
        let since = self
            .last_reading
            .map(|before| at.saturating_duration_since(before));
        let seconds = since.map_or(0.0, |since| since.as_secs_f64());
        let speed = |now: u64, before: u64| speed(now, before, seconds);
        let both = self.stats.as_ref().zip(reading.server.as_ref());
        self.reports = both.and_then(|(before, now)| speed(now.reports, before.reports));
        self.drops = both.and_then(|(before, now)| speed(now.dropped(), before.dropped()));
        let mut before = std::mem::take(&mut self.nodes);
        for (key, stats) in reading.nodes {
            let old = before.remove(&key);
            let rates = old.map(|old| Rates::between(&old.stats, &stats, seconds));
            let node = Node {
                name: visible(&String::from_utf8_lossy(&key)),
                stats,
                rates: rates.unwrap_or_default(),
            };
            self.nodes.insert(key, node);
        }
        self.stats = reading.server;
        self.note = reading.note.map(|note| visible(&note));
        self.state = State::Up;
        self.last_reading = Some(at);
        self.readings += 1;
    }

    fn reset_rates(&mut self) {
        (self.last_reading, self.reports, self.drops) = (None, None, None);
        for node in self.nodes.values_mut() {
            node.rates = Rates::default();
        }
    }
}

#[cfg(test)]
pub mod fixtures {
    use std::time::Duration;

    use super::*;
    use agg_client::command::QueueInfo;

    /// A model of servers that are read every second.
    pub struct Fixture {
        pub model: Model,
        start: Instant,
    }

    impl Default for Fixture {
        fn default() -> Self {
            let (model, start) = (Model::default(), Instant::now());
            Fixture { model, start }
        }
    }

    impl Fixture {
        pub fn read(&mut self, id: &str, server: ServerStats, nodes: &[(&str, NodeStats)]) {
            self.find(id);
            let nodes = nodes
                .iter()
                .map(|(name, node)| (name.as_bytes().to_vec(), node.clone()));
            let reading = Reading {
                server: Some(server),
                nodes: nodes.collect(),
                note: None,
            };
            let readings = self.model.servers[id].readings;
            let at = self.start + Duration::from_secs(readings);
            let id = id.to_owned();
            self.model.apply(Update::Read { id, at, reading });
        }

        pub fn down(&mut self, id: &str, reason: &str) {
            self.find(id);
            self.model.apply(Update::Down {
                id: id.to_owned(),
                reason: reason.to_owned(),
                retry_at: Instant::now() + Duration::from_secs(4),
            });
        }

        fn find(&mut self, id: &str) {
            let endpoint = format!("redis://{id}");
            let id = id.to_owned();
            self.model.apply(Update::Found { id, endpoint });
        }
    }

    pub fn node(log: u64, oldest_ms: u64, dropped: u64) -> NodeStats {
        let mut node = NodeStats {
            metrics: 12,
            ..Default::default()
        };
        node.queues[2] = QueueInfo {
            length: log,
            bytes: log * 100,
            oldest_ms,
            leased: 0,
            dropped,
        };
        node
    }

    pub fn server(memory_used: u64, reports: u64) -> ServerStats {
        ServerStats {
            memory_used,
            memory_limit: 1000,
            reports,
            ..Default::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::fixtures::{Fixture, node, server};
    use super::*;

    #[test]
    fn rates_are_differences_of_two_readings() {
        let mut fixture = Fixture::default();
        fixture.read("a", server(100, 5), &[("n", node(10, 1, 0))]);
        assert_eq!(fixture.model.totals().reports, None);
        fixture.read("a", server(100, 25), &[("n", node(14, 1, 6))]);
        let key = NodeKey {
            server: "a".into(),
            node: b"n".to_vec(),
        };
        let rates = fixture.model.row(&key).unwrap().node.rates;
        assert_eq!((rates.growth, rates.dropped), (Some(10.0), Some(6.0)));
        assert_eq!(rates.by_queue[2], Some(10.0));
        let totals = fixture.model.totals();
        assert_eq!((totals.reports, totals.growth), (Some(20.0), Some(10.0)));
        assert_eq!((totals.nodes, totals.pending, totals.up), (1, 14, 1));
    }

    #[test]
    fn restart_of_a_server_yields_no_rate() {
        let mut fixture = Fixture::default();
        fixture.read("a", server(100, 500), &[("n", node(10, 1, 9))]);
        fixture.read("a", server(100, 2), &[("n", node(0, 0, 0))]);
        let totals = fixture.model.totals();
        assert_eq!((totals.reports, totals.growth), (None, None));
    }

    #[test]
    fn rates_of_a_server_that_was_down_start_over() {
        let mut fixture = Fixture::default();
        fixture.read("a", server(100, 0), &[("n", node(0, 1, 0))]);
        fixture.down("a", "closed\x1b[2J");
        let totals = fixture.model.totals();
        assert_eq!((totals.up, totals.down, totals.nodes), (0, 1, 0));
        let State::Down { reason, .. } = &fixture.model.servers["a"].state else {
            panic!()
        };
        assert_eq!(reason, "closed·[2J");
        fixture.read("a", server(100, 1000), &[("n", node(0, 1, 0))]);
        assert_eq!(fixture.model.totals().reports, None);
        fixture.read("a", server(100, 1003), &[("n", node(0, 1, 0))]);
        assert_eq!(fixture.model.totals().reports, Some(3.0));
    }

    #[test]
    fn nodes_and_servers_that_no_longer_exist_are_removed() {
        let mut fixture = Fixture::default();
        let nodes = [("n", node(0, 1, 0)), ("m", node(0, 1, 0))];
        fixture.read("a", server(1, 1), &nodes);
        fixture.read("a", server(1, 1), &nodes[..1]);
        let names: Vec<&str> = (fixture.model.rows())
            .map(|row| row.node.name.as_str())
            .collect();
        assert_eq!(names, ["n"]);
        fixture.model.apply(Update::Gone { id: "a".into() });
        assert_eq!(fixture.model.totals(), Totals::default());
    }
}
