//! Damaged files: a server does not start and says why, or loads the file; it does not crash, hang or grow.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use redis::Value;

use super::apply::aof_of_work;
use super::mutate::mutate;
use super::support::*;
use testkit::*;

/// The outcome of a start.
#[derive(Debug, Default)]
struct Starts {
    loaded: usize,
    rejected: usize,
    most: u64,
    /// The same of servers that check a file after they have rejected it.
    most_when_checked: u64,
}

/// A server whose start is not waited for.
struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Starts {
    /// Starts a server in a folder with files.
    fn start(&mut self, program: &str, dir: &Path, arguments: &[&str]) {
        let port = free_port();
        let (log, module) = (dir.join("server.txt"), module());
        let child = Command::new(program)
            .args([
                "--port",
                &port.to_string(),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--dir",
            ])
            .arg(dir)
            .args(["--logfile", "server.txt", "--enable-debug-command", "yes"])
            .args(arguments)
            .args(["--loadmodule", module.to_str().unwrap()])
            .args(SETTINGS.split(' '))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut server = Started(child);
        let client = redis::Client::open(format!("redis://127.0.0.1:{port}")).unwrap();
        let started = Instant::now();
        let log = || String::from_utf8_lossy(&std::fs::read(&log).unwrap_or_default()).into_owned();
        let mut has_rejected = false;
        loop {
            if let Some(status) = server.0.try_wait().unwrap() {
                let log = log();
                assert_eq!(status.signal(), None, "it crashed: {log}");
                let why = [
                    "a node was not loaded: ",
                    "error",
                    "Bad file format",
                    "Unexpected end",
                    "reading the append only file",
                    "FATAL: Data file was created",
                ];
                assert!(
                    why.iter().any(|why| log.contains(why)),
                    "it says not why: {log}"
                );
                self.rejected += 1;
                break;
            }
            // Redis 7.0 checks a file that it has rejected before it exits. If the file is cut or damaged inside a
            // module value, that check (rdbLoadCheckModuleValue) never ends, and its memory may grow. The first reading
            // after the rejection still has the peak of the load.
            let (_, most) = resident(server.0.id()).unwrap_or_default();
            if has_rejected {
                self.most_when_checked = self.most_when_checked.max(most);
            } else {
                self.most = self.most.max(most);
            }
            let log_so_far = log();
            has_rejected = [
                "Unrecoverable error, aborting now",
                "Internal error in RDB reading",
            ]
            .iter()
            .any(|text| log_so_far.contains(text));
            // The server listens before it loads, and may never reply. The wait is short, so that the readings of
            // memory are close to each other.
            let patience = Duration::from_millis(50);
            if let Ok(mut connection) = client.get_connection_with_timeout(patience)
                && connection.set_read_timeout(Some(patience)).is_ok()
                && let Ok(keys) = redis::cmd("KEYS")
                    .arg("*")
                    .query::<Vec<Vec<u8>>>(&mut connection)
            {
                connection
                    .set_read_timeout(Some(Duration::from_secs(300)))
                    .unwrap();
                self.loaded += 1;
                // Names may be damaged, too.
                let keys = keys
                    .into_iter()
                    .filter_map(|key| String::from_utf8(key).ok());
                let is_plain = |key: &String| !key.is_empty() && !key.contains(' ');
                use_all(&mut connection, keys.filter(is_plain).collect());
                break;
            }
            if has_rejected && started.elapsed() > Duration::from_secs(3) {
                self.rejected += 1;
                break;
            }
            assert!(
                started.elapsed() < Duration::from_secs(300),
                "it hangs: {}",
                log()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        let log = log();
        assert!(
            !log.contains("internal error") && !log.contains("panicked"),
            "{log}"
        );
    }
}

/// A node that was loaded works.
fn use_all(connection: &mut redis::Connection, keys: Vec<String>) {
    for key in &keys {
        if ask::<String>(connection, &format!("TYPE {key}")) == "aggr-node" {
            exercise(connection, key);
        }
    }
    if !keys.is_empty() {
        reload(connection, &keys);
    }
}

/// Damages a file after its first `skip` bytes: truncates it, flips bits, or mutates it.
fn damage(random: &mut Random, file: &mut Vec<u8>, skip: usize) {
    let mut tail = file.split_off(skip);
    match random.below(4) {
        0 => tail.truncate(random.below(tail.len())),
        1 => {
            let at = random.below(tail.len());
            tail[at] ^= 1 << random.below(8);
        }
        _ => {
            let other = tail.clone();
            mutate(random, &mut tail, &other);
        }
    }
    file.append(&mut tail);
}

/// The memory that a server may use: an empty one uses some 10 MB.
const MOST: u64 = 100 << 20;

fn starts() -> usize {
    env_number("AGG_STARTS").map_or(amount(80, 2_000), |n| n as usize)
}

#[test]
fn damaged_rdb_files_are_rejected_or_loaded() {
    let Some(server) = server() else { return };
    let mut report = FailureReport::new("RDB");
    dumps(&server);
    let _: () = server.ask("SAVE");
    let rdb = std::fs::read(server.dir().join("dump.rdb")).unwrap();
    drop(server);
    let program = program().unwrap();
    // After what the server wrote about itself.
    let first = rdb
        .windows(10)
        .position(|part| part[0] == 7 && part[1] == 0x81);
    let first = first
        .or_else(|| rdb.windows(3).position(|part| part[0] == 7))
        .unwrap();
    let mut random = Random(seed());
    let mut starts = Starts::default();
    for i in 0..self::starts() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = rdb.clone();
        damage(&mut random, &mut file, first);
        report.is(&format!("RDB file {i}"), &[vec![file.clone()]]);
        std::fs::write(dir.path().join("dump.rdb"), file).unwrap();
        // Only the module detects the damage.
        starts.start(&program, dir.path(), &["--rdbchecksum", "no"]);
        assert!(starts.most < MOST, "{starts:?}");
    }
    println!("RDB of {} bytes: {starts:?}", rdb.len());
    assert!(starts.rejected > 0 && starts.loaded > 0, "{starts:?}");
}

#[test]
fn damaged_aof_files_are_rejected_or_loaded() {
    let Some(aof) = aof_of_work(seed() + 1, 30) else {
        return;
    };
    let program = program().unwrap();
    let mut report = FailureReport::new("AOF");
    let mut random = Random(seed());
    let mut starts = Starts::default();
    for i in 0..self::starts() {
        report.is(&format!("AOF file {i}"), &[]);
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("appendonlydir");
        std::fs::create_dir(&folder).unwrap();
        let mut file = aof.clone();
        damage(&mut random, &mut file, 30);
        std::fs::write(folder.join("appendonly.aof.1.incr.aof"), file).unwrap();
        let manifest = "file appendonly.aof.1.incr.aof seq 1 type i\n";
        std::fs::write(folder.join("appendonly.aof.manifest"), manifest).unwrap();
        starts.start(
            &program,
            dir.path(),
            &["--appendonly", "yes", "--aof-use-rdb-preamble", "no"],
        );
    }
    println!("AOF of {} bytes: {starts:?}", aof.len());
    assert!(starts.most < MOST, "{starts:?}");
    assert!(starts.rejected > 0 && starts.loaded > 0, "{starts:?}");
}

#[test]
fn rest_of_an_aof_with_one_damaged_payload_is_loaded_if_the_setting_permits() {
    let Some(server) = server() else { return };
    let mut connection = server.connection();
    let _: i64 = ask(&mut connection, "AGG.LOG n kept");
    let frames = super::dump::Dump::parse(&ask::<Vec<u8>>(&mut connection, "DUMP n")).frames;
    let mut commands: Vec<Vec<u8>> = Vec::new();
    let resp = |words: &[&[u8]]| {
        let mut command = redis::Cmd::new();
        words.iter().for_each(|word| {
            command.arg(*word);
        });
        command.get_packed_command()
    };
    commands.push(resp(&[b"SELECT", b"0"]));
    commands.extend(
        frames
            .iter()
            .map(|frame| resp(&[b"AGG.APPLY", b"n", frame])),
    );
    commands.push(resp(&[b"AGG.APPLY", b"n", b"\x01damaged"]));
    commands.push(resp(&[b"SET", b"after", b"1"]));
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("appendonlydir");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("appendonly.aof.1.incr.aof"), commands.concat()).unwrap();
    let manifest = "file appendonly.aof.1.incr.aof seq 1 type i\n";
    std::fs::write(folder.join("appendonly.aof.manifest"), manifest).unwrap();
    let mut arguments = vec!["--appendonly", "yes", "--dir", dir.path().to_str().unwrap()];
    // The default of the server; newer.rs tests the setting of redis.conf.example.
    arguments.extend(["--propagation-error-behavior", "ignore"]);
    let Some(loaded) = Server::with_module(&arguments, SETTINGS) else {
        return;
    };
    let answers = burst(
        &mut loaded.connection(),
        &[split("GET after"), split("AGG.PEEK n LOG")],
    );
    assert_eq!(answers[0], Ok(Value::BulkString(b"1".into())));
    assert_eq!(records(answers[1].as_ref().unwrap())[0]["message"], "kept");
    let log = std::fs::read_to_string(dir.path().join("server.txt")).unwrap_or(loaded.log());
    assert!(log.contains("AGG.APPLY: invalid payload"), "{log}");
}
