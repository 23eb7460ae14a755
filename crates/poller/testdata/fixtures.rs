//! States for the tests of the status page: a healthy one, and one with every kind of failure.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use agg_client::command::QueueInfo;

use crate::budget::Budget;
use crate::status::{NodeStatus, SinkStatus, Status};

use super::rates::Rates;
use super::view::View;

/// Names that break careless rendering.
pub const HOSTILE: [&str; 4] = [
    "<img src=x onerror=\"document.title='ran'\">",
    "</script><script>document.title='ran'</script>",
    "\"} 1\nagg_poller_forged{a=\"\\",
    "a\u{7}\u{202e}b",
];

pub fn view(status: &Status) -> View {
    View::of(status, &Rates::default(), SystemTime::now())
}

fn before(seconds: u64) -> SystemTime {
    SystemTime::now() - Duration::from_secs(seconds)
}

/// Returns a healthy state with this number of nodes.
pub fn good(nodes: usize) -> Status {
    let mut status = Status::new();
    status.started = before(100_000);
    let sink = |name: &str, kind, stored: u64| {
        let budget = Budget::new(32 << 20);
        let sink = SinkStatus::new(name, kind, budget);
        sink.stored.store(stored, Ordering::Relaxed);
        sink.stored_bytes.store(stored * 180, Ordering::Relaxed);
        sink.writes.store(stored / 900, Ordering::Relaxed);
        Arc::new(sink)
    };
    let sinks = [
        sink("influx", "influxdb", 18_340_221),
        sink("records", "file", 220_118),
        sink("mongo", "mongodb", 93_007),
    ];
    status.set_sinks(sinks.into_iter());
    for n in 0..3 {
        let place = format!("redis://10.0.0.{}:7777", n + 1);
        let server = status.server(&place, &place);
        let mut server = server.lock();
        server.up = true;
        server.since = before(86_500 - n);
        server.connects = n + 1;
        server.records = 6_112_000 + n;
        server.bytes = 1_100_160_000;
        let all = (0..nodes).filter(|index| index % 3 == n as usize);
        let of = all.map(|index| (format!("node{index:04}"), node(index as u64, 40)));
        server.set_nodes(of.collect(), before(1));
    }
    status
}

/// Returns a node with a few records in some queues, none older than `max_age` hundredths of a second.
fn node(seed: u64, max_age: u64) -> NodeStatus {
    let mut node = NodeStatus::default();
    for (index, queue) in node.queues.iter_mut().enumerate() {
        let length = (seed * 7 + index as u64 * 3) % 11 % 4;
        *queue = Some(QueueInfo {
            length,
            bytes: length * 210,
            oldest_ms: if length == 0 {
                0
            } else {
                (seed * 31 + index as u64) % max_age * 10
            },
            leased: length / 2,
            dropped: 0,
        });
    }
    node
}

/// Returns a state in which a sink fails, a server is down, another was never reached, nodes lag and drop records, and a
/// configuration was rejected. The names are hostile.
pub fn bad(nodes: usize) -> Status {
    let status = good(nodes);
    let sinks = status.sinks();
    let influx = sinks.iter().find(|sink| sink.name == "influx").unwrap();
    influx.set_error(Some(
        "http://10.0.0.9:8086/write: 503 Service Unavailable <b>engine: cache maximum memory size exceeded</b>",
    ));
    influx.set_failing_since(before(200));
    influx.retries.store(41, Ordering::Relaxed);
    influx.dead.store(7, Ordering::Relaxed);
    influx.dead_bytes.store(1400, Ordering::Relaxed);
    // Never released, since this is a test.
    std::mem::forget(influx.budget.try_acquire(31 << 20));
    let down = status.server("redis://10.0.0.2:7777", "redis://10.0.0.2:7777");
    {
        let mut down = down.lock();
        down.since = before(4000);
        down.error = Some("connection refused".into());
        let of = (0..2).map(|n| (format!("away{n}"), node(n + 1, 40)));
        down.set_nodes(of.collect(), before(4000));
    }
    status.server("sentinel://grid/<primary>", "redis://[::1]:7777");
    let lagging = status.server("redis://10.0.0.7:7777", "redis://10.0.0.7:7777");
    let mut lagging = lagging.lock();
    lagging.up = true;
    lagging.since = before(40);
    for dropped in [0, 1234] {
        let of = HOSTILE.iter().enumerate().map(|(index, name)| {
            let mut node = node(index as u64, 40);
            node.queues[0] = Some(QueueInfo {
                length: 120_000,
                bytes: 24_000_000,
                oldest_ms: 95_000 + 400_000 * index as u64,
                leased: 2000,
                dropped,
            });
            node.queues[4] = None;
            (name.to_string(), node)
        });
        lagging.set_nodes(of.collect(), before(2));
    }
    status.reloads.lock().rejected = 1;
    status.reloads.lock().error =
        Some("poller.toml:6:10: there is no [sink.x] in this file".into());
    status
}
