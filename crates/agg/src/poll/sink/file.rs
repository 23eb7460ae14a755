//! A file of lines; what is written is on the disk before it is acknowledged.

use std::path::PathBuf;

use crate::poll::append::{Appender, Mode};
use crate::poll::aside::Rotation;
use aggregator_protocol::RecordFormat;

use super::{Limits, Refused, Sink, Trouble, shown};

/// A file.
pub struct File(Appender, RecordFormat);

impl File {
    /// The file with its permissions, and when a new one is begun.
    pub fn new((path, mode): (PathBuf, Mode), rotation: Rotation, format: RecordFormat) -> File {
        File(Appender::new(path, rotation).with_mode(mode), format)
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
        match self.0.append(&shown(records, self.1)) {
            Ok(()) => Ok(Vec::new()),
            Err(error) => Err(Trouble::Later {
                why: format!("cannot write {}: {error}", self.0.path().display()),
                after: None,
            }),
        }
    }
}
