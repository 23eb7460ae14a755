//! Draining works however little memory is left, because it frees memory.

use redis::{Connection, Value};

use crate::support::*;
use testkit::*;

/// Reports log entries until the oldest are evicted for the newest.
fn fill_up(server: &Server, connection: &mut Connection, node: &str) {
    let line = "x".repeat(300);
    let dropped = || agg(server, "agg_dropped_max_memory");
    let before = dropped();
    while dropped() == before {
        let lines = vec![split(&format!("AGG.LOG {node} {line}")); 100];
        burst(connection, &lines);
    }
}

/// A client that sent a command and is blocked.
fn waiter(server: &Server, line: &str) -> std::thread::JoinHandle<Value> {
    let mut connection = server.connection();
    let sent = line.to_owned();
    let blocked = || -> i64 { server.info_field::<i64>("clients", "blocked_clients") };
    let before = blocked();
    let waiter = std::thread::spawn(move || ask(&mut connection, &sent));
    until(&format!("{line} waits"), || {
        assert!(!waiter.is_finished(), "{line} did not wait");
        (blocked() > before).then_some(())
    });
    waiter
}

/// Fetches, nacks, extends, acks and pops, which all have to work.
fn drains(connection: &mut Connection, node: &str, queue: &str) {
    let fetched = queued_records(&ask(
        connection,
        &format!("AGG.FETCH {node} {queue} COUNT 10"),
    ));
    assert_eq!(fetched.len(), 10);
    let ids: Vec<String> = fetched.iter().map(|record| record.id.to_string()).collect();
    for (line, count) in [
        (
            format!("AGG.EXTEND {node} {queue} 600000 {}", ids.join(" ")),
            10,
        ),
        (format!("AGG.NACK {node} {queue} {}", ids[5..].join(" ")), 5),
        (format!("AGG.ACK {node} {queue} {}", ids[..5].join(" ")), 5),
    ] {
        assert_eq!(ask::<i64>(connection, &line), count, "{line}");
    }
    let popped = queued_records(&ask(connection, &format!("AGG.POP {node} {queue} COUNT 5")));
    let returned: Vec<String> = popped.iter().map(|record| record.id.to_string()).collect();
    assert_eq!(returned, ids[5..]);
}

#[test]
fn draining_works_at_the_memory_limit() {
    let _beside = beside();
    let Some(server) = server(&format!("{CALM} max-memory 1mb")) else {
        return;
    };
    let mut connection = server.connection();
    // The oldest log entries may be evicted at any time here; errors stay.
    let errors: Vec<_> = (0..50)
        .map(|i| split(&format!("AGG.ERROR n e{i}")))
        .collect();
    burst(&mut connection, &errors);
    fill_up(&server, &mut connection, "full");
    let waiters: Vec<_> = (0..20)
        .map(|i| waiter(&server, &format!("AGG.FETCH w{i} ERROR LOG BLOCK 0")))
        .collect();
    fill_up(&server, &mut connection, "full");
    drains(&mut connection, "n", "ERROR");
    for (i, waiter) in waiters.into_iter().enumerate() {
        // A new node costs more than a log entry; records of others are evicted for it.
        let _: i64 = ask(&mut connection, &format!("AGG.LOG w{i} text"));
        let found = queued_records(&waiter.join().unwrap());
        assert_eq!((found.len(), &found[0].queue[..]), (1, "LOG"));
    }
    let waited: Value = ask(&mut connection, "AGG.FETCH full ERROR BLOCK 10");
    assert_eq!(waited, Value::Nil);
}

#[test]
fn draining_works_far_above_a_lowered_memory_limit() {
    let _beside = beside();
    let Some(server) = server(&format!("{CALM} max-memory 32mb")) else {
        return;
    };
    let mut connection = server.connection();
    let metrics: Vec<_> = (0..10_000)
        .map(|i| split(&format!("AGG.STAT n m{i} 1")))
        .collect();
    burst(&mut connection, &metrics);
    let errors: Vec<_> = (0..300)
        .map(|i| split(&format!("AGG.ERROR n e{i}")))
        .collect();
    burst(&mut connection, &errors);
    let _: () = ask(&mut connection, "CONFIG SET agg.max-memory 1mb");
    assert!(agg(&server, "agg_held") > MB + MB / 2);
    let waiter = waiter(&server, "AGG.FETCH n REALITY LOG BLOCK 0");
    drains(&mut connection, "n", "ERROR");
    // This many leases are granted and no more: others have to be acknowledged first.
    let fetch = "AGG.FETCH n ERROR COUNT 1000 LEASE 600000";
    let fetched = queued_records(&ask(&mut connection, fetch));
    assert_eq!(fetched.len(), 100);
    let rejected = error(&mut connection, fetch);
    assert!(
        rejected.starts_with("AGGFULL AGG.FETCH: agg.max-memory"),
        "{rejected}"
    );
    for record in &fetched[..30] {
        assert_eq!(
            ask::<i64>(&mut connection, &format!("AGG.ACK n ERROR {}", record.id)),
            1
        );
    }
    assert_eq!(queued_records(&ask(&mut connection, fetch)).len(), 30);
    // A blocked client is served as soon as there is a record, too.
    let id = fetched[40].id;
    let _: i64 = ask(&mut connection, &format!("AGG.ACK n ERROR {id}"));
    let _: () = ask(&mut connection, "CONFIG SET agg.max-memory 32mb");
    let _: i64 = ask(&mut connection, "AGG.REALITY n k m 1");
    assert_eq!(queued_records(&waiter.join().unwrap()).len(), 1);
}
