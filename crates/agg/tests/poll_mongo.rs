//! `agg poll` with a real server that speaks MongoDB's protocol: what documents look like, that nothing is stored twice
//! and no newer record is overwritten, and what happens while the server fails, is down, or rejects a document.
//!
//! The server is a single SecantusDB: it has no failover, and is a majority by itself. It supports time series, write
//! concerns and fail points. It checks neither the depth of a document nor the size of a command; unit tests of the
//! sink cover the errors of real servers there.

use std::collections::BTreeSet;

use mongodb::bson::{Bson, DateTime, Document, doc};

use crate::support::mongo::MongoDb;
use crate::support::place::{Place, end, left, log, names, settings, until_empty};
use crate::support::{Server, err, past_hour, until};

/// Returns settings of a poller that drains all queues into a database, with more keys of its sink.
fn place(server: &Server, mongo: &MongoDb, more: &str) -> Place {
    place_by(server, &mongo.uri(), more)
}

fn place_by(server: &Server, uri: &str, more: &str) -> Place {
    Place::new(&settings(
        server,
        &format!(
            "[[route]]\nqueues = [\"MIN\", \"HOUR\", \"LOG\", \"ERROR\", \"REALITY\"]\n\
             sinks = [\"db\"]\n[sink.db]\ntype = \"mongodb\"\nuri = \"{uri}\"\n\
             database = \"grid\"\n{more}\n"
        ),
    ))
}

/// Starts both; `None` if one is missing.
fn parts() -> Option<(Server, MongoDb)> {
    Some((Server::start()?, MongoDb::start()?))
}

fn ask(server: &Server, words: &[&str]) -> redis::Value {
    let mut command = redis::cmd(words[0]);
    command.arg(&words[1..]);
    command.query(&mut server.connection()).unwrap()
}

fn one(mongo: &MongoDb, collection: &str, filter: Document) -> Document {
    let mut found = mongo.find(collection, filter);
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

#[test]
fn all_queues_become_documents() {
    let Some((server, mongo)) = parts() else {
        return;
    };
    let place = place(&server, &mongo, "");
    let running = place.start();
    assert_eq!(windows(&server, "n1", 3), 6);
    let id: i64 = server.ask("AGG.LOG n1 hello LEVEL 3 TAGS a.b:1 AT 1700000000123");
    let key: String = server
        .ask::<(String, i64)>("AGG.ERROR n1 broken CODE c7 AT 1700000000000")
        .0;
    let object = r#"{"a.b":[1,18446744073709551615],"$c":0.5,"d":{"":null}}"#;
    ask(&server, &["AGG.REALITY", "n1", "disk/0", "Disk", object]);
    until("the windows close", || {
        (mongo.count("statistics") == 9).then_some(())
    });
    for queue in ["MIN", "HOUR", "LOG", "ERROR", "REALITY"] {
        until_empty(&server, &["n1"], queue);
    }
    let millis = DateTime::from_millis;
    let minutes = mongo.find("statistics", doc! { "queue": "MIN", "metric": "m1" });
    assert_eq!(minutes.len(), 2);
    let start = past_hour();
    let minute = minutes
        .iter()
        .find(|minute| minute.get("start") == Some(&millis(start).into()))
        .unwrap();
    let min_id = minute.get_i64("id").unwrap();
    let expected = doc! {
        "_id": { "node": "n1", "queue": "MIN", "id": min_id },
        "node": "n1", "queue": "MIN", "id": min_id, "metric": "m1", "type": "ABS",
        "window": 300_i64, "start": millis(start), "end": millis(start + 300_000),
        "count": 1_i64, "sum": 1.5, "avg": 1.5, "min": 1.5, "max": 1.5, "last": 1.5, "tags": {},
    };
    assert_eq!(minute, &expected);
    let line = one(&mongo, "logs", doc! {});
    let expected = doc! {
        "_id": { "node": "n1", "queue": "LOG", "id": id }, "node": "n1", "queue": "LOG", "id": id,
        "message": "hello", "level": 3_i64, "severity": "INFO", "tags": { "a.b": "1" },
        "epoch": millis(1_700_000_000_123),
    };
    assert_eq!(line, expected);
    let error = one(
        &mongo,
        "errors",
        doc! { "_id": { "node": "n1", "key": &key } },
    );
    assert_eq!(error.get_str("code").unwrap(), "c7");
    assert_eq!(error.get("level"), Some(&Bson::Int64(7)));
    assert_eq!(error.get_str("severity").unwrap(), "ERROR");
    for field in ["first", "last"] {
        assert_eq!(error.get(field), Some(&millis(1_700_000_000_000).into()));
    }
    let identity = doc! { "node": "n1", "key": "disk/0" };
    let disk = one(&mongo, "reality", doc! { "_id": &identity });
    let large: mongodb::bson::Decimal128 = "18446744073709551615".parse().unwrap();
    let expected = doc! { "a.b": [1_i64, large], "$c": 0.5, "d": { "": Bson::Null } };
    assert_eq!(disk.get_document("json").unwrap(), &expected);
    assert!(!disk.get_bool("gone").unwrap());
    // Newer records replace older ones, also the end of an object.
    ask(&server, &["AGG.REALITY", "n1", "disk/0", "Disk", "7"]);
    let json = |value: Bson| {
        until("the news are there", || {
            let disk = one(&mongo, "reality", doc! { "_id": &identity });
            (disk.get("json") == Some(&value)).then_some(disk)
        })
    };
    let first = json(Bson::Int64(7));
    server.ask::<i64>("AGG.FORGET n1 REALITY disk/0");
    let gone = until("it is gone", || {
        let disk = one(&mongo, "reality", doc! { "_id": &identity });
        disk.get_bool("gone").unwrap().then_some(disk)
    });
    assert!(gone.get_i64("id").unwrap() > first.get_i64("id").unwrap());
    // By node and the field that users query, and by time.
    for (collection, expected) in [
        ("statistics", ["node_1_metric_1_start_1", "start_1"]),
        ("logs", ["node_1_epoch_1", "epoch_1"]),
        ("errors", ["node_1_last_1", "last_1"]),
        ("reality", ["node_1_model_1", "epoch_1"]),
    ] {
        let collection = mongo.database().collection::<Document>(collection);
        let names = collection.list_index_names().run().unwrap();
        let names: BTreeSet<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(names, BTreeSet::from(["_id_", expected[0], expected[1]]));
    }
    assert!(place.lines("dead").is_empty());
    end(running);
}

/// Checks some fields of a document.
fn assert_fields(document: &Document, expected: &Document) {
    for (name, value) in expected {
        assert_eq!(document.get(name), Some(value), "{name} of {document}");
    }
}

#[test]
fn percentiles_histograms_and_increments_are_fields() {
    let Some((server, mongo)) = parts() else {
        return;
    };
    ask(&server, &["CONFIG", "SET", "agg.percentiles", "50 99.9"]);
    ask(&server, &["CONFIG", "SET", "agg.hist-records", "yes"]);
    let start = past_hour();
    for value in ["12", "15", "-3", "0", "840"] {
        server.ask::<i64>(&format!("AGG.STAT n1 ms {value} HIST AT {start}"));
    }
    for seconds in [0, 31, 290] {
        let at = start + seconds * 1000;
        server.ask::<i64>(&format!("AGG.STAT n1 hits 30 INC TIMES 5 AT {at}"));
    }
    let place = place(&server, &mongo, "");
    let running = place.start();
    let of = |name: &str| {
        let filter = doc! { "queue": "MIN", "metric": name };
        until("the window is stored", || {
            mongo.find("statistics", filter.clone()).pop()
        })
    };
    let (ms, hits) = (of("ms"), of("hits"));
    assert_fields(&ms, &doc! { "p50": 12.0, "p99_9": 840.0 });
    let hist = ms.get_document("hist").unwrap();
    assert_fields(hist, &doc! { "scale": 5_i64, "zero": 1_i64 });
    let counts = |side: &str| {
        let counts = hist.get_array(side).unwrap()[1].as_array().unwrap().iter();
        counts.map(|count| count.as_i64().unwrap()).sum::<i64>()
    };
    assert_eq!((counts("pos"), counts("neg")), (3, 1));
    let expected = doc! {
        "type": "INC", "count": 15_i64, "sum": 450.0, "avg": 1.5, "min": 0.0, "max": 15.0, "last": 15.0,
    };
    assert_fields(&hits, &expected);
    assert!(!hits.contains_key("p50") && !hits.contains_key("hist"));
    until_empty(&server, &["n1"], "MIN");
    assert!(place.lines("dead").is_empty());
    end(running);
}

#[test]
fn late_record_does_not_overwrite_a_newer_one() {
    let Some((server, mongo)) = parts() else {
        return;
    };
    // What another poller has written meanwhile, and what one wrote long ago.
    let later = i64::MAX / 1024;
    let state = |key: &str, id: i64| {
        doc! { "_id": { "node": "n1", "key": key }, "node": "n1", "id": id, "json": "stored" }
    };
    let reality = mongo.database().collection::<Document>("reality");
    let stored = [state("newer", later), state("older", 5)];
    reality.insert_many(&stored).run().unwrap();
    for key in ["newer", "older", "new"] {
        ask(&server, &["AGG.REALITY", "n1", key, "m", "\"said\""]);
    }
    // A log entry that is stored already, with a field that a reader has added.
    let ids = log(&server, &["n1"], 500, "x");
    let id = ids.first().unwrap().2;
    let mark = doc! { "_id": { "node": "n1", "queue": "LOG", "id": id }, "seen": true };
    let logs = mongo.database().collection::<Document>("logs");
    logs.insert_one(&mark).run().unwrap();
    // A foreign index that expires old log entries is no problem and stays.
    let index = doc! { "key": { "epoch": 1 }, "name": "epoch_1", "expireAfterSeconds": 1_000_000 };
    mongo.command(doc! { "createIndexes": "logs", "indexes": [index] });
    let place = place(&server, &mongo, "");
    let running = place.start();
    until_empty(&server, &["n1"], "REALITY");
    until_empty(&server, &["n1"], "LOG");
    let json = |key: &str| {
        let found = one(
            &mongo,
            "reality",
            doc! { "_id": { "node": "n1", "key": key } },
        );
        found.get_str("json").unwrap().to_owned()
    };
    assert_eq!(
        ["newer", "older", "new"].map(json),
        ["stored", "said", "said"]
    );
    assert_eq!(one(&mongo, "logs", doc! { "seen": true }), mark);
    assert_eq!(mongo.count("logs"), 500);
    assert!(place.lines("dead").is_empty());
    end(running);
}

#[test]
fn server_faults_lose_nothing_and_write_nothing_twice() {
    let Some((server, mongo)) = parts() else {
        return;
    };
    // A server with a fail point does not announce to the driver that it is the primary again, so it is asked.
    let uri = format!(
        "{}?serverMonitoringMode=poll&heartbeatFrequencyMS=500",
        mongo.uri()
    );
    let place = place_by(&server, &uri, "timeout = \"2s\"");
    let mut running = place.start();
    let mut errors = running.errors();
    let concern = doc! { "code": 64, "errmsg": "waiting for replication timed out" };
    let faults = [
        (doc! { "errorCode": 10107 }, "failpoint"),
        (doc! { "errorCode": 11600 }, "failpoint"),
        (doc! { "errorCode": 13 }, "failpoint"),
        (doc! { "closeConnection": true }, "I/O error"),
        (
            doc! { "writeConcernError": concern },
            "written, but not acknowledged by a majority: waiting for replication timed out",
        ),
        (
            doc! { "blockConnection": true, "blockTimeMS": 4000 },
            "no reply within 2s",
        ),
    ];
    let mut count = 0;
    for (fault, said) in faults {
        mongo.fail(&["insert", "update"], 1, fault.clone());
        log(&server, &["n1"], 500, "x");
        count += 500;
        until("the fault is logged", || {
            errors.find(|line| line.contains(said) && line.ends_with("retrying"))
        });
        until_empty(&server, &["n1"], "LOG");
        assert_eq!(mongo.count("logs"), count, "{fault}");
    }
    assert!(place.lines("dead").is_empty());
    end(running);
}

#[test]
fn two_pollers_with_one_killed_repeatedly_write_everything_once() {
    let Some((server, mongo)) = parts() else {
        return;
    };
    let place = place(&server, &mongo, "batch-lines = 300");
    let steady = place.start();
    let mut all = BTreeSet::new();
    for round in 0..4 {
        // Killed with leased records, which are redelivered when the lease expires.
        let mut killed = place.start();
        all.extend(log(&server, &["n1", "n2"], 1000, "x"));
        for key in 0..20 {
            let key = format!("k{key}");
            ask(
                &server,
                &["AGG.REALITY", "n1", &key, "m", &round.to_string()],
            );
        }
        until("something is written", || {
            (mongo.count("logs") * 2 > all.len() as u64).then_some(())
        });
        killed.0.kill().unwrap();
        killed.wait();
    }
    until_empty(&server, &["n1", "n2"], "LOG");
    until_empty(&server, &["n1"], "REALITY");
    assert_eq!(mongo.count("logs"), all.len() as u64);
    assert_eq!(mongo.count("reality"), 20);
    assert_eq!(mongo.find("reality", doc! { "json": 3_i64 }).len(), 20);
    end(steady);
}

#[test]
fn refused_document_becomes_the_only_dead_letter() {
    let Some(server) = Server::with_settings("max-item-size 4mb") else {
        return;
    };
    let Some(mongo) = MongoDb::start() else {
        return;
    };
    let validator = doc! { "message": { "$ne": "bad" } };
    mongo.command(doc! { "create": "logs", "validator": validator });
    let unique =
        doc! { "key": { "json.serial": 1 }, "name": "serial", "unique": true, "sparse": true };
    mongo.command(doc! { "createIndexes": "reality", "indexes": [unique] });
    for message in ["good", "bad", "good", "bad", "good"] {
        server.ask::<i64>(&format!("AGG.LOG n1 {message}"));
    }
    // More than 16 MiB as BSON, in which each item has a name.
    let large = format!("[{}0]", "0,".repeat(1_500_000));
    ask(&server, &["AGG.REALITY", "n1", "large", "m", &large]);
    for (key, serial) in [("a", 1), ("b", 1), ("c", 2)] {
        let json = format!("{{\"serial\":{serial}}}");
        ask(&server, &["AGG.REALITY", "n1", key, "m", &json]);
    }
    let place = place(&server, &mongo, "");
    let running = place.start();
    until_empty(&server, &["n1"], "LOG");
    until_empty(&server, &["n1"], "REALITY");
    assert_eq!(mongo.count("logs"), 3);
    assert_eq!(mongo.count("reality"), 2);
    let dead = place.lines("dead");
    let count = |reason: &str| dead.iter().filter(|line| line.contains(reason)).count();
    assert_eq!(dead.len(), 4);
    assert_eq!(count("error 121: Document failed validation"), 2);
    assert_eq!(count("bytes as BSON: MongoDB accepts 16 MiB"), 1);
    assert_eq!(count("error 11000: "), 1);
    end(running);
}

#[test]
fn time_series_collection_has_no_duplicates() {
    let Some((server, mongo)) = parts() else {
        return;
    };
    let place = place(
        &server,
        &mongo,
        "time-series = true\nprefix = \"agg.\"\nbatch-lines = 15",
    );
    let mut running = place.start();
    let mut errors = running.errors();
    let concern = doc! { "code": 64, "errmsg": "slow" };
    mongo.fail(&["insert"], 2, doc! { "writeConcernError": concern });
    // Stored, but without an answer: it is written again.
    let count = windows(&server, "n1", 20);
    until("the fault is logged", || {
        errors.find(|line| line.contains("slow"))
    });
    until("the windows close", || {
        (mongo.count("agg.statistics") >= 60).then_some(())
    });
    until_empty(&server, &["n1"], "MIN");
    until_empty(&server, &["n1"], "HOUR");
    let stored = mongo.find("agg.statistics", doc! { "series.queue": "MIN" });
    assert_eq!(stored.len(), count);
    let ids = stored
        .iter()
        .map(|document| document.get_document("_id").unwrap().to_string());
    assert_eq!(ids.collect::<BTreeSet<_>>().len(), count);
    let of = stored[0].get_document("series").unwrap();
    assert_eq!(of.get_str("node").unwrap(), "n1");
    assert!(stored[0].get_datetime("start").is_ok() && stored[0].get("metric").is_none());
    let specs = mongo.database().list_collections().run().unwrap();
    let spec = specs
        .map(Result::unwrap)
        .find(|spec| spec.name == "agg.statistics");
    assert!(spec.unwrap().options.timeseries.is_some());
    end(running);
    assert_eq!(left(&server, &["n1"], "MIN"), 0);
}

/// Reports two windows of each of `count` metrics and returns the number of MIN windows.
fn windows(server: &Server, node: &str, count: usize) -> usize {
    let start = past_hour();
    for name in names(count) {
        for at in [start, start + 300_000] {
            server.ask::<i64>(&format!("AGG.STAT {node} {name} 1.5 AT {at}"));
        }
    }
    2 * count
}

#[test]
fn password_is_required_and_never_shown() {
    let Some((server, mut mongo)) = parts() else {
        return;
    };
    let roles = doc! { "role": "readWrite", "db": "grid" };
    mongo.command(doc! { "createUser": "poller", "pwd": "s3cret/@", "roles": [roles] });
    mongo.restart(&["--auth"], "");
    let more = "user = \"poller\"\npassword-file = \"{dir}/password\"";
    let uri = format!("{}?authSource=grid", mongo.uri());
    let place = place_by(&server, &uri, more);
    std::fs::write(place.path("password"), "wr0ng\n").unwrap();
    log(&server, &["n1"], 500, "x");
    let mut running = place.start();
    let said = until("the rejection is logged", || {
        running.errors().find(|line| line.ends_with("retrying"))
    });
    assert!(said.to_lowercase().contains("auth"), "{said}");
    assert!(!said.contains("wr0ng"), "{said}");
    running.signal("TERM");
    assert_eq!(running.wait().code(), Some(0));
    assert_eq!(left(&server, &["n1"], "LOG"), 500);
    std::fs::write(place.path("password"), "s3cret/@\n").unwrap();
    let running = place.start();
    until_empty(&server, &["n1"], "LOG");
    end(running);
}

#[test]
fn database_with_tls_is_reached() {
    let Some((server, mut mongo)) = parts() else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let tls = format!("tls=true&tlsCAFile={}", cert.display());
    let (cert, key) = (cert.to_str().unwrap(), key.to_str().unwrap());
    let arguments = [
        "--tls-cert-file",
        cert,
        "--tls-key-file",
        key,
        "--standalone",
    ];
    mongo.restart(&arguments, "tls=true&tlsInsecure=true&");
    log(&server, &["n1"], 500, "x");
    let uri = format!("mongodb://localhost:{}/?{tls}", mongo.port);
    let place = place_by(&server, &uri, "");
    let running = place.start();
    until_empty(&server, &["n1"], "LOG");
    end(running);
}

#[test]
fn errors_are_reported_without_secrets() {
    let said = |uri: &str, more: &str| {
        let head = "[[source]]\nurls = [\"redis://127.0.0.1:7777\"]\n[[route]]\nqueues = [\"LOG\"]\nsinks = [\"db\"]\n";
        let sink = format!("[sink.db]\ntype = \"mongodb\"\nuri = \"{uri}\"\ndatabase = \"grid\"\n");
        let place = Place::new(&format!("{head}{sink}{more}"));
        let output = place.command("check").output().unwrap();
        (output.status.code(), err(&output))
    };
    assert_eq!(said("mongodb://127.0.0.1/", "").0, Some(0));
    for (uri, more, expected) in [
        (
            "mongodb+srv://c.example.com",
            "",
            ":9:7: mongodb+srv:// is not supported",
        ),
        (
            "mongodb://u:s3cret@h",
            "",
            ":9:7: expected mongodb://HOST:PORT; user and password have their own keys",
        ),
        (
            "mongodb://h",
            "prefix = \"$\"",
            ":11:10: MongoDB does not allow '$'",
        ),
        (
            "mongodb://h",
            "url = \"x\"",
            ":11:7: a sink of type mongodb has no \"url\"",
        ),
        (
            "mongodb://h",
            "timeout = \"5ms\"",
            ":11:11: expected at least 1s",
        ),
        (
            "mongodb://h",
            "password-env = \"PATH\"",
            ":7:1: a password needs a user",
        ),
    ] {
        let (code, said) = said(uri, more);
        assert_eq!(code, Some(2));
        assert!(
            said.contains(expected) && !said.contains("s3cret"),
            "{said}"
        );
    }
}
