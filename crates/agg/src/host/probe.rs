//! Looks at a file system by a helper: a process of this program that is asked on its standard input and answers on its
//! standard output. A file system that hangs takes whoever looks at it along, beyond any signal: a thread could not be
//! left behind, as the process of one that hangs does not end.

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
use crate::Ended;

/// The argument that makes the program a helper. It is no command: nobody else is to use it.
pub const WORD: &str = "probe-file-systems";

/// What the helper says when it has started.
const READY: &str = "ready";

/// What a file system tells of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Space {
    /// Its size in bytes.
    pub total: u64,
    /// Bytes to be had by users.
    pub available: u64,
    /// Whether it is mounted so.
    pub read_only: bool,
    /// `HDD` or `SSD`, where that is known.
    pub kind: Option<String>,
    /// Whether it may be pulled out.
    pub removable: bool,
}

/// What came of a look.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Look {
    /// All is well.
    Is(Space),
    /// This user may not look.
    Denied,
    /// It tells nothing, for this reason.
    Fails(String),
}

/// Looks at a file system, for as long as it takes.
pub fn look(mount: &Mount) -> Look {
    match rustix::fs::statvfs(Path::new(&mount.point)) {
        Ok(found) => {
            let device = device(mount);
            Look::Is(Space {
                total: found.f_frsize.saturating_mul(found.f_blocks),
                available: found.f_frsize.saturating_mul(found.f_bavail),
                read_only: found.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY),
                kind: device.as_deref().and_then(kind),
                removable: device.is_some_and(|path| path.to_string_lossy().contains("/usb")),
            })
        }
        Err(rustix::io::Errno::ACCESS | rustix::io::Errno::PERM) => Look::Denied,
        Err(error) => Look::Fails(io::Error::from(error).to_string()),
    }
}

/// Where the system tells about the device of a file system.
fn device(mount: &Mount) -> Option<PathBuf> {
    let named = |number: &str| fs::canonicalize(Path::new("/sys/dev/block").join(number)).ok();
    named(&mount.number).or_else(|| {
        // Btrfs has numbers of its own, and the device's name.
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

/// A partition's folder lies in that of its device.
fn kind(device: &Path) -> Option<String> {
    let rotates = |folder: &Path| fs::read_to_string(folder.join("queue/rotational")).ok();
    match rotates(device)
        .or_else(|| rotates(device.parent()?))?
        .trim()
    {
        "1" => Some("HDD".into()),
        "0" => Some("SSD".into()),
        _ => None,
    }
}

/// The helper's work, for as long as somebody asks.
///
/// Returns an error if it cannot answer.
pub fn serve() -> Result<Ended, String> {
    let mut questions = io::stdin().lock();
    let mut answers = io::stdout().lock();
    let mut answer = |text: &str| {
        writeln!(answers, "{text}")
            .and_then(|()| answers.flush())
            .map_err(|error| error.to_string())
    };
    answer(READY)?;
    while let Some(mount) = question(&mut questions) {
        answer(&serde_json::to_string(&look(&mount)).map_err(|error| error.to_string())?)?;
    }
    Ok(Ended::Done)
}

/// What one is asked with, as none of these holds a zero.
fn asked(mount: &Mount) -> Vec<u8> {
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

fn question(from: &mut impl BufRead) -> Option<Mount> {
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

/// One who looks at file systems, one after the other.
pub trait Helper {
    /// Sends it to look at a file system. It may have ended.
    fn ask(&mut self, mount: &Mount) -> io::Result<()>;

    /// Waits for what it found.
    fn answer(&mut self, wait: Duration) -> Result<Look, Silent>;

    /// Ends it. Its process may live on for as long as a file system hangs: it is to be looked after.
    fn end(self: Box<Self>) -> Option<Child>;
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silent {
    /// It has not come yet.
    Waits,
    /// The helper has ended.
    Ended,
}

/// A process of this program.
pub struct Process {
    questions: ChildStdin,
    answers: Receiver<Look>,
    child: Child,
}

impl Process {
    /// Starts it and waits until it has begun.
    ///
    /// Returns an error where the system gives none.
    pub fn start() -> Result<Box<dyn Helper>, String> {
        // As the system may be busy. No file system is looked at here.
        const START: Duration = Duration::from_secs(10);
        // Also when the program's file was replaced meanwhile.
        let mut command = Command::new("/proc/self/exe");
        command.arg0("agg").arg(WORD).current_dir("/");
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        // One that hangs is not to keep open what somebody reads to its end.
        command.stderr(Stdio::null());
        let mut child = command.spawn().map_err(|error| error.to_string())?;
        let (Some(questions), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::Error::from(io::ErrorKind::BrokenPipe).to_string());
        };
        let (begun, ready) = mpsc::channel();
        let (answer, answers) = mpsc::channel();
        let read = move || {
            let mut lines = io::BufReader::new(output).lines().map_while(Result::ok);
            if lines.next().is_some_and(|line| line == READY) && begun.send(()).is_ok() {
                let mut looks = lines.map_while(|line| serde_json::from_str(&line).ok());
                let _ = looks.try_for_each(|look| answer.send(look));
            }
        };
        let reader = std::thread::Builder::new().name("file systems".into());
        reader.spawn(read).map_err(|error| error.to_string())?;
        // From here on it is ended in any case.
        let helper = Process {
            questions,
            answers,
            child,
        };
        match ready.recv_timeout(START) {
            Ok(()) => Ok(Box::new(helper)),
            Err(_) => {
                // Ended here, it would stay as a zombie if nobody waited for it.
                if let Some(mut child) = Box::new(helper).end() {
                    let _ = child.wait();
                }
                Err("the helper does not begin".into())
            }
        }
    }
}

impl Helper for Process {
    fn ask(&mut self, mount: &Mount) -> io::Result<()> {
        self.questions.write_all(&asked(mount))
    }

    fn answer(&mut self, wait: Duration) -> Result<Look, Silent> {
        self.answers
            .recv_timeout(wait)
            .map_err(|error| match error {
                RecvTimeoutError::Timeout => Silent::Waits,
                RecvTimeoutError::Disconnected => Silent::Ended,
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
    fn a_question_arrives_as_it_was() {
        use std::os::unix::ffi::OsStringExt;
        let strange = Mount {
            point: std::ffi::OsString::from_vec(b"/a b\n\xff".to_vec()),
            ..mount("/")
        };
        let bytes = [asked(&strange), asked(&mount("/"))].concat();
        let mut from = &bytes[..];
        assert_eq!(question(&mut from), Some(strange));
        assert_eq!(question(&mut from), Some(mount("/")));
        assert_eq!(question(&mut from), None);
        assert_eq!(question(&mut &bytes[..5]), None);
    }

    #[test]
    fn the_root_has_room_and_nothing_has_none() {
        let Look::Is(space) = look(&mount("/")) else {
            panic!()
        };
        assert!(space.total > 0 && space.available <= space.total);
        assert!(matches!(look(&mount("/does/not/exist")), Look::Fails(_)));
    }

    #[test]
    fn an_answer_is_a_line() {
        for look in [look(&mount("/")), Look::Denied, Look::Fails("a\nb".into())] {
            let line = serde_json::to_string(&look).unwrap();
            assert!(!line.contains('\n'));
            assert_eq!(serde_json::from_str::<Look>(&line).unwrap(), look);
        }
    }
}
