//! What is to be seen, taken from the state at one moment and put in order: what is in trouble comes first. The page,
//! the metrics and the answer to "ready?" are written from it, and as JSON it is `/status.json`.
//!
//! The names of its fields are a promise to programs that read them. Times are RFC 3339 in UTC, durations seconds;
//! counters count from the start of the program.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use crate::poll::status::{NodeStatus, Reloads, ServerStatus, SinkStatus, Status, lock};
use agg_client::timestamp::utc;
use aggregator_protocol::Queue;
use aggregator_protocol::natural;

use super::rates::Speeds;

/// What waits for longer than this (seconds) is late: many times the longest pause between two looks at a queue.
pub const LATE: f64 = 60.0;
/// What waits for less (seconds) is on its way: what differs by as much need not change places at each look.
const SOON: f64 = 10.0;

/// How it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// All is well.
    Ok,
    /// Work is done, but somebody should look: records are late, were dropped or refused, settings were not taken.
    Warning,
    /// A sink or a server does not work.
    Trouble,
}

/// Something that is wrong.
#[derive(Debug, Serialize)]
pub struct Problem {
    /// How bad.
    pub state: State,
    /// In words.
    pub text: String,
}

/// All of it.
#[derive(Serialize)]
pub struct View {
    /// The program's version.
    pub version: &'static str,
    /// When it began.
    pub started: String,
    /// The moment of all this.
    pub now: String,
    /// Seconds in between.
    pub uptime: f64,
    /// Whether the end was asked for.
    pub ending: bool,
    /// The worst of the problems.
    pub state: State,
    /// What is wrong, the worst first.
    pub problems: Vec<Problem>,
    /// The sums.
    pub totals: Totals,
    /// The settings.
    pub reloads: ReloadsView,
    /// The sinks, those in trouble first.
    pub sinks: Vec<SinkView>,
    /// The servers, those in trouble first, then those that lag most.
    pub servers: Vec<ServerView>,
    /// The nodes, those that lag most first.
    pub nodes: Vec<NodeView>,
    /// When the program began, as a number.
    #[serde(skip)]
    pub began: SystemTime,
}

/// Sums over all servers and sinks.
#[derive(Default, Serialize)]
pub struct Totals {
    /// Servers known.
    pub servers: usize,
    /// Those that answer.
    pub servers_up: usize,
    /// Nodes known.
    pub nodes: usize,
    /// Those of which something waits for longer than a minute.
    pub nodes_late: usize,
    /// The age of the oldest entry that waits at a server that answers.
    pub lag: f64,
    /// Entries that wait there.
    pub waiting: u64,
    /// Records fetched.
    pub fetched: u64,
    /// Records stored, each sink counted.
    pub stored: u64,
    /// The same a second.
    pub stored_per_second: f64,
    /// Records that sinks refused for good.
    pub dead: u64,
    /// Entries that servers dropped while they were looked at.
    pub dropped: u64,
}

/// What became of changed settings.
#[derive(Serialize)]
pub struct ReloadsView {
    /// Taken so often.
    pub taken: u64,
    /// Refused so often.
    pub refused: u64,
    /// Why the last one was refused; null where it was taken.
    pub trouble: Option<String>,
}

/// A sink.
#[derive(Serialize)]
pub struct SinkView {
    /// Its name in the file.
    pub name: String,
    /// Its type in the file.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// What is wrong; null where nothing is.
    pub trouble: Option<String>,
    /// Since when something is; null where nothing is.
    pub since: Option<String>,
    /// How long that is.
    pub trouble_for: Option<f64>,
    /// Records written.
    pub stored: u64,
    /// Their bytes.
    pub stored_bytes: u64,
    /// Records written a second, of late.
    pub records_per_second: f64,
    /// Their bytes.
    pub bytes_per_second: f64,
    /// Writes that succeeded.
    pub writes: u64,
    /// Writes that failed.
    pub retries: u64,
    /// Records that it refused for good.
    pub dead: u64,
    /// Their bytes.
    pub dead_bytes: u64,
    /// Bytes on the way to it.
    pub in_flight_bytes: u64,
    /// As many as there may be.
    pub in_flight_limit_bytes: u64,
}

/// A server.
#[derive(Serialize)]
pub struct ServerView {
    /// What it is known by.
    pub id: String,
    /// Its address.
    pub place: String,
    /// Whether it answers.
    pub up: bool,
    /// Since when it does or does not.
    pub since: String,
    /// How long that is.
    pub since_for: f64,
    /// Why it does not; null where it does, or was not tried yet.
    pub trouble: Option<String>,
    /// Connections made.
    pub connects: u64,
    /// Records fetched.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Records fetched a second, of late.
    pub records_per_second: f64,
    /// When its nodes were looked at last; null where they were not yet.
    pub looked: Option<String>,
    /// Its nodes.
    pub nodes: usize,
    /// The age of the oldest entry that waits, as of the last look.
    pub lag: f64,
    /// Entries that wait, as of the last look.
    pub waiting: u64,
    /// Entries dropped since this program looks at it.
    pub dropped: u64,
    /// The sums over its nodes by queue, of queues of which something is known.
    pub queues: BTreeMap<&'static str, QueueView>,
}

/// A node.
#[derive(Serialize)]
pub struct NodeView {
    /// What its server is known by.
    pub server: String,
    /// Its name.
    pub name: String,
    /// Whether its server answers: else all this is old.
    pub up: bool,
    /// The age of the oldest entry that waits.
    pub lag: f64,
    /// Entries that wait.
    pub waiting: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Entries dropped since the server's start.
    pub dropped: u64,
    /// Its queues, of which something is known.
    pub queues: BTreeMap<&'static str, QueueView>,
}

/// A queue of a node, or of all nodes of a server.
#[derive(Clone, Copy, Default, Serialize)]
pub struct QueueView {
    /// Entries that wait or are leased.
    pub length: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The age of the oldest.
    pub lag: f64,
    /// Entries that somebody has fetched and not acknowledged.
    pub leased: u64,
    /// Entries dropped: of a node since the server's start, of a server since this program looks at it.
    pub dropped: u64,
}

impl View {
    /// The state as it is now.
    pub fn of(status: &Status, speeds: &Speeds, now: SystemTime) -> View {
        let mut sinks: Vec<SinkView> = status
            .sinks()
            .iter()
            .map(|sink| SinkView::of(sink, speeds, now))
            .collect();
        sinks.sort_by(|a, b| {
            let fails = a.trouble.is_none().cmp(&b.trouble.is_none());
            fails.then_with(|| by_name(&a.name, &b.name))
        });
        let (mut servers, mut nodes) = (Vec::new(), Vec::new());
        for (id, server) in status.servers() {
            let part = server.nodes.iter();
            nodes.extend(part.map(|(name, node)| NodeView::of(&id, server.up, name, node)));
            servers.push(ServerView::of(id, server, speeds, now));
        }
        servers.sort_by(|a, b| {
            let key = |server: &ServerView| (server.up, server.trouble.is_none());
            let worse = key(a)
                .cmp(&key(b))
                .then(coarse(b.lag).total_cmp(&coarse(a.lag)));
            worse.then_with(|| by_name(&a.id, &b.id))
        });
        nodes.sort_by(|a, b| {
            let worse = coarse(b.lag).total_cmp(&coarse(a.lag));
            worse
                .then_with(|| by_name(&a.name, &b.name))
                .then_with(|| by_name(&a.server, &b.server))
        });
        let totals = Totals::of(&sinks, &servers, &nodes);
        let Reloads {
            taken,
            refused,
            trouble,
        } = lock(&status.reloads).clone();
        let mut view = View {
            version: env!("CARGO_PKG_VERSION"),
            started: utc(status.started),
            now: utc(now),
            uptime: ago(status.started, now),
            ending: status.ending.load(Ordering::Relaxed),
            state: State::Ok,
            problems: Vec::new(),
            totals,
            reloads: ReloadsView {
                taken,
                refused,
                trouble,
            },
            sinks,
            servers,
            nodes,
            began: status.started,
        };
        view.problems = view.find_problems();
        view.state = (view.problems.iter().map(|problem| problem.state).max()).unwrap_or(State::Ok);
        view
    }

    fn find_problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut add = |state, text: String| problems.push(Problem { state, text });
        for sink in &self.sinks {
            if let (Some(trouble), Some(seconds)) = (&sink.trouble, sink.trouble_for) {
                let long = duration(seconds);
                add(
                    State::Trouble,
                    format!("the sink {} has failed for {long}: {trouble}", sink.name),
                );
            }
        }
        let totals = &self.totals;
        let down: Vec<&ServerView> = (self.servers.iter())
            .filter(|server| !server.up && server.trouble.is_some())
            .collect();
        if let Some(first) = down.first() {
            let why = first.trouble.as_deref().unwrap_or_default();
            let text = match down.len() {
                1 => format!("the server {} does not answer: {why}", first.id),
                many => {
                    let all = totals.servers;
                    format!(
                        "{many} of {all} servers do not answer, one is {}: {why}",
                        first.id
                    )
                }
            };
            add(State::Trouble, text);
        }
        let untried = self.servers.iter().filter(|s| !s.up).count() - down.len();
        if untried > 0 {
            let text = format!("{} not reached yet", count(untried as u64, "server"));
            add(State::Warning, text);
        }
        if let Some(worst) = self.nodes.iter().find(|node| node.up && node.lag >= LATE) {
            let (late, lag) = (count(totals.nodes_late as u64, "node"), duration(worst.lag));
            let text = format!(
                "{late} with records that wait for more than a minute, at worst {lag}: {} on {}",
                worst.name, worst.server
            );
            add(State::Warning, text);
        }
        if totals.dropped > 0 {
            let text = format!(
                "servers dropped {} since this program looks at them",
                count(totals.dropped, "record")
            );
            add(State::Warning, text);
        }
        if totals.dead > 0 {
            let text = format!("sinks refused {} for good", count(totals.dead, "record"));
            add(State::Warning, text);
        }
        if let Some(trouble) = &self.reloads.trouble {
            let text = format!("changed settings were refused, the old ones hold: {trouble}");
            add(State::Warning, text);
        }
        problems
    }

    /// Why it is not ready; empty where it is.
    pub fn unready(&self) -> Vec<String> {
        let mut why = Vec::new();
        if self.ending {
            why.push("it is ending".to_owned());
        }
        for sink in &self.sinks {
            if let (Some(trouble), Some(since)) = (&sink.trouble, &sink.since) {
                why.push(format!(
                    "the sink {} fails: {trouble} (since {since})",
                    sink.name
                ));
            }
        }
        if !self.servers.is_empty() && self.totals.servers_up == 0 {
            let all = count(self.servers.len() as u64, "server");
            let first = self.servers.iter().find_map(|s| s.trouble.as_deref());
            let first = first.unwrap_or("not tried yet");
            why.push(format!("no server is up, of {all}: {first}"));
        }
        why
    }
}

impl Totals {
    fn of(sinks: &[SinkView], servers: &[ServerView], nodes: &[NodeView]) -> Totals {
        let up = || servers.iter().filter(|server| server.up);
        Totals {
            servers: servers.len(),
            servers_up: up().count(),
            nodes: nodes.len(),
            nodes_late: nodes.iter().filter(|n| n.up && n.lag >= LATE).count(),
            lag: up().map(|server| server.lag).fold(0.0, f64::max),
            waiting: up().map(|server| server.waiting).sum(),
            fetched: servers.iter().map(|server| server.records).sum(),
            stored: sinks.iter().map(|sink| sink.stored).sum(),
            stored_per_second: sinks.iter().map(|sink| sink.records_per_second).sum(),
            dead: sinks.iter().map(|sink| sink.dead).sum(),
            dropped: servers.iter().map(|server| server.dropped).sum(),
        }
    }
}

impl SinkView {
    fn of(sink: &SinkStatus, speeds: &Speeds, now: SystemTime) -> SinkView {
        let (trouble, since) = sink.trouble().unzip();
        let speed = speeds.sinks.get(&sink.name).copied().unwrap_or_default();
        SinkView {
            name: sink.name.clone(),
            kind: sink.kind,
            trouble,
            since: since.map(utc),
            trouble_for: since.map(|since| ago(since, now)),
            stored: sink.stored.load(Ordering::Relaxed),
            stored_bytes: sink.stored_bytes.load(Ordering::Relaxed),
            records_per_second: speed.0,
            bytes_per_second: speed.1,
            writes: sink.writes.load(Ordering::Relaxed),
            retries: sink.retries.load(Ordering::Relaxed),
            dead: sink.dead.load(Ordering::Relaxed),
            dead_bytes: sink.dead_bytes.load(Ordering::Relaxed),
            in_flight_bytes: sink.share.used(),
            in_flight_limit_bytes: sink.share.size(),
        }
    }
}

impl ServerView {
    fn of(id: String, server: ServerStatus, speeds: &Speeds, now: SystemTime) -> ServerView {
        let mut queues: BTreeMap<&'static str, QueueView> = BTreeMap::new();
        for (name, queue) in server.nodes.values().flat_map(known) {
            let sum = queues.entry(name).or_default();
            sum.length += queue.length;
            sum.bytes += queue.bytes;
            sum.leased += queue.leased;
            sum.lag = sum.lag.max(queue.lag);
        }
        for (queue, dropped) in Queue::ALL.into_iter().zip(server.dropped) {
            if dropped > 0 {
                queues.entry(queue.name()).or_default().dropped = dropped;
            }
        }
        let speed = speeds.servers.get(&id).copied().unwrap_or_default();
        ServerView {
            place: server.place,
            up: server.up,
            since: utc(server.since),
            since_for: ago(server.since, now),
            trouble: server.trouble.filter(|_| !server.up),
            connects: server.connects,
            records: server.records,
            bytes: server.bytes,
            records_per_second: speed.0,
            looked: server.looked.map(utc),
            nodes: server.nodes.len(),
            lag: queues.values().map(|queue| queue.lag).fold(0.0, f64::max),
            waiting: queues.values().map(|queue| queue.length).sum(),
            dropped: server.dropped.iter().sum(),
            queues,
            id,
        }
    }
}

impl NodeView {
    fn of(server: &str, up: bool, name: &str, node: &NodeStatus) -> NodeView {
        let queues: BTreeMap<_, _> = known(node).collect();
        NodeView {
            server: server.to_owned(),
            name: name.to_owned(),
            up,
            lag: queues.values().map(|queue| queue.lag).fold(0.0, f64::max),
            waiting: queues.values().map(|queue| queue.length).sum(),
            bytes: queues.values().map(|queue| queue.bytes).sum(),
            dropped: queues.values().map(|queue| queue.dropped).sum(),
            queues,
        }
    }
}

/// The queues of a node of which something is known.
fn known(node: &NodeStatus) -> impl Iterator<Item = (&'static str, QueueView)> {
    let all = Queue::ALL.into_iter().zip(node.queues);
    all.filter_map(|(queue, status)| {
        let status = status?;
        let view = QueueView {
            length: status.length,
            bytes: status.bytes,
            lag: Duration::from_millis(status.oldest_ms).as_secs_f64(),
            leased: status.leased,
            dropped: status.dropped,
        };
        Some((queue.name(), view))
    })
}

/// Seconds from then to now; 0 where the clock was set back.
fn ago(then: SystemTime, now: SystemTime) -> f64 {
    now.duration_since(then).unwrap_or_default().as_secs_f64()
}

/// `1 node`, `1,200 nodes`.
pub fn count(count: u64, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        _ => format!("{} {what}s", grouped(count)),
    }
}

/// `1,234,567`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Seconds as a person says them, by their two largest units.
pub fn duration(seconds: f64) -> String {
    // What is shown needs no more.
    let whole = seconds as u64;
    match whole {
        0 => format!("{:.0} ms", seconds * 1000.0),
        1..10 => format!("{seconds:.1} s"),
        10..60 => format!("{whole} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        3600..86_400 => format!("{} h {} min", whole / 3600, whole / 60 % 60),
        _ => format!("{} d {} h", whole / 86_400, whole / 3600 % 24),
    }
}

/// A lag by which nodes and servers are put in order: those that wait for about as long keep the order of their names,
/// and what is drained as it comes keeps its place.
fn coarse(lag: f64) -> f64 {
    let step = match lag {
        lag if lag < SOON => return 0.0,
        ..60.0 => 10.0,
        60.0..3600.0 => 60.0,
        _ => 600.0,
    };
    (lag / step).floor().max(0.1) * step
}

/// The order of names that are equally bad; the same in each view.
fn by_name(a: &str, b: &str) -> std::cmp::Ordering {
    natural(a, b).then_with(|| a.cmp(b))
}

#[cfg(test)]
mod tests {
    use super::super::made_up;
    use super::*;

    #[test]
    fn trouble_comes_first() {
        let view = made_up::view(&made_up::bad(50));
        assert_eq!(view.state, State::Trouble);
        assert_eq!(view.sinks[0].name, "influx");
        assert!(!view.servers[0].up && view.servers[0].trouble.is_some());
        assert!(
            view.nodes
                .is_sorted_by(|a, b| coarse(a.lag) >= coarse(b.lag))
        );
        let texts: Vec<&str> = view.problems.iter().map(|p| &*p.text).collect();
        assert!(
            view.problems.is_sorted_by(|a, b| a.state >= b.state),
            "{texts:?}"
        );
        assert!(
            texts[0].starts_with("the sink influx has failed for 3 min"),
            "{texts:?}"
        );
        assert!(
            texts
                .iter()
                .any(|t| t.contains("does not answer: connection refused"))
        );
        assert!(
            texts.contains(&"sinks refused 7 records for good"),
            "{texts:?}"
        );
        let view = made_up::view(&made_up::good(50));
        assert_eq!(view.state, State::Ok);
        assert!(view.problems.is_empty());
    }

    #[test]
    fn equal_nodes_and_servers_stand_in_the_natural_order_of_their_names() {
        let mut names = [
            "redis://b:10",
            "redis://b:9",
            "redis://a:1",
            "node10",
            "node9",
        ];
        names.sort_by(|a, b| by_name(a, b));
        let expected = [
            "node9",
            "node10",
            "redis://a:1",
            "redis://b:9",
            "redis://b:10",
        ];
        assert_eq!(names, expected);
        // A moment more or less is no reason for another place.
        assert_eq!(coarse(20.001), coarse(20.004));
        assert_eq!(
            [0.0, 59.0, 61.0, 119.0, 3700.0].map(coarse),
            [0.0, 50.0, 60.0, 60.0, 3600.0]
        );
        let view = made_up::view(&made_up::good(12));
        let names: Vec<&str> = view.nodes.iter().map(|node| &*node.name).collect();
        assert!(
            names.is_sorted_by(|a, b| by_name(a, b).is_lt()),
            "{names:?}"
        );
    }

    #[test]
    fn what_is_not_ready_says_why() {
        assert!(made_up::view(&made_up::good(1)).unready().is_empty());
        assert!(made_up::view(&Status::new()).unready().is_empty());
        let why = made_up::view(&made_up::bad(1)).unready();
        assert_eq!(why.len(), 1, "{why:?}");
        let status = Status::new();
        let server = status.server("s", "s");
        let why = made_up::view(&status).unready();
        assert_eq!(why, ["no server is up, of 1 server: not tried yet"]);
        lock(&server).up = true;
        status.ending.store(true, Ordering::Relaxed);
        assert_eq!(made_up::view(&status).unready(), ["it is ending"]);
    }

    #[test]
    fn numbers_as_people_read_them() {
        let numbers = [0, 7, 999, 1000, 1_234_567];
        let texts = ["0", "7", "999", "1,000", "1,234,567"];
        assert_eq!(numbers.map(grouped), texts);
        let seconds = [0.25, 4.25, 45.9, 61.0, 7261.0, 100_000.0];
        let texts = [
            "250 ms",
            "4.2 s",
            "45 s",
            "1 min 1 s",
            "2 h 1 min",
            "1 d 3 h",
        ];
        assert_eq!(seconds.map(duration), texts);
    }
}
