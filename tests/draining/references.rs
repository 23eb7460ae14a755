//! Errors and objects: their queues hold references, so records show the current state.

use super::*;

#[test]
fn error_has_one_record_that_shows_its_current_state() {
    let Some(server) = Server::start() else {
        return;
    };
    for level in [3, 4, 7] {
        server.ask::<()>(&format!("AGG.ERROR n text KEY k LEVEL {level}"));
    }
    let waits = only(&server, "AGG.PEEK n ERROR").json();
    assert_eq!(
        (&waits["occurrences"], &waits["level"]),
        (&3.into(), &7.into())
    );
    let popped = only(&server, "AGG.POP n ERROR").json();
    assert_eq!(popped, waits);
}

#[test]
fn error_that_occurs_while_leased_is_delivered_again_under_a_new_id() {
    let Some(server) = Server::start() else {
        return;
    };
    server.ask::<()>("AGG.ERROR n text KEY k");
    let old = only(&server, "AGG.FETCH n ERROR LEASE 1");
    server.ask::<()>("AGG.ERROR n text KEY k LEVEL 1");
    let new = take_when_there(&server, "AGG.FETCH n ERROR LEASE 600000");
    assert!(new.len() == 1 && new[0].id > old.id, "{new:?}");
    assert_eq!(new[0].deliveries, 1);
    assert_eq!(new[0].json()["occurrences"], 2);
    assert_eq!(info(&server, "n", "ERROR", "length"), 1);
    assert_eq!(info(&server, "n", "ERROR", "leased"), 1);
    for (id, removed) in [(old.id, 0), (new[0].id, 1)] {
        let line = format!("AGG.ACK n ERROR {id}");
        assert_eq!(server.ask::<i64>(&line), removed);
    }
}

#[test]
fn error_that_occurs_while_leased_is_requeued_after_the_interval_and_survives_a_late_ack() {
    let Some(server) = Server::with_settings("error-interval-ms 100") else {
        return;
    };
    server.ask::<()>("AGG.ERROR n text KEY k");
    let old = only(&server, "AGG.FETCH n ERROR LEASE 600000");
    server.ask::<()>("AGG.ERROR n text KEY k");
    let new = until("it is queued again", || {
        take(&server, "AGG.PEEK n ERROR")
            .into_iter()
            .find(|e| e.id != old.id)
    });
    assert_eq!(info(&server, "n", "ERROR", "length"), 1);
    assert_eq!(info(&server, "n", "ERROR", "leased"), 0);
    for command in [
        "AGG.ACK n ERROR",
        "AGG.NACK n ERROR",
        "AGG.EXTEND n ERROR 1000",
    ] {
        let line = format!("{command} {}", old.id);
        assert_eq!(server.ask::<i64>(&line), 0, "{line}");
    }
    let popped = only(&server, "AGG.POP n ERROR");
    assert_eq!((popped.id, popped.deliveries), (new.id, 1));
    assert_eq!(popped.json()["occurrences"], 2);
}

#[test]
fn occurrences_before_an_ack_are_delivered_later() {
    let Some(server) = Server::with_settings("error-interval-ms 100") else {
        return;
    };
    server.ask::<()>("AGG.ERROR n text KEY k");
    let id = only(&server, "AGG.PEEK n ERROR").id;
    let replies = together(
        &server,
        &[
            "AGG.FETCH n ERROR",
            "AGG.ERROR n text KEY k",
            &format!("AGG.ACK n ERROR {id}"),
            "AGG.FETCH n ERROR",
        ],
    );
    assert_eq!(replies[2], Value::Int(1));
    assert_eq!(replies[3], Value::Array(vec![]));
    let news = take_when_there(&server, "AGG.POP n ERROR");
    assert!(news[0].id > id);
    assert_eq!(news[0].json()["occurrences"], 2);
}

#[test]
fn forget_of_an_error_removes_its_record() {
    let Some(server) = Server::start() else {
        return;
    };
    for line in ["AGG.PEEK n ERROR", "AGG.FETCH n ERROR"] {
        server.ask::<()>("AGG.ERROR n text KEY k");
        let id = only(&server, line).id;
        assert_eq!(server.ask::<i64>("AGG.FORGET n ERROR k"), 1);
        assert_eq!(info(&server, "n", "ERROR", "length"), 0);
        assert_eq!(info(&server, "n", "ERROR", "leased"), 0);
        assert_eq!(server.ask::<i64>(&format!("AGG.ACK n ERROR {id}")), 0);
    }
}

#[test]
fn object_has_one_record_that_shows_its_current_state() {
    let Some(server) = Server::start() else {
        return;
    };
    for json in ["1", "2", "3"] {
        server.ask::<()>(&format!("AGG.REALITY n k model {json}"));
    }
    assert_eq!(only(&server, "AGG.PEEK n REALITY").json()["json"], 3);
    assert_eq!(only(&server, "AGG.POP n REALITY").json()["json"], 3);
    // Identical content queues nothing.
    assert_eq!(server.ask::<i64>("AGG.REALITY n k model 3"), 0);
    assert_eq!(take(&server, "AGG.POP n REALITY"), []);
}

#[test]
fn object_that_changes_while_leased_is_requeued_under_a_new_id_and_survives_a_late_ack() {
    let Some(server) = Server::start() else {
        return;
    };
    server.ask::<()>("AGG.REALITY n k model 1");
    let old = only(&server, "AGG.FETCH n REALITY LEASE 600000");
    server.ask::<()>("AGG.REALITY n k model 2");
    assert_eq!(info(&server, "n", "REALITY", "leased"), 0);
    for command in [
        "AGG.ACK n REALITY",
        "AGG.NACK n REALITY",
        "AGG.EXTEND n REALITY 1000",
    ] {
        let line = format!("{command} {}", old.id);
        assert_eq!(server.ask::<i64>(&line), 0, "{line}");
    }
    let new = only(&server, "AGG.FETCH n REALITY");
    assert!(new.id > old.id && new.deliveries == 1, "{new:?}");
    assert_eq!(new.json()["json"], 2);
    let line = format!("AGG.ACK n REALITY {}", new.id);
    assert_eq!(server.ask::<i64>(&line), 1);
}

#[test]
fn unchanged_object_stays_leased_under_its_id() {
    let Some(server) = Server::start() else {
        return;
    };
    server.ask::<()>("AGG.REALITY n k model 1");
    let fetched = only(&server, "AGG.FETCH n REALITY");
    assert_eq!(server.ask::<i64>("AGG.REALITY n k model 1"), 0);
    assert_eq!(only(&server, "AGG.PEEK n REALITY"), fetched);
    let line = format!("AGG.ACK n REALITY {}", fetched.id);
    assert_eq!(server.ask::<i64>(&line), 1);
}

#[test]
fn gone_object_is_removed_once_popped_or_acknowledged() {
    let Some(server) = Server::start() else {
        return;
    };
    for by_ack in [false, true] {
        server.ask::<()>("AGG.REALITY n k model 1");
        server.ask::<()>("AGG.POP n REALITY");
        assert_eq!(server.ask::<i64>("AGG.FORGET n REALITY k"), 1);
        let waits = only(&server, "AGG.PEEK n REALITY");
        assert_eq!(waits.json()["gone"], true);
        assert_eq!(
            server.field("AGG.GET n REALITY k", "gone"),
            Some(Value::Int(1))
        );
        if by_ack {
            assert_eq!(only(&server, "AGG.FETCH n REALITY").id, waits.id);
            assert!(server.field("AGG.GET n REALITY k", "gone").is_some());
            server.ask::<()>(&format!("AGG.ACK n REALITY {}", waits.id));
        } else {
            assert_eq!(only(&server, "AGG.POP n REALITY").id, waits.id);
        }
        assert_eq!(server.ask::<Value>("AGG.GET n REALITY k"), Value::Nil);
        assert_eq!(take(&server, "AGG.PEEK n REALITY"), []);
    }
}

#[test]
fn object_that_expires_while_leased_is_requeued_under_a_new_id() {
    let Some(server) = Server::start() else {
        return;
    };
    server.ask::<()>("AGG.REALITY n k model 1");
    let old = only(&server, "AGG.FETCH n REALITY");
    assert_eq!(server.ask::<i64>("AGG.FORGET n REALITY k"), 1);
    let line = format!("AGG.ACK n REALITY {}", old.id);
    assert_eq!(server.ask::<i64>(&line), 0);
    let gone = only(&server, "AGG.POP n REALITY");
    assert!(gone.id > old.id && gone.deliveries == 1);
    assert_eq!(gone.json()["gone"], true);
}

#[test]
fn returned_object_survives_the_ack_of_its_end() {
    let Some(server) = Server::start() else {
        return;
    };
    server.ask::<()>("AGG.REALITY n k model 1");
    server.ask::<()>("AGG.POP n REALITY");
    server.ask::<()>("AGG.FORGET n REALITY k");
    let end = only(&server, "AGG.FETCH n REALITY");
    assert_eq!(server.ask::<i64>("AGG.REALITY n k model 1"), 1);
    let line = format!("AGG.ACK n REALITY {}", end.id);
    assert_eq!(server.ask::<i64>(&line), 0);
    assert_eq!(
        server.field("AGG.GET n REALITY k", "gone"),
        Some(Value::Int(0))
    );
    let back = only(&server, "AGG.POP n REALITY");
    assert!(back.id > end.id);
    assert_eq!(back.json()["gone"], false);
    assert_ne!(server.ask::<Value>("AGG.GET n REALITY k"), Value::Nil);
}

#[test]
fn expired_object_is_delivered_once_more_as_gone() {
    let Some(server) = Server::start() else {
        return;
    };
    server.ask::<()>("AGG.REALITY n k model 1 TTL 1");
    assert_eq!(only(&server, "AGG.POP n REALITY").json()["gone"], false);
    let gone = take_when_there(&server, "AGG.POP n REALITY");
    assert_eq!(gone[0].json()["gone"], true);
    assert_eq!(server.ask::<Value>("AGG.GET n REALITY k"), Value::Nil);
}
