//! `agg host`: reports the machine it runs on, at a steady pace. A server that goes away is waited for; what it
//! missed is not kept, as totals go on from where they were.

mod collect;
mod disks;
mod facts;
mod known;
mod metrics;
mod mounts;
pub mod probe;
mod proc;
mod report;
mod send;

use std::ffi::OsString;
use std::time::{Duration, Instant};

use crate::Ended;
use agg_client::Reconnector;
use agg_client::Shutdown;
use agg_client::connect::Server;
use aggregator_protocol::{NodeName, tags, units};

use collect::Machine;
use disks::Patience;
use send::Reporter;

/// The arguments.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = long_help())]
pub struct Options {
    /// The node to report as [default: the machine's name]
    #[arg(long, value_name = "NAME")]
    node: Option<OsString>,

    /// The time from report to report, at least 200ms
    #[arg(long, default_value = "1s", value_parser = interval, value_name = "TIME")]
    interval: Duration,

    /// Report once and end; exit code 1 if the server could not be reached or refused something
    #[arg(long)]
    once: bool,

    /// A tag for all metrics and objects; may be given several times
    #[arg(long = "tag", value_parser = tags::tag, value_name = "NAME:VALUE")]
    tags: Vec<String>,

    /// Tell the machine's disks, interfaces and CPUs with every Nth report; the server passes on what changed
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
         Objects of reality (AGG.REALITY), each with the facts that do not change by themselves:\n\
         \x20 system.Machine             the machine\n\
         \x20 system.Cpu@CORE            a core\n\
         \x20 system.Disk@MOUNT          a file system\n\
         \x20 system.Nic@NIC             a network interface\n\n\
         What disappears is forgotten (AGG.FORGET).",
        metrics::table()
    )
}

fn interval(text: &str) -> Result<Duration, String> {
    let interval = units::duration(text)?;
    if interval < sysinfo::MINIMUM_CPU_UPDATE_INTERVAL {
        return Err("expected at least 200ms: the load of a CPU cannot be told over less".into());
    }
    Ok(interval)
}

impl Options {
    /// Whether it goes on until it is interrupted.
    pub fn endless(&self) -> bool {
        !self.once
    }

    fn node(&self) -> Result<NodeName, String> {
        let name = match &self.node {
            Some(name) => NodeName::from(name.clone()),
            None => NodeName(
                sysinfo::System::host_name()
                    .unwrap_or_default()
                    .into_bytes(),
            ),
        };
        if name.0.is_empty() {
            return Err("the node has no name: give --node".into());
        }
        Ok(name)
    }
}

/// Reports until the end is asked for.
pub fn run(server: &Server, options: &Options, stop: &Shutdown) -> Result<Ended, String> {
    let node = options.node()?;
    let mut machine = Machine::open(match options.once {
        true => Patience::once(),
        false => Patience::of(options.interval),
    })?;
    let mut reporter = Reporter::new(&node, &options.tags);
    let mut reach = Reconnector::new(server, stop, options.once.then_some(Duration::ZERO));
    // The load of a CPU is the difference of two looks.
    if stop.wait(sysinfo::MINIMUM_CPU_UPDATE_INTERVAL) {
        return Ok(Ended::Interrupted);
    }
    let mut pace = Pace::new(Instant::now(), options.interval);
    let mut link = None;
    let mut until_objects = 0;
    while !stop.is_requested() {
        // Before the look, as reaching the server may take long.
        if link.is_none() {
            link = reach.link()?;
            until_objects = 0; // it may have come back empty
        }
        let Some(open) = &mut link else { break };
        machine.refresh();
        let samples = machine.samples();
        let objects = (until_objects == 0).then(|| machine.objects());
        match reporter.send(open, &samples, objects.as_deref(), &machine.untold()) {
            Ok(()) => {
                reach.worked();
                until_objects = if until_objects == 0 {
                    options.reality_every
                } else {
                    until_objects
                } - 1;
            }
            Err(failure) => {
                link = None;
                reach.failed(failure)?;
                continue;
            }
        }
        if options.once {
            return Ok(if reporter.refused {
                Ended::Incomplete
            } else {
                Ended::Done
            });
        }
        stop.wait(pace.pause(Instant::now()));
    }
    Ok(Ended::Interrupted)
}

/// Keeps the times of the reports steady whatever a report takes. Those missed are not made up for.
struct Pace {
    next: Instant,
    interval: Duration,
}

impl Pace {
    fn new(first: Instant, interval: Duration) -> Self {
        Pace {
            next: first,
            interval,
        }
    }

    /// How long to wait at `now`, the report before being done.
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
    fn the_pace_is_steady() {
        let start = Instant::now();
        let ms = Duration::from_millis;
        let mut pace = Pace::new(start, ms(1000));
        assert_eq!(pace.pause(start + ms(100)), ms(900));
        assert_eq!(pace.pause(start + ms(1300)), ms(700));
        // Away for long: no burst after it.
        assert_eq!(pace.pause(start + ms(60_000)), ms(1000));
        assert_eq!(pace.pause(start + ms(61_001)), ms(999));
    }

    #[test]
    fn an_interval_is_long_enough_for_a_cpu() {
        assert_eq!(interval("200ms"), Ok(Duration::from_millis(200)));
        assert!(interval("199ms").is_err() && interval("0s").is_err() && interval("1").is_err());
    }
}
