//! The settings of a rotated file.

use std::time::{Duration, SystemTime};

/// The permissions of a new file. An existing file keeps its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// 0640 without the bits of the umask: records may be confidential.
    #[default]
    Private,
    /// Exactly these bits, whatever the umask.
    Exact(u32),
}

impl Mode {
    /// Returns the bits with which a file is created.
    pub fn bits(self) -> u32 {
        match self {
            Mode::Private => 0o640,
            Mode::Exact(bits) => bits,
        }
    }
}

/// The conditions for rotating a file, and the treatment of rotated files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rotation {
    /// Rotate before the file would exceed this size in bytes.
    pub size: Option<u64>,
    /// Rotate when a multiple of this period, by UTC, has passed since the last append.
    pub every: Option<Duration>,
    /// The compression of rotated files.
    pub compress: Option<Compression>,
    /// The number of rotated files that are kept.
    pub keep: Option<usize>,
}

/// A compression format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Zstandard, `.zst`.
    Zstd,
    /// gzip, `.gz`.
    Gzip,
}

impl Compression {
    pub(super) fn extension(self) -> &'static str {
        match self {
            Compression::Zstd => "zst",
            Compression::Gzip => "gz",
        }
    }
}

impl Rotation {
    /// Returns whether a file of `length` bytes, last modified at `modified`, is to be rotated before `more` bytes are
    /// appended.
    pub(super) fn is_due(
        &self,
        length: u64,
        modified: SystemTime,
        more: u64,
        now: SystemTime,
    ) -> bool {
        let is_full = self.size.is_some_and(|size| length + more > size);
        let period = |time: SystemTime, every: Duration| {
            let since = time.duration_since(SystemTime::UNIX_EPOCH);
            since.unwrap_or_default().as_millis() / every.as_millis().max(1)
        };
        let is_over = |every| period(modified, every) < period(now, every);
        length > 0 && (is_full || self.every.is_some_and(is_over))
    }
}
