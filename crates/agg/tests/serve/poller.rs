//! `[serve]` in the configuration of `agg poll`: the live values beside the status page.

use std::collections::BTreeSet;

use redis::Value;

use super::values::fill;
use super::{Serve, count, value};
use crate::support::place::{ALL_TO_FILE, Place, log, settings, until_empty};
use crate::support::prometheus::Prometheus;
use crate::support::{Server, err, until};

/// Returns the settings of a poller of all queues to a file, with this at the beginning and the end.
fn with(server: &Server, start: &str, end: &str) -> String {
    let rest = settings(server, ALL_TO_FILE);
    format!("{start}\n{rest}\n{end}\n")
}

/// Replaces the settings of a place.
fn write(place: &Place, settings: &str) {
    let dir = place.path("");
    place.write(&settings.replace("{dir}/", dir.to_str().unwrap()));
}

const LISTEN: &str = "listen = \"127.0.0.1:0\"";

/// Returns the series of the metrics of nodes, and no other.
fn of_metrics(page: &str) -> BTreeSet<&str> {
    let is_own = |line: &&str| {
        let starts = ["#", "agg_", "process_cpu_seconds_total{} "];
        starts.iter().any(|start| line.starts_with(start))
            || line.starts_with("process_start")
            || line.starts_with("process_resident")
    };
    page.lines().filter(|line| !is_own(line)).collect()
}

/// Returns the names of the families of a page.
fn families(page: &str) -> BTreeSet<&str> {
    let types = page.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    types.filter_map(|line| line.split(' ').next()).collect()
}

#[test]
fn poller_serves_the_values_of_agg_serve_while_it_drains() {
    let Some(server) = Server::with_settings("min-window 1200 hour-window 1200") else {
        return;
    };
    fill(&server);
    let place = Place::new(&with(&server, LISTEN, "[serve]"));
    let mut poller = Serve::poll(&place);
    let serve = Serve::start(&format!("--server {}", server.url()));
    let expected = serve.scrape();
    let up = format!("agg_server_up{{server=\"{}\"}}", server.url());
    let page = until("the source has reported the server", || {
        Some(poller.scrape()).filter(|page| value(page, &up) == Some(1.0))
    });
    assert!(of_metrics(&page).len() > 8, "{page}");
    assert_eq!(of_metrics(&page), of_metrics(&expected));
    assert_eq!(value(&page, "agg_serve_series_limit"), Some(100_000.0));
    // The families of the program are on one of its two pages.
    let (status, own) = poller.get("/metrics");
    assert_eq!(status, 200);
    let both: Vec<&str> = families(&own)
        .intersection(&families(&page))
        .copied()
        .collect();
    // A node reports a metric of this name.
    assert_eq!(both, ["process_cpu_seconds_total"]);
    assert_eq!(value(&page, "process_cpu_seconds_total"), None);
    // A range is that of agg serve.
    let query = "/api/range?node=web2&metric=page.time";
    let (status, range) = poller.get(query);
    assert_eq!((status, range), serve.get(query));
    // Draining continues, and scrapes see it.
    let mut ids = BTreeSet::new();
    for _ in 0..4 {
        ids.extend(log(&server, &["web1", "web2"], 1000, "hello"));
        assert!(of_metrics(&poller.scrape()).len() > 8);
    }
    until_empty(&server, &["web1", "web2"], "LOG");
    let stored: BTreeSet<_> = place.ids("out").into_iter().collect();
    assert_eq!(stored, ids);
    let key = format!(
        "agg_node_queue_records{{node=\"web1\",server=\"{}\"}}",
        server.url()
    );
    until("a scrape shows the empty queue", || {
        (value(&poller.scrape(), &key) == Some(0.0)).then_some(())
    });
    assert_eq!(poller.process.end_by("TERM").code(), Some(0));
}

#[test]
fn prometheus_scrapes_both_pages_of_a_poller() {
    let Some(server) = Server::start() else {
        return;
    };
    fill(&server);
    let place = Place::new(&with(&server, LISTEN, "[serve]"));
    let poller = Serve::poll(&place);
    let port = poller.port();
    let jobs = [
        ("agg-poller", port, "/metrics"),
        ("agg-serve", port, "/live"),
    ];
    let Some(prometheus) = Prometheus::scraping_pages(&jobs) else {
        return;
    };
    assert_eq!(prometheus.value("cpu_load_last{node=\"web1\"}"), 12.25);
    assert_eq!(prometheus.value("agg_poller_servers_up"), 1.0);
    for job in ["agg-poller", "agg-serve"] {
        assert_eq!(prometheus.value(&format!("up{{job=\"{job}\"}}")), 1.0);
    }
    // Each family of the program has one job.
    let query = "count by (__name__) (count by (__name__, job) ({__name__=~\"agg_.*|process_.*\",node=\"\"})) > 1";
    let of_both = prometheus.get("query", &[("query", query)]);
    assert_eq!(of_both["result"].as_array().unwrap().len(), 0, "{of_both}");
}

#[test]
fn live_values_change_with_the_configuration() {
    let (Some(server), Some(other)) = (Server::start(), Server::start()) else {
        return;
    };
    let _: Value = server.ask("AGG.MSTAT web1 VALUES x 1 y 2");
    let _: Value = other.ask("AGG.MSTAT db1 VALUES x 3 y 4");
    let both = format!("[[source]]\nurls = [\"{}\"]", other.url());
    let place = Place::new(&with(&server, LISTEN, &both));
    let mut poller = Serve::poll(&place);
    // The address stays: the port is that of the first start.
    for path in ["/live", "/api/range?node=web1&metric=x"] {
        let (status, text) = poller.get(path);
        assert!(
            status == 404 && text.contains("add a table [serve] to the configuration"),
            "{text}"
        );
    }
    let (status, text) = poller.get("/nothing");
    assert!(status == 404 && text.contains("with [serve] /live and /api/range"));
    write(
        &place,
        &with(
            &server,
            LISTEN,
            &format!("{both}\n[serve]\nmetrics = [\"x\"]"),
        ),
    );
    let until_page = |what: &str, is: &dyn Fn(&str) -> bool| {
        until(what, || {
            let (status, page) = poller.get("/live");
            (status == 200 && is(&page)).then_some(page)
        })
    };
    let page = until_page("both servers are served", &|page| {
        count(page, "x_last") == 2
    });
    assert_eq!(count(&page, "y_last"), 0, "{page}");
    // A mistake changes nothing.
    write(
        &place,
        &with(&server, LISTEN, &format!("{both}\n[serve]\nmax-series = 0")),
    );
    until("the mistake is counted", || {
        let (_, own) = poller.get("/metrics");
        let key = "agg_poller_reloads_total{outcome=\"refused\"}";
        (value(&own, key) == Some(1.0)).then_some(())
    });
    assert_eq!(count(&poller.scrape(), "x_last"), 2);
    // One of the servers is left, and other settings.
    write(&place, &with(&server, LISTEN, "[serve]\nmax-series = 50"));
    let page = until_page("one server is left", &|page| {
        count(page, "agg_server_up") == 1
    });
    assert_eq!(value(&page, "agg_serve_series_limit"), Some(50.0));
    assert_eq!(value(&page, "y_last{node=\"web1\"}"), Some(2.0), "{page}");
    write(&place, &with(&server, LISTEN, ""));
    until("nothing is served", || {
        (poller.get("/live").0 == 404).then_some(())
    });
    assert_eq!(poller.process.end_by("TERM").code(), Some(0));
}

#[test]
fn mistakes_in_the_table_are_named() {
    let Some(server) = Server::start() else {
        return;
    };
    let place = Place::new("");
    for (start, table, expected) in [
        (
            "",
            "[serve]",
            vec!["live values need an address: set listen = "],
        ),
        (
            LISTEN,
            "[serve]\nmax-series = 0\nnodes = [\"web[\"]\ntimeout = \"0s\"\nmaxage = \"1h\"",
            vec![
                "expected 1 to 2000000 series",
                "the pattern \"web[\" ends within a [...]",
                "expected more than 0",
                "unknown key `maxage`, did you mean `max-age`?",
            ],
        ),
        // The table is not to blame for an invalid address.
        (
            "listen = \"9777\"",
            "[serve]",
            vec!["expected an address and a port"],
        ),
    ] {
        write(&place, &with(&server, start, table));
        let output = place.command("check").output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{table}");
        let said = err(&output);
        for text in &expected {
            assert!(said.contains(text), "{said}\nexpected {text}");
        }
        assert_eq!(said.lines().count(), expected.len(), "{said}");
        let output = place.command("poll").output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{table}");
    }
    write(&place, &with(&server, LISTEN, "[serve]\nmax-age = \"1m\""));
    let output = place.command("check").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
}
