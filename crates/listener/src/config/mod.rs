//! The configuration of `agg listen`.
//!
//! # Invariants
//!
//! Each value checks itself when it is read, so an error has its line and column. Then values that depend on each other are
//! checked. A [`Config`] can be used as it is.

mod checks;
mod values;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aggregator_protocol::masking;
use serde::Deserialize;

use crate::influx::Kind;
use crate::net::Address;

pub use values::{Addresses, LogLevel, Size, Tag, Time};

/// The configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        error: std::io::Error,
    },
    /// The file has an error: its place and the reason.
    #[error("{0}")]
    Invalid(String),
}

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

    /// Checks a configuration that was not read from a file.
    ///
    /// # Errors
    ///
    /// Two values contradict each other.
    pub fn check(&self) -> Result<(), ConfigError> {
        checks::check(self).map_err(ConfigError::Invalid)
    }

    /// Reads a file.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or has an error.
    pub fn read(path: &Path) -> Result<Config, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|error| ConfigError::Io {
            path: path.to_owned(),
            error,
        })?;
        Config::parse(&text).map_err(|error| {
            let text = format!("{}{error}", path.display());
            ConfigError::Invalid(masking::text(&text).into_owned())
        })
    }

    /// Parses the text of a file. The error begins with `:line:column: `, if it has a place.
    fn parse(text: &str) -> Result<Config, String> {
        let config: Config = toml::from_str(text).map_err(|error| {
            let place = error.span().map(|span| position(text, span.start));
            let place = place.map_or(String::new(), |(line, column)| format!(":{line}:{column}"));
            format!("{place}: {}", error.message().replace('\n', " "))
        })?;
        checks::check(&config).map_err(|error| format!(": {error}"))?;
        Ok(config)
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

/// Returns line and column of a byte, from 1.
fn position(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (line, before[start..].chars().count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_is_read() {
        let text = r#"
node = "web1"
tags = ["site:a"]
errors-from = "warning"
buffer = "1mb"

[statsd]
listen = ["127.0.0.1:8125", "/run/statsd.sock"]

[otlp]
grpc = "127.0.0.1:4317"

[influxdb]
types = [{ field = "*.count", type = "DIFF" }]

[[prometheus.job]]
name = "node"
targets = ["127.0.0.1:9100"]
"#;
        let config = Config::parse(text).unwrap();
        assert_eq!(
            (config.errors_from, config.buffer),
            (Some(LogLevel(5)), Size(1 << 20))
        );
        let statsd = config.statsd.unwrap();
        assert_eq!(statsd.listen.0.len(), 2);
        assert_eq!(statsd.listen.0[1], Address::Unix("/run/statsd.sock".into()));
        let otlp = config.otlp.unwrap();
        assert_eq!(otlp.listen, Addresses::local(4318));
        assert_eq!(otlp.grpc, Addresses::local(4317));
        assert_eq!(config.influxdb.unwrap().types[0].kind, Kind::Diff);
        let prometheus = config.prometheus.unwrap();
        assert_eq!(prometheus.job[0].path, "/metrics");
        assert_eq!(prometheus.interval, Time(Duration::from_secs(15)));
    }

    #[test]
    fn each_table_can_have_ports_that_the_system_chooses() {
        let any = "listen = [\"127.0.0.1:0\", \"127.0.0.1:0\"]";
        let text = format!("[statsd]\n{any}\n[otlp]\n{any}");
        assert_eq!(
            Config::parse(&text).unwrap().protocols(),
            ["statsd", "otlp"]
        );
    }

    #[test]
    fn errors_have_a_place() {
        for (text, expected) in [
            (
                "node = 1\n[statsd]",
                ":1:8: invalid type: integer `1`, expected a string",
            ),
            ("[statsd]\nlisten = \"8125\"", ":2:10: expected an address"),
            ("[statsd]\nport = 1", ":2:1: unknown field `port`"),
            ("buffer = \"64\"\n[statsd]", ":1:10: \"64\" has no unit"),
            (
                "errors-from = \"LOUD\"\n[statsd]",
                ":1:15: expected a level",
            ),
            ("[statsd]\nlisten", ":2:7:"),
            ("node = \"a\"", ": expected one of the tables [statsd]"),
            ("max-connections = 0\n[statsd]", ": max-connections is 0"),
            ("max-instances = 0\n[statsd]", ": max-instances is 0"),
            ("buffer = \"1kb\"\n[statsd]", ": buffer is below 16kb"),
            ("max-body = \"2gb\"\n[statsd]", ": max-body is above 1gb"),
            (
                "[statsd]\n[graphite]\nlisten = [\"127.0.0.1:1\", \"127.0.0.1:8125\"]",
                ": 127.0.0.1:8125 is in [statsd] and in [graphite]",
            ),
            (
                "listen = \"127.0.0.1:1\"\n[otlp]\ngrpc = \"127.0.0.1:1\"",
                ": 127.0.0.1:1 is the status page and in [otlp]",
            ),
            (
                "[statsd]\nlisten = [\"/s\", \"/s\"]",
                ": /s is in [statsd] twice",
            ),
            (
                "[prometheus]\ninterval = \"5s\"\ntimeout = \"6s\"",
                ": the timeout of [prometheus] is longer than its interval",
            ),
            (
                "[[prometheus.job]]\nname = \"a\"",
                ": the job \"a\" has neither targets nor file-sd",
            ),
            (
                "[[prometheus.job]]\nname = \"a\"\ntargets = [\"h:1\"]\n[[prometheus.job]]\nname = \"a\"\ntargets = [\"h:1\"]",
                ": two jobs are \"a\"",
            ),
        ] {
            let error = Config::parse(text).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
