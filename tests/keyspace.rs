//! A node is one key: whatever the server does with keys of any type works on it, and its windows keep closing wherever
//! it moves.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use redis::{Connection, ConnectionLike, Value};
use testkit::*;

/// Short windows that close without further samples.
const CLOSING: &str = "min-window 1 hour-window 2 flush-delay-ms 0";

/// Opens a connection and selects a database.
fn in_db(server: &Server, db: u32) -> Connection {
    let mut connection = server.connection();
    let () = ask(&mut connection, &format!("SELECT {db}"));
    connection
}

/// Returns all records of a queue without consuming them.
fn peek(connection: &mut Connection, node: &str, queue: &str) -> Vec<Entry> {
    entries(&ask(
        connection,
        &format!("AGG.PEEK {node} {queue} COUNT 10000"),
    ))
}

/// Returns whether a window of the metric has closed and its record names the node.
fn has_closed(connection: &mut Connection, node: &str, metric: &str) -> bool {
    peek(connection, node, "MIN")
        .iter()
        .map(Entry::json)
        .filter(|record| record["metric"] == metric)
        .inspect(|record| assert_eq!(record["node"], node))
        .count()
        > 0
}

fn closes(connection: &mut Connection, node: &str, metric: &str) {
    until(&format!("{node} closes the window of {metric}"), || {
        has_closed(connection, node, metric).then_some(())
    });
}

/// Asserts that the node accepts a sample and closes its window.
fn goes_on(connection: &mut Connection, node: &str) {
    static PROBES: AtomicUsize = AtomicUsize::new(0);
    let metric = format!("probe{}", PROBES.fetch_add(1, Relaxed));
    let taken: i64 = ask(connection, &format!("AGG.STAT {node} {metric} 1"));
    assert_eq!(taken, 1);
    closes(connection, node, &metric);
}

fn digests(connection: &mut Connection, keys: &str) -> Vec<String> {
    ask(connection, &format!("DEBUG DIGEST-VALUE {keys}"))
}

fn exists(connection: &mut Connection, key: &str) -> bool {
    ask(connection, &format!("EXISTS {key}"))
}

/// Returns a number of INFO agg.
fn info(server: &Server, field: &str) -> i64 {
    let all: String = server.ask("INFO agg");
    let line = all
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("{field} is not in {all}"))
        .trim()
        .parse()
        .unwrap()
}

fn scanned(connection: &mut Connection) -> Vec<String> {
    let (mut cursor, mut names) = (0_u64, Vec::new());
    loop {
        let (next, found): (u64, Vec<String>) =
            ask(connection, &format!("SCAN {cursor} TYPE aggr-node COUNT 3"));
        names.extend(found);
        if next == 0 {
            names.sort();
            names.dedup();
            return names;
        }
        cursor = next;
    }
}

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
    assert_eq!(scanned(&mut in_db(&server, 1)), [] as [String; 0]);
}

#[test]
fn each_command_family_creates_the_key_and_a_refused_write_does_not() {
    let Some(server) = Server::start() else {
        return;
    };
    let mut c = server.connection();
    for line in [
        "AGG.STAT a m 1",
        "AGG.STAT b m 1 DIFF",
        "AGG.MSTAT c VALUES m 1",
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
fn every_command_refuses_a_key_of_another_type() {
    let Some(server) = Server::start() else {
        return;
    };
    let mut c = server.connection();
    let () = ask(&mut c, "SET s x");
    for line in [
        "AGG.STAT s m 1",
        "AGG.MSTAT s VALUES m 1",
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
fn commands_of_other_types_refuse_a_node() {
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
        let mut c = in_db(&server, db);
        let _: i64 = ask(&mut c, &format!("AGG.STAT n only.in.{db} {db}"));
    }
    for db in [0, 1, 15] {
        let mut c = in_db(&server, db);
        let metric = format!("only.in.{db}");
        closes(&mut c, "n", &metric);
        goes_on(&mut c, "n");
        let all = peek(&mut c, "n", "MIN");
        assert!(
            all.iter()
                .map(Entry::json)
                .all(|r| r["metric"] == *metric || r["metric"].as_str().unwrap().contains("probe")),
            "{all:?}"
        );
    }
    assert!(!exists(&mut in_db(&server, 2), "n"));
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
    let entry = until("its window closes", || {
        entries(&server.send(&[b"AGG.PEEK", name, b"MIN"])).pop()
    });
    assert_eq!(entry.json()["node"], "n\u{0}\u{fffd}\r\n {\"");
}

#[test]
fn renamed_node_closes_its_windows_under_the_new_name() {
    let Some(server) = Server::with_settings(HELD_OPEN) else {
        return;
    };
    let mut c = server.connection();
    fill_short(&mut c, "old");
    let before = server.digest("old");
    let waiting = peek(&mut c, "old", "LOG")[1].id;
    let () = ask(&mut c, "RENAME old new");
    assert!(!exists(&mut c, "old"));
    assert_eq!(server.digest("new"), before);
    for queue in ["MIN", "HOUR", "LOG", "ERROR", "REALITY"] {
        let records = server.peek("new", queue);
        assert!(!records.is_empty(), "{queue}");
        assert!(records.iter().all(|r| r["node"] == "new"), "{records:?}");
    }
    let_windows_close(&server);
    closes(&mut c, "new", "temp");
    goes_on(&mut c, "new");
    assert!(!exists(&mut c, "old"));
    assert!(ask::<i64>(&mut c, "AGG.LOG new more") > waiting);
    // The old name is available for another node.
    goes_on(&mut c, "old");
    assert!(!has_closed(&mut c, "old", "temp"));
}

#[test]
fn rename_replaces_a_node_and_renamenx_does_not() {
    let Some(server) = Server::with_settings(CLOSING) else {
        return;
    };
    let mut c = server.connection();
    for node in ["a", "b"] {
        let _: i64 = ask(&mut c, &format!("AGG.STAT {node} of.{node} 1"));
    }
    assert_eq!(ask::<i64>(&mut c, "RENAMENX a b"), 0);
    let () = ask(&mut c, "RENAME a b");
    closes(&mut c, "b", "of.a");
    goes_on(&mut c, "b");
    assert!(!has_closed(&mut c, "b", "of.b"));
    assert_eq!(ask::<i64>(&mut c, "RENAMENX b a"), 1);
    goes_on(&mut c, "a");
    assert_eq!(scanned(&mut c), ["a"]);
}

#[test]
fn record_fetched_under_the_old_name_is_acknowledged_under_the_new() {
    let Some(server) = Server::start() else {
        return;
    };
    let mut c = server.connection();
    let id: i64 = ask(&mut c, "AGG.LOG old hello");
    let fetched = entries(&ask(&mut c, "AGG.FETCH old LOG"));
    assert_eq!((fetched[0].id, fetched.len()), (id, 1));
    let () = ask(&mut c, "RENAME old new");
    assert_eq!(entries(&ask(&mut c, "AGG.FETCH new LOG")), []);
    assert_eq!(ask::<i64>(&mut c, &format!("AGG.ACK new LOG {id}")), 1);
    assert_eq!(peek(&mut c, "new", "LOG"), []);
}

#[test]
fn copy_is_equal_and_then_independent() {
    let Some(server) = Server::with_settings(HELD_OPEN) else {
        return;
    };
    let mut c = server.connection();
    fill_short(&mut c, "n");
    assert_eq!(ask::<i64>(&mut c, "COPY n copy"), 1);
    let both = digests(&mut c, "n copy");
    assert_eq!(both[0], both[1]);
    let _: i64 = ask(&mut c, "AGG.STAT copy only.of.copy 1");
    let after = digests(&mut c, "n copy");
    assert_eq!(after[0], both[0], "the original changed with its copy");
    assert_ne!(after[1], both[1]);
    let_windows_close(&server);
    for node in ["n", "copy"] {
        closes(&mut c, node, "temp");
        goes_on(&mut c, node);
    }
    closes(&mut c, "copy", "only.of.copy");
    assert!(!has_closed(&mut c, "n", "only.of.copy"));
    let () = ask(&mut c, "DEL n");
    goes_on(&mut c, "copy");
}

#[test]
fn copy_replaces_a_node_only_with_replace() {
    let Some(server) = Server::with_settings(CLOSING) else {
        return;
    };
    let mut c = server.connection();
    for node in ["a", "b"] {
        let _: i64 = ask(&mut c, &format!("AGG.STAT {node} of.{node} 1"));
    }
    assert_eq!(ask::<i64>(&mut c, "COPY a b"), 0);
    assert_eq!(ask::<i64>(&mut c, "COPY a b REPLACE"), 1);
    closes(&mut c, "b", "of.a");
    assert!(!has_closed(&mut c, "b", "of.b"));
}

#[test]
fn copy_in_another_database_closes_its_windows_there() {
    let Some(server) = Server::with_settings(HELD_OPEN) else {
        return;
    };
    let mut c = server.connection();
    let mut there = in_db(&server, 3);
    fill_short(&mut c, "n");
    assert_eq!(ask::<i64>(&mut c, "COPY n n DB 3"), 1);
    assert_eq!(digests(&mut there, "n"), digests(&mut c, "n"));
    let_windows_close(&server);
    closes(&mut there, "n", "temp");
    closes(&mut c, "n", "temp");
    goes_on(&mut there, "n");
    assert_eq!(info(&server, "agg_nodes"), 2);
}

#[test]
fn moved_node_closes_its_windows_in_its_new_database() {
    let Some(server) = Server::with_settings(HELD_OPEN) else {
        return;
    };
    let mut c = server.connection();
    let mut there = in_db(&server, 7);
    fill_short(&mut c, "n");
    let before = server.digest("n");
    assert_eq!(ask::<i64>(&mut c, "MOVE n 7"), 1);
    assert!(!exists(&mut c, "n"));
    assert_eq!(digests(&mut there, "n"), [before]);
    let_windows_close(&server);
    closes(&mut there, "n", "temp");
    goes_on(&mut there, "n");
    assert!(!exists(&mut c, "n"));
    goes_on(&mut c, "n");
    assert_eq!(ask::<i64>(&mut c, "MOVE n 7"), 0);
}

#[test]
fn time_to_live_survives_window_closings_and_expires_the_node() {
    let Some(server) = Server::with_settings(CLOSING) else {
        return;
    };
    let mut c = server.connection();
    let _: i64 = ask(&mut c, "AGG.LOG n first");
    assert_eq!(ask::<i64>(&mut c, "EXPIRE n 1000"), 1);
    goes_on(&mut c, "n");
    let ttl: i64 = ask(&mut c, "TTL n");
    assert!((900..=1000).contains(&ttl), "{ttl}");
    assert_eq!(ask::<i64>(&mut c, "PERSIST n"), 1);
    assert_eq!(ask::<i64>(&mut c, "TTL n"), -1);
    goes_on(&mut c, "n");
    let _: i64 = ask(&mut c, "AGG.STAT n open 1");
    assert_eq!(ask::<i64>(&mut c, "PEXPIRE n 20"), 1);
    until("the node ends", || {
        (info(&server, "agg_nodes") == 0).then_some(())
    });
    assert!(!exists(&mut c, "n"));
    goes_on(&mut c, "n");
    assert_eq!(ask::<i64>(&mut c, "TTL n"), -1);
    assert_eq!(peek(&mut c, "n", "LOG"), []);
}

#[test]
fn node_expires_on_time_though_the_timer_visits_it() {
    let Some(server) = Server::with_settings(CLOSING) else {
        return;
    };
    let mut c = server.connection();
    let _: i64 = ask(&mut c, "AGG.STAT n m 1");
    assert_eq!(ask::<i64>(&mut c, "PEXPIRE n 1"), 1);
    until("the node ends", || (!exists(&mut c, "n")).then_some(()));
    // None of the windows that were open recreates it.
    std::thread::sleep(Duration::from_millis(1500));
    assert!(!exists(&mut c, "n"));
}

#[test]
fn del_and_unlink_free_the_memory() {
    let Some(server) = Server::with_settings(HELD_OPEN) else {
        return;
    };
    let mut c = server.connection();
    for command in ["DEL", "UNLINK"] {
        let before = info(&server, "agg_held");
        fill_much(&mut c, "n");
        assert!(info(&server, "agg_held") - before > 1_000_000);
        assert_eq!(ask::<i64>(&mut c, &format!("{command} n")), 1);
        // Some memory stays: tables of the module that have grown.
        until(&format!("the memory is given back after {command}"), || {
            (info(&server, "agg_held") - before < 300_000).then_some(())
        });
        for field in ["nodes", "metrics", "errors", "realities", "log_length"] {
            assert_eq!(info(&server, &format!("agg_{field}")), 0, "{field}");
        }
    }
    let_windows_close(&server);
    goes_on(&mut c, "n");
    assert!(!has_closed(&mut c, "n", "metric.0.0"));
}

#[test]
fn ids_keep_growing_after_del() {
    let Some(server) = Server::start() else {
        return;
    };
    let mut last = 0;
    for _ in 0..100 {
        let id: i64 = server.ask("AGG.LOG n hello");
        assert!(id > last, "{id} came after {last}");
        last = id;
        let () = server.ask("DEL n");
    }
}

#[test]
fn swapped_databases_close_their_windows() {
    let Some(server) = Server::with_settings(HELD_OPEN) else {
        return;
    };
    let (mut zero, mut one) = (in_db(&server, 0), in_db(&server, 1));
    for (c, metric) in [(&mut zero, "of.zero"), (&mut one, "of.one")] {
        make_short(c, "n");
        let _: i64 = ask(c, &format!("AGG.STAT n {metric} 1"));
    }
    make_short(&mut zero, "alone");
    let _: i64 = ask(&mut zero, "AGG.STAT alone m 1");
    let () = ask(&mut zero, "SWAPDB 0 1");
    let_windows_close(&server);
    closes(&mut one, "n", "of.zero");
    closes(&mut zero, "n", "of.one");
    closes(&mut one, "alone", "m");
    assert!(!has_closed(&mut zero, "n", "of.zero"));
    goes_on(&mut zero, "n");
    goes_on(&mut one, "n");
    assert_eq!(scanned(&mut zero), ["n"]);
    assert_eq!(scanned(&mut one), ["alone", "n"]);
}

#[test]
fn flushdb_removes_only_the_nodes_of_its_database() {
    let Some(server) = Server::with_settings(CLOSING) else {
        return;
    };
    for flush in ["FLUSHDB", "FLUSHDB SYNC", "FLUSHDB ASYNC"] {
        let (mut zero, mut one) = (in_db(&server, 0), in_db(&server, 1));
        for c in [&mut zero, &mut one] {
            let _: Value = ask(c, "AGG.MSTAT n VALUES before 1 flush 2");
        }
        let () = ask(&mut zero, flush);
        assert!(!exists(&mut zero, "n"));
        closes(&mut one, "n", "before");
        until(flush, || (info(&server, "agg_nodes") == 1).then_some(()));
        assert_eq!(scanned(&mut zero), [] as [String; 0]);
        goes_on(&mut zero, "n");
        assert!(!has_closed(&mut zero, "n", "before"));
        let () = ask(&mut zero, "FLUSHALL");
    }
}

#[test]
fn flushall_removes_all_nodes_and_new_ones_work() {
    let Some(server) = Server::with_settings(CLOSING) else {
        return;
    };
    let before = info(&server, "agg_held");
    for flush in ["FLUSHALL", "FLUSHALL SYNC", "FLUSHALL ASYNC"] {
        let (mut zero, mut nine) = (in_db(&server, 0), in_db(&server, 9));
        fill_much(&mut zero, "big");
        for c in [&mut zero, &mut nine] {
            fill(c, "n");
        }
        let () = ask(&mut zero, flush);
        until(flush, || {
            let left = info(&server, "agg_held") - before;
            (info(&server, "agg_nodes") == 0 && left < 300_000).then_some(())
        });
        for c in [&mut zero, &mut nine] {
            assert_eq!(ask::<i64>(c, "DBSIZE"), 0);
            goes_on(c, "n");
            assert!(!has_closed(c, "n", "temp"));
        }
        let () = ask(&mut zero, "FLUSHALL");
    }
}

#[test]
fn restored_node_is_equal_and_its_ids_keep_growing() {
    let Some(server) = Server::with_settings(HELD_OPEN) else {
        return;
    };
    let mut c = server.connection();
    fill_short(&mut c, "n");
    let before = server.digest("n");
    let last = peek(&mut c, "n", "LOG").last().unwrap().id;
    let dump: Vec<u8> = ask(&mut c, "DUMP n");
    let restore = |key: &str, more: &[&[u8]]| -> redis::RedisResult<()> {
        let mut words: Vec<&[u8]> = vec![b"RESTORE", key.as_bytes(), b"0", &dump];
        words.extend(more);
        send(&mut server.connection(), &words)
    };
    restore("again", &[]).unwrap();
    assert_eq!(server.digest("again"), before);
    assert_eq!(restore("again", &[]).unwrap_err().code(), Some("BUSYKEY"));
    let _: i64 = ask(&mut c, "AGG.STAT again m 1");
    restore("again", &[b"REPLACE"]).unwrap();
    assert_eq!(server.digest("again"), before);
    let () = ask(&mut c, "DEL n");
    restore("n", &[]).unwrap();
    assert_eq!(server.digest("n"), before);
    for node in ["n", "again"] {
        let id: i64 = ask(&mut c, &format!("AGG.LOG {node} more"));
        assert!(id > last, "{id} came after {last}");
    }
    let_windows_close(&server);
    for node in ["n", "again"] {
        closes(&mut c, node, "temp");
        goes_on(&mut c, node);
    }
    let ids: Vec<i64> = peek(&mut c, "n", "MIN").iter().map(|e| e.id).collect();
    assert!(ids.is_sorted_by(|a, b| a < b), "{ids:?}");
}

#[test]
fn node_restored_with_a_time_to_live_expires() {
    let Some(server) = Server::with_settings(CLOSING) else {
        return;
    };
    let mut c = server.connection();
    let _: i64 = ask(&mut c, "AGG.STAT n m 1");
    let dump: Vec<u8> = ask(&mut c, "DUMP n");
    let () = server.send(&[b"RESTORE", b"n", b"1500", &dump, b"REPLACE"]);
    closes(&mut c, "n", "m");
    until("the node ends", || {
        (info(&server, "agg_nodes") == 0).then_some(())
    });
}

#[test]
fn a_node_migrates_to_another_server() {
    let (Some(from), Some(to)) = (
        Server::with_settings(HELD_OPEN),
        Server::with_settings(CLOSING),
    ) else {
        return;
    };
    let mut c = from.connection();
    fill_short(&mut c, "n");
    // The target would otherwise close windows before the comparison.
    hold_windows_open(&to);
    let before = from.digest("n");
    let last = peek(&mut c, "n", "LOG").last().unwrap().id;
    let () = ask(&mut c, &format!("MIGRATE 127.0.0.1 {} n 0 10000", to.port));
    assert!(!exists(&mut c, "n"));
    assert_eq!(to.digest("n"), before);
    assert!(to.ask::<i64>("AGG.LOG n more") > last);
    let_windows_close(&to);
    let mut there = to.connection();
    closes(&mut there, "n", "temp");
    goes_on(&mut there, "n");
}

#[test]
fn memory_usage_grows_as_the_server_does() {
    let Some(server) = Server::with_settings(HELD_OPEN) else {
        return;
    };
    let mut c = server.connection();
    let used = || -> i64 {
        let all: String = server.ask("INFO memory");
        let line = all.lines().find_map(|l| l.strip_prefix("used_memory:"));
        line.unwrap().trim().parse().unwrap()
    };
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

#[test]
fn a_transaction_runs_commands_of_every_family() {
    let Some(server) = Server::start() else {
        return;
    };
    let mut c = server.connection();
    let () = ask(&mut c, "MULTI");
    for line in [
        "AGG.STAT n m 1",
        "AGG.LOG n hello",
        "AGG.ERROR n broken KEY e",
        "AGG.REALITY n k m {}",
        "AGG.STAT n m nonsense",
        "AGG.POP n LOG",
        "AGG.FETCH n ERROR REALITY",
        "AGG.GET n METRIC m",
        "AGG.FETCH n MIN BLOCK 0",
    ] {
        assert_eq!(ask::<String>(&mut c, line), "QUEUED");
    }
    assert!(!exists(&mut server.connection(), "n"));
    // Not by `ask`, which fails if one of the replies is an error.
    let replies = c.req_command(&redis::cmd("EXEC")).unwrap();
    let replies = list(&replies);
    assert_eq!(replies.len(), 9);
    assert_eq!(replies[0], Value::Int(1));
    assert!(matches!(replies[4], Value::ServerError(_)), "{replies:?}");
    assert_eq!(entries(&replies[5])[0].json()["message"], "hello");
    assert_eq!(entries(&replies[6]).len(), 2);
    assert_eq!(int(&replies[7], "samples"), 1);
    assert_eq!(entries(&replies[8]), []);
    let () = ask(&mut c, "MULTI");
    assert_eq!(ask::<String>(&mut c, "AGG.LOG discarded hello"), "QUEUED");
    let () = ask(&mut c, "DISCARD");
    assert!(!exists(&mut c, "discarded"));
}

/// Returns whether a transaction that watches the node is executed although `meanwhile` happens.
fn survives(server: &Server, meanwhile: impl FnOnce(&mut Connection)) -> bool {
    let mut c = server.connection();
    let () = ask(&mut c, "WATCH n");
    meanwhile(&mut server.connection());
    let () = ask(&mut c, "MULTI");
    let _: Value = ask(&mut c, "PING");
    ask::<Value>(&mut c, "EXEC") != Value::Nil
}

#[test]
fn watch_is_broken_by_a_write() {
    let Some(server) = Server::start() else {
        return;
    };
    for line in [
        "AGG.STAT n m 1",
        "AGG.MSTAT n VALUES m 1",
        "AGG.LOG n hello",
        "AGG.ERROR n broken",
        "AGG.REALITY n k m {}",
        "AGG.FORGET n METRIC m",
        "AGG.POP n LOG ERROR",
        "AGG.REQUEUE n ERROR",
        "DEL n",
    ] {
        let broken = !survives(&server, |c| {
            ask::<Value>(c, line);
        });
        assert!(broken, "{line}");
    }
}

#[test]
fn watch_survives_a_read() {
    let Some(server) = Server::start() else {
        return;
    };
    fill(&mut server.connection(), "n");
    for line in [
        "AGG.PEEK n MIN LOG",
        "AGG.GET n METRIC temp",
        "AGG.RANGE n temp MIN",
        "AGG.SCAN n METRIC 0",
        "AGG.INFO n",
        "AGG.LOG other hello",
    ] {
        let survived = survives(&server, |c| {
            ask::<Value>(c, line);
        });
        assert!(survived, "{line}");
    }
}

#[test]
fn watch_survives_time_without_changes() {
    let Some(server) = Server::with_settings(HELD_OPEN) else {
        return;
    };
    let mut c = server.connection();
    let _: i64 = ask(&mut c, "AGG.LOG n hello");
    let before = server.digest("n");
    let survived = survives(&server, |_| std::thread::sleep(Duration::from_millis(500)));
    assert_eq!(server.digest("n"), before);
    assert!(
        survived,
        "the timer broke the watch of a node that it left as it was"
    );
}

#[test]
fn watch_is_broken_by_a_closing_window() {
    let Some(server) = Server::with_settings(HELD_OPEN) else {
        return;
    };
    let mut c = server.connection();
    make_short(&mut c, "n");
    let _: i64 = ask(&mut c, "AGG.STAT n m 1");
    let broken = !survives(&server, |c| {
        let_windows_close(&server);
        closes(c, "n", "m");
    });
    assert!(broken);
}

/// The commands that a script calls.
const SCRIPT: &str = "
    local n = KEYS[1]
    redis.call('AGG.STAT', n, 'm', 1)
    redis.call('AGG.MSTAT', n, 'DIFF', 'VALUES', 'd', 1)
    local id = redis.call('AGG.LOG', n, 'hello')
    redis.call('AGG.ERROR', n, 'broken', 'KEY', 'e')
    redis.call('AGG.REALITY', n, 'k', 'model', '{}')
    local fetched = redis.call('AGG.FETCH', n, 'LOG', 'BLOCK', 0)
    local nothing = redis.call('AGG.FETCH', n, 'LOG', 'BLOCK', 0)
    redis.call('AGG.NACK', n, 'LOG', id)
    redis.call('AGG.FETCH', n, 'LOG')
    redis.call('AGG.EXTEND', n, 'LOG', 1000, id)
    local acknowledged = redis.call('AGG.ACK', n, 'LOG', id)
    local popped = redis.call('AGG.POP', n, 'ERROR', 'REALITY')
    redis.call('AGG.REQUEUE', n, 'ERROR')
    redis.call('AGG.FORGET', n, 'METRIC', 'd')
    local metric = redis.call('AGG.GET', n, 'METRIC', 'm')
    redis.call('AGG.RANGE', n, 'm', 'MIN')
    redis.call('AGG.SCAN', n, 'METRIC', 0)
    redis.call('AGG.INFO', n)
    local peeked = redis.call('AGG.PEEK', n, 'ERROR')
    local refused = redis.pcall('AGG.STAT', n, 'm', 'nonsense')
    return {#fetched, #nothing, acknowledged, #popped, #peeked, metric[2], refused.err}
";

const SCRIPT_ANSWERS: (i64, i64, i64, i64, i64, &str, &str) = (
    1,
    0,
    1,
    2,
    1,
    "m",
    "ERR AGG.STAT: invalid value 'nonsense': expected a decimal number",
);

fn answers(reply: &Value) -> (i64, i64, i64, i64, i64, String, String) {
    redis::from_redis_value(reply.clone()).unwrap()
}

fn expected() -> (i64, i64, i64, i64, i64, String, String) {
    let (a, b, c, d, e, f, g) = SCRIPT_ANSWERS;
    (a, b, c, d, e, f.into(), g.into())
}

#[test]
fn a_script_calls_commands_of_every_family() {
    let Some(server) = Server::with_settings(CLOSING) else {
        return;
    };
    let reply = server.send(&[b"EVAL", SCRIPT.as_bytes(), b"1", b"n"]);
    assert_eq!(answers(&reply), expected());
    let mut c = server.connection();
    closes(&mut c, "n", "m");
    assert_eq!(
        error(
            &mut c,
            "EVAL_RO return(redis.call('AGG.LOG',KEYS[1],'x')) 1 n"
        )
        .split(':')
        .next(),
        Some("ERR Write commands are not allowed from read-only scripts. script")
    );
}

#[test]
fn a_function_calls_commands_of_every_family() {
    let Some(server) = Server::with_settings(CLOSING) else {
        return;
    };
    let library = format!(
        "#!lua name=ours\nredis.register_function('all', function(KEYS, ARGV) {SCRIPT} end)"
    );
    let _: Value = server.send(&[b"FUNCTION", b"LOAD", library.as_bytes()]);
    let reply = server.ask("FCALL all 1 n");
    assert_eq!(answers(&reply), expected());
    closes(&mut server.connection(), "n", "m");
}
