//! The state in Prometheus' text format, 0.0.4.
//!
//! What holds: however many nodes there are, the series grow with servers and sinks alone (a node's lag is in its
//! server's, which is the largest): 2000 nodes with five queues would be 10,000 series for each figure. Who has few
//! asks for them with `/metrics?nodes`. What is known of the nodes of a server that does not answer is old: it is left
//! out, and `agg_poller_server_up` says why.

use std::fmt::Write;
use std::time::UNIX_EPOCH;

use super::view::{QueueView, SinkView, View};

/// The type of what is written.
pub const TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Label names and values.
type Labels<'a> = &'a [(&'a str, &'a str)];

/// A figure of something.
type Figure<T> = fn(&T) -> f64;

/// The text so far.
#[derive(Default)]
struct Text(String);

impl Text {
    /// Begins a metric; its samples follow.
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
        // Without an exponent, and integers without a point.
        let _ = writeln!(self.0, " {value}");
    }

    /// A metric of one sample without labels.
    fn one(&mut self, name: &str, kind: &str, help: &str, value: f64) {
        self.metric(name, kind, help);
        self.sample(name, &[], value);
    }

    /// A metric with a sample for each of many.
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

/// All metrics; also those of single nodes where that is wanted.
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
    text.metric(name, "counter", "Changed settings, by what became of them.");
    text.sample(name, &[("outcome", "taken")], view.reloads.taken as f64);
    text.sample(name, &[("outcome", "refused")], view.reloads.refused as f64);
    let started = view.began.duration_since(UNIX_EPOCH).unwrap_or_default();
    text.one(
        "process_start_time_seconds",
        "gauge",
        "When the program began, Unix seconds.",
        started.as_secs_f64(),
    );
    if let Some(bytes) = resident() {
        text.one(
            "process_resident_memory_bytes",
            "gauge",
            "Memory that the program has.",
            bytes as f64,
        );
    }
    text.one(
        "process_cpu_seconds_total",
        "counter",
        "CPU time that the program took.",
        cpu_seconds(),
    );
}

fn servers(text: &mut Text, view: &View) {
    let gauge = |name, help| (name, "gauge", help);
    let counter = |name, help| (name, "counter", help);
    text.one(
        "agg_poller_servers",
        "gauge",
        "Servers that are known.",
        view.totals.servers as f64,
    );
    text.one(
        "agg_poller_servers_up",
        "gauge",
        "Servers that answer.",
        view.totals.servers_up as f64,
    );
    let all = || &view.servers;
    text.each(
        gauge(
            "agg_poller_server_up",
            "1 where the server answers, else 0.",
        ),
        "server",
        all(),
        |s| (&s.id, f64::from(u8::from(s.up))),
    );
    text.each(
        gauge(
            "agg_poller_nodes",
            "Nodes of the server, as of the last look.",
        ),
        "server",
        all(),
        |s| (&s.id, s.nodes as f64),
    );
    text.each(
        counter(
            "agg_poller_connects_total",
            "Connections made to the server.",
        ),
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
            "Bytes of the records fetched.",
        ),
        "server",
        all(),
        |s| (&s.id, s.bytes as f64),
    );
    let name = "agg_poller_dropped_total";
    text.metric(
        name,
        "counter",
        "Entries that the server dropped from its queues for want of room, since this program looks at it.",
    );
    for server in all() {
        for (queue, sum) in &server.queues {
            let labels = [("server", &*server.id), ("queue", queue)];
            text.sample(name, &labels, sum.dropped as f64);
        }
    }
}

fn queues(text: &mut Text, view: &View) {
    let figures: [(&str, &str, Figure<QueueView>); 4] = [
        (
            "agg_poller_lag_seconds",
            "The age of the oldest entry that waits, the largest of the server's nodes.",
            |queue| queue.lag,
        ),
        (
            "agg_poller_queue_entries",
            "Entries that wait or are leased.",
            |queue| queue.length as f64,
        ),
        (
            "agg_poller_queue_bytes",
            "Bytes of the entries that wait or are leased.",
            |queue| queue.bytes as f64,
        ),
        (
            "agg_poller_queue_leased_entries",
            "Entries that some poller has fetched and not acknowledged.",
            |queue| queue.leased as f64,
        ),
    ];
    for (name, help, figure) in figures {
        text.metric(name, "gauge", help);
        for server in view.servers.iter().filter(|server| server.up) {
            for (queue, sum) in &server.queues {
                let labels = [("server", &*server.id), ("queue", queue)];
                text.sample(name, &labels, figure(sum));
            }
        }
    }
}

fn of_nodes(text: &mut Text, view: &View) {
    let name = "agg_poller_node_lag_seconds";
    text.metric(
        name,
        "gauge",
        "The age of the oldest entry that waits in a node's queue.",
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
    let outcomes: [(&str, &str, [Figure<SinkView>; 2]); 2] = [
        (
            "agg_poller_sink_records_total",
            "Records by what became of them: stored, or dead (refused for good, among the dead letters).",
            [|s| s.stored as f64, |s| s.dead as f64],
        ),
        (
            "agg_poller_sink_bytes_total",
            "Bytes of records by what became of them.",
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
            "1 while the sink is in trouble, else 0.",
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
            "Writes that failed and are tried again.",
        ),
        "sink",
        all(),
        |s| (&s.name, s.retries as f64),
    );
    text.each(
        gauge(
            "agg_poller_sink_in_flight_bytes",
            "Bytes on the way to the sink.",
        ),
        "sink",
        all(),
        |s| (&s.name, s.in_flight_bytes as f64),
    );
    text.each(
        gauge(
            "agg_poller_sink_in_flight_limit_bytes",
            "Bytes that may be on the way to the sink: its share of max-in-flight.",
        ),
        "sink",
        all(),
        |s| (&s.name, s.in_flight_limit_bytes as f64),
    );
}

/// The memory that this process has, where the system tells it as Linux does.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

/// The CPU time of all threads of this process.
fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::io::Write;
    use std::process::{Command, Stdio};

    use super::super::made_up;
    use super::*;

    /// The samples of a text, name and labels as written; it is read as strictly as the format is described.
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
    fn every_figure_is_where_it_belongs() {
        let view = made_up::view(&made_up::bad(50));
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
        for line in text(&made_up::view(&made_up::good(1)), true).lines() {
            if let Some(rest) = line.strip_prefix("# TYPE agg_poller_") {
                let name = rest.split(' ').next().unwrap();
                assert!(page.contains(&format!("`{name}`")), "{name}");
            }
        }
    }

    /// The metrics that a text names.
    fn named(text: &str) -> BTreeSet<&str> {
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        words
            .filter(|word| word.starts_with("agg_poller_") || word.starts_with("process_"))
            .collect()
    }

    #[test]
    fn alerts_and_dashboard_name_only_what_there_is() {
        let there = text(&made_up::view(&made_up::bad(3)), true);
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
    fn series_do_not_grow_with_the_nodes() {
        let count = |nodes| read(&text(&made_up::view(&made_up::good(nodes)), false)).len();
        assert_eq!(count(2000), count(30));
        let view = made_up::view(&made_up::good(2000));
        assert!(read(&text(&view, true)).len() > 10_000);
    }

    #[test]
    fn a_name_forges_no_series() {
        let text = text(&made_up::view(&made_up::bad(3)), true);
        assert!(
            !text
                .lines()
                .any(|line| line.starts_with("agg_poller_forged"))
        );
        assert!(text.contains(r#"node="\"} 1\nagg_poller_forged{a=\"\\","#));
    }

    /// Prometheus' own reader in Python (`python3-prometheus-client` of Debian), and its own checker, where they are.
    #[test]
    fn others_read_it() {
        const READER: &str = "\
import sys
from prometheus_client.parser import text_string_to_metric_families as read
for family in read(sys.stdin.buffer.read().decode()):
    assert family.documentation and family.type in ('gauge', 'counter'), family
    for sample in family.samples:
        print(repr(sorted(sample.labels.items())))";
        let text = text(&made_up::view(&made_up::bad(3)), true);
        let given = |program: &mut Command| {
            let pipe = program.stdin(Stdio::piped()).stdout(Stdio::piped());
            let mut child = pipe.stderr(Stdio::piped()).spawn().ok()?;
            // One that ends early does not read it all.
            let _ = child.stdin.take()?.write_all(text.as_bytes());
            let output = child.wait_with_output().ok()?;
            let told = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
            Some((
                output.status.success(),
                told(output.stdout),
                told(output.stderr),
            ))
        };
        // Debian's packages are for Debian's own, which need not be the first.
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
            None => eprintln!("no python3 with prometheus_client: not read by it"),
        }
        match given(Command::new("promtool").args(["check", "metrics"])) {
            Some((good, out, why)) => assert!(good && out.is_empty(), "{out}{why}"),
            None => eprintln!("no promtool: not checked by it"),
        }
    }
}
