//! Events that wake a blocked client, and events that do not.

use super::*;

#[test]
fn available_records_are_delivered_without_blocking() {
    let Some(server) = Server::start() else {
        return;
    };
    let id: i64 = server.ask("AGG.LOG n text");
    let found = queued_records(&server.ask("AGG.FETCH n ERROR LOG BLOCK 0 COUNT 10"));
    assert_eq!((found.len(), found[0].id), (1, id));
}

#[test]
fn new_log_entry_wakes_clients_of_both_protocols() {
    let Some(server) = Server::start() else {
        return;
    };
    // The node exists and is empty.
    server.ask::<()>("AGG.LOG n text");
    server.ask::<()>("AGG.POP n LOG");
    for connection in [server.connection(), server.connection3()] {
        let waiter = Waiter::start_on(&server, connection, "AGG.FETCH n LOG BLOCK 0 COUNT 5");
        let id: i64 = server.ask("AGG.LOG n text");
        let record = waiter.record();
        assert_eq!((record.id, record.deliveries), (id, 1));
        assert_eq!(record.queue, "LOG");
        assert_eq!(record.json()["message"], "text");
        // It is leased like by any FETCH.
        assert_eq!(of_queue(&server, "n", "LOG", "leased"), 1);
        assert_eq!(server.ask::<i64>(&format!("AGG.ACK n LOG {id}")), 1);
    }
}

#[test]
fn new_error_and_new_or_changed_object_wake_a_client() {
    let Some(server) = Server::start() else {
        return;
    };
    for (queue, report) in [
        ("ERROR", "AGG.ERROR n text"),
        ("REALITY", "AGG.REALITY n k model 1"),
        ("REALITY", "AGG.REALITY n k model 2"),
        ("REALITY", "AGG.FORGET n REALITY k"),
    ] {
        let waiter = Waiter::start(&server, &format!("AGG.FETCH n {queue} BLOCK 0"));
        server.ask::<()>(report);
        let record = waiter.record();
        assert_eq!(record.queue, queue, "{report}");
        let ack = format!("AGG.ACK n {queue} {}", record.id);
        assert_eq!(server.ask::<i64>(&ack), 1, "{report}");
    }
}

#[test]
fn requeue_wakes_a_client() {
    let Some(server) = Server::start() else {
        return;
    };
    server.ask::<()>("AGG.REALITY n k model 1");
    server.ask::<()>("AGG.POP n REALITY");
    let waiter = Waiter::start(&server, "AGG.FETCH n REALITY BLOCK 0");
    server.ask::<()>("AGG.REQUEUE n REALITY");
    assert_eq!(waiter.record().json()["key"], "k");
}

#[test]
fn window_closed_by_the_timer_wakes_a_client() {
    let Some(server) = Server::with_settings("min-window 1 hour-window 2 flush-delay-ms 0") else {
        return;
    };
    let min = Waiter::start(&server, "AGG.FETCH n MIN BLOCK 0");
    let hour = Waiter::start(&server, "AGG.FETCH n HOUR BLOCK 0");
    server.ask::<()>("AGG.STAT n m 1");
    for (waiter, queue, window) in [(min, "MIN", 1), (hour, "HOUR", 2)] {
        let record = waiter.record();
        assert_eq!(record.queue, queue);
        assert_eq!(record.json()["window"], window);
        assert_eq!(record.json()["metric"], "m");
    }
}

#[test]
fn window_closed_by_a_sample_or_forget_wakes_a_client() {
    let Some(server) = Server::start() else {
        return;
    };
    let start = now_ms() / 3_600_000 * 3_600_000 - 7_200_000;
    let waiter = Waiter::start(&server, "AGG.FETCH n MIN BLOCK 0");
    server.ask::<()>(&format!("AGG.STAT n m 1 AT {start}"));
    server.ask::<()>(&format!("AGG.STAT n m 1 AT {}", start + 300_000));
    assert_eq!(waiter.record().json()["start"], start);
    let waiter = Waiter::start(&server, "AGG.FETCH n HOUR BLOCK 0");
    server.ask::<()>("AGG.FORGET n METRIC m");
    assert_eq!(waiter.record().json()["start"], start);
}

#[test]
fn error_requeued_by_the_timer_wakes_a_client() {
    let Some(server) = Server::with_settings("error-interval-ms 300") else {
        return;
    };
    server.ask::<()>("AGG.ERROR n text");
    server.ask::<()>("AGG.POP n ERROR");
    server.ask::<()>("AGG.ERROR n text");
    let found = queued_records(&server.ask("AGG.FETCH n ERROR BLOCK 0"));
    assert_eq!(found[0].json()["occurrences"], 2);
}

#[test]
fn expired_object_wakes_a_client() {
    let Some(server) = Server::start() else {
        return;
    };
    server.ask::<()>("AGG.REALITY n k model 1 TTL 2");
    server.ask::<()>("AGG.POP n REALITY");
    let waiter = Waiter::start(&server, "AGG.FETCH n REALITY BLOCK 0");
    assert_eq!(waiter.record().json()["gone"], true);
}

#[test]
fn expired_lease_wakes_a_client() {
    let Some(server) = Server::start() else {
        return;
    };
    let id: i64 = server.ask("AGG.LOG n text");
    server.ask::<()>("AGG.FETCH n LOG LEASE 2000");
    let waiter = Waiter::start(&server, "AGG.FETCH n LOG BLOCK 0");
    let record = waiter.record();
    assert_eq!((record.id, record.deliveries), (id, 2));
}

#[test]
fn nack_wakes_a_client() {
    let Some(server) = Server::start() else {
        return;
    };
    let id: i64 = server.ask("AGG.LOG n text");
    server.ask::<()>("AGG.FETCH n LOG LEASE 600000");
    let waiter = Waiter::start(&server, "AGG.FETCH n LOG BLOCK 0");
    assert_eq!(server.ask::<i64>(&format!("AGG.NACK n LOG {id}")), 1);
    let record = waiter.record();
    assert_eq!((record.id, record.deliveries), (id, 2));
}

#[test]
fn shortened_lease_wakes_a_client_at_its_new_end() {
    let Some(server) = Server::start() else {
        return;
    };
    let id: i64 = server.ask("AGG.LOG n text");
    server.ask::<()>("AGG.FETCH n LOG LEASE 600000");
    let waiter = Waiter::start(&server, "AGG.FETCH n LOG BLOCK 0");
    assert_eq!(server.ask::<i64>(&format!("AGG.EXTEND n LOG 1 {id}")), 1);
    assert_eq!(waiter.record().id, id);
}

#[test]
fn expired_lease_wakes_a_client_though_another_saw_it_first() {
    let Some(server) = Server::start() else {
        return;
    };
    let mut slept = Vec::new();
    for line in [
        "AGG.FETCH n LOG COUNT 1 LEASE 600000",
        "AGG.POP n LOG COUNT 1",
        "AGG.EXTEND n LOG 600000 1",
        "AGG.NACK n LOG 1",
        "AGG.ACK n LOG 1",
    ] {
        let a: i64 = server.ask("AGG.LOG n a");
        let b: i64 = server.ask("AGG.LOG n b");
        server.ask::<()>("AGG.FETCH n LOG LEASE 600000");
        let waiter = Waiter::start(&server, "AGG.FETCH n LOG BLOCK 3000");
        // Both leases expire, and another client comes before the timer.
        let extend = format!("AGG.EXTEND n LOG 1 {a} {b}");
        together(&server, &[&extend, "DEBUG SLEEP 0.05", line]);
        match waiter.reply().unwrap() {
            Value::Nil => slept.push(line),
            reply => assert_eq!(queued_records(&reply).pop().unwrap().id, b, "{line}"),
        }
        server.ask::<()>("DEL n");
    }
    assert!(
        slept.is_empty(),
        "an record is there and nobody wakes after {slept:?}"
    );
}

#[test]
fn record_of_another_queue_does_not_wake_a_client() {
    let Some(server) = Server::start() else {
        return;
    };
    let waiter = Waiter::start(&server, "AGG.FETCH n MIN ERROR BLOCK 0");
    server.ask::<()>("AGG.LOG n text");
    server.ask::<()>("AGG.REALITY n k model 1");
    waiter.goes_on_waiting(&server);
    server.ask::<()>("AGG.ERROR n text");
    assert_eq!(waiter.record().queue, "ERROR");
}

#[test]
fn record_of_another_node_or_database_does_not_wake_a_client() {
    let Some(server) = Server::start() else {
        return;
    };
    let mut elsewhere = server.connection();
    ask::<()>(&mut elsewhere, "SELECT 3");
    let waiter = Waiter::start_on(&server, elsewhere, "AGG.FETCH n LOG BLOCK 0");
    server.ask::<()>("AGG.LOG n text");
    let mut there = server.connection();
    ask::<()>(&mut there, "SELECT 3");
    ask::<()>(&mut there, "AGG.LOG other text");
    waiter.goes_on_waiting(&server);
    let id: i64 = ask(&mut there, "AGG.LOG n text");
    assert_eq!(waiter.record().id, id);
}

#[test]
fn record_of_a_transaction_wakes_a_client_after_exec() {
    let Some(server) = Server::start() else {
        return;
    };
    let waiter = Waiter::start(&server, "AGG.FETCH n REALITY LOG BLOCK 0");
    let lines = [
        "AGG.LOG n first",
        "AGG.REALITY n k model 1",
        "AGG.LOG n second",
    ];
    together(&server, &lines);
    // All records, the queues in the order named.
    let queues: Vec<String> = waiter.records().into_iter().map(|e| e.queue).collect();
    assert_eq!(queues, ["REALITY", "LOG", "LOG"]);
}

#[test]
fn record_consumed_within_its_transaction_wakes_no_client() {
    let Some(server) = Server::start() else {
        return;
    };
    let waiter = Waiter::start(&server, "AGG.FETCH n LOG BLOCK 0");
    together(&server, &["AGG.LOG n text", "AGG.POP n LOG"]);
    waiter.goes_on_waiting(&server);
    let id: i64 = server.ask("AGG.LOG n text");
    assert_eq!(waiter.record().id, id);
}

#[test]
fn options_of_a_blocked_fetch_apply_when_it_wakes() {
    let Some(server) = Server::start() else {
        return;
    };
    let start = now_ms() / 3_600_000 * 3_600_000 - 7_200_000;
    let line = "AGG.FETCH n MIN HOUR COUNT 1 LEASE 1 BLOCK 0 FORMAT LINE";
    let waiter = Waiter::start(&server, line);
    server.ask::<()>(&format!("AGG.STAT n m 1 AT {start}"));
    server.ask::<()>("AGG.FORGET n METRIC m");
    let record = waiter.record();
    assert_eq!(record.queue, "MIN");
    assert!(record.text.starts_with("m,node=n,window=300s "));
    let again = queued_records(&server.ask("AGG.FETCH n MIN BLOCK 0"));
    assert_eq!((again[0].id, again[0].deliveries), (record.id, 2));
}
