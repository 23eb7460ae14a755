//! What happens while Prometheus fails, and to pollers that are killed: each sample is stored once.

use std::collections::BTreeMap;

use crate::support::place::{
    Place, end, left, remote_write, settings, until_empty, until_retried, windows,
};
use crate::support::prometheus::Prometheus;
use crate::support::proxy::Proxy;
use crate::support::{Server, until};

/// Starts a source, and a database that accepts older samples; `None` if a program is missing.
fn parts() -> Option<(Server, Prometheus)> {
    Some((Server::start()?, Prometheus::receiving("1d", &[])?))
}

/// Returns a poller of one queue that writes small batches.
fn place(source: &Server, url: &str, more: &str) -> Place {
    let text = remote_write(url, more).replace(", \"HOUR\"", "");
    Place::new(&settings(source, &text))
}

/// Closes two windows of each of some new metrics.
fn report(source: &Server, round: usize, count: usize) {
    let names: Vec<String> = (0..count).map(|n| format!("r{round}.m{n}")).collect();
    windows(source, &format!("n{round}"), &names);
}

/// Asserts that each of the metrics so far has its two samples, each once.
fn assert_once(prometheus: &Prometheus, metrics: usize) {
    let found = prometheus.samples(r#"{__name__=~"r.+_avg"}"#);
    assert_eq!(found.len(), metrics);
    for (labels, samples) in found {
        let times: BTreeMap<i64, f64> = samples.iter().copied().collect();
        assert_eq!((samples.len(), times.len()), (2, 2), "{labels:?}");
        assert!(samples.iter().all(|(_, value)| *value == 1.5));
    }
    let all = prometheus.samples(r#"{node=~"n.+"}"#);
    assert_eq!(all.len(), 6 * metrics);
}

fn stored(prometheus: &Prometheus) -> usize {
    prometheus.samples(r#"{__name__=~"r.+_avg"}"#).len()
}

#[test]
fn server_that_is_down_or_slow_is_waited_for() {
    let Some((source, mut prometheus)) = parts() else {
        return;
    };
    let place = place(&source, &prometheus.write_url(), "timeout = \"1s\"");
    prometheus.stop();
    let mut running = place.start();
    let mut errors = running.errors();
    report(&source, 1, 200);
    until_retried(&mut errors, "sink db: ");
    prometheus.restart();
    until_empty(&source, &["n1"], "MIN");
    // A crash after the reply loses nothing.
    prometheus.restart();
    assert_once(&prometheus, 200);
    // A server that hangs stores the request when its client is gone.
    prometheus.freeze(true);
    report(&source, 2, 200);
    until_retried(&mut errors, "sink db: ");
    prometheus.freeze(false);
    until_empty(&source, &["n2"], "MIN");
    assert_once(&prometheus, 400);
    assert!(place.lines("dead").is_empty());
    end(running);
}

#[test]
fn reply_that_is_lost_repeats_no_sample() {
    let Some((source, prometheus)) = parts() else {
        return;
    };
    let proxy = Proxy::start(prometheus.port);
    let url = format!("http://127.0.0.1:{}/api/v1/write", proxy.port);
    let place = place(&source, &url, "batch-lines = 100");
    let mut running = place.start();
    let mut errors = running.errors();
    for round in 1..4 {
        proxy.lose_replies(true);
        report(&source, round, 200);
        until("the server stores", || {
            (stored(&prometheus) > (round - 1) * 200).then_some(())
        });
        proxy.cut();
        proxy.lose_replies(false);
        until_retried(&mut errors, "sink db: ");
        proxy.repair();
        until_empty(&source, &[&format!("n{round}")], "MIN");
        assert_once(&prometheus, round * 200);
    }
    assert!(place.lines("dead").is_empty());
    end(running);
}

#[test]
fn pollers_that_are_killed_write_each_sample_once() {
    let Some((source, prometheus)) = parts() else {
        return;
    };
    let place = place(&source, &prometheus.write_url(), "batch-lines = 50");
    for round in 1..4 {
        report(&source, round, 500);
        let mut killed = place.start();
        until("something is written", || {
            (stored(&prometheus) > (round - 1) * 500).then_some(())
        });
        killed.0.kill().unwrap();
        killed.wait();
    }
    let running = place.start();
    until_empty(&source, &["n1", "n2", "n3"], "MIN");
    assert_once(&prometheus, 1500);
    assert!(place.lines("dead").is_empty());
    end(running);
}

#[test]
fn server_that_does_not_receive_is_retried() {
    let (Some(source), Some(prometheus)) = (Server::start(), Prometheus::scraping(&[])) else {
        return;
    };
    report(&source, 1, 10);
    for (path, reason) in [
        (
            "/api/v1/write",
            "HTTP 404: remote write receiver needs to be enabled",
        ),
        ("/other", "HTTP 404"),
        ("/-/reload", "HTTP 403"),
    ] {
        let url = format!("http://127.0.0.1:{}{path}", prometheus.port);
        let place = place(&source, &url, "");
        let mut running = place.start();
        until_retried(&mut running.errors(), reason);
        assert!(place.lines("dead").is_empty());
        end(running);
    }
    assert_eq!(left(&source, &["n1"], "MIN"), 20);
}
