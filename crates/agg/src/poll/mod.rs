//! `agg poll`: finds the nodes of servers, drains their queues into sinks, and loses nothing; `agg check`: tells
//! whether a file of settings is as it should be.
//!
//! A task for each server (drainer.rs, kept by fleet.rs) and a thread for each sink (worker.rs); engine.rs holds them
//! together and reads the file anew. Deliveries go one way, answers the other; how much is on the way is bounded by the
//! sinks' shares of `max-in-flight` (room.rs). At least once: what was
//! written and not acknowledged is written again, and (node, queue, id) tells the two apart from news.

pub mod append;
pub mod aside;
mod batch;
pub mod config;
mod dead;
mod drainer;
mod engine;
mod fleet;
mod gauge;
pub mod glob;
mod ledger;
pub mod load;
mod plan;
mod room;
mod sink;
mod sinks;
mod status;
mod supervisor;
mod tags;
pub mod web;
mod worker;

use std::path::{Path, PathBuf};

use crate::exit_status::ExitStatus;
use agg_client::FileStamps;

use config::Config;
use engine::Engine;

/// The arguments.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Options {
    /// The file of settings
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
}

const EXAMPLES: &str = "\
Examples:
  agg check --config poller.toml   tell line and column of what is wrong
  agg poll --config poller.toml    drain the servers into the sinks until interrupted
  agg poll --config poller.toml --log json --log-level warn
                                   trouble alone, for a program that reads logs

With this before all else in the file its state is shown at http://127.0.0.1:9777/, and to Prometheus at /metrics:
  listen = \"127.0.0.1:9777\"

The smallest file that does something:
  [[source]]
  urls = [\"redis://127.0.0.1:7777\"]

  [[route]]
  queues = [\"MIN\", \"HOUR\", \"LOG\", \"ERROR\", \"REALITY\"]
  sinks = [\"records\"]

  [sink.records]
  type = \"file\"
  path = \"records.jsonl\"

Exit codes: 0 ended by a signal (check: all is well), 1 failed, 2 wrong usage or a file with mistakes.";

/// A poller that is ready to start.
pub struct Poll(Config, FileStamps);

impl Options {
    /// Reads the file.
    ///
    /// Returns an error, with line and column, if it is not as it should be.
    pub fn read(&self) -> Result<Poll, String> {
        let mut stamps = FileStamps::default();
        let config = Config::read_noting(&self.config, &mut stamps)?;
        Ok(Poll(config, stamps))
    }

    /// Checks the file, also for what may yet come before a poller needs it.
    ///
    /// Returns an error, with lines and columns, if it is not as it should be.
    pub fn check(&self) -> Result<Poll, String> {
        Config::check(&self.config).map(|config| Poll(config, FileStamps::default()))
    }

    /// What `agg check` says of a good file.
    pub fn praise(&self, poll: &Poll) -> String {
        let count = |count: usize, what: &str| match count {
            1 => format!("1 {what}"),
            _ => format!("{count} {what}s"),
        };
        format!(
            "{} is good: {}, {}, {}",
            self.config.display(),
            count(poll.0.sources.len(), "source"),
            count(poll.0.routes.len(), "route"),
            count(poll.0.sinks.len(), "sink")
        )
    }
}

impl Poll {
    /// Drains until the end is asked for.
    ///
    /// Returns an error if it cannot begin, or if a sink is gone for good.
    pub fn run(self, path: &Path) -> Result<ExitStatus, String> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(|error| format!("cannot start: {error}"))?;
        runtime.block_on(Engine::start(path, self.0, self.1)?.run())?;
        // What is stuck in a call is not waited for.
        runtime.shutdown_background();
        Ok(ExitStatus::Success)
    }
}
