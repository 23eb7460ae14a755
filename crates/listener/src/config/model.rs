//! The settings, as they are written in the file, with their defaults.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::values::{Addresses, LogLevel, Size, Tag, Time};
use crate::influx::Kind;
use crate::net::Address;

/// The configuration, as it is written in the file.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Config {
    /// The node that reports belong to. None: the host name.
    pub node: Option<String>,
    /// Tags of all reports.
    pub tags: Vec<Tag>,
    /// The address of the status page.
    pub listen: Option<Address>,
    /// Names by which the status page may be requested, besides addresses and the name of this machine.
    pub allowed_hosts: Vec<String>,
    /// Bytes of reports that are kept while the server is down.
    pub buffer: Size,
    /// The time for which reports are collected before they are sent.
    pub flush_interval: Time,
    /// Log records from this level up are also reported as errors.
    pub errors_from: Option<LogLevel>,
    /// Patterns of the names of attributes that distinguish series.
    pub identity: Vec<String>,
    /// Patterns of the names of attributes that are left out. Series that differ only in them become one: counters of several
    /// processes must not.
    pub drop: Vec<String>,
    /// The number of series of one name. Further ones are `name@other`.
    pub max_instances: u32,
    /// Connections at the same time, for each listener.
    pub max_connections: usize,
    /// A connection without input is closed after this time.
    pub idle_timeout: Time,
    /// The largest body of a request, also decompressed.
    pub max_body: Size,
    /// statsd and DogStatsD, over UDP and TCP.
    pub statsd: Option<Statsd>,
    /// OpenTelemetry.
    pub otlp: Option<Otlp>,
    /// Syslog, over UDP and TCP.
    pub syslog: Option<Syslog>,
    /// Writes of InfluxDB.
    pub influxdb: Option<InfluxDb>,
    /// Targets of Prometheus.
    pub prometheus: Option<Prometheus>,
    /// Graphite's plaintext protocol, over TCP and UDP.
    pub graphite: Option<Graphite>,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            node: None,
            tags: Vec::new(),
            listen: None,
            allowed_hosts: Vec::new(),
            buffer: Size(64 << 20),
            flush_interval: Time(Duration::from_millis(100)),
            errors_from: None,
            identity: vec!["*".into()],
            drop: Vec::new(),
            max_instances: 1000,
            max_connections: 1000,
            idle_timeout: Time(Duration::from_secs(600)),
            max_body: Size(16 << 20),
            statsd: None,
            otlp: None,
            syslog: None,
            influxdb: None,
            prometheus: None,
            graphite: None,
        }
    }
}

/// The table `[statsd]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Statsd {
    /// The addresses.
    pub listen: Addresses,
    /// The kernel's queue of datagrams, bytes.
    pub receive_buffer: Size,
    /// The time for which distinct members of sets are counted.
    pub set_interval: Time,
}

impl Default for Statsd {
    fn default() -> Statsd {
        Statsd {
            listen: Addresses::local(8125),
            receive_buffer: Size(RECEIVE_BUFFER),
            set_interval: Time(Duration::from_secs(10)),
        }
    }
}

/// The table `[otlp]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Otlp {
    /// The addresses of OTLP/HTTP.
    pub listen: Addresses,
    /// The addresses of OTLP/gRPC.
    pub grpc: Addresses,
}

impl Default for Otlp {
    fn default() -> Otlp {
        Otlp {
            listen: Addresses::local(4318),
            grpc: Addresses::default(),
        }
    }
}

/// The table `[syslog]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Syslog {
    /// The addresses.
    pub listen: Addresses,
    /// The kernel's queue of datagrams, bytes.
    pub receive_buffer: Size,
}

impl Default for Syslog {
    fn default() -> Syslog {
        Syslog {
            listen: Addresses::local(5140),
            receive_buffer: Size(RECEIVE_BUFFER),
        }
    }
}

/// The table `[influxdb]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct InfluxDb {
    /// The addresses.
    pub listen: Addresses,
    /// The types of fields: patterns of `measurement.field`, the first that matches. Other fields are ABS.
    pub types: Vec<FieldType>,
}

impl Default for InfluxDb {
    fn default() -> InfluxDb {
        InfluxDb {
            listen: Addresses::local(8086),
            types: Vec::new(),
        }
    }
}

/// The type of fields.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct FieldType {
    /// A pattern of `measurement.field`.
    pub field: String,
    /// The type.
    #[serde(rename = "type")]
    pub kind: Kind,
}

/// The table `[prometheus]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Prometheus {
    /// The time between two scrapes of a target.
    pub interval: Time,
    /// The time that a scrape may take. None: 10 s, or the interval if that is less.
    pub timeout: Option<Time>,
    /// The targets.
    pub job: Vec<Job>,
}

impl Default for Prometheus {
    fn default() -> Prometheus {
        Prometheus {
            interval: Time(Duration::from_secs(15)),
            timeout: None,
            job: Vec::new(),
        }
    }
}

impl Prometheus {
    /// Returns the time that a scrape may take.
    pub fn timeout(&self) -> Duration {
        let default = Duration::from_secs(10).min(self.interval.0);
        self.timeout.map_or(default, |timeout| timeout.0)
    }
}

/// Targets of Prometheus of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Job {
    /// The label `job`.
    pub name: String,
    /// Hosts with ports.
    #[serde(default)]
    pub targets: Vec<String>,
    /// A file with targets, as `file_sd_configs` of Prometheus has; it is read again for each scrape.
    #[serde(default)]
    pub file_sd: Option<PathBuf>,
    /// The path.
    #[serde(default = "metrics_path")]
    pub path: String,
    /// Labels of all samples.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

fn metrics_path() -> String {
    "/metrics".into()
}

/// The table `[graphite]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Graphite {
    /// The addresses.
    pub listen: Addresses,
    /// The kernel's queue of datagrams, bytes.
    pub receive_buffer: Size,
}

impl Default for Graphite {
    fn default() -> Graphite {
        Graphite {
            listen: Addresses::local(2003),
            receive_buffer: Size(RECEIVE_BUFFER),
        }
    }
}

const RECEIVE_BUFFER: u64 = 8 << 20;

impl Config {
    /// Returns the configuration without a file: statsd, OTLP/HTTP and syslog on loopback.
    pub fn standard() -> Config {
        Config {
            statsd: Some(Statsd::default()),
            otlp: Some(Otlp::default()),
            syslog: Some(Syslog::default()),
            ..Config::default()
        }
    }

    /// Returns the names of the protocols that are received.
    pub fn protocols(&self) -> Vec<&'static str> {
        let protocols = [
            ("statsd", self.statsd.is_some()),
            ("otlp", self.otlp.is_some()),
            ("syslog", self.syslog.is_some()),
            ("influxdb", self.influxdb.is_some()),
            ("prometheus", self.prometheus.is_some()),
            ("graphite", self.graphite.is_some()),
        ];
        let received = protocols
            .into_iter()
            .filter(|(_, is_received)| *is_received);
        received.map(|(name, _)| name).collect()
    }

    /// Returns whether anything is received.
    pub fn has_listener(&self) -> bool {
        !self.protocols().is_empty()
    }
}
