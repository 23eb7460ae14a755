//! Windows and other work of the timer before, during and after a restart.

use super::*;

#[test]
fn work_of_the_timer_survives_in_the_aof() {
    for arguments in [&SYNCED_AOF[..], &AOF_WITH_PREAMBLE[..]] {
        let Some(mut server) = Server::with_module(arguments, HELD_OPEN) else {
            return;
        };
        let_windows_close(&server);
        let places = [(0, "a"), (5, "a")];
        for (db, node) in places {
            let mut c = server.connection_to(db);
            fill(&mut c, node);
            let _: Value = ask(&mut c, &format!("AGG.REALITY {node} brief m {{}} TTL 1"));
            let _: Value = ask(&mut c, &format!("AGG.ERROR {node} forgotten KEY forgotten"));
            let _: Value = ask(&mut c, &format!("AGG.POP {node} ERROR"));
            // Only now, so that the error is not queued again before the others are consumed.
            let () = server.ask("CONFIG SET agg.error-interval-ms 50 agg.error-ttl 1");
            closes(&mut c, node, "temp");
            until("the object's life ends", || {
                peek(&mut c, node, "REALITY")
                    .iter()
                    .map(QueuedRecord::json)
                    .any(|r| r["key"] == "brief" && r["gone"] == true)
                    .then_some(())
            });
            until("the quiet error is forgotten", || {
                let error: Value = ask(&mut c, &format!("AGG.GET {node} ERROR forgotten"));
                (error == Value::Nil).then_some(())
            });
            until("the error that grew is queued again", || {
                peek(&mut c, node, "ERROR")
                    .iter()
                    .any(|record| record.json()["key"] == "taken")
                    .then_some(())
            });
            let () = server.ask("CONFIG SET agg.error-interval-ms 300000 agg.error-ttl 604800");
        }
        // From here on the timer changes nothing, before and after the crash.
        hold_windows_open(&server);
        let () = server.ask("CONFIG SET agg.error-interval-ms 300000 agg.error-ttl 604800");
        let before = places.map(|place| state(&server, place));
        server.stop();
        server.restart();
        for was in before {
            assert_same(&was, &state(&server, was.place));
        }
    }
}

#[test]
fn windows_that_end_while_the_server_is_down_close_afterwards() {
    for arguments in [&RDB[..], &SYNCED_AOF[..]] {
        let Some(mut server) = Server::with_module(arguments, CLOSING) else {
            return;
        };
        // Windows after the current one, which are open whatever the time is.
        let at = now_ms() + 2000;
        for (db, node) in [(0, "a"), (5, "b")] {
            let mut c = server.connection_to(db);
            let _: i64 = ask(&mut c, &format!("AGG.STAT {node} m 7 AT {at}"));
            assert_eq!(peek(&mut c, node, "MIN"), []);
        }
        server.shut_down();
        until("the windows are over", || {
            (now_ms() > at + 2000).then_some(())
        });
        server.restart();
        for (db, node) in [(0, "a"), (5, "b")] {
            let mut c = server.connection_to(db);
            closes(&mut c, node, "m");
            let records = peek(&mut c, node, "MIN");
            assert_eq!(records.len(), 1);
            assert_eq!(records[0].json()["start"], at / 1000 * 1000);
            assert_eq!(records[0].json()["sum"], 7.0);
        }
    }
}

#[test]
fn node_keeps_its_window_lengths_under_other_settings() {
    let Some(mut server) = Server::with_module(&RDB, HELD_OPEN) else {
        return;
    };
    fill_short(&mut server.connection(), "n");
    let before = server.digest("n");
    server.shut_down();
    let dir = server.dir().to_str().unwrap();
    let Some(other) = Server::with_module(
        &["--dir", dir],
        "max-series 1 max-errors 1 max-realities 1 max-memory 1mb max-item-size 64 \
         min-window 1500 hour-window 3000 flush-delay-ms 3600000",
    ) else {
        return;
    };
    assert_eq!(other.digest("n"), before);
    let info = other.ask("AGG.INFO n");
    assert_eq!(
        (int(&info, "min-window"), int(&info, "hour-window")),
        (1, 2)
    );
    let _: Value = other.ask("AGG.LOG new hello");
    let info = other.ask("AGG.INFO new");
    assert_eq!(
        (int(&info, "min-window"), int(&info, "hour-window")),
        (1500, 3000)
    );
}

#[test]
fn windows_due_while_the_server_loads_close_afterwards() {
    let Some(server) = Server::with_module(&RDB, "min-window 1 hour-window 2 flush-delay-ms 200")
    else {
        return;
    };
    let names: Vec<String> = (0..100).map(|i| format!("n{i}")).collect();
    for name in &names {
        let _: i64 = server.ask(&format!("AGG.STAT {name} m 1"));
    }
    // Longer than all windows and delays. Meanwhile the server replies that it is loading and does not run the timer of
    // the module, which would find half of the nodes.
    let () =
        server.ask("CONFIG SET key-load-delay 25000 loading-process-events-interval-bytes 1024");
    let started = std::time::Instant::now();
    let () = server.ask("DEBUG RELOAD");
    assert!(started.elapsed().as_millis() > 2_000, "{started:?}");
    for name in &names {
        until("both windows close", || {
            let waits: i64 = ["MIN", "HOUR"]
                .iter()
                .map(|queue| of_queue(&server, name, queue, "length"))
                .sum();
            (waits >= 2).then_some(())
        });
        let records = records(&server.ask(&format!("AGG.PEEK {name} MIN HOUR")));
        assert_eq!(records.len(), 2, "{records:?}");
        assert!(
            records.iter().all(|record| record["count"] == 1),
            "{records:?}"
        );
    }
}
