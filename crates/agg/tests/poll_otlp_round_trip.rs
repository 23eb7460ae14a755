//! A window that goes by OTLP from `agg poll` to `agg listen` and so to another server has the same numbers there.

use redis::Value as Reply;
use serde_json::Value;

use crate::listen::Listener;
use crate::support::place::{Place, end, settings, until_empty};
use crate::support::{Server, of_queue, past_hour, until};

/// The length of a window, ms.
const WINDOW: i64 = 300_000;

/// The ratio of the bounds of a bucket: both servers have histograms of scale 5.
const BUCKET: f64 = 1.022;

/// Reports values to `ms` and a growing total to `hits`, in two windows; a third one closes them. Returns the records of
/// the two windows.
fn report(source: &Server) -> Vec<Value> {
    let mut connection = source.connection();
    let start = past_hour();
    for window in 0..3 {
        let mut pipe = redis::pipe();
        for n in 0..200_i64 {
            let at = start + window * WINDOW + n * 1000;
            // From -2 to some 1,000, most of them small, and zeros.
            let value = match n % 10 {
                0 => 0.0,
                1 => -2.0 / (n as f64),
                _ => (n as f64 * 0.035).exp() * (1.0 + window as f64) + 0.125,
            };
            let stat = |metric: &str, value: f64, words: &[&str]| {
                let mut command = redis::cmd("AGG.STAT");
                command
                    .arg("web1")
                    .arg(metric)
                    .arg(value)
                    .arg(words)
                    .arg("AT")
                    .arg(at);
                command
            };
            pipe.add_command(stat("ms@a", value, &["HIST", "TAGS", "unit:ms"]));
            pipe.add_command(stat("hits", (window * 1000 + n * 3) as f64, &["DIFF"]));
        }
        let _: Vec<i64> = pipe.query(&mut connection).unwrap();
    }
    until("the windows close", || {
        (of_queue(source, "web1", "MIN", "length") >= 4).then_some(())
    });
    source.peek("web1", "MIN")
}

#[test]
fn window_has_the_same_numbers_at_another_server() {
    let (Some(source), Some(hub)) = (Server::start(), Server::start()) else {
        return;
    };
    for server in [&source, &hub] {
        server.ask::<()>("CONFIG SET agg.hist-records yes");
    }
    let expected = report(&source);
    let listener = Listener::with(&hub.url(), "--otlp 127.0.0.1:0");
    let url = format!("http://{}", listener.address("otlp", "HTTP"));
    let place = Place::new(&settings(
        &source,
        &format!(
            "[[route]]\nqueues = [\"MIN\"]\nsinks = [\"otel\"]\n[sink.otel]\ntype = \"otlp\"\nurl = \"{url}\"\n"
        ),
    ));
    let running = place.start();
    until_empty(&source, &["web1"], "MIN");
    // A point has the time of the end of its window, so it is in the next window of the other server. Only the first of two
    // windows is closed there.
    let first = expected
        .iter()
        .map(|record| record["start"].as_i64().unwrap())
        .min();
    let first: Vec<&Value> = expected
        .iter()
        .filter(|record| record["start"].as_i64() == first)
        .collect();
    assert_eq!(first.len(), 2);
    for record in first {
        let metric = record["metric"]
            .as_str()
            .unwrap()
            .split('@')
            .next()
            .unwrap();
        let received = |field: &str| {
            let beginning = format!("{metric}.{field}@");
            until("the window is closed", || {
                let records = hub.peek("n1", "MIN").into_iter();
                records
                    .into_iter()
                    .find(|record| record["metric"].as_str().unwrap().starts_with(&beginning))
            })
        };
        for field in ["avg", "min", "max", "last", "p50", "p90", "p95", "p99"] {
            if record.get(field).is_some() {
                let found = received(field);
                assert_eq!(found["type"], "ABS");
                assert_eq!(
                    found["last"].as_f64(),
                    record[field].as_f64(),
                    "{metric}.{field}"
                );
                assert_eq!(found["start"], record["end"]);
            }
        }
        for (field, kind) in [
            ("sum", if metric == "hits" { "INC" } else { "ABS" }),
            ("count", "INC"),
        ] {
            let found = received(field);
            assert_eq!(
                (&found["type"], found["count"].as_i64()),
                (&kind.into(), Some(1))
            );
            assert_eq!(
                found["sum"].as_f64(),
                record[field].as_f64(),
                "{metric}.{field}"
            );
        }
        if record.get("hist").is_none() {
            assert_eq!(metric, "hits");
            continue;
        }
        let found = received("hist");
        for field in ["count", "sum", "min", "max"] {
            assert_eq!(
                found[field].as_f64(),
                record[field].as_f64(),
                "hist: {field}"
            );
        }
        assert_eq!(found["hist"], record["hist"]);
        for field in ["p50", "p90", "p95", "p99"] {
            let (found, sent) = (
                found[field].as_f64().unwrap(),
                record[field].as_f64().unwrap(),
            );
            assert!(
                (found / sent).max(sent / found) <= BUCKET,
                "{field}: {found} {sent}"
            );
        }
        assert_eq!(found["tags"]["unit"], "ms");
    }
    let objects: Reply = hub.ask("AGG.PEEK n1 REALITY COUNT 10");
    assert!(format!("{objects:?}").contains("service.instance.id"));
    assert!(place.lines("dead").is_empty());
    end(running);
}
