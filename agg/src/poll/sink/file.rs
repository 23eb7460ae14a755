//! A file of lines; what is written is on the disk before it is acknowledged.

use std::path::PathBuf;

use crate::poll::append::Appender;
use crate::poll::aside::Rotation;

use super::{Limits, Refused, Sink, Trouble, lines};

/// A file.
pub struct File(Appender);

impl File {
    /// The file, and when a new one is begun.
    pub fn new(path: PathBuf, rotation: Rotation) -> File {
        File(Appender::new(path, rotation))
    }
}

impl Sink for File {
    fn limits(&self) -> Limits {
        // Each write costs an fsync, whatever its size.
        Limits {
            lines: usize::MAX,
            bytes: 1 << 20,
        }
    }

    fn write(&mut self, records: &[&[u8]]) -> Result<Vec<Refused>, Trouble> {
        match self.0.append(&lines(records)) {
            Ok(()) => Ok(Vec::new()),
            Err(error) => Err(Trouble::Later {
                why: format!("cannot write {}: {error}", self.0.path().display()),
                after: None,
            }),
        }
    }
}
