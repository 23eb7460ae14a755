//! Runs the endpoints of a configuration, and reloads it.
//!
//! # Invariants
//!
//! - What was received before the end is sent, or counted as not sent.
//! - A configuration that cannot be used changes nothing. After a reload, sockets whose addresses are the same stay open
//!   with their connections, so nothing is lost.
//! - An endpoint that cannot receive any more ends the listener with an error.

mod endpoints;
mod shared;
mod sockets;

use std::mem::{replace, take};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use agg_client::Shutdown;
use agg_client::connect::{ClientError, Server};
use aggregator_protocol::NodeName;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::config::Config;
use crate::counts::Counts;
use crate::intake::Intake;
use crate::net::ListenError;
use crate::reporter::Reporter;
use endpoints::Endpoints;
use shared::Shared;
use sockets::Sockets;

/// The time that a last attempt to send may take at the end.
pub const GRACE: Duration = Duration::from_secs(5);

/// The time that tasks and connections may take to end: to read what the kernel has received, and to answer requests that
/// are in progress.
const ENDING: Duration = Duration::from_secs(2);

/// The listener cannot run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A listener cannot be opened.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The server cannot be used.
    #[error(transparent)]
    Server(#[from] ClientError),
    /// A socket cannot be read any more, or a task has panicked. What was received before is sent.
    #[error("{0}")]
    Failed(String),
}

/// Listens until a shutdown is requested. `reload` is notified to read the file `path` again. Returns the number of
/// reports that were not sent.
///
/// # Errors
///
/// A listener cannot be opened or has failed, or the server rejects the connection.
pub async fn run(
    server: &Server,
    config: Config,
    path: Option<&Path>,
    host_name: NodeName,
    reload: Arc<Notify>,
    shutdown: &Shutdown,
) -> Result<u64, RunError> {
    let counts = Arc::new(Counts::default());
    let reporter = Reporter::new(config.buffer.bytes(), counts.clone());
    let mut listener = Listener::new(Shared::new(host_name, reporter.clone(), counts));
    listener.start(&config).await?;
    let mut receiving = std::pin::pin!(async {
        let failure = loop {
            tokio::select! {
                () = shutdown.requested() => break None,
                () = reload.notified() => listener.reload(path).await,
                reason = listener.failed() => {
                    // A supervisor can start it again. Without this task it would receive nothing.
                    shutdown.request();
                    break Some(reason);
                }
            }
        };
        listener.close().await;
        failure
    });
    let mut sending = std::pin::pin!(reporter.run(server, shutdown));
    let failure = tokio::select! {
        // The server cannot be used, or a shutdown was requested while it was down.
        result = &mut sending => {
            result?;
            receiving.await
        }
        failure = &mut receiving => {
            sending.await?;
            failure
        }
    };
    match failure {
        Some(reason) => {
            let unsent = reporter.unsent();
            if unsent > 0 {
                tracing::warn!("{unsent} reports not sent");
            }
            Err(RunError::Failed(reason))
        }
        None => Ok(reporter.unsent()),
    }
}

/// The endpoints that run.
struct Listener {
    shared: Shared,
    sockets: Sockets,
    intakes: Vec<Arc<Intake>>,
    tasks: JoinSet<Result<(), String>>,
    /// Ends the tasks.
    shutdown: Shutdown,
}

impl Listener {
    fn new(shared: Shared) -> Listener {
        Listener {
            shared,
            sockets: Sockets::default(),
            intakes: Vec::new(),
            tasks: JoinSet::new(),
            shutdown: Shutdown::default(),
        }
    }

    /// Reads the file again.
    async fn reload(&mut self, path: Option<&Path>) {
        let Some(path) = path else {
            tracing::warn!("SIGHUP ignored: started without --config");
            return;
        };
        let started = match Config::read(path) {
            Ok(config) => self.start(&config).await.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        match started {
            Ok(()) => tracing::info!("{} reloaded", path.display()),
            Err(error) => tracing::warn!("{error}; keeping the previous configuration"),
        }
    }

    /// Opens what a configuration names, starts its tasks, and ends those of the one before.
    async fn start(&mut self, config: &Config) -> Result<(), ListenError> {
        let endpoints = Endpoints::open(&self.shared, config, &self.sockets, &self.intakes).await?;
        let messages = endpoints.messages.iter();
        messages.for_each(|message| tracing::info!("{message}"));
        let Endpoints {
            sockets,
            intakes,
            changed,
            routes,
            tasks,
            shutdown,
            ..
        } = endpoints;
        self.shared.reporter.set_limit(config.buffer.bytes());
        if config.prometheus.is_none() {
            self.shared.status.targets().clear();
        }
        for (intake, settings) in changed {
            intake.configure(settings);
        }
        for (routes, router) in routes {
            routes.replace(router);
        }
        let old_shutdown = replace(&mut self.shutdown, shutdown);
        let old_tasks = take(&mut self.tasks);
        let old_sockets = replace(&mut self.sockets, sockets);
        let old_intakes = replace(&mut self.intakes, intakes);
        old_shutdown.request();
        for task in tasks {
            self.tasks.spawn(task);
        }
        end_tasks(old_tasks, old_sockets, &self.sockets).await;
        let is_kept =
            |old: &Arc<Intake>| self.intakes.iter().any(|intake| Arc::ptr_eq(intake, old));
        // Nothing is added to them any more.
        for intake in old_intakes.iter().filter(|intake| !is_kept(intake)) {
            intake.finish();
        }
        Ok(())
    }

    /// Returns the reason when a task has failed.
    async fn failed(&mut self) -> String {
        loop {
            match self.tasks.join_next().await {
                Some(Ok(Ok(()))) => {}
                Some(Ok(Err(reason))) => return reason,
                Some(Err(panic)) => return format!("a part of the listener has failed: {panic}"),
                None => std::future::pending().await,
            }
        }
    }

    /// Ends all. What was received is passed on.
    async fn close(&mut self) {
        self.shutdown.request();
        let sockets = take(&mut self.sockets);
        end_tasks(take(&mut self.tasks), sockets, &Sockets::default()).await;
        self.intakes.iter().for_each(|intake| intake.finish());
        self.shared.reporter.close();
    }
}

/// Waits for tasks that end, and closes the connections of sockets that are not kept.
async fn end_tasks(mut tasks: JoinSet<Result<(), String>>, sockets: Sockets, kept: &Sockets) {
    let all = async {
        let tasks = async { while tasks.join_next().await.is_some() {} };
        tokio::join!(tasks, sockets.close(kept));
    };
    // Tasks that take longer are aborted.
    let _ = timeout(ENDING, all).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn reload_cannot_change_the_protocol_of_an_address() {
        let dir = tempfile::tempdir().unwrap();
        let (path, other) = (dir.path().join("socket"), dir.path().join("other"));
        let config = |protocol: &str, another: &str| {
            let (path, other) = (path.display(), other.display());
            format!("[{protocol}]\nlisten = \"{path}\"\n[{another}]\nlisten = \"{other}\"\n")
        };
        let parse = |text: &str| Config::parse(text).unwrap();
        let counts = Arc::new(Counts::default());
        let reporter = Reporter::new(1 << 20, counts.clone());
        let mut listener = Listener::new(Shared::new(NodeName(b"n".to_vec()), reporter, counts));
        let before = parse(&config("influxdb", "syslog"));
        listener.start(&before).await.unwrap();
        for (protocol, another) in [("otlp", "syslog"), ("influxdb", "statsd")] {
            let error = listener.start(&parse(&config(protocol, another))).await;
            let error = error.unwrap_err().to_string();
            let expected = "a reload cannot change its protocol from ";
            assert!(error.contains(expected), "{error}");
        }
        listener.start(&before).await.unwrap();
        listener.close().await;
        // A new listener may.
        let shared = listener.shared;
        drop((listener.sockets, listener.intakes));
        Listener::new(shared)
            .start(&parse(&config("otlp", "statsd")))
            .await
            .unwrap();
    }
}
