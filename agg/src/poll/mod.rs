//! `agg poll`: finds the nodes of servers, drains their queues into sinks, and loses nothing; `agg check`: tells
//! whether a file of settings is as it should be.
//!
//! A thread for each server (drainer.rs) and one for each sink (worker.rs). Deliveries go one way, answers the other;
//! how much is on the way is bounded by the sinks' shares of `max-in-flight` (room.rs). At least once: what was
//! written and not acknowledged is written again, and (node, queue, id) tells the two apart from news.

mod append;
mod batch;
pub mod config;
mod dead;
mod drainer;
pub mod glob;
mod ledger;
mod room;
mod sink;
mod worker;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use crate::Ended;
use crate::say::say;
use crate::shutdown::Stop;

use batch::{Delivery, Event};
use config::Config;
use dead::DeadLetters;
use drainer::{Drainer, Outlet, Plan};
use room::Share;
use worker::{Counts, Worker};

/// The arguments.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Options {
    /// The file of settings
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

const EXAMPLES: &str = "\
Examples:
  agg check --config poller.toml   tell line and column of what is wrong
  agg poll --config poller.toml    drain the servers into the sinks until interrupted

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
pub struct Poll(Config);

impl Options {
    /// Reads the file.
    ///
    /// Returns an error, with line and column, if it is not as it should be.
    pub fn read(&self) -> Result<Poll, String> {
        Config::read(&self.config).map(Poll)
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
            count(poll.0.servers.len(), "server"),
            count(poll.0.routes.len(), "route"),
            count(poll.0.sinks.len(), "sink")
        )
    }
}

/// Asks for the end when the thread that has it fails: a poller that does half of its work in silence is worse than
/// one that ended.
struct Whole<'a>(&'a Stop);

impl Drop for Whole<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.ask();
        }
    }
}

/// A sink at work, from outside.
struct Working {
    name: String,
    counts: Arc<Counts>,
    /// How it ended.
    ended: Receiver<Result<(), String>>,
}

impl Poll {
    /// How long the end may take.
    pub fn grace(&self) -> Duration {
        self.0.shutdown_grace
    }

    /// Drains until the end is asked for.
    ///
    /// Returns an error if a sink is gone for good.
    pub fn run(self, stop: &Stop) -> Result<Ended, String> {
        let config = self.0;
        let share = config.max_in_flight / config.sinks.len() as u64;
        let (mut outlets, mut working) = (Vec::new(), Vec::new());
        for sink in config.sinks {
            let (inbox, deliveries) = mpsc::channel();
            outlets.push(Outlet {
                format: sink.format,
                share: Share::new(share),
                inbox,
            });
            let dead = DeadLetters::new(config.dead_letters.clone());
            working.push(start(sink, deliveries, dead, stop)?);
        }
        let plan = Plan {
            routes: config.routes,
            outlets,
            servers: config.servers.len(),
            poll_interval: config.poll_interval,
            lease: config.lease,
            // The last part is for giving back.
            grace: config.shutdown_grace * 3 / 4,
        };
        std::thread::scope(|scope| {
            let mut wakes = Vec::new();
            for server in &config.servers {
                let ends = mpsc::channel();
                wakes.push(ends.0.clone());
                let plan = &plan;
                scope.spawn(move || {
                    let _whole = Whole(stop);
                    Drainer::new(server, plan, stop, ends).run();
                });
            }
            while !stop.wait(Duration::from_secs(3600)) {}
            for wake in wakes {
                // One that has ended needs no waking.
                let _ = wake.send(Event::Wake);
            }
        });
        // Without senders the sinks end; one that is stuck in a call ends with the program.
        drop(plan);
        // A little before the time at which a program that is stuck is ended, so that the counts are told.
        let deadline = stop.since().unwrap_or_else(Instant::now) + config.shutdown_grace * 7 / 8;
        let mut failed = None;
        for sink in working {
            let left = deadline.saturating_duration_since(Instant::now());
            if let Ok(Err(why)) = sink.ended.recv_timeout(left) {
                failed = Some(why);
            }
            let stored = sink.counts.stored.load(Ordering::Relaxed);
            let dead = sink.counts.dead.load(Ordering::Relaxed);
            say(&format!(
                "{}: {stored} records, {dead} dead letters",
                sink.name
            ));
        }
        failed.map_or(Ok(Ended::Done), Err)
    }
}

fn start(
    sink: config::Sink,
    inbox: Receiver<Delivery>,
    dead: DeadLetters,
    stop: &Stop,
) -> Result<Working, String> {
    let counts = Arc::new(Counts::default());
    let worker = Worker {
        name: sink.name.clone(),
        format: sink.format,
        sink: sink::open(sink.kind),
        inbox,
        dead,
        counts: counts.clone(),
        stop: stop.clone(),
    };
    let (tell, ended) = mpsc::channel();
    let stop = stop.clone();
    std::thread::Builder::new()
        .name(sink.name.clone())
        .spawn(move || {
            let _whole = Whole(&stop);
            let result = worker.run();
            if result.is_err() {
                stop.ask();
            }
            // Who asked is gone only at the end of the program.
            let _ = tell.send(result);
        })
        .map_err(|error| format!("cannot start a thread: {error}"))?;
    Ok(Working {
        name: sink.name,
        counts,
        ended,
    })
}
