//! README.md: the redis-cli sessions answer what they show, and its tables name all commands and settings.
//!
//! Ids and times differ from run to run: the testkit (`transcript.rs`) says what stands for what.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use testkit::*;

const README: &str = include_str!("../../README.md");
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
    let mut known = Transcript::default();
    let commands = sessions();
    assert!(commands.len() > 20);
    for (command, shown) in commands {
        let got = redis_cli(&server, &known.translate(&command));
        assert!(
            known.compare(&shown, &got),
            "{command}\nREADME.md shows:\n{shown}\nthe server answers:\n{got}"
        );
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
    let example = include_str!("../../redis.conf.example");
    let users: Vec<&str> = README.lines().filter(|l| l.starts_with("user ")).collect();
    assert_eq!(users.len(), 4);
    for user in users {
        assert!(example.lines().any(|line| line == user), "{user}");
    }
}
