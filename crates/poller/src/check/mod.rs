//! Connects to all that a configuration names: the servers of its sources, its sinks, and the files that it writes.
//!
//! # Invariants
//!
//! Nothing is written, no record is leased, and nothing is created. No result shows a password.

mod outcome;
mod source;

use std::time::Duration;

use futures_util::future::join_all;
use futures_util::stream::{StreamExt, iter};
use tokio::time::timeout;

use agg_client::connect::Server;

use crate::config::{self, Config};
use crate::heartbeat;
use crate::sink::{self, SinkError};

pub use outcome::Check;

/// The time for one connection by default: more than the `timeout` of sinks, whose errors say more.
pub const LIMIT: Duration = Duration::from_secs(15);
/// The maximum number of servers that are checked at a time.
const PARALLEL: usize = 128;

/// Checks everything at the same time. `limit` is the time for one connection. The results are in the order of the
/// configuration.
pub async fn all(config: &Config, limit: Duration) -> Vec<Check> {
    let (mut all, fleet, sinks) = tokio::join!(
        sources(config, limit),
        fleet(config, limit),
        sinks_within(config, limit)
    );
    all.extend(fleet);
    all.extend(sinks);
    all.push(Check {
        subject: format!("dead letters {}", config.dead_letters.display()),
        result: sink::check_writable(&config.dead_letters)
            .map(|()| "writable".to_owned())
            .map_err(|error| error.to_string()),
    });
    all
}

/// Connects to the server in which the pollers of a fleet register, if there is one.
async fn fleet(config: &Config, limit: Duration) -> Option<Check> {
    let registry = config.fleet.as_ref()?.registry.as_ref()?;
    Some(Check {
        subject: format!("fleet {}", registry.server.endpoint()),
        result: within(limit, heartbeat::check(registry)).await,
    })
}

/// Connects to all sinks at the same time. The results are in the order of the configuration.
pub async fn sinks(config: &Config) -> Vec<Check> {
    sinks_within(config, LIMIT).await
}

async fn sinks_within(config: &Config, limit: Duration) -> Vec<Check> {
    let check = async |settings: &config::Sink| {
        let mut sink = sink::open(settings.kind.clone(), settings.format);
        let connected = async {
            sink.connect().await.map_err(|error| match error {
                SinkError::Retriable { reason, .. } | SinkError::Fatal(reason) => reason,
            })
        };
        Check {
            subject: format!("sink {}", settings.name),
            result: within(limit, connected).await,
        }
    };
    join_all(config.sinks.iter().map(check)).await
}

/// Connects to the servers of all sources at the same time.
async fn sources(config: &Config, limit: Duration) -> Vec<Check> {
    let found = config
        .sources
        .iter()
        .map(|source| source::find(source, limit));
    let found = join_all(found).await;
    let mut checks = Vec::new();
    let mut servers = Vec::new();
    for found in found {
        // The place of the checks of its servers, behind its own.
        checks.extend(found.check);
        servers.push((checks.len(), found.servers));
    }
    let serves = config.serve.is_some();
    let all = servers.iter().flat_map(|(_, servers)| servers);
    let mut checked = iter(all.map(|server| one(server, limit, serves))).buffered(PARALLEL);
    let mut results = Vec::new();
    while let Some(check) = checked.next().await {
        results.push(check);
    }
    drop(checked);
    for (place, servers) in servers.iter().rev() {
        let of_source = results.split_off(results.len() - servers.len());
        checks.splice(place..place, of_source);
    }
    checks
}

async fn one(server: &Server, limit: Duration, serves: bool) -> Check {
    Check {
        subject: format!("server {}", server.endpoint()),
        result: within(limit, source::examine(server, serves)).await,
    }
}

/// Waits for a check, but no longer than the limit.
async fn within(
    limit: Duration,
    check: impl Future<Output = Result<String, String>>,
) -> Result<String, String> {
    let late = || Err(format!("no result within {limit:?}"));
    timeout(limit, check).await.unwrap_or_else(|_| late())
}
