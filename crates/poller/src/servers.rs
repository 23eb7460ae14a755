//! The servers that this poller drains, or watches for other pollers, each by a task of its own. A task runs from when a
//! source reports its server until no source does.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tracing::Instrument;

use crate::spans::of_server;
use agg_client::connect::Server;
use agg_client::discovery::{Found, Source};

use super::drainer::Drainer;
use super::live::Targets;
use super::ownership::Members;
use super::routing::RoutingTable;
use super::status::Status;
use super::tasks::Tasks;

/// The time that a new source that lists its servers needs to report them.
const LISTING_TIME: Duration = Duration::from_secs(5);
/// The time that a new source that scans for its servers needs to report them. A /16 takes a minute.
const SCANNING_TIME: Duration = Duration::from_secs(150);

/// Identifies a source while it is watched.
type Origin = u64;

/// A source that is watched.
struct WatchedSource {
    source: Source,
    origin: Origin,
    task: AbortHandle,
}

/// A server that is drained or watched.
struct DrainedServer {
    /// The address of the server. Dropping the sender ends the drainer.
    address: watch::Sender<Server>,
    /// The sources that report the server.
    origins: BTreeSet<Origin>,
}

/// The watched sources and the servers that they report.
pub struct Servers {
    tables: watch::Receiver<Arc<RoutingTable>>,
    members: watch::Receiver<Option<Arc<Members>>>,
    status: Arc<Status>,
    /// The same servers, whose live values can be read.
    targets: Targets,
    tasks: Tasks,
    drained: HashMap<String, DrainedServer>,
    drainers: JoinSet<()>,
    sources: Vec<WatchedSource>,
    last_origin: Origin,
    send_event: UnboundedSender<(Origin, Found)>,
    events: UnboundedReceiver<(Origin, Found)>,
}

impl Servers {
    /// Creates a list without servers. `members` are the pollers that share them, if there are others. `targets` become
    /// the same servers, whichever poller drains them.
    pub fn new(
        tables: watch::Receiver<Arc<RoutingTable>>,
        members: watch::Receiver<Option<Arc<Members>>>,
        status: Arc<Status>,
        targets: Targets,
        tasks: Tasks,
    ) -> Servers {
        let (send_event, events) = unbounded_channel();
        Servers {
            tables,
            members,
            status,
            targets,
            tasks,
            drained: HashMap::new(),
            drainers: JoinSet::new(),
            sources: Vec::new(),
            last_origin: 0,
            send_event,
            events,
        }
    }

    /// Watches exactly these sources. Sources that are watched already continue. Servers that only other sources
    /// reported stay until [`Servers::settle`], since the new sources may report them too. Returns how long the new
    /// sources need for that.
    pub fn watch(&mut self, sources: Vec<Source>) -> Duration {
        let mut time = LISTING_TIME;
        let mut before = std::mem::take(&mut self.sources);
        for source in sources {
            let watched = match before.iter().position(|watched| watched.source == source) {
                Some(index) => before.swap_remove(index),
                None => {
                    if !matches!(source, Source::Urls(_)) {
                        time = SCANNING_TIME;
                    }
                    self.start(source)
                }
            };
            self.sources.push(watched);
        }
        for watched in before {
            watched.task.abort();
        }
        time
    }

    fn start(&mut self, source: Source) -> WatchedSource {
        self.last_origin += 1;
        let origin = self.last_origin;
        let (send, found) = unbounded_channel();
        let watch = source.clone().watch(send);
        WatchedSource {
            source,
            origin,
            task: self.spawn_watcher(origin, watch, found),
        }
    }

    /// Spawns the task of a source: `watch`, which reports to `found`, and what forwards its reports.
    fn spawn_watcher(
        &self,
        origin: Origin,
        watch: impl Future<Output = ()> + Send + 'static,
        mut found: UnboundedReceiver<Found>,
    ) -> AbortHandle {
        let send_event = self.send_event.clone();
        let forward = async move {
            while let Some(found) = found.recv().await {
                // The receiver is dropped only when the program ends.
                let _ = send_event.send((origin, found));
            }
        };
        let task = async move {
            tokio::join!(watch, forward);
        };
        let name = format!("the watcher of source {origin}");
        self.tasks.spawn(name, task).abort_handle()
    }

    fn is_watched(&self, origin: Origin) -> bool {
        self.sources.iter().any(|watched| watched.origin == origin)
    }

    /// Waits for the next report of a source.
    pub async fn next_event(&mut self) -> (Origin, Found) {
        match self.events.recv().await {
            Some(event) => event,
            // There is always a sender, in `self`.
            None => std::future::pending().await,
        }
    }

    /// Handles the report of a source.
    pub fn handle(&mut self, (origin, found): (Origin, Found)) {
        // A source may have sent it before it was aborted.
        if !self.is_watched(origin) {
            return;
        }
        let Some(server) = found.server else {
            self.retain_origins(&found.id, |other| *other != origin);
            return;
        };
        self.targets.set(&found.id, server.clone());
        if let Some(drained) = self.drained.get_mut(&found.id) {
            drained.origins.insert(origin);
            drained.address.send_if_modified(|address| {
                // Also if only the password differs: a drainer that waits to reconnect uses the new one.
                let is_new = *address != server;
                *address = server;
                is_new
            });
            return;
        }
        let status = self.status.server(&found.id, server.endpoint());
        let (address, addresses) = watch::channel(server);
        let shutdown = self.tasks.shutdown().clone();
        let drainer = Drainer::new(
            found.id.clone(),
            addresses,
            self.tables.clone(),
            self.members.clone(),
            status,
            shutdown,
        );
        let name = format!("the drainer of {}", found.id);
        let task = drainer.run().instrument(of_server(&found.id));
        self.drainers.spawn(self.tasks.guard(name, task));
        let drained = DrainedServer {
            address,
            origins: BTreeSet::from([origin]),
        };
        self.drained.insert(found.id, drained);
    }

    /// Removes the servers that only sources before the last [`Servers::watch`] reported.
    pub fn settle(&mut self) {
        let ids: Vec<String> = self.drained.keys().cloned().collect();
        let watched: Vec<Origin> = self.sources.iter().map(|watched| watched.origin).collect();
        for id in ids {
            self.retain_origins(&id, |origin| watched.contains(origin));
        }
    }

    /// Keeps some of the sources that report a server; removes the server if none is left.
    fn retain_origins(&mut self, id: &str, keep: impl Fn(&Origin) -> bool) {
        let Some(drained) = self.drained.get_mut(id) else {
            return;
        };
        drained.origins.retain(|origin| keep(origin));
        if drained.origins.is_empty() {
            self.drained.remove(id);
            self.targets.remove(id);
            self.status.remove_server(id);
        }
    }

    /// Ends all tasks and waits for the drainers, after shutdown was requested.
    pub async fn end(mut self) {
        for watched in self.sources.drain(..) {
            watched.task.abort();
        }
        self.drained.clear();
        while self.drainers.join_next().await.is_some() {}
    }

    /// Removes the drainers that have ended.
    pub fn sweep(&mut self) {
        while self.drainers.try_join_next().is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use agg_client::Shutdown;

    use super::*;

    #[tokio::test]
    async fn panic_of_a_watcher_requests_shutdown() {
        let table = RoutingTable {
            routes: Vec::new(),
            sinks: Vec::new(),
            poll_interval: Duration::ZERO,
            lease: Duration::ZERO,
            grace: Duration::ZERO,
        };
        let (_tables, receiver) = watch::channel(Arc::new(table));
        let tasks = Tasks::new(Shutdown::default());
        let (_members, alone) = watch::channel(None);
        let (status, targets) = (Arc::new(Status::new()), Targets::default());
        let servers = Servers::new(receiver, alone, status, targets, tasks.clone());
        let (_send, found) = unbounded_channel();
        servers.spawn_watcher(7, async { panic!("a test") }, found);
        tasks.shutdown().requested().await;
        let error = tasks.check().unwrap_err();
        assert_eq!(error.to_string(), "the watcher of source 7 panicked");
    }
}
