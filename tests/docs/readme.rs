//! Pages for newcomers: their redis-cli sessions print what they show, and their tables list all commands and settings.
//!
//! Ids and times differ from run to run: `transcript.rs` of the testkit maps them.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::page::{self, PROMPT};
use aggregator_core::settings::{SETTINGS, SettingSpec, Unit};
use aggregator_core::text_settings::TEXTS;
use testkit::*;

/// The pages with sessions of redis-cli, and how many commands each has at least.
pub const SESSIONS: [(&str, usize); 5] = [
    ("README.md", 5),
    ("docs/choosing-a-type.md", 11),
    ("docs/commands.md", 2),
    ("docs/getting-started.md", 20),
    ("docs/statistics.md", 32),
];

/// Returns the commands of the sessions of a page, each with its output.
fn sessions(page: &str) -> Vec<(String, String)> {
    let mut commands: Vec<(String, String)> = Vec::new();
    for block in page::blocks(&page::read(page)) {
        if block.language != "console" {
            continue;
        }
        assert!(block.text.starts_with(PROMPT), "{page}: {}", block.text);
        for line in block.text.lines() {
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

/// Returns what redis-cli prints for a command that is typed.
fn redis_cli(server: &Server, command: &str) -> String {
    let mut child = Command::new("redis-cli")
        .args(["-3", "--no-raw", "-p", &server.port.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("redis-cli is needed, scripts/deps.sh installs it");
    // Closing it ends the input.
    let mut input = child.stdin.take().unwrap();
    writeln!(input, "{command}").unwrap();
    drop(input);
    String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
}

fn run_sessions(page: &str, least: usize) {
    let Some(server) = Server::start() else {
        return;
    };
    // Samples without a time have to fall into one window.
    until("the window has some seconds left", || {
        let left = 300_000 - now_ms() % 300_000;
        let long_enough = left > 10_000;
        if !long_enough {
            std::thread::sleep(Duration::from_millis(100));
        }
        long_enough.then_some(())
    });
    let mut known = Transcript::default();
    let commands = sessions(page);
    assert!(commands.len() >= least, "{page}: {}", commands.len());
    for (command, shown) in commands {
        let got = redis_cli(&server, &known.translate(&command));
        assert!(
            known.compare(&shown, &got),
            "{command}\n{page} shows:\n{shown}\nthe server answers:\n{got}"
        );
    }
}

#[test]
fn sessions_answer_what_they_show() {
    for (page, least) in SESSIONS {
        run_sessions(page, least);
    }
}

#[test]
fn commands_page_names_every_command() {
    let Some(server) = Server::start() else {
        return;
    };
    let text = page::read("docs/commands.md");
    let commands: Vec<String> = server.ask("COMMAND LIST FILTERBY MODULE agg");
    assert!(!commands.is_empty());
    for command in commands {
        let name = format!("`{}", command.to_uppercase());
        assert!(text.contains(&name), "{name} is missing");
    }
}

#[test]
fn configuration_page_names_every_setting_with_its_default() {
    let Some(server) = Server::start() else {
        return;
    };
    let text = page::read("docs/configuration.md");
    let settings: BTreeMap<String, String> = server.ask("CONFIG GET agg.*");
    assert!(!settings.is_empty());
    for (name, value) in settings {
        let is_setting = |spec: &&SettingSpec| name.strip_prefix("agg.") == Some(spec.name);
        let is_size = SETTINGS
            .iter()
            .find(is_setting)
            .is_some_and(|spec| spec.unit == Unit::Bytes);
        let number = value.parse::<u64>().ok();
        let is_text = TEXTS
            .iter()
            .any(|spec| name.strip_prefix("agg.") == Some(spec.name));
        let shown = match number.unwrap_or(0) {
            _ if is_text => format!("\"{value}\""),
            _ if number.is_none() => value,
            n if !is_size => n.to_string(),
            n if n > 0 && n % (1 << 20) == 0 => format!("{}mb", n >> 20),
            n if n > 0 && n % (1 << 10) == 0 => format!("{}kb", n >> 10),
            n => n.to_string(),
        };
        let row = format!("| {name} | {shown} |");
        assert!(text.contains(&row), "{row} is missing");
    }
}

#[test]
fn users_of_the_deployment_page_are_those_of_the_example() {
    let example = page::read("redis.conf.example");
    let text = page::read("docs/deployment.md");
    let users: Vec<&str> = text.lines().filter(|l| l.starts_with("user ")).collect();
    assert_eq!(users.len(), 4);
    for user in users {
        assert!(example.lines().any(|line| line == user), "{user}");
    }
}
