//! The servers being drained, each by a task of its own. A server is drained from when a source reports it until no
//! source reports it any longer.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tracing::Instrument;

use agg_client::Shutdown;
use agg_client::connect::Server;
use agg_client::discovery::{Found, Source};
use agg_client::messages::of_server;

use super::drainer::Drainer;
use super::routing::RoutingTable;
use super::status::Status;

/// How long a new source that lists its servers needs to report them.
const LISTING_TIME: Duration = Duration::from_secs(5);
/// How long a new source that scans for its servers needs to report them. A /16 takes a minute.
const SCANNING_TIME: Duration = Duration::from_secs(150);

/// Identifies a source while it is watched.
type Origin = u64;

/// A source that is watched.
struct WatchedSource {
    source: Source,
    origin: Origin,
    task: AbortHandle,
}

/// A server that is drained.
struct Member {
    /// The address of the server. Dropping the sender ends the drainer.
    address: watch::Sender<Server>,
    /// The sources that report the server.
    origins: BTreeSet<Origin>,
}

/// The watched sources and the servers that they report.
pub struct Fleet {
    tables: watch::Receiver<Arc<RoutingTable>>,
    status: Arc<Status>,
    stop: Shutdown,
    members: HashMap<String, Member>,
    drainers: JoinSet<()>,
    sources: Vec<WatchedSource>,
    last_origin: Origin,
    send_event: UnboundedSender<(Origin, Found)>,
    events: UnboundedReceiver<(Origin, Found)>,
}

impl Fleet {
    /// Creates a fleet without servers.
    pub fn new(
        tables: watch::Receiver<Arc<RoutingTable>>,
        status: Arc<Status>,
        stop: Shutdown,
    ) -> Fleet {
        let (send_event, events) = unbounded_channel();
        Fleet {
            tables,
            status,
            stop,
            members: HashMap::new(),
            drainers: JoinSet::new(),
            sources: Vec::new(),
            last_origin: 0,
            send_event,
            events,
        }
    }

    /// Watches exactly these sources. Sources that are watched already continue. Servers that only other sources
    /// reported stay until [`Fleet::settle`], since the new sources may report them too. Returns how long the new
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
        let (send, mut found) = unbounded_channel();
        let send_event = self.send_event.clone();
        let watch = source.clone().watch(send);
        let watcher = tokio::spawn(async move {
            let forward = async move {
                while let Some(found) = found.recv().await {
                    // The receiver is dropped only when the program ends.
                    let _ = send_event.send((origin, found));
                }
            };
            tokio::join!(watch, forward);
        });
        WatchedSource {
            source,
            origin,
            task: watcher.abort_handle(),
        }
    }

    fn is_watched(&self, origin: Origin) -> bool {
        self.sources.iter().any(|watched| watched.origin == origin)
    }

    /// Waits for the next report of a source.
    pub async fn next_event(&mut self) -> (Origin, Found) {
        match self.events.recv().await {
            Some(event) => event,
            // The fleet has a sender itself.
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
        if let Some(member) = self.members.get_mut(&found.id) {
            member.origins.insert(origin);
            member.address.send_if_modified(|address| {
                // Also if only the password differs: a drainer that waits to reconnect uses the new one.
                let is_new = *address != server;
                *address = server;
                is_new
            });
            return;
        }
        let status = self.status.server(&found.id, server.endpoint());
        let (address, addresses) = watch::channel(server);
        let drainer = Drainer::new(addresses, self.tables.clone(), status, self.stop.clone());
        let span = of_server(&found.id);
        self.drainers.spawn(drainer.run().instrument(span));
        let member = Member {
            address,
            origins: BTreeSet::from([origin]),
        };
        self.members.insert(found.id, member);
    }

    /// Removes the servers that only sources before the last [`Fleet::watch`] reported.
    pub fn settle(&mut self) {
        let ids: Vec<String> = self.members.keys().cloned().collect();
        let watched: Vec<Origin> = self.sources.iter().map(|watched| watched.origin).collect();
        for id in ids {
            self.retain_origins(&id, |origin| watched.contains(origin));
        }
    }

    /// Keeps some of the sources that report a server; removes the server if none is left.
    fn retain_origins(&mut self, id: &str, keep: impl Fn(&Origin) -> bool) {
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        member.origins.retain(|origin| keep(origin));
        if member.origins.is_empty() {
            self.members.remove(id);
            self.status.remove_server(id);
        }
    }

    /// Ends all tasks and waits for the drainers, after shutdown was requested.
    pub async fn end(mut self) {
        for watched in self.sources.drain(..) {
            watched.task.abort();
        }
        self.members.clear();
        while self.drainers.join_next().await.is_some() {}
    }

    /// Removes the drainers that have ended. Returns whether one of them panicked.
    pub fn sweep(&mut self) -> bool {
        let mut has_panicked = false;
        while let Some(ended) = self.drainers.try_join_next() {
            has_panicked |= ended.is_err_and(|error| error.is_panic());
        }
        has_panicked
    }
}
