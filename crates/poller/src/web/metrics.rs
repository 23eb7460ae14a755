//! The metrics in the text format of Prometheus, version 0.0.4.
//!
//! # Invariants
//!
//! The number of series grows with servers and sinks, not with nodes: 2000 nodes with five queues would be 10,000 series
//! per metric. The lag of a server is the largest of its nodes; `/metrics?nodes` adds the nodes for installations that
//! have few. The state of the nodes of a server that is down is outdated, so it is left out, and `agg_poller_server_up`
//! is 0.

use std::fmt::Write;
use std::time::UNIX_EPOCH;

use super::view::{QueueView, SinkView, View};

/// The media type.
pub const TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Label names and values.
type Labels<'a> = &'a [(&'a str, &'a str)];

/// Returns the value of a sample.
type Value<T> = fn(&T) -> f64;

/// The text written so far.
#[derive(Default)]
struct Text(String);

impl Text {
    /// Begins a metric. Its samples have to follow.
    fn metric(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string does not fail.
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    fn sample(&mut self, name: &str, labels: Labels, value: f64) {
        self.0.push_str(name);
        for (index, (label, value)) in labels.iter().enumerate() {
            self.0.push(if index == 0 { '{' } else { ',' });
            self.0.push_str(label);
            self.0.push_str("=\"");
            escape(value, &mut self.0);
            self.0.push('"');
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
        // Rust formats floats without an exponent, and integers without a point.
        let _ = writeln!(self.0, " {value}");
    }

    /// Writes a metric with one sample and no labels.
    fn one(&mut self, name: &str, kind: &str, help: &str, value: f64) {
        self.metric(name, kind, help);
        self.sample(name, &[], value);
    }

    /// Writes a metric with one sample per item.
    fn each<'a, T: 'a>(
        &mut self,
        (name, kind, help): (&str, &str, &str),
        label: &str,
        all: impl IntoIterator<Item = &'a T>,
        of: impl Fn(&'a T) -> (&'a str, f64),
    ) {
        self.metric(name, kind, help);
        for item in all {
            let (value, number) = of(item);
            self.sample(name, &[(label, value)], number);
        }
    }
}

fn escape(value: &str, text: &mut String) {
    for character in value.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            other => text.push(other),
        }
    }
}

/// Renders all metrics, including those of single nodes if `nodes` is set.
pub fn text(view: &View, nodes: bool) -> String {
    let mut text = Text::default();
    program(&mut text, view);
    servers(&mut text, view);
    queues(&mut text, view);
    if nodes {
        of_nodes(&mut text, view);
    }
    sinks(&mut text, view);
    text.0
}

fn program(text: &mut Text, view: &View) {
    let name = "agg_poller_build_info";
    text.metric(name, "gauge", "1; the version is in its label.");
    text.sample(name, &[("version", view.version)], 1.0);
    let name = "agg_poller_reloads_total";
    text.metric(name, "counter", "Reloads of the configuration, by outcome.");
    text.sample(name, &[("outcome", "taken")], view.reloads.taken as f64);
    text.sample(name, &[("outcome", "refused")], view.reloads.refused as f64);
    let started = view
        .started_at
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    text.one(
        "process_start_time_seconds",
        "gauge",
        "Start time of the process, in Unix seconds.",
        started.as_secs_f64(),
    );
    if let Some(bytes) = resident() {
        text.one(
            "process_resident_memory_bytes",
            "gauge",
            "Resident memory of the process.",
            bytes as f64,
        );
    }
    text.one(
        "process_cpu_seconds_total",
        "counter",
        "CPU time of the process.",
        cpu_seconds(),
    );
}

fn servers(text: &mut Text, view: &View) {
    let gauge = |name, help| (name, "gauge", help);
    let counter = |name, help| (name, "counter", help);
    text.one(
        "agg_poller_servers",
        "gauge",
        "Known servers.",
        view.totals.servers as f64,
    );
    text.one(
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

fn queues(text: &mut Text, view: &View) {
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

fn of_nodes(text: &mut Text, view: &View) {
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

fn sinks(text: &mut Text, view: &View) {
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

/// Returns the resident memory of this process, or `None` on systems other than Linux.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

/// Returns the CPU time of all threads of this process.
fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::io::Write;
    use std::process::{Command, Stdio};

    use super::super::fixtures;
    use super::*;

    /// Parses a text as strictly as the format is specified. Returns the samples by name and labels as written.
    fn read(text: &str) -> BTreeMap<String, f64> {
        assert!(text.ends_with('\n'));
        let (mut types, mut samples) = (BTreeMap::new(), BTreeMap::new());
        let mut helped = BTreeSet::new();
        let mut last = String::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').unwrap();
                assert!(help.ends_with('.') && helped.insert(name), "{line}");
                continue;
            }
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                assert!(helped.contains(name) && ["counter", "gauge"].contains(&kind));
                assert_eq!(kind == "counter", name.ends_with("_total"), "{name}");
                assert!(
                    types.insert(name.to_owned(), kind).is_none(),
                    "{name} twice"
                );
                last = name.to_owned();
                continue;
            }
            let (key, value) = line.rsplit_once(' ').unwrap();
            let name = key.split('{').next().unwrap();
            assert_eq!(name, last, "a sample belongs to the metric before it");
            labels(&key[name.len()..]);
            let value: f64 = value.parse().unwrap_or_else(|_| panic!("{line}"));
            assert!(value.is_finite() && value >= 0.0, "{line}");
            assert!(
                samples.insert(key.to_owned(), value).is_none(),
                "{key} twice"
            );
        }
        samples
    }

    /// Checks `{name="value",...}`.
    fn labels(text: &str) {
        if text.is_empty() {
            return;
        }
        let mut rest = text.strip_prefix('{').unwrap();
        loop {
            let (name, value) = rest.split_once("=\"").unwrap();
            assert!(name.bytes().all(|b| b.is_ascii_lowercase()), "{text}");
            let mut end = None;
            let mut escaped = false;
            for (at, byte) in value.bytes().enumerate() {
                match (escaped, byte) {
                    (true, b'\\' | b'"' | b'n') => escaped = false,
                    (true, _) => panic!("{text}"),
                    (false, b'\\') => escaped = true,
                    (false, b'"') => {
                        end = Some(at);
                        break;
                    }
                    (false, _) => {}
                }
            }
            rest = &value[end.unwrap_or_else(|| panic!("{text}")) + 1..];
            match rest {
                "}" => return,
                more => rest = more.strip_prefix(',').unwrap(),
            }
        }
    }

    #[test]
    fn samples_have_their_values() {
        let view = fixtures::view(&fixtures::bad(50));
        let samples = read(&text(&view, true));
        for (key, expected) in [
            ("agg_poller_servers", 5.0),
            ("agg_poller_servers_up", 3.0),
            (
                "agg_poller_server_up{server=\"redis://10.0.0.2:7777\"}",
                0.0,
            ),
            ("agg_poller_nodes{server=\"redis://10.0.0.7:7777\"}", 4.0),
            (
                "agg_poller_lag_seconds{server=\"redis://10.0.0.7:7777\",queue=\"MIN\"}",
                1295.0,
            ),
            (
                "agg_poller_queue_entries{server=\"redis://10.0.0.7:7777\",queue=\"MIN\"}",
                480_000.0,
            ),
            (
                "agg_poller_dropped_total{server=\"redis://10.0.0.7:7777\",queue=\"MIN\"}",
                4936.0,
            ),
            (
                "agg_poller_sink_records_total{sink=\"influx\",type=\"influxdb\",outcome=\"dead\"}",
                7.0,
            ),
            ("agg_poller_sink_failing{sink=\"influx\"}", 1.0),
            ("agg_poller_sink_failing{sink=\"records\"}", 0.0),
            (
                "agg_poller_sink_in_flight_bytes{sink=\"influx\"}",
                32_505_856.0,
            ),
            ("agg_poller_reloads_total{outcome=\"refused\"}", 1.0),
        ] {
            assert_eq!(samples.get(key), Some(&expected), "{key}");
        }
        let version = format!("agg_poller_build_info{{version=\"{}\"}}", view.version);
        assert_eq!(samples[&version], 1.0);
        let old = |key: &&String| key.contains("10.0.0.2") && key.contains("queue=");
        let old: Vec<_> = samples.keys().filter(old).collect();
        assert!(
            old.iter().all(|key| key.starts_with("agg_poller_dropped")),
            "{old:?}"
        );
        assert!(samples["process_resident_memory_bytes"] > 1e6);
        assert!(samples["process_start_time_seconds"] > 1.7e9);
    }

    #[test]
    fn documentation_names_every_metric() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/monitoring.md");
        let page = std::fs::read_to_string(page).unwrap();
        for line in text(&fixtures::view(&fixtures::good(1)), true).lines() {
            if let Some(rest) = line.strip_prefix("# TYPE agg_poller_") {
                let name = rest.split(' ').next().unwrap();
                assert!(page.contains(&format!("`{name}`")), "{name}");
            }
        }
    }

    /// Returns the metrics that a text names.
    fn named(text: &str) -> BTreeSet<&str> {
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        words
            .filter(|word| word.starts_with("agg_poller_") || word.starts_with("process_"))
            .collect()
    }

    #[test]
    fn alerts_and_dashboard_use_only_existing_metrics() {
        let there = text(&fixtures::view(&fixtures::bad(3)), true);
        let types = there
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE "));
        let there: BTreeSet<&str> = types.filter_map(|line| line.split(' ').next()).collect();
        for (file, least) in [
            ("alerts.yml", 10),
            ("alerts_test.yml", 10),
            ("grafana.json", 15),
        ] {
            let place = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/monitoring/");
            let text = std::fs::read_to_string(format!("{place}{file}")).unwrap();
            let named = named(&text);
            let unknown: Vec<_> = named.difference(&there).collect();
            assert!(unknown.is_empty(), "{file}: {unknown:?}");
            assert!(named.len() >= least, "{file}: {named:?}");
        }
    }

    #[test]
    fn number_of_series_is_independent_of_the_nodes() {
        let count = |nodes| read(&text(&fixtures::view(&fixtures::good(nodes)), false)).len();
        assert_eq!(count(2000), count(30));
        let view = fixtures::view(&fixtures::good(2000));
        assert!(read(&text(&view, true)).len() > 10_000);
    }

    #[test]
    fn names_cannot_forge_series() {
        let text = text(&fixtures::view(&fixtures::bad(3)), true);
        assert!(
            !text
                .lines()
                .any(|line| line.starts_with("agg_poller_forged"))
        );
        assert!(text.contains(r#"node="\"} 1\nagg_poller_forged{a=\"\\","#));
    }

    /// Uses the Python parser of Prometheus (`python3-prometheus-client` of Debian) and promtool, if installed.
    #[test]
    fn other_parsers_accept_it() {
        const READER: &str = "\
import sys
from prometheus_client.parser import text_string_to_metric_families as read
for family in read(sys.stdin.buffer.read().decode()):
    assert family.documentation and family.type in ('gauge', 'counter'), family
    for sample in family.samples:
        print(repr(sorted(sample.labels.items())))";
        let text = text(&fixtures::view(&fixtures::bad(3)), true);
        let given = |program: &mut Command| {
            let pipe = program.stdin(Stdio::piped()).stdout(Stdio::piped());
            let mut child = pipe.stderr(Stdio::piped()).spawn().ok()?;
            // A program that ends early does not read all of it.
            let _ = child.stdin.take()?.write_all(text.as_bytes());
            let output = child.wait_with_output().ok()?;
            let told = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
            Some((
                output.status.success(),
                told(output.stdout),
                told(output.stderr),
            ))
        };
        // The packages of Debian are for its own Python, which need not be the first in PATH.
        let read = ["python3", "/usr/bin/python3"]
            .into_iter()
            .find_map(|python| {
                let (good, out, why) = given(Command::new(python).args(["-c", READER]))?;
                (!why.contains("ModuleNotFoundError")).then_some((good, out, why))
            });
        match read {
            Some((good, out, why)) => {
                assert!(good, "{why}");
                let forged = r#"('node', '"} 1\nagg_poller_forged{a="\\')"#;
                assert!(out.contains(forged), "{out}");
            }
            None => eprintln!("no python3 with prometheus_client: not checked"),
        }
        match given(Command::new("promtool").args(["check", "metrics"])) {
            Some((good, out, why)) => assert!(good && out.is_empty(), "{out}{why}"),
            None => eprintln!("no promtool: not checked"),
        }
    }
}
