//! `agg poll` with real receivers of OTLP, a decoder of another project and `agg listen`: what metrics and logs look like,
//! that no record is lost, and what is sent again after a fault. A stub has the faults that they do not have on demand.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use crate::listen::Listener;
use crate::support::oteltap::Oteltap;
use crate::support::place::{
    Id, Place, end, log, names, settings, until_empty, until_retried, windows,
};
use crate::support::stub::Stub;
use crate::support::{Server, ask, of_queue, past_hour, records, until};

/// Returns a poller that drains all queues into a receiver, with more keys of its sink.
pub fn place(server: &Server, url: &str, more: &str) -> Place {
    let sink = format!("[sink.out]\ntype = \"otlp\"\nurl = \"{url}\"\ntimeout = \"2s\"\n{more}\n");
    let route = "[[route]]\nqueues = [\"MIN\", \"HOUR\", \"LOG\", \"ERROR\", \"REALITY\"]\nsinks = [\"out\"]\n";
    Place::new(&settings(server, &format!("{route}{sink}")))
}

/// Returns the attributes of a point or a log record.
fn attributes(of: &Value) -> BTreeMap<String, Value> {
    let pairs = of["attributes"].as_array().unwrap().iter();
    pairs
        .map(|pair| {
            let value = pair["value"].as_object().unwrap().values().next();
            (
                pair["key"].as_str().unwrap().to_owned(),
                value.unwrap().clone(),
            )
        })
        .collect()
}

/// Returns a number, which is a string if it has 64 bits.
fn number(value: &Value) -> f64 {
    match value {
        Value::String(text) => text.parse().unwrap(),
        value => value.as_f64().unwrap(),
    }
}

#[test]
fn windows_become_metrics() {
    let (Some(server), Some(tap)) = (Server::start(), Oteltap::start()) else {
        return;
    };
    let mut connection = server.connection();
    for (name, value) in [("agg.hist-records", "yes"), ("agg.percentiles", "50 99.9")] {
        let words: [&[u8]; 4] = [b"CONFIG", b"SET", name.as_bytes(), value.as_bytes()];
        server.send::<()>(&words);
    }
    let start = past_hour();
    for (n, value) in [0.5, -3.0, 0.0, 1e9, 7.25].into_iter().enumerate() {
        let at = start + n as i64;
        let _: i64 = ask(
            &mut connection,
            &format!("AGG.STAT n1 ms@a {value} HIST AT {at} TAGS unit:ms"),
        );
        let total = 100 + 10 * n;
        let at = start + 1000 * n as i64;
        let _: i64 = ask(
            &mut connection,
            &format!("AGG.STAT n1 hits {total} DIFF AT {at}"),
        );
    }
    // Closes the windows.
    let at = start + 300_000;
    for line in [
        format!("AGG.STAT n1 ms@a 1 HIST AT {at}"),
        format!("AGG.STAT n1 hits 140 DIFF AT {at}"),
    ] {
        let _: i64 = ask(&mut connection, &line);
    }
    until("the windows close", || {
        (of_queue(&server, "n1", "MIN", "length") >= 2).then_some(())
    });
    let expected = records(&server.ask::<redis::Value>("AGG.PEEK n1 MIN COUNT 10000"));
    assert!(expected.iter().any(|record| !record["hist"].is_null()));
    let place = place(&server, &tap.url(), "gzip = false");
    let running = place.start();
    until_empty(&server, &["n1"], "MIN");
    let mut found: BTreeMap<(String, u64, String), Value> = BTreeMap::new();
    for metric in tap.received() {
        let (kind, data) = ["gauge", "sum", "exponentialHistogram"]
            .iter()
            .find_map(|kind| {
                metric
                    .get(*kind)
                    .filter(|data| !data.is_null())
                    .map(|data| (*kind, data))
            })
            .unwrap();
        if kind != "gauge" {
            assert_eq!(data["aggregationTemporality"], 1);
        }
        let point = data["dataPoints"][0].clone();
        let of = attributes(&point);
        let name = metric["name"].as_str().unwrap().to_owned();
        let window = of["window"].as_str().unwrap().to_owned();
        let nanoseconds = number(&point["startTimeUnixNano"]);
        let key = (name, nanoseconds as u64 / 1_000_000, window);
        assert!(found.insert(key, point).is_none());
    }
    let mut count = 0;
    for record in expected {
        let metric = record["metric"].as_str().unwrap();
        let (name, instance) = metric.split_once('@').unwrap_or((metric, ""));
        let start = record["start"].as_u64().unwrap();
        let window = format!("{}s", record["window"]);
        let point = |suffix: &str| {
            let key = (format!("{name}.{suffix}"), start, window.clone());
            found.get(&key).unwrap_or_else(|| panic!("{key:?}"))
        };
        for field in ["avg", "min", "max", "last", "sum", "p50", "p99_9"] {
            let Some(value) = record[field].as_f64() else {
                continue;
            };
            count += 1;
            assert_eq!(
                point(field)["asDouble"].as_f64(),
                Some(value),
                "{metric} {field}"
            );
        }
        count += 1;
        let of_count = point("count");
        assert_eq!(
            number(&of_count["asInt"]),
            record["count"].as_f64().unwrap()
        );
        let of = attributes(of_count);
        assert_eq!(
            of.get("instance")
                .and_then(Value::as_str)
                .unwrap_or_default(),
            instance
        );
        assert!(!of.contains_key("unit"));
        if let Value::Object(hist) = &record["hist"] {
            count += 1;
            let point = point("hist");
            assert_eq!(number(&point["count"]), record["count"].as_f64().unwrap());
            assert_eq!(number(&point["scale"]), hist["scale"].as_f64().unwrap());
            assert_eq!(number(&point["zeroCount"]), hist["zero"].as_f64().unwrap());
            for (side, of_record) in [("positive", "pos"), ("negative", "neg")] {
                let counts: Vec<f64> = match &point[side]["bucketCounts"] {
                    Value::Array(counts) => counts.iter().map(number).collect(),
                    _ => Vec::new(),
                };
                let expected: Vec<f64> = hist[of_record][1]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(number)
                    .collect();
                assert_eq!(counts, expected, "{side}");
                if !expected.is_empty() {
                    assert_eq!(number(&point[side]["offset"]), number(&hist[of_record][0]));
                }
            }
        }
    }
    assert_eq!(found.len(), count);
    assert!(place.lines("dead").is_empty());
    end(running);
}

#[test]
fn other_records_become_logs() {
    let (Some(server), Some(tap)) = (Server::start(), Oteltap::start()) else {
        return;
    };
    for text in ["plain", "\u{1f600} \"'\\", "a\r\n\tb\u{1}"] {
        server.send::<i64>(&[
            b"AGG.LOG",
            b"n1",
            text.as_bytes(),
            b"LEVEL",
            b"5",
            b"TAGS",
            b"a.b:1",
        ]);
        server.send::<(String, i64)>(&[b"AGG.ERROR", b"n1", text.as_bytes(), b"CODE", b"c7"]);
    }
    server.send::<redis::Value>(&[
        b"AGG.REALITY",
        b"n1",
        b"disk/0",
        b"Disk",
        b"{\"a\":[1.50,null]}",
    ]);
    let queues = ["LOG", "ERROR", "REALITY"];
    let expected = queues.map(|queue| {
        let command = format!("AGG.PEEK n1 {queue} COUNT 100");
        records(&server.ask::<redis::Value>(&command))
    });
    let place = place(&server, &tap.url(), "gzip = false");
    let running = place.start();
    for queue in queues {
        until_empty(&server, &["n1"], queue);
    }
    let mut found: BTreeMap<(String, i64), Value> = BTreeMap::new();
    for record in tap.received() {
        let of = attributes(&record);
        let queue = of["aggregator.queue"].as_str().unwrap().to_owned();
        let key = (queue, number(&of["aggregator.id"]) as i64);
        assert!(found.insert(key, record).is_none());
    }
    let mut count = 0;
    for record in expected.iter().flatten() {
        count += 1;
        let queue = record["queue"].as_str().unwrap();
        let key = (queue.to_owned(), record["id"].as_i64().unwrap());
        let log = &found[&key];
        let body = log["body"]["stringValue"].as_str().unwrap();
        let of = attributes(log);
        let time = match queue {
            "LOG" => {
                assert_eq!(body, record["message"]);
                assert_eq!(
                    (&log["severityText"], &log["severityNumber"]),
                    (&"WARNING".into(), &13.into())
                );
                assert_eq!(of["a.b"], "1");
                &record["epoch"]
            }
            "ERROR" => {
                assert_eq!(body, record["message"]);
                assert_eq!(log["eventName"], "aggregator.error");
                assert_eq!(of["aggregator.code"], "c7");
                assert_eq!(of["aggregator.key"], record["key"]);
                &record["last"]
            }
            _ => {
                assert_eq!(body, "{\"a\":[1.50,null]}");
                assert_eq!(
                    (&of["aggregator.key"], &of["aggregator.model"]),
                    (&"disk/0".into(), &"Disk".into())
                );
                &record["epoch"]
            }
        };
        assert_eq!(number(&log["timeUnixNano"]), time.as_f64().unwrap() * 1e6);
    }
    assert_eq!(found.len(), count);
    end(running);
}

/// Returns the identities of the log entries that a server has received from agg listen.
pub fn relayed(hub: &Server) -> Vec<Id> {
    let reply: redis::Value = hub.ask("AGG.PEEK n1 LOG COUNT 10000");
    let all = records(&reply).into_iter();
    all.map(|record| {
        let id = record["tags"]["aggregator.id"].as_str().unwrap();
        ("n1".to_owned(), "LOG".to_owned(), id.parse().unwrap())
    })
    .collect()
}

#[test]
fn records_reach_another_server_by_agg_listen() {
    let (Some(server), Some(hub)) = (Server::start(), Server::start()) else {
        return;
    };
    let listener = Listener::with(&hub.url(), "--otlp 127.0.0.1:0");
    let url = format!("http://{}", listener.address("otlp", "HTTP"));
    let place = place(&server, &url, "batch-lines = 300");
    let mut running = place.start();
    let mut all = log(&server, &["n1"], 1500, "x");
    // A poller that is killed while it writes.
    running.signal("KILL");
    running.wait();
    let running = place.start();
    all.extend(log(&server, &["n1"], 500, "y"));
    until_empty(&server, &["n1"], "LOG");
    let found = until("all records are there", || {
        let found = relayed(&hub);
        (BTreeSet::from_iter(found.iter().cloned()) == all).then_some(found)
    });
    assert!(found.len() >= all.len());
    assert!(place.lines("dead").is_empty());
    end(running);
}

#[test]
fn failure_of_logs_does_not_repeat_metrics() {
    let Some(server) = Server::start() else {
        return;
    };
    let expected = windows(&server, "n1", &names(10)) + 10;
    until("the hour closes", || {
        (of_queue(&server, "n1", "HOUR", "length") == 10).then_some(())
    });
    let all = log(&server, &["n1"], 500, "x");
    let is_up = Arc::new(AtomicBool::new(false));
    let logs = is_up.clone();
    let stub = Stub::start(move |_, request| match &*request.path {
        "/v1/logs" if !logs.load(Ordering::Relaxed) => (503, "Retry-After: 1\r\n", String::new()),
        _ => (
            200,
            "Content-Type: application/x-protobuf\r\n",
            String::new(),
        ),
    });
    let place = place(&server, &stub.url, "headers = { x-api-key = \"k\" }");
    let mut running = place.start();
    let mut errors = running.errors();
    until_retried(&mut errors, "HTTP 503");
    until("it is retried more than once", || {
        let requests = stub.requests().into_iter();
        (requests
            .filter(|request| request.path == "/v1/logs")
            .count()
            > 2)
        .then_some(())
    });
    is_up.store(true, Ordering::Relaxed);
    for queue in ["MIN", "HOUR", "LOG"] {
        until_empty(&server, &["n1"], queue);
    }
    let requests = stub.requests();
    let names: usize = requests
        .iter()
        .filter(|request| request.path == "/v1/metrics")
        .map(|request| request.body.matches(".avg").count())
        .sum();
    assert_eq!(names, expected);
    let stored = requests
        .iter()
        .filter(|request| request.path == "/v1/logs")
        .skip(1);
    assert!(
        stored
            .map(|request| request.body.matches("aggregator.id").count())
            .sum::<usize>()
            >= all.len()
    );
    assert!(requests.iter().all(|request| {
        request
            .head
            .iter()
            .any(|line| line.to_lowercase() == "x-api-key: k")
    }));
    let pause = requests.windows(2).map(|two| two[1].at - two[0].at).max();
    assert!(pause.unwrap().as_millis() >= 900, "{pause:?}");
    end(running);
}

/// The message of a partial success that rejects one log record.
const PARTIAL: &str = "\u{a}\u{7}\u{8}\u{1}\u{12}\u{3}bad";

#[test]
fn partial_success_makes_its_request_dead_letters_once() {
    let Some(server) = Server::start() else {
        return;
    };
    let protobuf = "Content-Type: application/x-protobuf\r\n";
    let stub = Stub::start(move |_, request| match request.body.contains("partial") {
        true => (200, protobuf, PARTIAL.into()),
        false => (200, protobuf, String::new()),
    });
    log(&server, &["n1"], 500, "x");
    let place = place(&server, &stub.url, "");
    let running = place.start();
    until_empty(&server, &["n1"], "LOG");
    // It does not say which record is rejected.
    let partial = server.send::<i64>(&[b"AGG.LOG", b"n1", b"partial"]);
    until_empty(&server, &["n1"], "LOG");
    let dead = place.lines("dead");
    assert_eq!(dead.len(), 1, "{dead:?}");
    assert!(
        dead[0].contains(&partial.to_string())
            && dead[0].contains("the server rejected 1 log records"),
        "{dead:?}"
    );
    let sent: usize = stub
        .requests()
        .iter()
        .map(|request| request.body.matches("partial").count())
        .sum();
    assert_eq!(sent, 1);
    end(running);
}
