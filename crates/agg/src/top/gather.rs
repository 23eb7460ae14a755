//! Watches sources for servers and looks at each every so often: a task and a connection for each server, at most
//! [`AT_ONCE`] looks at a time. One that cannot be looked at is tried again with growing pauses, whatever the reason.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::ask::{self, Into, Nodes};
use super::model::{Key, News};
use agg_client::Backoff;
use agg_client::connect::{ClientError, Server};
use agg_client::discovery::{Found, Source};

/// Looks at a time.
const AT_ONCE: usize = 256;
/// News that may wait to be taken; who has more waits itself.
const NEWS: usize = 256;

/// What the person looks at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// The node that is looked into.
    pub into: Option<Key>,
    /// Nothing is to be asked now.
    pub paused: bool,
}

/// Begins; ends when nobody takes the news any more. To be called within a runtime.
pub fn start(
    sources: Vec<Source>,
    interval: Duration,
    wish: watch::Receiver<Wish>,
) -> Receiver<News> {
    let (tell, news) = mpsc::channel(NEWS);
    let (found_by, mut found) = mpsc::unbounded_channel();
    for source in sources {
        tokio::spawn(source.watch(found_by.clone()));
    }
    drop(found_by);
    tokio::spawn(async move {
        let looks = Arc::new(Semaphore::new(AT_ONCE));
        let mut followed: HashMap<String, Followed> = HashMap::new();
        loop {
            let Found { id, server } = tokio::select! {
                found = found.recv() => match found {
                    Some(found) => found,
                    None => break tell.closed().await,
                },
                () = tell.closed() => break,
            };
            let Some(server) = server else {
                followed.remove(&id);
                if tell.send(News::Gone { id }).await.is_err() {
                    break;
                }
                continue;
            };
            let place = server.endpoint().to_owned();
            if followed.get(&id).is_some_and(|known| known.place == place) {
                continue;
            }
            let (known_by, at) = (id.clone(), place.clone());
            if tell
                .send(News::Found {
                    id: known_by,
                    place: at,
                })
                .await
                .is_err()
            {
                break;
            }
            let follower = Follower {
                id: id.clone(),
                server,
                interval,
                wish: wish.clone(),
                tell: tell.clone(),
                looks: looks.clone(),
            };
            let task = tokio::spawn(follower.run());
            followed.insert(id, Followed { place, task });
        }
    });
    news
}

/// A server that is looked at, until this is dropped.
struct Followed {
    place: String,
    task: JoinHandle<()>,
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Follower {
    id: String,
    server: Server,
    interval: Duration,
    wish: watch::Receiver<Wish>,
    tell: Sender<News>,
    looks: Arc<Semaphore>,
}

/// Why no more is looked at over a connection.
enum End {
    /// Nobody wants to know.
    Unheard,
    /// It failed.
    Failed(ClientError),
}

impl From<ClientError> for End {
    fn from(failure: ClientError) -> End {
        End::Failed(failure)
    }
}

impl Follower {
    async fn run(mut self) {
        let mut pauses = Backoff::default();
        loop {
            let failure = match self.follow(&mut pauses).await {
                Ok(never) => match never {},
                Err(End::Unheard) => return,
                Err(End::Failed(failure)) => failure,
            };
            let pause = pauses.next_pause();
            let again = Instant::now() + pause;
            let why = failure.to_string();
            if self.send(|id| News::Away { id, why, again }).await.is_err() {
                return;
            }
            sleep(pause).await;
        }
    }

    /// Looks over one connection for as long as that goes well.
    async fn follow(&mut self, pauses: &mut Backoff) -> Result<std::convert::Infallible, End> {
        let looks = self.looks.clone();
        let mut wire = {
            let _one = looks.acquire().await;
            self.server.dial().await?
        };
        let (mut nodes, mut known) = (Nodes::default(), None);
        loop {
            // Who sent the wish is gone only at the end.
            let wish = self.wish.wait_for(|wish| !wish.paused).await;
            let wish = wish.map_err(|_| End::Unheard)?.clone();
            {
                let _one = looks.acquire().await;
                let look = ask::look(&mut wire, &mut nodes, self.server.endpoint()).await?;
                let at = Instant::now();
                self.send(|id| News::Looked { id, at, look }).await?;
                *pauses = Backoff::default();
                self.look_into(&mut wire, wish.into.as_ref(), &mut known)
                    .await?;
            }
            self.rest(&wish).await?;
        }
    }

    async fn look_into(
        &self,
        wire: &mut agg_client::connect::Connection,
        wanted: Option<&Key>,
        known: &mut Option<(Key, Into)>,
    ) -> Result<(), End> {
        let Some(key) = wanted.filter(|key| key.server == self.id) else {
            *known = None;
            return Ok(());
        };
        if known.as_ref().is_none_or(|(known, _)| known != key) {
            *known = Some((key.clone(), Into::default()));
        }
        let Some((_, known)) = known else {
            return Ok(());
        };
        let close = ask::into(wire, &key.node, known).await?;
        let key = key.clone();
        self.send(|_| News::Into { key, close }).await
    }

    /// Waits until the next look: less where the person wants to look into another node of this server.
    async fn rest(&mut self, before: &Wish) -> Result<(), End> {
        let until = tokio::time::Instant::now() + self.interval;
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(until) => return Ok(()),
                changed = self.wish.changed() => {
                    changed.map_err(|_| End::Unheard)?;
                    let wanted = self.wish.borrow().into.clone();
                    let mine = wanted.as_ref().is_some_and(|key| key.server == self.id);
                    if mine && wanted != before.into {
                        return Ok(());
                    }
                }
            }
        }
    }

    async fn send(&self, news: impl FnOnce(String) -> News) -> Result<(), End> {
        let sent = self.tell.send(news(self.id.clone())).await;
        sent.map_err(|_| End::Unheard)
    }
}
