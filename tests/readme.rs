//! README.md: the redis-cli sessions answer what they show, and its tables name all commands and settings.
//!
//! Ids and times differ from run to run. They are the numbers of 13 digits or more; those that a session shows stand
//! for those that the server gives now, in replies and in later commands.

mod support;

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use support::*;

const README: &str = include_str!("../README.md");
const PROMPT: &str = "127.0.0.1:7777> ";

/// The commands of all sessions, each with its output.
fn sessions() -> Vec<(String, String)> {
    let blocks = README.split("```console\n").skip(1);
    let mut commands: Vec<(String, String)> = Vec::new();
    for block in blocks {
        let (block, _) = block.split_once("\n```").unwrap();
        assert!(block.starts_with(PROMPT), "{block}");
        for line in block.lines() {
            if let Some(command) = line.strip_prefix(PROMPT) {
                commands.push((command.to_owned(), String::new()));
            } else {
                let (_, output) = commands.last_mut().unwrap();
                output.push_str(line);
                output.push('\n');
            }
        }
    }
    commands
}

/// What redis-cli prints for a command that is typed in.
fn redis_cli(server: &Server, command: &str) -> String {
    let mut child = Command::new("redis-cli")
        .args(["-3", "--no-raw", "-p", &server.port.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("redis-cli is needed, scripts/deps.sh installs it");
    // Its end is the end of the input.
    let mut input = child.stdin.take().unwrap();
    writeln!(input, "{command}").unwrap();
    drop(input);
    String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
}

/// A text as pieces, by turns what is no number and a number.
fn pieces(text: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = text;
    for digits in [false, true].into_iter().cycle() {
        let end = rest
            .find(|c: char| c.is_ascii_digit() != digits)
            .unwrap_or(rest.len());
        pieces.push(&rest[..end]);
        rest = &rest[end..];
        if rest.is_empty() {
            break;
        }
    }
    pieces
}

fn is_id_or_time(piece: &str) -> bool {
    piece.len() >= 13 && piece.bytes().all(|b| b.is_ascii_digit())
}

/// Replaces what the README shows by what stands for it now.
fn translate(text: &str, known: &BTreeMap<String, String>) -> String {
    let now = |piece| known.get(piece).map_or(piece, String::as_str);
    pieces(text).into_iter().map(now).collect()
}

/// Compares an output, and notes what its ids and times stand for.
fn compare(command: &str, shown: &str, got: &str, known: &mut BTreeMap<String, String>) {
    let (a, b) = (pieces(shown.trim_end()), pieces(got.trim_end()));
    let same = |(a, b): (&&str, &&str)| a == b || (is_id_or_time(a) && is_id_or_time(b));
    assert!(
        a.len() == b.len() && a.iter().zip(&b).all(same),
        "{command}\nREADME.md shows:\n{shown}\nthe server answers:\n{got}"
    );
    for (a, b) in a.into_iter().zip(b).filter(|(a, _)| is_id_or_time(a)) {
        known.insert(a.to_owned(), b.to_owned());
    }
}

#[test]
fn its_sessions_answer_what_they_show() {
    let Some(server) = Server::start() else {
        return;
    };
    // Samples without a time of their own are to fall into one window.
    until("the window has some seconds left", || {
        let left = 300_000 - now_ms() % 300_000;
        let long_enough = left > 10_000;
        if !long_enough {
            std::thread::sleep(Duration::from_millis(100));
        }
        long_enough.then_some(())
    });
    let mut known = BTreeMap::new();
    let commands = sessions();
    assert!(commands.len() > 20);
    for (command, shown) in commands {
        let got = redis_cli(&server, &translate(&command, &known));
        compare(&command, &shown, &got, &mut known);
    }
}

#[test]
fn it_names_every_command() {
    let Some(server) = Server::start() else {
        return;
    };
    let commands: Vec<String> = server.ask("COMMAND LIST FILTERBY MODULE agg");
    assert!(!commands.is_empty());
    for command in commands {
        let name = format!("`{}", command.to_uppercase());
        assert!(README.contains(&name), "{name} is missing");
    }
}

#[test]
fn it_names_every_setting_with_its_default() {
    let Some(server) = Server::start() else {
        return;
    };
    let settings: BTreeMap<String, u64> = server.ask("CONFIG GET agg.*");
    assert!(!settings.is_empty());
    for (name, value) in settings {
        let shown = match value {
            n if n > 0 && n % (1 << 20) == 0 => format!("{}mb", n >> 20),
            n if n > 0 && n % (1 << 10) == 0 => format!("{}kb", n >> 10),
            n => n.to_string(),
        };
        let row = format!("| {name} | {shown} |");
        assert!(README.contains(&row), "{row} is missing");
    }
}

#[test]
fn its_users_are_those_of_the_example() {
    let example = include_str!("../redis.conf.example");
    let users: Vec<&str> = README.lines().filter(|l| l.starts_with("user ")).collect();
    assert_eq!(users.len(), 4);
    for user in users {
        assert!(example.lines().any(|line| line == user), "{user}");
    }
}
