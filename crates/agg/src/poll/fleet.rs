//! The servers that are drained, each by a task of its own, from when a source tells of them to when none does any
//! more.

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
use super::plan::Plan;
use super::status::Status;

/// How long new sources need to tell of their servers: those that list them,
const AT_ONCE: Duration = Duration::from_secs(5);
/// and those that look for them. A /16 takes a minute.
const LOOKED: Duration = Duration::from_secs(150);

/// A source at work.
type Origin = u64;

/// A source that is watched.
struct Watched {
    source: Source,
    origin: Origin,
    task: AbortHandle,
}

/// A server that is drained.
struct Member {
    /// Where it is; with the end of this the task comes to its end.
    address: watch::Sender<Server>,
    /// The sources that tell of it.
    origins: BTreeSet<Origin>,
}

/// See the file's header.
pub struct Fleet {
    plans: watch::Receiver<Arc<Plan>>,
    status: Arc<Status>,
    stop: Shutdown,
    members: HashMap<String, Member>,
    drainers: JoinSet<()>,
    watched: Vec<Watched>,
    /// The last one given.
    origin: Origin,
    tell: UnboundedSender<(Origin, Found)>,
    news: UnboundedReceiver<(Origin, Found)>,
}

impl Fleet {
    /// No servers yet.
    pub fn new(plans: watch::Receiver<Arc<Plan>>, status: Arc<Status>, stop: Shutdown) -> Fleet {
        let (tell, news) = unbounded_channel();
        Fleet {
            plans,
            status,
            stop,
            members: HashMap::new(),
            drainers: JoinSet::new(),
            watched: Vec::new(),
            origin: 0,
            tell,
            news,
        }
    }

    /// Watches these sources, and no others any more; those that are as before go on. Servers that only others told of
    /// stay until [`Fleet::settle`]: the new ones may tell of them. Returns how long those need for that.
    pub fn watch(&mut self, sources: Vec<Source>) -> Duration {
        let mut time = AT_ONCE;
        let mut before = std::mem::take(&mut self.watched);
        for source in sources {
            let watched = match before.iter().position(|watched| watched.source == source) {
                Some(place) => before.swap_remove(place),
                None => {
                    if !matches!(source, Source::Urls(_)) {
                        time = LOOKED;
                    }
                    self.begin(source)
                }
            };
            self.watched.push(watched);
        }
        for watched in before {
            watched.task.abort();
        }
        time
    }

    fn begin(&mut self, source: Source) -> Watched {
        self.origin += 1;
        let origin = self.origin;
        let (send, mut found) = unbounded_channel();
        let tell = self.tell.clone();
        let watch = source.clone().watch(send);
        let watcher = tokio::spawn(async move {
            let pass_on = async move {
                while let Some(found) = found.recv().await {
                    // The fleet ends with the program.
                    let _ = tell.send((origin, found));
                }
            };
            tokio::join!(watch, pass_on);
        });
        Watched {
            source,
            origin,
            task: watcher.abort_handle(),
        }
    }

    fn is_watched(&self, origin: Origin) -> bool {
        self.watched.iter().any(|watched| watched.origin == origin)
    }

    /// The next thing that a source tells.
    pub async fn news(&mut self) -> (Origin, Found) {
        match self.news.recv().await {
            Some(news) => news,
            // One end of it is ours.
            None => std::future::pending().await,
        }
    }

    /// Takes what a source told.
    pub fn take(&mut self, (origin, found): (Origin, Found)) {
        // An old source may have spoken before it was ended.
        if !self.is_watched(origin) {
            return;
        }
        let Some(server) = found.server else {
            self.leave(&found.id, |other| *other != origin);
            return;
        };
        if let Some(member) = self.members.get_mut(&found.id) {
            member.origins.insert(origin);
            member.address.send_if_modified(|address| {
                // Also where only the password is another: whoever waits to try again does so with that.
                let changed = *address != server;
                *address = server;
                changed
            });
            return;
        }
        let status = self.status.server(&found.id, server.endpoint());
        let (address, addresses) = watch::channel(server);
        let drainer = Drainer::new(addresses, self.plans.clone(), status, self.stop.clone());
        let about = of_server(&found.id);
        self.drainers.spawn(drainer.run().instrument(about));
        let member = Member {
            address,
            origins: BTreeSet::from([origin]),
        };
        self.members.insert(found.id, member);
    }

    /// Gives up the servers of which only sources before the last [`Fleet::watch`] told.
    pub fn settle(&mut self) {
        let ids: Vec<String> = self.members.keys().cloned().collect();
        let watched: Vec<Origin> = self.watched.iter().map(|watched| watched.origin).collect();
        for id in ids {
            self.leave(&id, |origin| watched.contains(origin));
        }
    }

    fn leave(&mut self, id: &str, stays: impl Fn(&Origin) -> bool) {
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        member.origins.retain(|origin| stays(origin));
        if member.origins.is_empty() {
            self.members.remove(id);
            self.status.forget(id);
        }
    }

    /// Waits until all have come to their end, which was asked for.
    pub async fn end(mut self) {
        for watched in self.watched.drain(..) {
            watched.task.abort();
        }
        self.members.clear();
        while self.drainers.join_next().await.is_some() {}
    }

    /// Forgets the tasks that have ended; tells whether one of them failed, which is a bug.
    pub fn sweep(&mut self) -> bool {
        let mut failed = false;
        while let Some(ended) = self.drainers.try_join_next() {
            failed |= ended.is_err_and(|error| error.is_panic());
        }
        failed
    }
}
