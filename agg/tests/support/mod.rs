//! Servers of their own for the tests of the program, and the program itself. A server runs on a free port in a
//! directory of its own and ends with its value. The module is that of AGG_MODULE, else the workspace's release
//! build; the server that of AGG_SERVER, else redis-server or valkey-server. Where one of them is missing a test
//! says so and does nothing, but in CI it fails.

// Every test file uses another part of this.
#![allow(dead_code)]

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use redis::{FromRedisValue, Value};

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(20);

/// Waits until `look` finds something.
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < LONG, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A port where nobody listens.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// A running server.
pub struct Server {
    child: Child,
    program: String,
    arguments: Vec<String>,
    pub port: u16,
    dir: tempfile::TempDir,
}

impl Server {
    /// One with the module.
    pub fn start() -> Option<Server> {
        let default = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../target/release/libaggregator.so"
        );
        let module = std::env::var("AGG_MODULE").unwrap_or_else(|_| default.into());
        if !PathBuf::from(&module).exists() {
            return missing(&format!("the module {module}"));
        }
        Server::with(&["--loadmodule", &module])
    }

    /// One with these arguments.
    pub fn with(arguments: &[&str]) -> Option<Server> {
        let candidates = match std::env::var("AGG_SERVER") {
            Ok(program) => vec![program],
            Err(_) => vec!["redis-server".into(), "valkey-server".into()],
        };
        let runs = |program: &String| {
            Command::new(program)
                .arg("--version")
                .stdout(Stdio::null())
                .status()
                .is_ok()
        };
        let Some(program) = candidates.into_iter().find(runs) else {
            return missing("a server");
        };
        let dir = tempfile::tempdir().unwrap();
        let port = free_port();
        let arguments: Vec<String> = arguments.iter().map(|word| word.to_string()).collect();
        let child = spawn(&program, port, &arguments, &dir);
        Some(Server {
            child,
            program,
            arguments,
            port,
            dir,
        })
    }

    /// Ends it, as by a crash.
    pub fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again on its port, empty.
    pub fn restart(&mut self) {
        self.stop();
        self.child = spawn(&self.program, self.port, &self.arguments, &self.dir);
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Sends a command, its words separated by blanks.
    pub fn ask<T: FromRedisValue>(&self, line: &str) -> T {
        self.send(&line.split(' ').map(str::as_bytes).collect::<Vec<_>>())
    }

    /// Sends a command.
    pub fn send<T: FromRedisValue>(&self, words: &[&[u8]]) -> T {
        let client = redis::Client::open(self.url()).unwrap();
        let mut connection = client.get_connection().unwrap();
        let mut command = redis::Cmd::new();
        words.iter().for_each(|word| {
            command.arg(*word);
        });
        let line = String::from_utf8_lossy(&words.join(&b' ')).into_owned();
        command
            .query(&mut connection)
            .unwrap_or_else(|error| panic!("{line}: {error}"))
    }

    /// The records of a queue, looked at.
    pub fn peek(&self, node: &str, queue: &str) -> Vec<serde_json::Value> {
        let reply: Vec<(String, i64, i64, String)> =
            self.ask(&format!("AGG.PEEK {node} {queue} COUNT 10000"));
        reply
            .iter()
            .map(|entry| serde_json::from_str(&entry.3).unwrap())
            .collect()
    }

    /// The field of AGG.GET's map; none where there is no such thing.
    pub fn field(&self, get: &str, field: &str) -> Option<Value> {
        let Value::Array(items) = self.ask::<Value>(get) else {
            return None;
        };
        let at = items
            .iter()
            .position(|item| *item == Value::BulkString(field.into()))?;
        items.get(at + 1).cloned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

fn missing(what: &str) -> Option<Server> {
    assert!(
        std::env::var("CI").as_deref() != Ok("true"),
        "{what} is missing"
    );
    // Past the test runner, which would keep a print! to itself.
    let _ = writeln!(std::io::stderr(), "skipped: {what} is missing");
    None
}

fn spawn(program: &str, port: u16, arguments: &[String], dir: &tempfile::TempDir) -> Child {
    let port = port.to_string();
    let mut child = Command::new(program)
        .args([
            "--port",
            &port,
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--dir",
        ])
        .arg(dir.path())
        .args(["--logfile", "server.txt"])
        .args(arguments)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let url = format!("redis://127.0.0.1:{port}");
    let client = redis::Client::open(url).unwrap();
    until("the server answers", || {
        if let Some(status) = child.try_wait().unwrap() {
            let log = std::fs::read_to_string(dir.path().join("server.txt"));
            panic!("{program} ended with {status}: {}", log.unwrap_or_default());
        }
        let mut connection = client.get_connection().ok()?;
        // A server that wants a password is one that answers.
        match redis::cmd("PING").query::<String>(&mut connection) {
            Err(error) if error.is_io_error() => None,
            _ => Some(()),
        }
    });
    child
}

/// The program with arguments, their words separated by blanks, and without the caller's environment.
pub fn agg(url: &str, line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_agg"));
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

/// A program that goes on; ended with its value.
pub struct Running(pub Child);

impl Running {
    pub fn start(command: &mut Command) -> Running {
        Running(command.spawn().unwrap())
    }

    /// Sends it a signal by name and waits for its end, which has to come within a second (and what a loaded
    /// machine adds).
    pub fn end_by(&mut self, signal: &str) -> ExitStatus {
        self.signal(signal);
        let start = Instant::now();
        let status = self.wait();
        assert!(
            start.elapsed() < Duration::from_millis(2000),
            "took {:?}",
            start.elapsed()
        );
        status
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
    pub fn lines(&mut self) -> impl Iterator<Item = String> + use<> {
        BufReader::new(self.0.stdout.take().unwrap())
            .lines()
            .map(Result::unwrap)
    }

    /// The lines of its standard error.
    pub fn errors(&mut self) -> impl Iterator<Item = String> + use<> {
        BufReader::new(self.0.stderr.take().unwrap())
            .lines()
            .map(Result::unwrap)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
