//! Names, labels, values and times of the samples.

use std::collections::{BTreeMap, BTreeSet};

use agg_poller::prometheus_name::PrometheusName;

use super::{load, loading, past, record};
use crate::dashboards::fixture::range;
use crate::support::place::{Place, end, remote_write, settings, until_empty};
use crate::support::prometheus::{Labels, Prometheus};
use crate::support::{Server, of_queue, until};

/// Metrics with their type and tags. Many names differ by little only, and some tags have names that are taken.
const METRICS: [(&str, &str, &str); 16] = [
    ("cpu.load@0", "ABS", "unit=percent rack=a1"),
    ("mem.used", "ABS", "unit=bytes"),
    ("page.time", "ABS", "unit=s node=x window=y quantile=z"),
    ("page_time", "ABS", "unit=s"),
    ("page.time.seconds", "ABS", "unit=s"),
    ("page-time", "ABS", ""),
    ("x", "ABS", "a.b=1 a_b=2 a-b=3"),
    ("x_count", "ABS", ""),
    ("x.sum", "ABS", ""),
    ("x_hist", "ABS", ""),
    ("temperature", "ADD", "unit=celsius"),
    ("requests_total", "DIFF", ""),
    ("requests", "DIFF", ""),
    ("hits", "INC", "größe=é"),
    ("größe", "INC", ""),
    ("agg.server.up", "ABS", ""),
];

/// Reports samples of each metric in two windows, all with histograms, and waits until they have closed.
fn fill(server: &Server) {
    let start = past();
    let mut pipe = redis::pipe();
    pipe.atomic();
    for (place, (metric, kind, tags)) in METRICS.iter().enumerate() {
        for step in 0..60 {
            let seed = place as i64 + 3;
            let value = match *kind {
                "DIFF" => step * seed * 60,
                _ => (step * seed * 13) % 97,
            };
            pipe.cmd("AGG.STAT").arg("n1").arg(*metric).arg(value);
            pipe.arg(*kind).arg("HIST");
            if !tags.is_empty() {
                pipe.arg("TAGS").arg(*tags);
            }
            pipe.arg("AT").arg(start + step * 10_000).ignore();
        }
    }
    let () = pipe.query(&mut server.connection()).unwrap();
    let count = METRICS.len() as i64;
    until("the windows close", || {
        let closed = |queue| of_queue(server, "n1", queue, "length");
        (closed("MIN") == 2 * count && closed("HOUR") == count).then_some(())
    });
}

#[test]
fn values_of_all_kinds_of_windows_are_those_of_range() {
    let (Some(server), Some(prometheus)) = (Server::start(), Prometheus::receiving("1d", &[]))
    else {
        return;
    };
    fill(&server);
    let place = Place::new(&settings(
        &server,
        &remote_write(&prometheus.write_url(), ""),
    ));
    let poller = place.start();
    until_empty(&server, &["n1"], "MIN");
    until_empty(&server, &["n1"], "HOUR");
    end(poller);
    assert!(place.lines("dead").is_empty());

    let mut expected: BTreeMap<Labels, Vec<(i64, f64)>> = BTreeMap::new();
    for (metric, kind, tags) in METRICS {
        let tags = tags
            .split_whitespace()
            .map(|tag| tag.split_once('=').unwrap());
        let is_counter = ["DIFF", "INC"].contains(&kind);
        let name = PrometheusName::new(metric.as_bytes(), tags, is_counter);
        for queue in ["MIN", "HOUR"] {
            let windows = range(&server, "n1", metric, queue);
            assert_eq!(
                windows.len(),
                if queue == "MIN" { 2 } else { 1 },
                "{metric}"
            );
            for window in windows {
                assert_eq!(window.fields.len(), 10, "{window:?}");
                for (field, value) in &window.fields {
                    let mut labels: Labels = name.labels.iter().cloned().collect();
                    let length = (window.end - window.start) / 1000;
                    labels.insert("node".into(), "n1".into());
                    labels.insert("window".into(), format!("{length}s"));
                    let name = match field.strip_prefix('p') {
                        Some(percent) => {
                            labels.insert(
                                "quantile".into(),
                                format!("0.{}", percent.trim_end_matches('0')),
                            );
                            name.stem.clone()
                        }
                        None => format!("{}_{field}", name.stem),
                    };
                    labels.insert("__name__".into(), name);
                    let samples = expected.entry(labels).or_default();
                    samples.push((window.end - 1, *value));
                }
            }
        }
    }
    // No two metrics share a series.
    assert_eq!(expected.len(), METRICS.len() * 2 * 10);
    let found = prometheus.samples(r#"{node="n1"}"#);
    assert_eq!(found, expected);
    let names: BTreeSet<&str> = found.keys().map(|labels| &*labels["__name__"]).collect();
    for name in [
        "cpu_load_avg",
        "mem_used_bytes_max",
        "page_time_seconds_sum",
        "temperature_celsius_last",
        "requests_count",
        "metric_agg_server_up_min",
    ] {
        assert!(names.contains(name), "{name}: {names:?}");
    }
}

#[test]
fn samples_have_the_time_that_the_settings_choose() {
    let Some(prometheus) = Prometheus::receiving("1d", &[]) else {
        return;
    };
    let start = past();
    for (word, expected) in [("start", start), ("end", start + 299_999)] {
        let place = loading(&prometheus.write_url(), &format!("timestamp = \"{word}\""));
        assert!(load(&place, &[record(1, word, start, 1.5)]).is_empty());
        let found = prometheus.samples(&format!("{word}_avg"));
        assert_eq!(found.into_values().collect::<Vec<_>>(), [[(expected, 1.5)]]);
    }
}

#[test]
fn records_of_a_batch_are_written_in_the_order_of_time() {
    // Without a window for older samples.
    let Some(prometheus) = Prometheus::receiving("0s", &[]) else {
        return;
    };
    let start = past();
    let place = loading(&prometheus.write_url(), "batch-lines = 7");
    let order = [3, 1, 6, 2, 0, 5, 4];
    let records: Vec<_> = order
        .iter()
        .map(|window| record(*window, "m", start + window * 300_000, *window as f64))
        .collect();
    assert!(load(&place, &records).is_empty());
    let found = prometheus.samples("m_avg").into_values().next().unwrap();
    let expected: Vec<_> = (0..7)
        .map(|window| (start + window * 300_000 + 299_999, window as f64))
        .collect();
    assert_eq!(found, expected);
}
