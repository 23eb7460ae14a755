//! Runs the endpoints of a configuration, and reloads it.
//!
//! # Invariants
//!
//! - What was received before the end is sent, or counted as not sent.
//! - A configuration that cannot be used changes nothing. After a reload, sockets whose addresses are the same stay open,
//!   so no datagram is lost.

mod endpoints;
mod shared;
mod sockets;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use agg_client::Shutdown;
use agg_client::connect::{ClientError, Server};
use aggregator_protocol::NodeName;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::config::Config;
use crate::counts::Counts;
use crate::intake::Intake;
use crate::net::ListenError;
use crate::reporter::Reporter;
use crate::status::Status;
use endpoints::Endpoints;
use shared::Shared;
use sockets::Sockets;

/// The time that a last attempt to send may take at the end.
pub const GRACE: Duration = Duration::from_secs(5);

/// The listener cannot run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A listener cannot be opened.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The server cannot be used.
    #[error(transparent)]
    Server(#[from] ClientError),
}

/// Listens until a shutdown is requested. `reload` is notified to read the file `path` again. Returns the number of
/// reports that were not sent.
///
/// # Errors
///
/// A listener cannot be opened, or the server rejects the connection.
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
    let mut listener = Listener {
        shared: Shared {
            host_name,
            reporter: reporter.clone(),
            status: Arc::new(Status::new(counts.clone(), reporter.clone())),
            counts,
        },
        sockets: Sockets::default(),
        intakes: Vec::new(),
    };
    let mut tasks = listener.start(&config).await?;
    let mut receiving = std::pin::pin!(async {
        loop {
            tokio::select! {
                () = shutdown.requested() => break,
                () = reload.notified() => {
                    if let Some(started) = listener.reload(path).await {
                        tasks = started;
                    }
                }
                Some(ended) = tasks.join_next() => {
                    if let Err(error) = ended {
                        tracing::error!("a part of the listener has failed: {error}");
                    }
                }
            }
        }
        tasks.shutdown().await;
        listener.intakes.iter().for_each(|intake| intake.finish());
        reporter.close();
    });
    let mut sending = std::pin::pin!(reporter.run(server, shutdown));
    let unsent = tokio::select! {
        // The server cannot be used, or a shutdown was requested while it was down.
        result = &mut sending => {
            let unsent = result?;
            receiving.await;
            unsent
        }
        () = &mut receiving => sending.await?,
    };
    Ok(unsent + reporter.unsent())
}

struct Listener {
    shared: Shared,
    sockets: Sockets,
    intakes: Vec<Arc<Intake>>,
}

impl Listener {
    /// Reads the file again. Returns the new tasks, or none if nothing changes.
    async fn reload(&mut self, path: Option<&Path>) -> Option<JoinSet<()>> {
        let Some(path) = path else {
            tracing::warn!("SIGHUP ignored: started without --config");
            return None;
        };
        let config = match Config::read(path) {
            Ok(config) => config,
            Err(error) => {
                tracing::warn!("{error}; keeping the previous configuration");
                return None;
            }
        };
        self.intakes.iter().for_each(|intake| intake.finish());
        match self.start(&config).await {
            Ok(tasks) => {
                tracing::info!("{} reloaded", path.display());
                Some(tasks)
            }
            Err(error) => {
                tracing::warn!("{error}; keeping the previous configuration");
                None
            }
        }
    }

    /// Opens what a configuration names, and starts its tasks.
    async fn start(&mut self, config: &Config) -> Result<JoinSet<()>, ListenError> {
        let old = self.sockets.clone();
        let endpoints = Endpoints::open(&self.shared, config, &old).await?;
        let messages = endpoints.messages.iter();
        messages.for_each(|message| tracing::info!("{message}"));
        let Endpoints {
            sockets,
            intakes,
            tasks,
            ..
        } = endpoints;
        (self.sockets, self.intakes) = (sockets, intakes);
        let mut running = JoinSet::new();
        for task in tasks {
            running.spawn(task);
        }
        Ok(running)
    }
}
