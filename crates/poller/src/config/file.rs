//! The file as it is written, and the checks of the keys outside of its tables and of references between its parts.
//! Every value keeps its place in the file until it is checked.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use aggregator_protocol::host_name;

use crate::live::Settings;
use crate::rotation::Mode;

use super::error::ConfigError;
use super::fleet::{self, RawFleet};
use super::model::{Config, Kind, Route, WebLimits};
use super::route::RawRoute;
use super::serve::RawServe;
use super::sink::{self, RawSink};
use super::source::{self, Defaults, RawSource};
use super::value::{Permissions, Size, Time, output};

/// The least budget of a sink: what one fetch may bring, and a little more.
const MIN_BUDGET: u64 = 4 << 20;

/// The file as it is written.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RawFile {
    poll_interval: Option<Time>,
    lease: Option<Spanned<Time>>,
    max_in_flight: Option<Spanned<Size>>,
    max_deliveries: Option<Spanned<u64>>,
    shutdown_grace: Option<Time>,
    dead_letters: Option<Spanned<PathBuf>>,
    dead_letters_mode: Option<Permissions>,
    listen: Option<Spanned<String>>,
    listen_connections: Option<Spanned<u64>>,
    #[serde(default)]
    allowed_hosts: Vec<Spanned<String>>,
    user: Option<Spanned<String>>,
    password_file: Option<Spanned<PathBuf>>,
    password_env: Option<Spanned<String>>,
    serve: Option<Spanned<RawServe>>,
    fleet: Option<Spanned<RawFleet>>,
    #[serde(default)]
    source: Vec<Spanned<RawSource>>,
    #[serde(default)]
    route: Vec<Spanned<RawRoute>>,
    #[serde(default)]
    sink: BTreeMap<String, Spanned<RawSink>>,
}

impl RawFile {
    /// Returns the files that it names and whose contents matter.
    pub fn files(&self) -> Vec<PathBuf> {
        let own = self.password_file.iter().map(|file| file.get_ref().clone());
        let sources = self
            .source
            .iter()
            .flat_map(|source| source.get_ref().files());
        let sinks = self.sink.values().flat_map(|sink| sink.get_ref().files());
        let fleet = self.fleet.iter().flat_map(|fleet| fleet.get_ref().files());
        own.chain(fleet).chain(sources).chain(sinks).collect()
    }

    /// Checks the file and converts it.
    ///
    /// # Errors
    ///
    /// Returns the first error.
    pub fn check(self) -> Result<Config, ConfigError> {
        let config = self.top_level()?;
        let defaults = Defaults::check(&self.user, &self.password_file, &self.password_env)?;
        let fleet = self.fleet.as_ref();
        let fleet = fleet.map(|fleet| fleet::check(fleet, config.poll_interval));
        let fleet = fleet.transpose()?;
        let mut addresses = BTreeSet::new();
        let mut sources = Vec::new();
        for source in &self.source {
            let checked = source::check(source, &defaults)?;
            for (at, address) in checked.addresses {
                let text = format!("{address} is listed twice");
                if !addresses.insert(address) {
                    return Err(ConfigError::at_byte(at, text));
                }
            }
            sources.push(checked.source);
        }
        let mut sinks = Vec::new();
        for (name, sink) in &self.sink {
            let checked = sink::check(name, sink)?;
            if let Kind::Aggregator(hub) = &checked.kind
                && addresses.contains(hub.server.endpoint())
            {
                let address = hub.server.endpoint();
                let text = format!("{address} is a source: a server cannot be its own hub");
                return Err(ConfigError::at(sink, text));
            }
            sinks.push(checked);
        }
        let max_in_flight = self.max_in_flight(sinks.len())?;
        let route = |route: &Spanned<RawRoute>| route.get_ref().check(route, &sinks);
        let routes: Result<Vec<Route>, ConfigError> = self.route.iter().map(route).collect();
        let routes = routes?;
        for (index, (name, sink)) in self.sink.iter().enumerate() {
            if !routes.is_empty() && !routes.iter().any(|route| route.sinks.contains(&index)) {
                let text = format!("no route names the sink {name:?}");
                return Err(ConfigError::at(sink, text));
            }
        }
        // Checked last, since nothing else can be found after these errors.
        if sources.is_empty() {
            let text = "expected a [[source]]: where the servers are";
            return Err(ConfigError::missing(text));
        }
        if routes.is_empty() {
            return Err(ConfigError::missing(
                "expected a [[route]]: what goes where",
            ));
        }
        Ok(Config {
            max_in_flight,
            fleet,
            sources,
            routes,
            sinks,
            ..config
        })
    }

    /// Checks the keys that depend on no other part of the file.
    fn top_level(&self) -> Result<Config, ConfigError> {
        let time = |time: Option<Time>, default| time.map_or(Duration::from_secs(default), |t| t.0);
        let lease = match &self.lease {
            // An extension in the middle of the lease has to arrive before its end.
            Some(lease) if lease.get_ref().0 < Duration::from_secs(1) => {
                return Err(ConfigError::at(lease, "expected a lease of at least 1s"));
            }
            lease => lease
                .as_ref()
                .map_or(Duration::from_secs(30), |lease| lease.get_ref().0),
        };
        let max_deliveries = match &self.max_deliveries {
            Some(max) if *max.get_ref() == 0 => {
                return Err(ConfigError::at(max, "expected at least 1"));
            }
            max => max.as_ref().map_or(1000, |max| *max.get_ref()),
        };
        let dead_letters = self.dead_letters.as_ref().map(output).transpose()?;
        let allowed_hosts: Result<Vec<String>, ConfigError> =
            self.allowed_hosts.iter().map(host).collect();
        Ok(Config {
            max_deliveries,
            poll_interval: time(self.poll_interval, 1),
            lease,
            shutdown_grace: time(self.shutdown_grace, 10),
            listen: self.listen.as_ref().map(address).transpose()?,
            serve: self.serve()?,
            web: WebLimits {
                connections: connections(&self.listen_connections)?,
                allowed_hosts: allowed_hosts?,
            },
            dead_letters: dead_letters.unwrap_or_else(|| "dead-letters.jsonl".into()),
            dead_letters_mode: self.dead_letters_mode.map_or(Mode::Private, |mode| mode.0),
            ..Config::default()
        })
    }

    /// Checks the table of live values, which have the address of the status page.
    fn serve(&self) -> Result<Option<Settings>, ConfigError> {
        let Some(serve) = &self.serve else {
            return Ok(None);
        };
        let settings = serve.get_ref().check()?;
        match self.listen {
            Some(_) => Ok(Some(settings)),
            None => {
                let text = "live values need an address: set listen = \"127.0.0.1:9777\" before all tables";
                Err(ConfigError::at(serve, text))
            }
        }
    }

    fn max_in_flight(&self, sinks: usize) -> Result<u64, ConfigError> {
        let least = MIN_BUDGET * sinks as u64;
        match &self.max_in_flight {
            Some(size) if size.get_ref().0 < least => {
                let text = format!("expected at least {}mb: 4mb for each sink", least >> 20);
                Err(ConfigError::at(size, text))
            }
            Some(size) => Ok(size.get_ref().0),
            None => Ok(least.max(64 << 20)),
        }
    }
}

/// Checks the address to listen on. Names are not resolved: one with several addresses would be a surprise.
fn address(text: &Spanned<String>) -> Result<SocketAddr, ConfigError> {
    text.get_ref().parse().map_err(|_| {
        let address = text.get_ref();
        let expected = format!(
            "expected an address and a port, as 127.0.0.1:9777 or [::]:9777, not {address:?}"
        );
        ConfigError::at(text, expected)
    })
}

/// Checks the number of concurrent connections to the status page.
fn connections(max: &Option<Spanned<u64>>) -> Result<usize, ConfigError> {
    const MAX_CONNECTIONS: u64 = 10_000;
    match max {
        None => Ok(WebLimits::default().connections),
        Some(max) if (1..=MAX_CONNECTIONS).contains(max.get_ref()) => Ok(*max.get_ref() as usize),
        Some(max) => {
            let text = format!("expected a number from 1 to {MAX_CONNECTIONS}");
            Err(ConfigError::at(max, text))
        }
    }
}

/// Checks a host name by which browsers or Prometheus request the page.
fn host(text: &Spanned<String>) -> Result<String, ConfigError> {
    let name = text.get_ref();
    host_name::allowed(name).ok_or_else(|| {
        let expected =
            format!("expected a host name without a port, or \"*\" for any, not {name:?}");
        ConfigError::at(text, expected)
    })
}
