//! Finds the servers of sources and reads each of them at an interval: one task and one connection per server, at most
//! [`MAX_CONCURRENT`] readings at a time. A server that cannot be read is retried with growing pauses, whatever the
//! reason.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use agg_client::Backoff;
use agg_client::connect::{ClientError, Connection, Server};
use agg_client::discovery::{Found, Source};

use super::model::{NodeKey, Selection, Update};
use super::queries::{self, DetailState, NodeNames};

/// Maximum readings at a time.
const MAX_CONCURRENT: usize = 256;
/// Maximum updates that wait to be received. Tasks with more of them wait.
const MAX_UPDATES: usize = 256;

/// Starts the tasks. They end once the receiver is dropped. Must be called within a runtime.
pub fn start(
    sources: Vec<Source>,
    interval: Duration,
    selection: watch::Receiver<Selection>,
) -> Receiver<Update> {
    let (updates, receiver) = mpsc::channel(MAX_UPDATES);
    let (discoveries, mut found) = mpsc::unbounded_channel();
    for source in sources {
        tokio::spawn(source.watch(discoveries.clone()));
    }
    drop(discoveries);
    tokio::spawn(async move {
        let concurrent = Arc::new(Semaphore::new(MAX_CONCURRENT));
        let mut watched: HashMap<String, Watched> = HashMap::new();
        loop {
            let Found { id, server } = tokio::select! {
                found = found.recv() => match found {
                    Some(found) => found,
                    None => break updates.closed().await,
                },
                () = updates.closed() => break,
            };
            let Some(server) = server else {
                watched.remove(&id);
                if updates.send(Update::Gone { id }).await.is_err() {
                    break;
                }
                continue;
            };
            let endpoint = server.endpoint().to_owned();
            if (watched.get(&id)).is_some_and(|known| known.endpoint == endpoint) {
                continue;
            }
            let update = Update::Found {
                id: id.clone(),
                endpoint: endpoint.clone(),
            };
            if updates.send(update).await.is_err() {
                break;
            }
            let watcher = Watcher {
                id: id.clone(),
                server,
                interval,
                selection: selection.clone(),
                updates: updates.clone(),
                concurrent: concurrent.clone(),
            };
            let task = tokio::spawn(watcher.run());
            watched.insert(id, Watched { endpoint, task });
        }
    });
    receiver
}

/// A server that is watched until this is dropped.
struct Watched {
    endpoint: String,
    task: JoinHandle<()>,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Watcher {
    id: String,
    server: Server,
    interval: Duration,
    selection: watch::Receiver<Selection>,
    updates: Sender<Update>,
    concurrent: Arc<Semaphore>,
}

/// The end of a connection.
enum End {
    /// The receiver of the updates was dropped.
    Closed,
    Failed(ClientError),
}

impl From<ClientError> for End {
    fn from(error: ClientError) -> End {
        End::Failed(error)
    }
}

impl Watcher {
    async fn run(mut self) {
        let mut backoff = Backoff::default();
        loop {
            let error = match self.read_repeatedly(&mut backoff).await {
                Ok(never) => match never {},
                Err(End::Closed) => return,
                Err(End::Failed(error)) => error,
            };
            let pause = backoff.next_pause();
            let retry_at = Instant::now() + pause;
            let reason = error.to_string();
            let down = |id| Update::Down {
                id,
                reason,
                retry_at,
            };
            if self.send(down).await.is_err() {
                return;
            }
            sleep(pause).await;
        }
    }

    /// Reads over one connection until that fails.
    async fn read_repeatedly(&mut self, backoff: &mut Backoff) -> Result<Infallible, End> {
        let concurrent = self.concurrent.clone();
        let mut connection = {
            let _permit = concurrent.acquire().await;
            self.server.connect().await?
        };
        let (mut names, mut detail) = (NodeNames::default(), None);
        loop {
            let selection = self.selection.wait_for(|selection| !selection.paused).await;
            let selection = selection.map_err(|_| End::Closed)?.clone();
            {
                let _permit = concurrent.acquire().await;
                let endpoint = self.server.endpoint();
                let reading = queries::read(&mut connection, &mut names, endpoint).await?;
                let at = Instant::now();
                self.send(|id| Update::Read { id, at, reading }).await?;
                *backoff = Backoff::default();
                self.read_detail(&mut connection, selection.node.as_ref(), &mut detail)
                    .await?;
            }
            self.wait(&selection).await?;
        }
    }

    async fn read_detail(
        &self,
        connection: &mut Connection,
        selected: Option<&NodeKey>,
        state: &mut Option<(NodeKey, DetailState)>,
    ) -> Result<(), End> {
        let Some(key) = selected.filter(|key| key.server == self.id) else {
            *state = None;
            return Ok(());
        };
        if state.as_ref().is_none_or(|(known, _)| known != key) {
            *state = Some((key.clone(), DetailState::default()));
        }
        let Some((_, state)) = state else {
            return Ok(());
        };
        let detail = queries::read_detail(connection, &key.node, state).await?;
        let key = key.clone();
        self.send(|_| Update::Detail { key, detail }).await
    }

    /// Waits for the next reading, or until another node of this server is selected.
    async fn wait(&mut self, before: &Selection) -> Result<(), End> {
        let until = tokio::time::Instant::now() + self.interval;
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(until) => return Ok(()),
                changed = self.selection.changed() => {
                    changed.map_err(|_| End::Closed)?;
                    let selected = self.selection.borrow().node.clone();
                    let is_mine = selected.as_ref().is_some_and(|key| key.server == self.id);
                    if is_mine && selected != before.node {
                        return Ok(());
                    }
                }
            }
        }
    }

    async fn send(&self, update: impl FnOnce(String) -> Update) -> Result<(), End> {
        let sent = self.updates.send(update(self.id.clone())).await;
        sent.map_err(|_| End::Closed)
    }
}
