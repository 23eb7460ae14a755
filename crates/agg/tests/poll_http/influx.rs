//! InfluxDB 3.x and VictoriaMetrics.
//!
//! VictoriaMetrics is real. InfluxDB 3.x is a mock that answers as the documentation of its API says:
//! <https://docs.influxdata.com/influxdb3/core/write-data/http-api/v3-write-lp/>.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};
use wiremock::{Mock, MockServer, Respond, ResponseTemplate, matchers};

use crate::support::place::{Place, influx, left, names, settings, until_empty, windows};
use crate::support::stub::gunzip;
use crate::support::victoria::Victoria;
use crate::support::{Running, Server, until};

/// A mock server and what drives it.
struct Mocked {
    runtime: tokio::runtime::Runtime,
    server: MockServer,
}

impl Mocked {
    fn start(answer: impl Respond + 'static) -> Mocked {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_all().build().unwrap();
        let server = runtime.block_on(async {
            let server = MockServer::builder().start().await;
            let mock = Mock::given(matchers::method("POST")).respond_with(answer);
            mock.mount(&server).await;
            server
        });
        Mocked { runtime, server }
    }

    fn requests(&self) -> Vec<wiremock::Request> {
        let requests = self.server.received_requests();
        self.runtime.block_on(requests).unwrap()
    }
}

fn text(request: &wiremock::Request) -> String {
    assert_eq!(request.headers["content-encoding"], "gzip");
    String::from_utf8(gunzip(&request.body)).unwrap()
}

#[test]
fn influxdb_3_names_the_invalid_lines_and_only_they_become_dead_letters() {
    let Some(server) = Server::start() else {
        return;
    };
    let mut metrics = names(60);
    metrics.push("poison".into());
    let count = windows(&server, "n1", &metrics);
    let before = AtomicUsize::new(0);
    let mock = Mocked::start(move |request: &wiremock::Request| {
        let body = text(request);
        match before.fetch_add(1, Ordering::Relaxed) {
            0 => return ResponseTemplate::new(429).insert_header("Retry-After", "1"),
            1 => {
                // Dates are whole seconds.
                let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(2));
                return ResponseTemplate::new(503).insert_header("Retry-After", &*date);
            }
            _ => {}
        }
        let bad = body.lines().enumerate();
        let bad = bad.filter(|(_, line)| line.starts_with("poison"));
        let bad = bad.map(|(at, line)| {
            json!({
                "original_line": line,
                "line_number": at + 1,
                "error_message": "invalid column type for column 'avg'",
            })
        });
        let data: Vec<Value> = bad.collect();
        if data.is_empty() {
            return ResponseTemplate::new(204);
        }
        let error = "partial write of line protocol occurred";
        ResponseTemplate::new(400).set_body_json(json!({"error": error, "data": data}))
    });
    let rest = influx(
        &mock.server.uri(),
        "version = 3\ndatabase = \"grid & co\"\ntoken-env = \"TEST_TOKEN\"",
    );
    let place = Place::new(&settings(&server, &rest));
    let start = Instant::now();
    let mut running = Running::start(place.command("poll").env("TEST_TOKEN", "t0ken"));
    until_empty(&server, &["n1"], "MIN");
    assert!(
        start.elapsed() >= Duration::from_secs(2),
        "it waits as asked"
    );
    assert_eq!(running.end_by("TERM").code(), Some(0));
    let requests = mock.requests();
    let mut stored = BTreeSet::new();
    for request in &requests {
        assert_eq!(request.url.path(), "/api/v3/write_lp");
        assert_eq!(
            request.url.query().unwrap(),
            "db=grid%20%26%20co&precision=nanosecond&accept_partial=true"
        );
        assert_eq!(request.headers["authorization"], "Bearer t0ken");
        stored.extend(text(request).lines().map(str::to_owned));
    }
    assert_eq!(stored.len(), count);
    // Two that were rejected, one whose answer names the lines, and one with the others.
    assert!(requests.len() <= 6, "{}", requests.len());
    let dead = place.lines("dead");
    assert_eq!(dead.len(), 2);
    for line in dead {
        let letter: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(
            letter["reason"],
            "HTTP 400: invalid column type for column 'avg'"
        );
        assert!(letter["line"].as_str().unwrap().starts_with("poison,"));
    }
}

#[test]
fn wrong_request_creates_no_dead_letters() {
    let Some(server) = Server::start() else {
        return;
    };
    let count = windows(&server, "n1", &names(100));
    let wrong = Arc::new(AtomicBool::new(true));
    let asked = wrong.clone();
    let mock = Mocked::start(
        move |_: &wiremock::Request| match asked.load(Ordering::Relaxed) {
            true => ResponseTemplate::new(400)
                .set_body_json(json!({"error": "invalid database name: '_x'"})),
            false => ResponseTemplate::new(204),
        },
    );
    let rest = influx(&mock.server.uri(), "version = 3\ndatabase = \"_x\"");
    let place = Place::new(&settings(&server, &rest));
    let mut running = place.start();
    let said = running.errors().next().unwrap();
    assert!(
        said.ends_with(
            "all records are rejected and none is named, so the request is probably wrong: \
             HTTP 400: invalid database name: '_x'; retrying"
        ),
        "{said}"
    );
    let first = mock.requests().len();
    assert!(first < 40, "{first} requests to find out");
    assert_eq!(left(&server, &["n1"], "MIN") as usize, count);
    wrong.store(false, Ordering::Relaxed);
    until_empty(&server, &["n1"], "MIN");
    assert_eq!(running.end_by("TERM").code(), Some(0));
    assert_eq!(place.lines("dead"), [""; 0]);
}

/// A real server.
#[test]
fn victoria_metrics_stores_the_statistics() {
    let (Some(server), Some(victoria)) = (Server::start(), Victoria::start()) else {
        return;
    };
    // It has no databases.
    let place = Place::new(&settings(
        &server,
        &influx(&victoria.url(), "database = \"\""),
    ));
    let mut metrics = names(50);
    metrics.push("cpu.load@0".into());
    windows(&server, "n1", &metrics);
    let mut running = place.start();
    until_empty(&server, &["n1"], "MIN");
    let series = until("it can be queried", || {
        let series = victoria.export(r#"{node="n1",window="300s"}"#);
        (series.len() == 51 * 6).then_some(series)
    });
    let load = series.iter().find(|series| {
        let labels = &series["metric"];
        labels["__name__"] == "cpu.load_avg" && labels["instance"] == "0"
    });
    let load = load.unwrap();
    assert_eq!(load["values"], json!([1.5, 1.5]));
    assert_eq!(
        load["timestamps"][1].as_i64().unwrap() - load["timestamps"][0].as_i64().unwrap(),
        300_000
    );
    assert_eq!(running.end_by("TERM").code(), Some(0));
    assert_eq!(place.lines("dead"), [""; 0]);
}
