//! Pollers of one fleet, each with a directory of its own, and the records that they wrote.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

pub use crate::support::place::Id;
use crate::support::place::{ALL_TO_FILE, Place};
use crate::support::{Running, Server, ask, until};

/// The settings of all pollers: short times, so that a takeover takes seconds.
const TIMES: &str = "lease = \"2s\"\npoll-interval = \"100ms\"\nshutdown-grace = \"2s\"\nlisten = \"127.0.0.1:0\"\n";
/// The `takeover-after` of the pollers.
pub const TAKEOVER_AFTER: Duration = Duration::from_secs(3);

/// A poller and its directory.
pub struct Poller {
    pub place: Place,
    pub name: String,
    rest: String,
    /// None while it does not run.
    pub running: Option<Running>,
}

impl Poller {
    /// Creates a poller that is not started yet. `fleet` is its table of the fleet but for its name.
    pub fn new(name: &str, fleet: &str, servers: &[&Server]) -> Poller {
        let urls: Vec<String> = servers
            .iter()
            .map(|server| format!("{:?}", server.url()))
            .collect();
        Poller::of(name, fleet, &format!("urls = [{}]", urls.join(", ")))
    }

    /// Creates a poller of this source that is not started yet.
    pub fn of(name: &str, fleet: &str, source: &str) -> Poller {
        let rest = format!("[[source]]\n{source}\n{ALL_TO_FILE}");
        Poller {
            place: Place::new(&settings(name, fleet, &rest)),
            name: name.to_owned(),
            rest,
            running: None,
        }
    }

    /// Creates and starts a poller.
    pub fn start(name: &str, fleet: &str, servers: &[&Server]) -> Poller {
        let mut poller = Poller::new(name, fleet, servers);
        poller.run();
        poller
    }

    /// Replaces a text in the settings of a poller that does not run.
    pub fn rename(&self, from: &str, to: &str) {
        let path = self.place.path("poller.toml");
        let text = std::fs::read_to_string(path).unwrap().replace(from, to);
        // The address of the status page is not a name of a server.
        let listen = format!("listen = \"{}", "127.0.0.1".replace(from, to));
        self.place
            .write(&text.replace(&listen, "listen = \"127.0.0.1"));
    }

    /// Removes the fleet from the settings of a poller that does not run. Returns the settings with it.
    pub fn remove_fleet(&self) -> String {
        let whole = std::fs::read_to_string(self.place.path("poller.toml")).unwrap();
        let [start, end] = ["[fleet]", "[[source]]"].map(|table| whole.find(table).unwrap());
        self.place
            .write(&format!("{}{}", &whole[..start], &whole[end..]));
        whole
    }

    pub fn run(&mut self) {
        let command = self.place.command("poll");
        self.run_by(command);
    }

    /// Starts the poller with its wall clock set forward or back, such as `+60s`, by Debian's package `faketime`. That
    /// program waits for its child, which a kill would leave running: only its environment is used.
    pub fn run_at(&mut self, offset: &str) {
        let output = std::process::Command::new("faketime")
            .args(["--exclude-monotonic", "-f", offset, "env"])
            .output()
            .unwrap();
        let mut command = self.place.command("poll");
        for line in String::from_utf8(output.stdout).unwrap().lines() {
            match line.split_once('=') {
                // Memory of the program, which has ended.
                Some(("FAKETIME_SHARED", _)) | None => {}
                Some((name, value)) if name == "LD_PRELOAD" || name.contains("FAKETIME") => {
                    command.env(name, value);
                }
                Some(_) => {}
            }
        }
        self.run_by(command);
    }

    fn run_by(&mut self, mut command: std::process::Command) {
        // Nobody reads them while the test runs.
        let log = std::fs::File::create(self.place.path("log")).unwrap();
        command.stderr(log).stdout(std::process::Stdio::null());
        self.running = Some(Running::start(&mut command));
    }

    /// Changes the members that the poller knows, and has it reload its configuration.
    pub fn set(&self, fleet: &str) {
        // A signal kills a program that has only just started.
        until("the poller has started", || {
            self.log().contains("status page listening").then_some(())
        });
        let rest = self
            .rest
            .replace("{dir}", self.place.path("").to_str().unwrap());
        let head = format!("dead-letters = {:?}\n", self.place.path("dead"));
        self.place
            .write(&format!("{head}{}", settings(&self.name, fleet, &rest)));
        self.running.as_ref().unwrap().signal("HUP");
    }

    /// Ends the poller, as a service manager does.
    pub fn end(&mut self) {
        let mut running = self.running.take().unwrap();
        assert_eq!(running.end_by("TERM").code(), Some(0), "{}", self.log());
    }

    /// Kills the poller, as a power cut does.
    pub fn kill(&mut self) {
        self.running = None;
    }

    pub fn signal(&self, signal: &str) {
        self.running.as_ref().unwrap().signal(signal);
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.place.path("log")).unwrap_or_default()
    }

    pub fn ids(&self) -> Vec<Id> {
        self.place.ids("out")
    }

    /// Returns a page of the status page.
    pub fn page(&self, path: &str) -> String {
        let address = until("the status page listens", || {
            let log = self.log();
            let (_, rest) = log.split_once("status page listening on http://")?;
            rest.split_once('/').map(|(address, _)| address.to_owned())
        });
        let output = std::process::Command::new("curl")
            .args(["-s", "--max-time", "10", &format!("http://{address}{path}")])
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    /// Returns the value of a metric.
    pub fn metric(&self, name: &str) -> Option<f64> {
        let page = self.page("/metrics");
        let mut lines = page.lines();
        lines.find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
    }
}

fn settings(name: &str, fleet: &str, rest: &str) -> String {
    let after = TAKEOVER_AFTER.as_secs();
    format!("{TIMES}[fleet]\nme = \"{name}\"\ntakeover-after = \"{after}s\"\n{fleet}\n{rest}")
}

/// Returns the table of the fleet with these members.
pub fn members(names: &[&str]) -> String {
    format!("members = {names:?}")
}

/// Returns the table of a fleet whose members register in a server.
pub fn members_from(registry: &Server) -> String {
    format!("members-from = {:?}\nforget-after = \"1s\"", registry.url())
}

/// Waits until each of the pollers knows this number of members.
pub fn until_known(pollers: &[&Poller], count: usize) {
    until("the pollers know each other", || {
        let knows =
            |poller: &&Poller| poller.metric("agg_poller_fleet_members") == Some(count as f64);
        pollers.iter().all(knows).then_some(())
    });
}

/// Adds one log entry to a node and returns its identity.
pub fn add(server: &Server, node: &str) -> Id {
    add_by(&mut server.connection(), node)
}

pub fn add_by(connection: &mut redis::Connection, node: &str) -> Id {
    let id: i64 = ask(connection, &format!("AGG.LOG {node} hello"));
    (node.to_owned(), "LOG".to_owned(), id)
}

/// How often each record was written, by all pollers.
pub fn written(pollers: &[&Poller]) -> BTreeMap<Id, usize> {
    let mut all = BTreeMap::new();
    for id in pollers.iter().flat_map(|poller| poller.ids()) {
        *all.entry(id).or_default() += 1;
    }
    all
}

/// Waits until the pollers have written all these records and acknowledged them.
pub fn until_written(pollers: &[&Poller], ids: &BTreeSet<Id>) {
    until("all records are written", || {
        let written = written(pollers);
        ids.iter().all(|id| written.contains_key(id)).then_some(())
    });
}

/// Asserts that the pollers wrote all these records and no others. Returns how many were written more than once.
pub fn duplicates(pollers: &[&Poller], ids: &BTreeSet<Id>) -> usize {
    let written = written(pollers);
    let all: BTreeSet<Id> = written.keys().cloned().collect();
    let lost: Vec<&Id> = ids.difference(&all).collect();
    assert!(lost.is_empty(), "lost: {lost:?}");
    assert_eq!(all.len(), ids.len());
    written.values().filter(|count| **count > 1).count()
}

/// Waits until a poller writes a record, and returns its index and how long it took.
pub fn writer(pollers: &[&Poller], id: &Id) -> (usize, Duration) {
    let start = Instant::now();
    let index = until("the record is written", || {
        pollers.iter().position(|poller| poller.ids().contains(id))
    });
    (index, start.elapsed())
}
