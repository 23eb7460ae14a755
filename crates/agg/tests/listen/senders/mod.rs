//! Real senders: the libraries and programs that people use. scripts/senders.sh installs the libraries, scripts/deps.sh
//! the programs of Debian; neither starts a service.
//!
//! A test compares what arrived with what the sender sent, mostly all of it ([`super::contents`]).

mod collectd;
mod javascript;
mod python;
mod syslog;

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::support::{missing, root};

fn source(file: &str) -> PathBuf {
    root().join("crates/agg/tests/senders").join(file)
}

/// Returns a command of a sender in Python.
pub fn python(name: &str) -> Command {
    let program = root().join("target/senders/python/bin/python");
    assert!(
        program.exists(),
        "the senders in Python are not installed: make clients"
    );
    let mut command = Command::new(program);
    command
        .arg(source(&format!("{name}.py")))
        .env("OTEL_METRICS_EXEMPLAR_FILTER", "always_off");
    command
}

/// Returns a command of a sender in JavaScript; `None` if Node is missing.
fn node(name: &str) -> Option<Command> {
    let mut command = program("node", "nodejs")?;
    let packages = root().join("target/senders/node");
    assert!(
        packages.join("installed").exists(),
        "the senders in JavaScript are not installed: make clients"
    );
    command
        .env("NODE_PATH", packages.join("node_modules"))
        .arg(source(&format!("{name}.js")));
    Some(command)
}

/// Returns a command of a program that a package of Debian has; `None` if it is missing.
fn program(name: &str, package: &str) -> Option<Command> {
    // Daemons are in a folder that only the PATH of root names.
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into()]);
    let found = folders
        .map(|folder| folder.join(name))
        .find(|path| path.exists());
    match found {
        Some(path) => Some(Command::new(path)),
        None => missing(&format!(
            "{name} (make test-deps installs it as root: Debian's {package})"
        )),
    }
}

/// Runs a sender to its end. It must not print errors.
fn run(command: &mut Command) {
    // Settings of this machine are not for loopback addresses.
    for (name, _) in std::env::vars() {
        let lower = name.to_lowercase();
        if lower.ends_with("_proxy")
            || lower.starts_with("otel_exporter")
            || lower.starts_with("dd_")
        {
            command.env_remove(name);
        }
    }
    let output = command.stdin(Stdio::null()).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    assert_eq!(errors, "", "{command:?}");
}
