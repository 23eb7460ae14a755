//! Ends in an orderly way: SIGINT, SIGTERM and SIGHUP ask the command to come to its end. One that is stuck in a
//! call (a server that does not answer, a reader of our output that has stopped) is ended all the same within its
//! grace, most within a second; what it had leased comes back to the queue when the lease ends.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// Whether the program was asked to end.
#[derive(Clone, Default)]
pub struct Stop(Arc<Inner>);

#[derive(Default)]
struct Inner {
    asked: Mutex<Option<Instant>>,
    /// For threads that wait,
    wake: Condvar,
    /// and for tasks.
    tasks: Notify,
}

impl Stop {
    /// How long most commands have to come to their end by themselves.
    pub const GRACE: Duration = Duration::from_millis(900);

    /// Listens for the signals. `code` is the exit code of a command that is stuck when `grace` has passed.
    ///
    /// Returns an error if the system gives no thread or handler, or when called twice.
    pub fn on_signals(code: u8, grace: Duration) -> Result<Stop, ctrlc::Error> {
        let stop = Stop::default();
        let asked = stop.clone();
        // The handler runs in a thread of its own, so it may sleep.
        ctrlc::set_handler(move || {
            asked.ask();
            std::thread::sleep(grace);
            std::process::exit(i32::from(code));
        })?;
        Ok(stop)
    }

    /// Whether the end was asked for.
    pub fn asked(&self) -> bool {
        self.since().is_some()
    }

    /// When the end was asked for, if it was.
    pub fn since(&self) -> Option<Instant> {
        *self.lock()
    }

    /// Asks for the end and wakes whoever waits.
    pub fn ask(&self) {
        self.lock().get_or_insert_with(Instant::now);
        self.0.wake.notify_all();
        self.0.tasks.notify_waiters();
    }

    /// Waits, as a task, until the end is asked for.
    pub async fn wanted(&self) {
        let mut notified = std::pin::pin!(self.0.tasks.notified());
        // Before the look, so that no call comes in between unheard.
        notified.as_mut().enable();
        if !self.asked() {
            notified.await;
        }
    }

    /// Waits for `pause`, or less if the end is asked for; tells whether it was.
    pub fn wait(&self, pause: Duration) -> bool {
        let until = Instant::now() + pause;
        let mut asked = self.lock();
        while asked.is_none() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            asked = self
                .0
                .wake
                .wait_timeout(asked, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        true
    }

    // An instant is whole whatever happened to the thread that held it.
    fn lock(&self) -> MutexGuard<'_, Option<Instant>> {
        self.0.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_ends_when_the_end_is_asked_for() {
        let stop = Stop::default();
        let other = stop.clone();
        let thread = std::thread::spawn(move || other.wait(Duration::from_secs(60)));
        stop.ask();
        assert!(thread.join().unwrap());
        assert!(stop.asked());
    }

    #[tokio::test]
    async fn a_task_is_woken() {
        let stop = Stop::default();
        let other = stop.clone();
        let task = tokio::spawn(async move { other.wanted().await });
        tokio::task::yield_now().await;
        stop.ask();
        task.await.unwrap();
        stop.wanted().await;
    }

    #[test]
    fn a_wait_that_nobody_ends_lasts_its_time() {
        let start = Instant::now();
        assert!(!Stop::default().wait(Duration::from_millis(20)));
        assert!(start.elapsed() >= Duration::from_millis(20));
    }
}
