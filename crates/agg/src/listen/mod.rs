//! `agg listen`: receives existing protocols and reports them, by the library agg-listener.

mod connect;

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use agg_client::Shutdown;
use agg_client::connect::Server;
use agg_listener::config::{
    Addresses, Config, Graphite, InfluxDb, LogLevel, Otlp, Statsd, Syslog, Tag,
};
use agg_listener::net::Address;
use agg_poller::check::{Check, LIMIT};
use aggregator_protocol::format::count;
use aggregator_protocol::{NodeName, units};
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::connection_check::finish;
use crate::exit_status::ExitStatus;
use crate::node_argument::node_or_host_name;

/// The arguments.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Options {
    /// The configuration file, in place of the other arguments. --node is the node of a file that names none
    #[arg(long, value_name = "FILE", conflicts_with_all = REPLACED)]
    config: Option<PathBuf>,

    /// Check the configuration, and exit
    #[arg(long)]
    pub check: bool,

    /// With --check, also connect to the server, without reporting anything
    #[arg(long, requires = "check")]
    connect: bool,

    /// The longest time that the connection may take [default: 15s]
    #[arg(long, requires = "connect", value_parser = units::positive_duration, value_name = "TIME")]
    timeout: Option<Duration>,

    /// Listen for statsd and DogStatsD, over UDP and TCP [default: 127.0.0.1:8125]
    #[arg(long, value_name = "ADDRESS")]
    statsd: Vec<Address>,

    /// Listen for OTLP/HTTP [default: 127.0.0.1:4318]
    #[arg(long, value_name = "ADDRESS")]
    otlp: Vec<Address>,

    /// Listen for OTLP/gRPC, usually port 4317
    #[arg(long, value_name = "ADDRESS")]
    otlp_grpc: Vec<Address>,

    /// Listen for syslog, over UDP and TCP [default: 127.0.0.1:5140]
    #[arg(long, value_name = "ADDRESS")]
    syslog: Vec<Address>,

    /// Listen for writes of InfluxDB 1 and 2, usually port 8086
    #[arg(long, value_name = "ADDRESS")]
    influxdb: Vec<Address>,

    /// Listen for Graphite's plaintext protocol, usually port 2003
    #[arg(long, value_name = "ADDRESS")]
    graphite: Vec<Address>,

    /// The address of a status page, with /metrics for Prometheus
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<Address>,

    /// The node to report as [default: the host name]
    #[arg(long, value_name = "NAME")]
    node: Option<OsString>,

    /// A tag for all reports; may be given several times
    #[arg(long = "tag", value_parser = tag, value_name = "NAME:VALUE")]
    tags: Vec<Tag>,

    /// Report log records of this level and above as errors, too
    #[arg(long, value_parser = level, value_name = "LEVEL")]
    errors_from: Option<LogLevel>,
}

/// The arguments that have no place beside a configuration file.
const REPLACED: [&str; 9] = [
    "statsd",
    "otlp",
    "otlp_grpc",
    "syslog",
    "influxdb",
    "graphite",
    "listen",
    "tags",
    "errors_from",
];

const EXAMPLES: &str = "\
Examples:
  agg listen                              statsd on 127.0.0.1:8125, OTLP/HTTP on 4318, syslog on 5140
  echo 'page.time:320|ms' | nc -uw0 127.0.0.1 8125
  agg listen --statsd 0.0.0.0:8125        only statsd, for all machines
  agg listen --statsd /run/statsd.sock    datagrams of a Unix socket
  agg listen --syslog 127.0.0.1:5140 --errors-from ERROR
  agg listen --check --config listen.toml show line and column of an error
  agg listen --check --connect            also say whether the server would take reports for the node
  agg listen --config listen.toml         also Prometheus targets and types of fields

If any protocol is given, only those that are given are received. SIGHUP reads the configuration file again.

SIGTERM or SIGINT ends the listener: what was received is sent first.

Exit codes: 0 ended by a signal (--check: the configuration is valid, with --connect: and the server is usable), 1 failed,
2 invalid usage or an invalid configuration, 130 ended at once by a second signal, or a check was interrupted.";

fn tag(text: &str) -> Result<Tag, String> {
    text.to_owned().try_into()
}

fn level(text: &str) -> Result<LogLevel, String> {
    text.to_owned().try_into()
}

impl Options {
    /// Returns the configuration.
    ///
    /// # Errors
    ///
    /// The file cannot be used.
    pub fn read(&self) -> Result<Config, String> {
        match &self.config {
            Some(path) => Config::read(path).map_err(|error| error.to_string()),
            None => {
                let config = self.without_file();
                config.check().map_err(|error| error.to_string())?;
                Ok(config)
            }
        }
    }

    /// Returns what `--check` shows for a valid configuration.
    pub fn summary(&self, config: &Config) -> String {
        let path = self.config.as_ref();
        let file = path.map_or(String::new(), |path| format!("{}: ", path.display()));
        format!(
            "{file}configuration valid: {}",
            config.protocols().join(", ")
        )
    }

    /// Returns whether a check connects.
    pub fn connects(&self) -> bool {
        self.connect
    }

    /// Connects to the server, and prints whether it would take the reports.
    ///
    /// # Errors
    ///
    /// The node has no name, or standard output cannot be written.
    pub async fn connect(
        &self,
        server: &Server,
        config: &Config,
        shutdown: &Shutdown,
    ) -> Result<ExitStatus, String> {
        let (node, limit) = (self.node(config)?, self.timeout.unwrap_or(LIMIT));
        let result = tokio::select! {
            result = timeout(limit, connect::examine(server, &node)) => result,
            () = shutdown.requested() => return Ok(ExitStatus::Interrupted),
        };
        finish(&[Check {
            subject: format!("server {}", server.endpoint()),
            result: result.unwrap_or_else(|_| Err(format!("no result within {limit:?}"))),
        }])
    }

    /// Returns the node of all reports.
    fn node(&self, config: &Config) -> Result<NodeName, String> {
        match &config.node {
            Some(node) => Ok(NodeName(node.clone().into_bytes())),
            None => node_or_host_name(self.node.as_ref()),
        }
    }

    fn without_file(&self) -> Config {
        let mut config = Config {
            listen: self.listen.clone(),
            tags: self.tags.clone(),
            errors_from: self.errors_from,
            ..Config::default()
        };
        let given = |addresses: &[Address]| {
            let addresses = Addresses(addresses.to_vec());
            (!addresses.0.is_empty()).then_some(addresses)
        };
        config.statsd = given(&self.statsd).map(|listen| Statsd {
            listen,
            ..Statsd::default()
        });
        config.syslog = given(&self.syslog).map(|listen| Syslog {
            listen,
            ..Syslog::default()
        });
        config.influxdb = given(&self.influxdb).map(|listen| InfluxDb {
            listen,
            ..InfluxDb::default()
        });
        config.graphite = given(&self.graphite).map(|listen| Graphite {
            listen,
            ..Graphite::default()
        });
        if !self.otlp.is_empty() || !self.otlp_grpc.is_empty() {
            config.otlp = Some(Otlp {
                listen: Addresses(self.otlp.clone()),
                grpc: Addresses(self.otlp_grpc.clone()),
            });
        }
        match config.has_listener() {
            true => config,
            false => Config {
                statsd: Some(Statsd::default()),
                otlp: Some(Otlp::default()),
                syslog: Some(Syslog::default()),
                ..config
            },
        }
    }

    /// Listens until a shutdown is requested; `reload` is notified to read the configuration file again.
    ///
    /// # Errors
    ///
    /// A listener cannot be opened, or the server cannot be used.
    pub async fn run(
        self,
        server: &Server,
        config: Config,
        reload: Arc<Notify>,
        shutdown: &Shutdown,
    ) -> Result<ExitStatus, String> {
        let node = self.node(&config)?;
        let path = self.config.as_deref();
        let unsent = agg_listener::listen::run(server, config, path, node, reload, shutdown).await;
        match unsent.map_err(|error| error.to_string())? {
            0 => Ok(ExitStatus::Success),
            unsent => {
                tracing::warn!("{} not sent", count(unsent, "report"));
                Ok(ExitStatus::Incomplete)
            }
        }
    }
}
