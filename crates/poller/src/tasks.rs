//! Tasks that cannot die unnoticed: a panic in one of them requests shutdown, and is the error with which the program
//! ends.

use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::Arc;

use futures_util::FutureExt;
use parking_lot::Mutex;
use tokio::task::JoinHandle;

use agg_client::Shutdown;

use super::error::PollError;

/// The guard of the tasks of a program. Clones share one state.
#[derive(Clone)]
pub struct Tasks {
    shutdown: Shutdown,
    /// The name of the first task that panicked.
    panicked: Arc<Mutex<Option<String>>>,
}

impl Tasks {
    /// Creates a guard that requests this shutdown.
    pub fn new(shutdown: Shutdown) -> Tasks {
        Tasks {
            shutdown,
            panicked: Arc::default(),
        }
    }

    /// Returns the shutdown that is requested when a task panics.
    pub fn shutdown(&self) -> &Shutdown {
        &self.shutdown
    }

    /// Wraps the future of a task, whose name is for a message.
    pub fn guard<F: Future>(
        &self,
        name: String,
        future: F,
    ) -> impl Future<Output = F::Output> + use<F> {
        let tasks = self.clone();
        async move {
            match AssertUnwindSafe(future).catch_unwind().await {
                Ok(output) => output,
                Err(panic) => {
                    tasks.panicked.lock().get_or_insert(name);
                    tasks.shutdown.request();
                    resume_unwind(panic)
                }
            }
        }
    }

    /// Spawns a guarded task.
    pub fn spawn<F>(&self, name: String, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        tokio::spawn(self.guard(name, future))
    }

    /// Returns whether all tasks are well.
    ///
    /// # Errors
    ///
    /// Returns an error if a task panicked, which is a bug. The panic message was shown.
    pub fn check(&self) -> Result<(), PollError> {
        match self.panicked.lock().clone() {
            Some(task) => Err(PollError::TaskPanicked { task }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn panic_of_a_task_requests_shutdown_and_is_an_error() {
        let tasks = Tasks::new(Shutdown::default());
        assert_eq!(
            tasks.spawn("the first".into(), async { 7 }).await.unwrap(),
            7
        );
        assert!(!tasks.shutdown().is_requested() && tasks.check().is_ok());
        let panicked = tasks.spawn("the second".into(), async { panic!("a test") });
        assert!(panicked.await.unwrap_err().is_panic());
        assert!(tasks.shutdown().is_requested());
        let error = tasks.check().unwrap_err();
        assert_eq!(error.to_string(), "the second panicked");
    }

    #[tokio::test]
    async fn aborted_task_is_no_panic() {
        let tasks = Tasks::new(Shutdown::default());
        let task = tasks.spawn("a task".into(), std::future::pending::<()>());
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
        assert!(!tasks.shutdown().is_requested() && tasks.check().is_ok());
    }
}
