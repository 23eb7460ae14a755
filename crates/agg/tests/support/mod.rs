//! The program `agg` for its tests, and the stubs and databases that it writes to.

use std::io::Write;
use std::process::{Command, Output, Stdio};

pub mod certs;
pub mod fuse;
pub mod influx;
pub mod kafka;
pub mod mongo;
pub mod opensearch;
pub mod oteltap;
pub mod place;
pub mod postgres;
pub mod prometheus;
pub mod rotel;
pub mod small_disk;
pub mod store;
pub mod stub;
pub mod terminal;
pub mod tls_front;
pub mod victoria;

pub use testkit::*;

/// Returns a command of the program with arguments, their words separated by blanks, and without the environment of the
/// caller.
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
        // A program that ends early does not read it all.
        let _ = stdin.write_all(&input);
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

/// Returns a line of `agg poll` without the time and the level before it.
pub fn unstamped(line: &str) -> &str {
    let (stamp, rest) = line.split_at(line.find("agg: ").unwrap_or(0));
    let words: Vec<&str> = stamp.split_whitespace().collect();
    assert_eq!(words.len(), 2, "no time and level: {line}");
    assert!(words[0].len() == 24 && words[0].ends_with('Z'), "{line}");
    assert!(["INFO", "WARN", "ERROR"].contains(&words[1]), "{line}");
    rest
}

/// Returns how often the server has run a command.
pub fn calls(server: &Server, command: &str) -> usize {
    let stats: String = server.ask("INFO commandstats");
    let of_command = format!("cmdstat_{command}:calls=");
    let found = stats
        .lines()
        .find_map(|line| line.strip_prefix(&of_command));
    found.map_or(0, |rest| rest.split(',').next().unwrap().parse().unwrap())
}
