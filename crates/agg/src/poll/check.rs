//! `agg check`: validates the configuration of a poller, and connects to what it names.

use std::path::PathBuf;
use std::time::Duration;

use agg_client::Shutdown;
use agg_poller::check::{LIMIT, all};
use agg_poller::config::Config;
use aggregator_protocol::format::count;
use aggregator_protocol::units;

use crate::connection_check::finish;
use crate::exit_status::ExitStatus;

/// The arguments.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Options {
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    config: PathBuf,

    /// Connect to all servers and sinks, without writing or leasing anything
    #[arg(long)]
    connect: bool,

    /// The longest time that a connection may take [default: 15s]
    #[arg(long, requires = "connect", value_parser = units::positive_duration, value_name = "TIME")]
    timeout: Option<Duration>,
}

const EXAMPLES: &str = "\
Examples:
  agg check --config poller.toml            show line and column of every mistake
  agg check --config poller.toml --connect  also connect to every server and sink
  sudo -u agg agg check --config /etc/agg/poller.toml --connect
                                            as the user of the service, for its files

With --connect, a line on standard output says what each server and sink is, or why the poller could
not use it: unreachable, no module, a command that the user may not run, a missing database. All are
connected to at the same time. No record is leased, and nothing is written.

Exit codes: 0 the configuration is valid (with --connect: and all is usable), 1 something is not
usable, 2 invalid usage or an invalid configuration, 130 interrupted.";

impl Options {
    /// Validates the configuration, including what may still be created before a poller needs it.
    ///
    /// # Errors
    ///
    /// Returns all errors in it, a line each.
    pub fn read(&self) -> Result<Config, String> {
        Config::check(&self.config).map_err(|error| error.to_string())
    }

    /// Returns whether to connect.
    pub fn connects(&self) -> bool {
        self.connect
    }

    /// Returns what is shown for a valid configuration.
    pub fn summary(&self, config: &Config) -> String {
        format!(
            "{}: configuration valid: {}, {}, {}",
            self.config.display(),
            count(config.sources.len() as u64, "source"),
            count(config.routes.len() as u64, "route"),
            count(config.sinks.len() as u64, "sink")
        )
    }

    /// Connects to everything, and prints the results.
    ///
    /// # Errors
    ///
    /// Standard output cannot be written.
    pub async fn connect(&self, config: Config, shutdown: &Shutdown) -> Result<ExitStatus, String> {
        let limit = self.timeout.unwrap_or(LIMIT);
        let checks = tokio::select! {
            checks = all(&config, limit) => checks,
            () = shutdown.requested() => return Ok(ExitStatus::Interrupted),
        };
        finish(&checks)
    }
}
