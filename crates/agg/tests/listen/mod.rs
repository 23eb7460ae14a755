//! `agg listen`: what senders send arrives, and nothing is lost or counted twice.

mod check;
mod connect;
mod contents;
mod faults;
mod floods;
mod requests;
mod senders;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use redis::Value;

use crate::support::{Running, Server, agg, at, double, int, list, until};

/// `agg listen` with ports that the system has chosen, for the node `n1`.
pub struct Listener {
    running: Running,
    messages: Arc<Mutex<Vec<String>>>,
}

/// All protocols that listen.
const ALL: &str = "--statsd 127.0.0.1:0 --otlp 127.0.0.1:0 --otlp-grpc 127.0.0.1:0 --syslog 127.0.0.1:0 --influxdb \
                   127.0.0.1:0 --graphite 127.0.0.1:0 --listen 127.0.0.1:0";

impl Listener {
    /// Starts it with all protocols and further arguments.
    pub fn start(url: &str, arguments: &str) -> Listener {
        Listener::with(url, &format!("{ALL} {arguments}"))
    }

    /// Starts it with these arguments, and waits until it listens.
    pub fn with(url: &str, arguments: &str) -> Listener {
        let mut running = Running::start(&mut agg(url, &format!("listen --node n1 {arguments}")));
        let lines = BufReader::new(running.0.stderr.take().unwrap()).lines();
        let messages = Arc::new(Mutex::new(Vec::new()));
        let shared = messages.clone();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                shared.lock().unwrap().push(line);
            }
        });
        let listener = Listener { running, messages };
        listener.until_logged("listening on");
        if arguments.contains("--listen ") {
            listener.until_logged("status page");
        }
        listener
    }

    /// Returns its process id.
    pub fn pid(&self) -> u32 {
        self.running.0.id()
    }

    /// Returns the messages so far.
    pub fn messages(&self) -> Vec<String> {
        self.messages.lock().unwrap().clone()
    }

    /// Waits for a message.
    pub fn until_logged(&self, part: &str) -> String {
        until(part, || {
            let messages = self.messages();
            messages.into_iter().find(|message| message.contains(part))
        })
    }

    /// Returns an address: `what` precedes it, as `statsd`, and `kind` follows it.
    pub fn address(&self, what: &str, kind: &str) -> SocketAddr {
        let messages = self.messages();
        let is_it =
            |message: &&String| message.contains(&format!(" {what}: ")) && message.contains(kind);
        let message = messages
            .iter()
            .find(is_it)
            .unwrap_or_else(|| panic!("{what}: {messages:?}"));
        let (_, rest) = message.split_once("127.0.0.1:").unwrap();
        let port = rest.split(|c: char| !c.is_ascii_digit()).next().unwrap();
        SocketAddr::from(([127, 0, 0, 1], port.parse().unwrap()))
    }

    /// Ends it by a signal. Returns the exit code.
    pub fn end(mut self) -> (Option<i32>, Vec<String>) {
        let code = self.running.end_by("TERM").code();
        (code, self.messages())
    }
}

/// What a server knows of a metric: its type, its tags, and the count and sum of its open short windows.
#[derive(Debug, PartialEq)]
pub struct Found {
    pub kind: String,
    pub tags: String,
    pub count: i64,
    pub sum: f64,
    pub last: f64,
}

/// Returns a metric of the node `n1`.
pub fn metric(server: &Server, name: &str) -> Option<Found> {
    let mut connection = server.connection();
    let reply: Value = redis::cmd("AGG.GET")
        .arg("n1")
        .arg("METRIC")
        .arg(name)
        .query(&mut connection)
        .unwrap();
    if reply == Value::Nil {
        return None;
    }
    let text = |field| redis::from_redis_value(at(&reply, field).unwrap().clone()).unwrap();
    let windows = list(at(&reply, "min").unwrap());
    let tags: Vec<String> = redis::from_redis_value(at(&reply, "tags").unwrap().clone()).unwrap();
    Some(Found {
        kind: text("type"),
        tags: tags
            .chunks(2)
            .map(|pair| pair.join(":"))
            .collect::<Vec<_>>()
            .join(" "),
        count: windows.iter().map(|window| int(window, "count")).sum(),
        sum: windows.iter().map(|window| double(window, "sum")).sum(),
        last: double(&reply, "last"),
    })
}

/// Waits until a metric has so many samples, and returns it.
pub fn until_counted(server: &Server, name: &str, count: i64) -> Found {
    until(&format!("{count} samples of {name}"), || {
        metric(server, name).filter(|found| found.count >= count)
    })
}

/// Returns the names of all metrics of the node `n1`.
pub fn names(server: &Server) -> Vec<String> {
    let (_, mut names): (String, Vec<String>) = server.ask("AGG.SCAN n1 METRIC 0 COUNT 10000");
    names.sort();
    names
}

/// Asserts type, count, sum and tags of metrics, and that there are no others.
pub fn assert_metrics(server: &Server, expected: &[(&str, &str, i64, f64, &str)]) {
    for (name, kind, count, sum, tags) in expected {
        let found = until_counted(server, name, *count);
        assert_eq!(
            (&*found.kind, found.count),
            (*kind, *count),
            "{name}: {found:?}"
        );
        assert!(
            (found.sum - sum).abs() <= sum.abs() * 1e-9,
            "{name}: {found:?}"
        );
        assert_eq!(found.tags, *tags, "{name}");
    }
    let mut all: Vec<&str> = expected.iter().map(|(name, ..)| *name).collect();
    all.sort_unstable();
    assert_eq!(names(server), all);
}

/// A server whose windows stay open.
pub fn server() -> Option<Server> {
    Server::with_settings("min-window 3600 hour-window 3600")
}

/// Returns the status as JSON.
pub fn status(listener: &Listener) -> BTreeMap<String, serde_json::Value> {
    let url = format!("http://{}/status.json", listener.address("status page", ""));
    let text = ureq::get(&url)
        .call()
        .unwrap()
        .body_mut()
        .read_to_string()
        .unwrap();
    serde_json::from_str(&text).unwrap()
}
