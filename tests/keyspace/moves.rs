//! Nodes that are renamed, copied, moved, swapped, restored or migrated stay equal and close their windows at the new
//! place.

use super::*;

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
    let fetched = queued_records(&ask(&mut c, "AGG.FETCH old LOG"));
    assert_eq!((fetched[0].id, fetched.len()), (id, 1));
    let () = ask(&mut c, "RENAME old new");
    assert_eq!(queued_records(&ask(&mut c, "AGG.FETCH new LOG")), []);
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
    let mut there = server.connection_to(3);
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
    let mut there = server.connection_to(7);
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
fn swapped_databases_close_their_windows() {
    let Some(server) = Server::with_settings(HELD_OPEN) else {
        return;
    };
    let (mut zero, mut one) = (server.connection_to(0), server.connection_to(1));
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
fn migrated_node_is_equal_on_the_other_server() {
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
