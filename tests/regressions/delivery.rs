//! D15 to D17: errors, objects and tags as they are delivered.

use super::*;

/// D15: after 100 occurrences of an error nothing more was delivered: 99 were lost.
#[test]
fn d15a_occurrences_after_the_first_delivery_are_delivered_by_the_timer() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    server.ask::<Value>("AGG.ERROR n failed");
    server.ask::<Value>("AGG.POP n ERROR");
    for _ in 0..99 {
        server.ask::<Value>("AGG.ERROR n failed");
    }
    assert!(
        server.peek("n", "ERROR").is_empty(),
        "not before five minutes"
    );
    server.ask::<()>("CONFIG SET agg.error-interval-ms 1");
    let records = arrived(&server, "ERROR", 1);
    assert_eq!(all(&records, "occurrences"), [100]);
}

/// D15: an error had duplicates in the queue.
#[test]
fn d15b_error_has_one_record_however_often_it_occurs() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    for _ in 0..100 {
        server.ask::<Value>("AGG.ERROR n failed");
    }
    assert_eq!(all(&server.peek("n", "ERROR"), "occurrences"), [100]);
}

/// D15: the number of errors had no limit.
#[test]
fn d15c_errors_are_bounded_and_undelivered_ones_are_dropped_last() {
    let Some(server) = Server::with_settings(&format!("{CALM} max-errors 3")) else {
        return;
    };
    let report = |key: &str| {
        server.ask::<Value>(&format!("AGG.ERROR n failed KEY {key}"));
    };
    let dropped = || {
        let info: Value = server.ask("AGG.INFO n");
        assert_eq!(int(&info, "errors"), 3);
        int(
            at(at(&info, "queues").unwrap(), "ERROR").unwrap(),
            "dropped",
        )
    };
    let held = || {
        let (_, mut keys): (String, Vec<String>) = server.ask("AGG.SCAN n ERROR 0");
        keys.sort();
        keys.concat()
    };
    "abc"
        .split_terminator("")
        .filter(|k| !k.is_empty())
        .for_each(report);
    server.ask::<Value>("AGG.POP n ERROR COUNT 2");
    // Of the delivered errors a and b, b was last seen longer ago.
    report("a");
    report("d");
    assert_eq!((held(), dropped()), ("acd".into(), 0));
    report("e");
    assert_eq!((held(), dropped()), ("cde".into(), 0));
    // All are pending: the one last seen longest ago is dropped and counted.
    report("c");
    report("f");
    assert_eq!((held(), dropped()), ("cef".into(), 1));
    assert_eq!(all(&server.peek("n", "ERROR"), "key"), ["c", "e", "f"]);
}

/// D16: three updates of an object made three records.
#[test]
fn d16a_object_has_one_record_with_its_latest_state() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    for state in ["1", "2", "3"] {
        assert_eq!(
            server.ask::<i64>(&format!("AGG.REALITY n sda system.Disk {state}")),
            1
        );
    }
    assert_eq!(all(&server.peek("n", "REALITY"), "json"), [3]);
}

/// D16: the same object of two nodes overwrote each other.
#[test]
fn d16b_objects_of_one_key_in_two_nodes_are_distinct() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    for (node, state) in [("one", 1), ("two", 2)] {
        server.ask::<i64>(&format!("AGG.REALITY {node} sda system.Disk {state}"));
    }
    for (node, state) in [("one", 1), ("two", 2)] {
        let records = server.peek(node, "REALITY");
        assert_eq!(all(&records, "json"), [state]);
        assert_eq!(all(&records, "node"), [node]);
    }
}

/// D16: an older state of an object overwrote a newer one.
#[test]
fn d16c_older_state_does_not_overwrite_a_newer_one() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    let t = past();
    let report = |state: i64, at: i64| {
        server.ask::<i64>(&format!("AGG.REALITY n sda system.Disk {state} AT {at}"))
    };
    assert_eq!((report(2, t), report(1, t - 1_000)), (1, -1));
    assert_eq!(all(&server.peek("n", "REALITY"), "json"), [2]);
    server.ask::<Value>("AGG.POP n REALITY");
    assert_eq!(report(1, t - 1_000), -1, "nor when it was delivered");
    assert!(server.peek("n", "REALITY").is_empty());
}

/// D17: a row carried the tags of the time of draining.
#[test]
fn d17_record_has_the_tags_of_its_window() {
    let Some(server) = Server::with_settings(SHORT) else {
        return;
    };
    let t = past();
    let line = |tags: &str, ms: i64| format!("AGG.STAT n m 1 TAGS {tags} AT {}", t + ms);
    together(&server, &[line("rack:1", 0), line("rack:2", 1_000)]);
    arrived(&server, "MIN", 2);
    server.ask::<i64>("AGG.STAT n m 1 TAGS rack:3");
    let tags = all(&server.peek("n", "MIN")[..2], "tags");
    assert_eq!(
        tags,
        [
            serde_json::json!({"rack": "1"}),
            serde_json::json!({"rack": "2"})
        ]
    );
}
