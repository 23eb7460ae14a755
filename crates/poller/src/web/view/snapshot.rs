//! Takes a snapshot: sorts sinks, servers and nodes, and sums them up.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use agg_client::timestamp::utc;
use aggregator_protocol::{Queue, natural};

use super::super::rates::Rates;
use super::model::{
    FleetView, LATE, NodeView, QueueView, ReloadsView, ServerView, SinkView, State, Totals, View,
};
use crate::ownership::Duty;
use crate::status::{NodeStatus, Reloads, ServerStatus, SinkStatus, Status};

/// Lags below this, in seconds, are equal when sorting: rows need not change places with each refresh.
const NEGLIGIBLE: f64 = 10.0;

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
            fails.then_with(|| natural(&a.name, &b.name))
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
                .then(rounded_lag(b.lag).total_cmp(&rounded_lag(a.lag)));
            worse.then_with(|| natural(&a.id, &b.id))
        });
        nodes.sort_by(|a, b| {
            let worse = rounded_lag(b.lag).total_cmp(&rounded_lag(a.lag));
            worse
                .then_with(|| natural(&a.name, &b.name))
                .then_with(|| natural(&a.server, &b.server))
        });
        let totals = Totals::of(&sinks, &servers, &nodes);
        let Reloads {
            taken,
            rejected,
            error,
        } = status.reloads.lock().clone();
        let mut view = View {
            version: env!("CARGO_PKG_VERSION"),
            started: utc(status.started),
            now: utc(now),
            uptime: seconds_since(status.started, now),
            ending: status.ending.load(Ordering::Relaxed),
            state: State::Ok,
            problems: Vec::new(),
            totals,
            fleet: FleetView::of(status, &servers),
            reloads: ReloadsView {
                taken,
                rejected,
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

impl FleetView {
    fn of(status: &Status, servers: &[ServerView]) -> Option<FleetView> {
        let members = status.members.lock().clone()?;
        let count = |duty| servers.iter().filter(|s| s.duty == word(duty)).count();
        Some(FleetView {
            me: members.me.clone(),
            members: members.names.clone(),
            owned: count(Duty::Owns),
            watched: count(Duty::Watches),
            taken_over: count(Duty::TookOver),
            takeovers: status.takeovers.count(),
        })
    }
}

/// Returns the word for a duty.
fn word(duty: Duty) -> &'static str {
    match duty {
        Duty::Waits => "unassigned",
        Duty::Owns => "owned",
        Duty::Watches => "watched",
        Duty::TookOver => "taken-over",
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
            trouble_for: since.map(|since| seconds_since(since, now)),
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
        for (name, queue) in server.nodes.values().flat_map(known_queues) {
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
            since_for: seconds_since(server.since, now),
            trouble: server.error.filter(|_| !server.up),
            connects: server.connects,
            records: server.records,
            bytes: server.bytes,
            records_per_second: rate.0,
            looked: server.scanned_at.map(utc),
            nodes: server.nodes.len(),
            duty: word(server.duty),
            lag: match server.duty {
                Duty::Watches => server.watched_lag.as_secs_f64(),
                _ => queues.values().map(|queue| queue.lag).fold(0.0, f64::max),
            },
            waiting: queues.values().map(|queue| queue.length).sum(),
            dropped: server.dropped.iter().sum(),
            queues,
            id,
        }
    }
}

impl NodeView {
    fn of(server: &str, up: bool, name: &str, node: &NodeStatus) -> NodeView {
        let queues: BTreeMap<_, _> = known_queues(node).collect();
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
fn known_queues(node: &NodeStatus) -> impl Iterator<Item = (&'static str, QueueView)> {
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
fn seconds_since(then: SystemTime, now: SystemTime) -> f64 {
    now.duration_since(then).unwrap_or_default().as_secs_f64()
}

/// Rounds a lag for sorting: nodes and servers with about the same lag stay in the order of their names, and those that
/// are drained continuously keep their places.
fn rounded_lag(lag: f64) -> f64 {
    let step = match lag {
        lag if lag < NEGLIGIBLE => return 0.0,
        ..60.0 => 10.0,
        60.0..3600.0 => 60.0,
        _ => 600.0,
    };
    (lag / step).floor().max(0.1) * step
}

#[cfg(test)]
mod tests {
    use super::super::super::fixtures;
    use super::*;

    #[test]
    fn failures_come_first() {
        let view = fixtures::view(&fixtures::bad(50));
        assert_eq!(view.state, State::Trouble);
        assert_eq!(view.sinks[0].name, "influx");
        assert!(!view.servers[0].up && view.servers[0].trouble.is_some());
        assert!(
            view.nodes
                .is_sorted_by(|a, b| rounded_lag(a.lag) >= rounded_lag(b.lag))
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
        names.sort_by(|a, b| natural(a, b));
        let expected = [
            "node9",
            "node10",
            "redis://a:1",
            "redis://b:9",
            "redis://b:10",
        ];
        assert_eq!(names, expected);
        // A millisecond more does not change the order.
        assert_eq!(rounded_lag(20.001), rounded_lag(20.004));
        assert_eq!(
            [0.0, 59.0, 61.0, 119.0, 3700.0].map(rounded_lag),
            [0.0, 50.0, 60.0, 60.0, 3600.0]
        );
        let view = fixtures::view(&fixtures::good(12));
        let names: Vec<&str> = view.nodes.iter().map(|node| &*node.name).collect();
        assert!(
            names.is_sorted_by(|a, b| natural(a, b).is_lt()),
            "{names:?}"
        );
    }
}
