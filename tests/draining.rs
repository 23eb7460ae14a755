//! AGG.POP, FETCH, ACK, NACK, EXTEND, PEEK and REQUEUE on a real server: what comes out of the queues and in which
//! order, who has it in hand and for how long, how the records look, and what is refused.

mod support;

use std::collections::{BTreeMap, BTreeSet};

use redis::Value;
use support::*;

const QUEUES: [&str; 5] = ["MIN", "HOUR", "LOG", "ERROR", "REALITY"];

/// Queues a log line: its id.
fn log(server: &Server, node: &str, message: &str) -> i64 {
    server.ask(&format!("AGG.LOG {node} {message}"))
}

/// What POP, FETCH or PEEK answers.
fn take(server: &Server, line: &str) -> Vec<Entry> {
    entries(&server.ask(line))
}

/// The only entry of such an answer.
fn only(server: &Server, line: &str) -> Entry {
    let [entry] = take(server, line).try_into().expect("one entry");
    entry
}

/// Waits until POP or FETCH brings something.
fn take_when_there(server: &Server, line: &str) -> Vec<Entry> {
    until(line, || {
        Some(take(server, line)).filter(|entries| !entries.is_empty())
    })
}

fn ids(entries: &[Entry]) -> Vec<i64> {
    entries.iter().map(|entry| entry.id).collect()
}

/// Entries as pairs of id and deliveries.
fn deliveries(entries: &[Entry]) -> Vec<(i64, i64)> {
    entries.iter().map(|e| (e.id, e.deliveries)).collect()
}

/// A number of a queue in AGG.INFO.
fn info(server: &Server, node: &str, queue: &str, field: &str) -> i64 {
    let info: Value = server.ask(&format!("AGG.INFO {node}"));
    int(at(at(&info, "queues").unwrap(), queue).unwrap(), field)
}

/// The start of an hour whose windows have long ended.
fn past_hour() -> i64 {
    now_ms() / 3_600_000 * 3_600_000 - 7_200_000
}

/// Closes the windows of a metric: their records are queued.
fn close(server: &Server, node: &[u8], metric: &[u8]) {
    let forgotten: i64 = server.send(&[b"AGG.FORGET", node, b"METRIC", metric]);
    assert_eq!(forgotten, 1);
}

/// Gives each queue of a node one entry.
fn one_of_each(server: &Server, node: &str) {
    let start = past_hour();
    server.ask::<()>(&format!("AGG.STAT {node} m 1 AT {start}"));
    close(server, node.as_bytes(), b"m");
    log(server, node, "text");
    server.ask::<()>(&format!("AGG.ERROR {node} text"));
    server.ask::<()>(&format!("AGG.REALITY {node} key model {{}}"));
}

fn now_us() -> i64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_micros() as i64
}

// What a reply looks like.

#[test]
fn an_entry_is_its_queue_id_deliveries_and_record_in_both_protocols() {
    let Some(server) = Server::start() else {
        return;
    };
    for mut connection in [server.connection(), server.connection3()] {
        for command in ["PEEK", "FETCH", "POP"] {
            server.ask::<()>("DEL n");
            let id = log(&server, "n", "text");
            let reply: Value = ask(&mut connection, &format!("AGG.{command} n LOG"));
            let [Value::Array(entry)] = list(&reply) else {
                panic!("{reply:?}");
            };
            let [queue, given, deliveries, Value::BulkString(record)] = entry.as_slice() else {
                panic!("{reply:?}");
            };
            assert_eq!(*queue, Value::BulkString(b"LOG".to_vec()));
            assert_eq!(*given, Value::Int(id));
            assert_eq!(*deliveries, Value::Int((command != "PEEK").into()));
            assert!(record.starts_with(b"{\"node\":\"n\",\"queue\":\"LOG\","));
        }
    }
}

#[test]
fn where_there_is_no_node_nothing_comes_and_none_is_made() {
    let Some(server) = Server::start() else {
        return;
    };
    for mut connection in [server.connection(), server.connection3()] {
        for line in [
            "AGG.POP n MIN HOUR LOG ERROR REALITY",
            "AGG.FETCH n LOG",
            "AGG.PEEK n LOG REV",
        ] {
            assert_eq!(
                ask::<Value>(&mut connection, line),
                Value::Array(vec![]),
                "{line}"
            );
        }
        for line in [
            "AGG.ACK n LOG 1",
            "AGG.NACK n LOG 1",
            "AGG.EXTEND n LOG 1000 1",
            "AGG.REQUEUE n ERROR",
            "AGG.REQUEUE n REALITY MATCH *",
        ] {
            assert_eq!(ask::<Value>(&mut connection, line), Value::Int(0), "{line}");
        }
    }
    assert_eq!(server.ask::<i64>("EXISTS n"), 0);
}

#[test]
fn an_empty_queue_answers_an_empty_list() {
    let Some(server) = Server::start() else {
        return;
    };
    log(&server, "n", "text");
    for command in ["POP", "FETCH", "PEEK"] {
        let reply: Value = server.ask(&format!("AGG.{command} n MIN HOUR ERROR REALITY"));
        assert_eq!(reply, Value::Array(vec![]), "{command}");
    }
}

#[test]
fn keywords_are_known_in_any_case_and_options_in_any_order() {
    let Some(server) = Server::start() else {
        return;
    };
    one_of_each(&server, "n");
    for line in [
        "agg.peek n min Hour format line count 2 rev from 9007199254740991",
        "AGG.PEEK n MIN HOUR REV FROM 9007199254740991 COUNT 2 FORMAT LINE",
        "agg.fetch n min hour lease 1 format Json block 1000 count 2",
    ] {
        let found = take_when_there(&server, line);
        let queues: Vec<&str> = found.iter().map(|e| &*e.queue).collect();
        assert_eq!(queues, ["MIN", "HOUR"], "{line}");
    }
}

// How much comes, and in which order.

#[test]
fn queues_come_in_the_order_named_and_in_each_the_oldest_id_first() {
    let Some(server) = Server::start() else {
        return;
    };
    for orders in [QUEUES, ["REALITY", "LOG", "HOUR", "ERROR", "MIN"]] {
        one_of_each(&server, "n");
        log(&server, "n", "second");
        let words = orders.join(" ");
        for command in ["PEEK", "FETCH"] {
            let found = take(&server, &format!("AGG.{command} n {words}"));
            let mut expected = orders.to_vec();
            let log = expected.iter().position(|queue| *queue == "LOG").unwrap();
            expected.insert(log, "LOG");
            let queues: Vec<&str> = found.iter().map(|e| &*e.queue).collect();
            assert_eq!(queues, expected);
            assert!(found[log].id < found[log + 1].id);
            assert_eq!(found[log + 1].json()["message"], "second");
        }
        server.ask::<()>("DEL n");
    }
}

#[test]
fn count_is_100_where_it_is_not_given_and_goes_up_to_10000() {
    let Some(server) = Server::start() else {
        return;
    };
    let mut pipe = redis::pipe();
    (0..250).for_each(|_| {
        pipe.cmd("AGG.LOG").arg("n").arg("");
    });
    let all: Vec<i64> = pipe.query(&mut server.connection()).unwrap();
    assert_eq!(ids(&take(&server, "AGG.PEEK n LOG")), all[..100]);
    assert_eq!(ids(&take(&server, "AGG.PEEK n LOG COUNT 10000")), all);
    assert_eq!(ids(&take(&server, "AGG.FETCH n LOG COUNT 1")), all[..1]);
    assert_eq!(ids(&take(&server, "AGG.FETCH n LOG")), all[1..101]);
    assert_eq!(ids(&take(&server, "AGG.POP n LOG")), all[101..201]);
    assert_eq!(ids(&take(&server, "AGG.POP n LOG COUNT 10000")), all[201..]);
}

#[test]
fn count_is_over_all_queues_together() {
    let Some(server) = Server::start() else {
        return;
    };
    (0..3).for_each(|_| _ = log(&server, "n", "text"));
    for key in ["a", "b", "c"] {
        server.ask::<()>(&format!("AGG.REALITY n {key} model 1"));
    }
    for command in ["PEEK", "POP"] {
        let found = take(&server, &format!("AGG.{command} n LOG REALITY COUNT 4"));
        let queues: Vec<&str> = found.iter().map(|e| &*e.queue).collect();
        assert_eq!(queues, ["LOG", "LOG", "LOG", "REALITY"]);
        assert_eq!(found[3].json()["key"], "a");
    }
    assert_eq!(take(&server, "AGG.POP n LOG REALITY").len(), 2);
}

#[test]
fn a_reply_stops_at_about_a_mebibyte_and_the_rest_comes_with_the_next() {
    let Some(server) = Server::start() else {
        return;
    };
    const MIB: usize = 1 << 20;
    const ONE: usize = 40_000;
    let text = "x".repeat(ONE);
    let all: Vec<i64> = (0..60).map(|_| log(&server, "n", &text)).collect();
    let full = |entries: &[Entry]| {
        let bytes: usize = entries.iter().map(|e| e.text.len()).sum();
        assert!((MIB - 2 * ONE..MIB + 2 * ONE).contains(&bytes), "{bytes}");
    };
    full(&take(&server, "AGG.PEEK n LOG"));
    full(&take(&server, "AGG.PEEK n LOG REV"));
    // The stop is for the reply, not for each of its queues.
    server.ask::<()>("AGG.REALITY n key model 1");
    let fetched = take(&server, "AGG.FETCH n LOG REALITY LEASE 60000");
    full(&fetched);
    assert!(fetched.iter().all(|e| e.queue == "LOG"));
    assert_eq!(info(&server, "n", "LOG", "leased"), fetched.len() as i64);
    let popped = take(&server, "AGG.POP n LOG");
    full(&popped);
    let rest = take(&server, "AGG.POP n LOG");
    assert_eq!(ids(&[fetched, popped, rest].concat()), all);
}

#[test]
fn an_entry_larger_than_a_reply_comes_alone() {
    let Some(server) = Server::with_settings("max-item-size 4mb") else {
        return;
    };
    let text = "x".repeat(3 << 20);
    let first = log(&server, "n", &text);
    let second = log(&server, "n", "short");
    for command in ["PEEK", "POP"] {
        let found = only(&server, &format!("AGG.{command} n LOG"));
        assert_eq!(found.id, first);
        assert_eq!(found.json()["message"], text);
    }
    assert_eq!(only(&server, "AGG.POP n LOG").id, second);
}

// Leases.

#[test]
fn a_popped_entry_is_gone_at_once() {
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
fn what_is_leased_nobody_else_gets_but_peek_shows_it() {
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
    // The usual lease is 30 s: a few ticks of the timer end none.
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
fn an_entry_whose_lease_ended_comes_back_with_one_delivery_more() {
    let Some(server) = Server::start() else {
        return;
    };
    one_of_each(&server, "n");
    for queue in QUEUES {
        let first = only(&server, &format!("AGG.FETCH n {queue} LEASE 1"));
        assert_eq!(first.deliveries, 1);
        let again = take_when_there(&server, &format!("AGG.FETCH n {queue} LEASE 1"));
        let expected = Entry {
            deliveries: 2,
            ..first
        };
        assert_eq!(again, std::slice::from_ref(&expected));
        let popped = take_when_there(&server, &format!("AGG.POP n {queue}"));
        let expected = Entry {
            deliveries: 3,
            ..expected
        };
        assert_eq!(popped, [expected]);
        assert_eq!(info(&server, "n", queue, "length"), 0);
    }
}

#[test]
fn a_lease_that_ended_is_counted_no_more() {
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
fn what_came_back_is_older_and_so_comes_before_what_nobody_had() {
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
fn an_ack_removes_whoever_holds_the_lease_or_none() {
    let Some(server) = Server::start() else {
        return;
    };
    one_of_each(&server, "n");
    let (mut one, mut other) = (server.connection(), server.connection3());
    for queue in QUEUES {
        let fetched = entries(&ask(&mut one, &format!("AGG.FETCH n {queue}")));
        let line = format!("AGG.ACK n {queue} {}", fetched[0].id);
        assert_eq!(ask::<Value>(&mut other, &line), Value::Int(1), "{queue}");
        assert_eq!(ask::<Value>(&mut other, &line), Value::Int(0), "{queue}");
        assert_eq!(info(&server, "n", queue, "length"), 0, "{queue}");
        assert_eq!(info(&server, "n", queue, "leased"), 0, "{queue}");
    }
    one_of_each(&server, "n");
    for queue in QUEUES {
        // The error is known, and waits for its interval.
        for entry in take(&server, &format!("AGG.PEEK n {queue}")) {
            let line = format!("AGG.ACK n {queue} {}", entry.id);
            assert_eq!(server.ask::<i64>(&line), 1, "{queue}");
        }
        assert_eq!(info(&server, "n", queue, "length"), 0, "{queue}");
    }
}

#[test]
fn an_ack_tells_how_many_entries_it_removed() {
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
fn a_nack_gives_leases_back_at_once() {
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
fn an_extended_lease_ends_that_long_from_now() {
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
    // It may also end earlier than it was to.
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

/// What a command answers for a lease that has ended, without a tick of the timer in between.
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
    assert_eq!(deliveries(&entries(&replies[3])), [(id, 2)], "{line}");
    replies[2].clone()
}

#[test]
fn a_lease_that_has_ended_is_not_extended() {
    let Some(server) = Server::start() else {
        return;
    };
    let extended = after_its_end(&server, "AGG.EXTEND n LOG 600000");
    assert_eq!(extended, Value::Int(0));
}

#[test]
fn a_lease_that_has_ended_is_not_counted_as_given_back() {
    let Some(server) = Server::start() else {
        return;
    };
    let given = after_its_end(&server, "AGG.NACK n LOG");
    assert_eq!(given, Value::Int(0));
}

#[test]
fn what_nobody_has_in_hand_is_not_extended() {
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
fn pop_passes_over_what_is_leased() {
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
fn two_clients_that_fetch_share_the_entries() {
    let Some(server) = Server::start() else {
        return;
    };
    let all: Vec<i64> = (0..6).map(|_| log(&server, "n", "text")).collect();
    let (mut one, mut other) = (server.connection(), server.connection());
    let mut got = Vec::new();
    for connection in [&mut one, &mut other] {
        got.extend(entries(&ask(connection, "AGG.FETCH n LOG COUNT 3")));
    }
    assert_eq!(ids(&got), all);
}

// PEEK.

#[test]
fn peek_changes_nothing() {
    let Some(server) = Server::start() else {
        return;
    };
    one_of_each(&server, "n");
    let digest = server.digest("n");
    let line = "AGG.PEEK n MIN HOUR LOG ERROR REALITY";
    let first = take(&server, line);
    assert_eq!(first.len(), 5);
    assert!(first.iter().all(|e| e.deliveries == 0));
    assert_eq!(take(&server, line), first);
    assert_eq!(server.digest("n"), digest);
    // A look is not a delivery.
    let fetched = take(&server, "AGG.FETCH n MIN HOUR LOG ERROR REALITY");
    assert_eq!(ids(&fetched), ids(&first));
    assert!(fetched.iter().all(|e| e.deliveries == 1));
}

#[test]
fn peek_starts_at_from_upwards_or_with_rev_downwards() {
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
fn from_and_rev_hold_in_the_queues_of_references_and_in_each_queue_named() {
    let Some(server) = Server::start() else {
        return;
    };
    let mut of = BTreeMap::new();
    for key in ["a", "b", "c"] {
        server.ask::<()>(&format!("AGG.ERROR n {key} KEY {key}"));
        server.ask::<()>(&format!("AGG.REALITY n {key} model 1"));
    }
    for entry in take(&server, "AGG.PEEK n ERROR REALITY") {
        let key = entry.json()["key"].as_str().unwrap().to_owned();
        of.insert((entry.queue, key), entry.id);
    }
    let id = |queue: &str, key: &str| of[&(queue.to_owned(), key.to_owned())];
    let (e, r) = (|key| id("ERROR", key), |key| id("REALITY", key));
    // They were queued in turn, so the bound lies inside of both queues.
    for (options, expected) in [
        (format!("FROM {}", r("b")), vec![e("c"), r("b"), r("c")]),
        (
            format!("FROM {} REV", r("b")),
            vec![e("b"), e("a"), r("b"), r("a")],
        ),
    ] {
        let found = take(&server, &format!("AGG.PEEK n ERROR REALITY {options}"));
        assert_eq!(ids(&found), expected, "{options}");
    }
}

#[test]
fn peek_works_on_a_replica_and_all_that_changes_is_refused_there() {
    let at_once = ["--repl-diskless-sync-delay", "0"];
    let (Some(server), Some(replica)) = (Server::with_module(&at_once, ""), Server::start()) else {
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
        let refused = replica.error(line);
        assert!(refused.starts_with("READONLY "), "{line}: {refused}");
    }
}

// Ids.

#[test]
fn an_id_is_the_clock_in_microseconds_and_grows() {
    let Some(server) = Server::start() else {
        return;
    };
    let before = now_us();
    let logged: Vec<i64> = (0..100)
        .map(|i| log(&server, &format!("n{}", i % 3), "text"))
        .collect();
    let after = now_us();
    assert!(logged.windows(2).all(|pair| pair[0] < pair[1]));
    assert!(logged.iter().all(|id| (before..=after).contains(id)));
    assert!(after < 1 << 53);
}

#[test]
fn ids_do_not_repeat_when_a_node_is_deleted_though_they_ran_ahead_of_the_clock() {
    let Some(server) = Server::start() else {
        return;
    };
    let mut pipe = redis::pipe();
    for key in 0..5000 {
        pipe.cmd("AGG.ERROR").arg("n").arg("text");
        pipe.arg("KEY").arg(key).ignore();
    }
    pipe.query::<()>(&mut server.connection()).unwrap();
    while !take(&server, "AGG.POP n ERROR COUNT 10000").is_empty() {}
    // 5000 new ids at one moment are 5 ms of them.
    let replies = together(
        &server,
        &[
            "AGG.REQUEUE n ERROR",
            "AGG.PEEK n ERROR REV COUNT 1",
            "DEL n",
            "AGG.LOG n text",
            "AGG.LOG other text",
        ],
    );
    assert_eq!(replies[0], Value::Int(5000));
    let highest = entries(&replies[1])[0].id;
    let [Value::Int(again), Value::Int(other)] = replies[3..] else {
        panic!("{replies:?}");
    };
    assert!(highest < again && again < other, "{replies:?}");
}

// Errors and objects: queues of references.

#[test]
fn an_error_has_one_entry_that_shows_it_as_it_is() {
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
fn an_error_that_grew_in_hand_is_given_again_under_a_new_id() {
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
fn an_error_that_grew_in_hand_is_queued_anew_after_the_interval_and_a_late_ack_removes_no_news() {
    let Some(server) = Server::with_settings("error-interval-ms 100") else {
        return;
    };
    server.ask::<()>("AGG.ERROR n text KEY k");
    let old = only(&server, "AGG.FETCH n ERROR LEASE 600000");
    server.ask::<()>("AGG.ERROR n text KEY k");
    let new = until("it is queued anew", || {
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
fn what_an_error_grew_by_before_its_ack_comes_later() {
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
fn forgetting_an_error_takes_its_entry_along() {
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
fn an_object_has_one_entry_that_shows_it_as_it_is() {
    let Some(server) = Server::start() else {
        return;
    };
    for json in ["1", "2", "3"] {
        server.ask::<()>(&format!("AGG.REALITY n k model {json}"));
    }
    assert_eq!(only(&server, "AGG.PEEK n REALITY").json()["json"], 3);
    assert_eq!(only(&server, "AGG.POP n REALITY").json()["json"], 3);
    // Identical content brings nothing.
    assert_eq!(server.ask::<i64>("AGG.REALITY n k model 3"), 0);
    assert_eq!(take(&server, "AGG.POP n REALITY"), []);
}

#[test]
fn an_object_that_changed_in_hand_is_queued_under_a_new_id_and_a_late_ack_removes_no_news() {
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
fn an_unchanged_object_stays_in_hand_under_its_id() {
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
fn an_object_that_is_gone_leaves_when_that_was_popped_or_acknowledged() {
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
fn an_object_that_ends_in_hand_is_queued_under_a_new_id() {
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
fn an_object_that_came_back_is_not_removed_by_the_ack_of_its_end() {
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
fn an_object_whose_ttl_ended_comes_once_more_as_gone() {
    let Some(server) = Server::start() else {
        return;
    };
    server.ask::<()>("AGG.REALITY n k model 1 TTL 1");
    assert_eq!(only(&server, "AGG.POP n REALITY").json()["gone"], false);
    let gone = take_when_there(&server, "AGG.POP n REALITY");
    assert_eq!(gone[0].json()["gone"], true);
    assert_eq!(server.ask::<Value>("AGG.GET n REALITY k"), Value::Nil);
}

/// What pollers got: under each id one content, and of each thing the newest.
#[derive(Default)]
struct Writer {
    by_id: BTreeMap<(String, i64), String>,
    newest: BTreeMap<(String, String), (i64, serde_json::Value)>,
}

impl Writer {
    fn write(&mut self, entries: &[Entry]) {
        let mut last = BTreeMap::new();
        for entry in entries {
            let before = last.insert(&entry.queue, entry.id);
            assert!(before < Some(entry.id), "the order of {entries:?}");
            let held = self
                .by_id
                .entry((entry.queue.clone(), entry.id))
                .or_insert_with(|| entry.text.clone());
            assert_eq!(*held, entry.text, "two contents of one id");
            let record = entry.json();
            let key = record["key"].as_str().unwrap().to_owned();
            let newest = self
                .newest
                .entry((entry.queue.clone(), key))
                .or_insert((0, record.clone()));
            if newest.0 < entry.id {
                *newest = (entry.id, record);
            }
        }
    }
}

#[test]
fn an_id_never_has_two_contents_and_the_newest_id_tells_the_truth() {
    let Some(server) = Server::with_settings("error-interval-ms 5") else {
        return;
    };
    let mut connection = server.connection();
    let mut writer = Writer::default();
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = |below: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % below
    };
    let mut handed: Vec<(String, i64)> = Vec::new();
    for i in 0..4000 {
        let key = ["a", "b", "c"][random(3) as usize];
        let queue = ["ERROR", "REALITY"][random(2) as usize];
        match random(12) {
            0..=2 => ask(&mut connection, &format!("AGG.ERROR n text{i} KEY {key}")),
            3..=5 => ask(&mut connection, &format!("AGG.REALITY n {key} model {i}")),
            6 => ask(&mut connection, &format!("AGG.FORGET n REALITY {key}")),
            7 => ask(
                &mut connection,
                &format!("AGG.REQUEUE n {queue} MATCH {key}"),
            ),
            8..=9 => {
                let lease = 1 + random(20);
                let line = format!("AGG.FETCH n ERROR REALITY COUNT 2 LEASE {lease}");
                let fetched = entries(&ask(&mut connection, &line));
                handed.extend(fetched.iter().map(|e| (e.queue.clone(), e.id)));
                writer.write(&fetched);
            }
            10 => writer.write(&entries(&ask(
                &mut connection,
                "AGG.POP n ERROR REALITY COUNT 1",
            ))),
            _ if !handed.is_empty() => {
                let (queue, id) = handed.swap_remove(random(handed.len() as u64) as usize);
                let deed = ["ACK", "NACK"][random(2) as usize];
                ask(&mut connection, &format!("AGG.{deed} n {queue} {id}"))
            }
            _ => {}
        }
    }
    // Then the writer hears of everything, and what it holds is what is true.
    let of = |queue: &str, key: &str| (queue.to_owned(), key.to_owned());
    for key in ["a", "b", "c"] {
        until("the newest is the truth", || {
            writer.write(&take(&server, "AGG.POP n ERROR REALITY"));
            let get: Value = server.ask(&format!("AGG.GET n ERROR {key}"));
            let error = &writer.newest[&of("ERROR", key)].1;
            let object = &writer.newest[&of("REALITY", key)].1;
            let is_true = match server.ask::<Value>(&format!("AGG.GET n REALITY {key}")) {
                Value::Nil => object["gone"] == true,
                get => {
                    object["gone"] == false
                        && object["json"] == text(&get, "json").parse::<i64>().unwrap()
                }
            };
            let occurrences = int(&get, "occurrences");
            (is_true
                && error["occurrences"] == occurrences
                && error["message"] == text(&get, "message"))
            .then_some(())
        });
    }
    assert!(writer.by_id.len() > 100, "{}", writer.by_id.len());
}

// REQUEUE.

#[test]
fn requeue_sends_once_more_what_was_handed_out() {
    let Some(server) = Server::start() else {
        return;
    };
    for (queue, report) in [
        ("ERROR", ["AGG.ERROR n text KEY ", ""]),
        ("REALITY", ["AGG.REALITY n ", " model 1"]),
    ] {
        let report = |key: &str| server.ask::<()>(&format!("{}{key}{}", report[0], report[1]));
        report("delivered");
        take(&server, &format!("AGG.POP n {queue}"));
        report("leased");
        let leased = only(&server, &format!("AGG.FETCH n {queue} LEASE 600000"));
        report("returned");
        let returned = only(&server, &format!("AGG.FETCH n {queue} LEASE 600000"));
        let nack = format!("AGG.NACK n {queue} {}", returned.id);
        assert_eq!(server.ask::<i64>(&nack), 1);
        report("waiting");
        let peek = format!("AGG.PEEK n {queue}");
        let waiting = take(&server, &peek)[2].clone();
        assert_eq!(waiting.json()["key"], "waiting");

        assert_eq!(server.ask::<i64>(&format!("AGG.REQUEUE n {queue}")), 3);
        assert_eq!(info(&server, "n", queue, "leased"), 0);
        for old in [&leased, &returned] {
            let ack = format!("AGG.ACK n {queue} {}", old.id);
            assert_eq!(server.ask::<i64>(&ack), 0);
        }
        let found = take(&server, &format!("AGG.FETCH n {queue}"));
        assert_eq!(
            found[0],
            Entry {
                deliveries: 1,
                ..waiting
            }
        );
        let keys: BTreeSet<String> = found.iter().map(|e| e.json()["key"].to_string()).collect();
        assert_eq!((found.len(), keys.len()), (4, 4));
        assert!(
            found[1..]
                .iter()
                .all(|e| e.deliveries == 1 && e.id > found[0].id)
        );
        // Nothing is requeued twice while nobody has got it.
        server.ask::<()>(&format!("AGG.REQUEUE n {queue}"));
        assert_eq!(server.ask::<i64>(&format!("AGG.REQUEUE n {queue}")), 0);
    }
}

#[test]
fn requeue_takes_what_matches() {
    let Some(server) = Server::start() else {
        return;
    };
    for key in ["disk1", "disk2", "nic1"] {
        server.ask::<()>(&format!("AGG.ERROR n text KEY {key}"));
        server.ask::<()>(&format!("AGG.REALITY n {key} model 1"));
    }
    server.ask::<()>("AGG.POP n ERROR REALITY");
    for queue in ["error", "REALITY"] {
        for (glob, requeued) in [("none*", 0), ("disk?", 2), ("*", 1), ("*", 0)] {
            let line = format!("AGG.REQUEUE n {queue} match {glob}");
            assert_eq!(server.ask::<i64>(&line), requeued, "{line}");
        }
        let keys: Vec<String> = records(&server.ask(&format!("AGG.POP n {queue}")))
            .iter()
            .map(|record| record["key"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(keys, ["disk1", "disk2", "nic1"]);
    }
}

#[test]
fn requeue_sends_the_end_of_an_object_once_more_while_it_is_in_hand() {
    let Some(server) = Server::start() else {
        return;
    };
    server.ask::<()>("AGG.REALITY n k model 1");
    server.ask::<()>("AGG.FORGET n REALITY k");
    let old = only(&server, "AGG.FETCH n REALITY");
    assert_eq!(server.ask::<i64>("AGG.REQUEUE n REALITY"), 1);
    let line = format!("AGG.ACK n REALITY {}", old.id);
    assert_eq!(server.ask::<i64>(&line), 0);
    let new = only(&server, "AGG.POP n REALITY");
    assert_eq!(new.json()["gone"], true);
    assert_eq!(server.ask::<i64>("AGG.REQUEUE n REALITY"), 0);
}

// Records.

#[test]
fn records_of_windows_have_their_fields_in_order() {
    let Some(server) = Server::start() else {
        return;
    };
    let start = past_hour();
    for (value, seconds) in [("1", 0), ("2.5", 10), ("0.25", 20)] {
        let at = start + seconds * 1000;
        server.ask::<()>(&format!("AGG.STAT n disk.iops@sda {value} AT {at}"));
    }
    server.send::<()>(&[
        b"AGG.STAT",
        b"n",
        b"disk.iops@sda",
        b"1e21",
        b"TAGS",
        b"dim:iops flag  empty: url:http://h",
        b"AT",
        (start + 30_000).to_string().as_bytes(),
    ]);
    close(&server, b"n", b"disk.iops@sda");
    for (queue, window) in [("MIN", 300), ("HOUR", 3600)] {
        let entry = only(&server, &format!("AGG.POP n {queue}"));
        let (id, end) = (entry.id, start + window * 1000);
        assert_eq!(
            entry.text,
            format!(
                "{{\"node\":\"n\",\"queue\":\"{queue}\",\"id\":{id},\"metric\":\"disk.iops@sda\",\"type\":\"ABS\",\
                 \"window\":{window},\"start\":{start},\"end\":{end},\"count\":4,\"sum\":1e21,\"avg\":2.5e20,\
                 \"min\":0.25,\"max\":1e21,\"last\":1e21,\
                 \"tags\":{{\"dim\":\"iops\",\"empty\":\"\",\"flag\":true,\"url\":\"http://h\"}}}}"
            )
        );
    }
}

#[test]
fn a_record_of_a_counter_has_the_increase_and_the_rates() {
    let Some(server) = Server::start() else {
        return;
    };
    let start = past_hour();
    for (total, seconds) in [(1000, 0), (1060, 60), (1360, 120)] {
        let at = start + seconds * 1000;
        server.ask::<()>(&format!("AGG.STAT n m {total} DIFF AT {at}"));
    }
    close(&server, b"n", b"m");
    let entry = only(&server, "AGG.POP n MIN");
    let (id, end) = (entry.id, start + 300_000);
    assert_eq!(
        entry.text,
        format!(
            "{{\"node\":\"n\",\"queue\":\"MIN\",\"id\":{id},\"metric\":\"m\",\"type\":\"DIFF\",\"window\":300,\
             \"start\":{start},\"end\":{end},\"count\":2,\"sum\":360.0,\"avg\":3.0,\"min\":1.0,\"max\":5.0,\
             \"last\":5.0,\"tags\":{{}}}}"
        )
    );
}

#[test]
fn records_of_logs_have_their_fields_in_order() {
    let Some(server) = Server::start() else {
        return;
    };
    let at = past_hour();
    let id: i64 = server.send(&[
        b"AGG.LOG",
        b"n",
        b"say \"hi\"\\\n\x01",
        b"LEVEL",
        b"9",
        b"TAGS",
        b"b:1 a",
        b"AT",
        at.to_string().as_bytes(),
    ]);
    assert_eq!(
        only(&server, "AGG.POP n LOG").text,
        format!(
            "{{\"node\":\"n\",\"queue\":\"LOG\",\"id\":{id},\"message\":\"say \\\"hi\\\"\\\\\\n\\u0001\",\"level\":9,\
             \"tags\":{{\"a\":true,\"b\":\"1\"}},\"epoch\":{at}}}"
        )
    );
    let before = now_ms();
    let id = log(&server, "n", "text");
    let entry = only(&server, "AGG.POP n LOG");
    let epoch = entry.json()["epoch"].as_i64().unwrap();
    assert!((before..=now_ms()).contains(&epoch));
    assert_eq!(
        entry.text,
        format!(
            "{{\"node\":\"n\",\"queue\":\"LOG\",\"id\":{id},\"message\":\"text\",\"level\":5,\"tags\":{{}},\
             \"epoch\":{epoch}}}"
        )
    );
}

#[test]
fn records_of_errors_have_their_fields_in_order() {
    let Some(server) = Server::start() else {
        return;
    };
    let (first, last) = (past_hour(), past_hour() + 5000);
    server.ask::<()>(&format!("AGG.ERROR n old KEY k AT {first}"));
    server.ask::<()>(&format!(
        "AGG.ERROR n message PUBLIC public LEVEL 1 TYPE ops TAGS a:1 CODE c FUNC f FILE p BACKTRACE b GID 7 NID 8 \
         KEY k AT {last}"
    ));
    let entry = only(&server, "AGG.POP n ERROR");
    let id = entry.id;
    assert_eq!(
        entry.text,
        format!(
            "{{\"node\":\"n\",\"queue\":\"ERROR\",\"id\":{id},\"key\":\"k\",\"message\":\"message\",\
             \"public\":\"public\",\"level\":1,\"type\":\"OPS\",\"tags\":{{\"a\":\"1\"}},\"code\":\"c\",\
             \"func\":\"f\",\"file\":\"p\",\"backtrace\":\"b\",\"gid\":7,\"nid\":8,\"occurrences\":2,\
             \"first\":{first},\"last\":{last}}}"
        )
    );
    let (key, _): (String, i64) = server.ask(&format!("AGG.ERROR n bare AT {first}"));
    let entry = only(&server, "AGG.POP n ERROR");
    let id = entry.id;
    assert_eq!(
        entry.text,
        format!(
            "{{\"node\":\"n\",\"queue\":\"ERROR\",\"id\":{id},\"key\":\"{key}\",\"message\":\"bare\",\"public\":\"\",\
             \"level\":5,\"type\":\"UNKNOWN\",\"tags\":{{}},\"code\":\"\",\"func\":\"\",\"file\":\"\",\
             \"backtrace\":\"\",\"gid\":0,\"nid\":0,\"occurrences\":1,\"first\":{first},\"last\":{first}}}"
        )
    );
}

#[test]
fn records_of_objects_have_their_fields_in_order() {
    let Some(server) = Server::start() else {
        return;
    };
    let at = past_hour();
    server.send::<()>(&[
        b"AGG.REALITY",
        b"n",
        b"disk:sda",
        b"system.Disk",
        b" { \"size\" : 1.50, \"a b\":[ 1,null ] }\n",
        b"TAGS",
        b"b:1 a",
        b"AT",
        at.to_string().as_bytes(),
    ]);
    let entry = only(&server, "AGG.POP n REALITY");
    let id = entry.id;
    assert_eq!(
        entry.text,
        format!(
            "{{\"node\":\"n\",\"queue\":\"REALITY\",\"id\":{id},\"key\":\"disk:sda\",\"model\":\"system.Disk\",\
             \"json\":{{\"size\":1.50,\"a b\":[1,null]}},\"tags\":{{\"a\":true,\"b\":\"1\"}},\"epoch\":{at},\
             \"gone\":false}}"
        )
    );
    // Its last change is its end.
    let before = now_ms();
    server.ask::<()>("AGG.FORGET n REALITY disk:sda");
    let entry = only(&server, "AGG.POP n REALITY");
    let (id, epoch) = (entry.id, entry.json()["epoch"].as_i64().unwrap());
    assert!((before..=now_ms()).contains(&epoch));
    assert_eq!(
        entry.text,
        format!(
            "{{\"node\":\"n\",\"queue\":\"REALITY\",\"id\":{id},\"key\":\"disk:sda\",\"model\":\"system.Disk\",\
             \"json\":{{\"size\":1.50,\"a b\":[1,null]}},\"tags\":{{\"a\":true,\"b\":\"1\"}},\"epoch\":{epoch},\
             \"gone\":true}}"
        )
    );
}

#[test]
fn the_node_of_a_record_is_the_keys_name_when_it_is_handed_out() {
    let Some(server) = Server::start() else {
        return;
    };
    one_of_each(&server, "old");
    server.ask::<()>("RENAME old new");
    let found = take(&server, "AGG.POP new MIN HOUR LOG ERROR REALITY");
    assert_eq!(found.len(), 5);
    assert!(found.iter().all(|e| e.json()["node"] == "new"));
}

#[test]
fn text_that_is_not_utf8_leaves_as_valid_json() {
    let Some(server) = Server::start() else {
        return;
    };
    // A lone start, a lone continuation, a surrogate, something too long, and a start at the end.
    const BAD: &[u8] = b"a\xffb\xc3(\x80\xed\xa0\x80\xc0\xaf\xf0\x9f\x98c\0\xe2";
    let tags = [b"tag" as &[u8], BAD, b":", BAD, b" \xfe:1 \xff:2"].concat();
    let at = past_hour().to_string();
    let at = at.as_bytes();
    server.send::<()>(&[b"AGG.STAT", BAD, BAD, b"1", b"TAGS", &tags, b"AT", at]);
    close(&server, BAD, BAD);
    server.send::<()>(&[b"AGG.LOG", BAD, BAD, b"TAGS", &tags]);
    server.send::<()>(&[
        b"AGG.ERROR",
        BAD,
        BAD,
        b"PUBLIC",
        BAD,
        b"TAGS",
        &tags,
        b"CODE",
        BAD,
        b"FUNC",
        BAD,
        b"FILE",
        BAD,
        b"BACKTRACE",
        BAD,
        b"KEY",
        BAD,
    ]);
    server.send::<()>(&[
        b"AGG.REALITY",
        BAD,
        BAD,
        BAD,
        b"\"\xc3\xa9\"",
        b"TAGS",
        &tags,
    ]);
    let words = QUEUES.map(str::as_bytes);
    let reply: Value = server.send(&[&[b"AGG.POP" as &[u8], BAD], &words[..]].concat());
    // `entries` takes valid UTF-8 alone, `records` valid JSON alone.
    let records = records(&reply);
    assert_eq!(records.len(), 5);
    let texts = "node metric message public code func file backtrace key model";
    for (record, entry) in records.iter().zip(entries(&reply)) {
        for name in texts.split(' ') {
            let Some(text) = record.get(name) else {
                continue;
            };
            let text = text.as_str().unwrap();
            assert!(text.starts_with("a\u{fffd}b\u{fffd}("), "{name}: {text:?}");
            assert!(text.ends_with("c\0\u{fffd}"), "{name}: {text:?}");
        }
        let tags = record["tags"].as_object().unwrap();
        assert!(tags.keys().any(|name| name.starts_with("taga\u{fffd}b")));
        // Two names that became one are not written twice.
        assert_eq!(
            entry.text.matches("\"\u{fffd}\":").count(),
            1,
            "{}",
            entry.text
        );
    }
}

// FORMAT LINE.

/// The line of a metric's MIN window with one sample of 0.1, and the window's start.
fn line(server: &Server, node: &[u8], metric: &[u8], tags: &[u8]) -> (String, i64) {
    let start = past_hour();
    let at = start.to_string();
    let taken: i64 = server.send(&[
        b"AGG.STAT",
        node,
        metric,
        b"0.1",
        b"TAGS",
        tags,
        b"AT",
        at.as_bytes(),
    ]);
    assert_eq!(taken, 1);
    close(server, node, metric);
    let reply: Value = server.send(&[b"AGG.POP", node, b"MIN", b"FORMAT", b"LINE"]);
    let [entry] = entries(&reply).try_into().expect("one entry");
    (entry.text, start)
}

#[test]
fn a_line_is_influxdbs_line_protocol() {
    let Some(server) = Server::start() else {
        return;
    };
    let start = past_hour();
    for (value, seconds) in [("1", 0), ("-2.5", 10), ("1e300", 20)] {
        let at = start + seconds * 1000;
        server.ask::<()>(&format!(
            "AGG.STAT n1 disk.iops@sda {value} TAGS dim:iops AT {at}"
        ));
    }
    close(&server, b"n1", b"disk.iops@sda");
    for (queue, window) in [("MIN", "300s"), ("HOUR", "3600s")] {
        let expected = format!(
            "disk.iops,dim=iops,instance=sda,node=n1,window={window} \
             avg={:?},max=1e300,min=-2.5,sum=1e300,last=1e300,count=3i {start}000000",
            1e300 / 3.0
        );
        for command in ["PEEK", "FETCH"] {
            let entry = only(&server, &format!("AGG.{command} n1 {queue} FORMAT LINE"));
            assert_eq!((&*entry.queue, &*entry.text), (queue, &*expected));
        }
    }
}

#[test]
fn floats_of_a_line_are_floats_and_read_back() {
    let Some(server) = Server::start() else {
        return;
    };
    let start = past_hour();
    for value in ["0.1", "0.2"] {
        server.ask::<()>(&format!("AGG.STAT n m {value} AT {start}"));
    }
    server.ask::<()>(&format!("AGG.STAT n m 3 AT {}", start + 300_000));
    server.ask::<()>(&format!("AGG.STAT n m 0 AT {}", start + 600_000));
    server.ask::<()>(&format!("AGG.STAT n m 5e-324 AT {}", start + 900_000));
    close(&server, b"n", b"m");
    let lines: Vec<String> = take(&server, "AGG.POP n MIN FORMAT LINE")
        .into_iter()
        .map(|e| e.text)
        .collect();
    let fields = |line: &str| line.split(' ').nth(1).unwrap().to_owned();
    let sum = 0.1 + 0.2;
    let expected = [
        format!(
            "avg={:?},max=0.2,min=0.1,sum={sum:?},last=0.2,count=2i",
            sum / 2.0
        ),
        "avg=3.0,max=3.0,min=3.0,sum=3.0,last=3.0,count=1i".to_owned(),
        "avg=0.0,max=0.0,min=0.0,sum=0.0,last=0.0,count=1i".to_owned(),
        "avg=5e-324,max=5e-324,min=5e-324,sum=5e-324,last=5e-324,count=1i".to_owned(),
    ];
    let found: Vec<String> = lines.iter().map(|line| fields(line)).collect();
    assert_eq!(found, expected);
}

/// Checks a line up to its fields.
fn check_line(server: &Server, node: &[u8], metric: &[u8], tags: &[u8], expected: &str) {
    let (line, start) = line(server, node, metric, tags);
    let fields = "avg=0.1,max=0.1,min=0.1,sum=0.1,last=0.1,count=1i";
    assert_eq!(line, format!("{expected} {fields} {start}000000"));
}

#[test]
fn no_node_breaks_or_forges_a_line() {
    let Some(server) = Server::start() else {
        return;
    };
    let cases: &[(&[u8], &str)] = &[
        (b"n", "n"),
        (b"n 1,a=b", "n\\ 1\\,a\\=b"),
        (b"n\n\r\t\0\x1f\x7f", "n______"),
        (b"n\nforged v=1 0", "n_forged\\ v\\=1\\ 0"),
        (b"n\\", "n\\_"),
        (b"n\\\\", "n\\\\_"),
        (b"\\,", "\\\\,"),
        (b"#n", "#n"),
        (b"n\xff", "n\u{fffd}"),
        ("größe".as_bytes(), "größe"),
    ];
    for (node, written) in cases {
        let expected = format!("m,node={written},window=300s");
        check_line(&server, node, b"m", b"", &expected);
    }
}

#[test]
fn no_metric_breaks_or_forges_a_line() {
    let Some(server) = Server::start() else {
        return;
    };
    let cases: &[(&[u8], &str)] = &[
        // The measurement: an equals sign is an ordinary character in it.
        (b"a b,c=d", "a\\ b\\,c=d"),
        (b"a\ncpu,x=y v=1i 0", "a_cpu\\,x=y\\ v=1i\\ 0"),
        (b"a\r\t\0\x7f", "a____"),
        (b"m\\", "m\\_"),
        (b"m\\\\", "m\\\\_"),
        (b"\\", "\\_"),
        (b"a\\b", "a\\b"),
        (b"a\\,b", "a\\\\,b"),
        (b"#m", "_m"),
        (b"#", "_"),
        (b"m#", "m#"),
        (b"\xff", "\u{fffd}"),
        ("größe".as_bytes(), "größe"),
        // The instance: behind the first @.
        (b"m@sda", "m,instance=sda"),
        (b"m@a@b", "m,instance=a@b"),
        (b"m@", "m"),
        (b"@x", "_,instance=x"),
        (b"@", "_"),
        (b"#@#", "_,instance=#"),
        (b"m@a=b, c\n", "m,instance=a\\=b\\,\\ c_"),
        (b"m\\@i\\", "m\\_,instance=i\\_"),
    ];
    for (metric, written) in cases {
        let expected = format!("{written},node=n,window=300s");
        check_line(&server, b"n", metric, b"", &expected);
    }
}

#[test]
fn no_tag_breaks_or_forges_a_line() {
    let Some(server) = Server::start() else {
        return;
    };
    let cases: &[(&[u8], &str)] = &[
        // Sorted by the bytes of their names, the module's among them.
        (
            b"z:1 Z:2 o:3 a:4 x:5",
            "Z=2,a=4,node=n,o=3,window=300s,x=5,z=1",
        ),
        (b"ab:1 a:2 a-:3", "a=2,a-=3,ab=1,node=n,window=300s"),
        (b"k,=:v,=", "k\\,\\==v\\,\\=,node=n,window=300s"),
        (b"a:b:c", "a=b:c,node=n,window=300s"),
        (b"k\n:v\nw", "k_=v_w,node=n,window=300s"),
        (b"k\\:v\\", "k\\_=v\\_,node=n,window=300s"),
        (b"k:#\xff", "k=#\u{fffd},node=n,window=300s"),
        // Without a value, and with an empty one.
        (b"flag", "flag=true,node=n,window=300s"),
        (b"k:", "node=n,window=300s"),
        // Of a name given twice the last holds.
        (b"a:1 b a:2 b:3", "a=2,b=3,node=n,window=300s"),
        (b"a:1 a:", "node=n,window=300s"),
        // The module's tags and fields win.
        (b"node:x window:y", "node=n,node_=x,window=300s,window_=y"),
        (b"instance:x", "instance_=x,node=n,window=300s"),
        (b"time:x", "node=n,time_=x,window=300s"),
        (
            b"avg:1 max:2 min:3",
            "avg_=1,max_=2,min_=3,node=n,window=300s",
        ),
        (
            b"sum:4 last:5 count:6",
            "count_=6,last_=5,node=n,sum_=4,window=300s",
        ),
        (b"Node:x TIME:y", "Node=x,TIME=y,node=n,window=300s"),
    ];
    for (tags, written) in cases {
        check_line(&server, b"n", b"m", tags, &format!("m,{written}"));
    }
    let expected = "m,a=1,instance=i,instance_=x,node=n,window=300s";
    check_line(&server, b"n", b"m@i", b"instance:x a:1", expected);
}

// Refusals.

const POP: &str = "AGG.POP node queue [queue ...] [COUNT n] [FORMAT JSON|LINE]";
const FETCH: &str =
    "AGG.FETCH node queue [queue ...] [COUNT n] [LEASE ms] [BLOCK ms] [FORMAT JSON|LINE]";
const PEEK: &str = "AGG.PEEK node queue [queue ...] [COUNT n] [FROM id] [REV] [FORMAT JSON|LINE]";

#[test]
fn what_pop_fetch_and_peek_cannot_do_is_refused_with_a_reason() {
    let Some(server) = Server::start() else {
        return;
    };
    one_of_each(&server, "n");
    let digest = server.digest("n");
    for (command, usage) in [("AGG.POP", POP), ("AGG.FETCH", FETCH), ("AGG.PEEK", PEEK)] {
        let not_an_option = |word: &str| format!("'{word}' is not an option here: {usage}");
        let count = |word: &str| format!("COUNT '{word}' is not a whole number from 1 to 10000");
        let for_windows = |queue: &str| format!("FORMAT LINE is for MIN and HOUR, not for {queue}");
        let unknown =
            |word: &str| format!("queue '{word}' is not one of MIN, HOUR, LOG, ERROR, REALITY");
        for (arguments, why) in [
            ("n DAY", unknown("DAY")),
            ("n COUNT 1", unknown("COUNT")),
            ("n ", unknown("")),
            ("n LOG LOG", "queue LOG is given twice".to_owned()),
            ("n MIN hour Min", "queue MIN is given twice".to_owned()),
            ("n LOG DAY", not_an_option("DAY")),
            ("n LOG COUNT 1 MIN", not_an_option("MIN")),
            ("n LOG ", not_an_option("")),
            ("n LOG COUNT 0", count("0")),
            ("n LOG COUNT 10001", count("10001")),
            ("n LOG COUNT -1", count("-1")),
            ("n LOG COUNT 1.5", count("1.5")),
            ("n LOG COUNT ", count("")),
            (
                "n LOG COUNT 18446744073709551617",
                count("18446744073709551617"),
            ),
            ("n LOG COUNT", format!("COUNT is missing: {usage}")),
            ("n LOG COUNT 1 COUNT 1", "COUNT is given twice".to_owned()),
            ("n LOG COUNT 1 count 1", "COUNT is given twice".to_owned()),
            (
                "n MIN FORMAT XML",
                "FORMAT 'XML' is not one of JSON, LINE".to_owned(),
            ),
            ("n MIN FORMAT", format!("FORMAT is missing: {usage}")),
            (
                "n MIN FORMAT LINE FORMAT LINE",
                "FORMAT is given twice".to_owned(),
            ),
            ("n LOG FORMAT LINE", for_windows("LOG")),
            ("n ERROR FORMAT line", for_windows("ERROR")),
            ("n REALITY FORMAT LINE", for_windows("REALITY")),
            ("n MIN HOUR LOG FORMAT LINE", for_windows("LOG")),
            (" LOG", "node is empty".to_owned()),
            // Also where there is no such node.
            ("none LOG COUNT 0", count("0")),
        ] {
            let line = format!("{command} {arguments}");
            assert_eq!(
                server.error(&line),
                format!("ERR {command}: {why}"),
                "{line}"
            );
        }
    }
    assert_eq!(server.digest("n"), digest);
    for queue in QUEUES {
        assert_eq!(info(&server, "n", queue, "leased"), 0);
        assert_eq!(info(&server, "n", queue, "length"), 1);
    }
}

#[test]
fn options_of_one_command_are_refused_by_the_others() {
    let Some(server) = Server::start() else {
        return;
    };
    let week = "is not a whole number from 1 to 604800000";
    let block = "is not a whole number from 0 to 604800000";
    let from = "is not a whole number from 0 to 9007199254740991";
    for (line, why) in [
        (
            "AGG.POP n LOG LEASE 1",
            format!("'LEASE' is not an option here: {POP}"),
        ),
        (
            "AGG.POP n LOG BLOCK 1",
            format!("'BLOCK' is not an option here: {POP}"),
        ),
        (
            "AGG.POP n LOG FROM 1",
            format!("'FROM' is not an option here: {POP}"),
        ),
        (
            "AGG.POP n LOG REV",
            format!("'REV' is not an option here: {POP}"),
        ),
        (
            "AGG.FETCH n LOG REV",
            format!("'REV' is not an option here: {FETCH}"),
        ),
        (
            "AGG.FETCH n LOG FROM 1",
            format!("'FROM' is not an option here: {FETCH}"),
        ),
        ("AGG.FETCH n LOG LEASE 0", format!("LEASE '0' {week}")),
        ("AGG.FETCH n LOG LEASE -5", format!("LEASE '-5' {week}")),
        ("AGG.FETCH n LOG LEASE 1s", format!("LEASE '1s' {week}")),
        (
            "AGG.FETCH n LOG LEASE 604800001",
            format!("LEASE '604800001' {week}"),
        ),
        (
            "AGG.FETCH n LOG LEASE",
            format!("LEASE is missing: {FETCH}"),
        ),
        (
            "AGG.FETCH n LOG LEASE 1 LEASE 2",
            "LEASE is given twice".to_owned(),
        ),
        ("AGG.FETCH n LOG BLOCK -1", format!("BLOCK '-1' {block}")),
        ("AGG.FETCH n LOG BLOCK 0.5", format!("BLOCK '0.5' {block}")),
        (
            "AGG.FETCH n LOG BLOCK 604800001",
            format!("BLOCK '604800001' {block}"),
        ),
        (
            "AGG.FETCH n LOG BLOCK",
            format!("BLOCK is missing: {FETCH}"),
        ),
        (
            "AGG.FETCH n LOG BLOCK 1 BLOCK 1",
            "BLOCK is given twice".to_owned(),
        ),
        (
            "AGG.PEEK n LOG LEASE 1",
            format!("'LEASE' is not an option here: {PEEK}"),
        ),
        (
            "AGG.PEEK n LOG BLOCK 1",
            format!("'BLOCK' is not an option here: {PEEK}"),
        ),
        ("AGG.PEEK n LOG FROM -1", format!("FROM '-1' {from}")),
        ("AGG.PEEK n LOG FROM x", format!("FROM 'x' {from}")),
        (
            "AGG.PEEK n LOG FROM 9007199254740992",
            format!("FROM '9007199254740992' {from}"),
        ),
        ("AGG.PEEK n LOG FROM", format!("FROM is missing: {PEEK}")),
        (
            "AGG.PEEK n LOG FROM 1 FROM 1",
            "FROM is given twice".to_owned(),
        ),
        ("AGG.PEEK n LOG REV REV", "REV is given twice".to_owned()),
    ] {
        let command = line.split(' ').next().unwrap();
        assert_eq!(
            server.error(line),
            format!("ERR {command}: {why}"),
            "{line}"
        );
    }
}

#[test]
fn what_ack_nack_and_extend_cannot_do_is_refused_with_a_reason() {
    let Some(server) = Server::start() else {
        return;
    };
    let id = log(&server, "n", "text");
    take(&server, "AGG.FETCH n LOG LEASE 600000");
    let digest = server.digest("n");
    for (command, ms) in [("AGG.ACK", ""), ("AGG.NACK", ""), ("AGG.EXTEND", "1 ")] {
        for word in ["0", "-1", "x", "1.0", "", "01", "9007199254740992"] {
            let why = format!("id '{word}' is not a whole number from 1 to 9007199254740991");
            // Behind a good one too, which then stays as it is.
            for ids in [
                word.to_owned(),
                format!("{id} {word}"),
                format!("{word} {id}"),
            ] {
                let line = format!("{command} n LOG {ms}{ids}");
                assert_eq!(
                    server.error(&line),
                    format!("ERR {command}: {why}"),
                    "{line}"
                );
            }
        }
        let line = format!("{command} n DAY {ms}{id}");
        let why = "queue 'DAY' is not one of MIN, HOUR, LOG, ERROR, REALITY";
        assert_eq!(server.error(&line), format!("ERR {command}: {why}"));
        let line = format!("{command}  LOG {ms}{id}");
        assert_eq!(server.error(&line), format!("ERR {command}: node is empty"));
    }
    for word in ["0", "-1", "x", "604800001"] {
        let line = format!("AGG.EXTEND n LOG {word} {id}");
        let why = format!("ms '{word}' is not a whole number from 1 to 604800000");
        assert_eq!(server.error(&line), format!("ERR AGG.EXTEND: {why}"));
    }
    assert_eq!(server.digest("n"), digest);
    assert_eq!(info(&server, "n", "LOG", "leased"), 1);
}

#[test]
fn what_requeue_cannot_do_is_refused_with_a_reason() {
    let Some(server) = Server::start() else {
        return;
    };
    let usage = "AGG.REQUEUE node ERROR|REALITY [MATCH glob]";
    for (arguments, why) in [
        (
            "n LOG",
            "the queue 'LOG' is not one of ERROR, REALITY".to_owned(),
        ),
        (
            "n MIN",
            "the queue 'MIN' is not one of ERROR, REALITY".to_owned(),
        ),
        (
            "n ERROR MATCH",
            format!("the pattern behind MATCH is missing: {usage}"),
        ),
        ("n ERROR MATCH a MATCH b", "MATCH is given twice".to_owned()),
        (
            "n ERROR COUNT 1",
            format!("'COUNT' is not an option here: {usage}"),
        ),
        (
            "n ERROR REALITY",
            format!("'REALITY' is not an option here: {usage}"),
        ),
        (" ERROR", "node is empty".to_owned()),
    ] {
        let line = format!("AGG.REQUEUE {arguments}");
        assert_eq!(
            server.error(&line),
            format!("ERR AGG.REQUEUE: {why}"),
            "{line}"
        );
    }
}

#[test]
fn a_command_without_its_queue_or_ids_is_refused_by_the_server() {
    let Some(server) = Server::start() else {
        return;
    };
    let id = log(&server, "n", "text");
    for line in [
        "AGG.POP n",
        "AGG.FETCH n",
        "AGG.PEEK n",
        "AGG.REQUEUE n",
        "AGG.ACK n LOG",
        "AGG.NACK n LOG",
        "AGG.EXTEND n LOG 1000",
        &format!("AGG.EXTEND n LOG {id}"),
    ] {
        let command = line.split(' ').next().unwrap().to_lowercase();
        let why = format!("err wrong number of arguments for '{command}' command");
        assert_eq!(server.error(line).to_lowercase(), why, "{line}");
    }
    assert_eq!(info(&server, "n", "LOG", "length"), 1);
}

#[test]
fn a_key_that_holds_something_else_is_refused() {
    let Some(server) = Server::start() else {
        return;
    };
    server.ask::<()>("SET n text");
    for line in [
        "AGG.POP n LOG",
        "AGG.FETCH n LOG",
        "AGG.FETCH n LOG BLOCK 0",
        "AGG.PEEK n LOG",
        "AGG.ACK n LOG 1",
        "AGG.NACK n LOG 1",
        "AGG.EXTEND n LOG 1 1",
        "AGG.REQUEUE n ERROR",
    ] {
        let why = "WRONGTYPE Operation against a key holding the wrong kind of value";
        assert_eq!(server.error(line), why, "{line}");
    }
    assert_eq!(server.ask::<String>("GET n"), "text");
}
