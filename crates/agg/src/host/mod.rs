//! `agg host`: reports the machine that it runs on at a steady interval. While the server is down nothing is measured:
//! counters are totals, so that their rates continue afterwards. A report whose reply was lost is sent again with the
//! time at which it was measured, and counts once.

mod commands;
mod file_systems;
mod inventory;
mod known;
mod machine;
mod metrics;
mod mounts;
pub mod probe;
mod proc;
mod samples;
mod send;

use std::ffi::OsString;
use std::time::{Duration, Instant};

use agg_client::connect::Server;
use agg_client::{Reconnector, Shutdown};
use aggregator_protocol::{tags, units};

use crate::exit_status::ExitStatus;
use crate::node_argument::node_or_host_name;

use file_systems::Timeouts;
use machine::Machine;
use send::{Report, Reporter};

/// The arguments.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = long_help())]
pub struct Options {
    /// The node to report as [default: the host name]
    #[arg(long, value_name = "NAME")]
    node: Option<OsString>,

    /// Interval between reports, at least 200ms, for example 10s or 1m
    #[arg(long, default_value = "1s", value_parser = interval, value_name = "TIME")]
    interval: Duration,

    /// Report once and exit; with exit code 1 if the server cannot be reached or rejects a command
    #[arg(long)]
    once: bool,

    /// A tag for all metrics and objects; may be given several times
    #[arg(long = "tag", value_parser = tags::tag, value_name = "NAME:VALUE")]
    tags: Vec<String>,

    /// Report disks, interfaces and CPUs as objects with every Nth report; the server queues only changes
    #[arg(
        long,
        default_value_t = 60,
        value_parser = clap::value_parser!(u32).range(1..),
        value_name = "N"
    )]
    reality_every: u32,
}

const EXAMPLES: &str = "\
Examples:
  agg host
  agg host --node web1 --interval 10s --tag rack:a1 --tag env:prod
  agg host --once && redis-cli -p 7777 AGG.GET $(hostname) METRIC cpu.load";

fn long_help() -> String {
    format!(
        "{EXAMPLES}\n\nMetrics:\n{}\n\
         Objects (AGG.REALITY) with facts that rarely change:\n\
         \x20 system.Machine             the machine\n\
         \x20 system.Cpu@CORE            a core\n\
         \x20 system.Disk@MOUNT          a file system\n\
         \x20 system.Nic@NIC             a network interface\n\n\
         Metrics and objects that disappear are removed (AGG.FORGET).",
        metrics::table()
    )
}

fn interval(text: &str) -> Result<Duration, String> {
    let interval = units::duration(text).map_err(|e| e.to_string())?;
    if interval < sysinfo::MINIMUM_CPU_UPDATE_INTERVAL {
        return Err("expected at least 200ms, the shortest time for measuring CPU load".into());
    }
    Ok(interval)
}

impl Options {
    /// Returns whether the command runs until it is interrupted.
    pub fn is_endless(&self) -> bool {
        !self.once
    }
}

/// Reports until a shutdown is requested.
///
/// # Errors
/// The machine cannot be read, or the server rejects the connection. With `--once` also if it cannot be reached.
pub async fn run(
    server: &Server,
    options: &Options,
    shutdown: &Shutdown,
) -> Result<ExitStatus, String> {
    let node = node_or_host_name(options.node.as_ref())?;
    let mut machine = Machine::open(match options.once {
        true => Timeouts::single_report(),
        false => Timeouts::for_interval(options.interval),
    })?;
    let mut reporter = Reporter::new(&node, &options.tags, options.once);
    let limit = options.once.then_some(Duration::ZERO);
    let mut reconnector = Reconnector::new(server, shutdown, limit);
    // CPU load is measured between two refreshes.
    if shutdown.sleep(sysinfo::MINIMUM_CPU_UPDATE_INTERVAL).await {
        return Ok(ExitStatus::Interrupted);
    }
    let mut schedule = Schedule::new(Instant::now(), options.interval);
    let mut connection = None;
    let mut reports_until_objects = 0;
    while !shutdown.is_requested() {
        // Before the refresh, as connecting may take long.
        if connection.is_none() {
            connection = reconnector.connect().await?;
            // The server may have lost its data.
            reports_until_objects = 0;
        }
        let Some(open) = &mut connection else { break };
        machine.refresh();
        let samples = samples::samples(&mut machine);
        let objects = (reports_until_objects == 0).then(|| inventory::objects(&machine));
        let report = Report {
            samples: &samples,
            objects: objects.as_deref(),
            unread: &samples::unread_names(&machine),
        };
        if let Err(error) = reporter.send(open, &report).await {
            connection = None;
            reconnector.failed(error).await?;
            continue;
        }
        reconnector.worked();
        if reports_until_objects == 0 {
            reports_until_objects = options.reality_every;
        }
        reports_until_objects -= 1;
        if options.once {
            return Ok(match reporter.has_rejections {
                true => ExitStatus::Incomplete,
                false => ExitStatus::Success,
            });
        }
        shutdown.sleep(schedule.pause(Instant::now())).await;
    }
    Ok(ExitStatus::Interrupted)
}

/// Keeps the interval of reports steady, however long a report takes. Missed reports are not made up for.
struct Schedule {
    next: Instant,
    interval: Duration,
}

impl Schedule {
    fn new(first: Instant, interval: Duration) -> Self {
        Schedule {
            next: first,
            interval,
        }
    }

    /// Returns how long to wait at `now`, after a report.
    fn pause(&mut self, now: Instant) -> Duration {
        self.next += self.interval;
        if self.next < now {
            self.next = now + self.interval;
        }
        self.next - now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedule_is_steady() {
        let start = Instant::now();
        let ms = Duration::from_millis;
        let mut schedule = Schedule::new(start, ms(1000));
        assert_eq!(schedule.pause(start + ms(100)), ms(900));
        assert_eq!(schedule.pause(start + ms(1300)), ms(700));
        // No burst after a long outage.
        assert_eq!(schedule.pause(start + ms(60_000)), ms(1000));
        assert_eq!(schedule.pause(start + ms(61_001)), ms(999));
    }

    #[test]
    fn interval_is_long_enough_to_measure_cpu_load() {
        assert_eq!(interval("200ms"), Ok(Duration::from_millis(200)));
        assert!(interval("199ms").is_err() && interval("0s").is_err() && interval("1").is_err());
    }
}
