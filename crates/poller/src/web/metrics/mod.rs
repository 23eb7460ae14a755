//! The metrics in the text format of Prometheus, version 0.0.4.
//!
//! # Invariants
//!
//! The number of series grows with servers and sinks, not with nodes: 2000 nodes with five queues would be 10,000
//! series per metric. The lag of a server is the largest of its nodes; `/metrics?nodes` adds the nodes for
//! installations that have few. The state of the nodes of a server that is down is outdated, so it is left out, and
//! `agg_poller_server_up` is 0.

pub(crate) mod exposition;
pub(crate) mod process;
#[cfg(test)]
mod tests;

use std::time::UNIX_EPOCH;

use super::view::{QueueView, SinkView, View};
use exposition::Exposition;
pub use exposition::TYPE;

/// Returns the value of a sample.
type Value<T> = fn(&T) -> f64;

/// Renders all metrics, including those of single nodes if `nodes` is set. `rejected` is the number of rejected requests.
pub fn text(view: &View, nodes: bool, rejected: u64) -> String {
    let mut text = Exposition::default();
    program(&mut text, view);
    text.single(
        "agg_poller_rejected_requests_total",
        "counter",
        "HTTP requests rejected because slow clients had not received other responses.",
        rejected as f64,
    );
    servers(&mut text, view);
    fleet(&mut text, view);
    queues(&mut text, view);
    if nodes {
        nodes_by_name(&mut text, view);
    }
    sinks(&mut text, view);
    text.into_string()
}

fn program(text: &mut Exposition, view: &View) {
    let name = "agg_poller_build_info";
    text.metric(name, "gauge", "1; the version is in its label.");
    text.sample(name, &[("version", view.version)], 1.0);
    let name = "agg_poller_reloads_total";
    text.metric(name, "counter", "Reloads of the configuration, by outcome.");
    text.sample(name, &[("outcome", "taken")], view.reloads.taken as f64);
    text.sample(
        name,
        &[("outcome", "refused")],
        view.reloads.rejected as f64,
    );
    let started = view
        .started_at
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    text.single(
        "process_start_time_seconds",
        "gauge",
        "Start time of the process, in Unix seconds.",
        started.as_secs_f64(),
    );
    if let Some(bytes) = process::resident_bytes() {
        text.single(
            "process_resident_memory_bytes",
            "gauge",
            "Resident memory of the process.",
            bytes as f64,
        );
    }
    text.single(
        "process_cpu_seconds_total",
        "counter",
        "CPU time of the process.",
        process::cpu_seconds(),
    );
}

fn servers(text: &mut Exposition, view: &View) {
    let gauge = |name, help| (name, "gauge", help);
    let counter = |name, help| (name, "counter", help);
    text.single(
        "agg_poller_servers",
        "gauge",
        "Known servers.",
        view.totals.servers as f64,
    );
    text.single(
        "agg_poller_servers_up",
        "gauge",
        "Servers that are up.",
        view.totals.servers_up as f64,
    );
    let all = || &view.servers;
    text.each(
        gauge("agg_poller_server_up", "1 if the server is up, else 0."),
        "server",
        all(),
        |s| (&s.id, f64::from(u8::from(s.up))),
    );
    text.each(
        gauge(
            "agg_poller_nodes",
            "Nodes of the server, as of the last scan.",
        ),
        "server",
        all(),
        |s| (&s.id, s.nodes as f64),
    );
    text.each(
        counter("agg_poller_connects_total", "Connections to the server."),
        "server",
        all(),
        |s| (&s.id, s.connects as f64),
    );
    text.each(
        counter(
            "agg_poller_fetched_records_total",
            "Records fetched from the server.",
        ),
        "server",
        all(),
        |s| (&s.id, s.records as f64),
    );
    text.each(
        counter(
            "agg_poller_fetched_bytes_total",
            "Bytes of the fetched records.",
        ),
        "server",
        all(),
        |s| (&s.id, s.bytes as f64),
    );
    let name = "agg_poller_dropped_total";
    text.metric(
        name,
        "counter",
        "Records that the server dropped from full queues, since the poller first scanned it.",
    );
    for server in all() {
        for (queue, sum) in &server.queues {
            let labels = [("server", &*server.id), ("queue", queue)];
            text.sample(name, &labels, sum.dropped as f64);
        }
    }
}

/// Renders what the pollers that share the servers have to do. Nothing without a fleet.
fn fleet(text: &mut Exposition, view: &View) {
    let Some(fleet) = &view.fleet else {
        return;
    };
    for (name, help, value) in [
        (
            "agg_poller_fleet_members",
            "Pollers that share the servers, as far as this one knows.",
            fleet.members.len(),
        ),
        (
            "agg_poller_owned_servers",
            "Servers that this poller owns.",
            fleet.owned,
        ),
        (
            "agg_poller_watched_servers",
            "Servers that another poller owns and this one watches.",
            fleet.watched,
        ),
        (
            "agg_poller_taken_over_servers",
            "Servers that this poller drains because their owner does not.",
            fleet.taken_over,
        ),
    ] {
        text.single(name, "gauge", help, value as f64);
    }
    text.single(
        "agg_poller_takeovers_total",
        "counter",
        "Takeovers of servers that nobody drained.",
        fleet.takeovers as f64,
    );
}

fn queues(text: &mut Exposition, view: &View) {
    let metrics: [(&str, &str, Value<QueueView>); 4] = [
        (
            "agg_poller_lag_seconds",
            "Age of the oldest pending record, maximum over the nodes of the server.",
            |queue| queue.lag,
        ),
        (
            "agg_poller_queue_entries",
            "Pending and leased records.",
            |queue| queue.length as f64,
        ),
        (
            "agg_poller_queue_bytes",
            "Bytes of the pending and leased records.",
            |queue| queue.bytes as f64,
        ),
        (
            "agg_poller_queue_leased_entries",
            "Records that a poller has fetched and not acknowledged.",
            |queue| queue.leased as f64,
        ),
    ];
    for (name, help, value) in metrics {
        text.metric(name, "gauge", help);
        for server in view.servers.iter().filter(|server| server.up) {
            for (queue, sum) in &server.queues {
                let labels = [("server", &*server.id), ("queue", queue)];
                text.sample(name, &labels, value(sum));
            }
        }
    }
}

fn nodes_by_name(text: &mut Exposition, view: &View) {
    let name = "agg_poller_node_lag_seconds";
    text.metric(
        name,
        "gauge",
        "Age of the oldest pending record in a queue of the node.",
    );
    for node in view.nodes.iter().filter(|node| node.up) {
        for (queue, known) in &node.queues {
            let labels = [
                ("server", &*node.server),
                ("node", &*node.name),
                ("queue", queue),
            ];
            text.sample(name, &labels, known.lag);
        }
    }
}

fn sinks(text: &mut Exposition, view: &View) {
    let gauge = |name, help| (name, "gauge", help);
    let counter = |name, help| (name, "counter", help);
    let outcomes: [(&str, &str, [Value<SinkView>; 2]); 2] = [
        (
            "agg_poller_sink_records_total",
            "Records by outcome: stored, or dead (rejected, among the dead letters).",
            [|s| s.stored as f64, |s| s.dead as f64],
        ),
        (
            "agg_poller_sink_bytes_total",
            "Bytes of records by outcome.",
            [|s| s.stored_bytes as f64, |s| s.dead_bytes as f64],
        ),
    ];
    for (name, help, of) in outcomes {
        text.metric(name, "counter", help);
        for sink in &view.sinks {
            for (outcome, of) in ["stored", "dead"].into_iter().zip(of) {
                let labels = [
                    ("sink", &*sink.name),
                    ("type", sink.kind),
                    ("outcome", outcome),
                ];
                text.sample(name, &labels, of(sink));
            }
        }
    }
    let all = || &view.sinks;
    text.each(
        gauge(
            "agg_poller_sink_failing",
            "1 while the sink is failing, else 0.",
        ),
        "sink",
        all(),
        |s| (&s.name, f64::from(u8::from(s.trouble.is_some()))),
    );
    text.each(
        counter("agg_poller_sink_writes_total", "Writes that succeeded."),
        "sink",
        all(),
        |s| (&s.name, s.writes as f64),
    );
    text.each(
        counter(
            "agg_poller_sink_retries_total",
            "Writes that failed and are retried.",
        ),
        "sink",
        all(),
        |s| (&s.name, s.retries as f64),
    );
    text.each(
        gauge(
            "agg_poller_sink_in_flight_bytes",
            "Bytes in flight to the sink.",
        ),
        "sink",
        all(),
        |s| (&s.name, s.in_flight_bytes as f64),
    );
    text.each(
        gauge(
            "agg_poller_sink_in_flight_limit_bytes",
            "Most bytes that may be in flight to the sink: its part of max-in-flight.",
        ),
        "sink",
        all(),
        |s| (&s.name, s.in_flight_limit_bytes as f64),
    );
}
