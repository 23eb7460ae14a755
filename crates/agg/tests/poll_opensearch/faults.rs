//! A server that is down, slow or busy, loses replies of daily indexes, or limits requests: all is stored, once. The suite of
//! all sinks has the other faults.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::place::{end, log, until_empty, until_retried};
use crate::support::stub::{Request, Stub};
use crate::support::{Running, Server, until};

use super::{assert_once, ids, parts, place};

#[test]
fn response_that_is_lost_repeats_no_document_of_a_daily_index() {
    let Some((source, target)) = parts() else {
        return;
    };
    let place = place(
        &source,
        &target.url(),
        "batch-lines = 300\nindex-by = \"day\"",
    );
    let mut running = place.start();
    let mut errors = running.errors();
    let mut all = log(&source, &["n1"], 500, "x");
    until_empty(&source, &["n1"], "LOG");
    for _ in 0..3 {
        target.proxy.lose_replies(true);
        let before = target.all("agg-logs-2*").len();
        all.extend(log(&source, &["n1", "n2"], 1000, "x"));
        until("the server stores", || {
            (target.all("agg-logs-2*").len() > before).then_some(())
        });
        target.proxy.cut();
        target.proxy.lose_replies(false);
        until_retried(&mut errors, "sink db: ");
        target.proxy.repair();
        until_empty(&source, &["n1", "n2"], "LOG");
        let stored = ids(&target, "agg-logs-2*");
        assert_eq!(stored.len(), all.len());
        assert_eq!(BTreeSet::from_iter(stored), all);
    }
    assert!(place.lines("dead").is_empty());
    end(running);
}

#[test]
fn server_that_is_down_is_waited_for_and_gets_its_templates_again() {
    let Some((source, mut target)) = parts() else {
        return;
    };
    target.stop();
    let place = place(&source, &target.url(), "");
    let mut running = place.start();
    let mut errors = running.errors();
    log(&source, &["n1"], 500, "x");
    until_retried(&mut errors, "sink db: ");
    target.restart();
    until_empty(&source, &["n1"], "LOG");
    // It lost everything.
    target.stop();
    let all = log(&source, &["n1"], 500, "x");
    until_retried(&mut errors, "sink db: ");
    target.restart();
    until_empty(&source, &["n1"], "LOG");
    assert_once(&target, &all);
    let mappings = target.get("agg-logs/_mapping");
    let message = &mappings["agg-logs"]["mappings"]["properties"]["message"];
    assert_eq!(message, &json!({ "type": "text" }));
    assert!(place.lines("dead").is_empty());
    end(running);
}

/// The server is a stub: a real one is busy at no wish.
#[test]
fn busy_server_gets_again_only_what_it_did_not_take() {
    let Some(source) = Server::start() else {
        return;
    };
    let stored: &'static Mutex<Vec<String>> = Box::leak(Box::default());
    let stub = Stub::start(move |_, request: &Request| {
        let body = &request.body;
        assert_eq!(request.authorization, "ApiKey s3cret");
        if request.path.starts_with("/_bulk") {
            let actions: Vec<&str> = body.lines().step_by(2).collect();
            let mut items = Vec::new();
            for (at, action) in actions.iter().enumerate() {
                // It takes the first hundred.
                items.push(if at < 100 {
                    stored.lock().unwrap().push((*action).to_owned());
                    json!({ "create": { "status": 201 } })
                } else {
                    let error = json!({ "type": "rejected_execution_exception", "reason": "queue is full" });
                    json!({ "create": { "status": 429, "error": error } })
                });
            }
            return (
                200,
                "",
                json!({ "errors": true, "items": items }).to_string(),
            );
        }
        let version = json!({ "number": "8.15.0", "build_flavor": "default" });
        match &*request.path {
            "/" => (
                200,
                "",
                json!({ "cluster_name": "c", "version": version }).to_string(),
            ),
            _ if body.is_empty() => (404, "", "{}".into()),
            _ => {
                assert!(body.contains("\"flattened\""), "{body}");
                (200, "", "{\"acknowledged\":true}".into())
            }
        }
    });
    let all = log(&source, &["n1"], 500, "x");
    let place = place(
        &source,
        &stub.url,
        "token-env = \"TEST_TOKEN\"\nwriters = 1",
    );
    let mut running = Running::start(place.command("poll").env("TEST_TOKEN", "s3cret"));
    until_empty(&source, &["n1"], "LOG");
    let stored = stored.lock().unwrap().clone();
    assert_eq!(stored.len(), all.len());
    assert_eq!(BTreeSet::from_iter(stored).len(), all.len());
    assert_eq!(running.end_by("TERM").code(), Some(0));
    assert!(place.lines("dead").is_empty());
}

#[test]
fn slow_server_repeats_no_document_and_keeps_the_newest_state() {
    let Some((source, target)) = parts() else {
        return;
    };
    source.ask::<()>("CONFIG SET agg.error-interval-ms 1000");
    let is_slow: &'static AtomicBool = Box::leak(Box::new(true.into()));
    let pass = target.pass();
    // It stores what it gets, and replies too late.
    let stub = Stub::start(move |_, request| {
        let answer = pass(request);
        if request.path.starts_with("/_bulk") && is_slow.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_secs(3));
        }
        answer
    });
    let place = place(&source, &stub.url, "timeout = \"1s\"");
    let mut running = place.start();
    let mut errors = running.errors();
    let report = || {
        let report: [&[u8]; 3] = [b"AGG.ERROR", b"n1", b"disk sda: read failed"];
        let (_, occurrences): (String, i64) = source.send(&report);
        source.ask::<redis::Value>(&format!("AGG.REALITY n1 disk Disk {occurrences}"));
        occurrences
    };
    report();
    let all = log(&source, &["n1"], 1000, "x");
    until_retried(&mut errors, "sink db: no response: nothing within 1s");
    until("it has stored all", || {
        (target.all("agg-logs").len() == all.len()).then_some(())
    });
    report();
    let last = report();
    is_slow.store(false, Ordering::SeqCst);
    for queue in ["LOG", "ERROR", "REALITY"] {
        until_empty(&source, &["n1"], queue);
    }
    assert_once(&target, &all);
    for (index, field) in [("agg-errors", "occurrences"), ("agg-reality", "json")] {
        until("the newest state is stored", || {
            let found = target.all(index);
            assert_eq!(found.len(), 1);
            (found[0]["_source"][field] == last).then_some(())
        });
    }
    assert!(place.lines("dead").is_empty());
    end(running);
}

#[test]
fn batch_that_is_too_large_is_halved_down_to_the_record() {
    const LIMIT: usize = 4000;
    let Some((source, target)) = parts() else {
        return;
    };
    let pass = target.pass();
    let stub = Stub::start(move |_, request| match request.body.len() > LIMIT {
        true => (413, "", "Request size exceeded".into()),
        false => pass(request),
    });
    let huge = "x".repeat(LIMIT);
    for n in 0..200 {
        let text = if n == 77 { huge.clone() } else { n.to_string() };
        source.send::<i64>(&[b"AGG.LOG", b"n1", text.as_bytes()]);
    }
    let place = place(&source, &stub.url, "templates = false");
    let running = place.start();
    until_empty(&source, &["n1"], "LOG");
    assert_eq!(target.all("agg-logs").len(), 199);
    let dead = place.lines("dead");
    assert_eq!(dead.len(), 1);
    let letter: Value = serde_json::from_str(&dead[0]).unwrap();
    assert_eq!(letter["reason"], "HTTP 413: Request size exceeded");
    assert_eq!(letter["record"]["message"], *huge);
    end(running);
}
