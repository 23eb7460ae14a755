//! Nodes of all kinds survive RDB files, AOFs and reloads.

use super::*;

/// The databases with nodes.
const PLACES: [(u32, &str); 4] = [(0, "a"), (0, "b"), (5, "a"), (0, "big")];

fn states(server: &Server) -> Vec<State> {
    PLACES.map(|place| state(server, place)).into()
}

/// Asserts that nodes of all kinds are equal after `saves_and_loads`, and work.
fn comes_back(mut server: Server, saves_and_loads: impl FnOnce(&mut Server)) {
    for (db, node) in PLACES {
        fill_short(&mut server.connection_to(db), node);
        fill_imported(&mut server.connection_to(db), node);
    }
    fill_much(&mut server.connection(), "big");
    let before = states(&server);
    saves_and_loads(&mut server);
    for (was, is) in before.iter().zip(states(&server)) {
        assert_same(was, &is);
    }
    let_windows_close(&server);
    for was in before {
        lives_on(&server, &was);
    }
}

/// Asserts that all pending records are delivered again: log entries unchanged, errors and objects with the same
/// content under new ids, because nobody knows with which content the old ids were delivered.
fn assert_again(waited: &[(String, i64, String)], again: &[(String, i64, String)], last: i64) {
    let of = |entries: &[(String, i64, String)], queue: &str| -> Vec<(i64, String)> {
        let of = entries.iter().filter(|(q, ..)| q == queue);
        of.map(|(_, id, text)| (*id, text.clone())).collect()
    };
    assert_eq!(of(again, "LOG"), of(waited, "LOG"));
    for queue in ["ERROR", "REALITY"] {
        let content = |(id, text): &(i64, String)| text.replace(&format!("\"id\":{id},"), "");
        let was: Vec<_> = of(waited, queue).iter().map(content).collect();
        let is: Vec<_> = of(again, queue).iter().map(content).collect();
        assert_eq!(is, was);
        assert!(of(again, queue).iter().all(|(id, _)| *id > last), "{queue}");
    }
}

fn lives_on(server: &Server, was: &State) {
    let (db, node) = was.place;
    let mut c = server.connection_to(db);
    closes(&mut c, node, "temp");
    let taken: i64 = ask(&mut c, &format!("AGG.STAT {node} new.one 1"));
    assert_eq!(taken, 1);
    closes(&mut c, node, "new.one");
    // Leases are lost: records that were not acknowledged are redelivered, oldest first.
    let mut fetched = Vec::new();
    loop {
        // A reply ends at about 1 MiB.
        let fetch = format!("AGG.FETCH {node} LOG ERROR REALITY COUNT 10000");
        let more = queued_records(&ask(&mut c, &fetch));
        if more.is_empty() {
            break;
        }
        fetched.extend(more);
    }
    let last = was.waits.iter().map(|(_, id, _)| *id).max().unwrap();
    let again: Vec<_> = fetched
        .iter()
        .map(|e| (e.queue.clone(), e.id, e.text.clone()))
        .collect();
    assert_again(&was.waits, &again, last);
    // Ids keep growing.
    let id: i64 = ask(&mut c, &format!("AGG.LOG {node} more"));
    assert!(id > last, "{id} came after {last}");
    for queue in ["MIN", "HOUR"] {
        let ids: Vec<i64> = peek(&mut c, node, queue).iter().map(|e| e.id).collect();
        assert!(ids.is_sorted_by(|a, b| a < b), "{queue}: {ids:?}");
    }
}

#[test]
fn node_survives_a_reload() {
    if let Some(server) = Server::with_settings(HELD_OPEN) {
        comes_back(server, |server| server.ask("DEBUG RELOAD"));
    }
}

#[test]
fn node_survives_an_rdb_file() {
    if let Some(server) = Server::with_module(&RDB, HELD_OPEN) {
        comes_back(server, shut_down_and_restart);
    }
}

#[test]
fn node_survives_an_aof() {
    if let Some(server) = Server::with_module(&SYNCED_AOF, HELD_OPEN) {
        comes_back(server, shut_down_and_restart);
    }
}

#[test]
fn first_node_measures_the_same_after_a_restart() {
    for arguments in [&SYNCED_AOF[..], &AOF_WITH_PREAMBLE, &RDB] {
        let Some(mut server) = Server::with_module(arguments, HELD_OPEN) else {
            return;
        };
        let _: i64 = server.ask("AGG.STAT n m 1");
        let before: i64 = server.ask("MEMORY USAGE n");
        shut_down_and_restart(&mut server);
        let after: i64 = server.ask("MEMORY USAGE n");
        assert!((after - before).abs() < 1024, "{before}, now {after}");
    }
}

#[test]
fn node_survives_a_rewritten_aof() {
    if let Some(server) = Server::with_module(&SYNCED_AOF, HELD_OPEN) {
        comes_back(server, |server| {
            rewrite_aof(server);
            let base = aof_files(server, ".base.aof");
            assert!(!base.is_empty() && !base.starts_with(b"REDIS"));
            shut_down_and_restart(server);
        });
    }
}

#[test]
fn node_survives_a_rewritten_aof_with_a_preamble() {
    if let Some(server) = Server::with_module(&AOF_WITH_PREAMBLE, HELD_OPEN) {
        comes_back(server, |server| {
            rewrite_aof(server);
            let base = aof_files(server, ".base.rdb");
            assert!(base.starts_with(b"REDIS") || base.starts_with(b"VALKEY"));
            shut_down_and_restart(server);
        });
    }
}

#[test]
fn node_survives_loading_the_aof_while_the_server_runs() {
    for arguments in [&SYNCED_AOF[..], &AOF_WITH_PREAMBLE[..]] {
        if let Some(server) = Server::with_module(arguments, HELD_OPEN) {
            comes_back(server, |server| server.ask("DEBUG LOADAOF"));
        }
    }
}
