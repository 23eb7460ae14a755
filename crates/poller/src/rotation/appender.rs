//! Append-only files of whole lines, and their rotation: a file that is full or whose period is over gets a number, is
//! compressed, and is removed when there are too many.
//!
//! # Invariants
//!
//! - When [`Appender::append`] returns, the lines are on the disk (fsync). What a crash left after the last newline was
//!   never acknowledged; the next append removes it.
//! - Any number of programs may append to the same file: each append holds a lock (flock), under which the file is
//!   examined again. No lock is waited for longer than [`LOCK_TIMEOUT`].
//! - A rotated file does not change any more. Of each number there is the plain file or the complete compressed one,
//!   whatever crashes: the compressed file is written under a temporary name, synced, and renamed before the plain one
//!   is removed. What a crash left is finished at the next start. A lock on the plain file decides which program
//!   compresses it.
//! - The compactor is a thread of its own that handles one file at a time, so no append waits for it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::compactor::Compactor;
use super::files::{is_current, list, numbered, sync_folder};
use super::settings::{Mode, Rotation};

/// The longest time that another program may keep the lock.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);
/// The number of attempts of an append. Each rotation costs one attempt; more than a few in a row are done by others.
const MAX_ATTEMPTS: usize = 5;

/// A file to append to. It is opened when it is first needed.
pub struct Appender {
    path: PathBuf,
    mode: Mode,
    rotation: Rotation,
    file: Option<File>,
    compactor: Compactor,
}

impl Appender {
    /// Creates an appender, and starts the compactor if the rotation needs one.
    pub fn new(path: PathBuf, rotation: Rotation) -> Appender {
        Appender {
            compactor: Compactor::start(&path, &rotation),
            path,
            rotation,
            mode: Mode::default(),
            file: None,
        }
    }

    /// Sets the permissions of new files.
    pub fn with_mode(self, mode: Mode) -> Appender {
        Appender { mode, ..self }
    }

    /// Returns the path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends whole lines, all or none of them.
    pub fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        self.append_at(lines, SystemTime::now())
    }

    fn append_at(&mut self, lines: &[u8], now: SystemTime) -> io::Result<()> {
        for _ in 0..MAX_ATTEMPTS {
            let file = match self.file.take() {
                Some(file) => file,
                None => open(&self.path, self.mode)?,
            };
            // A rotated file may be locked for as long as its compression takes.
            if !is_current(&file, &self.path)? {
                continue;
            }
            let lock = FileLock::acquire(&file)?;
            if !is_current(&file, &self.path)? {
                continue;
            }
            let modified = file.metadata()?.modified()?;
            let length = repair(&file, &self.path)?;
            if self
                .rotation
                .is_due(length, modified, lines.len() as u64, now)
            {
                rotate(&self.path)?;
                drop(lock);
                if !self.compactor.wake() {
                    let path = self.path.display();
                    tracing::warn!("{path}: the compactor does not run; starting it again");
                    self.compactor = Compactor::start(&self.path, &self.rotation);
                }
                continue;
            }
            write(&file, length, lines)?;
            drop(lock);
            self.file = Some(file);
            return Ok(());
        }
        Err(io::Error::other("another program rotates it all the time"))
    }
}

/// The lock on a file. Dropping it unlocks the file.
struct FileLock<'a>(&'a File);

impl FileLock<'_> {
    fn acquire(file: &File) -> io::Result<FileLock<'_>> {
        let start = Instant::now();
        loop {
            match flock(file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(FileLock(file)),
                Err(Errno::WOULDBLOCK) if start.elapsed() < LOCK_TIMEOUT => {
                    std::thread::sleep(Duration::from_millis(2));
                }
                Err(Errno::WOULDBLOCK) => {
                    return Err(io::Error::other("another program has locked it"));
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Drop for FileLock<'_> {
    fn drop(&mut self) {
        let _ = flock(self.0, FlockOperation::Unlock);
    }
}

fn open(path: &Path, mode: Mode) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).mode(mode.bits());
    match options.open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        opened => return opened,
    }
    let file = match options.create_new(true).open(path) {
        // Another program has just created it.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            return options.create_new(false).open(path);
        }
        created => created?,
    };
    if let Mode::Exact(bits) = mode {
        file.set_permissions(fs::Permissions::from_mode(bits))?;
    }
    sync_folder(path)?;
    Ok(file)
}

/// Removes what follows the last newline. Returns the length.
fn repair(mut file: &File, path: &Path) -> io::Result<u64> {
    const STEP: u64 = 64 * 1024;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let length = metadata.len();
    let (mut end, mut step) = (length, 1);
    let complete = loop {
        let start = end.saturating_sub(step);
        let mut part = vec![0; (end - start) as usize];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut part)?;
        match part.iter().rposition(|byte| *byte == b'\n') {
            Some(at) => break start + at as u64 + 1,
            None if start == 0 => break 0,
            None => (end, step) = (start, STEP),
        }
    };
    if complete < length {
        file.set_len(complete)?;
        let (bytes, name) = (length - complete, path.display());
        tracing::warn!("{name}: removed {bytes} bytes of an incomplete line that a crash left");
    }
    Ok(complete)
}

fn write(mut file: &File, length: u64, lines: &[u8]) -> io::Result<()> {
    let written = file.write_all(lines).and_then(|()| file.sync_data());
    if written.is_err() {
        // A full disk takes a part of the lines.
        let _ = file.set_len(length);
    }
    written
}

/// Renames the file to the next free number. The largest number is the newest file.
fn rotate(path: &Path) -> io::Result<()> {
    let last = list(path)?
        .last_key_value()
        .map_or(0, |(number, _)| *number);
    fs::rename(path, numbered(path, last + 1, ""))?;
    sync_folder(path)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
