//! The jitter of a node's windows: it depends on the node's name, wherever the node came from, and replicas have it, too.

use super::*;
use aggregator_core::settings::jitter_ms;

const LIMIT_MS: i64 = 2_900;
const JITTER: &str = "min-window 1 hour-window 2 flush-delay-ms 100 flush-jitter-ms 2900";

fn jitter(name: &str) -> i64 {
    jitter_ms(name.as_bytes(), LIMIT_MS)
}

/// Returns names of nodes whose windows close early and late.
fn names() -> (String, String) {
    let with = |is_wanted: fn(i64) -> bool| {
        let mut names = (0..).map(|i| format!("web-{i:05}"));
        names.find(|name| is_wanted(jitter(name))).unwrap()
    };
    (with(|ms| ms < 100), with(|ms| ms > 2_500))
}

/// Waits for the first short window and returns how long after its end it closed.
fn closed_after_ms(server: &Server, node: &str) -> i64 {
    let record = until("a window closes", || {
        server.peek(node, "MIN").into_iter().next()
    });
    let field = |name: &str| record[name].as_i64().unwrap();
    // The id is the clock in microseconds.
    field("id") / 1_000 - field("end")
}

fn report(server: &Server, node: &str) {
    assert_eq!(server.ask::<i64>(&format!("AGG.STAT {node} m 1")), 1);
}

#[test]
fn windows_close_later_by_the_jitter_of_the_name() {
    let Some(primary) = Server::with_module(&["--repl-diskless-sync-delay", "0"], JITTER) else {
        return;
    };
    let port = primary.port.to_string();
    // The replica has another setting.
    let settings = "min-window 1 hour-window 2 flush-delay-ms 0";
    let arguments = ["--replicaof", "127.0.0.1", &port];
    let replica = Server::with_module(&arguments, settings).unwrap();
    let (early, late) = names();
    for node in [&early, &late] {
        report(&primary, node);
    }
    for node in [&early, &late] {
        let after_ms = closed_after_ms(&primary, node);
        assert!(after_ms >= 100 + jitter(node), "{node}: {after_ms}");
        until("the replica has the same value", || {
            (primary.digest(node) == replica.digest(node)).then_some(())
        });
    }
}

#[test]
fn renamed_restored_and_replayed_nodes_have_the_jitter_of_their_name() {
    let arguments = ["--appendonly", "yes", "--appendfsync", "always"];
    let Some(mut server) = Server::with_module(&arguments, JITTER) else {
        return;
    };
    let (early, late) = names();
    report(&server, &early);
    let () = server.ask(&format!("RENAME {early} {late}"));
    assert!(closed_after_ms(&server, &late) >= 100 + jitter(&late));
    let () = server.ask(&format!("DEL {late}"));

    report(&server, &early);
    let dump: Vec<u8> = server.ask(&format!("DUMP {early}"));
    let () = server.send(&[b"RESTORE", late.as_bytes(), b"0", &dump]);
    assert!(closed_after_ms(&server, &late) >= 100 + jitter(&late));
    let () = server.ask(&format!("DEL {late}"));

    report(&server, &late);
    let before = server.digest(&late);
    server.shut_down();
    server.restart();
    assert_eq!(server.digest(&late), before);
    assert!(closed_after_ms(&server, &late) >= 100 + jitter(&late));
}
