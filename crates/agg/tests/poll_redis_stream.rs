//! `agg poll` with a real server as the target of streams: what entries look like, what is remembered, and what happens
//! while the server replies with errors. The suite of all sinks has the other faults. The source is another server.

use std::collections::{BTreeSet, HashMap};

use crate::support::certs::Certs;
use crate::support::place::{
    Id, Place, end, id, left, log, names, settings, until_empty, until_retried, windows,
};
use crate::support::{Server, err, free_port, of_queue, until};

const QUEUES: [&str; 5] = ["MIN", "HOUR", "LOG", "ERROR", "REALITY"];

type Entry = (String, HashMap<String, String>);

/// Starts a source and a target; `None` if a program is missing.
fn parts() -> Option<(Server, Server)> {
    Some((Server::start()?, Server::with(&[])?))
}

/// Returns a poller that drains all queues into the streams of a URL, with more keys of its sink.
fn place(source: &Server, url: &str, more: &str) -> Place {
    Place::new(&settings(
        source,
        &format!(
            "[[route]]\nqueues = [\"MIN\", \"HOUR\", \"LOG\", \"ERROR\", \"REALITY\"]\nsinks = [\"out\"]\n\
             [sink.out]\ntype = \"redis-stream\"\nuri = \"{url}\"\n{more}\n"
        ),
    ))
}

fn entries(target: &Server, stream: &str) -> Vec<Entry> {
    target.ask(&format!("XRANGE {stream} - +"))
}

fn ids(target: &Server, stream: &str) -> Vec<Id> {
    let entries = entries(target, stream);
    entries
        .iter()
        .map(|(_, entry)| id(&entry["record"]))
        .collect()
}

/// Asserts that the stream of the log has these records, each once.
fn assert_once(target: &Server, expected: &BTreeSet<Id>) {
    let stored = ids(target, "agg:log");
    assert_eq!(stored.len(), expected.len());
    assert_eq!(&BTreeSet::from_iter(stored), expected);
}

#[test]
fn records_of_all_queues_become_entries() {
    let Some((source, target)) = parts() else {
        return;
    };
    windows(&source, "n1", &names(20));
    until("the hour closes", || {
        (of_queue(&source, "n1", "HOUR", "length") == 20).then_some(())
    });
    for text in ["plain", "\u{1f600} \u{e9} \"'\\", "a\r\n\tb\u{1}"] {
        source.send::<i64>(&[b"AGG.LOG", b"n1", text.as_bytes(), b"TAGS", b"a.b:1"]);
        source.send::<(String, i64)>(&[b"AGG.ERROR", b"n1", text.as_bytes(), b"CODE", b"c7"]);
    }
    source.send::<redis::Value>(&[
        b"AGG.REALITY",
        b"n1",
        b"disk/0",
        b"Disk",
        b"{\"a\":[1.50,null]}",
    ]);
    let expected: Vec<Vec<serde_json::Value>> = QUEUES.map(|queue| source.peek("n1", queue)).into();
    let place = place(&source, &target.url(), "");
    let running = place.start();
    for (queue, expected) in QUEUES.iter().zip(expected) {
        until_empty(&source, &["n1"], queue);
        let stream = format!("agg:{}", queue.to_lowercase());
        let entries = entries(&target, &stream);
        let mut found = Vec::new();
        for (_, entry) in &entries {
            let record: serde_json::Value = serde_json::from_str(&entry["record"]).unwrap();
            assert_eq!(entry.len(), 4);
            assert_eq!(entry["node"], "n1");
            assert_eq!(entry["queue"], *queue);
            assert_eq!(entry["id"], record["id"].to_string());
            found.push(record);
        }
        assert!(!expected.is_empty());
        let sorted = |mut records: Vec<serde_json::Value>| {
            records.sort_by_key(|record| record["id"].as_i64());
            records
        };
        assert_eq!(sorted(found), sorted(expected), "{queue}");
    }
    assert!(place.lines("dead").is_empty());
    end(running);
}

#[test]
fn server_remembers_as_many_records_as_are_configured() {
    let Some((source, target)) = parts() else {
        return;
    };
    // An older entry of the memory is forgotten, a newer one is kept.
    let first = place(
        &source,
        &target.url(),
        "deduplicate = 600\nmax-length = 800\nprefix = \"{t}:\"",
    );
    let running = first.start();
    log(&source, &["n1"], 5000, "x");
    until_empty(&source, &["n1"], "LOG");
    assert_eq!(target.ask::<usize>("ZCARD {t}:log:known"), 600);
    // MAXLEN ~ removes whole nodes of the stream, of 100 entries.
    let length = target.ask::<usize>("XLEN {t}:log");
    assert!((800..1000).contains(&length), "{length}");
    let last: Vec<Entry> = target.ask("XREVRANGE {t}:log + - COUNT 600");
    let known: BTreeSet<String> = target.ask("ZRANGE {t}:log:known 0 -1");
    let expected = last.iter().map(|(_, entry)| format!("{} n1", entry["id"]));
    assert_eq!(expected.collect::<BTreeSet<_>>(), known);
    end(running);
    // Without a memory there is no other key.
    let second = place(
        &source,
        &target.url(),
        "deduplicate = 0\nprefix = \"plain:\"",
    );
    let running = second.start();
    let all = log(&source, &["n2"], 1000, "x");
    until_empty(&source, &["n2"], "LOG");
    assert_eq!(BTreeSet::from_iter(ids(&target, "plain:log")), all);
    assert_eq!(target.ask::<Vec<String>>("KEYS *plain*"), ["plain:log"]);
    end(running);
}

#[test]
fn errors_of_the_server_are_retried_with_their_reason() {
    let Some((source, target)) = parts() else {
        return;
    };
    let place = place(&source, &target.url(), "");
    let mut running = place.start();
    let mut errors = running.errors();
    let mut all = BTreeSet::new();
    for (fault, reason, repair) in [
        ("SET agg:log x", "stream agg:log: WRONGTYPE", "DEL agg:log"),
        (
            "SET {agg:log}:known x",
            "what it remembers, has another type",
            "DEL {agg:log}:known",
        ),
        (
            "CONFIG SET maxmemory 1",
            "stream agg:log: OOM",
            "CONFIG SET maxmemory 0",
        ),
        (
            "CONFIG SET min-replicas-to-write 1",
            "NOREPLICAS",
            "CONFIG SET min-replicas-to-write 0",
        ),
        ("REPLICAOF 127.0.0.1 1", "READONLY", "REPLICAOF NO ONE"),
        (
            "ACL SETUSER default -eval",
            "NOPERM",
            "ACL SETUSER default +eval",
        ),
        (
            "CONFIG SET requirepass s3cret",
            "requires a password: set password-file",
            "ACL SETUSER default nopass",
        ),
    ] {
        let mut connection = target.connection();
        let mut ask = |line: &str| crate::support::ask::<redis::Value>(&mut connection, line);
        if fault.starts_with("SET") {
            // The key is in the way from the beginning.
            target.ask::<()>("DEL agg:log {agg:log}:known");
            all.clear();
        }
        ask(fault);
        if fault.contains("requirepass") {
            ask("AUTH s3cret");
            ask("CLIENT KILL TYPE normal");
        }
        all.extend(log(&source, &["n1"], 500, "x"));
        until_retried(&mut errors, reason);
        ask(repair);
        until_empty(&source, &["n1"], "LOG");
        assert_once(&target, &all);
    }
    assert!(place.lines("dead").is_empty());
    end(running);
}

#[test]
fn encrypted_server_with_a_user_is_reached() {
    let Some(source) = Server::start() else {
        return;
    };
    let certs = Certs::new("localhost");
    let port = free_port();
    let mut arguments = certs.arguments(port);
    arguments.extend(["--user", "default", "on", "nopass", "~*", "&*", "+@all"].map(str::to_owned));
    // The permissions that the page names.
    let user = "on >s3cret ~agg:* ~{agg:* +eval +xadd +zadd +zscore +zremrangebyrank";
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let Some(target) = Server::with(&words) else {
        return;
    };
    target.ask::<()>(&format!("ACL SETUSER poller {user}"));
    let path = |file: &str| certs.path(file).display().to_string();
    let more = format!(
        "user = \"poller\"\npassword-file = \"{{dir}}/password\"\ntls-ca = \"{}\"\ntls-cert = \"{}\"\ntls-key = \"{}\"",
        path("ca.pem"),
        path("client.pem"),
        path("client.key")
    );
    let url = format!("rediss://localhost:{port}");
    let place = place(&source, &url, &more);
    std::fs::write(place.path("password"), "wr0ng\n").unwrap();
    let all = log(&source, &["n1"], 500, "x");
    let mut running = place.start();
    let mut errors = running.errors();
    until_retried(&mut errors, "does not accept the user or password");
    running.signal("TERM");
    assert_eq!(running.wait().code(), Some(0));
    assert_eq!(left(&source, &["n1"], "LOG"), 500);
    std::fs::write(place.path("password"), "s3cret\n").unwrap();
    let running = place.start();
    until_empty(&source, &["n1"], "LOG");
    assert_once(&target, &all);
    end(running);
}

#[test]
fn connection_is_checked_without_a_write() {
    let Some((source, target)) = parts() else {
        return;
    };
    let place = place(&source, &target.url(), "");
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
    let described = check().unwrap();
    assert!(
        described.ends_with(&format!(" at {}", target.url())),
        "{described}"
    );
    target.ask::<()>("SET agg:hour x");
    let rejected = check().unwrap_err();
    assert!(
        rejected.contains("WRONGTYPE agg:hour is a string"),
        "{rejected}"
    );
    target.ask::<()>("DEL agg:hour");
    assert_eq!(target.ask::<usize>("DBSIZE"), 0);
}

#[test]
fn mistakes_in_settings_are_reported_without_secrets() {
    let said = |uri: &str, more: &str| {
        let head = "[[source]]\nurls = [\"redis://127.0.0.1:7777\"]\n[[route]]\nqueues = [\"LOG\"]\nsinks = [\"s\"]\n";
        let sink = format!("[sink.s]\ntype = \"redis-stream\"\nuri = \"{uri}\"\n");
        let place = Place::new(&format!("{head}{sink}{more}"));
        let output = place.command("check").output().unwrap();
        (output.status.code(), err(&output))
    };
    for uri in [
        "redis://127.0.0.1:1/3",
        "unix:///run/redis.sock",
        "valkey://h",
    ] {
        assert_eq!(said(uri, "").0, Some(0), "{uri}");
    }
    for (uri, more, expected) in [
        (
            "redis://u:s3cret@h",
            "",
            ":9:7: expected redis://HOST:PORT; user and password have their own keys",
        ),
        ("http://h", "", "is not usable (redis url did not parse)"),
        (
            "redis://h",
            "user = \"u\"",
            ":10:8: a user needs password-file or password-env",
        ),
        (
            "redis://h",
            "tls-ca = \"ca.pem\"",
            "is not encrypted: write rediss://",
        ),
        (
            "redis://h",
            "max-length = 0",
            ":10:14: expected a number from 1",
        ),
        (
            "redis://h",
            "url = \"x\"",
            "a sink of type redis-stream has no \"url\"",
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
