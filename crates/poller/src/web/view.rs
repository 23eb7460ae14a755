//! A snapshot of the state, sorted so that failures come first. The page, the metrics and the readiness check are
//! rendered from it, and as JSON it is `/status.json`.
//!
//! The names of the fields are part of the public contract. Times are RFC 3339 in UTC, durations are seconds, and
//! counters count from the start of the program.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use crate::status::{NodeStatus, Reloads, ServerStatus, SinkStatus, Status};
use agg_client::timestamp::utc;
use aggregator_protocol::Queue;
use aggregator_protocol::natural;

use super::rates::Rates;

/// A record that is pending for longer than this, in seconds, is late: many times the longest pause between two fetches.
pub const LATE: f64 = 60.0;
/// Lags below this, in seconds, are equal when sorting: rows need not change places with each refresh.
const NEGLIGIBLE: f64 = 10.0;

/// The state of the poller, or the severity of a problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Healthy.
    Ok,
    /// The poller works, but somebody should look: records are late, were dropped or rejected, or a configuration was
    /// refused.
    Warning,
    /// A sink is failing or a server is down.
    Trouble,
}

/// A problem.
#[derive(Debug, Serialize)]
pub struct Problem {
    /// Its severity.
    pub state: State,
    /// Its description.
    pub text: String,
}

/// A snapshot of the state.
#[derive(Serialize)]
pub struct View {
    /// The version of the program.
    pub version: &'static str,
    /// When the program started.
    pub started: String,
    /// When the snapshot was taken.
    pub now: String,
    /// The seconds in between.
    pub uptime: f64,
    /// Whether shutdown was requested.
    pub ending: bool,
    /// The severity of the worst problem.
    pub state: State,
    /// The problems, the worst first.
    pub problems: Vec<Problem>,
    /// The sums.
    pub totals: Totals,
    /// The reloads of the configuration.
    pub reloads: ReloadsView,
    /// The sinks, failing ones first.
    pub sinks: Vec<SinkView>,
    /// The servers, those that are down first, then by lag.
    pub servers: Vec<ServerView>,
    /// The nodes by lag.
    pub nodes: Vec<NodeView>,
    /// When the program started.
    #[serde(skip)]
    pub started_at: SystemTime,
}

/// Sums over all servers and sinks.
#[derive(Default, Serialize)]
pub struct Totals {
    /// Servers known.
    pub servers: usize,
    /// Servers that are up.
    pub servers_up: usize,
    /// Nodes known.
    pub nodes: usize,
    /// Nodes with records that are pending for longer than a minute.
    pub nodes_late: usize,
    /// The age of the oldest pending record on a server that is up.
    pub lag: f64,
    /// Records pending on servers that are up.
    pub waiting: u64,
    /// Records fetched.
    pub fetched: u64,
    /// Records stored, summed over the sinks.
    pub stored: u64,
    /// Records stored per second.
    pub stored_per_second: f64,
    /// Records that sinks rejected.
    pub dead: u64,
    /// Records that servers dropped since their first scan.
    pub dropped: u64,
}

/// The outcomes of reloads.
#[derive(Serialize)]
pub struct ReloadsView {
    /// How many configurations were taken.
    pub taken: u64,
    /// How many configurations were refused.
    pub refused: u64,
    /// Why the last one was refused; null if it was taken.
    pub trouble: Option<String>,
}

/// The state of a sink.
#[derive(Serialize)]
pub struct SinkView {
    /// Its name in the configuration.
    pub name: String,
    /// Its type in the configuration.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The error of the last write; null if the sink is healthy.
    pub trouble: Option<String>,
    /// Since when it fails; null if it is healthy.
    pub since: Option<String>,
    /// For how long it fails; null if it is healthy.
    pub trouble_for: Option<f64>,
    /// Records stored.
    pub stored: u64,
    /// Bytes of the records stored.
    pub stored_bytes: u64,
    /// Records stored per second over the last seconds.
    pub records_per_second: f64,
    /// Bytes stored per second over the last seconds.
    pub bytes_per_second: f64,
    /// Writes that succeeded.
    pub writes: u64,
    /// Writes that failed.
    pub retries: u64,
    /// Records that it rejected.
    pub dead: u64,
    /// Bytes of the records that it rejected.
    pub dead_bytes: u64,
    /// Bytes in flight to it.
    pub in_flight_bytes: u64,
    /// The most bytes that may be in flight to it.
    pub in_flight_limit_bytes: u64,
}

/// The state of a server.
#[derive(Serialize)]
pub struct ServerView {
    /// Its id.
    pub id: String,
    /// Its address.
    pub place: String,
    /// Whether it is up.
    pub up: bool,
    /// Since when it is up or down.
    pub since: String,
    /// For how long it is up or down.
    pub since_for: f64,
    /// Why it is down; null if it is up or was not tried yet.
    pub trouble: Option<String>,
    /// Connections made.
    pub connects: u64,
    /// Records fetched.
    pub records: u64,
    /// Bytes of the records fetched.
    pub bytes: u64,
    /// Records fetched per second over the last seconds.
    pub records_per_second: f64,
    /// When it was scanned last; null before the first scan.
    pub looked: Option<String>,
    /// The number of its nodes.
    pub nodes: usize,
    /// The age of the oldest pending record, as of the last scan.
    pub lag: f64,
    /// Pending records, as of the last scan.
    pub waiting: u64,
    /// Records dropped since the first scan.
    pub dropped: u64,
    /// The sums over its nodes, by queue whose state is known.
    pub queues: BTreeMap<&'static str, QueueView>,
}

/// The state of a node.
#[derive(Serialize)]
pub struct NodeView {
    /// The id of its server.
    pub server: String,
    /// Its name.
    pub name: String,
    /// Whether its server is up. If not, the rest is outdated.
    pub up: bool,
    /// The age of the oldest pending record.
    pub lag: f64,
    /// Pending records.
    pub waiting: u64,
    /// Bytes of the pending records.
    pub bytes: u64,
    /// Records dropped since the start of the server.
    pub dropped: u64,
    /// Its queues whose state is known.
    pub queues: BTreeMap<&'static str, QueueView>,
}

/// The state of a queue of a node, or of all nodes of a server.
#[derive(Clone, Copy, Default, Serialize)]
pub struct QueueView {
    /// Records that are pending or leased.
    pub length: u64,
    /// Bytes of these records.
    pub bytes: u64,
    /// The age of the oldest record.
    pub lag: f64,
    /// Records that a client has fetched and not acknowledged.
    pub leased: u64,
    /// Records dropped: by a node since the start of its server, by a server since its first scan.
    pub dropped: u64,
}

impl View {
    /// Takes a snapshot.
    pub fn of(status: &Status, rates: &Rates, now: SystemTime) -> View {
        let mut sinks: Vec<SinkView> = status
            .sinks()
            .iter()
            .map(|sink| SinkView::of(sink, rates, now))
            .collect();
        sinks.sort_by(|a, b| {
            let fails = a.trouble.is_none().cmp(&b.trouble.is_none());
            fails.then_with(|| by_name(&a.name, &b.name))
        });
        let (mut servers, mut nodes) = (Vec::new(), Vec::new());
        for (id, server) in status.servers() {
            let part = server.nodes.iter();
            nodes.extend(part.map(|(name, node)| NodeView::of(&id, server.up, name, node)));
            servers.push(ServerView::of(id, server, rates, now));
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
            error,
        } = status.reloads.lock().clone();
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
                trouble: error,
            },
            sinks,
            servers,
            nodes,
            started_at: status.started,
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
                    format!("sink {} has been failing for {long}: {trouble}", sink.name),
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
                1 => format!("server {} is down: {why}", first.id),
                many => {
                    let all = totals.servers;
                    format!(
                        "{many} of {all} servers are down, among them {}: {why}",
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
                "{late} with records pending for more than a minute, at most {lag}: {} on {}",
                worst.name, worst.server
            );
            add(State::Warning, text);
        }
        if totals.dropped > 0 {
            let text = format!(
                "servers dropped {} since the poller started",
                count(totals.dropped, "record")
            );
            add(State::Warning, text);
        }
        if totals.dead > 0 {
            let text = format!("sinks rejected {}", count(totals.dead, "record"));
            add(State::Warning, text);
        }
        if let Some(trouble) = &self.reloads.trouble {
            let text = format!("configuration not reloaded, keeping the previous one: {trouble}");
            add(State::Warning, text);
        }
        problems
    }

    /// Returns why the poller is not ready. Empty if it is.
    pub fn unready(&self) -> Vec<String> {
        let mut why = Vec::new();
        if self.ending {
            why.push("shutting down".to_owned());
        }
        for sink in &self.sinks {
            if let (Some(trouble), Some(since)) = (&sink.trouble, &sink.since) {
                why.push(format!(
                    "sink {} is failing: {trouble} (since {since})",
                    sink.name
                ));
            }
        }
        if !self.servers.is_empty() && self.totals.servers_up == 0 {
            let all = grouped(self.servers.len() as u64);
            let first = self.servers.iter().find_map(|s| s.trouble.as_deref());
            let first = first.unwrap_or("not tried yet");
            why.push(format!("no server of {all} is up: {first}"));
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
    fn of(sink: &SinkStatus, rates: &Rates, now: SystemTime) -> SinkView {
        let (trouble, since) = sink.error().unzip();
        let rate = rates.sinks.get(&sink.name).copied().unwrap_or_default();
        SinkView {
            name: sink.name.clone(),
            kind: sink.kind,
            trouble,
            since: since.map(utc),
            trouble_for: since.map(|since| ago(since, now)),
            stored: sink.stored.load(Ordering::Relaxed),
            stored_bytes: sink.stored_bytes.load(Ordering::Relaxed),
            records_per_second: rate.0,
            bytes_per_second: rate.1,
            writes: sink.writes.load(Ordering::Relaxed),
            retries: sink.retries.load(Ordering::Relaxed),
            dead: sink.dead.load(Ordering::Relaxed),
            dead_bytes: sink.dead_bytes.load(Ordering::Relaxed),
            in_flight_bytes: sink.budget.used(),
            in_flight_limit_bytes: sink.budget.capacity(),
        }
    }
}

impl ServerView {
    fn of(id: String, server: ServerStatus, rates: &Rates, now: SystemTime) -> ServerView {
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
        let rate = rates.servers.get(&id).copied().unwrap_or_default();
        ServerView {
            place: server.address,
            up: server.up,
            since: utc(server.since),
            since_for: ago(server.since, now),
            trouble: server.error.filter(|_| !server.up),
            connects: server.connects,
            records: server.records,
            bytes: server.bytes,
            records_per_second: rate.0,
            looked: server.scanned_at.map(utc),
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

/// Returns the queues of a node whose state is known.
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

/// Returns the seconds from `then` to `now`, or 0 if the clock was set back.
fn ago(then: SystemTime, now: SystemTime) -> f64 {
    now.duration_since(then).unwrap_or_default().as_secs_f64()
}

/// Formats a count with its noun: `1 node`, `1,200 nodes`.
pub fn count(count: u64, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        _ => format!("{} {what}s", grouped(count)),
    }
}

/// Formats a number with separators: `1,234,567`.
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

/// Formats seconds by their two largest units.
pub fn duration(seconds: f64) -> String {
    // The fraction is shown only below ten seconds.
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

/// Rounds a lag for sorting: nodes and servers with about the same lag stay in the order of their names, and those that
/// are drained continuously keep their places.
fn coarse(lag: f64) -> f64 {
    let step = match lag {
        lag if lag < NEGLIGIBLE => return 0.0,
        ..60.0 => 10.0,
        60.0..3600.0 => 60.0,
        _ => 600.0,
    };
    (lag / step).floor().max(0.1) * step
}

/// Orders names with the same severity, so that the order is the same in each snapshot.
fn by_name(a: &str, b: &str) -> std::cmp::Ordering {
    natural(a, b).then_with(|| a.cmp(b))
}

#[cfg(test)]
mod tests {
    use super::super::fixtures;
    use super::*;

    #[test]
    fn failures_come_first() {
        let view = fixtures::view(&fixtures::bad(50));
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
            texts[0].starts_with("sink influx has been failing for 3 min"),
            "{texts:?}"
        );
        assert!(
            texts
                .iter()
                .any(|t| t.contains(" is down: connection refused"))
        );
        assert!(texts.contains(&"sinks rejected 7 records"), "{texts:?}");
        let view = fixtures::view(&fixtures::good(50));
        assert_eq!(view.state, State::Ok);
        assert!(view.problems.is_empty());
    }

    #[test]
    fn equal_nodes_and_servers_are_in_natural_order_of_their_names() {
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
        // A millisecond more does not change the order.
        assert_eq!(coarse(20.001), coarse(20.004));
        assert_eq!(
            [0.0, 59.0, 61.0, 119.0, 3700.0].map(coarse),
            [0.0, 50.0, 60.0, 60.0, 3600.0]
        );
        let view = fixtures::view(&fixtures::good(12));
        let names: Vec<&str> = view.nodes.iter().map(|node| &*node.name).collect();
        assert!(
            names.is_sorted_by(|a, b| by_name(a, b).is_lt()),
            "{names:?}"
        );
    }

    #[test]
    fn unready_poller_says_why() {
        assert!(fixtures::view(&fixtures::good(1)).unready().is_empty());
        assert!(fixtures::view(&Status::new()).unready().is_empty());
        let why = fixtures::view(&fixtures::bad(1)).unready();
        assert_eq!(why.len(), 1, "{why:?}");
        let status = Status::new();
        let server = status.server("s", "s");
        let why = fixtures::view(&status).unready();
        assert_eq!(why, ["no server of 1 is up: not tried yet"]);
        server.lock().up = true;
        status.ending.store(true, Ordering::Relaxed);
        assert_eq!(fixtures::view(&status).unready(), ["shutting down"]);
    }

    #[test]
    fn numbers_are_formatted_for_people() {
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
