//! Tests the metrics with parsers of the format, and the files that use them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use super::super::fixtures;
use super::*;
use crate::ownership::{Duty, Members};
use crate::status::Status;

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
    let samples = read(&text(&view, true, 0));
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
    for line in text(&fixtures::view(&fixtures::good(1)), true, 0).lines() {
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
    let status = fixtures::bad(3);
    set_fleet(&status);
    let there = text(&fixtures::view(&status), true, 0);
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
    let count = |nodes| read(&text(&fixtures::view(&fixtures::good(nodes)), false, 0)).len();
    assert_eq!(count(2000), count(30));
    let view = fixtures::view(&fixtures::good(2000));
    assert!(read(&text(&view, true, 0)).len() > 10_000);
}

/// Makes the poller one of a fleet of two.
fn set_fleet(status: &Status) {
    *status.members.lock() = Some(Arc::new(Members {
        me: "p1".into(),
        names: vec!["p1".into(), "p2".into()],
        takeover_after: Duration::from_secs(60),
        poll_interval: Duration::from_secs(1),
    }));
}

#[test]
fn fleet_is_counted_by_duty() {
    let status = fixtures::good(3);
    let samples = read(&text(&fixtures::view(&status), false, 0));
    assert!(!samples.contains_key("agg_poller_owned_servers"));
    set_fleet(&status);
    let duties = [Duty::Owns, Duty::Watches, Duty::TookOver];
    for (n, duty) in duties.into_iter().enumerate() {
        let place = format!("redis://10.0.1.{n}:7777");
        status.server(&place, &place).lock().duty = duty;
    }
    for _ in 0..7 {
        status.takeovers.note_taken("s", Duration::ZERO);
    }
    let samples = read(&text(&fixtures::view(&status), false, 0));
    for (name, expected) in [
        ("fleet_members", 2.0),
        ("owned_servers", 4.0),
        ("watched_servers", 1.0),
        ("taken_over_servers", 1.0),
        ("takeovers_total", 7.0),
    ] {
        assert_eq!(samples[&format!("agg_poller_{name}")], expected, "{name}");
    }
}

#[test]
fn names_cannot_forge_series() {
    let text = text(&fixtures::view(&fixtures::bad(3)), true, 0);
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
    let text = text(&fixtures::view(&fixtures::bad(3)), true, 0);
    let given = |program: &mut Command| {
        let pipe = program.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = pipe.stderr(Stdio::piped()).spawn().ok()?;
        // A program that ends early does not read all of it.
        let _ = child.stdin.take()?.write_all(text.as_bytes());
        let output = child.wait_with_output().ok()?;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Some((
            output.status.success(),
            text(output.stdout),
            text(output.stderr),
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
