//! The settings `agg.*`: their defaults and bounds, where they can be set, their errors, and the effect of each.

mod effects;
mod sources;
mod values;

use redis::Value;
use testkit::*;

/// Name, default, minimum and maximum; sizes in bytes.
const SETTINGS: [(&str, i64, i64, i64); 25] = [
    ("max-memory", 256 << 20, 1 << 20, 1 << 40),
    ("max-node-memory", 0, 0, 1 << 40),
    ("max-series", 20_000, 1, 100_000_000),
    ("max-errors", 10_000, 1, 10_000_000),
    ("max-realities", 10_000, 1, 10_000_000),
    ("max-sources", 1_024, 1, 1_000_000),
    ("queue-min", 64 << 20, 1024, 1 << 40),
    ("queue-hour", 32 << 20, 1024, 1 << 40),
    ("queue-log", 16 << 20, 1024, 1 << 40),
    ("queue-import", 64 << 20, 1024, 1 << 40),
    ("max-item-size", 64 << 10, 64, 16 << 20),
    ("min-window", 300, 1, 28 * 86_400),
    ("hour-window", 3600, 1, 28 * 86_400),
    ("inc-slot", 10, 1, 28 * 86_400),
    ("min-history", 12, 0, 100_000),
    ("hour-history", 24, 0, 100_000),
    ("flush-delay-ms", 5000, 0, 3_600_000),
    ("flush-jitter-ms", 0, 0, 3_600_000),
    ("max-future-ms", 60_000, 0, 28 * 86_400_000),
    ("min-interval-ms", 500, 1, 3_600_000),
    ("max-gap", 7200, 1, 21 * 86_400),
    ("error-interval-ms", 300_000, 1, 28 * 86_400_000),
    ("series-ttl", 86_400, 0, 36_600 * 86_400),
    ("error-ttl", 604_800, 0, 36_600 * 86_400),
    ("reality-ttl", 0, 0, 36_600 * 86_400),
];

/// Name and default of the settings that are no numbers.
const OTHERS: [(&str, &str); 3] = [
    ("hist-match", ""),
    ("hist-records", "no"),
    ("percentiles", "50 90 95 99"),
];

fn all(server: &Server) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = server.ask("CONFIG GET agg.*");
    found.sort();
    found
}

fn value(server: &Server, name: &str) -> i64 {
    let found: Vec<(String, i64)> = server.ask(&format!("CONFIG GET agg.{name}"));
    assert_eq!(found.len(), 1, "{name}");
    found[0].1
}

fn text(server: &Server, name: &str) -> String {
    let found: Vec<(String, String)> = server.ask(&format!("CONFIG GET agg.{name}"));
    assert_eq!(found.len(), 1, "{name}");
    found[0].1.clone()
}

fn set(server: &Server, settings: &str) {
    let line = format!("CONFIG SET {settings}");
    let () = send(&mut server.connection(), &words(&line)).unwrap();
}

/// A configuration file and its directory.
struct File {
    dir: tempfile::TempDir,
}

impl File {
    /// Writes a file in which `MODULE` stands for the line that loads the module; the words after it are its arguments.
    fn new(text: &str) -> File {
        let dir = tempfile::tempdir().unwrap();
        let line = format!("loadmodule {}", module().display());
        let text = format!("enable-debug-command yes\n{text}").replace("MODULE", &line);
        std::fs::write(dir.path().join("redis.conf"), text).unwrap();
        File { dir }
    }

    fn path(&self) -> String {
        let path = self.dir.path().join("redis.conf");
        path.to_str().unwrap().into()
    }

    fn text(&self) -> String {
        std::fs::read_to_string(self.path()).unwrap()
    }

    fn start(&self) -> Option<Server> {
        // Prints that the module is missing.
        Server::start()?;
        Server::with(&[&self.path()])
    }
}

fn rejected_by_arguments(arguments: &str, why: &str) {
    if let Some(log) = Server::log_of_failed_start(&[], arguments) {
        assert!(log.contains(why), "{arguments}: {log}");
    }
}

fn rejected_by_file(text: &str, why: &str) {
    let file = File::new(text);
    if let Some(log) = Server::log_of_failed_start(&[&file.path()], "") {
        assert!(log.contains(why), "{text}: {log}");
    }
}
