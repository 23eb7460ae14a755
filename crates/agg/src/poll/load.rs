//! `agg load`: loads records from files into the sinks of a poller's configuration, by the library agg-poller.

use std::io::{self, IsTerminal};
use std::path::PathBuf;

use agg_poller::config::Config;
use agg_poller::load::{self, Loaded, Progress};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::exit_status::ExitStatus;
use crate::runtime::{self, Policy};

/// The arguments.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Options {
    /// The configuration of the poller, of which the routes and sinks are used
    #[arg(long, value_name = "FILE")]
    config: PathBuf,

    /// Files of JSON lines, plain or compressed with gzip or zstd; - is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  agg drain --to-file records.jsonl                   save the pending records
  agg load records.jsonl --config poller.toml         load them into the sinks later
  agg load archive/*.jsonl.zst --config poller.toml
  agg load dead-letters.jsonl --config poller.toml    retry what a sink rejected

Records may be loaded again: node, queue and id identify a record.

Exit codes: 0 everything is stored, 1 failed, or something was rejected or is not a record, 2 invalid usage or an invalid
configuration, 130 interrupted before the end.";

impl Options {
    /// Reads the configuration.
    ///
    /// # Errors
    ///
    /// Returns all errors in it, a line each.
    pub fn read(&self) -> Result<Config, String> {
        Config::read(&self.config).map_err(|error| error.to_string())
    }
}

/// Loads the files.
///
/// # Errors
///
/// Returns an error if a file cannot be read, or a sink failed permanently.
pub fn run(options: Options, config: Config) -> Result<ExitStatus, String> {
    // The loader itself ends the sinks after the configuration's grace period. Without a limit on top of it, a slow
    // sink is ended by a second signal only.
    let policy = Policy::patient(ExitStatus::Interrupted, || None);
    runtime::run(policy, async move |shutdown| {
        let bar = progress_bar(&options.files);
        let progress = |progress: Progress| {
            bar.set_position(progress.bytes);
            bar.set_message(progress.records.to_string());
        };
        let loaded = load::load(options.files.clone(), config, progress, &shutdown).await;
        bar.finish_and_clear();
        loaded.map(status).map_err(|error| error.to_string())
    })
}

fn status(loaded: Loaded) -> ExitStatus {
    if loaded.is_interrupted {
        ExitStatus::Interrupted
    } else if loaded.dead + loaded.invalid > 0 {
        ExitStatus::Incomplete
    } else {
        ExitStatus::Success
    }
}

/// Creates the progress bar, which is shown on a terminal.
fn progress_bar(files: &[PathBuf]) -> ProgressBar {
    let size = |path: &PathBuf| path.metadata().map(|data| data.len());
    let sizes: io::Result<Vec<u64>> = files.iter().map(size).collect();
    let bar = match sizes {
        Ok(sizes) => ProgressBar::new(sizes.iter().sum()),
        Err(_) => ProgressBar::no_length(),
    };
    if !io::stderr().is_terminal() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    let style = "{bar:30} {bytes} of {total_bytes}, {msg} records, {eta} left";
    // The template is valid.
    bar.with_style(
        ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()),
    )
}
