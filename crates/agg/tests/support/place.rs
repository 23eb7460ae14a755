//! The directory of a poller for the tests of `agg poll`: its settings and files, and records that it drains.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use super::{Running, Server, agg, ask, of_queue, past_hour, until};

/// A route of all queues to the file `out`.
pub const ALL_TO_FILE: &str = r#"
[[route]]
queues = ["MIN", "HOUR", "LOG", "ERROR", "REALITY"]
sinks = ["out"]
[sink.out]
type = "file"
path = "{dir}/out"
"#;

/// The identity of a record.
pub type Id = (String, String, i64);

/// A directory for the files of a poller, with its settings.
pub struct Place(tempfile::TempDir);

impl Place {
    /// Creates the directory; `{dir}` in the settings stands for it.
    pub fn new(settings: &str) -> Place {
        let place = Place(tempfile::tempdir().unwrap());
        let dir = place.0.path().to_str().unwrap();
        let head = "dead-letters = \"{dir}/dead\"\n";
        let settings = format!("{head}{settings}").replace("{dir}", dir);
        std::fs::write(place.path("poller.toml"), settings).unwrap();
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Replaces the settings.
    pub fn write(&self, settings: &str) {
        std::fs::write(self.path("new"), settings).unwrap();
        // All with the same modification time, like those of a fast writer.
        let file = std::fs::File::options().write(true).open(self.path("new"));
        file.unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
        std::fs::rename(self.path("new"), self.path("poller.toml")).unwrap();
    }

    pub fn command(&self, verb: &str) -> Command {
        let path = self.path("poller.toml");
        agg(
            "redis://unused",
            &format!("{verb} --config {}", path.display()),
        )
    }

    pub fn start(&self) -> Running {
        Running::start(&mut self.command("poll"))
    }

    /// Returns the complete lines of a file, which may not exist yet.
    pub fn lines(&self, name: &str) -> Vec<String> {
        let text = std::fs::read_to_string(self.path(name)).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(str::to_owned).collect()
    }

    pub fn ids(&self, name: &str) -> Vec<Id> {
        self.lines(name).iter().map(|line| id(line)).collect()
    }
}

pub fn id(line: &str) -> Id {
    let record: serde_json::Value =
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    let text = |field: &str| record[field].as_str().unwrap().to_owned();
    (text("node"), text("queue"), record["id"].as_i64().unwrap())
}

/// Returns settings with a source and the rest.
pub fn settings(server: &Server, rest: &str) -> String {
    let url = server.url();
    format!("lease = \"1s\"\npoll-interval = \"100ms\"\n[[source]]\nurls = [\"{url}\"]\n{rest}")
}

/// Adds log entries to nodes and returns their ids.
pub fn log(server: &Server, nodes: &[&str], count: usize, text: &str) -> BTreeSet<Id> {
    let mut connection = server.connection();
    let mut all = BTreeSet::new();
    for node in nodes {
        for _ in 0..count / 500 {
            let mut pipe = redis::pipe();
            for _ in 0..500 {
                pipe.cmd("AGG.LOG").arg(*node).arg(text);
            }
            let ids: Vec<i64> = pipe.query(&mut connection).unwrap();
            let known = |id| (node.to_string(), "LOG".to_owned(), id);
            all.extend(ids.into_iter().map(known));
        }
    }
    all
}

pub fn left(server: &Server, nodes: &[&str], queue: &str) -> i64 {
    let length = |node: &&str| of_queue(server, node, queue, "length");
    nodes.iter().map(length).sum()
}

pub fn until_empty(server: &Server, nodes: &[&str], queue: &str) {
    until("the queues are empty", || {
        (left(server, nodes, queue) == 0).then_some(())
    });
}

/// Waits until the poller logs that it retries for a reason.
pub fn until_retried(errors: &mut impl Iterator<Item = String>, reason: &str) {
    until("the reason is logged", || {
        errors.find(|line| line.contains(reason) && line.ends_with("retrying"))
    });
}

/// Ends a poller, as a service manager does.
pub fn end(mut running: Running) {
    assert_eq!(running.end_by("TERM").code(), Some(0));
}

pub fn influx(url: &str, more: &str) -> String {
    format!(
        "[[route]]\nqueues = [\"MIN\"]\nsinks = [\"db\"]\n[sink.db]\ntype = \"influxdb\"\n\
         url = \"{url}\"\n{more}\n"
    )
}

/// Returns settings of a route of all windows to Prometheus' remote write.
pub fn remote_write(url: &str, more: &str) -> String {
    format!(
        "[[route]]\nqueues = [\"MIN\", \"HOUR\"]\nsinks = [\"db\"]\n[sink.db]\ntype = \"prometheus\"\n\
         url = \"{url}\"\n{more}\n"
    )
}

pub const VERSION_1: &str = "database = \"grid\"";

/// Closes two short windows of each metric and their long one, and returns the number of records in MIN.
pub fn windows(server: &Server, node: &str, names: &[String]) -> usize {
    let start = past_hour();
    let mut connection = server.connection();
    for name in names {
        for at in [start, start + 300_000] {
            let command = format!("AGG.STAT {node} {name} 1.5 AT {at}");
            let _: i64 = ask(&mut connection, &command);
        }
    }
    until("the windows close", || {
        let [min, hour] = ["MIN", "HOUR"].map(|queue| left(server, &[node], queue) as usize);
        (min == 2 * names.len() && hour >= names.len()).then_some(())
    });
    2 * names.len()
}

pub fn names(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("m{n}")).collect()
}
