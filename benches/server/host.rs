//! The benchmark's servers: starting them, their CPU time, and stopping them, also on Ctrl-C.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock, PoisonError};

use redis::FromRedisValue;

use crate::Result;
use testkit::Server;

/// The running servers by process id, with their folders.
static RUNNING: Mutex<Option<HashMap<u32, PathBuf>>> = Mutex::new(None);

/// Kills all servers and exits when the benchmark is interrupted.
pub fn kill_servers_on_interrupt() -> Result<()> {
    ctrlc::set_handler(|| {
        let running = RUNNING
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        for (pid, dir) in running.unwrap_or_default() {
            // The standard library has no safe call for it.
            let _ = Command::new("kill").args(["-9", &pid.to_string()]).status();
            let _ = fs::remove_dir_all(dir);
        }
        eprintln!("\ninterrupted; all servers were stopped");
        std::process::exit(130);
    })?;
    Ok(())
}

/// Returns the root of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns the folder for the files that the benchmark builds and writes.
pub fn folder() -> Result<PathBuf> {
    let folder = root().join("target/bench");
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// A running server. It is stopped when this value is dropped.
pub struct Host {
    server: Server,
    registered: u32,
    /// Only the CPU time of the main thread counts.
    main_thread: bool,
}

impl Host {
    /// Starts a server with arguments of its own, and with the module and its settings.
    pub fn start(arguments: &[&str], settings: &str) -> Result<Host> {
        Host::start_by(server_program()?, arguments, settings)
    }

    /// Starts a server by another program, which runs the server.
    pub fn start_by(program: &str, arguments: &[&str], settings: &str) -> Result<Host> {
        let module = testkit::module();
        let mut all: Vec<String> = vec!["--enable-debug-command".into(), "yes".into()];
        all.extend(arguments.iter().map(|word| word.to_string()));
        all.extend(["--loadmodule".into(), module.display().to_string()]);
        all.extend(settings.split_whitespace().map(str::to_owned));
        let server = Server::of(program, testkit::free_port(), &all);
        let mut host = Host {
            server,
            registered: 0,
            main_thread: false,
        };
        host.register();
        Ok(host)
    }

    /// Counts the CPU time of the main thread alone, which runs the commands. Threads for I/O use CPU time while they wait.
    pub fn main_thread(mut self) -> Host {
        self.main_thread = true;
        self
    }

    fn register(&mut self) {
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        let running = running.get_or_insert_default();
        running.remove(&self.registered);
        self.registered = self.server.pid();
        running.insert(self.registered, self.server.dir().to_owned());
    }

    /// Returns the port.
    pub fn port(&self) -> u16 {
        self.server.port
    }

    /// Returns the folder of the server's files.
    pub fn dir(&self) -> &Path {
        self.server.dir()
    }

    /// Returns the server's log.
    pub fn log(&self) -> String {
        self.server.log()
    }

    /// Kills the server and starts it again, so that it loads what was saved.
    pub fn restart(&mut self) {
        self.server.restart();
        self.register();
    }

    /// Sends a command, whose words are separated by spaces.
    pub fn ask<T: FromRedisValue>(&self, line: &str) -> Result<T> {
        Ok({
            let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
            testkit::send(&mut self.server.connection(), &words)?
        })
    }

    /// Opens a connection.
    pub fn connection(&self) -> redis::Connection {
        self.server.connection()
    }

    /// Returns a field of INFO.
    pub fn info(&self, section: &str, field: &str) -> Result<String> {
        let info: String = self.ask(&format!("INFO {section}"))?;
        let found = info
            .lines()
            .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        Ok(found
            .ok_or_else(|| format!("INFO {section} has no {field}"))?
            .to_owned())
    }

    /// Returns the CPU time of all threads, or of the main thread, in nanoseconds: from schedstat, which is precise, or
    /// in clock ticks from stat.
    pub fn cpu(&self) -> Result<u64> {
        let pid = self.server.pid();
        let exact = match self.main_thread {
            true => thread_cpu(&Path::new("/proc").join(pid.to_string())),
            false => exact_cpu(pid),
        };
        // A kernel without the statistics shows zeros.
        let exact = exact.filter(|ns| *ns > 0);
        exact.map_or_else(|| ticks_cpu(pid, self.main_thread), Ok)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = running.as_mut() {
            running.remove(&self.registered);
        }
    }
}

/// Returns the path of the server.
pub fn server_program() -> Result<&'static str> {
    static PROGRAM: OnceLock<Option<String>> = OnceLock::new();
    let program = PROGRAM.get_or_init(testkit::program);
    Ok(program.as_deref().ok_or(
        "no server or no module: run `make module` for the module, `make deps` for a server",
    )?)
}

fn exact_cpu(pid: u32) -> Option<u64> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        sum += thread_cpu(&task.ok()?.path())?;
    }
    Some(sum)
}

/// Returns the CPU time of one thread by its folder in /proc.
fn thread_cpu(folder: &Path) -> Option<u64> {
    let text = fs::read_to_string(folder.join("schedstat")).ok()?;
    text.split_whitespace().next()?.parse().ok()
}

fn ticks_cpu(pid: u32, main_thread: bool) -> Result<u64> {
    let stat = match main_thread {
        true => format!("/proc/{pid}/task/{pid}/stat"),
        false => format!("/proc/{pid}/stat"),
    };
    let stat = fs::read_to_string(stat)?;
    // The name in parentheses may contain anything; utime and stime are the 12th and 13th fields after it.
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks: u64 = after_name
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    // USER_HZ is 100 on every Linux that Rust's tier 1 knows.
    Ok(ticks * 10_000_000)
}
