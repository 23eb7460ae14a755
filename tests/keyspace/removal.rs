//! Nodes that expire, are deleted or flushed: their memory is freed and nothing recreates them.

use std::time::Duration;

use super::*;

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
fn flushdb_removes_only_the_nodes_of_its_database() {
    let Some(server) = Server::with_settings(CLOSING) else {
        return;
    };
    for flush in ["FLUSHDB", "FLUSHDB SYNC", "FLUSHDB ASYNC"] {
        let (mut zero, mut one) = (server.connection_to(0), server.connection_to(1));
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
        let (mut zero, mut nine) = (server.connection_to(0), server.connection_to(9));
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
