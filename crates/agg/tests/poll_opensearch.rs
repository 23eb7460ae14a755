//! `agg poll` with a server that speaks the API of OpenSearch: what documents look like, that no record is stored twice
//! and no newer state is overwritten, and what happens while the server is down, cuts connections, or rejects a document.
//!
//! osmem is a single server that keeps its documents in memory. It is never busy, so a stub is used for that.

use std::collections::BTreeSet;
use std::sync::Mutex;

use serde_json::{Value, json};

use crate::support::opensearch::OpenSearch;
use crate::support::place::{
    Id, Place, end, log, names, settings, until_empty, until_retried, windows,
};
use crate::support::stub::{Request, Stub};
use crate::support::{Running, Server, of_queue, until};

const QUEUES: [&str; 5] = ["MIN", "HOUR", "LOG", "ERROR", "REALITY"];

/// Returns a poller that drains all queues into a server, with more keys of its sink.
fn place(source: &Server, url: &str, more: &str) -> Place {
    Place::new(&settings(
        source,
        &format!(
            "[[route]]\nqueues = [\"MIN\", \"HOUR\", \"LOG\", \"ERROR\", \"REALITY\"]\nsinks = [\"db\"]\n\
             [sink.db]\ntype = \"opensearch\"\nurl = \"{url}\"\n{more}\n"
        ),
    ))
}

fn parts() -> Option<(Server, OpenSearch)> {
    Some((Server::start()?, OpenSearch::start()?))
}

fn ids(target: &OpenSearch, index: &str) -> Vec<Id> {
    let text = |document: &Value, name: &str| document["_source"][name].as_str().unwrap().into();
    let all = target.all(index);
    all.iter()
        .map(|hit| {
            (
                text(hit, "node"),
                text(hit, "queue"),
                hit["_source"]["id"].as_i64().unwrap(),
            )
        })
        .collect()
}

fn assert_once(target: &OpenSearch, expected: &BTreeSet<Id>) {
    let stored = ids(target, "agg-logs");
    assert_eq!(stored.len(), expected.len());
    assert_eq!(&BTreeSet::from_iter(stored), expected);
}

#[test]
fn records_of_all_queues_become_documents() {
    let Some((source, target)) = parts() else {
        return;
    };
    let hostile = "\u{1f600} \u{e9} \"'\\\r\n{\"delete\":{\"_index\":\"agg-logs\"}}\n\t\u{1}";
    windows(&source, "n1", &names(20));
    windows(&source, "a/b%", &["cpu,load x@0".into()]);
    until("the hour closes", || {
        (of_queue(&source, "n1", "HOUR", "length") == 20).then_some(())
    });
    for text in ["plain", hostile] {
        source.send::<i64>(&[b"AGG.LOG", b"n1", text.as_bytes(), b"TAGS", b"a:x a.b:1 w"]);
        source.send::<(String, i64)>(&[b"AGG.ERROR", b"n1", text.as_bytes(), b"CODE", b"c7"]);
    }
    let object = b"{\"a.b\":[1.50,null],\n\"$c\":{\"\":7}}";
    for node in ["n1", "a/b%"] {
        let words: [&[u8]; 5] = [b"AGG.REALITY", node.as_bytes(), b"disk/0", b"Disk", object];
        source.send::<redis::Value>(&words);
    }
    let expected: Vec<Value> = ["n1", "a/b%"]
        .iter()
        .flat_map(|node| QUEUES.map(|queue| source.peek(node, queue)))
        .flatten()
        .collect();
    let place = place(&source, &target.url(), "");
    let running = place.start();
    for queue in QUEUES {
        until_empty(&source, &["n1", "a/b%"], queue);
    }
    let found = target.all("agg-*");
    assert_eq!(found.len(), expected.len());
    for record in &expected {
        let is_it = |hit: &&Value| {
            ["node", "queue", "id"]
                .iter()
                .all(|name| hit["_source"][*name] == record[*name])
        };
        let hit = found
            .iter()
            .find(is_it)
            .unwrap_or_else(|| panic!("{record} is missing"));
        let mut document = hit["_source"].as_object().unwrap().clone();
        let time = ["start", "last", "epoch"].map(|name| &record[name]);
        let time = match record["queue"].as_str().unwrap() {
            "MIN" | "HOUR" => time[0],
            "ERROR" => time[1],
            _ => time[2],
        };
        assert_eq!(&document.remove("@timestamp").unwrap(), time);
        if let Some(metric) = record["metric"].as_str() {
            let (measurement, instance) = metric.split_once('@').unwrap_or((metric, ""));
            assert_eq!(document.remove("measurement").unwrap(), measurement);
            assert_eq!(document.remove("instance").unwrap(), instance);
        }
        for (name, value) in record.as_object().unwrap() {
            let stored = document.remove(name).unwrap();
            // 3 and 3.0 are one number.
            let equal = match (stored.as_f64(), value.as_f64()) {
                (Some(stored), Some(value)) => stored == value,
                _ => stored == *value,
            };
            assert!(equal, "{name}: {stored} is not {value}");
        }
        assert!(document.is_empty(), "{document:?}");
    }
    // Fields can be queried by their types.
    let query = json!({ "bool": { "filter": [
        { "term": { "measurement": "m7" } },
        { "range": { "sum": { "gte": 1.5 } } },
        { "term": { "queue": "MIN" } },
    ] } });
    assert_eq!(target.search("agg-statistics", &query).len(), 2);
    let mappings = target.get("agg-statistics/_mapping");
    let properties = &mappings["agg-statistics"]["mappings"]["properties"];
    assert_eq!(properties["sum"]["type"], "double");
    assert_eq!(properties["tags"]["type"], "flat_object");
    assert_eq!(properties["tags"]["properties"], Value::Null);
    // A newer state replaces an older one, also the end of an object.
    source.ask::<i64>("AGG.FORGET n1 REALITY disk/0");
    until("the object is gone", || {
        let found = target.search("agg-reality", &json!({ "term": { "node": "n1" } }));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0]["_id"], "n1/disk/0");
        (found[0]["_source"]["gone"] == true).then_some(())
    });
    assert!(place.lines("dead").is_empty());
    end(running);
}

#[test]
fn older_state_never_replaces_a_newer_one() {
    let Some((source, target)) = parts() else {
        return;
    };
    target.put(
        "agg-reality/_doc/n1%2Fdisk?version=9000000000000000000&version_type=external",
        &json!({ "node": "n1", "newer": true }),
    );
    source.ask::<redis::Value>("AGG.REALITY n1 disk Disk 7");
    let place = place(&source, &target.url(), "");
    let running = place.start();
    until_empty(&source, &["n1"], "REALITY");
    assert_eq!(
        target.all("agg-reality")[0]["_source"],
        json!({ "node": "n1", "newer": true })
    );
    assert!(place.lines("dead").is_empty());
    end(running);
}

#[test]
fn response_that_is_lost_repeats_no_document() {
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

#[test]
fn pollers_that_are_killed_store_everything_once() {
    let Some((source, target)) = parts() else {
        return;
    };
    let place = place(&source, &target.url(), "batch-lines = 100");
    let steady = place.start();
    let mut all = BTreeSet::new();
    for _ in 0..4 {
        let mut killed = place.start();
        all.extend(log(&source, &["n1", "n2"], 1000, "x"));
        until("something is written", || {
            (target.all("agg-logs").len() * 2 > all.len()).then_some(())
        });
        killed.0.kill().unwrap();
        killed.wait();
    }
    until_empty(&source, &["n1", "n2"], "LOG");
    assert_once(&target, &all);
    end(steady);
}

#[test]
fn only_documents_that_the_server_rejects_become_dead_letters() {
    let Some((source, target)) = parts() else {
        return;
    };
    let mappings = json!({ "mappings": { "properties": { "message": { "type": "integer" } } } });
    target.put("agg-logs", &mappings);
    let place = place(&source, &target.url(), "");
    let running = place.start();
    for n in 0..100 {
        let text = if n % 25 == 3 {
            "poison".into()
        } else {
            n.to_string()
        };
        source.send::<i64>(&[b"AGG.LOG", b"n1", text.as_bytes()]);
    }
    until_empty(&source, &["n1"], "LOG");
    assert_eq!(target.all("agg-logs").len(), 96);
    let dead = place.lines("dead");
    assert_eq!(dead.len(), 4);
    for line in dead {
        let letter: Value = serde_json::from_str(&line).unwrap();
        let reason = letter["reason"].as_str().unwrap();
        assert!(
            reason.starts_with("400 mapper_parsing_exception: failed to parse"),
            "{reason}"
        );
        assert_eq!(letter["record"]["message"], "poison");
    }
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
fn sink_is_checked_without_writing() {
    let Some(mut target) = OpenSearch::start() else {
        return;
    };
    let text = format!(
        "[[source]]\nurls = [\"redis://127.0.0.1:1\"]\n[[route]]\nqueues = [\"LOG\"]\nsinks = [\"db\"]\n\
         [sink.db]\ntype = \"opensearch\"\nurl = \"{}\"\n",
        target.url()
    );
    let place = Place::new(&text);
    let config = agg_poller::config::Config::read(&place.path("poller.toml")).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.unwrap();
    let connect = || {
        runtime
            .block_on(agg_poller::check::sinks(&config))
            .remove(0)
            .result
    };
    assert_eq!(connect(), Ok("OpenSearch 3.8.0, cluster osmem".into()));
    assert!(target.all("agg-*").is_empty());
    target.stop();
    assert!(connect().is_err());
}
