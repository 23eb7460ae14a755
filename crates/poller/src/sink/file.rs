//! A sink that appends lines to a file. The lines are on the disk before they are acknowledged.

use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};

use crate::rotation::{Appender, AsyncAppender, Mode, Rotation};
use aggregator_protocol::RecordFormat;
use async_trait::async_trait;
use rustix::fs::{Access, access};

use super::{BatchLimits, Rejection, Sink, SinkError, printable_lines};

/// A file.
pub struct File(AsyncAppender, RecordFormat);

impl File {
    /// Names the file, the permissions with which it is created, and its rotation.
    pub fn new((path, mode): (PathBuf, Mode), rotation: Rotation, format: RecordFormat) -> File {
        let appender = Appender::new(path, rotation).with_mode(mode);
        File(AsyncAppender::new(appender), format)
    }

    fn cannot_write(&self, error: &impl Display) -> SinkError {
        let path = self.0.path().display();
        SinkError::retriable(format!("cannot write {path}: {error}"))
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

    async fn connect(&mut self) -> Result<String, SinkError> {
        let path = self.0.path();
        check_writable(path).map_err(|error| self.cannot_write(&error))?;
        Ok(format!("{} is writable", path.display()))
    }

    async fn write(&mut self, records: &[&[u8]]) -> Result<Vec<Rejection>, SinkError> {
        match self.0.append(printable_lines(records, self.1)).await {
            Ok(()) => Ok(Vec::new()),
            Err(error) => Err(self.cannot_write(&error)),
        }
    }
}

/// Checks whether this process may write a file, or create it. It is not opened: a file that an administrator created
/// by checking could not be written by the service.
///
/// # Errors
///
/// Returns an error if a write would fail.
pub fn check_writable(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    let checked = match path.exists() {
        true => path,
        false => folder.unwrap_or(Path::new(".")),
    };
    Ok(access(checked, Access::WRITE_OK)?)
}
