//! Append-only files of whole lines, and their rotation: a file that is full or whose period is over gets a number, is
//! compressed, and is removed when there are too many.
//!
//! # Invariants
//!
//! - When [`Appender::append`] returns, the lines are on the disk (fsync). What a crash left after the last newline was
//!   never acknowledged; the next append removes it.
//! - Any number of programs may append to the same file: each append holds a lock (flock), under which the file is
//!   examined anew. No lock is waited for longer than [`LOCK_TIMEOUT`].
//! - A rotated file does not change any more. Of each number there is the plain file or the complete compressed one,
//!   whatever crashes: the compressed file is written under a temporary name, synced, and renamed before the plain one
//!   is removed. What a crash left is finished at the next start. A lock on the plain file decides which program
//!   compresses it.
//! - The compactor is a thread of its own that handles one file at a time, so no append waits for it.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::{Duration, Instant, SystemTime};

use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use agg_client::messages::{WarnOnce, warn};

/// How long another program may hold the lock.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);
/// How often an append starts over. Each rotation costs one attempt; more than a few in a row are done by others.
const MAX_ATTEMPTS: usize = 5;
/// How often the compactor tries to lock a file.
const MAX_LOCK_ATTEMPTS: usize = 10;

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

/// When a file is rotated, and what becomes of the rotated files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rotation {
    /// Rotate before the file would exceed this size in bytes.
    pub size: Option<u64>,
    /// Rotate when a multiple of this period, by UTC, has passed since the last append.
    pub every: Option<Duration>,
    /// How rotated files are compressed.
    pub compress: Option<Compression>,
    /// How many rotated files are kept.
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
    fn extension(self) -> &'static str {
        match self {
            Compression::Zstd => "zst",
            Compression::Gzip => "gz",
        }
    }
}

impl Rotation {
    /// Returns whether a file of `length` bytes, last modified at `modified`, is to be rotated before `more` bytes are
    /// appended.
    fn is_due(&self, length: u64, modified: SystemTime, more: u64, now: SystemTime) -> bool {
        let is_full = self.size.is_some_and(|size| length + more > size);
        let period = |time: SystemTime, every: Duration| {
            let since = time.duration_since(SystemTime::UNIX_EPOCH);
            since.unwrap_or_default().as_millis() / every.as_millis().max(1)
        };
        let is_over = |every| period(modified, every) < period(now, every);
        length > 0 && (is_full || self.every.is_some_and(is_over))
    }

    /// Starts the compactor: a thread that compresses and removes rotated files, once at start, then on every wake-up.
    /// It ends when the sender is dropped. Returns `None` if there is nothing to do.
    fn start_compactor(&self, path: &Path) -> Option<SyncSender<()>> {
        if self.compress.is_none() && self.keep.is_none() {
            return None;
        }
        let (wake, wake_ups) = sync_channel(1);
        let (rotation, path) = (self.clone(), path.to_owned());
        let thread = std::thread::Builder::new().name("compactor".into());
        let run = move || {
            let mut once = WarnOnce::default();
            loop {
                for error in compact(&path, &rotation) {
                    once.say(&error);
                }
                if wake_ups.recv().is_err() {
                    return;
                }
            }
        };
        // Without a thread the files stay as they are until the next start.
        thread.spawn(run).ok().map(|_| wake)
    }
}

/// A file to append to. It is opened when it is first needed.
pub struct Appender {
    path: PathBuf,
    mode: Mode,
    rotation: Rotation,
    file: Option<File>,
    /// Wakes the compactor after a rotation.
    compactor: Option<SyncSender<()>>,
}

impl Appender {
    /// Creates an appender, and starts the compactor if the rotation needs one.
    pub fn new(path: PathBuf, rotation: Rotation) -> Appender {
        Appender {
            compactor: rotation.start_compactor(&path),
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
                if let Some(wake) = &self.compactor {
                    // If a wake-up is pending already, it covers this file too.
                    let _ = wake.try_send(());
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

/// Makes a new or renamed file survive a crash.
fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(folder(path))?.sync_all()
}

/// Returns whether the path still leads to the open file.
fn is_current(file: &File, path: &Path) -> io::Result<bool> {
    let ours = file.metadata()?;
    match fs::metadata(path) {
        Ok(named) => Ok((named.dev(), named.ino()) == (ours.dev(), ours.ino())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
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
        warn(&format!(
            "{name}: removed {bytes} bytes of an incomplete line that a crash left"
        ));
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

/// Removes the oldest of too many rotated files and compresses the others. Returns the errors.
fn compact(path: &Path, rotation: &Rotation) -> Vec<String> {
    let mut numbers = match list(path) {
        Ok(numbers) => numbers,
        // There is no folder yet.
        Err(error) if error.kind() == ErrorKind::NotFound => return Vec::new(),
        Err(error) => return vec![format!("{}: {error}", path.display())],
    };
    let mut errors = Vec::new();
    let mut note = |what: &str, path: &Path, result: io::Result<()>| match result {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            errors.push(format!("cannot {what} {}: {error}", path.display()));
        }
        _ => {}
    };
    while numbers.len() > rotation.keep.unwrap_or(usize::MAX) {
        let oldest = numbers.pop_first();
        for name in oldest.iter().flat_map(|(_, files)| files.values()) {
            let file = path.with_file_name(name);
            note("remove", &file, fs::remove_file(&file));
        }
    }
    let Some(compression) = rotation.compress else {
        return errors;
    };
    for (number, files) in numbers {
        if files.contains_key(&Form::Plain) {
            let plain = numbered(path, number, "");
            note("compress", &plain, compress(&plain, compression));
        }
    }
    errors
}

/// The form of a rotated file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Form {
    Plain,
    Compressed,
    /// Partly compressed, under its temporary name.
    Unfinished,
}

/// Lists the rotated files: by number, their names by form.
fn list(path: &Path) -> io::Result<BTreeMap<u64, BTreeMap<Form, OsString>>> {
    let name = path.file_name().unwrap_or_default();
    let mut numbers: BTreeMap<u64, BTreeMap<Form, OsString>> = BTreeMap::new();
    for entry in fs::read_dir(folder(path))? {
        let other = entry?.file_name();
        if let Some((number, form)) = parse(name, &other) {
            numbers.entry(number).or_default().insert(form, other);
        }
    }
    Ok(numbers)
}

/// Reads the number and the form from the name of a rotated file.
fn parse(name: &OsStr, other: &OsStr) -> Option<(u64, Form)> {
    let rest = other
        .as_encoded_bytes()
        .strip_prefix(name.as_encoded_bytes())?;
    let rest = std::str::from_utf8(rest.strip_prefix(b".")?).ok()?;
    let (digits, extension) = rest.split_once('.').unwrap_or((rest, ""));
    let form = match extension {
        "" if !rest.ends_with('.') => Form::Plain,
        "zst" | "gz" => Form::Compressed,
        "zst.tmp" | "gz.tmp" => Form::Unfinished,
        _ => return None,
    };
    let digits = Some(digits).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    Some((digits?.parse().ok()?, form))
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// Returns the path of a rotated file; `suffix` begins with a dot.
fn numbered(path: &Path, number: u64, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{number}{suffix}"));
    folder(path).join(name)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Replaces a plain file with a compressed one.
fn compress(plain: &Path, compression: Compression) -> io::Result<()> {
    let file = File::open(plain)?;
    if !lock_to_compress(&file)? || !is_current(&file, plain)? {
        return Ok(());
    }
    let compressed = with_suffix(plain, &format!(".{}", compression.extension()));
    if compressed.exists() {
        // Either a crash came before the plain file was removed, or the file is somebody else's.
        if !has_contents(&compressed, compression, &file)? {
            let name = compressed.display();
            let text = format!("{name} already exists with other contents");
            return Err(io::Error::other(text));
        }
    } else {
        let unfinished = with_suffix(&compressed, ".tmp");
        if let Err(error) = write_compressed(&unfinished, compression, &file) {
            let _ = fs::remove_file(&unfinished);
            return Err(error);
        }
        fs::rename(&unfinished, &compressed)?;
        sync_folder(&compressed)?;
    }
    fs::remove_file(plain)?;
    // One of the other format may be left from before the configuration changed.
    for suffix in [".zst.tmp", ".gz.tmp"] {
        let _ = fs::remove_file(with_suffix(plain, suffix));
    }
    Ok(())
}

/// Locks a rotated file. Returns `false` if another program compresses it.
fn lock_to_compress(file: &File) -> io::Result<bool> {
    for _ in 1..MAX_LOCK_ATTEMPTS {
        match flock(file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(true),
            // An appender releases the lock as soon as it sees that the file was rotated.
            Err(Errno::WOULDBLOCK) => std::thread::sleep(Duration::from_millis(10)),
            Err(error) => return Err(error.into()),
        }
    }
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn write_compressed(path: &Path, compression: Compression, mut plain: &File) -> io::Result<()> {
    // Nobody else may read the file before it has the permissions of the plain one.
    let mut options = File::options();
    options.write(true).create(true).truncate(true).mode(0o600);
    let out = options.open(path)?;
    let out = match compression {
        Compression::Zstd => {
            let mut encoder = zstd::Encoder::new(out, 0)?;
            encoder.include_checksum(true)?;
            io::copy(&mut plain, &mut encoder)?;
            encoder.finish()?
        }
        Compression::Gzip => {
            let mut encoder = GzEncoder::new(out, flate2::Compression::default());
            io::copy(&mut plain, &mut encoder)?;
            encoder.finish()?
        }
    };
    out.set_permissions(plain.metadata()?.permissions())?;
    out.sync_all()
}

/// Returns whether a compressed file has the contents of the plain one.
fn has_contents(path: &Path, compression: Compression, mut plain: &File) -> io::Result<bool> {
    let file = File::open(path)?;
    let mut decoder: Box<dyn Read> = match compression {
        Compression::Zstd => Box::new(zstd::Decoder::new(file)?),
        Compression::Gzip => Box::new(GzDecoder::new(file)),
    };
    let (mut ours, mut theirs) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    loop {
        let count = decoder.read(&mut theirs)?;
        if count == 0 {
            return Ok(plain.read(&mut ours)? == 0);
        }
        match plain.read_exact(&mut ours[..count]) {
            Ok(()) if ours[..count] == theirs[..count] => {}
            Ok(()) => return Ok(false),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(false),
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
