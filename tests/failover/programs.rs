//! The server programs that the tests run: the main one, which all other tests use, and other versions if they are
//! available.

use std::io::Write;
use std::process::Command;

use testkit::*;

/// The program of a server.
#[derive(Clone, Debug, PartialEq)]
pub struct Program {
    pub path: String,
    pub is_valkey: bool,
    /// As in (7, 0).
    pub version: (u32, u32),
}

impl Program {
    fn of(path: &str) -> Option<Program> {
        let output = Command::new(path).arg("--version").output().ok()?;
        let output = String::from_utf8_lossy(&output.stdout).into_owned();
        let version = output
            .split_whitespace()
            .find_map(|word| word.strip_prefix("v="))?;
        let mut numbers = version.split('.').map(|n| n.parse().unwrap_or(0));
        Some(Program {
            path: path.to_owned(),
            is_valkey: output.starts_with("Valkey"),
            version: (numbers.next()?, numbers.next()?),
        })
    }

    /// As in `valkey-9.1`.
    pub fn name(&self) -> String {
        let kind = if self.is_valkey { "valkey" } else { "redis" };
        format!("{kind}-{}.{}", self.version.0, self.version.1)
    }

    /// Returns whether its server can read what the other sends for a full resynchronisation. This depends on the
    /// servers, not on the module.
    pub fn can_follow(&self, primary: &Program) -> bool {
        // The RDB versions: what a server sends to others than Valkey 9, and the newest that it reads.
        let format = |p: &Program| match (p.is_valkey, p.version) {
            (true, _) => 11,
            (false, (..=7, ..=1)) => 10,
            (false, (7, 2..=3)) => 11,
            (false, _) => 12,
        };
        format(primary) <= format(self)
    }

    /// Returns whether it reads the DUMP of the other.
    pub fn can_restore(&self, from: &Program) -> bool {
        let is_new = |p: &Program| p.is_valkey && p.version.0 >= 9;
        self.can_follow(from) && (is_new(self) || !is_new(from))
    }

    /// Starts a server with the module, these arguments and settings.
    pub fn start(&self, arguments: &[&str], settings: &str) -> Server {
        let mut all = vec!["--enable-debug-command".to_owned(), "yes".to_owned()];
        all.extend(arguments.iter().map(|word| word.to_string()));
        all.extend(["--loadmodule".to_owned(), module().display().to_string()]);
        all.extend(settings.split_whitespace().map(str::to_owned));
        Server::of(&self.path, free_port(), &all)
    }
}

/// Returns the server of all tests; `None` if it or the module is missing.
pub fn main_program() -> Option<Program> {
    Program::of(&program()?)
}

/// Returns another version, as `valkey-9.1`; prints that it is missing if so.
pub fn other(name: &str) -> Option<Program> {
    let path = fetched_servers().join(name);
    let found = Program::of(path.to_str().unwrap());
    if found.is_none() {
        say(&format!(
            "skipped: {name} is missing, scripts/servers.sh fetches it"
        ));
    }
    found
}

/// Returns all available programs, the main one first.
pub fn all() -> Vec<Program> {
    let Some(main) = main_program() else {
        return Vec::new();
    };
    let names = ["redis-7.4", "redis-8.2", "valkey-8.1", "valkey-9.1"];
    let mut all: Vec<Program> = names.iter().filter_map(|name| other(name)).collect();
    all.retain(|program| program.name() != main.name());
    all.insert(0, main);
    all
}

/// Prints, past the test runner, which captures print!.
pub fn say(what: &str) {
    let _ = writeln!(std::io::stderr(), "{what}");
}
