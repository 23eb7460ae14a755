//! `agg poll`: drains servers into sinks, by the library agg-poller.

pub mod check;
pub mod load;

use std::path::PathBuf;

use agg_client::FileStamps;
use agg_poller::Control;
use agg_poller::config::Config;

use crate::exit_status::ExitStatus;
use crate::runtime::{self, Policy};

/// The arguments.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Options {
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
}

const EXAMPLES: &str = "\
Examples:
  agg check --config poller.toml --connect
                                   show all mistakes, then connect to all servers and sinks
  agg poll --config poller.toml    drain the servers into the sinks until interrupted
  agg poll --config poller.toml --log json --log-level warn
                                   only warnings and errors, for a program that reads logs

With this line before all tables, http://127.0.0.1:9777/ is a status page, and /metrics serves Prometheus:
  listen = \"127.0.0.1:9777\"
A table [serve] adds the live values of all nodes at /live, as agg serve has them.

The smallest useful configuration:
  [[source]]
  urls = [\"redis://127.0.0.1:7777\"]

  [[route]]
  queues = [\"MIN\", \"HOUR\", \"LOG\", \"ERROR\", \"REALITY\"]
  sinks = [\"records\"]

  [sink.records]
  type = \"file\"
  path = \"records.jsonl\"

SIGTERM or SIGINT ends the poller: sinks have shutdown-grace, 10s by default, to store the records in
flight. A second signal ends it at once; records in flight are delivered again when their lease ends.

Exit codes: 0 ended by a signal, 1 failed, 2 invalid usage or an
invalid configuration, 130 ended at once by a second signal.";

/// A poller that is ready to start.
pub struct Poll(Config, FileStamps);

impl Options {
    /// Reads the configuration.
    ///
    /// # Errors
    ///
    /// Returns all errors in it, a line each.
    pub fn read(&self) -> Result<Poll, String> {
        let mut stamps = FileStamps::default();
        let config = Config::read_noting(&self.config, &mut stamps);
        let config = config.map_err(|error| error.to_string())?;
        Ok(Poll(config, stamps))
    }
}

impl Poll {
    /// Drains until a signal arrives; SIGHUP reloads the configuration.
    ///
    /// # Errors
    ///
    /// Returns an error if the poller cannot start, or if a part of it failed permanently.
    pub fn run(self, path: PathBuf) -> Result<ExitStatus, String> {
        let Poll(config, stamps) = self;
        let control = Control::new(&config);
        let grace = control.clone();
        // A poller that its own grace period did not end has lost nothing: it was ended as it was asked to.
        let policy = Policy::patient(ExitStatus::Success, move || Some(grace.grace()))
            .on_hangup(control.reload.clone());
        runtime::run(policy, async move |shutdown| {
            agg_poller::run(&path, config, stamps, control, shutdown)
                .await
                .map(|()| ExitStatus::Success)
                .map_err(|error| error.to_string())
        })
    }
}
