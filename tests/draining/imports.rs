//! AGG.IMPORT between two servers, and what becomes of imports when nodes are moved, copied and blocked for.

use super::*;

/// Brings what a node of one server has in a queue to another server. Returns the ids.
fn relay(leaf: &Server, hub: &Server, node: &str, queue: &str) -> Vec<i64> {
    let fetched: Value = leaf.ask(&format!("AGG.FETCH {node} {queue} COUNT 1000 WITHFLOOR"));
    let fetched = list(&fetched);
    let Some(first) = fetched.first() else {
        return Vec::new();
    };
    let of = |record: &Value, i: usize| match &list(record)[i] {
        Value::Int(n) => n.to_string().into_bytes(),
        Value::BulkString(text) => text.clone(),
        other => panic!("{other:?}"),
    };
    let floor = of(first, 4);
    let mut words = vec![
        b"AGG.IMPORT".to_vec(),
        node.into(),
        queue.into(),
        b"FLOOR".to_vec(),
        floor,
    ];
    for record in fetched {
        words.extend([of(record, 1), of(record, 3)]);
    }
    let words: Vec<&[u8]> = words.iter().map(|word| &word[..]).collect();
    assert_eq!(hub.send::<i64>(&words), fetched.len() as i64);
    let ids = fetched.iter().map(|r| String::from_utf8(of(r, 1)).unwrap());
    ids.map(|id| id.parse().unwrap()).collect()
}

#[test]
fn hub_delivers_what_the_leaf_had_in_both_formats() {
    let (Some(leaf), Some(hub)) = (Server::start(), Server::with_settings("min-window 60")) else {
        return;
    };
    one_of_each(&leaf, "n");
    for queue in QUEUES {
        for format in ["JSON", "LINE"] {
            if format == "LINE" && !["MIN", "HOUR"].contains(&queue) {
                continue;
            }
            let text = |server: &Server| -> Vec<String> {
                let records = take(server, &format!("AGG.PEEK n {queue} FORMAT {format}"));
                records.into_iter().map(|record| record.text).collect()
            };
            let there = text(&leaf);
            assert!(!there.is_empty());
            let ids = relay(&leaf, &hub, "n", queue);
            let back: Vec<String> = ids.iter().map(|id| id.to_string()).collect();
            if !back.is_empty() {
                let _: i64 = leaf.ask(&format!("AGG.NACK n {queue} {}", back.join(" ")));
            }
            assert_eq!(text(&hub), there, "{queue} {format}");
        }
    }
    let info: Value = hub.ask("AGG.INFO n");
    assert_eq!((int(&info, "errors"), int(&info, "metrics")), (0, 0));
    assert_eq!(int(&info, "imported"), 5);
    assert_eq!(int(&info, "import-duplicates"), 2);
}

#[test]
fn import_wakes_a_client_that_waits() {
    let Some(server) = Server::start() else {
        return;
    };
    for round in 1..=2 {
        let mut waiting = server.connection();
        let waits = std::thread::spawn(move || -> Value {
            ask(&mut waiting, "AGG.FETCH n LOG BLOCK 20000")
        });
        until("a client waits", || {
            let blocked: i64 = server.info_field("clients", "blocked_clients");
            (blocked == 1).then_some(())
        });
        let line = format!("AGG.IMPORT n LOG{}", imported("n", "LOG", round));
        let stored: i64 = server.send(&words(&line));
        assert_eq!(stored, 1);
        assert_eq!(ids(&queued_records(&waits.join().unwrap())), [round]);
    }
}

#[test]
fn imports_survive_dump_copy_and_rename() {
    let Some(server) = Server::start() else {
        return;
    };
    let send = |line: &str| -> Value { server.send(&words(line)) };
    send(&format!(
        "AGG.IMPORT n LOG FLOOR 4{}{}{}",
        imported("n", "LOG", 5),
        imported("n", "LOG", 6),
        imported("n", "LOG", 9)
    ));
    send("AGG.ACK n LOG 6");
    let digest = server.digest("n");
    let dump: Vec<u8> = server.ask("DUMP n");
    let () = server.send(&[b"RESTORE", b"restored", b"0", &dump]);
    let copied: i64 = server.ask("COPY n copied");
    assert_eq!(copied, 1);
    for node in ["restored", "copied"] {
        assert_eq!(server.digest(node), digest);
        let () = server.ask("DEL n");
        let () = server.ask(&format!("RENAME {node} n"));
        // What is known there is known here.
        let known = format!(
            "AGG.IMPORT n LOG{}{}",
            imported("n", "LOG", 4),
            imported("n", "LOG", 6)
        );
        assert_eq!(send(&known), Value::Int(2));
        assert_eq!(ids(&take(&server, "AGG.PEEK n LOG")), [5, 9]);
    }
}

#[test]
fn record_of_another_node_is_rejected_and_nothing_is_created() {
    let Some(server) = Server::start() else {
        return;
    };
    let line = format!("AGG.IMPORT other LOG{}", imported("n", "LOG", 1));
    let error = rejection(&mut server.connection(), &words(&line));
    assert_eq!(error, "ERR AGG.IMPORT: record 1: node is 'n', not 'other'");
    assert_eq!(server.ask::<i64>("EXISTS other"), 0);
    let refused: i64 = server.info_field("agg", "agg_refused_argument");
    assert_eq!(refused, 1);
}
