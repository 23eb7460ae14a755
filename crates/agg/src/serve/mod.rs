//! `agg serve`: serves the live values of all nodes to Prometheus, by the library agg-poller.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use agg_client::Shutdown;
use agg_client::connect::{Access, Server};
use agg_client::discovery::Source;
use agg_poller::config::{Config, WebLimits};
use agg_poller::live::{self, Settings, Targets};
use agg_poller::web;
use aggregator_protocol::{host_name, units};
use tokio::sync::watch;

use crate::exit_status::ExitStatus;

/// The arguments.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Options {
    /// A server; may be given several times [default: that of --redis, or those of --config]
    #[arg(long = "server", value_name = "URL")]
    servers: Vec<String>,

    /// Serve the servers of a configuration file of agg poll
    #[arg(long, value_name = "FILE", conflicts_with = "servers")]
    config: Option<PathBuf>,

    /// The address to listen on. There is no password: everybody who reaches the address can read all values
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9779")]
    listen: SocketAddr,

    /// Serve only nodes whose names match, such as 'web*'; may be given several times
    #[arg(long, value_name = "GLOB")]
    nodes: Vec<String>,

    /// Serve only metrics whose names match, such as 'disk.*'; may be given several times
    #[arg(long, value_name = "GLOB")]
    metrics: Vec<String>,

    /// The most series of nodes. Beyond it, those whose names come last are left out and counted
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    max_series: u64,

    /// Leave out the metrics of a node that has had no sample for this long
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = duration)]
    max_age: Duration,

    /// The time in which a server has to be read: less than Prometheus' scrape_timeout
    #[arg(long, value_name = "TIME", default_value = "8s", value_parser = duration)]
    timeout: Duration,

    /// A host name by which Prometheus requests the page, besides addresses, localhost and this machine's name; may be
    /// given several times
    #[arg(long = "allowed-host", value_name = "NAME", value_parser = host)]
    allowed_hosts: Vec<String>,
}

const EXAMPLES: &str = "\
Examples:
  agg serve                                          redis://127.0.0.1:7777 on http://127.0.0.1:9779/metrics
  curl -s http://127.0.0.1:9779/metrics
  agg serve --server redis://10.1.0.7:7777 --server redis://10.1.0.8:7777
  agg serve --config poller.toml                     the servers that a poller drains
  agg serve --nodes 'web*' --metrics 'cpu.*' --metrics 'disk.*'
  agg serve --listen 0.0.0.0:9779                    for a Prometheus on another machine

Prometheus scrapes it with honor_labels: true. Nothing is drained. agg poll serves the same with a table
[serve] in its configuration.

Exit codes: 0 ended by a signal, 1 failed, 2 invalid usage or an invalid configuration.";

fn duration(text: &str) -> Result<Duration, String> {
    match units::duration(text).map_err(|error| error.to_string())? {
        Duration::ZERO => Err("expected more than 0".into()),
        duration => Ok(duration),
    }
}

fn host(text: &str) -> Result<String, String> {
    host_name::allowed(text)
        .ok_or_else(|| format!("expected a host name without a port, or * for any, not {text:?}"))
}

/// The checked arguments.
pub struct Serve {
    sources: Vec<Source>,
    settings: Settings,
}

impl Options {
    /// Returns whether the servers come from a configuration file.
    pub fn has_config(&self) -> bool {
        self.config.is_some()
    }

    /// Checks the arguments; `url` is that of --redis.
    ///
    /// # Errors
    ///
    /// An argument or the configuration file is invalid.
    pub fn check(&self, url: &str, access: &Access) -> Result<Serve, String> {
        let settings = Settings {
            nodes: Settings::globs(&self.nodes).map_err(|error| format!("--nodes: {error}"))?,
            metrics: Settings::globs(&self.metrics)
                .map_err(|error| format!("--metrics: {error}"))?,
            max_series: Settings::series(self.max_series)
                .map_err(|error| format!("--max-series: {error}"))?,
            max_age: self.max_age,
            timeout: self.timeout,
        };
        Ok(Serve {
            sources: self.sources(url, access)?,
            settings,
        })
    }

    fn sources(&self, url: &str, access: &Access) -> Result<Vec<Source>, String> {
        if let Some(path) = &self.config {
            let config = Config::read(path).map_err(|error| error.to_string())?;
            return Ok(config.sources);
        }
        let default = [url.to_owned()];
        let urls = match self.servers.as_slice() {
            [] => &default[..],
            urls => urls,
        };
        let servers = urls.iter().map(|url| Server::parse(url, access));
        let servers: Result<Vec<Server>, _> = servers.collect();
        Ok(vec![Source::Urls(
            servers.map_err(|error| error.to_string())?,
        )])
    }
}

/// Serves until a shutdown is requested.
///
/// # Errors
///
/// The address is not available.
pub async fn run(
    options: Options,
    serve: Serve,
    shutdown: &Shutdown,
) -> Result<ExitStatus, String> {
    let listener = web::bind(options.listen).await;
    let listener = listener.map_err(|error| error.to_string())?;
    // With port 0 the system chooses the port.
    let address = listener.local_addr().unwrap_or(options.listen);
    tracing::info!("live values on http://{address}/metrics");
    let targets = Targets::default();
    let limits = WebLimits {
        allowed_hosts: options.allowed_hosts,
        ..WebLimits::default()
    };
    let (_limits, limits) = watch::channel(limits);
    let (follow, stop) = (targets.follow(serve.sources), shutdown.requested());
    tokio::select! {
        () = live::serve(listener, targets, serve.settings, limits, stop) => {}
        () = follow => {}
    }
    Ok(ExitStatus::Success)
}
