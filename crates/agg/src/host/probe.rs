//! Probes file systems from a helper process: this program, started a second time, which reads requests from its
//! standard input and answers on its standard output.
//!
//! A file system that hangs blocks whoever reads it, and no signal ends that. A thread would not do: a process does not
//! end as long as one of its threads is blocked so.

use std::fs;
use std::io::{self, BufRead, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::mounts::Mount;

/// The argument that makes the program a helper. Internal, and therefore no documented command.
pub const ARGUMENT: &str = "probe-file-systems";

/// The helper's first line.
const READY: &str = "ready";

/// The space and the properties of a file system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Space {
    /// Size in bytes.
    pub total: u64,
    /// Bytes available to users.
    pub available: u64,
    /// True if it is mounted read-only.
    pub read_only: bool,
    /// `HDD` or `SSD`, if known.
    pub kind: Option<String>,
    /// True if it is a USB device.
    pub removable: bool,
}

/// The result of a probe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Probe {
    Space(Space),
    /// The mount point is a file, as containers have for /etc/hosts: a part of a file system that is mounted elsewhere.
    File,
    /// The user lacks the permission.
    Denied,
    /// The file system reports nothing, for this reason.
    Failed(String),
}

/// Probes a file system, however long that takes.
pub fn probe(mount: &Mount) -> Probe {
    if fs::metadata(&mount.point).is_ok_and(|point| !point.is_dir()) {
        return Probe::File;
    }
    match rustix::fs::statvfs(Path::new(&mount.point)) {
        Ok(found) => {
            let device = device(mount);
            Probe::Space(Space {
                total: found.f_frsize.saturating_mul(found.f_blocks),
                available: found.f_frsize.saturating_mul(found.f_bavail),
                read_only: found.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY),
                kind: device.as_deref().and_then(kind),
                removable: device.is_some_and(|path| path.to_string_lossy().contains("/usb")),
            })
        }
        Err(rustix::io::Errno::ACCESS | rustix::io::Errno::PERM) => Probe::Denied,
        Err(error) => Probe::Failed(io::Error::from(error).to_string()),
    }
}

/// Returns the sysfs directory of the device of a file system.
fn device(mount: &Mount) -> Option<PathBuf> {
    let named = |number: &str| fs::canonicalize(Path::new("/sys/dev/block").join(number)).ok();
    named(&mount.number).or_else(|| {
        // Btrfs has device numbers of its own, but it names the device.
        let source = Path::new(&mount.source);
        let number = fs::metadata(source.starts_with("/dev").then_some(source)?)
            .ok()?
            .rdev();
        named(&format!(
            "{}:{}",
            rustix::fs::major(number),
            rustix::fs::minor(number)
        ))
    })
}

/// Returns `HDD` or `SSD`. The directory of a partition is within that of its device.
fn kind(device: &Path) -> Option<String> {
    let rotational = |directory: &Path| fs::read_to_string(directory.join("queue/rotational")).ok();
    match rotational(device)
        .or_else(|| rotational(device.parent()?))?
        .trim()
    {
        "1" => Some("HDD".into()),
        "0" => Some("SSD".into()),
        _ => None,
    }
}

/// Answers requests until standard input ends.
///
/// # Errors
/// An answer cannot be written.
pub fn serve() -> io::Result<()> {
    let mut requests = io::stdin().lock();
    let mut answers = io::stdout().lock();
    let mut answer = |text: &str| -> io::Result<()> {
        writeln!(answers, "{text}")?;
        answers.flush()
    };
    answer(READY)?;
    while let Some(mount) = read_request(&mut requests) {
        answer(&serde_json::to_string(&probe(&mount))?)?;
    }
    Ok(())
}

/// Returns a request: four fields, each ended by a zero byte, which none of them contains.
fn request(mount: &Mount) -> Vec<u8> {
    let words = [
        mount.point.as_bytes(),
        mount.source.as_bytes(),
        mount.kind.as_bytes(),
        mount.number.as_bytes(),
    ];
    words
        .iter()
        .flat_map(|word| word.iter().copied().chain([0]))
        .collect()
}

fn read_request(from: &mut impl BufRead) -> Option<Mount> {
    use std::os::unix::ffi::OsStringExt;
    let mut word = || {
        let mut word = Vec::new();
        from.read_until(0, &mut word).ok()?;
        (word.pop()? == 0).then_some(word)
    };
    let (point, source) = (word()?, word()?);
    Some(Mount {
        point: std::ffi::OsString::from_vec(point),
        source: std::ffi::OsString::from_vec(source),
        kind: String::from_utf8(word()?).ok()?,
        number: String::from_utf8(word()?).ok()?,
    })
}

/// Probes file systems, one after the other.
pub trait Helper {
    /// Sends a request. The helper may have ended.
    fn ask(&mut self, mount: &Mount) -> io::Result<()>;

    /// Waits for the answer.
    fn answer(&mut self, timeout: Duration) -> Result<Probe, NoAnswer>;

    /// Ends the helper. Returns its process, which may live on as long as the file system hangs, and which must be
    /// waited for.
    fn end(self: Box<Self>) -> Option<Child>;
}

/// The reason for a missing answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoAnswer {
    /// Not within the timeout.
    Pending,
    /// The helper has exited.
    Exited,
}

/// A helper process.
pub struct Process {
    requests: ChildStdin,
    answers: Receiver<Probe>,
    child: Child,
}

impl Process {
    /// Starts a helper and waits for its first line.
    ///
    /// # Errors
    /// The process cannot be started, or does not answer.
    pub fn start() -> Result<Box<dyn Helper>, String> {
        // Long, as the system may be busy. The helper reads no file system before its first line.
        const START_TIMEOUT: Duration = Duration::from_secs(10);
        // Works even if the program's file was replaced meanwhile.
        let mut command = Command::new("/proc/self/exe");
        command.arg0("agg").arg(ARGUMENT).current_dir("/");
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        // A helper that hangs must not keep a pipe open that somebody reads to its end.
        command.stderr(Stdio::null());
        let mut child = command.spawn().map_err(|error| error.to_string())?;
        let (Some(requests), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::Error::from(io::ErrorKind::BrokenPipe).to_string());
        };
        let (started, ready) = mpsc::channel();
        let (answer, answers) = mpsc::channel();
        let read = move || {
            let mut lines = io::BufReader::new(output).lines().map_while(Result::ok);
            if lines.next().is_some_and(|line| line == READY) && started.send(()).is_ok() {
                let mut probes = lines.map_while(|line| serde_json::from_str(&line).ok());
                // Fails once the receiver is dropped.
                let _ = probes.try_for_each(|probe| answer.send(probe));
            }
        };
        let reader = std::thread::Builder::new().name("file systems".into());
        reader.spawn(read).map_err(|error| error.to_string())?;
        // From here on the process is ended in any case.
        let helper = Process {
            requests,
            answers,
            child,
        };
        match ready.recv_timeout(START_TIMEOUT) {
            Ok(()) => Ok(Box::new(helper)),
            Err(_) => {
                // Waited for, as it would stay a zombie otherwise.
                if let Some(mut child) = Box::new(helper).end() {
                    let _ = child.wait();
                }
                Err("the helper process does not answer".into())
            }
        }
    }
}

impl Helper for Process {
    fn ask(&mut self, mount: &Mount) -> io::Result<()> {
        self.requests.write_all(&request(mount))
    }

    fn answer(&mut self, timeout: Duration) -> Result<Probe, NoAnswer> {
        self.answers
            .recv_timeout(timeout)
            .map_err(|error| match error {
                RecvTimeoutError::Timeout => NoAnswer::Pending,
                RecvTimeoutError::Disconnected => NoAnswer::Exited,
            })
    }

    fn end(mut self: Box<Self>) -> Option<Child> {
        let _ = self.child.kill();
        Some(self.child)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(point: &str) -> Mount {
        Mount {
            point: point.into(),
            source: "/dev/none".into(),
            kind: "ext4".into(),
            number: "0:0".into(),
        }
    }

    #[test]
    fn request_is_read_as_it_was_written() {
        use std::os::unix::ffi::OsStringExt;
        let strange = Mount {
            point: std::ffi::OsString::from_vec(b"/a b\n\xff".to_vec()),
            ..mount("/")
        };
        let bytes = [request(&strange), request(&mount("/"))].concat();
        let mut from = &bytes[..];
        assert_eq!(read_request(&mut from), Some(strange));
        assert_eq!(read_request(&mut from), Some(mount("/")));
        assert_eq!(read_request(&mut from), None);
        assert_eq!(read_request(&mut &bytes[..5]), None);
    }

    #[test]
    fn root_has_space_and_a_missing_mount_fails() {
        let Probe::Space(space) = probe(&mount("/")) else {
            panic!()
        };
        assert!(space.total > 0 && space.available <= space.total);
        assert!(matches!(probe(&mount("/does/not/exist")), Probe::Failed(_)));
    }

    #[test]
    fn mounted_file_has_no_space_of_its_own() {
        assert_eq!(probe(&mount("/proc/self/exe")), Probe::File);
    }

    #[test]
    fn answer_is_one_line() {
        for answer in [
            probe(&mount("/")),
            Probe::File,
            Probe::Denied,
            Probe::Failed("a\nb".into()),
        ] {
            let line = serde_json::to_string(&answer).unwrap();
            assert!(!line.contains('\n'));
            assert_eq!(serde_json::from_str::<Probe>(&line).unwrap(), answer);
        }
    }
}
