//! Servers of their own for tests. A server runs on a free loopback port in a directory of its own and ends with its
//! value, by its pid. The module is that of AGG_MODULE, else the workspace's release build; the server that of
//! AGG_SERVER, else redis-server or valkey-server. Where one of them is missing a test says so and does nothing, but in
//! CI it fails.

use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use redis::{FromRedisValue, Value};

/// Arguments of a server: each write is on the disk before it is answered, all of it as commands.
pub const SYNCED_AOF: [&str; 6] = [
    "--appendonly",
    "yes",
    "--appendfsync",
    "always",
    "--aof-use-rdb-preamble",
    "no",
];

/// How long a condition may take. Generous, because a loaded machine is slow; it limits only how long a failure takes to show.
const LONG: Duration = Duration::from_secs(300);

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

/// The clock, Unix milliseconds.
pub fn now_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_millis() as i64
}

/// A port where nobody listens.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// The module to test; it may not be there.
pub fn module() -> PathBuf {
    // This file is shared by packages in different folders.
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .find(|folder| folder.join("redis.conf.example").exists())
        .expect("the package is inside the repository");
    std::env::var("AGG_MODULE").map_or_else(
        |_| root.join("target/release/libaggregator.so"),
        PathBuf::from,
    )
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
    /// One with the module and its default settings.
    pub fn start() -> Option<Server> {
        Server::with_settings("")
    }

    /// One with the module and these arguments of it, as in `min-window 1 hour-window 2`.
    pub fn with_settings(settings: &str) -> Option<Server> {
        Server::with_module(&[], settings)
    }

    /// One with these arguments, the module, and arguments of the module.
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

    /// One with these arguments alone.
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
        let child = spawn(&program, port, &arguments, dir.path());
        let mut server = Server {
            child,
            program,
            arguments,
            port,
            dir,
        };
        server.wait_for_answer();
        Some(server)
    }

    /// What a server that cannot start with these arguments writes into its log; none where one of the parts is
    /// missing.
    pub fn refusal(arguments: &[&str], settings: &str) -> Option<String> {
        // One that starts is there to be copied: the same program and folder rules hold.
        let mut server = Server::with_module(&[], "")?;
        server.stop();
        let module = module();
        let mut all: Vec<String> = arguments.iter().map(|word| word.to_string()).collect();
        all.extend(["--loadmodule".into(), module.to_str().unwrap().into()]);
        all.extend(settings.split_whitespace().map(str::to_owned));
        let mut child = spawn(&server.program, server.port, &all, server.dir.path());
        let status = until("the server ends", || child.try_wait().unwrap());
        assert!(!status.success(), "the server ended well: {}", server.log());
        Some(server.log())
    }

    fn wait_for_answer(&mut self) {
        let client = redis::Client::open(self.url()).unwrap();
        until("the server answers", || {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("{} ended with {status}: {}", self.program, self.log());
            }
            let mut connection = client.get_connection().ok()?;
            // A server that wants a password, or is still loading, is one that answers; loading is waited for.
            match redis::cmd("PING").query::<String>(&mut connection) {
                Err(error) if error.is_io_error() || error.code() == Some("LOADING") => None,
                Err(error) if error.to_string().contains("loading") => None,
                _ => Some(()),
            }
        });
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where its files are.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// What it has written into its log.
    pub fn log(&self) -> String {
        let log = std::fs::read(self.dir.path().join("server.txt")).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// Ends it, as by a crash.
    pub fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Ends it in an orderly way: it saves what it is set to save.
    pub fn shut_down(&mut self) {
        let mut connection = self.connection();
        // The link ends with the server.
        let _ = redis::cmd("SHUTDOWN").query::<()>(&mut connection);
        let _ = self.child.wait();
    }

    /// Starts it again where it cannot: what it has written into its log.
    pub fn restart_in_vain(&mut self) -> String {
        self.stop();
        self.child = spawn(&self.program, self.port, &self.arguments, self.dir.path());
        let status = until("the server ends", || self.child.try_wait().unwrap());
        assert!(!status.success(), "the server ended well: {}", self.log());
        self.log()
    }

    /// Starts it again on its port and in its folder.
    pub fn restart(&mut self) {
        self.stop();
        self.child = spawn(&self.program, self.port, &self.arguments, self.dir.path());
        self.wait_for_answer();
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// A connection of its own, in RESP2.
    pub fn connection(&self) -> redis::Connection {
        self.connection_by(&self.url())
    }

    /// A connection in RESP3.
    pub fn connection3(&self) -> redis::Connection {
        self.connection_by(&format!("{}/?protocol=resp3", self.url()))
    }

    /// A connection as a user.
    pub fn connection_as(&self, user: &str, password: &str) -> redis::Connection {
        self.connection_by(&format!(
            "redis://{user}:{password}@127.0.0.1:{}",
            self.port
        ))
    }

    fn connection_by(&self, url: &str) -> redis::Connection {
        let connection = redis::Client::open(url).unwrap().get_connection().unwrap();
        connection.set_read_timeout(Some(LONG)).unwrap();
        connection
    }

    /// Sends a command, its words separated by blanks.
    pub fn ask<T: FromRedisValue>(&self, line: &str) -> T {
        ask(&mut self.connection(), line)
    }

    /// Sends a command.
    pub fn send<T: FromRedisValue>(&self, words: &[&[u8]]) -> T {
        send(&mut self.connection(), words).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The line with which a command is refused, as `ERR AGG.STAT: ...`.
    pub fn error(&self, line: &str) -> String {
        error(&mut self.connection(), line)
    }

    /// The records of a queue, looked at.
    pub fn peek(&self, node: &str, queue: &str) -> Vec<serde_json::Value> {
        records(&self.ask::<Value>(&format!("AGG.PEEK {node} {queue} COUNT 10000")))
    }

    /// The field of AGG.GET's map; none where there is no such thing.
    pub fn field(&self, get: &str, field: &str) -> Option<Value> {
        at(&self.ask::<Value>(get), field).cloned()
    }

    /// DEBUG DIGEST-VALUE of a key.
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

/// Sends a command, its words separated by blanks.
pub fn ask<T: FromRedisValue>(connection: &mut redis::Connection, line: &str) -> T {
    let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
    send(connection, &words).unwrap_or_else(|error| panic!("{line}: {error}"))
}

/// Sends a command.
pub fn send<T: FromRedisValue>(
    connection: &mut redis::Connection,
    words: &[&[u8]],
) -> redis::RedisResult<T> {
    let mut command = redis::Cmd::new();
    words.iter().for_each(|word| {
        command.arg(*word);
    });
    command.query(connection)
}

/// The line with which a command is refused, as the server sent it.
pub fn error(connection: &mut redis::Connection, line: &str) -> String {
    let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
    refusal(connection, &words)
}

/// The same of a command in words.
pub fn refusal(connection: &mut redis::Connection, words: &[&[u8]]) -> String {
    match send::<Value>(connection, words) {
        Ok(reply) => panic!(
            "{} was not refused: {reply:?}",
            String::from_utf8_lossy(&words.join(&b' '))
        ),
        Err(error) => match (error.code(), error.detail()) {
            (Some(code), Some(detail)) => format!("{code} {detail}"),
            _ => error.to_string(),
        },
    }
}

/// A field of a map, in RESP2 a flat list of names and values.
pub fn at<'a>(map: &'a Value, field: &str) -> Option<&'a Value> {
    let name = Value::BulkString(field.into());
    match map {
        Value::Map(pairs) => pairs.iter().find(|(n, _)| *n == name).map(|(_, v)| v),
        Value::Array(items) => {
            let i = items.iter().step_by(2).position(|item| *item == name)?;
            items.get(i * 2 + 1)
        }
        _ => None,
    }
}

/// A field of a map as an integer.
pub fn int(map: &Value, field: &str) -> i64 {
    match at(map, field) {
        Some(Value::Int(n)) => *n,
        other => panic!("{field} is {other:?}"),
    }
}

/// A field of a map as text.
pub fn text(map: &Value, field: &str) -> String {
    match at(map, field) {
        Some(Value::BulkString(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
        other => panic!("{field} is {other:?}"),
    }
}

/// A field of a map as a double, which the module sends as the shortest decimal.
pub fn double(map: &Value, field: &str) -> f64 {
    text(map, field).parse().unwrap()
}

/// The elements of a list.
pub fn list(value: &Value) -> &[Value] {
    match value {
        Value::Array(items) => items,
        other => panic!("no list: {other:?}"),
    }
}

/// An entry that was handed out or looked at.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub queue: String,
    pub id: i64,
    pub deliveries: i64,
    /// The record as it came.
    pub text: String,
}

impl Entry {
    /// The record.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{}: {error}", self.text))
    }
}

/// What POP, FETCH or PEEK answered.
pub fn entries(reply: &Value) -> Vec<Entry> {
    list(reply)
        .iter()
        .map(|entry| {
            let (queue, id, deliveries, text) = redis::from_redis_value(entry.clone()).unwrap();
            Entry {
                queue,
                id,
                deliveries,
                text,
            }
        })
        .collect()
}

/// Their records.
pub fn records(reply: &Value) -> Vec<serde_json::Value> {
    entries(reply).iter().map(Entry::json).collect()
}

/// Says that a part is missing, or fails where none may be.
pub fn missing<T>(what: &str) -> Option<T> {
    assert!(
        std::env::var("CI").as_deref() != Ok("true"),
        "{what} is missing"
    );
    // Past the test runner, which would keep a print! to itself.
    let _ = writeln!(std::io::stderr(), "skipped: {what} is missing");
    None
}

fn spawn(program: &str, port: u16, arguments: &[String], dir: &Path) -> Child {
    let port = port.to_string();
    // A file of settings has to be the first argument.
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
        // As redis.conf.example has it; so no test passes over an effect that a replica or an AOF's reader refuses.
        .args(["--propagation-error-behavior", "panic"])
        .args(arguments)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// The words of a line; what stands in single quotes is one word, whatever it holds.
pub fn words(line: &str) -> Vec<&[u8]> {
    let parts = line.split('\'').enumerate();
    parts
        .flat_map(|(i, part)| match i % 2 {
            0 => part.split_whitespace().map(str::as_bytes).collect(),
            _ => vec![part.as_bytes()],
        })
        .collect()
}

/// What commands, as [`words`] reads them, answer in one MULTI: no tick of the timer comes in between.
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

/// Gives a node something of everything: open windows and closed ones, entries of every queue that wait, that are
/// leased and that were taken.
pub fn fill(connection: &mut redis::Connection, node: &str) {
    let old = now_ms() - 4 * 3_600_000;
    let (second, third) = (old + 60_000, old + 7_200_000);
    for line in [
        format!("AGG.STAT {node} cpu.load@0 1.5 TAGS unit:load AT {old}"),
        format!("AGG.STAT {node} cpu.load@0 2.5 TAGS unit:other AT {second}"),
        format!("AGG.STAT {node} net.rx 100 DIFF TAGS unit:bytes AT {old}"),
        format!("AGG.STAT {node} net.rx 700 DIFF AT {second}"),
        format!("AGG.STAT {node} net.rx 60 DIFF AT {third}"),
        format!("AGG.STAT {node} net.rx 90 DIFF"),
        format!("AGG.MSTAT {node} ABS VALUES cpu.load@0 3.5 temp -40.25 disk@sda 1e300"),
        format!("AGG.LOG {node} taken"),
        format!("AGG.POP {node} LOG"),
        format!("AGG.LOG {node} leased LEVEL 3 TAGS a:b"),
        format!("AGG.FETCH {node} LOG COUNT 1 LEASE 3600000"),
        format!("AGG.LOG {node} waiting"),
        format!(
            "AGG.ERROR {node} taken KEY taken LEVEL 9 TYPE BUG CODE c FUNC f FILE p GID 1 NID 2"
        ),
        format!("AGG.POP {node} ERROR"),
        format!("AGG.ERROR {node} taken KEY taken"),
        format!("AGG.ERROR {node} leased PUBLIC oops BACKTRACE b"),
        format!("AGG.FETCH {node} ERROR LEASE 3600000"),
        format!("AGG.ERROR {node} waiting KEY waiting TAGS t:1"),
        format!("AGG.REALITY {node} taken system.Disk {{\"size\":1}} TAGS a:b"),
        format!("AGG.REALITY {node} gone system.Nic {{}}"),
        format!("AGG.POP {node} REALITY"),
        format!("AGG.FORGET {node} REALITY gone"),
        format!("AGG.REALITY {node} leased system.Disk {{\"size\":[1,2]}} TTL 86400"),
        format!("AGG.FETCH {node} REALITY COUNT 1 LEASE 3600000"),
        format!("AGG.REALITY {node} waiting system.Vm null"),
    ] {
        ask::<Value>(connection, &line);
    }
}

/// Settings that hold windows open for an hour, as far as four windows reach. A delay that long goes with windows of 20
/// minutes; nodes that [`make_short`] makes have shorter ones all the same.
pub const HELD_OPEN: &str = "min-window 1200 hour-window 1200 flush-delay-ms 3600000";

/// The same on a server that runs.
pub fn hold_windows_open(server: &Server) {
    let () = server.ask(HOLD);
}

const HOLD: &str = "CONFIG SET agg.min-window 1200 agg.hour-window 1200 agg.flush-delay-ms 3600000";

/// Short windows close as soon as they have ended, and new nodes have short ones.
pub fn let_windows_close(server: &Server) {
    let () = server.ask(CLOSE);
}

const CLOSE: &str = "CONFIG SET agg.min-window 1 agg.hour-window 2 agg.flush-delay-ms 0";

/// Makes a node with windows of one and two seconds, on a server that then holds windows open.
pub fn make_short(connection: &mut redis::Connection, node: &str) {
    let lines = [
        "MULTI",
        CLOSE,
        &format!("AGG.LOG {node} first"),
        &format!("AGG.POP {node} LOG"),
        HOLD,
        "EXEC",
    ];
    for line in lines {
        let _: Value = ask(connection, line);
    }
}

/// [`fill`] of a node that [`make_short`] makes.
pub fn fill_short(connection: &mut redis::Connection, node: &str) {
    make_short(connection, node);
    fill(connection, node);
}

/// Gives a node a few megabytes: 4000 metrics, 1000 lines of 500 bytes, 1000 errors and 1000 objects.
pub fn fill_much(connection: &mut redis::Connection, node: &str) {
    let long = "x".repeat(500);
    for part in 0..20 {
        let mut mstat = format!("AGG.MSTAT {node} VALUES");
        for i in 0..200 {
            mstat += &format!(" metric.{part}.{i} {i}");
        }
        let _: Value = ask(connection, &mstat);
        for i in 0..50 {
            let _: i64 = ask(connection, &format!("AGG.LOG {node} {long}"));
            let _: Value = ask(connection, &format!("AGG.ERROR {node} e{part}.{i}"));
            let _: i64 = ask(
                connection,
                &format!("AGG.REALITY {node} o{part}.{i} m [{i}]"),
            );
        }
    }
}

/// Settings with windows of four weeks: while a test looks, none closes by the clock and the timer has nothing to do.
pub const CALM: &str = "min-window 2419200 hour-window 2419200";

/// The start of an hour whose windows have long ended.
pub fn past_hour() -> i64 {
    now_ms() / 3_600_000 * 3_600_000 - 7_200_000
}

/// A number of a queue in AGG.INFO.
pub fn of_queue(server: &Server, node: &str, queue: &str, field: &str) -> i64 {
    let info: Value = server.ask(&format!("AGG.INFO {node}"));
    int(at(at(&info, "queues").unwrap(), queue).unwrap(), field)
}

/// The program of the servers that [`Server::with`] starts; none where it or the module is missing.
pub fn program() -> Option<String> {
    let mut server = Server::with_module(&[], "")?;
    server.stop();
    Some(server.program.clone())
}

impl Server {
    /// One of this program, on this port, with these arguments alone.
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
}
