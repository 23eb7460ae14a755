//! The running sinks. When the configuration changes, sinks whose settings are unchanged keep running; the others are
//! started, or end after their last write.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};
use tracing::Instrument;

use agg_client::Shutdown;
use agg_client::messages::{of_sink, say};

use super::budget::Budget;
use super::config::{self, Config, Kind};
use super::dead_letters::DeadLetters;
use super::error::PollError;
use super::output;
use super::rotation::Mode;
use super::routing::SinkHandle;
use super::sink;
use super::status::{SinkStatus, Status};
use super::worker::Worker;

/// The running sinks.
pub struct Sinks {
    running: Vec<RunningSink>,
    /// Sinks that were removed from the configuration and still have a write to finish.
    ending: Vec<RunningSink>,
    /// The shutdown of the program, which is requested when a sink fails for good.
    stop: Shutdown,
}

/// A running sink.
struct RunningSink {
    settings: Settings,
    handle: Arc<SinkHandle>,
    status: Arc<SinkStatus>,
    /// The end of this sink alone.
    stop: Shutdown,
    /// The result with which it ended.
    result: oneshot::Receiver<Result<(), PollError>>,
}

/// The settings of a sink. A sink whose settings are unchanged keeps running.
#[derive(Clone, PartialEq)]
struct Settings {
    sink: config::Sink,
    budget: u64,
    dead_letters: PathBuf,
    dead_letters_mode: Mode,
    max_deliveries: u64,
}

impl Sinks {
    /// Creates an empty set. `stop` is requested if a sink fails for good.
    pub fn new(stop: &Shutdown) -> Sinks {
        Sinks {
            running: Vec::new(),
            ending: Vec::new(),
            stop: stop.clone(),
        }
    }

    /// Starts and ends sinks so that those of `config` run.
    ///
    /// # Errors
    ///
    /// Returns an error, and changes nothing, if standard output is a sink and closed.
    pub fn set(&mut self, config: &Config, status: &Status) -> Result<(), PollError> {
        if (config.sinks.iter()).any(|sink| matches!(sink.kind, Kind::Stdout)) {
            output::check()?;
        }
        let budget = config.max_in_flight / config.sinks.len() as u64;
        let settings = |sink: &config::Sink| Settings {
            sink: sink.clone(),
            budget,
            dead_letters: config.dead_letters.clone(),
            dead_letters_mode: config.dead_letters_mode,
            max_deliveries: config.max_deliveries,
        };
        let wanted: Vec<Settings> = config.sinks.iter().map(settings).collect();
        let mut started = Vec::new();
        for settings in &wanted {
            if !self.running.iter().any(|sink| sink.settings == *settings) {
                started.push(start(settings.clone(), &self.stop));
            }
        }
        let mut pool = std::mem::take(&mut self.running);
        pool.append(&mut started);
        for settings in &wanted {
            if let Some(index) = pool.iter().position(|sink| sink.settings == *settings) {
                self.running.push(pool.swap_remove(index));
            }
        }
        for sink in &pool {
            sink.stop.request();
        }
        self.ending.append(&mut pool);
        status.set_sinks(self.running.iter().map(|sink| sink.status.clone()));
        Ok(())
    }

    /// Returns the handles of the running sinks, in the order of the configuration.
    pub fn handles(&self) -> Vec<Arc<SinkHandle>> {
        let handles = self.running.iter().map(|sink| sink.handle.clone());
        handles.collect()
    }

    /// Removes the sinks that have ended without an error.
    pub fn sweep(&mut self) {
        self.ending
            .retain_mut(|sink| !matches!(sink.result.try_recv(), Ok(Ok(()))));
    }

    /// Requests that the sinks write what they have, and abandon it at the next failure.
    pub fn drain_now(&self) {
        for sink in &self.running {
            sink.stop.request();
        }
    }

    /// Waits for the sinks until the deadline, and shows their counts. No other handle may be left.
    ///
    /// # Errors
    ///
    /// Returns an error if a sink failed for good.
    pub async fn end(self, deadline: Instant) -> Result<(), PollError> {
        let mut failed = None;
        for sink in self.ending.into_iter().chain(self.running) {
            drop(sink.handle);
            match timeout_at(deadline, sink.result).await {
                Ok(Ok(Err(error))) => failed = Some(error),
                // A bug. The panic message was shown.
                Ok(Err(_)) => {
                    let name = sink.status.name.clone();
                    failed = Some(PollError::SinkPanicked { name });
                }
                Ok(Ok(Ok(()))) | Err(_) => {}
            }
            let stored = sink.status.stored.load(Ordering::Relaxed);
            let dead = sink.status.dead.load(Ordering::Relaxed);
            let name = &sink.status.name;
            say(&format!(
                "sink {name}: {stored} records stored, {dead} dead letters"
            ));
        }
        failed.map_or(Ok(()), Err)
    }
}

/// Starts the task of a sink.
fn start(settings: Settings, stop: &Shutdown) -> RunningSink {
    let (inbox, deliveries) = mpsc::unbounded_channel();
    let budget = Budget::new(settings.budget);
    let sink = &settings.sink;
    let status = SinkStatus::new(&sink.name, sink.kind.word(), budget.clone());
    let status = Arc::new(status);
    let own = Shutdown::default();
    let worker = Worker {
        name: sink.name.clone(),
        format: sink.format,
        sink: sink::open(sink.kind.clone(), sink.format),
        inbox: deliveries,
        dead_letters: DeadLetters::new(settings.dead_letters.clone(), settings.dead_letters_mode),
        max_deliveries: settings.max_deliveries,
        status: status.clone(),
        stop: own.clone(),
    };
    let (report, result) = oneshot::channel();
    let guard = PanicGuard(stop.clone());
    let span = of_sink(&worker.name);
    let task = async move {
        let guard = guard;
        let result = worker.run().await;
        if result.is_err() {
            guard.0.request();
        }
        // The receiver is dropped only when the program ends.
        let _ = report.send(result);
    };
    tokio::spawn(task.instrument(span));
    RunningSink {
        handle: Arc::new(SinkHandle {
            format: sink.format,
            budget,
            inbox,
        }),
        settings,
        status,
        stop: own,
        result,
    }
}

/// Requests shutdown if the task that holds it panics.
struct PanicGuard(Shutdown);

impl Drop for PanicGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.request();
        }
    }
}
