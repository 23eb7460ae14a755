//! AGG.PEEK: it shows records in both directions and from any id, and changes nothing.

use std::collections::BTreeMap;

use super::*;

#[test]
fn peek_changes_nothing() {
    let Some(server) = Server::start() else {
        return;
    };
    one_of_each(&server, "n");
    let digest = server.digest("n");
    let peek = "AGG.PEEK n MIN HOUR LOG ERROR REALITY";
    let peeked = take(&server, peek);
    assert_eq!(peeked.len(), 5);
    assert!(peeked.iter().all(|e| e.deliveries == 0));
    assert_eq!(take(&server, peek), peeked);
    assert_eq!(server.digest("n"), digest);
    // A peek is not a delivery.
    let fetched = take(&server, "AGG.FETCH n MIN HOUR LOG ERROR REALITY");
    assert_eq!(ids(&fetched), ids(&peeked));
    assert!(fetched.iter().all(|e| e.deliveries == 1));
}

#[test]
fn peek_starts_at_from_and_goes_down_with_rev() {
    let Some(server) = Server::start() else {
        return;
    };
    let all: Vec<i64> = (0..5).map(|_| log(&server, "n", "text")).collect();
    let [a, b, c, d, e] = all[..] else {
        unreachable!()
    };
    server.ask::<()>(&format!("AGG.ACK n LOG {c}"));
    for (options, expected) in [
        ("".to_owned(), vec![a, b, d, e]),
        (" REV".to_owned(), vec![e, d, b, a]),
        (format!(" FROM {b}"), vec![b, d, e]),
        (format!(" FROM {c}"), vec![d, e]),
        (format!(" FROM {}", e + 1), vec![]),
        (" FROM 0".to_owned(), vec![a, b, d, e]),
        (format!(" FROM {d} REV"), vec![d, b, a]),
        (format!(" REV FROM {c}"), vec![b, a]),
        (format!(" FROM {} REV", a - 1), vec![]),
        (" FROM 0 REV".to_owned(), vec![]),
        (format!(" COUNT 2 FROM {b}"), vec![b, d]),
        (format!(" COUNT 2 REV FROM {d}"), vec![d, b]),
        (" REV COUNT 1".to_owned(), vec![e]),
    ] {
        let found = take(&server, &format!("AGG.PEEK n LOG{options}"));
        assert_eq!(ids(&found), expected, "{options}");
    }
}

#[test]
fn from_and_rev_apply_to_each_queue() {
    let Some(server) = Server::start() else {
        return;
    };
    let mut ids_by_key = BTreeMap::new();
    for key in ["a", "b", "c"] {
        server.ask::<()>(&format!("AGG.ERROR n {key} KEY {key}"));
        server.ask::<()>(&format!("AGG.REALITY n {key} model 1"));
    }
    for record in take(&server, "AGG.PEEK n ERROR REALITY") {
        let key = record.json()["key"].as_str().unwrap().to_owned();
        ids_by_key.insert((record.queue, key), record.id);
    }
    let id = |queue: &str, key: &str| ids_by_key[&(queue.to_owned(), key.to_owned())];
    let (error, object) = (|key| id("ERROR", key), |key| id("REALITY", key));
    // Errors and objects were queued alternately, so the id of an object lies between ids of both queues.
    for (options, expected) in [
        (
            format!("FROM {}", object("b")),
            vec![error("c"), object("b"), object("c")],
        ),
        (
            format!("FROM {} REV", object("b")),
            vec![error("b"), error("a"), object("b"), object("a")],
        ),
    ] {
        let found = take(&server, &format!("AGG.PEEK n ERROR REALITY {options}"));
        assert_eq!(ids(&found), expected, "{options}");
    }
}

#[test]
fn peek_works_on_a_replica_and_writes_are_rejected() {
    let no_delay = ["--repl-diskless-sync-delay", "0"];
    let (Some(server), Some(replica)) = (Server::with_module(&no_delay, ""), Server::start())
    else {
        return;
    };
    one_of_each(&server, "n");
    replica.ask::<()>(&format!("REPLICAOF 127.0.0.1 {}", server.port));
    until("the replica has the node", || {
        (replica.digest("n") == server.digest("n")).then_some(())
    });
    let line = "AGG.PEEK n MIN HOUR LOG ERROR REALITY";
    assert_eq!(take(&replica, line), take(&server, line));
    for line in [
        "AGG.POP n LOG",
        "AGG.FETCH n LOG",
        "AGG.FETCH n LOG BLOCK 0",
        "AGG.ACK n LOG 1",
        "AGG.NACK n LOG 1",
        "AGG.EXTEND n LOG 1 1",
        "AGG.REQUEUE n ERROR",
    ] {
        let error = replica.error(line);
        assert!(error.starts_with("READONLY "), "{line}: {error}");
    }
}
