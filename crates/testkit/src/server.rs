//! Servers that tests start. A server runs on a free loopback port in a directory of its own and ends with its value,
//! by its process id.
//!
//! The module is that of AGG_MODULE, else the workspace's release build. The server is that of AGG_SERVER, else
//! redis-server or valkey-server. Where one of them is missing a test says so and does nothing; in CI it fails.

use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::str::FromStr;

use redis::{FromRedisValue, Value};

use crate::command::{ask, error, send, words};
use crate::reply::{at, info_field, records};
use crate::wait::{LONG, free_port, missing, until};

/// Server arguments: each write is on disk before its reply, and the whole append-only file consists of commands.
pub const SYNCED_AOF: [&str; 6] = [
    "--appendonly",
    "yes",
    "--appendfsync",
    "always",
    "--aof-use-rdb-preamble",
    "no",
];

/// Returns the root folder of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .find(|folder| folder.join("redis.conf.example").exists())
        .expect("the package is inside the repository")
}

/// Returns the path of the module to test, which may not exist.
pub fn module() -> PathBuf {
    std::env::var("AGG_MODULE").map_or_else(
        |_| root().join("target/release/libaggregator.so"),
        PathBuf::from,
    )
}

/// Returns the folder of the programs that scripts/servers.sh fetches, which may not exist.
pub fn fetched_servers() -> PathBuf {
    std::env::var("AGG_SERVERS").map_or_else(|_| root().join("target/servers"), PathBuf::from)
}

/// A running server.
pub struct Server {
    child: Child,
    program: String,
    arguments: Vec<String>,
    /// The port it listens on.
    pub port: u16,
    dir: tempfile::TempDir,
}

impl Server {
    /// Starts a server with the module and its default settings.
    pub fn start() -> Option<Server> {
        Server::with_settings("")
    }

    /// Starts a server with the module and these arguments of the module, as in `min-window 1 hour-window 2`.
    pub fn with_settings(settings: &str) -> Option<Server> {
        Server::with_module(&[], settings)
    }

    /// Starts a server with these arguments, the module, and arguments of the module.
    pub fn with_module(arguments: &[&str], settings: &str) -> Option<Server> {
        let module = module();
        if !module.exists() {
            return missing(&format!("the module {}", module.display()));
        }
        let mut all = vec!["--enable-debug-command", "yes"];
        all.extend(arguments);
        all.extend(["--loadmodule", module.to_str().unwrap()]);
        all.extend(settings.split_whitespace());
        Server::with(&all)
    }

    /// Starts a server with these arguments and without the module.
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
        let arguments: Vec<String> = arguments.iter().map(|word| word.to_string()).collect();
        Some(Server::of(&program, free_port(), &arguments))
    }

    /// Starts this program on this port with these arguments and without the module.
    pub fn of(program: &str, port: u16, arguments: &[String]) -> Server {
        let dir = tempfile::tempdir().unwrap();
        let child = spawn(program, port, arguments, dir.path());
        let mut server = Server {
            child,
            program: program.to_owned(),
            arguments: arguments.to_owned(),
            port,
            dir,
        };
        server.wait_for_answer();
        server
    }

    /// Returns the log of a server that cannot start with these arguments; `None` if the server or the module is
    /// missing.
    pub fn log_of_failed_start(arguments: &[&str], settings: &str) -> Option<String> {
        // Provides the program, a port and a folder.
        let mut server = Server::with_module(&[], "")?;
        server.stop();
        let module = module();
        let mut all: Vec<String> = arguments.iter().map(|word| word.to_string()).collect();
        all.extend(["--loadmodule".into(), module.to_str().unwrap().into()]);
        all.extend(settings.split_whitespace().map(str::to_owned));
        let mut child = spawn(&server.program, server.port, &all, server.dir.path());
        let status = until("the server ends", || child.try_wait().unwrap());
        assert!(
            !status.success(),
            "the server ended with success: {}",
            server.log()
        );
        Some(server.log())
    }

    fn wait_for_answer(&mut self) {
        let client = redis::Client::open(self.url()).unwrap();
        until("the server answers", || {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("{} ended with {status}: {}", self.program, self.log());
            }
            let mut connection = client.get_connection().ok()?;
            // A server that wants a password answers; one that is loading does not yet.
            match redis::cmd("PING").query::<String>(&mut connection) {
                Err(error) if error.is_io_error() || error.code() == Some("LOADING") => {
                    return None;
                }
                Err(error) if error.to_string().contains("loading") => return None,
                _ => {}
            }
            // Where another server took the port in between, this one is about to end.
            let info = redis::cmd("INFO")
                .arg("server")
                .query::<String>(&mut connection);
            let process = format!("process_id:{}\r\n", self.child.id());
            info.map_or(true, |info| info.contains(&process))
                .then_some(())
        });
    }

    /// Returns its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns the folder of its files.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Returns its log.
    pub fn log(&self) -> String {
        let log = std::fs::read(self.dir.path().join("server.txt")).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// Kills it, as a crash does.
    pub fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Shuts it down: it saves what it is configured to save.
    pub fn shut_down(&mut self) {
        let mut connection = self.connection();
        // The connection closes with the server.
        let _ = redis::cmd("SHUTDOWN").query::<()>(&mut connection);
        let _ = self.child.wait();
    }

    /// Restarts it when it cannot start, and returns its log.
    pub fn restart_and_fail(&mut self) -> String {
        self.stop();
        self.child = spawn(&self.program, self.port, &self.arguments, self.dir.path());
        let status = until("the server ends", || self.child.try_wait().unwrap());
        assert!(
            !status.success(),
            "the server ended with success: {}",
            self.log()
        );
        self.log()
    }

    /// Restarts it on its port and in its folder.
    pub fn restart(&mut self) {
        self.stop();
        self.child = spawn(&self.program, self.port, &self.arguments, self.dir.path());
        self.wait_for_answer();
    }

    /// Returns its URL.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Opens a connection in RESP2.
    pub fn connection(&self) -> redis::Connection {
        self.connection_by(&self.url())
    }

    /// Opens a connection in RESP3.
    pub fn connection3(&self) -> redis::Connection {
        self.connection_by(&format!("{}/?protocol=resp3", self.url()))
    }

    /// Opens a connection as a user.
    pub fn connection_as(&self, user: &str, password: &str) -> redis::Connection {
        self.connection_by(&format!(
            "redis://{user}:{password}@127.0.0.1:{}",
            self.port
        ))
    }

    /// Opens a connection and selects a database.
    pub fn connection_to(&self, db: u32) -> redis::Connection {
        let mut connection = self.connection();
        if db > 0 {
            let () = ask(&mut connection, &format!("SELECT {db}"));
        }
        connection
    }

    fn connection_by(&self, url: &str) -> redis::Connection {
        let connection = redis::Client::open(url).unwrap().get_connection().unwrap();
        connection.set_read_timeout(Some(LONG)).unwrap();
        connection
    }

    /// Sends a command, its words separated by blanks, and returns the reply.
    pub fn ask<T: FromRedisValue>(&self, line: &str) -> T {
        ask(&mut self.connection(), line)
    }

    /// Sends a command in words and returns the reply.
    pub fn send<T: FromRedisValue>(&self, words: &[&[u8]]) -> T {
        send(&mut self.connection(), words).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Returns the error of a command that is rejected, as `ERR AGG.STAT: ...`.
    pub fn error(&self, line: &str) -> String {
        error(&mut self.connection(), line)
    }

    /// Asserts that the server rejects commands that have too few or too many arguments.
    pub fn assert_arity_is_checked(&self, lines: &[&str]) {
        for line in lines {
            let command = line.split(' ').next().unwrap().to_lowercase();
            let why = format!("err wrong number of arguments for '{command}' command");
            assert_eq!(self.error(line).to_lowercase(), why, "{line}");
        }
    }

    /// Asserts that commands for the key `n` are rejected if it is a string, and leave it as it is.
    pub fn assert_type_is_checked(&self, lines: &[&str]) {
        self.ask::<()>("SET n text");
        for line in lines {
            let why = "WRONGTYPE Operation against a key holding the wrong kind of value";
            assert_eq!(self.error(line), why, "{line}");
        }
        assert_eq!(self.ask::<String>("GET n"), "text");
    }

    /// Returns the records of a queue without consuming them.
    pub fn peek(&self, node: &str, queue: &str) -> Vec<serde_json::Value> {
        records(&self.ask::<Value>(&format!("AGG.PEEK {node} {queue} COUNT 10000")))
    }

    /// Returns a field of the map that a command replies with, if it has one.
    pub fn field(&self, get: &str, field: &str) -> Option<Value> {
        at(&self.ask::<Value>(get), field).cloned()
    }

    /// Returns a field of a section of INFO: a number, or the text of the field.
    pub fn info_field<T: FromStr<Err: Debug>>(&self, section: &str, field: &str) -> T {
        info_field(&self.ask::<String>(&format!("INFO {section}")), field)
    }

    /// Returns the DEBUG DIGEST-VALUE of a key.
    pub fn digest(&self, key: &str) -> String {
        let digests: Vec<String> = self.ask(&format!("DEBUG DIGEST-VALUE {key}"));
        digests.concat()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

fn spawn(program: &str, port: u16, arguments: &[String], dir: &Path) -> Child {
    let port = port.to_string();
    // A configuration file has to be the first argument.
    let (files, arguments) = arguments.split_at(
        arguments
            .iter()
            .take_while(|a| !a.starts_with("--"))
            .count(),
    );
    Command::new(program)
        .args(files)
        .args([
            "--port",
            &port,
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--dir",
        ])
        .arg(dir)
        .args(["--logfile", "server.txt"])
        // As in redis.conf.example: no test misses an effect that a replica or the loading of an AOF rejects.
        .args(["--propagation-error-behavior", "panic"])
        .args(arguments)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// Returns the program that [`Server::with`] starts; `None` if it or the module is missing.
pub fn program() -> Option<String> {
    let mut server = Server::with_module(&[], "")?;
    server.stop();
    Some(server.program.clone())
}

/// Runs commands, split by [`words`], in one MULTI and returns their replies. The timer does not run in between.
pub fn together(server: &Server, lines: &[impl AsRef<str>]) -> Vec<Value> {
    let mut pipe = redis::pipe();
    pipe.atomic();
    for line in lines {
        pipe.add_command(redis::Cmd::new());
        for word in words(line.as_ref()) {
            pipe.arg(word);
        }
    }
    pipe.query(&mut server.connection())
        .unwrap_or_else(|error| panic!("{error}"))
}
