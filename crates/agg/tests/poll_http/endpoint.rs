//! Any endpoint that takes JSON.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use crate::support::place::{Id, Place, left, log, settings, until_empty};
use crate::support::stub::{Answer, Stub};
use crate::support::{Running, Server};

/// Returns settings that send logs to a sink of type http.
fn http(url: &str, more: &str) -> String {
    format!(
        "[[route]]\nqueues = [\"LOG\"]\nsinks = [\"post\"]\n[sink.post]\ntype = \"http\"\n\
         url = \"{url}/in?a=b\"\n{more}\n"
    )
}

fn ids(records: &[Value]) -> Vec<Id> {
    let id = |record: &Value| {
        let text = |field: &str| record[field].as_str().unwrap().to_owned();
        (text("node"), text("queue"), record["id"].as_i64().unwrap())
    };
    records.iter().map(id).collect()
}

#[test]
fn http_endpoint_gets_arrays_and_its_faults_lose_nothing() {
    let Some(server) = Server::start() else {
        return;
    };
    let mut all = log(&server, &["n1", "n2"], 500, "fine");
    let bad: i64 = server.ask("AGG.LOG n1 poison");
    let (stored, kept) = (Arc::new(AtomicUsize::new(0)), Arc::default());
    let (count, keep): (_, Arc<Mutex<Vec<Value>>>) = (stored.clone(), Arc::clone(&kept));
    let stub = Stub::start(move |before, request| -> Answer {
        let records: Vec<Value> = serde_json::from_str(&request.body).unwrap();
        match before {
            0 => return (429, "Retry-After: 1\r\n", String::new()),
            1 => return (500, "", "<html>".into()),
            _ if records.len() > 300 => return (413, "", String::new()),
            _ if records.iter().any(|record| record["message"] == "poison") => {
                return (422, "", r#"{"message": "no such message"}"#.into());
            }
            _ => {}
        }
        keep.lock().unwrap().extend(records);
        match count.fetch_add(1, Ordering::Relaxed) {
            // The endpoint stores them without an answer.
            1 => (0, "", String::new()),
            _ => (200, "", "{}".into()),
        }
    });
    let more = "headers = { authorization-env = \"TEST_TOKEN\", X-Scope = \"grid\" }";
    let place = Place::new(&settings(&server, &http(&stub.url, more)));
    let mut running = Running::start(place.command("poll").env("TEST_TOKEN", "Bearer t0ken"));
    until_empty(&server, &["n1", "n2"], "LOG");
    assert_eq!(running.end_by("TERM").code(), Some(0));
    for request in stub.requests() {
        assert_eq!(request.path, "/in?a=b");
        assert_eq!(request.authorization, "Bearer t0ken");
        for header in ["x-scope: grid", "content-type: application/json"] {
            let mut head = request.head.iter().map(|line| line.to_lowercase());
            assert!(head.any(|line| line == header), "{:?}", request.head);
        }
    }
    let records = kept.lock().unwrap();
    let got: BTreeSet<Id> = ids(&records).into_iter().collect();
    assert_eq!(got, all);
    assert!(records.len() > got.len(), "what was cut off came again");
    let dead = place.lines("dead");
    assert_eq!(dead.len(), 1);
    let letter: Value = serde_json::from_str(&dead[0]).unwrap();
    assert_eq!(letter["reason"], "HTTP 422: no such message");
    assert!(all.insert(("n1".into(), "LOG".into(), letter["id"].as_i64().unwrap())));
    assert_eq!(letter["id"], bad);
}

#[test]
fn later_records_prove_that_a_record_is_invalid_and_not_the_request() {
    let Some(server) = Server::start() else {
        return;
    };
    let bad: i64 = server.ask("AGG.LOG n1 poison");
    let stub = Stub::start(|_, request| -> Answer {
        match request.body.contains("poison") {
            true => (400, "", "bad request".into()),
            false => (204, "", String::new()),
        }
    });
    let place = Place::new(&settings(&server, &http(&stub.url, "")));
    let mut running = place.start();
    let said = running.errors().next().unwrap();
    assert!(said.contains("so the request is probably wrong"), "{said}");
    assert_eq!(left(&server, &["n1"], "LOG"), 1);
    let all = log(&server, &["n1"], 500, "fine");
    until_empty(&server, &["n1"], "LOG");
    // Now it knows a valid record.
    let worse: i64 = server.ask("AGG.LOG n1 poison");
    until_empty(&server, &["n1"], "LOG");
    assert_eq!(running.end_by("TERM").code(), Some(0));
    let dead = place.lines("dead");
    let dead = dead
        .iter()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].as_i64());
    assert_eq!(dead.collect::<Vec<_>>(), [Some(bad), Some(worse)]);
    let requests = stub.requests();
    let good = requests
        .iter()
        .filter(|request| !request.body.contains("poison"));
    let good = good.flat_map(|request| serde_json::from_str::<Vec<Value>>(&request.body).unwrap());
    let good: BTreeSet<Id> = ids(&good.collect::<Vec<_>>()).into_iter().collect();
    assert_eq!(good, all);
}

#[test]
fn concurrent_writers_send_nothing_twice() {
    let Some(server) = Server::start() else {
        return;
    };
    let all = log(&server, &["n1"], 1000, "x");
    let (now, peak) = (AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
    let highest = peak.clone();
    let stub = Stub::start(move |_, _| -> Answer {
        highest.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(100));
        now.fetch_sub(1, Ordering::SeqCst);
        (204, "", String::new())
    });
    let more = "format = \"lines\"\nbatch-lines = 50\nwriters = 4\ngzip = false";
    let place = Place::new(&settings(&server, &http(&stub.url, more)));
    let mut running = place.start();
    until_empty(&server, &["n1"], "LOG");
    assert_eq!(running.end_by("TERM").code(), Some(0));
    let peak = peak.load(Ordering::SeqCst);
    assert!((2..=4).contains(&peak), "{peak} at a time");
    let requests = stub.requests();
    let records: Vec<Value> = requests
        .iter()
        .flat_map(|request| {
            assert!(request.lines().len() <= 50);
            request.lines()
        })
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(records.len(), all.len());
    assert_eq!(ids(&records).into_iter().collect::<BTreeSet<_>>(), all);
}
