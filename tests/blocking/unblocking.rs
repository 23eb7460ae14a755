//! Clients that are unblocked without a record: by a timeout, a command, a disconnection, a failover or a shutdown; and
//! contexts in which a client does not block.

use super::*;

#[test]
fn blocked_fetch_replies_nil_after_its_timeout() {
    let Some(server) = Server::start() else {
        return;
    };
    server.ask::<()>("AGG.LOG there text");
    server.ask::<()>("AGG.FETCH there LOG LEASE 600000");
    for node in ["there", "missing"] {
        // The null array of RESP2, as of BLPOP; the null of RESP3.
        let line = format!("AGG.FETCH {node} LOG BLOCK 50\r\n");
        let mut client = Raw::open(&server);
        client.send(&line);
        assert_eq!(client.read_up_to("\r\n"), "*-1\r\n");
        client.send("HELLO 3\r\nECHO end\r\n");
        client.read_up_to("$3\r\nend\r\n");
        client.send(&line);
        assert_eq!(client.read_up_to("\r\n"), "_\r\n");
        // The client continues as before.
        client.send("PING\r\n");
        assert_eq!(client.read_up_to("\r\n"), "+PONG\r\n");
    }
    assert_eq!(server.ask::<i64>("EXISTS missing"), 0);
}

#[test]
fn record_queued_after_a_timeout_is_not_leased() {
    let Some(server) = Server::start() else {
        return;
    };
    assert_eq!(
        server.ask::<Value>("AGG.FETCH n LOG LEASE 600000 BLOCK 1"),
        Value::Nil
    );
    server.ask::<()>("AGG.LOG n text");
    assert_eq!(of_queue(&server, "n", "LOG", "leased"), 0);
    assert_eq!(
        queued_records(&server.ask("AGG.POP n LOG"))[0].deliveries,
        1
    );
}

#[test]
fn block_0_never_times_out() {
    let Some(server) = Server::start() else {
        return;
    };
    let forever = Waiter::start(&server, "AGG.FETCH n LOG BLOCK 0");
    // Others block and time out meanwhile.
    for _ in 0..3 {
        let reply: Value = server.ask("AGG.FETCH n LOG BLOCK 100");
        assert_eq!(reply, Value::Nil);
    }
    forever.goes_on_waiting(&server);
    let id: i64 = server.ask("AGG.LOG n text");
    assert_eq!(forever.record().id, id);
}

#[test]
fn fetch_in_a_transaction_does_not_block() {
    let Some(server) = Server::start() else {
        return;
    };
    server.ask::<()>("AGG.LOG there text");
    server.ask::<()>("AGG.FETCH there LOG LEASE 600000");
    for node in ["there", "missing"] {
        let fetch = format!("AGG.FETCH {node} LOG BLOCK 0");
        let log = format!("AGG.LOG {node} text");
        let replies = together(&server, &[&fetch, &log, &fetch]);
        assert_eq!(replies[0], Value::Array(vec![]), "{node}");
        let Value::Int(id) = replies[1] else {
            panic!("{replies:?}");
        };
        assert_eq!(queued_records(&replies[2])[0].id, id, "{node}");
    }
}

#[test]
fn fetch_in_a_script_does_not_block() {
    let Some(server) = Server::start() else {
        return;
    };
    server.ask::<()>("AGG.LOG there text");
    server.ask::<()>("AGG.FETCH there LOG LEASE 600000");
    let script = b"return redis.call('AGG.FETCH', KEYS[1], 'LOG', 'BLOCK', '0')";
    for node in ["there", "missing"] {
        let words = [b"EVAL" as &[u8], script, b"1", node.as_bytes()];
        assert_eq!(server.send::<Value>(&words), Value::Array(vec![]), "{node}");
        let id: i64 = server.ask(&format!("AGG.LOG {node} text"));
        let found = queued_records(&server.send(&words));
        assert_eq!((found.len(), found[0].id), (1, id));
    }
}

#[test]
fn client_unblock_ends_a_blocked_fetch() {
    let Some(server) = Server::start() else {
        return;
    };
    for (how, error) in [
        ("", None),
        (" TIMEOUT", None),
        (" ERROR", Some("UNBLOCKED")),
    ] {
        let waiter = Waiter::start(&server, "AGG.FETCH n LOG LEASE 600000 BLOCK 0");
        let line = format!("CLIENT UNBLOCK {}{how}", waiter.id);
        assert_eq!(server.ask::<i64>(&line), 1);
        match (waiter.reply(), error) {
            (Ok(reply), None) => assert_eq!(reply, Value::Nil),
            (Err(rejected), Some(code)) => assert_eq!(rejected.code(), Some(code)),
            (reply, _) => panic!("{how}: {reply:?}"),
        }
    }
    assert_eq!(blocked_clients(&server), 0);
    server.ask::<()>("AGG.LOG n text");
    assert_eq!(of_queue(&server, "n", "LOG", "leased"), 0);
}

#[test]
fn client_that_disconnects_while_blocked_leases_nothing() {
    let Some(server) = Server::start() else {
        return;
    };
    for by_kill in [false, true] {
        let mut client = Raw::open(&server);
        client.send("CLIENT ID\r\nAGG.FETCH n LOG LEASE 600000 BLOCK 0\r\n");
        let id = client.read_up_to("\r\n");
        until("it waits", || (blocked_clients(&server) == 1).then_some(()));
        if by_kill {
            let id = id.trim_matches([':', '\r', '\n']);
            assert_eq!(server.ask::<i64>(&format!("CLIENT KILL ID {id}")), 1);
        } else {
            drop(client);
        }
        until("it is gone", || {
            (blocked_clients(&server) == 0).then_some(())
        });
        let id: i64 = server.ask("AGG.LOG n text");
        assert_eq!(of_queue(&server, "n", "LOG", "leased"), 0);
        let [record] = queued_records(&server.ask("AGG.POP n LOG"))
            .try_into()
            .unwrap();
        assert_eq!((record.id, record.deliveries), (id, 1));
    }
}

#[test]
fn demoted_primary_unblocks_clients_with_an_error() {
    let Some(server) = Server::start() else {
        return;
    };
    let waiter = Waiter::start(&server, "AGG.FETCH n LOG BLOCK 0");
    server.ask::<()>("REPLICAOF 127.0.0.1 1");
    assert_eq!(waiter.reply().unwrap_err().code(), Some("UNBLOCKED"));
    let rejected = server.error("AGG.FETCH n LOG BLOCK 0");
    assert!(rejected.starts_with("READONLY "), "{rejected}");
}

#[test]
fn client_pause_only_delays_delivery() {
    let Some(server) = Server::start() else {
        return;
    };
    let id: i64 = server.ask("AGG.LOG n text");
    server.ask::<()>("AGG.FETCH n LOG LEASE 600000");
    let waiter = Waiter::start(&server, "AGG.FETCH n LOG BLOCK 0");
    let extend = format!("AGG.EXTEND n LOG 1 {id}");
    together(&server, &[&extend, "CLIENT PAUSE 600000 WRITE"]);
    waiter.goes_on_waiting(&server);
    server.ask::<()>("CLIENT UNPAUSE");
    let record = waiter.record();
    assert_eq!((record.id, record.deliveries), (id, 2));
}

#[test]
fn server_shuts_down_cleanly_with_blocked_clients() {
    let Some(mut server) = Server::start() else {
        return;
    };
    let waiter = Waiter::start(&server, "AGG.FETCH n LOG BLOCK 0");
    server.shut_down();
    assert!(waiter.reply().is_err());
    assert!(
        !server.log().contains("crashed by signal"),
        "{}",
        server.log()
    );
}
