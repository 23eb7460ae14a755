//! The dashboards for Prometheus: promtool parses every query, and a real Prometheus answers them with the numbers of
//! AGG.RANGE. It is filled by `agg poll`.

use std::collections::BTreeMap;
use std::process::Command;

use super::fixture::{NODES, WINDOWS, fill, host_reports, range};
use super::{Dashboard, all, render, variable_query};
use crate::support::place::{Place, end, remote_write, settings, until_empty};
use crate::support::prometheus::Prometheus;
use crate::support::{Server, err, missing};

const DASHBOARDS: [&str; 2] = ["hosts-prometheus.json", "statistics-prometheus.json"];

#[test]
fn prometheus_parses_the_queries() {
    let mut rules = String::from("groups:\n- name: dashboards\n  rules:\n");
    for dashboard in all() {
        if dashboard.variables()[0]["query"] != "prometheus" {
            continue;
        }
        for (index, (_, text)) in dashboard.queries().iter().enumerate() {
            // Variables that are not within quotes.
            let text = text
                .replace("$__rate_interval", "5m")
                .replace("$__range", "6h")
                .replace("[$window]", "[300s]")
                .replace("[$__interval]", "[300s]")
                .replace("${metric}", "cpu_load");
            let quoted = serde_json::to_string(&text).unwrap();
            rules += &format!("  - record: panel:{index}\n    expr: {quoted}\n");
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("rules.yml");
    std::fs::write(&file, rules).unwrap();
    let output = Command::new("promtool")
        .args(["check", "rules"])
        .arg(&file)
        .output();
    let Ok(output) = output else {
        return missing("promtool").unwrap_or_default();
    };
    assert!(output.status.success(), "{}", err(&output));
}

/// Starts a database and drains the windows of a server into it.
fn filled(server: &Server, nodes: &[&str]) -> Option<Prometheus> {
    let prometheus = Prometheus::receiving("1d", &[])?;
    let place = Place::new(&settings(
        server,
        &remote_write(&prometheus.write_url(), ""),
    ));
    let poller = place.start();
    until_empty(server, nodes, "MIN");
    until_empty(server, nodes, "HOUR");
    end(poller);
    assert!(place.lines("dead").is_empty());
    Some(prometheus)
}

/// Returns values for all variables, as for InfluxDB.
fn choose(
    dashboard: &Dashboard,
    prometheus: &Prometheus,
    chosen: &[(&str, &str)],
) -> BTreeMap<String, String> {
    let mut values = BTreeMap::new();
    for variable in dashboard.variables().iter().skip(1) {
        let name = variable["name"].as_str().unwrap();
        let query = render(variable_query(variable), &values);
        let arguments = query
            .strip_prefix("label_values(")
            .unwrap()
            .strip_suffix(')');
        let (selector, label) = arguments.unwrap().rsplit_once(", ").unwrap();
        let path = format!("label/{label}/values");
        let options = prometheus.get(&path, &[("match[]", selector)]);
        let options = options
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one.as_str().unwrap());
        let options: Vec<&str> = match variable["regex"].as_str().unwrap() {
            "" => options.collect(),
            "/^(.*)_avg$/" => options.filter_map(|one| one.strip_suffix("_avg")).collect(),
            other => panic!("{other}"),
        };
        let value = match (
            variable["allValue"].as_str(),
            chosen.iter().find(|(of, _)| *of == name),
        ) {
            (Some(all), None) => all,
            (_, Some((_, value))) => {
                assert!(options.contains(value), "{name} {value}: {options:?}");
                value
            }
            (None, None) => panic!("{name} is not chosen"),
        };
        values.insert(name.to_owned(), value.to_owned());
    }
    // Panels ask for no shorter one.
    values.insert("__interval".to_owned(), values["window"].clone());
    values
}

/// Returns the result of a query at a time, by the values of node and instance.
fn result(prometheus: &Prometheus, text: &str, at_ms: i64) -> BTreeMap<String, f64> {
    let time = format!("{}.{:03}", at_ms / 1000, at_ms % 1000);
    let data = prometheus.get("query", &[("query", text), ("time", &time)]);
    let series = data["result"].as_array().unwrap().iter();
    let of_series = series.map(|one| {
        let label = |name: &str| one["metric"][name].as_str().unwrap_or_default();
        let labels = format!("{} {}", label("instance"), label("node"));
        let value = one["value"][1].as_str().unwrap().parse().unwrap();
        (labels.trim().to_owned(), value)
    });
    of_series.collect()
}

#[test]
fn every_query_for_prometheus_returns_data() {
    let Some(server) = Server::start() else {
        return;
    };
    let start = fill(&server);
    let Some(prometheus) = filled(&server, &NODES) else {
        return;
    };
    for name in DASHBOARDS {
        let dashboard = Dashboard::read(name);
        for (window, end) in [("300s", 300_000), ("3600s", 3_600_000)] {
            for metric in ["cpu_load", "disk_read_bytes", "uptime_seconds"] {
                let chosen = [("metric", metric), ("window", window)];
                let values = choose(&dashboard, &prometheus, &chosen);
                for (title, text) in dashboard.queries() {
                    let text = render(text, &values);
                    // One minute later the window is still the latest.
                    let found = result(&prometheus, &text, start + end + 60_000);
                    assert!(!found.is_empty(), "{name}: {title}: {text}");
                }
            }
        }
    }
}

/// The fixture has all metrics; this machine has those that it has.
#[test]
fn queries_for_prometheus_return_data_of_a_real_machine() {
    let Some(server) = host_reports() else {
        return;
    };
    let Some(prometheus) = filled(&server, &["web1"]) else {
        return;
    };
    let dashboard = Dashboard::read("hosts-prometheus.json");
    let values = choose(&dashboard, &prometheus, &[("window", "2s")]);
    let end = range(&server, "web1", "uptime", "HOUR").pop().unwrap().end;
    let names = prometheus.get("label/__name__/values", &[]);
    let names: Vec<&str> = names
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|one| one.as_str())
        .collect();
    let mut answered = 0;
    for (title, text) in dashboard.queries() {
        let text = render(text, &values);
        let family = text.split("_over_time(").nth(1).unwrap();
        let is_known = names.contains(&family.split('{').next().unwrap());
        let found = result(&prometheus, &text, end);
        assert!(!is_known || !found.is_empty(), "{title}: {text}");
        answered += usize::from(is_known);
    }
    assert!(
        answered >= 15,
        "{answered} queries returned data: {names:?}"
    );
}

#[test]
fn numbers_from_prometheus_are_those_of_range() {
    let Some(server) = Server::start() else {
        return;
    };
    fill(&server);
    let Some(prometheus) = filled(&server, &NODES) else {
        return;
    };
    // Title, index of the query, metric, family, field, factor.
    let hosts = [
        ("CPU load", 0, "cpu.load", "", "avg", 1.0),
        ("CPU load, peak", 0, "cpu.load", "", "max", 1.0),
        ("Busiest cores", 0, "cpu.load@1", "", "avg", 1.0),
        ("Load average", 1, "load.15m", "", "avg", 1.0),
        (
            "Memory available, swap in use",
            1,
            "swap.used",
            "",
            "max",
            1.0,
        ),
        (
            "File systems in use",
            0,
            "disk.used.percent@/var/lib",
            "",
            "max",
            1.0,
        ),
        (
            "Bytes read and written",
            1,
            "disk.write.bytes@sda",
            "",
            "avg",
            1.0,
        ),
        ("Disk busy", 0, "disk.busy@nvme0n1", "", "avg", 0.001),
        ("Network errors", 1, "net.tx.errors@eth0", "", "avg", 1.0),
    ];
    let any = [
        ("Average", 0, "net.rx.bytes@lo", "net_rx_bytes", "avg", 1.0),
        (
            "Last value",
            0,
            "net.rx.bytes@lo",
            "net_rx_bytes",
            "last",
            1.0,
        ),
        ("Sum", 0, "net.rx.bytes@lo", "net_rx_bytes", "sum", 1.0),
        (
            "Samples",
            0,
            "net.rx.bytes@lo",
            "net_rx_bytes",
            "count",
            1.0,
        ),
    ];
    for (name, rows) in DASHBOARDS.into_iter().zip([&hosts[..], &any[..]]) {
        let dashboard = Dashboard::read(name);
        for (queue, window, count) in [("MIN", "300s", WINDOWS as usize), ("HOUR", "3600s", 1)] {
            for &(title, index, metric, family, field, factor) in rows {
                let chosen = [("metric", family), ("window", window)];
                let values = choose(&dashboard, &prometheus, &chosen);
                let queries = dashboard.queries();
                let mut of_panel = queries.iter().filter(|(of, _)| *of == title);
                let text = render(of_panel.nth(index).unwrap().1, &values);
                for node in NODES {
                    let windows = range(&server, node, metric, queue);
                    assert_eq!(windows.len(), count, "{metric}");
                    let series = match metric.split_once('@') {
                        Some((_, instance)) => format!("{instance} {node}"),
                        None => node.to_owned(),
                    };
                    for window in windows {
                        let expected = window.fields[field] * factor;
                        // After its end until the next one ends.
                        for later in [1000, window.end - window.start - 1000] {
                            let found = result(&prometheus, &text, window.end + later);
                            let point = found.get(&series).copied().unwrap_or(f64::NAN);
                            let difference = (point - expected).abs();
                            assert!(
                                difference <= 1e-9 * expected.abs(),
                                "{title}, {series}: {point}, {window:?}"
                            );
                        }
                    }
                }
            }
        }
    }
}
