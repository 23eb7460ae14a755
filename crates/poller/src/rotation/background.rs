//! An appender whose I/O runs on the blocking pool of the runtime.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::task::spawn_blocking;

use super::Appender;

/// An appender for asynchronous code.
pub struct AsyncAppender {
    path: PathBuf,
    appender: Arc<Mutex<Appender>>,
}

impl AsyncAppender {
    /// Wraps an appender.
    pub fn new(appender: Appender) -> AsyncAppender {
        AsyncAppender {
            path: appender.path().to_owned(),
            appender: Arc::new(Mutex::new(appender)),
        }
    }

    /// Returns the path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends whole lines, all or none of them.
    ///
    /// If the future is dropped, the lines may be appended all the same.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`Appender::append`].
    pub async fn append(&self, lines: Vec<u8>) -> io::Result<()> {
        let appender = self.appender.clone();
        let appended = spawn_blocking(move || appender.lock().append(&lines)).await;
        appended.unwrap_or_else(|error| match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(error) => Err(error.into()),
        })
    }
}
