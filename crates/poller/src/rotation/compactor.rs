//! The compactor: a thread of its own that removes the oldest of too many rotated files and compresses the others, one
//! at a time, so no append waits for it.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::Builder;
use std::time::Duration;

use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use agg_client::WarnOnce;

use super::files::{Form, is_current, list, numbered, sync_folder, with_suffix};
use super::settings::{Compression, Rotation};

/// The number of attempts of the compactor to lock a file.
const MAX_LOCK_ATTEMPTS: usize = 10;

/// The compactor of a file. Its thread ends when this is dropped.
pub struct Compactor {
    wake: Option<SyncSender<()>>,
}

impl Compactor {
    /// Starts the thread, which works once at start, then on every wake-up. There is no thread if it has nothing to do.
    pub fn start(path: &Path, rotation: &Rotation) -> Compactor {
        if rotation.compress.is_none() && rotation.keep.is_none() {
            return Compactor { wake: None };
        }
        Compactor::spawn(Builder::new().name("compactor".into()), path, rotation)
    }

    fn spawn(thread: Builder, path: &Path, rotation: &Rotation) -> Compactor {
        let (wake, wake_ups) = sync_channel(1);
        let (rotation, path) = (rotation.clone(), path.to_owned());
        let run = move || {
            let mut once = WarnOnce::default();
            loop {
                for error in compact(&path, &rotation) {
                    once.warn(&error);
                }
                if wake_ups.recv().is_err() {
                    return;
                }
            }
        };
        // If the thread cannot be started, the receiver is dropped with `run`, and the next wake-up fails.
        let _ = thread.spawn(run);
        Compactor { wake: Some(wake) }
    }

    /// Wakes the thread after a rotation. Returns `false` if there is none: it has panicked, or could not be started.
    pub fn wake(&self) -> bool {
        match &self.wake {
            // If a wake-up is pending already, it covers this file too.
            Some(wake) => !matches!(wake.try_send(()), Err(TrySendError::Disconnected(()))),
            None => true,
        }
    }

    /// Creates a compactor whose thread has ended.
    #[cfg(test)]
    pub(super) fn ended() -> Compactor {
        let wake = Some(sync_channel(1).0);
        Compactor { wake }
    }

    /// Creates a compactor whose thread cannot be started: no system has so much memory for its stack.
    #[cfg(test)]
    pub(super) fn not_started(path: &Path, rotation: &Rotation) -> Compactor {
        Compactor::spawn(Builder::new().stack_size(1 << 60), path, rotation)
    }
}

/// Removes the oldest of too many rotated files and compresses the others. Returns the errors.
pub(super) fn compact(path: &Path, rotation: &Rotation) -> Vec<String> {
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
