//! A small file system that can be full: a tmpfs in the mount namespace of one program, with which it ends.
//!
//! # Invariants
//!
//! Nothing is written before the path is seen to be a tmpfs of this size, and never more than its size: a file system of
//! the machine is never filled.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::statfs;

use super::until;

/// The file system type of a tmpfs.
const TMPFS: u64 = 0x0102_1994;
const BALLAST: &str = "ballast";
const PART: usize = 4096;

/// A file system at a path that only one program sees.
pub struct SmallDisk {
    mounted: PathBuf,
    bytes: u64,
    pid: u32,
}

impl SmallDisk {
    /// Names the directory where the program sees it; `None` without root permissions.
    pub fn new(path: &Path, bytes: u64) -> Option<SmallDisk> {
        let mut may = Command::new("unshare");
        may.args(["-m", "sh", "-c", "mount -t tmpfs none /mnt"]);
        may.stdout(Stdio::null()).stderr(Stdio::null());
        if !may.status().is_ok_and(|status| status.success()) {
            eprintln!("skipped: no file system can be mounted here");
            return None;
        }
        let mounted = path.to_owned();
        Some(SmallDisk {
            mounted,
            bytes,
            pid: 0,
        })
    }

    /// Returns a command that mounts the file system and becomes this one, with the same process id.
    pub fn wrap(&self, inner: Command) -> Command {
        let script = format!(
            "mount -t tmpfs -o size={} none \"$0\" && exec \"$@\"",
            self.bytes
        );
        let mut command = Command::new("unshare");
        command.args(["-m", "--propagation", "private", "sh", "-c", &script]);
        command
            .arg(&self.mounted)
            .arg(inner.get_program())
            .args(inner.get_args());
        for (name, value) in inner.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        if let Some(dir) = inner.get_current_dir() {
            command.current_dir(dir);
        }
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Notes the process that [`SmallDisk::wrap`] started.
    pub fn attach(&mut self, pid: u32) {
        self.pid = pid;
    }

    /// Returns the path of the file system from outside of the program.
    pub fn path(&self) -> PathBuf {
        let inside = self.mounted.strip_prefix("/").unwrap();
        Path::new("/proc")
            .join(self.pid.to_string())
            .join("root")
            .join(inside)
    }

    /// Waits until it is mounted and writes until nothing fits any more.
    pub fn fill(&self) {
        until("the small file system is mounted", || {
            self.is_mounted().then_some(())
        });
        let mut file = std::fs::File::create(self.path().join(BALLAST)).unwrap();
        let part = [0; PART];
        let mut written = 0;
        while written < self.bytes && file.write_all(&part).is_ok() {
            written += PART as u64;
        }
    }

    /// Returns whether the path is the small file system and not what is below it.
    fn is_mounted(&self) -> bool {
        statfs(self.path()).is_ok_and(|space| {
            let bytes = space.f_blocks * space.f_bsize as u64;
            space.f_type as u64 == TMPFS && bytes == self.bytes
        })
    }

    /// Removes what [`SmallDisk::fill`] wrote.
    pub fn empty(&self) {
        std::fs::remove_file(self.path().join(BALLAST)).unwrap();
    }
}
