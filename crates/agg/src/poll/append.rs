//! A file that only grows, by whole lines.
//!
//! What holds: when [`Appender::append`] returns, the lines are on the disk (fsync). What a crash left behind the last
//! newline was never acknowledged; the next write cuts it off. Any number of programs may write the same file: each
//! write holds a lock (flock), under which the file is looked at anew. No lock is waited for longer than [`PATIENCE`].

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::{FlockOperation, flock};

use agg_client::messages::warn;

use super::aside::{Rotation, move_aside};

/// How long another program may hold the file.
const PATIENCE: Duration = Duration::from_secs(5);

/// Permissions of the files that are made. One that is there already keeps its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// 0640, less what the umask forbids: records may hold what not everybody is to read.
    #[default]
    Private,
    /// Exactly these bits, whatever the umask.
    Exact(u32),
}

impl Mode {
    /// The bits with which a file is made.
    pub fn bits(self) -> u32 {
        match self {
            Mode::Private => 0o640,
            Mode::Exact(bits) => bits,
        }
    }
}

/// A file to append to; opened when it is first needed.
pub struct Appender {
    path: PathBuf,
    mode: Mode,
    /// When a new file is begun.
    rotation: Rotation,
    file: Option<File>,
    /// Whom to tell when one was moved aside.
    tidier: Option<SyncSender<()>>,
}

impl Appender {
    /// A file, and when it is moved aside.
    pub fn new(path: PathBuf, rotation: Rotation) -> Appender {
        Appender {
            tidier: rotation.tidier(&path),
            path,
            rotation,
            mode: Mode::default(),
            file: None,
        }
    }

    /// The same, whose files are made with these permissions.
    pub fn with_mode(self, mode: Mode) -> Appender {
        Appender { mode, ..self }
    }

    /// Its name.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes whole lines, all or none of them.
    pub fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        self.append_at(lines, SystemTime::now())
    }

    fn append_at(&mut self, lines: &[u8], now: SystemTime) -> io::Result<()> {
        // A file moved aside is followed by another; more than a few in a row are moved by somebody else.
        for _ in 0..5 {
            let file = match self.file.take() {
                Some(file) => file,
                None => open(&self.path, self.mode)?,
            };
            // One that was moved aside may be locked for as long as its compression takes.
            if !same(&file, &self.path)? {
                continue;
            }
            let locked = Locked::new(&file)?;
            if !same(&file, &self.path)? {
                continue;
            }
            let written = file.metadata()?.modified()?;
            let length = repair(&file, &self.path)?;
            let more = lines.len() as u64;
            if self.rotation.is_due(length, written, more, now) {
                move_aside(&self.path)?;
                drop(locked);
                if let Some(tidier) = &self.tidier {
                    // One that has not yet seen the last wink will see this file too.
                    let _ = tidier.try_send(());
                }
                continue;
            }
            write(&file, length, lines)?;
            drop(locked);
            self.file = Some(file);
            return Ok(());
        }
        Err(io::Error::other("it is moved away again and again"))
    }
}

/// The lock on a file, given back with the value.
struct Locked<'a>(&'a File);

impl Locked<'_> {
    fn new(file: &File) -> io::Result<Locked<'_>> {
        let start = Instant::now();
        loop {
            match flock(file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Locked(file)),
                Err(rustix::io::Errno::WOULDBLOCK) if start.elapsed() < PATIENCE => {
                    std::thread::sleep(Duration::from_millis(2));
                }
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    return Err(io::Error::other("another program holds it"));
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Drop for Locked<'_> {
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
        // Another program was faster.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            return options.create_new(false).open(path);
        }
        made => made?,
    };
    if let Mode::Exact(bits) = mode {
        file.set_permissions(fs::Permissions::from_mode(bits))?;
    }
    sync_folder(path)?;
    Ok(file)
}

/// Makes a new name last.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    File::open(folder)?.sync_all()
}

/// Whether the file is still the one of this name.
pub fn same(file: &File, path: &Path) -> io::Result<bool> {
    let ours = file.metadata()?;
    match fs::metadata(path) {
        Ok(named) => Ok((named.dev(), named.ino()) == (ours.dev(), ours.ino())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Cuts off what stands behind the last newline; returns the length.
fn repair(mut file: &File, path: &Path) -> io::Result<u64> {
    const STEP: u64 = 64 * 1024;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let length = metadata.len();
    let (mut end, mut step) = (length, 1);
    let good = loop {
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
    if good < length {
        file.set_len(good)?;
        let (half, name) = (length - good, path.display());
        warn(&format!(
            "{name}: cut off {half} bytes of a line that a crash left half written"
        ));
    }
    Ok(good)
}

fn write(mut file: &File, length: u64, lines: &[u8]) -> io::Result<()> {
    let written = file.write_all(lines).and_then(|()| file.sync_data());
    if written.is_err() {
        // A full disk takes a part: whole lines or none.
        let _ = file.set_len(length);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::super::aside::Packing;
    use super::*;

    fn folder() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        (dir, path)
    }

    fn at_size(size: u64) -> Rotation {
        Rotation {
            size: Some(size),
            ..Rotation::default()
        }
    }

    #[test]
    fn a_half_line_of_a_crash_is_cut_off() {
        for (left, kept) in [
            ("", ""),
            ("a\n", "a\n"),
            ("a\nhal", "a\n"),
            ("hal", ""),
            (&format!("a\n{}", "x".repeat(200_000)), "a\n"),
        ] {
            let (_dir, path) = folder();
            fs::write(&path, left).unwrap();
            Appender::new(path.clone(), Rotation::default())
                .append(b"new\n")
                .unwrap();
            let text = fs::read_to_string(&path).unwrap();
            assert_eq!(text, format!("{kept}new\n"));
        }
    }

    #[test]
    fn files_are_made_for_their_owner_and_group_alone_and_stay_so() {
        for (mode, expected) in [(Mode::Private, 0o640), (Mode::Exact(0o664), 0o664)] {
            for packing in [Packing::Zstd, Packing::Gzip] {
                let (dir, path) = folder();
                let rotation = Rotation {
                    size: Some(6),
                    compress: Some(packing),
                    ..Rotation::default()
                };
                let mut appender = Appender::new(path.clone(), rotation).with_mode(mode);
                for line in ["aa\n", "bb\n", "cc\n"] {
                    appender.append(line.as_bytes()).unwrap();
                }
                let packed = dir.path().join(match packing {
                    Packing::Zstd => "out.1.zst",
                    Packing::Gzip => "out.1.gz",
                });
                let start = Instant::now();
                while !packed.exists() || dir.path().join("out.1").exists() {
                    assert!(start.elapsed() < Duration::from_secs(120));
                    std::thread::sleep(Duration::from_millis(5));
                }
                for file in [&path, &packed] {
                    let bits = file.metadata().unwrap().permissions().mode() & 0o7777;
                    // The umask may forbid more.
                    let known = mode == Mode::Private && bits & !expected == 0 && bits >= 0o600;
                    assert!(bits == expected || known, "{file:?}: {bits:o}");
                }
            }
        }
    }

    #[test]
    fn file_that_is_there_keeps_its_permissions() {
        let (_dir, path) = folder();
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o604)).unwrap();
        let appender = Appender::new(path.clone(), Rotation::default());
        appender
            .with_mode(Mode::Exact(0o660))
            .append(b"x\n")
            .unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o604);
    }

    #[test]
    fn a_file_that_is_full_is_moved_aside() {
        let (dir, path) = folder();
        fs::write(dir.path().join("out.7"), "old").unwrap();
        let mut appender = Appender::new(path.clone(), at_size(6));
        for line in ["aa\n", "bb\n", "cc\n", "longer than all\n", "dd\n"] {
            appender.append(line.as_bytes()).unwrap();
        }
        let read = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
        assert_eq!(read("out.7"), "old");
        assert_eq!(read("out.8"), "aa\nbb\n");
        assert_eq!(read("out.9"), "cc\n");
        assert_eq!(read("out.10"), "longer than all\n");
        assert_eq!(read("out"), "dd\n");
    }

    #[test]
    fn several_write_one_file_and_no_line_is_lost() {
        let (dir, path) = folder();
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                let mut appender = Appender::new(path.clone(), at_size(400));
                std::thread::spawn(move || {
                    for n in 0..25 {
                        appender
                            .append(format!("{thread}.{n}\n").as_bytes())
                            .unwrap();
                    }
                })
            })
            .collect();
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
        let files = fs::read_dir(dir.path()).unwrap();
        let text: String = files
            .map(|file| fs::read_to_string(file.unwrap().path()).unwrap())
            .collect();
        let mut lines: Vec<&str> = text.lines().collect();
        lines.sort_unstable();
        lines.dedup();
        assert_eq!(lines.len(), 100);
    }

    #[test]
    fn a_file_whose_time_is_over_is_moved_aside_compressed_and_in_the_end_removed() {
        let (dir, path) = folder();
        let rotation = Rotation {
            every: Some(Duration::from_secs(3600)),
            compress: Some(Packing::Zstd),
            keep: Some(2),
            ..Rotation::default()
        };
        let mut appender = Appender::new(path.clone(), rotation);
        let now = SystemTime::now();
        for hour in 0..4 {
            // What is written now has the time of now, so each is of another hour than the last.
            let at = now + Duration::from_secs(3600 * hour);
            appender
                .append_at(format!("{hour}\n").as_bytes(), at)
                .unwrap();
            appender.append_at(b"more\n", now).unwrap();
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "3\nmore\n");
        let start = Instant::now();
        loop {
            let names = fs::read_dir(dir.path()).unwrap();
            let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            let mut names: Vec<String> = names.collect();
            names.sort_unstable();
            if names == ["out", "out.2.zst", "out.3.zst"] {
                break;
            }
            assert!(start.elapsed() < Duration::from_secs(20), "{names:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
        let packed = File::open(dir.path().join("out.3.zst")).unwrap();
        assert_eq!(zstd::decode_all(packed).unwrap(), b"2\nmore\n");
    }

    #[test]
    fn what_is_no_file_is_refused() {
        let mut appender = Appender::new("/dev/null".into(), Rotation::default());
        assert!(appender.append(b"x\n").is_err());
    }
}
