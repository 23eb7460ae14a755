//! `agg poll` with a collector of OpenTelemetry (rotel): what it reads from compressed requests, and that nothing is lost
//! when the collector is down or its replies are lost. The suite of all sinks has a stub in its place.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::support::place::{
    Id, Place, end, log, names, settings, until_empty, until_retried, windows,
};
use crate::support::rotel::{Received, Rotel};
use crate::support::{Server, of_queue, past_hour, until};

fn parts() -> Option<(Server, Rotel)> {
    Some((Server::start()?, Rotel::start()?))
}

fn place(source: &Server, target: &Rotel, more: &str) -> Place {
    Place::new(&settings(
        source,
        &format!(
            "[[route]]\nqueues = [\"MIN\", \"HOUR\", \"LOG\", \"ERROR\", \"REALITY\"]\nsinks = [\"otel\"]\n\
             [sink.otel]\ntype = \"otlp\"\nurl = \"{}\"\n{more}\n",
            target.url()
        ),
    ))
}

/// Returns the value of an attribute with its type.
fn attribute<'a>(received: &'a Received, name: &str) -> &'a str {
    received.attributes.get(name).map_or("", String::as_str)
}

/// Returns an attribute of the type string.
fn text(value: &str) -> Option<&str> {
    value.strip_prefix("Str(")?.strip_suffix(')')
}

/// Returns the records of the log records.
fn ids(received: &[Received]) -> Vec<Id> {
    let logs = received.iter();
    let logs = logs.filter(|one| one.attributes.contains_key("aggregator.id"));
    logs.map(|one| {
        let id = attribute(one, "aggregator.id");
        let id = id.strip_prefix("Int(").unwrap().strip_suffix(')').unwrap();
        (
            text(&one.resource["host.name"]).unwrap().to_owned(),
            text(attribute(one, "aggregator.queue")).unwrap().to_owned(),
            id.parse().unwrap(),
        )
    })
    .collect()
}

/// Waits until the collector has printed the log records.
fn until_received(target: &Rotel, expected: &BTreeSet<Id>) -> Vec<Id> {
    until("the collector has all", || {
        let found = ids(&target.received());
        expected
            .is_subset(&found.iter().cloned().collect())
            .then_some(found)
    })
}

/// Identifies a point: its node, metric, window and start.
type Point = (String, String, String, String);

fn points(received: &[Received]) -> BTreeMap<Point, Received> {
    let metrics = received
        .iter()
        .filter(|one| one.fields.contains_key("Name"));
    let mut all = BTreeMap::new();
    for one in metrics {
        let point = (
            text(&one.resource["service.instance.id"])
                .unwrap()
                .to_owned(),
            one.fields["Name"].clone(),
            text(attribute(one, "window")).unwrap().to_owned(),
            one.fields["StartTimestamp"].clone(),
        );
        assert!(all.insert(point, one.clone()).is_none(), "twice: {one:?}");
    }
    all
}

#[test]
fn collector_reads_the_records_of_all_queues() {
    let Some((source, target)) = parts() else {
        return;
    };
    source.ask::<()>("CONFIG SET agg.hist-records yes");
    windows(&source, "n1", &names(20));
    let start = past_hour();
    let report = |value: &str, at: i64| {
        let at = at.to_string();
        let words = [
            "AGG.STAT",
            "n1",
            "ms@sda",
            value,
            "HIST",
            "TAGS",
            "unit:ms rack:a1",
            "AT",
            &at,
        ];
        source.send::<i64>(&words.map(str::as_bytes));
    };
    for value in ["12", "15", "-3", "0", "840"] {
        report(value, start);
    }
    report("1", start + 300_000);
    until("the windows close", || {
        let lengths = ["MIN", "HOUR"].map(|queue| of_queue(&source, "n1", queue, "length"));
        (lengths == [42, 21]).then_some(())
    });
    source.send::<i64>(&[b"AGG.LOG", b"n1", b"disk \xc3\xa9", b"TAGS", b"a.b:1 w"]);
    source.send::<(String, i64)>(&[b"AGG.ERROR", b"n1", b"read failed", b"CODE", b"c7"]);
    source.send::<redis::Value>(&[
        b"AGG.REALITY",
        b"a/b%",
        b"disk/0",
        b"Disk",
        b"{\"x\":[1.50]}",
    ]);
    let nodes = ["n1", "a/b%"];
    let queues = ["MIN", "HOUR", "LOG", "ERROR", "REALITY"];
    let expected: Vec<Value> = nodes
        .iter()
        .flat_map(|node| queues.map(|queue| source.peek(node, queue)))
        .flatten()
        .collect();
    let place = place(&source, &target, "");
    let running = place.start();
    for queue in queues {
        until_empty(&source, &nodes, queue);
    }
    let is_window = |record: &&Value| record["metric"].is_string();
    let logs = expected.iter().filter(|record| !is_window(record));
    let logs: BTreeSet<Id> = logs
        .map(|record| {
            let text = |name: &str| record[name].as_str().unwrap().to_owned();
            (text("node"), text("queue"), record["id"].as_i64().unwrap())
        })
        .collect();
    assert_eq!(until_received(&target, &logs).len(), logs.len());
    let received = target.received();
    let points = points(&received);
    let mut count = 0;
    for record in expected.iter().filter(is_window) {
        let (name, _) = record["metric"]
            .as_str()
            .unwrap()
            .split_once('@')
            .unwrap_or((record["metric"].as_str().unwrap(), ""));
        let nanoseconds = |field: &str| format!("{}000000", record[field]);
        for field in [
            "avg", "min", "max", "last", "sum", "count", "p50", "p90", "p95", "p99", "hist",
        ] {
            if record.get(field).is_none() {
                continue;
            }
            count += 1;
            let node = record["node"].as_str().unwrap().to_owned();
            let window = format!("{}s", record["window"]);
            let key = (
                node,
                format!("{name}.{field}"),
                window,
                nanoseconds("start"),
            );
            let point = points
                .get(&key)
                .unwrap_or_else(|| panic!("{key:?} is missing"));
            assert_eq!(point.fields["Timestamp"], nanoseconds("end"));
            match field {
                "hist" => assert_histogram(point, record),
                _ => {
                    let value: f64 = point.fields["Value"].parse().unwrap();
                    assert_eq!(Some(value), record[field].as_f64(), "{key:?}");
                }
            }
            let kind = match field {
                "hist" => "ExponentialHistogram",
                "sum" | "count" => "Sum",
                _ => "Gauge",
            };
            assert_eq!(point.fields["DataType"], kind);
            if kind != "Gauge" {
                let temporality = &point.fields["AggregationTemporality"];
                assert_eq!(temporality, "AGGREGATION_TEMPORALITY_DELTA");
            }
            if name == "ms" {
                assert_eq!(attribute(point, "instance"), "Str(sda)");
            }
        }
    }
    assert_eq!(points.len(), count);
    assert!(points.values().any(|point| !point.buckets.is_empty()));
    let tagged = points.values().find(|one| one.fields["Unit"] == "ms");
    assert_eq!(attribute(tagged.unwrap(), "rack"), "Str(a1)");
    // Log entries, errors and objects.
    let of = |queue: &str| {
        let mut found = received.iter();
        let value = format!("Str({queue})");
        found
            .find(|one| attribute(one, "aggregator.queue") == value)
            .unwrap()
    };
    let entry = of("LOG");
    assert_eq!(entry.fields["Body"], "Str(disk é)");
    assert_eq!(
        (attribute(entry, "a.b"), attribute(entry, "w")),
        ("Str(1)", "Str(true)")
    );
    let error = of("ERROR");
    assert_eq!(error.fields["Body"], "Str(read failed)");
    assert_eq!(error.fields["SeverityNumber"], "SEVERITY_NUMBER_ERROR(17)");
    assert_eq!(attribute(error, "aggregator.code"), "Str(c7)");
    assert_eq!(attribute(error, "aggregator.occurrences"), "Int(1)");
    let object = of("REALITY");
    assert_eq!(object.fields["Body"], "Str({\"x\":[1.50]})");
    assert_eq!(object.resource["host.name"], "Str(a/b%)");
    assert_eq!(object.resource["service.name"], "Str(aggregator)");
    assert!(place.lines("dead").is_empty());
    end(running);
}

/// The collector prints the bounds that it calculates from the scale and the indexes.
fn assert_histogram(point: &Received, record: &Value) {
    let hist = &record["hist"];
    let scale = hist["scale"].as_i64().unwrap();
    let mut expected: Vec<(f64, f64, u64)> = Vec::new();
    let side = |name: &str, sign: f64, out: &mut Vec<(f64, f64, u64)>| {
        let offset = hist[name][0].as_i64().unwrap();
        for (at, count) in hist[name][1].as_array().unwrap().iter().enumerate() {
            let bound = |index: i64| (index as f64 * f64::from(-scale as i32).exp2()).exp2();
            let index = offset + at as i64;
            let (low, high) = (bound(index), bound(index + 1));
            if count != 0 {
                let (low, high) = if sign > 0.0 {
                    (low, high)
                } else {
                    (-high, -low)
                };
                out.push((low, high, count.as_u64().unwrap()));
            }
        }
    };
    side("neg", -1.0, &mut expected);
    side("pos", 1.0, &mut expected);
    let zero = hist["zero"].as_u64().unwrap();
    if zero > 0 {
        expected.push((0.0, 0.0, zero));
    }
    let found = point.buckets.iter().filter(|(_, count)| *count > 0);
    let mut found: Vec<(f64, f64, u64)> = found
        .map(|(bounds, count)| {
            let (low, high) = bounds[1..bounds.len() - 1].split_once(", ").unwrap();
            (low.parse().unwrap(), high.parse().unwrap(), *count)
        })
        .collect();
    let order = |a: &(f64, f64, u64), b: &(f64, f64, u64)| a.0.total_cmp(&b.0);
    found.sort_by(order);
    expected.sort_by(order);
    assert_eq!(found.len(), expected.len(), "{found:?} {expected:?}");
    for (found, expected) in found.iter().zip(&expected) {
        // Both calculate powers of 2 in their own ways.
        let is_near = |a: f64, b: f64| (a - b).abs() <= b.abs() * 1e-9;
        assert!(is_near(found.0, expected.0) && is_near(found.1, expected.1));
        assert_eq!(found.2, expected.2);
    }
    for (field, name) in [
        ("Count", "count"),
        ("Sum", "sum"),
        ("Min", "min"),
        ("Max", "max"),
    ] {
        let value: f64 = point.fields[field].parse().unwrap();
        assert_eq!(Some(value), record[name].as_f64(), "{name}");
    }
}

#[test]
fn collector_that_is_down_or_whose_replies_are_lost_gets_everything() {
    let Some((source, mut target)) = parts() else {
        return;
    };
    target.stop();
    let place = place(&source, &target, "batch-lines = 300");
    let mut running = place.start();
    let mut errors = running.errors();
    let mut all = log(&source, &["n1"], 1000, "x");
    until_retried(&mut errors, "sink otel: ");
    assert_eq!(of_queue(&source, "n1", "LOG", "length"), 1000);
    target.restart();
    until_empty(&source, &["n1"], "LOG");
    // So far each once.
    assert_eq!(until_received(&target, &all).len(), all.len());
    target.proxy.lose_replies(true);
    all.extend(log(&source, &["n1"], 1000, "x"));
    until("the collector receives", || {
        (ids(&target.received()).len() > 1000).then_some(())
    });
    target.proxy.cut();
    target.proxy.lose_replies(false);
    until_retried(&mut errors, "sink otel: ");
    target.proxy.repair();
    until_empty(&source, &["n1"], "LOG");
    let found = until_received(&target, &all);
    assert_eq!(BTreeSet::from_iter(found.iter().cloned()), all);
    // Only the request whose reply was lost was repeated.
    assert!(found.len() <= all.len() + 300, "{}", found.len());
    assert!(place.lines("dead").is_empty());
    end(running);
}
