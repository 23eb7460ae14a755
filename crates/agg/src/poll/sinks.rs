//! The sinks at work, each in a thread of its own, from outside: those that are as before go on where the settings
//! change, the others end with what they have.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::output;
use agg_client::Shutdown;
use agg_client::messages::{of_sink, say};

use super::append::Mode;
use super::config::{self, Config, Kind};
use super::dead::DeadLetters;
use super::plan::Outlet;
use super::room::Share;
use super::sink;
use super::status::{SinkStatus, Status};
use super::worker::Worker;

/// See the file's header.
pub struct Sinks {
    working: Vec<Working>,
    /// Sinks that are no more, and have a last write to end.
    ending: Vec<Working>,
    /// The end of all, which is asked for when one fails.
    stop: Shutdown,
}

/// A sink at work, from outside.
struct Working {
    /// What it was made from.
    made: Made,
    outlet: Arc<Outlet>,
    status: Arc<SinkStatus>,
    /// Its end alone.
    stop: Shutdown,
    /// How it ended.
    ended: oneshot::Receiver<Result<(), String>>,
}

/// What a sink is made from: where all of it is as before, it goes on.
#[derive(Clone, PartialEq)]
struct Made {
    sink: config::Sink,
    share: u64,
    dead_letters: PathBuf,
    dead_letters_mode: Mode,
    max_deliveries: u64,
}

impl Sinks {
    /// None yet. Where one fails for good, the end is asked for.
    pub fn new(stop: &Shutdown) -> Sinks {
        Sinks {
            working: Vec::new(),
            ending: Vec::new(),
            stop: stop.clone(),
        }
    }

    /// Starts and ends sinks, so that those of these settings are at work.
    ///
    /// Returns an error, and changes nothing, if the system gives no thread or there is no output that is to be written.
    pub fn set(&mut self, config: &Config, show: &Status) -> Result<(), String> {
        if (config.sinks.iter()).any(|sink| matches!(sink.kind, Kind::Stdout)) {
            output::check()?;
        }
        let share = config.max_in_flight / config.sinks.len() as u64;
        let made = |sink: &config::Sink| Made {
            sink: sink.clone(),
            share,
            dead_letters: config.dead_letters.clone(),
            dead_letters_mode: config.dead_letters_mode,
            max_deliveries: config.max_deliveries,
        };
        let wanted: Vec<Made> = config.sinks.iter().map(made).collect();
        let mut fresh = Vec::new();
        for made in &wanted {
            if !self.working.iter().any(|sink| sink.made == *made) {
                fresh.push(start(made.clone(), &self.stop)?);
            }
        }
        let mut pool = std::mem::take(&mut self.working);
        pool.append(&mut fresh);
        for made in &wanted {
            if let Some(place) = pool.iter().position(|sink| sink.made == *made) {
                self.working.push(pool.swap_remove(place));
            }
        }
        for sink in &pool {
            sink.stop.request();
        }
        self.ending.append(&mut pool);
        show.set_sinks(self.working.iter().map(|sink| sink.status.clone()));
        Ok(())
    }

    /// The ways to them, in the order of the settings.
    pub fn outlets(&self) -> Vec<Arc<Outlet>> {
        let outlets = self.working.iter().map(|sink| sink.outlet.clone());
        outlets.collect()
    }

    /// Forgets those that have ended well.
    pub fn sweep(&mut self) {
        self.ending
            .retain_mut(|sink| !matches!(sink.ended.try_recv(), Ok(Ok(()))));
    }

    /// Asks them to give up what fails once more.
    pub fn hurry(&self) {
        for sink in &self.working {
            sink.stop.request();
        }
    }

    /// Waits for the sinks, to which nobody sends any more, and tells what they did.
    ///
    /// Returns an error if one is gone for good.
    pub async fn end(self, deadline: Instant) -> Result<(), String> {
        let mut failed = None;
        for sink in self.ending.into_iter().chain(self.working) {
            drop(sink.outlet);
            match timeout_at(deadline, sink.ended).await {
                Ok(Ok(Err(why))) => failed = Some(why),
                // A bug, of which the thread's own words have told.
                Ok(Err(_)) => failed = Some(format!("the sink {} failed", sink.status.name)),
                Ok(Ok(Ok(()))) | Err(_) => {}
            }
            let stored = sink.status.stored.load(Ordering::Relaxed);
            let dead = sink.status.dead.load(Ordering::Relaxed);
            let name = &sink.status.name;
            say(&format!("{name}: {stored} records, {dead} dead letters"));
        }
        failed.map_or(Ok(()), Err)
    }
}

fn start(made: Made, stop: &Shutdown) -> Result<Working, String> {
    let (inbox, deliveries) = mpsc::channel();
    let share = Share::new(made.share);
    let sink = &made.sink;
    let status = SinkStatus::new(&sink.name, sink.kind.word(), share.clone());
    let status = Arc::new(status);
    let own = Shutdown::default();
    let worker = Worker {
        name: sink.name.clone(),
        format: sink.format,
        sink: sink::open(sink.kind.clone(), sink.format),
        inbox: deliveries,
        dead: DeadLetters::new(made.dead_letters.clone(), made.dead_letters_mode),
        max_deliveries: made.max_deliveries,
        status: status.clone(),
        stop: own.clone(),
    };
    let (tell, ended) = oneshot::channel();
    let stop = stop.clone();
    std::thread::Builder::new()
        .name(sink.name.clone())
        .spawn(move || {
            let _whole = Whole(&stop);
            let result = of_sink(&worker.name).in_scope(|| worker.run());
            if result.is_err() {
                stop.request();
            }
            // Who asked is gone only at the end of the program.
            let _ = tell.send(result);
        })
        .map_err(|error| format!("cannot start a thread: {error}"))?;
    Ok(Working {
        outlet: Arc::new(Outlet {
            format: sink.format,
            share,
            inbox,
        }),
        made,
        status,
        stop: own,
        ended,
    })
}

/// Asks for the end when the thread that has it fails.
struct Whole<'a>(&'a Shutdown);

impl Drop for Whole<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.request();
        }
    }
}
