//! A sink that appends lines to a file. The lines are on the disk before they are acknowledged.

use std::path::PathBuf;

use crate::rotation::{Appender, AsyncAppender, Mode, Rotation};
use aggregator_protocol::RecordFormat;
use async_trait::async_trait;

use super::{BatchLimits, Rejection, Sink, SinkError, printable_lines};

/// A file.
pub struct File(AsyncAppender, RecordFormat);

impl File {
    /// Names the file, the permissions with which it is created, and its rotation.
    pub fn new((path, mode): (PathBuf, Mode), rotation: Rotation, format: RecordFormat) -> File {
        let appender = Appender::new(path, rotation).with_mode(mode);
        File(AsyncAppender::new(appender), format)
    }
}

#[async_trait]
impl Sink for File {
    fn limits(&self) -> BatchLimits {
        // Each write costs an fsync, whatever its size.
        BatchLimits {
            records: usize::MAX,
            bytes: 1 << 20,
        }
    }

    async fn write(&mut self, records: &[&[u8]]) -> Result<Vec<Rejection>, SinkError> {
        match self.0.append(printable_lines(records, self.1)).await {
            Ok(()) => Ok(Vec::new()),
            Err(error) => {
                let path = self.0.path().display();
                Err(SinkError::retriable(format!(
                    "cannot write {path}: {error}"
                )))
            }
        }
    }
}
