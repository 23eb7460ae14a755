//! A request to end, which tasks wait for.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;

/// A request to end, which may be made once. Clones share one request.
#[derive(Clone, Default)]
pub struct Shutdown(Arc<Inner>);

#[derive(Default)]
struct Inner {
    requested_at: Mutex<Option<Instant>>,
    /// Wakes tasks.
    tasks: Notify,
}

impl Shutdown {
    /// Returns whether the end was requested.
    pub fn is_requested(&self) -> bool {
        self.requested_at().is_some()
    }

    /// Returns when the end was requested, if it was.
    pub fn requested_at(&self) -> Option<Instant> {
        *self.0.requested_at.lock()
    }

    /// Requests the end and wakes all waiters. Only the first request counts.
    pub fn request(&self) {
        self.0.requested_at.lock().get_or_insert_with(Instant::now);
        self.0.tasks.notify_waiters();
    }

    /// Waits until the end is requested.
    pub async fn requested(&self) {
        let mut notified = std::pin::pin!(self.0.tasks.notified());
        // Before the check, so that no request between the two is missed.
        notified.as_mut().enable();
        if !self.is_requested() {
            notified.await;
        }
    }

    /// Waits for `pause`, or less if the end is requested; returns whether it was.
    pub async fn sleep(&self, pause: Duration) -> bool {
        tokio::select! {
            () = self.requested() => true,
            () = tokio::time::sleep(pause) => self.is_requested(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn waiting_task_is_woken() {
        let shutdown = Shutdown::default();
        let other = shutdown.clone();
        let task = tokio::spawn(async move { other.sleep(LONG).await });
        tokio::task::yield_now().await;
        shutdown.request();
        assert!(task.await.unwrap());
        assert!(shutdown.is_requested());
        shutdown.requested().await;
    }

    #[tokio::test]
    async fn sleep_without_a_request_lasts_its_time() {
        let start = Instant::now();
        assert!(!Shutdown::default().sleep(Duration::from_millis(20)).await);
        assert!(start.elapsed() >= Duration::from_millis(20));
    }
}
