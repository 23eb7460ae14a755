//! A node is a key of its own type: SCAN, TYPE, OBJECT and MEMORY USAGE know it, and other types do not mix with it.

use super::*;

#[test]
fn node_is_a_key_of_a_type_that_scan_lists() {
    let Some(server) = Server::start() else {
        return;
    };
    let mut c = server.connection();
    let nodes: Vec<String> = (0..12).map(|i| format!("node{i:02}")).collect();
    for node in &nodes {
        let _: i64 = ask(&mut c, &format!("AGG.LOG {node} hello"));
        let () = ask(&mut c, &format!("SET string.{node} x"));
    }
    let _: i64 = ask(&mut c, "LPUSH list x");
    assert_eq!(ask::<String>(&mut c, "TYPE node00"), "aggr-node");
    assert_eq!(scanned(&mut c), nodes);
    assert_eq!(ask::<i64>(&mut c, "DBSIZE"), 25);
    assert_eq!(scanned(&mut server.connection_to(1)), [] as [String; 0]);
}

#[test]
fn report_creates_the_key_and_a_rejected_report_does_not() {
    let Some(server) = Server::start() else {
        return;
    };
    let mut c = server.connection();
    for line in [
        "AGG.STAT a m 1",
        "AGG.STAT b m 1 DIFF",
        "AGG.MSTAT c VALUES m 1",
        "AGG.HIST h m VALUES 1 1",
        "AGG.LOG d hello",
        "AGG.ERROR e broken",
        "AGG.REALITY f k m {}",
    ] {
        let _: Value = ask(&mut c, line);
        let key = line.split(' ').nth(1).unwrap();
        assert_eq!(
            ask::<String>(&mut c, &format!("TYPE {key}")),
            "aggr-node",
            "{line}"
        );
    }
    for line in [
        "AGG.STAT none m x",
        "AGG.MSTAT none ATOMIC VALUES m 1 n x",
        "AGG.HIST none m VALUES 1 0",
        "AGG.LOG none hello LEVEL 10",
        "AGG.ERROR none broken TYPE what",
        "AGG.REALITY none k m {",
    ] {
        error(&mut c, line);
    }
    for line in [
        "AGG.FORGET none METRIC m",
        "AGG.REQUEUE none ERROR",
        "AGG.POP none MIN",
        "AGG.FETCH none MIN",
        "AGG.ACK none MIN 1",
        "AGG.NACK none MIN 1",
        "AGG.EXTEND none MIN 1000 1",
        "AGG.PEEK none MIN",
        "AGG.GET none METRIC m",
        "AGG.RANGE none m MIN",
        "AGG.SCAN none METRIC 0",
        "AGG.INFO none",
    ] {
        let _: Value = ask(&mut c, line);
    }
    assert!(!exists(&mut c, "none"));
}

#[test]
fn every_command_rejects_a_key_of_another_type() {
    let Some(server) = Server::start() else {
        return;
    };
    let mut c = server.connection();
    let () = ask(&mut c, "SET s x");
    for line in [
        "AGG.STAT s m 1",
        "AGG.MSTAT s VALUES m 1",
        "AGG.HIST s m VALUES 1 1",
        "AGG.LOG s hello",
        "AGG.ERROR s broken",
        "AGG.REALITY s k m {}",
        "AGG.FORGET s METRIC m",
        "AGG.REQUEUE s ERROR",
        "AGG.POP s MIN",
        "AGG.FETCH s MIN",
        "AGG.FETCH s MIN BLOCK 0",
        "AGG.ACK s MIN 1",
        "AGG.NACK s MIN 1",
        "AGG.EXTEND s MIN 1000 1",
        "AGG.PEEK s MIN",
        "AGG.GET s METRIC m",
        "AGG.RANGE s m MIN",
        "AGG.SCAN s METRIC 0",
        "AGG.INFO s",
        "AGG.APPLY s payload",
    ] {
        assert_eq!(
            error(&mut c, line),
            "WRONGTYPE Operation against a key holding the wrong kind of value",
            "{line}"
        );
    }
    assert_eq!(ask::<String>(&mut c, "GET s"), "x");
    assert_eq!(ask::<i64>(&mut c, "DBSIZE"), 1);
}

#[test]
fn commands_of_other_types_reject_a_node() {
    let Some(server) = Server::with_settings(HELD_OPEN) else {
        return;
    };
    let mut c = server.connection();
    fill_short(&mut c, "n");
    let before = server.digest("n");
    for line in [
        "GET n",
        "APPEND n x",
        "INCR n",
        "LPUSH n x",
        "HSET n f v",
        "SADD n x",
        "ZADD n 1 x",
        "XADD n * f v",
    ] {
        assert!(error(&mut c, line).starts_with("WRONGTYPE "), "{line}");
    }
    assert_eq!(server.digest("n"), before);
    let () = ask(&mut c, "SET n x");
    assert!(error(&mut c, "AGG.LOG n hello").starts_with("WRONGTYPE "));
}

#[test]
fn nodes_of_one_name_in_several_databases_are_independent() {
    let Some(server) = Server::with_settings(CLOSING) else {
        return;
    };
    for db in [0, 1, 15] {
        let mut c = server.connection_to(db);
        let _: i64 = ask(&mut c, &format!("AGG.STAT n only.in.{db} {db}"));
    }
    for db in [0, 1, 15] {
        let mut c = server.connection_to(db);
        let metric = format!("only.in.{db}");
        closes(&mut c, "n", &metric);
        goes_on(&mut c, "n");
        let all = peek(&mut c, "n", "MIN");
        assert!(
            all.iter()
                .map(QueuedRecord::json)
                .all(|r| r["metric"] == *metric || r["metric"].as_str().unwrap().contains("probe")),
            "{all:?}"
        );
    }
    assert!(!exists(&mut server.connection_to(2), "n"));
}

#[test]
fn all_nodes_of_a_database_close_their_windows() {
    let Some(server) = Server::with_settings(CLOSING) else {
        return;
    };
    let mut c = server.connection();
    for i in 0..300 {
        let _: i64 = ask(&mut c, &format!("AGG.STAT n{i} m {i}"));
    }
    for i in 0..300 {
        closes(&mut c, &format!("n{i}"), "m");
    }
    let records = server.peek("n299", "MIN");
    assert_eq!((&records[0]["sum"], records.len()), (&299.0.into(), 1));
}

#[test]
fn node_names_may_be_any_bytes() {
    let Some(server) = Server::with_settings(CLOSING) else {
        return;
    };
    let name = b"n\x00\xff\r\n {\"";
    assert_eq!(server.send::<i64>(&[b"AGG.STAT", name, b"m", b"1"]), 1);
    let record = until("its window closes", || {
        queued_records(&server.send(&[b"AGG.PEEK", name, b"MIN"])).pop()
    });
    assert_eq!(record.json()["node"], "n\u{0}\u{fffd}\r\n {\"");
}

#[test]
fn memory_usage_grows_as_the_server_does() {
    let Some(server) = Server::with_settings(HELD_OPEN) else {
        return;
    };
    let mut c = server.connection();
    let used = || -> i64 { server.info_field("memory", "used_memory") };
    let _: i64 = ask(&mut c, "AGG.LOG n hello");
    let small: i64 = ask(&mut c, "MEMORY USAGE n");
    assert!((100..100_000).contains(&small), "{small}");
    let before = used();
    fill_much(&mut c, "n");
    let big: i64 = ask(&mut c, "MEMORY USAGE n SAMPLES 0");
    let (grown, stated) = (used() - before, big - small);
    // 1000 log entries of 500 bytes, 4000 metrics, 1000 errors, 1000 objects.
    assert!(stated > 1_000_000, "{stated}");
    assert!(
        stated > grown / 2 && stated < grown * 2,
        "the node says that it grew by {stated}, the server by {grown}"
    );
}

#[test]
fn object_command_works_on_a_node() {
    let Some(server) = Server::start() else {
        return;
    };
    let mut c = server.connection();
    let _: i64 = ask(&mut c, "AGG.LOG n hello");
    assert_eq!(ask::<String>(&mut c, "OBJECT ENCODING n"), "raw");
    assert_eq!(ask::<i64>(&mut c, "OBJECT REFCOUNT n"), 1);
    assert!(ask::<i64>(&mut c, "OBJECT IDLETIME n") >= 0);
    let () = ask(&mut c, "CONFIG SET maxmemory-policy volatile-lfu");
    assert!(ask::<i64>(&mut c, "OBJECT FREQ n") >= 0);
    assert_eq!(ask::<i64>(&mut c, "TOUCH n"), 1);
}
