//! The AOF of a server is read by others: at their start, and sent by `redis-cli --pipe`.

use std::fs::File;
use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::programs::{Program, all, main_program};
use crate::support::*;
use testkit::random_workload::{BUSY, Lifetimes, RandomWorkload};
use testkit::*;

/// Waits until neither the state of the server nor its AOF changes while `take` reads the AOF. Returns the state and
/// what was read.
fn at_rest<T>(server: &Server, mut take: impl FnMut() -> T) -> (State, T) {
    until("the server is at rest", || {
        let before = state(server);
        aof_is_quiet(server);
        let taken = take();
        let is_lasting = before.values().all(|(_, expires)| *expires == -1);
        (is_lasting && state(server) == before).then_some((before, taken))
    })
}

/// Asserts that servers that load the AOF of this server have the same state. They are replicas whose primary is down,
/// so that they decide nothing afterwards.
pub fn assert_aof_gives_the_same(when: &str, of: &Server, readers: &[&Program]) {
    let (here, taken) = at_rest(of, || {
        let folder = tempfile::tempdir().unwrap();
        copy_folder(
            &of.dir().join("appendonlydir"),
            &folder.path().join("appendonlydir"),
        );
        folder
    });
    for reader in readers {
        let folder = tempfile::tempdir().unwrap();
        copy_folder(
            &taken.path().join("appendonlydir"),
            &folder.path().join("appendonlydir"),
        );
        let dir = folder.path().to_str().unwrap();
        let mut arguments = vec!["--dir", dir, "--replicaof", "127.0.0.1", "1"];
        arguments.extend(AOF);
        let server = reader.start(&arguments, "min-window 9 hour-window 9 max-series 1");
        let when = format!("{when}, read by {}", reader.name());
        assert_same(&when, &here, &state(&server));
    }
}

/// Joins the parts of the AOF of a server in one file.
fn whole_aof(server: &Server, into: &Path) {
    let folder = server.dir().join("appendonlydir");
    let mut parts: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "aof"))
        .collect();
    // The base comes first: `.base.aof` before `.incr.aof`.
    parts.sort_by_key(|path| {
        let name = path.to_str().unwrap().to_owned();
        (name.contains(".incr."), name)
    });
    let mut all = Vec::new();
    for part in parts {
        all.extend(std::fs::read(part).unwrap());
    }
    std::fs::write(into, all).unwrap();
}

/// Sends the AOF of a server to another, as an administrator does, and returns the state of the first.
fn pipe(from: &Server, to: &Server) -> State {
    let file = from.dir().join("whole.aof");
    let (here, ()) = at_rest(from, || whole_aof(from, &file));
    let output = Command::new("redis-cli")
        .args(["-p", &to.port.to_string(), "--pipe"])
        .stdin(File::open(file).unwrap())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(
        output.status.success() && said.contains("errors: 0"),
        "{said}"
    );
    here
}

/// Settings with which the timer does nothing.
const STILL: &str = "min-window 1200 hour-window 1200 flush-delay-ms 3600000 series-ttl 0 error-ttl 0 error-interval-ms 2147483647";

/// Starts a server of that program and runs a thousand random commands and a quiet period.
fn busy_server(program: &Program, seed: u64, lifetimes: Lifetimes) -> Server {
    let mut settings = BUSY.to_owned();
    if lifetimes == Lifetimes::Infinite {
        settings = settings.replace("reality-ttl 1", "reality-ttl 0");
    }
    let mut arguments = AOF.to_vec();
    arguments.extend(["--appendfsync", "no"]);
    let server = program.start(&arguments, &settings);
    let mut workload = RandomWorkload::new(&server, seed, lifetimes);
    // Every server has to read it.
    workload.restores = lifetimes == Lifetimes::Infinite;
    for i in 0..amount(700, 3000) {
        workload.act();
        if i % 10 == 0 {
            let_pass(7);
        }
    }
    server
}

#[test]
fn aof_piped_by_redis_cli_into_a_fresh_server_gives_the_same_state() {
    let Some(program) = main_program() else {
        return;
    };
    for seed in seeds(2, 20) {
        let server = busy_server(&program, seed, Lifetimes::Infinite);
        let fresh = program.start(&[], STILL);
        let before = pipe(&server, &fresh);
        let when = format!("seed {seed}, piped into a fresh server");
        assert_same(&when, &before, &state(&fresh));
    }
}

/// A fresh server's timer runs many times while the file arrives. It used to drop what had expired since the file was
/// written, which the next effects named.
#[test]
fn aof_that_a_client_sends_slowly_gives_the_same_state() {
    let Some(program) = main_program() else {
        return;
    };
    let server = busy_server(&program, seeds(1, 1)[0], Lifetimes::Infinite);
    let file = server.dir().join("whole.aof");
    let (before, ()) = at_rest(&server, || whole_aof(&server, &file));
    let bytes = std::fs::read(file).unwrap();
    let fresh = program.start(&[], STILL);
    let mut c = TcpStream::connect(("127.0.0.1", fresh.port)).unwrap();
    let mut replies = c.try_clone().unwrap();
    let reader = std::thread::spawn(move || std::io::copy(&mut replies, &mut std::io::sink()));
    for part in bytes.chunks(bytes.len().div_ceil(30)) {
        c.write_all(part).unwrap();
        let_pass(150);
    }
    // The end of what is sent: the server answers all, and closes the connection.
    c.shutdown(Shutdown::Write).unwrap();
    reader.join().unwrap().unwrap();
    assert_same("sent slowly", &before, &state(&fresh));
}

#[test]
fn aof_of_any_server_is_read_by_any_other() {
    let programs = all();
    for (i, program) in programs.iter().enumerate() {
        let seed = seeds(1, 1)[0].wrapping_add(i as u64);
        let server = busy_server(program, seed, Lifetimes::Finite);
        let who = format!("seed {seed}, {}", program.name());
        assert_aof_gives_the_same(&who, &server, &programs.iter().collect::<Vec<_>>());
    }
}
