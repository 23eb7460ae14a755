//! A scan of a range: connects to each address, with bounded parallelism and rate, and probes whatever answers.
//!
//! # Invariants
//!
//! Memory is bounded by `parallel`, not by the range. An address at which nothing answers in time is not reported.

use std::io::{Error, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{sleep, sleep_until, timeout};

use crate::connect::{Access, Server, TlsError};

use super::hosts::Hosts;
use super::probe::{self, About};

/// The addresses to scan, and the limits of the scan.
#[derive(Clone, PartialEq, Eq)]
pub struct Scan {
    /// The addresses.
    pub hosts: Hosts,
    /// The port, the same at each address.
    pub port: u16,
    /// The credentials that are sent to whatever answers, and how connections are encrypted.
    pub access: Access,
    /// True if connections are encrypted.
    pub encrypted: bool,
    /// The time that a connection may take.
    pub timeout: Duration,
    /// The maximum number of addresses that are probed at a time.
    pub parallel: usize,
    /// The maximum number of connections that are begun in a second.
    pub rate: u64,
}

impl Scan {
    /// The default of `port`.
    pub const PORT: u16 = 7777;
    /// The default of `timeout`.
    pub const TIMEOUT: Duration = Duration::from_millis(300);
    /// The default of `parallel`: at the default rate and timeout, addresses that do not answer fill three fifths of
    /// it.
    pub const PARALLEL: usize = 512;
    /// The default of `rate`: a /24 in a quarter of a second, a /16 in about a minute: some 80 kB/s of packets on the
    /// net.
    pub const RATE: u64 = 1000;
}

/// A server that answered.
pub struct Seen {
    /// The address.
    pub address: SocketAddr,
    /// The server there, to connect to.
    pub server: Server,
    /// The result of the probe.
    pub about: About,
}

/// The progress of a scan.
#[derive(Debug, Default)]
pub struct Progress {
    /// Addresses done.
    pub done: AtomicU64,
    /// Of these, addresses at which something accepted or refused the connection: the network works.
    pub alive: AtomicU64,
    /// Of these, addresses that this machine could not reach for reasons of its own.
    pub unreached: AtomicU64,
}

impl Scan {
    /// Sends whatever answers, until all addresses are done or the receiver is dropped.
    pub async fn run(&self, progress: &Arc<Progress>, tell: &UnboundedSender<Seen>) {
        let shared = Arc::new(self.clone());
        let mut pace = Pace::new(self.rate, Instant::now());
        let mut probing = JoinSet::new();
        for host in self.hosts.iter() {
            while probing.len() >= self.parallel {
                done(probing.join_next().await);
            }
            while let Some(joined) = probing.try_join_next() {
                done(Some(joined));
            }
            if let Some(until) = pace.turn(Instant::now()) {
                sleep_until(until.into()).await;
            }
            if tell.is_closed() {
                return;
            }
            let (scan, progress, tell) = (shared.clone(), progress.clone(), tell.clone());
            probing.spawn(async move {
                scan.one(SocketAddr::new(host, scan.port), &progress, &tell)
                    .await;
                progress.done.fetch_add(1, Relaxed);
            });
        }
        while let Some(joined) = probing.join_next().await {
            done(Some(joined));
        }
    }

    async fn one(&self, address: SocketAddr, progress: &Progress, tell: &UnboundedSender<Seen>) {
        let stream = match self.connect(address).await {
            Ok(stream) => stream,
            Err(error) => {
                match error.kind() {
                    ErrorKind::ConnectionRefused => progress.alive.fetch_add(1, Relaxed),
                    _ if is_ours(&error) => progress.unreached.fetch_add(1, Relaxed),
                    _ => 0,
                };
                return;
            }
        };
        progress.alive.fetch_add(1, Relaxed);
        let Ok(server) = self.server(address.ip()) else {
            return;
        };
        let about = probe::probe(&server, stream).await;
        // The receiver is dropped at the end.
        let _ = tell.send(Seen {
            address,
            server,
            about,
        });
    }

    /// Connects. While this machine has no descriptor, port or memory for a connection, it waits.
    async fn connect(&self, address: SocketAddr) -> Result<TcpStream, Error> {
        for _ in 0..50 {
            match timeout(self.timeout, TcpStream::connect(address)).await {
                Ok(Err(error)) if is_full(&error) => sleep(Duration::from_millis(100)).await,
                Ok(result) => return result,
                Err(_) => return Err(ErrorKind::TimedOut.into()),
            }
        }
        Err(Error::from_raw_os_error(TOO_MANY[0]))
    }

    fn server(&self, host: IpAddr) -> Result<Server, TlsError> {
        Server::at(&host.to_string(), self.port, &self.access, self.encrypted)
    }
}

/// EMFILE, ENFILE, ENOBUFS, EADDRNOTAVAIL, EAGAIN of Linux.
const TOO_MANY: [i32; 5] = [24, 23, 105, 99, 11];

/// Returns whether this machine has no descriptor, port or memory for one more connection at present.
fn is_full(error: &Error) -> bool {
    error
        .raw_os_error()
        .is_some_and(|code| TOO_MANY.contains(&code))
}

/// Returns whether the connection failed within this machine.
fn is_ours(error: &Error) -> bool {
    let kinds = [ErrorKind::NetworkUnreachable, ErrorKind::PermissionDenied];
    is_full(error) || kinds.contains(&error.kind())
}

/// Continues a panic of a task.
fn done(joined: Option<Result<(), JoinError>>) {
    if let Some(Err(error)) = joined
        && let Ok(panic) = error.try_into_panic()
    {
        std::panic::resume_unwind(panic);
    }
}

/// A limit of turns per second. Missed turns are caught up with, but no more than those of a twentieth of a second.
struct Pace {
    step: Duration,
    next: Instant,
}

impl Pace {
    const CATCH_UP: Duration = Duration::from_millis(50);

    fn new(rate: u64, now: Instant) -> Pace {
        Pace {
            step: Duration::from_secs(1) / u32::try_from(rate.max(1)).unwrap_or(u32::MAX),
            next: now,
        }
    }

    /// Takes a turn; returns when it is due if it is not due yet.
    fn turn(&mut self, now: Instant) -> Option<Instant> {
        let oldest = now.checked_sub(Self::CATCH_UP).unwrap_or(now);
        let due = self.next.max(oldest);
        self.next = due + self.step;
        (due > now).then_some(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns how many turns a task gets in a time that waits as it should, and is late by `late` each time.
    fn turns(rate: u64, time: Duration, late: Duration) -> u64 {
        let start = Instant::now();
        let (mut pace, mut now, mut count) = (Pace::new(rate, start), start, 0);
        while now < start + time {
            if let Some(until) = pace.turn(now) {
                now = until + late;
            }
            count += 1;
        }
        count
    }

    #[test]
    fn turns_come_at_the_rate() {
        let second = Duration::from_secs(1);
        for rate in [1, 10, 1000, 20_000] {
            let count = turns(rate, second, Duration::ZERO);
            assert!((rate..=rate + 1).contains(&count), "{rate}: {count}");
            // A timer that is late by some milliseconds does not slow the scan down.
            let count = turns(rate, second, Duration::from_millis(3));
            let slack = rate / 100 + 1;
            assert!(
                (rate - slack.min(rate)..=rate + slack).contains(&count),
                "{rate}: {count}"
            );
        }
    }

    #[test]
    fn long_stall_is_not_caught_up_with() {
        let start = Instant::now();
        let mut pace = Pace::new(1000, start);
        assert_eq!(pace.turn(start), None);
        let later = start + Duration::from_secs(10);
        let burst = std::iter::from_fn(|| pace.turn(later).is_none().then_some(())).count();
        assert!((50..=52).contains(&burst), "{burst}");
    }
}
