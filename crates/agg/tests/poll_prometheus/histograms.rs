//! Histograms of windows as native histograms.

use super::{load, loading, past, record};
use crate::dashboards::fixture::range;
use crate::support::place::{Place, end, remote_write, settings, until_empty, until_retried};
use crate::support::prometheus::Prometheus;
use crate::support::{Server, of_queue, until};

/// The ratio of the bounds of a bucket of the module's finest histograms, 2^(1/32), and room for the rank, which
/// Prometheus interpolates.
const WIDTH: f64 = 1.0219 * 1.005;

#[test]
fn quantiles_of_native_histograms_are_the_percentiles_of_the_module() {
    let Some(server) = Server::with_settings("hist-records yes") else {
        return;
    };
    let Some(prometheus) = Prometheus::receiving("1d", &["--enable-feature=native-histograms"])
    else {
        return;
    };
    let start = past();
    let mut pipe = redis::pipe();
    pipe.atomic();
    for step in 0..1000 {
        // From 1 to 100, and the same below zero.
        let value = 10f64.powf(f64::from(step) / 500.0);
        for (metric, value) in [("page.time", value), ("balance", value - 20.0)] {
            pipe.cmd("AGG.STAT")
                .arg("n1")
                .arg(metric)
                .arg(value)
                .arg("ABS")
                .arg("HIST");
            pipe.arg("AT").arg(start + i64::from(step) * 200).ignore();
        }
    }
    let () = pipe.query(&mut server.connection()).unwrap();
    until("the windows close", || {
        (of_queue(&server, "n1", "MIN", "length") == 2).then_some(())
    });
    let more = "native-histograms = true";
    let text = remote_write(&prometheus.write_url(), more).replace(", \"HOUR\"", "");
    let place = Place::new(&settings(&server, &text));
    let poller = place.start();
    until_empty(&server, &["n1"], "MIN");
    end(poller);
    assert!(place.lines("dead").is_empty());
    let value = |query: &str| -> f64 {
        let time = format!("{}", (start + 300_000) / 1000);
        let data = prometheus.get("query", &[("query", query), ("time", &time)]);
        let results = data["result"].as_array().unwrap();
        assert_eq!(results.len(), 1, "{query}: {data}");
        results[0]["value"][1].as_str().unwrap().parse().unwrap()
    };
    for metric in ["page.time", "balance"] {
        let stem = metric.replace('.', "_");
        let window = range(&server, "n1", metric, "MIN").pop().unwrap();
        for (field, quantile) in [
            ("p50", "0.5"),
            ("p90", "0.9"),
            ("p95", "0.95"),
            ("p99", "0.99"),
        ] {
            let expected = window.fields[field];
            let found = value(&format!("histogram_quantile({quantile}, {stem}_hist)"));
            let ratio = found / expected;
            assert!(
                ratio < WIDTH && ratio > 1.0 / WIDTH,
                "{metric} {field}: {found}, the module has {expected}"
            );
            let percentile = value(&format!("{stem}{{quantile=\"{quantile}\"}}"));
            assert_eq!(percentile, expected);
        }
        assert_eq!(value(&format!("histogram_count({stem}_hist)")), 1000.0);
        let sum = value(&format!("histogram_sum({stem}_hist)"));
        assert_eq!(sum, window.fields["sum"]);
    }
}

#[test]
fn server_without_native_histograms_is_waited_for() {
    let Some(prometheus) = Prometheus::receiving("1d", &[]) else {
        return;
    };
    let mut with_histogram = record(1, "m", past(), 1.5);
    with_histogram["hist"] =
        serde_json::json!({"scale": 5, "zero": 0, "pos": [18, [1]], "neg": [0, []]});
    // Without the setting only the values are written.
    let place = loading(&prometheus.write_url(), "");
    assert!(load(&place, &[with_histogram.clone()]).is_empty());
    assert_eq!(prometheus.samples("m_avg").len(), 1);
    let place = loading(&prometheus.write_url(), "native-histograms = true");
    std::fs::write(place.path("records"), with_histogram.to_string()).unwrap();
    let mut command = place.command("load");
    let mut running = crate::support::Running::start(command.arg(place.path("records")));
    until_retried(&mut running.errors(), "native histograms are disabled");
    running.0.kill().unwrap();
    running.wait();
    assert!(place.lines("dead").is_empty());
}
