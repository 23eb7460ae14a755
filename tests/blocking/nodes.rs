//! A client stays blocked while its node is created, moved, deleted or replaced by a key of another type.

use super::*;

#[test]
fn node_created_later_wakes_a_client() {
    let Some(server) = Server::start() else {
        return;
    };
    let waiter = Waiter::start(&server, "AGG.FETCH n LOG BLOCK 0");
    assert_eq!(server.ask::<i64>("EXISTS n"), 0);
    let id: i64 = server.ask("AGG.LOG n text");
    assert_eq!(waiter.record().id, id);
}

#[test]
fn node_that_arrives_by_rename_copy_or_restore_wakes_a_client() {
    let Some(server) = Server::start() else {
        return;
    };
    server.ask::<()>("AGG.LOG source text");
    let dump: Vec<u8> = server.ask("DUMP source");
    for command in ["RESTORE", "COPY", "RENAME"] {
        server.ask::<()>("DEL n");
        let waiter = Waiter::start(&server, "AGG.FETCH n LOG BLOCK 0");
        match command {
            "RESTORE" => server.send::<()>(&[b"RESTORE", b"n", b"0", &dump]),
            command => server.ask::<()>(&format!("{command} source n")),
        }
        let record = waiter.record();
        assert_eq!(record.json()["message"], "text", "{command}");
        assert_eq!(record.json()["node"], "n", "{command}");
    }
}

#[test]
fn node_that_arrives_from_another_database_wakes_a_client() {
    let Some(server) = Server::start() else {
        return;
    };
    let mut there = server.connection();
    ask::<()>(&mut there, "SELECT 3");
    for deed in ["MOVE n 0", "SWAPDB 0 3"] {
        let waiter = Waiter::start(&server, "AGG.FETCH n LOG BLOCK 0");
        let id: i64 = ask(&mut there, "AGG.LOG n text");
        ask::<()>(&mut there, deed);
        assert_eq!(waiter.record().id, id, "{deed}");
        server.ask::<()>("FLUSHALL");
    }
}

#[test]
fn blocked_fetch_survives_deletion_of_the_node() {
    let Some(server) = Server::start() else {
        return;
    };
    for deed in ["DEL n", "UNLINK n", "RENAME n other", "FLUSHALL"] {
        server.ask::<()>("AGG.LOG n text");
        server.ask::<()>("AGG.FETCH n LOG LEASE 600000");
        let waiter = Waiter::start(&server, "AGG.FETCH n LOG BLOCK 0");
        server.ask::<()>(deed);
        waiter.goes_on_waiting(&server);
        let id: i64 = server.ask("AGG.LOG n text");
        assert_eq!(waiter.record().id, id, "{deed}");
        server.ask::<()>("FLUSHALL");
    }
}

#[test]
fn blocked_fetch_survives_a_key_of_another_type() {
    let Some(server) = Server::start() else {
        return;
    };
    server.ask::<()>("AGG.LOG n text");
    server.ask::<()>("AGG.POP n LOG");
    let waiter = Waiter::start(&server, "AGG.FETCH n LOG BLOCK 0");
    server.ask::<()>("SET n text");
    waiter.goes_on_waiting(&server);
    server.ask::<()>("DEL n");
    server.ask::<()>("RPUSH n text");
    waiter.goes_on_waiting(&server);
    assert_eq!(server.ask::<String>("LPOP n"), "text");
    let id: i64 = server.ask("AGG.LOG n text");
    assert_eq!(waiter.record().id, id);
}
