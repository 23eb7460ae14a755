//! `agg stat`: reports one value, for shells and cron jobs.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use agg_client::Shutdown;
use agg_client::command::Stat;
use agg_client::connect::Server;

use crate::exit_status::ExitStatus;
use crate::node_argument::node_or_host_name;
use crate::sample_arguments::{SampleArguments, time, value};

/// The arguments.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Options {
    /// The name of the metric
    #[arg(value_name = "NAME")]
    metric: OsString,

    /// The value, a decimal number
    #[arg(value_name = "VALUE", allow_negative_numbers = true)]
    value: OsString,

    /// The node to report as [default: the host name]
    #[arg(long, value_name = "NAME")]
    node: Option<OsString>,

    #[command(flatten)]
    sample: SampleArguments,

    /// The time of the value, Unix milliseconds [default: the server's clock]
    #[arg(long, value_parser = time, value_name = "TIME")]
    at: Option<i64>,
}

const EXAMPLES: &str = "\
Examples:
  agg stat backup.seconds 318 --tag unit:s
  agg stat backup.runs 1 --type inc
  agg stat room.temperature -3.5 --node cellar
  agg stat import.rows \"$(wc -l < import.csv)\" || echo 'not reported'

A value is reported once and not sent again: if the connection breaks before the reply, it may have
counted. For many values, use agg pipe stat.

Exit codes: 0 the value counts, 1 it was rejected, came too late, or the server cannot be reached,
2 invalid usage, 130 interrupted.";

impl Options {
    /// Checks the value.
    ///
    /// # Errors
    /// The value is invalid.
    pub fn check(&self) -> Result<(), String> {
        value(self.value.as_bytes()).map(|_| ())
    }
}

/// Reports the value.
///
/// # Errors
/// The host name is not set, the server cannot be reached, or it rejects the value.
pub async fn run(
    server: &Server,
    options: &Options,
    shutdown: &Shutdown,
) -> Result<ExitStatus, String> {
    let node = node_or_host_name(options.node.as_ref())?;
    let (metric, tags) = (options.metric.as_bytes(), options.sample.tags());
    let stat = Stat::new(&node, metric, value(options.value.as_bytes())?);
    let mut stat = options.sample.apply(stat);
    if let Some(tags) = &tags {
        stat = stat.tags(tags);
    }
    if let Some(at) = options.at {
        stat = stat.at(at);
    }
    let report = async { server.connect().await?.run(&stat).await };
    let counted = tokio::select! {
        counted = report => counted.map_err(|error| error.to_string())?,
        () = shutdown.requested() => return Ok(ExitStatus::Interrupted),
    };
    if !counted {
        return Err("the value came too late: the window of its time is closed".into());
    }
    Ok(ExitStatus::Success)
}
