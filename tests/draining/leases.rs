//! Leases: who has leased a record, until when, and how it is removed or redelivered.

use super::*;

#[test]
fn popped_record_is_removed_at_once() {
    let Some(server) = Server::start() else {
        return;
    };
    one_of_each(&server, "n");
    let popped = take(&server, "AGG.POP n MIN HOUR LOG ERROR REALITY");
    assert_eq!(popped.len(), 5);
    assert!(popped.iter().all(|e| e.deliveries == 1));
    for queue in QUEUES {
        assert_eq!(info(&server, "n", queue, "length"), 0, "{queue}");
        assert_eq!(take(&server, &format!("AGG.PEEK n {queue}")), []);
    }
}

#[test]
fn leased_record_is_delivered_to_nobody_else_but_peek_shows_it() {
    let Some(server) = Server::start() else {
        return;
    };
    one_of_each(&server, "n");
    let fetched = take(&server, "AGG.FETCH n MIN HOUR LOG ERROR REALITY");
    assert_eq!(fetched.len(), 5);
    for queue in QUEUES {
        assert_eq!(info(&server, "n", queue, "leased"), 1, "{queue}");
        assert_eq!(info(&server, "n", queue, "length"), 1, "{queue}");
    }
    // The default lease is 30 s, which outlasts a few ticks of the timer.
    std::thread::sleep(std::time::Duration::from_millis(300));
    for command in ["FETCH", "POP"] {
        let found = take(
            &server,
            &format!("AGG.{command} n MIN HOUR LOG ERROR REALITY"),
        );
        assert_eq!(found, [], "{command}");
    }
    let shown = take(&server, "AGG.PEEK n MIN HOUR LOG ERROR REALITY");
    assert_eq!(shown, fetched);
}

#[test]
fn expired_lease_is_redelivered_with_one_more_delivery() {
    let Some(server) = Server::start() else {
        return;
    };
    one_of_each(&server, "n");
    for queue in QUEUES {
        let first = only(&server, &format!("AGG.FETCH n {queue} LEASE 1"));
        assert_eq!(first.deliveries, 1);
        let again = take_when_there(&server, &format!("AGG.FETCH n {queue} LEASE 1"));
        let expected = QueuedRecord {
            deliveries: 2,
            ..first
        };
        assert_eq!(again, std::slice::from_ref(&expected));
        let popped = take_when_there(&server, &format!("AGG.POP n {queue}"));
        let expected = QueuedRecord {
            deliveries: 3,
            ..expected
        };
        assert_eq!(popped, [expected]);
        assert_eq!(info(&server, "n", queue, "length"), 0);
    }
}

#[test]
fn expired_lease_is_no_longer_counted() {
    let Some(server) = Server::start() else {
        return;
    };
    log(&server, "n", "text");
    take(&server, "AGG.FETCH n LOG LEASE 1");
    until("the lease ends", || {
        (info(&server, "n", "LOG", "leased") == 0).then_some(())
    });
    assert_eq!(info(&server, "n", "LOG", "length"), 1);
    assert_eq!(only(&server, "AGG.PEEK n LOG").deliveries, 1);
}

#[test]
fn redelivered_record_is_older_and_comes_before_new_ones() {
    let Some(server) = Server::start() else {
        return;
    };
    let all: Vec<i64> = (0..4).map(|_| log(&server, "n", "text")).collect();
    take(&server, "AGG.FETCH n LOG COUNT 3");
    server.ask::<()>(&format!("AGG.NACK n LOG {} {}", all[2], all[0]));
    let found = take(&server, "AGG.FETCH n LOG");
    assert_eq!(deliveries(&found), [(all[0], 2), (all[2], 2), (all[3], 1)]);
}

#[test]
fn ack_removes_a_record_whoever_holds_the_lease() {
    let Some(server) = Server::start() else {
        return;
    };
    one_of_each(&server, "n");
    let (mut one, mut other) = (server.connection(), server.connection3());
    for queue in QUEUES {
        let fetched = queued_records(&ask(&mut one, &format!("AGG.FETCH n {queue}")));
        let line = format!("AGG.ACK n {queue} {}", fetched[0].id);
        assert_eq!(ask::<Value>(&mut other, &line), Value::Int(1), "{queue}");
        assert_eq!(ask::<Value>(&mut other, &line), Value::Int(0), "{queue}");
        assert_eq!(info(&server, "n", queue, "length"), 0, "{queue}");
        assert_eq!(info(&server, "n", queue, "leased"), 0, "{queue}");
    }
    one_of_each_with(&server, "n", "other");
    for queue in QUEUES {
        // The error is known and waits for its interval.
        for record in take(&server, &format!("AGG.PEEK n {queue}")) {
            let line = format!("AGG.ACK n {queue} {}", record.id);
            assert_eq!(server.ask::<i64>(&line), 1, "{queue}");
        }
        assert_eq!(info(&server, "n", queue, "length"), 0, "{queue}");
    }
}

#[test]
fn ack_replies_with_the_number_of_removed_records() {
    let Some(server) = Server::start() else {
        return;
    };
    let all: Vec<i64> = (0..3).map(|_| log(&server, "n", "text")).collect();
    let [a, b, c] = all[..] else { unreachable!() };
    for (queue, ids, removed) in [
        ("MIN", format!("{a} {b} {c}"), 0),
        ("LOG", format!("{}", a - 1), 0),
        ("LOG", "9007199254740991 1".to_owned(), 0),
        ("LOG", format!("{c} {a} {c} 7"), 2),
        ("LOG", format!("{a} {b} {c}"), 1),
    ] {
        let line = format!("AGG.ACK n {queue} {ids}");
        assert_eq!(server.ask::<i64>(&line), removed, "{line}");
    }
    assert_eq!(take(&server, "AGG.PEEK n LOG"), []);
}

#[test]
fn nack_ends_leases_at_once() {
    let Some(server) = Server::start() else {
        return;
    };
    let (a, b) = (log(&server, "n", "a"), log(&server, "n", "b"));
    let nack = |ids: &str| server.ask::<i64>(&format!("AGG.NACK n LOG {ids}"));
    assert_eq!(nack(&format!("{a} {b}")), 0, "nobody has them");
    take(&server, "AGG.FETCH n LOG LEASE 600000");
    assert_eq!(nack(&format!("{b} {b} 7")), 1);
    assert_eq!(info(&server, "n", "LOG", "leased"), 1);
    assert_eq!(deliveries(&take(&server, "AGG.FETCH n LOG")), [(b, 2)]);
    assert_eq!(nack(&format!("{a} {b}")), 2);
    assert_eq!(nack(&format!("{a} {b}")), 0, "they were given back");
    let popped = take(&server, "AGG.POP n LOG");
    assert_eq!(deliveries(&popped), [(a, 2), (b, 3)]);
    assert_eq!(nack(&format!("{a} {b}")), 0, "they are gone");
}

#[test]
fn extended_lease_ends_that_long_from_now() {
    let Some(server) = Server::start() else {
        return;
    };
    let (a, b) = (log(&server, "n", "a"), log(&server, "n", "b"));
    // At one moment, so that the lease cannot end before it is extended.
    let replies = together(
        &server,
        &[
            "AGG.FETCH n LOG LEASE 200",
            &format!("AGG.EXTEND n LOG 600000 {a} 7"),
        ],
    );
    assert_eq!(replies[1], Value::Int(1));
    let back = take_when_there(&server, "AGG.FETCH n LOG LEASE 600000");
    assert_eq!(deliveries(&back), [(b, 2)]);
    // A lease can also be shortened.
    let line = format!("AGG.EXTEND n LOG 1 {a} {b}");
    assert_eq!(server.ask::<i64>(&line), 2);
    let back = until("both leases end", || {
        Some(take(&server, "AGG.PEEK n LOG")).filter(|_| info(&server, "n", "LOG", "leased") == 0)
    });
    assert_eq!(deliveries(&back), [(a, 1), (b, 2)]);
    assert_eq!(
        deliveries(&take(&server, "AGG.POP n LOG")),
        [(a, 2), (b, 3)]
    );
}

/// Returns the reply of a command for an expired lease, without a tick of the timer in between.
fn after_its_end(server: &Server, line: &str) -> Value {
    let id = log(server, "n", "text");
    let replies = together(
        server,
        &[
            "AGG.FETCH n LOG LEASE 1",
            "DEBUG SLEEP 0.05",
            &format!("{line} {id}"),
            "AGG.FETCH n LOG",
        ],
    );
    assert_eq!(
        deliveries(&queued_records(&replies[3])),
        [(id, 2)],
        "{line}"
    );
    replies[2].clone()
}

#[test]
fn expired_lease_is_not_extended() {
    let Some(server) = Server::start() else {
        return;
    };
    let extended = after_its_end(&server, "AGG.EXTEND n LOG 600000");
    assert_eq!(extended, Value::Int(0));
}

#[test]
fn expired_lease_is_not_counted_by_nack() {
    let Some(server) = Server::start() else {
        return;
    };
    let given = after_its_end(&server, "AGG.NACK n LOG");
    assert_eq!(given, Value::Int(0));
}

#[test]
fn unleased_record_is_not_extended() {
    let Some(server) = Server::start() else {
        return;
    };
    let id = log(&server, "n", "text");
    let extend = || server.ask::<i64>(&format!("AGG.EXTEND n LOG 600000 {id}"));
    assert_eq!(extend(), 0, "it was never fetched");
    take(&server, "AGG.FETCH n LOG");
    server.ask::<()>(&format!("AGG.NACK n LOG {id}"));
    assert_eq!(extend(), 0, "it was given back");
    take(&server, "AGG.FETCH n LOG");
    server.ask::<()>(&format!("AGG.ACK n LOG {id}"));
    assert_eq!(extend(), 0, "it is gone");
}

#[test]
fn pop_skips_leased_records() {
    let Some(server) = Server::start() else {
        return;
    };
    let (a, b) = (log(&server, "n", "a"), log(&server, "n", "b"));
    assert_eq!(ids(&take(&server, "AGG.FETCH n LOG COUNT 1")), [a]);
    assert_eq!(ids(&take(&server, "AGG.POP n LOG")), [b]);
    assert_eq!(take(&server, "AGG.POP n LOG"), []);
    server.ask::<()>(&format!("AGG.NACK n LOG {a}"));
    assert_eq!(deliveries(&take(&server, "AGG.POP n LOG")), [(a, 2)]);
}

#[test]
fn two_fetching_clients_share_the_records() {
    let Some(server) = Server::start() else {
        return;
    };
    let all: Vec<i64> = (0..6).map(|_| log(&server, "n", "text")).collect();
    let (mut one, mut other) = (server.connection(), server.connection());
    let mut got = Vec::new();
    for connection in [&mut one, &mut other] {
        got.extend(queued_records(&ask(connection, "AGG.FETCH n LOG COUNT 3")));
    }
    assert_eq!(ids(&got), all);
}
