//! The program itself for its tests, beside the servers that all tests share.

// Every test file uses another part of this.
#![allow(dead_code)]

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

#[path = "../../../../tests/support/server.rs"]
mod server;

pub mod certs;
pub mod fuse;
pub mod grid;
pub mod hostile;
pub mod influx;
pub mod mongo;
pub mod place;
pub mod proxy;
pub mod store;
pub mod stub;
pub mod terminal;
pub mod victoria;

pub use server::*;

/// The program with arguments, their words separated by blanks, and without the caller's environment.
pub fn agg(url: &str, line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_agg"));
    for name in ["http_proxy", "https_proxy", "all_proxy", "no_proxy"] {
        command.env_remove(name).env_remove(name.to_uppercase());
    }
    command
        .env_remove("AGG_PASSWORD")
        .env("AGG_REDIS", url)
        .args(line.split_whitespace());
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Runs the program with this input to its end.
pub fn run(url: &str, line: &str, input: &[u8]) -> Output {
    let mut child = agg(url, line).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || {
        // One that ends early does not read it all.
        let _ = stdin.write_all(&input);
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

pub fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A line of `agg poll` without the time and the level before it.
pub fn unstamped(line: &str) -> &str {
    let (stamp, rest) = line.split_at(line.find("agg: ").unwrap_or(0));
    let words: Vec<&str> = stamp.split_whitespace().collect();
    assert_eq!(words.len(), 2, "no time and level: {line}");
    assert!(words[0].len() == 24 && words[0].ends_with('Z'), "{line}");
    assert!(["INFO", "WARN", "ERROR"].contains(&words[1]), "{line}");
    rest
}

/// A program that goes on; ended with its value.
pub struct Running(pub Child);

impl Running {
    pub fn start(command: &mut Command) -> Running {
        Running(command.spawn().unwrap())
    }

    /// Sends it a signal by name and waits for its end. A program at rest ends within milliseconds; the limit leaves room for
    /// a loaded machine.
    pub fn end_by(&mut self, signal: &str) -> ExitStatus {
        until("it listens for signals", || {
            self.listens(signal).then_some(())
        });
        self.signal(signal);
        let start = Instant::now();
        let status = self.wait();
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "took {:?}",
            start.elapsed()
        );
        status
    }

    /// Whether it has begun to listen for a signal, or has ended: one that has only just started would be killed by it.
    fn listens(&mut self, signal: &str) -> bool {
        let number = match signal {
            "HUP" => 1,
            "INT" => 2,
            "TERM" => 15,
            _ => panic!("{signal}"),
        };
        let path = format!("/proc/{}/status", self.0.id());
        let status = std::fs::read_to_string(path).unwrap_or_default();
        let caught = (status.lines()).find_map(|line| line.strip_prefix("SigCgt:"));
        let caught = caught.map(|mask| u64::from_str_radix(mask.trim(), 16).unwrap());
        caught.is_some_and(|mask| mask >> (number - 1) & 1 == 1)
            || self.0.try_wait().unwrap().is_some()
    }

    pub fn signal(&self, signal: &str) {
        let pid = self.0.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-s", signal, &pid])
                .status()
                .unwrap()
                .success()
        );
    }

    pub fn wait(&mut self) -> ExitStatus {
        until("the program ends", || self.0.try_wait().unwrap())
    }

    /// The lines of its standard output.
    pub fn lines(&mut self) -> Said {
        Said::of(self.0.stdout.take().unwrap())
    }

    /// The lines of its standard error.
    pub fn errors(&mut self) -> Said {
        Said::of(self.0.stderr.take().unwrap())
    }
}

/// The lines that a program writes. One that does not come fails the test; else it would wait for ever.
pub struct Said(Receiver<String>);

impl Said {
    fn of(stream: impl Read + Send + 'static) -> Said {
        // Without room, so that a program whose lines nobody wants has to wait as with a pipe alone.
        let (line, said) = sync_channel(0);
        std::thread::spawn(move || {
            let lines = BufReader::new(stream).lines();
            // It ends with the program, or when nobody listens any more.
            lines
                .map_while(Result::ok)
                .try_for_each(|text| line.send(text))
        });
        Said(said)
    }
}

impl Iterator for Said {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        match self.0.recv_timeout(Duration::from_secs(300)) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("waited in vain for a line of the program"),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
