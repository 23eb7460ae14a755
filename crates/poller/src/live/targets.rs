//! The servers that are read. They come and go while they are served.

use std::collections::BTreeMap;
use std::sync::Arc;

use agg_client::connect::Server;
use agg_client::discovery::{Found, Source};
use parking_lot::Mutex;
use tokio::sync::mpsc::unbounded_channel;

use super::reader::Reader;

/// A server that is read.
pub(super) struct Target {
    /// The identity of the server, which is the label `server`.
    pub id: String,
    /// Its address at present.
    pub address: Mutex<Server>,
    /// The state of its readings. A reading holds it.
    pub reader: tokio::sync::Mutex<Reader>,
}

impl Target {
    fn new(id: &str, server: Server) -> Arc<Target> {
        Arc::new(Target {
            id: id.to_owned(),
            address: Mutex::new(server),
            reader: tokio::sync::Mutex::new(Reader::default()),
        })
    }
}

/// The servers that are read, by identity. Clones are the same servers.
#[derive(Clone, Default)]
pub struct Targets(Arc<Mutex<BTreeMap<String, Arc<Target>>>>);

impl Targets {
    /// Adds a server, or sets its address.
    pub fn set(&self, id: &str, server: Server) {
        let mut all = self.0.lock();
        match all.get(id) {
            Some(target) => *target.address.lock() = server,
            None => {
                all.insert(id.to_owned(), Target::new(id, server));
            }
        }
    }

    /// Removes a server.
    pub fn remove(&self, id: &str) {
        self.0.lock().remove(id);
    }

    /// Closes the connections that readings have left open; those of readings in progress when they end.
    pub fn disconnect(&self) {
        for target in self.0.lock().values_mut() {
            let server = target.address.lock().clone();
            *target = Target::new(&target.id, server);
        }
    }

    /// Returns the servers, sorted by identity.
    pub(super) fn all(&self) -> Vec<Arc<Target>> {
        self.0.lock().values().cloned().collect()
    }

    /// Follows sources: their servers are added and removed as they come and go. Those that a source lists are added at
    /// once, so that the first request finds them. The future never completes.
    pub fn follow(&self, sources: Vec<Source>) -> impl Future<Output = ()> + use<> {
        for source in &sources {
            if let Source::Urls(servers) = source {
                for server in servers {
                    self.set(server.endpoint(), server.clone());
                }
            }
        }
        self.clone().watch(sources)
    }

    async fn watch(self, sources: Vec<Source>) {
        let (send, mut events) = unbounded_channel();
        let mut watchers = tokio::task::JoinSet::new();
        for (origin, source) in sources.into_iter().enumerate() {
            let (found, mut news) = unbounded_channel::<Found>();
            watchers.spawn(source.watch(found));
            let send = send.clone();
            watchers.spawn(async move {
                while let Some(found) = news.recv().await {
                    // The receiver lives as long as the watchers.
                    let _ = send.send((origin, found));
                }
            });
        }
        // Which sources report a server.
        let mut origins: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        while let Some((origin, found)) = events.recv().await {
            let of_server = origins.entry(found.id.clone()).or_default();
            of_server.retain(|other| *other != origin);
            match found.server {
                Some(server) => {
                    of_server.push(origin);
                    self.set(&found.id, server);
                }
                None if of_server.is_empty() => {
                    origins.remove(&found.id);
                    self.remove(&found.id);
                }
                None => {}
            }
        }
    }
}
