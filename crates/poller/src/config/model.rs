//! The configuration as the engine uses it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::fleet::Fleet;
use super::post::{Body, Post};
use super::sink::{
    Aggregator, Kafka, OpenSearch, Otlp, Postgres, Prometheus, RedisStream, Timestamp,
};
use crate::glob::Glob;
use crate::live::Settings;
use crate::rotation::{Mode, Rotation};
use crate::tags::Edits;
use agg_client::discovery::Source;
use aggregator_protocol::{Queue, RecordFormat};

/// A valid configuration.
#[derive(Default)]
pub struct Config {
    /// The longest pause between two fetches from an empty queue.
    pub poll_interval: Duration,
    /// The duration of the lease of fetched records. Leases are extended while a sink takes longer.
    pub lease: Duration,
    /// The maximum number of bytes of records in flight to all sinks together.
    pub max_in_flight: u64,
    /// A record that was delivered more often becomes a dead letter.
    pub max_deliveries: u64,
    /// The longest time that shutdown may take.
    pub shutdown_grace: Duration,
    /// The file for records that a sink rejects.
    pub dead_letters: PathBuf,
    /// The permissions of that file.
    pub dead_letters_mode: Mode,
    /// The address of the status page.
    pub listen: Option<SocketAddr>,
    /// The clients that may request the status page.
    pub web: WebLimits,
    /// The selection of the live values that are served at the same address.
    pub serve: Option<Settings>,
    /// The pollers that share the servers. `None`: this poller drains all of them.
    pub fleet: Option<Fleet>,
    /// The sources of servers.
    pub sources: Vec<Source>,
    /// The routes.
    pub routes: Vec<Route>,
    /// The sinks. A route refers to a sink by its index here.
    pub sinks: Vec<Sink>,
}

/// A route from queues to sinks.
#[derive(Clone)]
pub struct Route {
    /// The queues.
    pub queues: Vec<Queue>,
    /// A node has to match one of these patterns.
    pub include: Vec<Glob>,
    /// A node must not match any of these patterns.
    pub exclude: Vec<Glob>,
    /// The indexes of the sinks.
    pub sinks: Vec<usize>,
    /// The changes to the tags of the records.
    pub edits: Option<Arc<Edits>>,
}

impl Route {
    /// Returns whether the route takes a queue of a node.
    pub fn matches(&self, node: &[u8], queue: Queue) -> bool {
        let any = |globs: &[Glob]| globs.iter().any(|glob| glob.matches(node));
        self.queues.contains(&queue) && any(&self.include) && !any(&self.exclude)
    }
}

/// The settings of a sink.
#[derive(Clone, PartialEq, Eq)]
pub struct Sink {
    /// Its name.
    pub name: String,
    /// The format in which it takes records.
    pub format: RecordFormat,
    /// Its type with the settings of that type.
    pub kind: Kind,
}

/// The type of a sink with its settings.
#[derive(Clone, PartialEq, Eq)]
pub enum Kind {
    /// Standard output.
    Stdout,
    /// A file.
    File {
        /// Its path.
        path: PathBuf,
        /// The conditions for its rotation.
        rotation: Rotation,
        /// Its permissions.
        mode: Mode,
    },
    /// A database that speaks the HTTP API of InfluxDB.
    Influx(Post, Timestamp),
    /// A database that receives Prometheus' remote write.
    Prometheus(Box<Prometheus>),
    /// Any server that takes JSON by HTTP.
    Http(Post, Body),
    /// A database that speaks the protocol of MongoDB.
    Mongo(Box<Mongo>),
    /// Documents in OpenSearch or Elasticsearch.
    OpenSearch(Box<OpenSearch>),
    /// A receiver of OTLP over HTTP.
    Otlp(Box<Otlp>),
    /// Topics of a cluster that speaks Kafka's protocol.
    Kafka(Box<Kafka>),
    /// A PostgreSQL database.
    Postgres(Box<Postgres>),
    /// Streams of a Redis or Valkey server.
    RedisStream(Box<RedisStream>),
    /// Queues of another server with the module.
    Aggregator(Box<Aggregator>),
}

impl Kind {
    /// Returns what the sink writes, if that is for windows only.
    pub fn form_of_windows(&self, format: RecordFormat) -> Option<&'static str> {
        match (self, format) {
            (Kind::Prometheus(_), _) => Some("to Prometheus"),
            (_, RecordFormat::Line) => Some("line protocol"),
            (_, RecordFormat::Json) => None,
        }
    }

    /// Returns the type as the file names it.
    pub fn word(&self) -> &'static str {
        match self {
            Kind::Stdout => "stdout",
            Kind::File { .. } => "file",
            Kind::Influx(..) => "influxdb",
            Kind::Prometheus(_) => "prometheus",
            Kind::Http(..) => "http",
            Kind::Mongo(_) => "mongodb",
            Kind::OpenSearch(_) => "opensearch",
            Kind::Otlp(_) => "otlp",
            Kind::Kafka(_) => "kafka",
            Kind::Postgres(_) => "postgresql",
            Kind::RedisStream(_) => "redis-stream",
            Kind::Aggregator(_) => "aggregator",
        }
    }

    /// Returns whether the sink needs the floors of the records.
    pub fn needs_floor(&self) -> bool {
        matches!(self, Kind::Aggregator(_))
    }
}

/// The settings of a MongoDB sink.
#[derive(Clone, PartialEq, Eq)]
pub struct Mongo {
    /// The servers and the options of the driver, including user and password. Secret.
    pub uri: String,
    /// The database.
    pub database: String,
    /// The prefix of the names of the collections.
    pub prefix: String,
    /// True if statistics are stored in a time-series collection.
    pub time_series: bool,
    /// The maximum number of records of one write.
    pub batch_lines: usize,
    /// The maximum number of bytes of one write, as JSON.
    pub batch_bytes: usize,
    /// The longest time that a response may take.
    pub timeout: Duration,
    /// The contents of the certificate files that the URI names and the driver reads, by which settings are compared.
    pub(super) files: Vec<Vec<u8>>,
}

/// The clients that may connect to the status page. The limits can change while the server runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebLimits {
    /// The number of concurrent connections.
    pub connections: usize,
    /// The host names in lower case by which the page may be requested, besides addresses, `localhost` and the name of
    /// this machine. `*` allows any.
    pub allowed_hosts: Vec<String>,
}

impl Default for WebLimits {
    fn default() -> Self {
        WebLimits {
            connections: 64,
            allowed_hosts: Vec::new(),
        }
    }
}
