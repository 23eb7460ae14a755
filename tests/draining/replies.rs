//! The form, size and order of replies.

use super::*;

#[test]
fn reply_has_queue_id_deliveries_and_record_in_both_protocols() {
    let Some(server) = Server::start() else {
        return;
    };
    for mut connection in [server.connection(), server.connection3()] {
        for command in ["PEEK", "FETCH", "POP"] {
            server.ask::<()>("DEL n");
            let id = log(&server, "n", "text");
            let reply: Value = ask(&mut connection, &format!("AGG.{command} n LOG"));
            let [Value::Array(delivered)] = list(&reply) else {
                panic!("{reply:?}");
            };
            let [queue, given, deliveries, Value::BulkString(record)] = delivered.as_slice() else {
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
fn missing_node_delivers_nothing_and_is_not_created() {
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
fn empty_queue_replies_with_an_empty_list() {
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
fn keywords_are_case_insensitive_and_options_come_in_any_order() {
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

#[test]
fn queues_are_drained_in_the_order_named_oldest_id_first() {
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
fn count_defaults_to_100_and_goes_up_to_10000() {
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
fn count_limits_all_queues_together() {
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
fn replies_stop_at_about_one_mebibyte() {
    let Some(server) = Server::start() else {
        return;
    };
    const MIB: usize = 1 << 20;
    const ONE: usize = 40_000;
    let text = "x".repeat(ONE);
    let all: Vec<i64> = (0..60).map(|_| log(&server, "n", &text)).collect();
    let full = |delivered: &[QueuedRecord]| {
        let bytes: usize = delivered.iter().map(|e| e.text.len()).sum();
        assert!((MIB - 2 * ONE..MIB + 2 * ONE).contains(&bytes), "{bytes}");
    };
    full(&take(&server, "AGG.PEEK n LOG"));
    full(&take(&server, "AGG.PEEK n LOG REV"));
    // The limit applies to the reply, not to each of its queues.
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
fn record_larger_than_a_reply_comes_alone() {
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
