//! A file system that can be made to hang: a FUSE server of a few lines. It is mounted in the mount namespace of the
//! program, so that nothing else on the machine hangs.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tempfile::TempDir;

const FORGET: u32 = 2;
const GETATTR: u32 = 3;
const STATFS: u32 = 17;
const INIT: u32 = 26;
const INTERRUPT: u32 = 36;
const BATCH_FORGET: u32 = 42;
const ENOSYS: i32 = 38;

/// The file system. Requests that hang are released when it is dropped.
pub struct Fuse {
    device: File,
    dir: TempDir,
    hangs: Arc<AtomicBool>,
    ends: Arc<AtomicBool>,
    server: Option<JoinHandle<()>>,
}

impl Fuse {
    /// Returns `None` without the required root permissions and /dev/fuse.
    pub fn new() -> Option<Fuse> {
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        options.custom_flags(rustix::fs::OFlags::NONBLOCK.bits() as i32);
        let may = Command::new("unshare").args(["-m", "true"]).status();
        let (Ok(device), true) = (options.open("/dev/fuse"), may.is_ok_and(|it| it.success()))
        else {
            eprintln!("skipped: no file system can be mounted here");
            return None;
        };
        let (hangs, ends) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicBool::new(false)),
        );
        let server = {
            let (device, hangs, ends) = (device.try_clone().unwrap(), hangs.clone(), ends.clone());
            std::thread::spawn(move || serve(device, &hangs, &ends))
        };
        let dir = TempDir::new().unwrap();
        Some(Fuse {
            device,
            dir,
            hangs,
            ends,
            server: Some(server),
        })
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Makes it hang or answer, including waiting requests.
    pub fn hang(&self, hangs: bool) {
        self.hangs.store(hangs, Ordering::SeqCst);
    }

    /// Returns the command of [`super::agg`] with the file system mounted.
    pub fn agg(&self, url: &str, line: &str) -> Command {
        let mount = "mount -i -t fuse -o fd=0,rootmode=40000,user_id=0,group_id=0 test \"$0\" && exec \"$@\" </dev/null";
        let mut command = Command::new("unshare");
        command.args(["-m", "--propagation", "private", "sh", "-c", mount]);
        command
            .arg(self.path())
            .arg(env!("CARGO_BIN_EXE_agg"))
            .args(line.split_whitespace());
        command.env_remove("AGG_PASSWORD").env("AGG_REDIS", url);
        command.stdin(Stdio::from(self.device.try_clone().unwrap()));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

impl Drop for Fuse {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::SeqCst);
        if let Some(server) = self.server.take() {
            server.join().unwrap();
        }
        // When the device closes the kernel releases waiting requests.
    }
}

fn serve(mut device: File, hangs: &AtomicBool, ends: &AtomicBool) {
    let mut waiting = Vec::new();
    let mut request = vec![0; 1 << 17];
    while !ends.load(Ordering::SeqCst) {
        if !hangs.load(Ordering::SeqCst) {
            for unique in waiting.drain(..) {
                reply(&mut device, unique, 0, &space());
            }
        }
        // Before it is mounted there is nothing to read.
        let Ok(40..) = device.read(&mut request) else {
            std::thread::sleep(Duration::from_millis(2));
            continue;
        };
        let operation = u32::from_le_bytes(request[4..8].try_into().unwrap());
        let unique = u64::from_le_bytes(request[8..16].try_into().unwrap());
        match operation {
            INIT => reply(&mut device, unique, 0, &first()),
            GETATTR => reply(&mut device, unique, 0, &attributes()),
            STATFS => waiting.push(unique),
            FORGET | BATCH_FORGET | INTERRUPT => {}
            _ => reply(&mut device, unique, -ENOSYS, &[]),
        }
    }
}

fn reply(device: &mut File, unique: u64, error: i32, body: &[u8]) {
    let mut answer = (16 + body.len() as u32).to_le_bytes().to_vec();
    answer.extend(error.to_le_bytes());
    answer.extend(unique.to_le_bytes());
    answer.extend(body);
    // The process that asked may have ended.
    let _ = device.write_all(&answer);
}

fn numbers(wide: &[u64], narrow: &[u32]) -> Vec<u8> {
    let wide = wide.iter().flat_map(|n| n.to_le_bytes());
    wide.chain(narrow.iter().flat_map(|n| n.to_le_bytes()))
        .collect()
}

/// Version 7.31, and little else.
fn first() -> Vec<u8> {
    let mut body = numbers(&[], &[7, 31, 0, 0, 0, 4096, 1]);
    body.resize(64, 0);
    body
}

/// Those of a directory. They are valid for no time, so that the kernel asks again.
fn attributes() -> Vec<u8> {
    let mut body = numbers(&[0, 0, 1, 0, 0, 0, 0, 0], &[0, 0, 0, 0o40755, 2]);
    body.resize(104, 0);
    body
}

/// 1000 blocks of 4096 bytes, 250 of them free.
fn space() -> Vec<u8> {
    let mut body = numbers(&[1000, 250, 250, 10, 5], &[4096, 255, 4096]);
    body.resize(80, 0);
    body
}
