//! `agg poll` with a real broker that speaks Kafka's protocol: what messages look like, and how the sink treats
//! topics and users. The suite of all sinks has the faults.
//!
//! The broker is a single Tansu, which keeps messages in memory: it has no other leaders, no user and no limits of sizes
//! and times. Unit tests of the sink cover the codes of real brokers there.

use std::collections::{BTreeMap, BTreeSet};

use crate::support::certs::Certs;
use crate::support::kafka::{Kafka, Message};
use crate::support::place::{
    Id, Place, end, id, left, log, names, settings, until_empty, until_retried, windows,
};
use crate::support::{Server, err, of_queue, until};

const QUEUES: [&str; 5] = ["MIN", "HOUR", "LOG", "ERROR", "REALITY"];
const CREATE: &str = "create-topics = true\npartitions = 3\ntimeout = \"2s\"";

/// Starts both; `None` if one is missing.
fn parts() -> Option<(Server, Kafka)> {
    Some((Server::start()?, Kafka::start()?))
}

/// Returns a poller that drains all queues into topics, with more keys of its sink.
fn place(server: &Server, kafka: &Kafka, more: &str) -> Place {
    place_by(server, &kafka.uri(), more)
}

fn place_by(server: &Server, uri: &str, more: &str) -> Place {
    Place::new(&settings(
        server,
        &format!(
            "[[route]]\nqueues = [\"MIN\", \"HOUR\", \"LOG\", \"ERROR\", \"REALITY\"]\nsinks = [\"out\"]\n\
             [sink.out]\ntype = \"kafka\"\nuri = \"{uri}\"\n{more}\n"
        ),
    ))
}

fn ids(messages: &[Message]) -> Vec<Id> {
    messages.iter().map(|message| id(&message.value)).collect()
}

/// Asserts that the topic of the log has these records, also by their headers.
fn assert_all(kafka: &Kafka, expected: &BTreeSet<Id>) {
    let messages = kafka.messages("agg.log");
    let stored = ids(&messages);
    assert_eq!(&BTreeSet::from_iter(stored.iter().cloned()), expected);
    let of_headers = messages.iter().map(|message| {
        let header = |name: &str| message.headers[name].clone();
        (
            header("node"),
            header("queue"),
            header("id").parse().unwrap(),
        )
    });
    assert_eq!(of_headers.collect::<Vec<Id>>(), stored);
}

#[test]
fn records_of_all_queues_become_messages() {
    let Some((server, kafka)) = parts() else {
        return;
    };
    let nodes = ["n1", "n2", "n/3 \u{e9}"];
    windows(&server, "n1", &names(20));
    until("the hour closes", || {
        (of_queue(&server, "n1", "HOUR", "length") == 20).then_some(())
    });
    for node in nodes {
        for text in ["plain", "\u{1f600} \"'\\", "a\r\n\tb\u{1}"] {
            let (node, text) = (node.as_bytes(), text.as_bytes());
            server.send::<i64>(&[b"AGG.LOG", node, text, b"TAGS", b"a.b:1"]);
            server.send::<(String, i64)>(&[b"AGG.ERROR", node, text, b"CODE", b"c7"]);
        }
        let json = b"{\"a\":[1.50,null]}";
        server.send::<redis::Value>(&[b"AGG.REALITY", node.as_bytes(), b"disk/0", b"Disk", json]);
    }
    let expected = |queue: &str| -> Vec<serde_json::Value> {
        let of_node = |node: &&str| {
            let words: [&[u8]; 5] = [
                b"AGG.PEEK",
                node.as_bytes(),
                queue.as_bytes(),
                b"COUNT",
                b"10000",
            ];
            crate::support::records(&server.send::<redis::Value>(&words))
        };
        nodes.iter().flat_map(of_node).collect()
    };
    let expected: Vec<Vec<serde_json::Value>> =
        QUEUES.iter().map(|queue| expected(queue)).collect();
    let place = place(&server, &kafka, CREATE);
    let running = place.start();
    for (queue, expected) in QUEUES.iter().zip(expected) {
        assert!(!expected.is_empty());
        let topic = format!("agg.{}", queue.to_lowercase());
        let messages = until("all messages are there", || {
            let messages = kafka.messages(&topic);
            (messages.len() >= expected.len()).then_some(messages)
        });
        let mut found = Vec::new();
        let mut partitions: BTreeMap<String, i32> = BTreeMap::new();
        for message in messages {
            let record: serde_json::Value = serde_json::from_str(&message.value).unwrap();
            let (node, key) = (&record["node"], &record["key"]);
            let (key, time) = match *queue {
                "ERROR" => (serde_json::json!([node, key]).to_string(), &record["last"]),
                "REALITY" => (serde_json::json!([node, key]).to_string(), &record["epoch"]),
                "LOG" => (node.as_str().unwrap().to_owned(), &record["epoch"]),
                _ => (node.as_str().unwrap().to_owned(), &record["end"]),
            };
            assert_eq!((&message.key, message.time), (&key, time.as_i64().unwrap()));
            assert_eq!(message.headers["id"], record["id"].to_string());
            let of_key = partitions.entry(message.key).or_insert(message.partition);
            assert_eq!(*of_key, message.partition);
            found.push(record);
        }
        let sorted = |mut records: Vec<serde_json::Value>| {
            records.sort_by_key(|record| (record["node"].to_string(), record["id"].as_i64()));
            records
        };
        assert_eq!(sorted(found), sorted(expected), "{queue}");
    }
    assert_eq!(kafka.topics().into_values().collect::<Vec<_>>(), [3; 5]);
    assert!(place.lines("dead").is_empty());
    end(running);
}

#[test]
fn topics_that_a_broker_lost_are_created_again() {
    let Some((server, mut kafka)) = parts() else {
        return;
    };
    kafka.stop();
    let place = place(&server, &kafka, CREATE);
    let mut running = place.start();
    let mut errors = running.errors();
    log(&server, &["n1"], 500, "x");
    until_retried(&mut errors, "sink out: ");
    kafka.restart();
    until_empty(&server, &["n1"], "LOG");
    kafka.restart();
    let all = log(&server, &["n1", "n2"], 500, "x");
    until_empty(&server, &["n1", "n2"], "LOG");
    assert_all(&kafka, &all);
    assert!(place.lines("dead").is_empty());
    end(running);
}

#[test]
fn missing_topic_is_waited_for_unless_it_may_be_created() {
    let Some((server, kafka)) = parts() else {
        return;
    };
    let place = place(&server, &kafka, "prefix = \"grid-\"\ncompress = \"gzip\"");
    let mut running = place.start();
    let mut errors = running.errors();
    let all = log(&server, &["n1"], 500, "x");
    until_retried(
        &mut errors,
        "there is no topic grid-log: create it, or set create-topics = true",
    );
    kafka.create_topic("grid-log", 2);
    until_empty(&server, &["n1"], "LOG");
    let stored = BTreeSet::from_iter(ids(&kafka.messages("grid-log")));
    assert_eq!(stored, all);
    end(running);
}

#[test]
fn broker_and_poller_prove_who_they_are() {
    let Some(server) = Server::start() else {
        return;
    };
    let certs = Certs::new("127.0.0.1");
    let Some((kafka, uri)) = Kafka::encrypted(&certs) else {
        return;
    };
    let tls = |ca: &str| {
        let path = |file: &str| certs.path(file).display().to_string();
        format!(
            "{CREATE}\ntls-ca = \"{}\"\ntls-cert = \"{}\"\ntls-key = \"{}\"",
            path(ca),
            path("client.pem"),
            path("client.key")
        )
    };
    log(&server, &["n1"], 500, "x");
    let stranger = place_by(&server, &uri, &tls("other.pem"));
    let mut running = stranger.start();
    until_retried(
        &mut running.errors(),
        "invalid peer certificate: UnknownIssuer",
    );
    end(running);
    let place = place_by(&server, &uri, &tls("ca.pem"));
    let running = place.start();
    until_empty(&server, &["n1"], "LOG");
    assert_eq!(kafka.topics().get("agg.log"), Some(&3));
    end(running);
}

#[test]
fn user_that_the_broker_does_not_know_is_rejected_without_showing_the_password() {
    let Some((server, mut kafka)) = parts() else {
        return;
    };
    kafka.require_authentication();
    let more = "user = \"poller\"\npassword-file = \"{dir}/password\"";
    log(&server, &["n1"], 500, "x");
    for sasl in ["scram-sha-512", "scram-sha-256"] {
        let place = place(&server, &kafka, &format!("{more}\nsasl = \"{sasl}\""));
        std::fs::write(place.path("password"), "s3cret\n").unwrap();
        let mut running = place.start();
        let said = until("the rejection is logged", || {
            // A broker that is slow to start gives no answer at first.
            let is_rejection = |line: &String| line.contains("Sasl handshake failed: ");
            running.errors().find(is_rejection)
        });
        assert!(said.ends_with("retrying"), "{said}");
        assert!(!said.contains("s3cret"), "{said}");
        assert_eq!(running.end_by("TERM").code(), Some(0));
    }
    assert_eq!(left(&server, &["n1"], "LOG"), 500);
}

#[test]
fn connection_is_checked_without_a_write() {
    let Some((server, kafka)) = parts() else {
        return;
    };
    let place = place(&server, &kafka, "timeout = \"2s\"");
    let config = agg_poller::config::Config::read(&place.path("poller.toml"));
    let config = config.ok().unwrap();
    let check = || {
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.enable_all().build().unwrap();
        runtime
            .block_on(agg_poller::check::sinks(&config))
            .remove(0)
            .result
    };
    kafka.create_topic("agg.log", 1);
    let said = "Kafka with 1 topics; there is no topic agg.min, agg.hour, agg.error, agg.reality";
    assert_eq!(check().unwrap(), said);
    kafka.proxy.cut();
    assert!(check().is_err());
}

#[test]
fn mistakes_in_settings_are_reported_without_secrets() {
    let said = |uri: &str, more: &str| {
        let head = "[[source]]\nurls = [\"redis://127.0.0.1:7777\"]\n[[route]]\nqueues = [\"LOG\"]\nsinks = [\"s\"]\n";
        let sink = format!("[sink.s]\ntype = \"kafka\"\nuri = \"{uri}\"\n");
        let place = Place::new(&format!("{head}{sink}{more}"));
        let output = place.command("check").output().unwrap();
        (output.status.code(), err(&output))
    };
    for (uri, more) in [
        ("kafka://h1:9092,h2:9092", "compress = \"none\""),
        ("kafkas://h:9093", "create-topics = true\nreplication = 3"),
    ] {
        assert_eq!(said(uri, more).0, Some(0), "{uri}");
    }
    for (uri, more, expected) in [
        (
            "kafka://u:s3cret@h:1",
            "",
            ":9:7: expected kafka://HOST:PORT; user and password have their own keys",
        ),
        (
            "h:9092",
            "",
            ":9:7: expected kafka://HOST:PORT,HOST:PORT, or kafkas:// for TLS",
        ),
        (
            "kafka://h:1",
            "user = \"u\"",
            ":10:8: a user needs password-file or password-env",
        ),
        (
            "kafka://h:1",
            "sasl = \"plain\"",
            ":10:8: sasl needs a user",
        ),
        (
            "kafka://h:1",
            "tls-ca = \"ca.pem\"",
            ":10:10: \"tls-ca\" is for a kafkas:// URL",
        ),
        (
            "kafka://h:1",
            "prefix = \"a b\"",
            ":10:10: expected letters, digits",
        ),
        (
            "kafka://h:1",
            "partitions = 3",
            ":10:14: this key is for topics that are created",
        ),
        (
            "kafka://h:1",
            "compress = \"lz4\"",
            ":10:12: expected zstd, gzip or none",
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
