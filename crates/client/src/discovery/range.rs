//! Discovery in a range of addresses that is scanned again and again.
//!
//! # Invariants
//!
//! - Only servers with the module that accept the credentials are reported.
//! - A server that does not answer any more is kept until `forget_after`, as it may come back.
//! - No server is withdrawn while no address of the range answers at all: then this machine is cut off.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::time::sleep_until;

use crate::warn_once::WarnOnce;

use super::found::Found;
use super::probe::State;
use super::scan::{Progress, Scan, Seen};

/// A range, and how often it is scanned.
#[derive(Clone, PartialEq, Eq)]
pub struct Range {
    /// The addresses, and how they are scanned.
    pub scan: Scan,
    /// The time from the start of one scan to the start of the next, unless a scan takes longer.
    pub interval: Duration,
    /// A server that has not answered for this long is withdrawn.
    pub forget_after: Duration,
}

impl Range {
    /// The default of `interval`.
    pub const INTERVAL: Duration = Duration::from_secs(60);
    /// The default of `forget_after`.
    pub const FORGET_AFTER: Duration = Duration::from_secs(600);

    /// Scans without end.
    pub async fn watch(&self, news: &UnboundedSender<Found>) {
        let mut known = Known::default();
        loop {
            let start = Instant::now();
            let progress = Arc::new(Progress::default());
            let (tell, mut seen) = unbounded_channel();
            let scan = async {
                self.scan.run(&progress, &tell).await;
                drop(tell);
            };
            let listen = async {
                while let Some(seen) = seen.recv().await {
                    send(news, known.seen(seen, Instant::now()));
                }
            };
            tokio::join!(scan, listen);
            if progress.alive.load(Relaxed) > 0 {
                for gone in known.forget(self.forget_after, Instant::now()) {
                    send(news, Some(gone));
                }
            }
            let unreached = progress.unreached.load(Relaxed);
            if unreached > 0 {
                known.once.warn("a scan could not reach all addresses: no route, or no descriptors for connections (ulimit -n)");
            }
            sleep_until((start + self.interval).into()).await;
        }
    }
}

fn send(news: &UnboundedSender<Found>, found: Option<Found>) {
    if let Some(found) = found {
        // The receiver is dropped at the end of the program.
        let _ = news.send(found);
    }
}

/// The servers that were reported, and when each answered last.
#[derive(Default)]
struct Known {
    servers: HashMap<SocketAddr, (String, Instant)>,
    once: WarnOnce,
}

impl Known {
    /// Notes an answer, and returns what has changed.
    fn seen(&mut self, seen: Seen, now: Instant) -> Option<Found> {
        let id = seen.server.endpoint().to_owned();
        match seen.about.state {
            State::Ok => {
                let before = self.servers.insert(seen.address, (id.clone(), now));
                let server = Some(seen.server);
                before.is_none().then_some(Found { id, server })
            }
            // The server says itself that another one gives out its records.
            State::Replica => {
                let before = self.servers.remove(&seen.address);
                before.map(|(id, _)| Found { id, server: None })
            }
            state => {
                let why = match seen.about.why {
                    Some(why) if why.contains(&id) => why,
                    Some(why) => format!("{id}: {}, {why}", state.words()),
                    None => format!("{id}: {}", state.words()),
                };
                self.once
                    .warn(&format!("{why}; not drained, checked again at each scan"));
                None
            }
        }
    }

    /// Removes the servers that have not answered for `after`.
    fn forget(&mut self, after: Duration, now: Instant) -> Vec<Found> {
        let old = |_: &SocketAddr, known: &mut (String, Instant)| {
            now.saturating_duration_since(known.1) >= after
        };
        let gone = self.servers.extract_if(old);
        gone.map(|(_, (id, _))| Found { id, server: None })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::probe::About;
    use super::*;
    use crate::connect::{Access, Server};

    fn seen(host: &str, state: State) -> Seen {
        let access = Access::default();
        Seen {
            address: SocketAddr::new(host.parse().unwrap(), 7777),
            server: Server::at(host, 7777, &access, false).unwrap(),
            about: About::only(state, None),
        }
    }

    fn change(found: Option<Found>) -> Option<(String, bool)> {
        found.map(|found| (found.id, found.server.is_some()))
    }

    #[test]
    fn server_is_reported_once_and_withdrawn_late() {
        let mut known = Known::default();
        let start = Instant::now();
        let minute = Duration::from_secs(60);
        let id = "redis://10.0.0.1:7777".to_owned();
        let news = known.seen(seen("10.0.0.1", State::Ok), start);
        assert_eq!(change(news), Some((id.clone(), true)));
        let again = known.seen(seen("10.0.0.1", State::Ok), start + minute);
        assert_eq!(change(again), None);
        // The server may be loading, or have been restarted without its module: that passes.
        let other = known.seen(seen("10.0.0.1", State::NoModule), start + 2 * minute);
        assert_eq!(change(other), None);
        assert!(known.forget(10 * minute, start + 10 * minute).is_empty());
        let gone = known.forget(10 * minute, start + 11 * minute).pop();
        assert_eq!(change(gone), Some((id.clone(), false)));
        let back = known.seen(seen("10.0.0.1", State::Ok), start + 12 * minute);
        assert_eq!(change(back), Some((id, true)));
    }

    #[test]
    fn server_that_cannot_be_drained_is_not_reported() {
        let mut known = Known::default();
        let now = Instant::now();
        for state in [
            State::Replica,
            State::NoModule,
            State::WantsPassword,
            State::WrongPassword,
            State::Rejects,
            State::NoServer,
        ] {
            assert_eq!(change(known.seen(seen("10.0.0.1", state), now)), None);
        }
        assert!(known.servers.is_empty());
    }

    #[test]
    fn server_that_became_a_replica_is_withdrawn_at_once() {
        let mut known = Known::default();
        let now = Instant::now();
        known.seen(seen("10.0.0.1", State::Ok), now);
        let gone = known.seen(seen("10.0.0.1", State::Replica), now);
        assert_eq!(change(gone), Some(("redis://10.0.0.1:7777".into(), false)));
    }
}
