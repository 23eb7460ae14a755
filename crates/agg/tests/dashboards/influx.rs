//! The dashboards for InfluxDB: a real one, filled by `agg poll`, answers every query, with the numbers of AGG.RANGE.

use std::collections::BTreeMap;

use serde_json::Value;

use super::fixture::{NODES, WINDOWS, Window, base_names, fill, host_reports, range};
use super::{Dashboard, render, variable_query};
use crate::support::influx::InfluxDb;
use crate::support::place::{Place, VERSION_1, influx, left, settings};
use crate::support::{Server, now_ms, until};

const DASHBOARDS: [&str; 2] = ["hosts-influxdb.json", "statistics-influxdb.json"];

/// Drains the windows of a server into a database.
fn drain(server: &Server, database: &InfluxDb, nodes: &[&str]) {
    database.query("CREATE DATABASE grid");
    let text = influx(&database.url(), VERSION_1).replace("\"MIN\"", "\"MIN\", \"HOUR\"");
    let place = Place::new(&settings(server, &text));
    let mut poller = place.start();
    until("the windows are stored", || {
        let left = left(server, nodes, "MIN") + left(server, nodes, "HOUR");
        (left == 0).then_some(())
    });
    assert!(poller.end_by("TERM").success());
    assert_eq!(place.lines("dead"), Vec::<String>::new());
}

/// Returns values for all variables as if a reader had opened the dashboard and chosen this metric and window: "All" where
/// that is possible, else the value, which has to be among those that the database knows.
fn choose(
    dashboard: &Dashboard,
    database: &InfluxDb,
    chosen: &[(&str, &str)],
) -> BTreeMap<String, String> {
    let mut values = BTreeMap::new();
    for variable in dashboard.variables().iter().skip(1) {
        let name = variable["name"].as_str().unwrap();
        let statement = render(variable_query(variable), &values);
        // SHOW TAG VALUES has a column for the key before the value.
        let rows = database.query(&statement);
        let options = rows.iter().filter_map(|row| row.last()?.as_str());
        let options: Vec<&str> = options.collect();
        let wanted = chosen.iter().find(|(of, _)| *of == name);
        let value = match (variable["allValue"].as_str(), wanted) {
            (Some(all), None) => all,
            (_, Some((_, value))) => value,
            (None, None) => panic!("{name} is not chosen"),
        };
        if let Some((_, value)) = wanted {
            assert!(options.contains(value), "{name} {value}: {options:?}");
        }
        values.insert(name.to_owned(), value.to_owned());
    }
    values
}

/// Adds a time range and an interval, as Grafana does.
fn with_times(values: &mut BTreeMap<String, String>, start: i64, end: i64, interval: &str) {
    let filter = format!("time >= {start}ms and time <= {end}ms");
    values.insert("timeFilter".into(), filter);
    values.insert("__interval".into(), interval.into());
}

/// Returns all panels' rendered queries with their titles.
fn rendered(dashboard: &Dashboard, values: &BTreeMap<String, String>) -> Vec<(String, String)> {
    let queries = dashboard.queries().into_iter();
    let queries = queries.map(|(title, text)| (title.to_owned(), render(text, values)));
    queries.collect()
}

#[test]
fn every_query_for_influxdb_returns_data() {
    let (Some(server), Some(database)) = (Server::start(), InfluxDb::start()) else {
        return;
    };
    let start = fill(&server);
    drain(&server, &database, &NODES);
    for name in DASHBOARDS {
        let dashboard = Dashboard::read(name);
        for window in ["300s", "3600s"] {
            for metric in ["cpu.load", "disk.read.bytes", "uptime"] {
                let chosen = [("metric", metric), ("window", window)];
                let mut values = choose(&dashboard, &database, &chosen);
                with_times(&mut values, start, start + 3_600_000, "1m");
                for (title, text) in rendered(&dashboard, &values) {
                    assert!(!database.query(&text).is_empty(), "{name}: {title}: {text}");
                }
            }
        }
    }
}

/// The fixture has all metrics; this machine has those that it has.
#[test]
fn queries_for_influxdb_return_data_of_a_real_machine() {
    let start = now_ms() - 10_000;
    let (Some(server), Some(database)) = (host_reports(), InfluxDb::start()) else {
        return;
    };
    let known = base_names(&server, "web1");
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    drain(&server, &database, &["web1"]);
    let dashboard = Dashboard::read("hosts-influxdb.json");
    let mut values = choose(&dashboard, &database, &[("window", "2s")]);
    with_times(&mut values, start, now_ms() + 60_000, "1s");
    let mut answered = 0;
    for (title, text) in rendered(&dashboard, &values) {
        let metric = text
            .split("FROM \"")
            .nth(1)
            .unwrap()
            .split('"')
            .next()
            .unwrap();
        let is_known = known.contains(&metric);
        assert!(
            !is_known || !database.query(&text).is_empty(),
            "{title}: {text}"
        );
        answered += usize::from(is_known);
    }
    assert!(
        answered >= 15,
        "{answered} queries returned data: {known:?}"
    );
}

/// Returns the points of a query by series and time: of its tags the values, in the order of their names.
fn points(database: &InfluxDb, text: &str) -> BTreeMap<(String, i64), f64> {
    let response = ureq::post(format!("{}/query", database.url())).send_form([
        ("db", "grid"),
        ("epoch", "ms"),
        ("q", text),
    ]);
    let body = response.unwrap().body_mut().read_to_string().unwrap();
    let json: Value = serde_json::from_str(&body).unwrap();
    let mut found = BTreeMap::new();
    for series in json["results"][0]["series"]
        .as_array()
        .into_iter()
        .flatten()
    {
        let tags = series["tags"].as_object().into_iter().flatten();
        let tags: Vec<&str> = tags.map(|(_, value)| value.as_str().unwrap()).collect();
        for row in series["values"].as_array().unwrap() {
            let key = (tags.join(" "), row[0].as_i64().unwrap());
            found.insert(key, row[1].as_f64().unwrap());
        }
    }
    found
}

/// Asserts that a query's points of a series are this field of the windows.
fn assert_equal(
    points: &BTreeMap<(String, i64), f64>,
    series: &str,
    windows: &[Window],
    field: &str,
    factor: f64,
) {
    for window in windows {
        let expected = window.fields[field] * factor;
        let point = points.get(&(series.to_owned(), window.start));
        let point = point.unwrap_or_else(|| panic!("{series} {}: {points:?}", window.start));
        let difference = (point - expected).abs();
        assert!(
            difference <= 1e-9 * expected.abs(),
            "{series}: {point}, {window:?}"
        );
    }
}

#[test]
fn numbers_from_influxdb_are_those_of_range() {
    let (Some(server), Some(database)) = (Server::start(), InfluxDb::start()) else {
        return;
    };
    let start = fill(&server);
    drain(&server, &database, &NODES);
    // Title, index of the query, metric, field, factor.
    let hosts = Dashboard::read("hosts-influxdb.json");
    let shown = [
        ("CPU load", 0, "cpu.load", "avg", 1.0),
        ("CPU load, peak", 0, "cpu.load", "max", 1.0),
        ("Busiest cores", 0, "cpu.load@1", "avg", 1.0),
        ("Load average", 1, "load.15m", "avg", 1.0),
        (
            "Memory available, swap in use",
            0,
            "mem.available",
            "min",
            1.0,
        ),
        (
            "File systems in use",
            0,
            "disk.used.percent@/var/lib",
            "max",
            1.0,
        ),
        (
            "Bytes read and written",
            1,
            "disk.write.bytes@sda",
            "avg",
            1.0,
        ),
        ("Disk busy", 0, "disk.busy@nvme0n1", "avg", 0.001),
        ("Network errors", 1, "net.tx.errors@eth0", "avg", 1.0),
    ];
    let statistics = Dashboard::read("statistics-influxdb.json");
    let of_any = [
        ("Average", 0, "net.rx.bytes@lo", "avg", 1.0),
        ("Last value", 0, "net.rx.bytes@lo", "last", 1.0),
        ("Sum", 0, "net.rx.bytes@lo", "sum", 1.0),
        ("Samples", 0, "net.rx.bytes@lo", "count", 1.0),
    ];
    for (dashboard, rows) in [(&hosts, &shown[..]), (&statistics, &of_any[..])] {
        for (queue, window, interval) in [("MIN", "300s", "300s"), ("HOUR", "3600s", "3600s")] {
            for &(title, index, metric, field, factor) in rows {
                let base = metric.split('@').next().unwrap();
                let chosen = [("metric", base), ("window", window)];
                let mut values = choose(dashboard, &database, &chosen);
                with_times(&mut values, start, start + 3_600_000, interval);
                let queries = rendered(dashboard, &values);
                let mut of_panel = queries.iter().filter(|(of, _)| of == title);
                let (_, text) = of_panel.nth(index).unwrap();
                let points = points(&database, text);
                for node in NODES {
                    let windows = range(&server, node, metric, queue);
                    let expected = if queue == "MIN" { WINDOWS as usize } else { 1 };
                    assert_eq!(windows.len(), expected, "{metric}");
                    let series = match metric.split_once('@') {
                        Some((_, instance)) => format!("{instance} {node}"),
                        None => node.to_owned(),
                    };
                    assert_equal(&points, &series, &windows, field, factor);
                }
            }
        }
    }
    // The latest window of each node, and of these the highest.
    let mut values = choose(&hosts, &database, &[("window", "300s")]);
    with_times(&mut values, start, start + 3_600_000, "1m");
    let queries = rendered(&hosts, &values);
    let (_, text) = queries
        .iter()
        .find(|(of, _)| of == "Highest CPU load")
        .unwrap();
    let latest = NODES.map(|node| range(&server, node, "cpu.load", "MIN").pop().unwrap());
    let highest = latest
        .iter()
        .map(|window| window.fields["avg"])
        .fold(0.0, f64::max);
    assert_eq!(database.query(text)[0][1].as_f64(), Some(highest));
}
