//! Servers of the benchmark's own, the CPU time that they take, and their end, also by Ctrl-C.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock, PoisonError};

use redis::FromRedisValue;

use crate::Outcome;
use testkit::Server;

/// The servers that run, each with its folder.
static RUNNING: Mutex<Option<HashMap<u32, PathBuf>>> = Mutex::new(None);

/// Ends all servers and the program when it is interrupted.
pub fn end_when_interrupted() -> Outcome<()> {
    ctrlc::set_handler(|| {
        let running = RUNNING
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        for (pid, dir) in running.unwrap_or_default() {
            // By the program: there is no safe call for it.
            let _ = Command::new("kill").args(["-9", &pid.to_string()]).status();
            let _ = fs::remove_dir_all(dir);
        }
        eprintln!("\ninterrupted; no server is left");
        std::process::exit(130);
    })?;
    Ok(())
}

/// The root of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The folder of what the benchmark builds and writes.
pub fn folder() -> Outcome<PathBuf> {
    let folder = root().join("target/bench");
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// A running server; it ends with its value.
pub struct Host {
    server: Server,
    registered: u32,
}

impl Host {
    /// One with the module and these settings of it, more arguments of the server before.
    pub fn start(arguments: &[&str], settings: &str) -> Outcome<Host> {
        Host::start_by(server_program()?, arguments, settings)
    }

    /// The same, run by a program that leads to the server.
    pub fn start_by(program: &str, arguments: &[&str], settings: &str) -> Outcome<Host> {
        let module = testkit::module();
        let mut all: Vec<String> = vec!["--enable-debug-command".into(), "yes".into()];
        all.extend(arguments.iter().map(|word| word.to_string()));
        all.extend(["--loadmodule".into(), module.display().to_string()]);
        all.extend(settings.split_whitespace().map(str::to_owned));
        let server = Server::of(program, testkit::free_port(), &all);
        let mut host = Host {
            server,
            registered: 0,
        };
        host.register();
        Ok(host)
    }

    fn register(&mut self) {
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        let running = running.get_or_insert_default();
        running.remove(&self.registered);
        self.registered = self.server.pid();
        running.insert(self.registered, self.server.dir().to_owned());
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.server.port
    }

    /// The folder of its files.
    pub fn dir(&self) -> &Path {
        self.server.dir()
    }

    /// What it has written into its log.
    pub fn log(&self) -> String {
        self.server.log()
    }

    /// Ends it as by a crash and starts it again: it loads what was saved.
    pub fn restart(&mut self) {
        self.server.restart();
        self.register();
    }

    /// Sends a command, its words separated by blanks.
    pub fn ask<T: FromRedisValue>(&self, line: &str) -> Outcome<T> {
        Ok({
            let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
            testkit::send(&mut self.server.connection(), &words)?
        })
    }

    /// A connection of its own.
    pub fn connection(&self) -> redis::Connection {
        self.server.connection()
    }

    /// A field of INFO; an error where there is none.
    pub fn info(&self, section: &str, field: &str) -> Outcome<String> {
        let info: String = self.ask(&format!("INFO {section}"))?;
        let found = info
            .lines()
            .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        Ok(found
            .ok_or_else(|| format!("INFO {section} has no {field}"))?
            .to_owned())
    }

    /// The CPU time of all its threads, nanoseconds: from schedstat, which is precise, else in clock ticks from stat.
    pub fn cpu(&self) -> Outcome<u64> {
        let pid = self.server.pid();
        exact_cpu(pid).map_or_else(|| ticks_cpu(pid), Ok)
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

/// The program of the server.
pub fn server_program() -> Outcome<&'static str> {
    static PROGRAM: OnceLock<Option<String>> = OnceLock::new();
    let program = PROGRAM.get_or_init(testkit::program);
    Ok(program.as_deref().ok_or(
        "no server or no module: `make build` makes the module, `make deps` installs a server",
    )?)
}

fn exact_cpu(pid: u32) -> Option<u64> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        let text = fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        sum += text.split_whitespace().next()?.parse::<u64>().ok()?;
    }
    // A kernel without the statistics shows zeros.
    (sum > 0).then_some(sum)
}

fn ticks_cpu(pid: u32) -> Outcome<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name in parentheses may hold anything; utime and stime are the 12th and 13th fields behind it.
    let behind = stat.rsplit(')').next().unwrap_or_default();
    let ticks: u64 = behind
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    // USER_HZ is 100 on every Linux that Rust's tier 1 knows.
    Ok(ticks * 10_000_000)
}
