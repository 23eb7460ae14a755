//! The servers that are drained, each by a task of its own, from when a source tells of them to when none does any
//! more.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tracing::Instrument;

use crate::connect::Server;
use crate::find::{Found, Source};
use crate::say::of_server;
use crate::shutdown::Stop;

use super::drainer::Drainer;
use super::plan::Plan;
use super::status::Status;

/// A source of one reading of the file.
type Origin = (u64, usize);

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
    stop: Stop,
    members: HashMap<String, Member>,
    drainers: JoinSet<()>,
    /// Which reading of the file is in force.
    reading: u64,
    watchers: Vec<AbortHandle>,
    tell: UnboundedSender<(Origin, Found)>,
    news: UnboundedReceiver<(Origin, Found)>,
}

impl Fleet {
    /// No servers yet.
    pub fn new(plans: watch::Receiver<Arc<Plan>>, status: Arc<Status>, stop: Stop) -> Fleet {
        let (tell, news) = unbounded_channel();
        Fleet {
            plans,
            status,
            stop,
            members: HashMap::new(),
            drainers: JoinSet::new(),
            reading: 0,
            watchers: Vec::new(),
            tell,
            news,
        }
    }

    /// Watches these sources, and no others any more. Servers that only those before told of stay until
    /// [`Fleet::settle`]: the new ones may tell of them.
    pub fn watch(&mut self, sources: Vec<Source>) {
        self.reading += 1;
        for watcher in self.watchers.drain(..) {
            watcher.abort();
        }
        for (number, source) in sources.into_iter().enumerate() {
            let origin = (self.reading, number);
            let (send, mut found) = unbounded_channel();
            let tell = self.tell.clone();
            let watcher = tokio::spawn(async move {
                let pass_on = async move {
                    while let Some(found) = found.recv().await {
                        // The fleet ends with the program.
                        let _ = tell.send((origin, found));
                    }
                };
                tokio::join!(source.watch(send), pass_on);
            });
            self.watchers.push(watcher.abort_handle());
        }
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
        if origin.0 != self.reading {
            return;
        }
        let Some(server) = found.server else {
            self.leave(&found.id, |other| *other != origin);
            return;
        };
        if let Some(member) = self.members.get_mut(&found.id) {
            member.origins.insert(origin);
            member.address.send_if_modified(|address| {
                let moved = address.place() != server.place();
                // Also where only the password is another.
                *address = server;
                moved
            });
            return;
        }
        let status = self.status.server(&found.id, server.place());
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
        let reading = self.reading;
        for id in ids {
            self.leave(&id, |origin| origin.0 == reading);
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
        for watcher in self.watchers.drain(..) {
            watcher.abort();
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
