//! The documents of records, and those that the server rejects.

use serde_json::{Value, json};

use crate::support::place::{end, names, until_empty, windows};
use crate::support::{of_queue, until};

use super::{QUEUES, parts, place};

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
