//! A file of JSON lines. As root it is on a file system of its own, in the mount namespace of the poller.

use std::fs::File as Open;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{FlockOperation, flock};

use crate::support::place;
use crate::support::proxy::Proxy;
use crate::support::small_disk::SmallDisk;

use super::super::target::{Fault, Guarantee, Target};

/// The size of the disk that becomes full, bytes.
const DISK: u64 = 8 << 20;

pub struct File {
    folder: tempfile::TempDir,
    disk: Option<SmallDisk>,
    lock: Option<Open>,
}

impl File {
    /// Returns the path of the file as the tests see it.
    fn path(&self) -> PathBuf {
        match &self.disk {
            Some(disk) => disk.path().join("records"),
            None => self.folder.path().join("in/records"),
        }
    }

    fn aside(&self) -> PathBuf {
        self.folder.path().join("aside")
    }
}

impl Target for File {
    const NAME: &'static str = "file";
    const SERVER: &'static str = "a file";
    const GUARANTEE: Guarantee = Guarantee::AtLeastOnce;

    fn support(fault: Fault) -> Result<(), &'static str> {
        match fault {
            Fault::Cut => Err("a write to a file has no reply that can be lost"),
            Fault::Reject => Err("a file takes any record"),
            _ => Ok(()),
        }
    }

    fn start(fault: Fault) -> Option<File> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("in")).unwrap();
        let disk = match fault {
            Fault::Full => Some(SmallDisk::new(&folder.path().join("in"), DISK)?),
            _ => None,
        };
        Some(File {
            folder,
            disk,
            lock: None,
        })
    }

    fn sink(&self) -> String {
        let path = self.folder.path().join("in/records");
        format!("type = \"file\"\npath = \"{}\"", path.display())
    }

    fn wrap(&self, command: Command) -> Command {
        match &self.disk {
            Some(disk) => disk.wrap(command),
            None => command,
        }
    }

    fn attach(&mut self, pid: u32) {
        if let Some(disk) = &mut self.disk {
            disk.attach(pid);
        }
    }

    fn stored(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.path()).unwrap_or_default();
        // The last line may be incomplete.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let ids = whole.lines().map(place::id);
        ids.map(|(node, queue, id)| format!("{node} {queue} {id}"))
            .collect()
    }

    fn is_locked(&self) -> bool {
        let Ok(open) = Open::open(self.path()) else {
            return false;
        };
        flock(&open, FlockOperation::NonBlockingLockExclusive).is_err()
    }

    fn proxy(&self) -> Option<&Proxy> {
        None
    }

    fn inflict(&mut self, fault: Fault) -> &'static str {
        let folder = self.folder.path().join("in");
        match fault {
            Fault::Away => {
                std::fs::rename(folder, self.aside()).unwrap();
                "No such file or directory"
            }
            Fault::Slow => {
                let open = Open::options()
                    .create(true)
                    .append(true)
                    .open(self.path())
                    .unwrap();
                flock(&open, FlockOperation::LockExclusive).unwrap();
                self.lock = Some(open);
                "another program has locked it"
            }
            Fault::Full => {
                self.disk.as_ref().unwrap().fill();
                "No space left on device"
            }
            Fault::Conflict => {
                std::fs::create_dir(self.path()).unwrap();
                "Is a directory"
            }
            _ => "",
        }
    }

    fn repair(&mut self, fault: Fault) {
        let folder: &Path = &self.folder.path().join("in");
        match fault {
            Fault::Away => std::fs::rename(self.aside(), folder).unwrap(),
            Fault::Full => self.disk.as_ref().unwrap().empty(),
            Fault::Conflict => std::fs::remove_dir(self.path()).unwrap(),
            _ => self.lock = None,
        }
    }
}
