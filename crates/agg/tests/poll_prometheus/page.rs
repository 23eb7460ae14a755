//! The queries of docs/sinks/prometheus.md: a real Prometheus, filled by `agg poll`, answers each of them.

use crate::dashboards::fixture::{NODES, fill, range};
use crate::support::place::{Place, end, remote_write, settings, until_empty};
use crate::support::prometheus::Prometheus;
use crate::support::{Server, of_queue, until};

/// Returns the queries of the table.
fn queries() -> Vec<&'static str> {
    let page = include_str!("../../../../docs/sinks/prometheus.md");
    let (_, rest) = page.split_once("| query | result |\n").unwrap();
    let rows = rest
        .lines()
        .skip(1)
        .take_while(|line| line.starts_with("| `"));
    let queries = rows.map(|row| row.split('`').nth(1).unwrap());
    let queries: Vec<&str> = queries.collect();
    assert!(queries.len() >= 9, "{queries:?}");
    queries
}

#[test]
fn every_query_of_the_page_has_a_result() {
    let Some(server) = Server::with_settings("hist-records yes") else {
        return;
    };
    let flags = ["--enable-feature=native-histograms"];
    let Some(prometheus) = Prometheus::receiving("1d", &flags) else {
        return;
    };
    let start = fill(&server);
    let before = of_queue(&server, "web1", "MIN", "length");
    let mut pipe = redis::pipe();
    pipe.atomic();
    for node in NODES {
        for step in 0..100 {
            pipe.cmd("AGG.STAT").arg(node).arg("page.time").arg(step);
            pipe.arg("HIST").arg("TAGS").arg("unit=s");
            pipe.arg("AT").arg(start + 1_500_000 + step * 2000).ignore();
        }
    }
    let () = pipe.query(&mut server.connection()).unwrap();
    until("the windows close", || {
        (of_queue(&server, "web1", "MIN", "length") > before).then_some(())
    });
    let text = remote_write(&prometheus.write_url(), "native-histograms = true");
    let place = Place::new(&settings(&server, &text));
    let poller = place.start();
    for queue in ["MIN", "HOUR"] {
        until_empty(&server, &NODES, queue);
    }
    end(poller);
    assert!(place.lines("dead").is_empty());
    // A minute after the end of the last short window, and after the end of the hour.
    let windows = range(&server, "web1", "page.time", "MIN");
    let after_window = windows.last().unwrap().end + 60_000;
    let after_hour = start + 3_660_000;
    for query in queries() {
        let at = match query.contains("3600s") {
            true => after_hour,
            false => after_window,
        };
        let time = (at / 1000).to_string();
        let data = prometheus.get("query", &[("query", query), ("time", &time)]);
        let found = data["result"].as_array().unwrap();
        assert!(!found.is_empty(), "{query}");
        let value: f64 = found[0]["value"][1].as_str().unwrap().parse().unwrap();
        assert!(value.is_finite(), "{query}: {value}");
    }
}
