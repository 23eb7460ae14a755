//! What becomes of a file that is full or whose time is over: it gets a number, is compressed, and goes when there are
//! too many.
//!
//! What holds: a file that was moved aside changes no more. Of each number there is the plain file or the whole
//! compressed one, whatever crashes: the latter is written under another name, synced, and renamed before the former is
//! removed; what a crash left is finished at the next start. Several programs may do this to the same files: a lock on
//! the plain one decides who does it. It is done in a thread of its own, one file at a time, so no write waits for it.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::{Duration, SystemTime};

use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use rustix::fs::{FlockOperation, flock};

use agg_client::messages::WarnOnce;

use super::append::{same, sync_folder};

/// When a file is moved aside, and what becomes of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rotation {
    /// Before it would be larger than this.
    pub size: Option<u64>,
    /// When a multiple of this has passed since it was last written, by UTC.
    pub every: Option<Duration>,
    /// How it is compressed then.
    pub compress: Option<Packing>,
    /// How many of them are kept.
    pub keep: Option<usize>,
}

/// A way to compress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    Zstd,
    Gzip,
}

/// What a file beside the current one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Form {
    Plain,
    Packed,
    /// Compressed by half.
    Unfinished,
}

impl Packing {
    fn ending(self) -> &'static str {
        match self {
            Packing::Zstd => "zst",
            Packing::Gzip => "gz",
        }
    }
}

impl Rotation {
    /// Whether a file of this length, last written then, is to be moved aside before so much more is written.
    pub fn is_due(&self, length: u64, written: SystemTime, more: u64, now: SystemTime) -> bool {
        let full = self.size.is_some_and(|size| length + more > size);
        let period = |time: SystemTime, every: Duration| {
            let since = time.duration_since(SystemTime::UNIX_EPOCH);
            since.unwrap_or_default().as_millis() / every.as_millis().max(1)
        };
        let passed = |every| period(written, every) < period(now, every);
        length > 0 && (full || self.every.is_some_and(passed))
    }

    /// A thread that compresses and removes, first what there is and then at each wink; none where nothing is to be
    /// done. It ends with the sender.
    pub fn tidier(&self, path: &Path) -> Option<SyncSender<()>> {
        if self.compress.is_none() && self.keep.is_none() {
            return None;
        }
        let (wink, winks) = sync_channel(1);
        let (rotation, path) = (self.clone(), path.to_owned());
        let thread = std::thread::Builder::new().name("rotate".into());
        let work = move || {
            let mut once = WarnOnce::default();
            loop {
                for fault in tidy(&path, &rotation) {
                    once.say(&fault);
                }
                if winks.recv().is_err() {
                    return;
                }
            }
        };
        // Without a thread the files stay as they are until the next start.
        thread.spawn(work).ok().map(|_| wink)
    }
}

/// Gives the file the next free number behind its name; the largest is the newest.
pub fn move_aside(path: &Path) -> io::Result<()> {
    let last = list(path)?
        .last_key_value()
        .map_or(0, |(number, _)| *number);
    fs::rename(path, beside(path, last + 1, ""))?;
    sync_folder(path)
}

/// Removes what is too much and compresses the rest. Returns what went wrong.
fn tidy(path: &Path, rotation: &Rotation) -> Vec<String> {
    let mut numbers = match list(path) {
        Ok(numbers) => numbers,
        // There is no folder yet.
        Err(error) if error.kind() == ErrorKind::NotFound => return Vec::new(),
        Err(error) => return vec![format!("{}: {error}", path.display())],
    };
    let mut faults = Vec::new();
    let mut note = |what: &str, path: &Path, result: io::Result<()>| match result {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            faults.push(format!("cannot {what} {}: {error}", path.display()));
        }
        _ => {}
    };
    while numbers.len() > rotation.keep.unwrap_or(usize::MAX) {
        let oldest = numbers.pop_first();
        for ending in oldest.iter().flat_map(|(_, files)| files.values()) {
            let name = path.with_file_name(ending);
            note("remove", &name, fs::remove_file(&name));
        }
    }
    let Some(packing) = rotation.compress else {
        return faults;
    };
    for (number, files) in numbers {
        if files.contains_key(&Form::Plain) {
            let plain = beside(path, number, "");
            note("compress", &plain, pack(&plain, packing));
        }
    }
    faults
}

/// The files that were moved aside: by number, the names by form.
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

fn parse(name: &OsStr, other: &OsStr) -> Option<(u64, Form)> {
    let rest = other
        .as_encoded_bytes()
        .strip_prefix(name.as_encoded_bytes())?;
    let rest = std::str::from_utf8(rest.strip_prefix(b".")?).ok()?;
    let (digits, ending) = rest.split_once('.').unwrap_or((rest, ""));
    let form = match ending {
        "" if !rest.ends_with('.') => Form::Plain,
        "zst" | "gz" => Form::Packed,
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

/// A name with a number and an ending (with its dot) behind it.
fn beside(path: &Path, number: u64, ending: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{number}{ending}"));
    folder(path).join(name)
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// Puts a compressed file in the place of a plain one.
fn pack(plain: &Path, packing: Packing) -> io::Result<()> {
    let file = File::open(plain)?;
    // One who writes lines lets go of it at once, as soon as he sees that it was moved.
    for attempt in 1.. {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => break,
            Err(rustix::io::Errno::WOULDBLOCK) if attempt < 10 => {
                std::thread::sleep(Duration::from_millis(10));
            }
            // Another program does it.
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
    if !same(&file, plain)? {
        return Ok(());
    }
    let packed = with_ending(plain, &format!(".{}", packing.ending()));
    if packed.exists() {
        // A crash came before the plain one was removed. Or it is another's.
        if !holds(&packed, packing, &file)? {
            let text = format!("{} is there and holds something else", packed.display());
            return Err(io::Error::other(text));
        }
    } else {
        let unfinished = with_ending(&packed, ".tmp");
        if let Err(error) = write(&unfinished, packing, &file) {
            let _ = fs::remove_file(&unfinished);
            return Err(error);
        }
        fs::rename(&unfinished, &packed)?;
        sync_folder(&packed)?;
    }
    fs::remove_file(plain)?;
    // One of another way to compress, that was given up.
    for ending in [".zst.tmp", ".gz.tmp"] {
        let _ = fs::remove_file(with_ending(plain, ending));
    }
    Ok(())
}

fn write(path: &Path, packing: Packing, mut plain: &File) -> io::Result<()> {
    // Nobody else reads it before it has the permissions of the plain one.
    let mut options = File::options();
    options.write(true).create(true).truncate(true).mode(0o600);
    let out = options.open(path)?;
    let out = match packing {
        Packing::Zstd => {
            let mut encoder = zstd::Encoder::new(out, 0)?;
            encoder.include_checksum(true)?;
            io::copy(&mut plain, &mut encoder)?;
            encoder.finish()?
        }
        Packing::Gzip => {
            let mut encoder = GzEncoder::new(out, flate2::Compression::default());
            io::copy(&mut plain, &mut encoder)?;
            encoder.finish()?
        }
    };
    out.set_permissions(plain.metadata()?.permissions())?;
    out.sync_all()
}

/// Whether a compressed file holds what the plain one does.
fn holds(packed: &Path, packing: Packing, mut plain: &File) -> io::Result<bool> {
    let packed = File::open(packed)?;
    let mut unpacked: Box<dyn Read> = match packing {
        Packing::Zstd => Box::new(zstd::Decoder::new(packed)?),
        Packing::Gzip => Box::new(GzDecoder::new(packed)),
    };
    let (mut ours, mut theirs) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    loop {
        let count = unpacked.read(&mut theirs)?;
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
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let names = fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name());
        let names: BTreeSet<String> = names.map(|name| name.into_string().unwrap()).collect();
        names.into_iter().collect()
    }

    fn unpack(path: &Path) -> String {
        let (bytes, mut text) = (fs::read(path).unwrap(), String::new());
        let read = match path.extension().unwrap() == "zst" {
            true => zstd::Decoder::new(&bytes[..])
                .unwrap()
                .read_to_string(&mut text),
            false => GzDecoder::new(&bytes[..]).read_to_string(&mut text),
        };
        read.unwrap();
        text
    }

    fn rotation(compress: Option<Packing>, keep: Option<usize>) -> Rotation {
        Rotation {
            compress,
            keep,
            ..Rotation::default()
        }
    }

    #[test]
    fn what_was_moved_aside_is_compressed_whole() {
        for packing in [Packing::Zstd, Packing::Gzip] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("out");
            let long = "a line\n".repeat(50_000);
            for (name, text) in [
                ("out", "now\n"),
                ("out.1", &*long),
                // What crashes left: half of a compressed file, and a plain one beside a whole one.
                ("out.2", "two\n"),
                ("out.2.zst.tmp", "half"),
                ("out.2.gz.tmp", "half"),
                // Not ours.
                ("out.x", "x"),
                ("out.3.txt", "x"),
                ("other.1", "x"),
            ] {
                fs::write(dir.path().join(name), text).unwrap();
            }
            let end = packing.ending();
            fs::write(dir.path().join("out.4"), "four\n").unwrap();
            assert_eq!(tidy(&path, &rotation(Some(packing), None)), [""; 0]);
            fs::write(dir.path().join("out.4"), "four\n").unwrap();
            assert_eq!(tidy(&path, &rotation(Some(packing), None)), [""; 0]);
            let packed = [1, 2, 4].map(|number| format!("out.{number}.{end}"));
            let mut expected = vec!["other.1", "out", "out.3.txt", "out.x"];
            expected.extend(packed.iter().map(|name| &**name));
            expected.sort_unstable();
            assert_eq!(names(dir.path()), expected);
            assert_eq!(unpack(&dir.path().join(&packed[0])), long);
            assert_eq!(unpack(&dir.path().join(&packed[2])), "four\n");
            // Nothing is overwritten or removed that is not what it seems.
            fs::write(dir.path().join("out.4"), "five\n").unwrap();
            let faults = tidy(&path, &rotation(Some(packing), None));
            assert!(
                faults[0].ends_with("is there and holds something else"),
                "{faults:?}"
            );
            assert!(dir.path().join("out.4").exists());
            move_aside(&path).unwrap();
            assert!(dir.path().join("out.5").exists());
        }
    }

    #[test]
    fn the_oldest_go() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        for name in [
            "out",
            "out.8",
            "out.9",
            "out.9.zst.tmp",
            "out.10.gz",
            "out.11",
            "out.x",
        ] {
            fs::write(dir.path().join(name), "x").unwrap();
        }
        assert_eq!(tidy(&path, &rotation(None, Some(2))), [""; 0]);
        assert_eq!(names(dir.path()), ["out", "out.10.gz", "out.11", "out.x"]);
        assert_eq!(
            tidy(Path::new("/no/such/out"), &rotation(None, Some(2))),
            [""; 0]
        );
    }

    #[test]
    fn one_that_another_program_compresses_is_left_to_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        fs::write(dir.path().join("out.1"), "x").unwrap();
        let file = File::open(dir.path().join("out.1")).unwrap();
        flock(&file, FlockOperation::LockExclusive).unwrap();
        assert_eq!(tidy(&path, &rotation(Some(Packing::Zstd), None)), [""; 0]);
        assert_eq!(names(dir.path()), ["out.1"]);
    }

    #[test]
    fn the_time_is_over_at_multiples() {
        let hourly = Rotation {
            every: Some(Duration::from_secs(3600)),
            ..Rotation::default()
        };
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        assert!(!hourly.is_due(1, at(3600), 1, at(7199)));
        assert!(hourly.is_due(1, at(3600), 1, at(7200)));
        assert!(hourly.is_due(1, at(7199), 1, at(7200)));
        // Empty, or of a clock that was ahead.
        assert!(!hourly.is_due(0, at(3600), 1, at(7200)));
        assert!(!hourly.is_due(1, at(7200), 1, at(3600)));
    }
}
