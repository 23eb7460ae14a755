//! The runtime of a subcommand, and the signals that end it: SIGINT, SIGTERM and SIGHUP request a shutdown.
//!
//! # Invariants
//!
//! - This is the only handler of signals, and main is the only place that exits.
//! - A subcommand that is stuck in a call (a reader of its output that has stopped, a file system that does not answer)
//!   is abandoned at the end of its grace period; the records that it had leased return to their queue when the lease
//!   ends. Main's thread measures the period, since all threads of the runtime may be stuck.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use agg_client::Shutdown;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;

use crate::exit_status::ExitStatus;

/// The time in which a subcommand has to end after a signal, unless it chooses another period.
const GRACE: Duration = Duration::from_millis(900);
/// The number of threads of the runtime of a subcommand that works with one server.
const THREADS: usize = 2;

/// The effect of signals while a subcommand runs.
pub struct Policy {
    /// The status of a subcommand that is abandoned at the end of its grace period.
    abandoned: ExitStatus,
    /// Returns the grace period, which begins when a shutdown is requested; `None` is without end.
    grace: Box<dyn Fn() -> Option<Duration>>,
    /// A second signal abandons the subcommand with [`ExitStatus::Interrupted`]. It does not by default: a terminal
    /// that is closed sends SIGHUP twice, by the shell and by the kernel, and the default grace period is short.
    is_second_final: bool,
    /// Notified by SIGHUP, which then requests no shutdown.
    hangup: Option<Arc<Notify>>,
    /// The number of threads of the runtime; `None` is one for each processor.
    threads: Option<usize>,
}

impl Policy {
    /// Ends a subcommand within [`GRACE`]; `abandoned` is the status of one that does not end.
    pub fn short(abandoned: ExitStatus) -> Policy {
        Policy {
            abandoned,
            grace: Box::new(|| Some(GRACE)),
            is_second_final: false,
            hangup: None,
            threads: Some(THREADS),
        }
    }

    /// Ends a subcommand within the period that `grace` returns, without end if it returns `None`, or at a second
    /// signal. Its runtime has a thread for each processor.
    pub fn patient(
        abandoned: ExitStatus,
        grace: impl Fn() -> Option<Duration> + 'static,
    ) -> Policy {
        Policy {
            abandoned,
            grace: Box::new(grace),
            is_second_final: true,
            hangup: None,
            threads: None,
        }
    }

    /// Makes SIGHUP notify `hangup` instead of requesting a shutdown.
    pub fn on_hangup(mut self, hangup: Arc<Notify>) -> Policy {
        self.hangup = Some(hangup);
        self
    }
}

/// The events that main's thread waits for.
enum Event {
    /// The subcommand has ended, or panicked.
    Ended,
    ShutdownRequested,
    SecondSignal,
}

/// Runs a subcommand until it ends, or until signals end it as `policy` says.
///
/// # Errors
/// The subcommand failed, or the system has no threads or descriptors for the runtime.
pub fn run<F>(
    policy: Policy,
    subcommand: impl FnOnce(Shutdown) -> F + Send + 'static,
) -> Result<ExitStatus, String>
where
    F: Future<Output = Result<ExitStatus, String>>,
{
    let runtime =
        runtime(policy.threads).map_err(|error| format!("cannot start threads: {error}"))?;
    let shutdown = Shutdown::default();
    let (events, received) = channel();
    let signals = {
        let _context = runtime.enter();
        Signals::listen(policy.hangup.clone())
    };
    let signals = signals.map_err(|error| format!("cannot listen for signals: {error}"))?;
    runtime.spawn(signals.forward(shutdown.clone(), events.clone()));
    // On a thread of its own, as a subcommand may block: it writes to standard output and reads /proc.
    let handle = runtime.handle().clone();
    let spawned = thread::Builder::new()
        .name("subcommand".into())
        .spawn(move || {
            let _ended = EndGuard(events);
            handle.block_on(subcommand(shutdown))
        });
    let subcommand = spawned.map_err(|error| format!("cannot start threads: {error}"))?;
    let result = match wait(&policy, &received) {
        None => subcommand
            .join()
            .unwrap_or_else(|panic| resume_unwind(panic)),
        Some(status) => Ok(status),
    };
    // Does not wait for a call that is stuck, such as a name lookup.
    runtime.shutdown_background();
    result
}

fn runtime(threads: Option<usize>) -> std::io::Result<Runtime> {
    let mut builder = Builder::new_multi_thread();
    if let Some(threads) = threads {
        builder.worker_threads(threads);
    }
    builder.enable_all().build()
}

/// Waits until the subcommand has ended; returns a status if it has to be abandoned.
fn wait(policy: &Policy, events: &Receiver<Event>) -> Option<ExitStatus> {
    let mut deadline: Option<Instant> = None;
    loop {
        let event = match deadline {
            Some(deadline) => {
                let left = deadline.saturating_duration_since(Instant::now());
                events.recv_timeout(left)
            }
            None => events.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match event {
            Ok(Event::Ended) | Err(RecvTimeoutError::Disconnected) => return None,
            Ok(Event::ShutdownRequested) => {
                let grace = (policy.grace)();
                deadline = grace.and_then(|grace| Instant::now().checked_add(grace));
            }
            Ok(Event::SecondSignal) if policy.is_second_final => {
                return Some(ExitStatus::Interrupted);
            }
            Ok(Event::SecondSignal) => {}
            Err(RecvTimeoutError::Timeout) => return Some(policy.abandoned),
        }
    }
}

/// Reports the end of the subcommand when it is dropped, also by a panic.
struct EndGuard(Sender<Event>);

impl Drop for EndGuard {
    fn drop(&mut self) {
        // Without a receiver the program is about to end.
        let _ = self.0.send(Event::Ended);
    }
}

/// The signals, which are caught from the time at which a value is created.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
    /// Notified by SIGHUP, if it does not end the subcommand.
    on_hangup: Option<Arc<Notify>>,
}

impl Signals {
    fn listen(on_hangup: Option<Arc<Notify>>) -> std::io::Result<Signals> {
        Ok(Signals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
            on_hangup,
        })
    }

    /// Requests a shutdown at the first signal that ends the program, and passes on this request, or one that the
    /// subcommand made itself, and further signals.
    async fn forward(mut self, shutdown: Shutdown, events: Sender<Event>) {
        tokio::select! {
            () = self.next() => shutdown.request(),
            () = shutdown.requested() => {}
        }
        // Without a receiver the program is about to end.
        let _ = events.send(Event::ShutdownRequested);
        loop {
            self.next().await;
            let _ = events.send(Event::SecondSignal);
        }
    }

    /// Waits for a signal that ends the program.
    async fn next(&mut self) {
        loop {
            tokio::select! {
                _ = self.interrupt.recv() => return,
                _ = self.terminate.recv() => return,
                _ = self.hangup.recv() => match &self.on_hangup {
                    Some(notify) => notify.notify_one(),
                    None => return,
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait_for(policy: &Policy, events: Vec<Event>) -> Option<ExitStatus> {
        let (send, received) = channel();
        for event in events {
            send.send(event).unwrap();
        }
        wait(policy, &received)
    }

    #[test]
    fn subcommand_that_does_not_end_is_abandoned_after_its_grace_period() {
        let policy = Policy::patient(ExitStatus::Success, || Some(Duration::from_millis(20)));
        let start = Instant::now();
        let (send, received) = channel();
        send.send(Event::ShutdownRequested).unwrap();
        assert_eq!(wait(&policy, &received), Some(ExitStatus::Success));
        assert!(start.elapsed() >= Duration::from_millis(20));
    }

    #[test]
    fn second_signal_ends_a_patient_subcommand_only() {
        let signals = || vec![Event::ShutdownRequested, Event::SecondSignal, Event::Ended];
        let patient = Policy::patient(ExitStatus::Success, || None);
        assert_eq!(wait_for(&patient, signals()), Some(ExitStatus::Interrupted));
        let short = Policy::short(ExitStatus::Success);
        assert_eq!(wait_for(&short, signals()), None);
    }
}
