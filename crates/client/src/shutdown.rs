//! A request to end, which threads and tasks wait for.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// Whether the end was requested. Clones share one request.
#[derive(Clone, Default)]
pub struct Shutdown(Arc<Inner>);

#[derive(Default)]
struct Inner {
    requested: Mutex<Option<Instant>>,
    /// For threads that wait,
    wake: Condvar,
    /// and for tasks.
    tasks: Notify,
}

impl Shutdown {
    /// Whether the end was requested.
    pub fn is_requested(&self) -> bool {
        self.requested_at().is_some()
    }

    /// When the end was requested, if it was.
    pub fn requested_at(&self) -> Option<Instant> {
        *self.lock()
    }

    /// Requests the end and wakes all waiters.
    pub fn request(&self) {
        self.lock().get_or_insert_with(Instant::now);
        self.0.wake.notify_all();
        self.0.tasks.notify_waiters();
    }

    /// Waits, as a task, until the end is requested.
    pub async fn requested(&self) {
        let mut notified = std::pin::pin!(self.0.tasks.notified());
        // Before the look, so that no call comes in between unheard.
        notified.as_mut().enable();
        if !self.is_requested() {
            notified.await;
        }
    }

    /// Blocks the thread for `pause`, or less if the end is requested; returns whether it was.
    pub fn wait(&self, pause: Duration) -> bool {
        let until = Instant::now() + pause;
        let mut requested = self.lock();
        while requested.is_none() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            requested = self
                .0
                .wake
                .wait_timeout(requested, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        true
    }

    // An instant is whole whatever happened to the thread that held it.
    fn lock(&self) -> MutexGuard<'_, Option<Instant>> {
        self.0
            .requested
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wait_ends_when_the_end_is_requested() {
        let stop = Shutdown::default();
        let other = stop.clone();
        let thread = std::thread::spawn(move || other.wait(Duration::from_secs(60)));
        stop.request();
        assert!(thread.join().unwrap());
        assert!(stop.is_requested());
    }

    #[tokio::test]
    async fn waiting_task_is_woken() {
        let stop = Shutdown::default();
        let other = stop.clone();
        let task = tokio::spawn(async move { other.requested().await });
        tokio::task::yield_now().await;
        stop.request();
        task.await.unwrap();
        stop.requested().await;
    }

    #[test]
    fn wait_without_a_request_lasts_its_time() {
        let start = Instant::now();
        assert!(!Shutdown::default().wait(Duration::from_millis(20)));
        assert!(start.elapsed() >= Duration::from_millis(20));
    }
}
