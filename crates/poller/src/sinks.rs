//! The running sinks. When the configuration changes, sinks whose settings are unchanged keep running; the others are
//! started, or end after their last write.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::FutureExt;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::{Instant, timeout_at};
use tracing::Instrument;

use agg_client::Shutdown;

use super::budget::Budget;
use super::config::{self, Config, Kind};
use super::dead_letters::DeadLetters;
use super::error::PollError;
use super::output;
use super::rotation::Mode;
use super::routing::SinkHandle;
use super::sink;
use super::status::{SinkStatus, Status};
use super::tasks::Tasks;
use super::worker::Worker;
use aggregator_protocol::format::count;

/// The running sinks.
pub struct Sinks {
    running: Vec<RunningSink>,
    /// Sinks that were removed from the configuration and still have a write to finish.
    ending: Vec<EndingSink>,
    /// The first error of a sink that failed permanently.
    failed: Option<PollError>,
    /// Requests the shutdown of the program when a sink fails permanently or panics.
    tasks: Tasks,
}

/// A running sink.
struct RunningSink {
    settings: Settings,
    handle: Arc<SinkHandle>,
    status: Arc<SinkStatus>,
    /// The shutdown of this sink alone.
    shutdown: Shutdown,
    task: JoinHandle<Result<(), PollError>>,
}

/// A sink that was removed from the configuration. It ends when no drainer has its handle any longer.
struct EndingSink {
    status: Arc<SinkStatus>,
    task: JoinHandle<Result<(), PollError>>,
}

impl RunningSink {
    /// Gives up the handle: the task waits for deliveries as long as there is one.
    fn release(self) -> EndingSink {
        let RunningSink { status, task, .. } = self;
        EndingSink { status, task }
    }
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
    /// Creates an empty set. Shutdown is requested if a sink fails permanently.
    pub fn new(tasks: Tasks) -> Sinks {
        Sinks {
            running: Vec::new(),
            ending: Vec::new(),
            failed: None,
            tasks,
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
                started.push(start(settings.clone(), &self.tasks));
            }
        }
        let mut pool = std::mem::take(&mut self.running);
        pool.append(&mut started);
        for settings in &wanted {
            if let Some(index) = pool.iter().position(|sink| sink.settings == *settings) {
                self.running.push(pool.swap_remove(index));
            }
        }
        for sink in pool {
            sink.shutdown.request();
            self.ending.push(sink.release());
        }
        status.set_sinks(self.running.iter().map(|sink| sink.status.clone()));
        Ok(())
    }

    /// Returns the handles of the running sinks, in the order of the configuration.
    pub fn handles(&self) -> Vec<Arc<SinkHandle>> {
        let handles = self.running.iter().map(|sink| sink.handle.clone());
        handles.collect()
    }

    /// Removes the sinks that have ended, shows their counts, and keeps the error of one that failed.
    pub fn sweep(&mut self) {
        for mut sink in std::mem::take(&mut self.ending) {
            match (&mut sink.task).now_or_never() {
                Some(ended) => self.note_end(&sink.status, ended),
                None => self.ending.push(sink),
            }
        }
    }

    /// Shows the counts of a sink that has ended, and keeps its error.
    fn note_end(&mut self, status: &SinkStatus, ended: Result<Result<(), PollError>, JoinError>) {
        // The guard of the tasks has noted a panic.
        if let Ok(Err(error)) = ended {
            self.failed.get_or_insert(error);
        }
        say_counts(status);
    }

    /// Requests that the sinks write what they have, and abandon it at the next failure.
    pub fn drain_now(&self) {
        for sink in &self.running {
            sink.shutdown.request();
        }
    }

    /// Waits for the sinks until the deadline, and shows their counts. No other handle may be left.
    ///
    /// # Errors
    ///
    /// Returns an error if a sink failed permanently.
    pub async fn end(mut self, deadline: Instant) -> Result<(), PollError> {
        let ending = std::mem::take(&mut self.ending);
        let running = std::mem::take(&mut self.running);
        let running = running.into_iter().map(RunningSink::release);
        for sink in ending.into_iter().chain(running) {
            match timeout_at(deadline, sink.task).await {
                Ok(ended) => self.note_end(&sink.status, ended),
                Err(_) => say_counts(&sink.status),
            }
        }
        self.failed.map_or(Ok(()), Err)
    }
}

fn say_counts(status: &SinkStatus) {
    let stored = status.stored.load(Ordering::Relaxed);
    let dead = status.dead.load(Ordering::Relaxed);
    let name = &status.name;
    tracing::info!(
        "sink {name}: {} stored, {}",
        count(stored, "record"),
        count(dead, "dead letter")
    );
}

/// Starts the task of a sink.
fn start(settings: Settings, tasks: &Tasks) -> RunningSink {
    let (inbox, deliveries) = mpsc::unbounded_channel();
    let budget = Budget::new(settings.budget);
    let sink = &settings.sink;
    let status = SinkStatus::new(&sink.name, sink.kind.word(), budget.clone());
    let status = Arc::new(status);
    let shutdown = Shutdown::default();
    let worker = Worker {
        name: sink.name.clone(),
        format: sink.format,
        sink: sink::open(sink.kind.clone(), sink.format),
        inbox: deliveries,
        dead_letters: DeadLetters::new(settings.dead_letters.clone(), settings.dead_letters_mode),
        max_deliveries: settings.max_deliveries,
        status: status.clone(),
        shutdown: shutdown.clone(),
    };
    let program = tasks.shutdown().clone();
    // The subject of the messages. Of the level error: a higher level would leave out the name.
    let span = tracing::error_span!("sink", sink = worker.name);
    let name = format!("sink {}", worker.name);
    let task = async move {
        let result = worker.run().await;
        if result.is_err() {
            program.request();
        }
        result
    };
    let task = tasks.spawn(name, task.instrument(span));
    RunningSink {
        handle: Arc::new(SinkHandle {
            format: sink.format,
            needs_floor: sink.kind.needs_floor(),
            budget,
            inbox,
        }),
        settings,
        status,
        shutdown,
        task,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Returns sinks of which one was removed from the configuration and runs this task.
    fn ending(task: impl Future<Output = Result<(), PollError>> + Send + 'static) -> Sinks {
        let mut sinks = Sinks::new(Tasks::new(Shutdown::default()));
        let settings = Settings {
            sink: with_sink("s").sinks.remove(0),
            budget: 1,
            dead_letters: PathBuf::new(),
            dead_letters_mode: Mode::default(),
            max_deliveries: 1,
        };
        let mut sink = start(settings, &sinks.tasks);
        sink.task = sinks.tasks.spawn("sink s".into(), task);
        sinks.ending.push(sink.release());
        sinks
    }

    async fn swept(mut sinks: Sinks) -> Sinks {
        while !sinks.ending.is_empty() {
            tokio::task::yield_now().await;
            sinks.sweep();
        }
        sinks
    }

    /// Returns a configuration of one sink, of this name.
    fn with_sink(name: &str) -> Config {
        let sink = config::Sink {
            name: name.into(),
            format: aggregator_protocol::RecordFormat::Json,
            kind: Kind::Stdout,
        };
        Config {
            sinks: vec![sink],
            max_in_flight: 1,
            ..Config::default()
        }
    }

    #[tokio::test]
    async fn removed_sink_ends() {
        let mut sinks = Sinks::new(Tasks::new(Shutdown::default()));
        let status = Status::new();
        sinks.set(&with_sink("old"), &status).unwrap();
        sinks.set(&with_sink("new"), &status).unwrap();
        assert_eq!((sinks.running.len(), sinks.ending.len()), (1, 1));
        let time = Duration::from_secs(60);
        let sinks = tokio::time::timeout(time, swept(sinks)).await.unwrap();
        assert!(!sinks.tasks.shutdown().is_requested());
        assert!(!sinks.running[0].task.is_finished());
        assert_eq!(sinks.running[0].status.name, "new");
    }

    #[tokio::test]
    async fn removed_sink_that_panicked_is_swept_before_the_end() {
        let sinks = swept(ending(async { panic!("a test") })).await;
        let tasks = sinks.tasks.clone();
        assert!(tasks.shutdown().is_requested());
        sinks.end(Instant::now()).await.unwrap();
        assert_eq!(tasks.check().unwrap_err().to_string(), "sink s panicked");
    }

    #[tokio::test]
    async fn error_of_a_removed_sink_is_kept_until_the_end() {
        let failure = || PollError::SinkFailed {
            name: "s".into(),
            reason: "full".into(),
        };
        let sinks = swept(ending(async move { Err(failure()) })).await;
        let error = sinks.end(Instant::now()).await.unwrap_err();
        assert_eq!(error.to_string(), "sink s: full");
    }
}
