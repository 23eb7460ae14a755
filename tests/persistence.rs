//! Saved nodes are restored with an equal digest, all pending records, and open windows that still close.

use std::io::{Read, Write};
use std::net::TcpStream;

use redis::{Connection, Value};
use testkit::*;

/// Short windows that close without further samples.
const CLOSING: &str = "min-window 1 hour-window 2 flush-delay-ms 0";

/// Saves at shutdown.
const RDB: [&str; 2] = ["--save", "3600 1000000"];

/// Like [`SYNCED_AOF`], but BGREWRITEAOF writes an RDB file.
const AOF_WITH_PREAMBLE: [&str; 4] = ["--appendonly", "yes", "--appendfsync", "always"];

/// The databases with nodes.
const PLACES: [(u32, &str); 4] = [(0, "a"), (0, "b"), (5, "a"), (0, "big")];

const QUEUES: [&str; 5] = ["MIN", "HOUR", "LOG", "ERROR", "REALITY"];

/// Opens a connection and selects a database.
fn in_db(server: &Server, db: u32) -> Connection {
    let mut connection = server.connection();
    let () = ask(&mut connection, &format!("SELECT {db}"));
    connection
}

fn peek(connection: &mut Connection, node: &str, queue: &str) -> Vec<Entry> {
    entries(&ask(
        connection,
        &format!("AGG.PEEK {node} {queue} COUNT 10000"),
    ))
}

/// The state of a node that must survive.
#[derive(Debug, PartialEq)]
struct State {
    place: (u32, &'static str),
    digest: Vec<String>,
    /// Queue, id and content of pending records.
    waits: Vec<(String, i64, String)>,
    /// AGG.GET without the counters, which are not part of the value.
    metric: Vec<Value>,
    range: Value,
}

fn state(server: &Server, place: (u32, &'static str)) -> State {
    let (db, node) = place;
    let mut c = in_db(server, db);
    let waits = QUEUES
        .iter()
        .flat_map(|queue| peek(&mut c, node, queue))
        .map(|entry| (entry.queue, entry.id, entry.text))
        .collect();
    let metric: Value = ask(&mut c, &format!("AGG.GET {node} METRIC cpu.load@0"));
    let fields = ["name", "type", "tags", "last", "at", "min", "hour"];
    State {
        place,
        digest: ask(&mut c, &format!("DEBUG DIGEST-VALUE {node}")),
        waits,
        metric: fields.map(|f| at(&metric, f).unwrap().clone()).into(),
        range: ask(&mut c, &format!("AGG.RANGE {node} cpu.load@0 HOUR")),
    }
}

fn states(server: &Server) -> Vec<State> {
    PLACES.map(|place| state(server, place)).into()
}

/// Describes the first difference.
fn assert_same(before: &State, after: &State) {
    for (was, is) in before.waits.iter().zip(&after.waits) {
        assert_eq!(was, is);
    }
    assert_eq!(before.waits.len(), after.waits.len());
    assert_eq!(before.metric, after.metric);
    assert_eq!(before.range, after.range);
    assert_eq!(before, after);
}

/// Returns whether a window of the metric has closed.
fn closes(connection: &mut Connection, node: &str, metric: &str) {
    until(&format!("{node} closes the window of {metric}"), || {
        peek(connection, node, "MIN")
            .iter()
            .any(|entry| entry.json()["metric"] == metric)
            .then_some(())
    });
}

/// Asserts that nodes of all kinds are equal after `saves_and_loads`, and work.
fn comes_back(mut server: Server, saves_and_loads: impl FnOnce(&mut Server)) {
    for (db, node) in PLACES {
        fill_short(&mut in_db(&server, db), node);
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
    let mut c = in_db(server, db);
    closes(&mut c, node, "temp");
    let taken: i64 = ask(&mut c, &format!("AGG.STAT {node} new.one 1"));
    assert_eq!(taken, 1);
    closes(&mut c, node, "new.one");
    // Leases are lost: records that were not acknowledged are redelivered, oldest first.
    let fetched = entries(&ask(
        &mut c,
        &format!("AGG.FETCH {node} LOG ERROR REALITY COUNT 10000"),
    ));
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

fn shut_down_and_restart(server: &mut Server) {
    server.shut_down();
    server.restart();
}

fn rewrite_aof(server: &Server) {
    let _: String = server.ask("BGREWRITEAOF");
    until("the AOF is rewritten", || {
        let info: String = server.ask("INFO persistence");
        let is = |line: &str| info.lines().any(|l| l == line);
        (is("aof_rewrite_in_progress:0") && is("aof_rewrite_scheduled:0")).then_some(())
    });
    let info: String = server.ask("INFO persistence");
    assert!(info.contains("aof_last_bgrewrite_status:ok"), "{info}");
}

/// Returns the contents of the AOF files with this suffix.
fn aof(server: &Server, ending: &str) -> Vec<u8> {
    let mut all = Vec::new();
    for file in std::fs::read_dir(server.dir().join("appendonlydir")).unwrap() {
        let path = file.unwrap().path();
        if path.to_str().unwrap().ends_with(ending) {
            all.extend(std::fs::read(path).unwrap());
        }
    }
    all
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
            let base = aof(server, ".base.aof");
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
            let base = aof(server, ".base.rdb");
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

#[test]
fn writes_after_an_aof_rewrite_survive() {
    for arguments in [&SYNCED_AOF[..], &AOF_WITH_PREAMBLE[..]] {
        let Some(mut server) = Server::with_module(arguments, HELD_OPEN) else {
            return;
        };
        let mut c = server.connection();
        fill_short(&mut c, "a");
        rewrite_aof(&server);
        // Each of these depends on the rewritten part.
        for line in [
            "AGG.STAT a cpu.load@0 4",
            "AGG.STAT a net.rx 1000 DIFF",
            "AGG.STAT a after.rewrite 1 TAGS x:y",
            "AGG.ERROR a waiting KEY waiting",
            "AGG.REALITY a waiting system.Vm true",
            "AGG.FORGET a METRIC temp",
            "AGG.REQUEUE a ERROR",
            "AGG.POP a LOG COUNT 1",
            "AGG.LOG a more",
        ] {
            let _: Value = ask(&mut c, line);
        }
        let before = state(&server, (0, "a"));
        shut_down_and_restart(&mut server);
        assert_same(&before, &state(&server, (0, "a")));
    }
}

#[test]
fn work_of_the_timer_survives_in_the_aof() {
    for arguments in [&SYNCED_AOF[..], &AOF_WITH_PREAMBLE[..]] {
        let Some(mut server) = Server::with_module(arguments, HELD_OPEN) else {
            return;
        };
        let_windows_close(&server);
        let places = [(0, "a"), (5, "a")];
        for (db, node) in places {
            let mut c = in_db(&server, db);
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
                    .map(Entry::json)
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
                    .any(|entry| entry.json()["key"] == "taken")
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
            let mut c = in_db(&server, db);
            let _: i64 = ask(&mut c, &format!("AGG.STAT {node} m 7 AT {at}"));
            assert_eq!(peek(&mut c, node, "MIN"), []);
        }
        server.shut_down();
        until("the windows are over", || {
            (now_ms() > at + 2000).then_some(())
        });
        server.restart();
        for (db, node) in [(0, "a"), (5, "b")] {
            let mut c = in_db(&server, db);
            closes(&mut c, node, "m");
            let records = peek(&mut c, node, "MIN");
            assert_eq!(records.len(), 1);
            assert_eq!(records[0].json()["start"], at / 1000 * 1000);
            assert_eq!(records[0].json()["sum"], 7.0);
        }
    }
}

#[test]
fn leased_record_is_redelivered_after_a_restart() {
    let Some(mut server) = Server::with_module(&SYNCED_AOF, "") else {
        return;
    };
    let id: i64 = server.ask("AGG.LOG n hello");
    let fetch = "AGG.FETCH n LOG LEASE 3600000";
    assert_eq!(entries(&server.ask(fetch))[0].id, id);
    assert_eq!(entries(&server.ask(fetch)), []);
    server.stop();
    server.restart();
    let again = entries(&server.ask(fetch));
    assert_eq!((again.len(), again[0].id), (1, id));
    assert_eq!(entries(&server.ask(fetch)), []);
    assert_eq!(server.ask::<i64>(&format!("AGG.ACK n LOG {id}")), 1);
    server.stop();
    server.restart();
    assert_eq!(server.peek("n", "LOG"), [] as [serde_json::Value; 0]);
}

#[test]
fn pending_records_count_as_delivered_after_a_restart() {
    let Some(mut server) = Server::with_module(&SYNCED_AOF, "") else {
        return;
    };
    let _: Value = server.ask("AGG.ERROR n broken KEY e");
    let _: Value = server.ask("AGG.REALITY n k m 1");
    let before = entries(&server.ask("AGG.PEEK n ERROR REALITY"));
    server.stop();
    server.restart();
    // Nobody knows whether the server delivered them before, and no id may have two contents.
    let _: Value = server.ask("AGG.ERROR n broken KEY e");
    let _: Value = server.ask("AGG.REALITY n k m 2");
    let after = entries(&server.ask("AGG.FETCH n ERROR REALITY"));
    assert_eq!(after.len(), 2);
    for (was, is) in before.iter().zip(&after) {
        assert!(was.id != is.id || was.text == is.text, "{was:?} and {is:?}");
    }
    assert_eq!(after[1].json()["json"], 2);
    let last = before.iter().map(|entry| entry.id).max().unwrap();
    assert!(after[1].id > last);
}

#[test]
fn ids_keep_growing_after_a_crash_that_lost_everything() {
    let Some(mut server) = Server::start() else {
        return;
    };
    let mut last = 0;
    for _ in 0..2 {
        for _ in 0..1000 {
            let id: i64 = server.ask("AGG.LOG n hello");
            assert!(id > last, "{id} came after {last}");
            last = id;
        }
        server.stop();
        server.restart();
        assert!(!server.ask::<bool>("EXISTS n"));
    }
    assert!(last < 1 << 53);
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
fn crash_loses_no_acknowledged_write() {
    let Some(mut server) = Server::with_module(&SYNCED_AOF, HELD_OPEN) else {
        return;
    };
    let mut c = server.connection();
    let writer = std::thread::spawn(move || {
        let mut acknowledged = Vec::new();
        let mut command = || -> redis::RedisResult<()> {
            let n = acknowledged.len().to_string();
            let stat = [&b"AGG.STAT"[..], b"n", b"total", b"1"];
            let taken: i64 = send(&mut c, &stat)?;
            assert_eq!(taken, 1);
            let id: i64 = send(&mut c, &[b"AGG.LOG", b"n", n.as_bytes()])?;
            acknowledged.push((id, n));
            Ok(())
        };
        while command().is_ok() {}
        acknowledged
    });
    until("some is written", || {
        (server.peek("n", "LOG").len() > 200).then_some(())
    });
    server.stop();
    let acknowledged = writer.join().unwrap();
    server.restart();
    let found: Vec<(i64, String)> = entries(&server.ask("AGG.PEEK n LOG COUNT 10000"))
        .iter()
        .map(|e| (e.id, e.json()["message"].as_str().unwrap().to_owned()))
        .collect();
    assert!(
        found.starts_with(&acknowledged),
        "{found:?} and {acknowledged:?}"
    );
    // Writes in flight may or may not have survived.
    let extra = found.len() - acknowledged.len();
    assert!(extra <= 1, "{extra}");
    let buckets: Value = server.ask("AGG.RANGE n total HOUR");
    let samples: i64 = list(&buckets).iter().map(|b| int(b, "count")).sum();
    let samples = samples as usize;
    let least = acknowledged.len();
    assert!((least..=least + 1).contains(&samples), "{samples}, {least}");
}

#[test]
fn saved_aof_is_replayed_into_another_server() {
    let (Some(server), Some(other)) = (
        Server::with_module(&SYNCED_AOF, CLOSING),
        Server::with_settings(&format!("max-series 1 {HELD_OPEN}")),
    ) else {
        return;
    };
    for (db, node) in [(0, "a"), (5, "a")] {
        let mut c = in_db(&server, db);
        fill(&mut c, node);
        closes(&mut c, node, "temp");
    }
    rewrite_aof(&server);
    for (db, node) in [(0, "a"), (5, "a")] {
        let mut c = in_db(&server, db);
        let _: Value = ask(&mut c, &format!("AGG.STAT {node} later 1"));
        closes(&mut c, node, "later");
    }
    hold_windows_open(&server);
    // Like `redis-cli --pipe`.
    let mut link = TcpStream::connect(("127.0.0.1", other.port)).unwrap();
    for ending in [".base.aof", ".incr.aof"] {
        let part = aof(&server, ending);
        assert!(part.windows(9).any(|w| w == b"AGG.APPLY"), "{ending}");
        link.write_all(&part).unwrap();
    }
    link.write_all(b"QUIT\r\n").unwrap();
    let mut replies = String::new();
    link.read_to_string(&mut replies).unwrap();
    assert!(!replies.contains('-'), "{replies}");
    for place in [(0, "a"), (5, "a")] {
        assert_same(&state(&server, place), &state(&other, place));
    }
}

#[test]
fn sample_adds_at_most_60_bytes_to_the_aof_beyond_its_arguments() {
    let Some(server) = Server::with_module(&SYNCED_AOF, HELD_OPEN) else {
        return;
    };
    let mut c = server.connection();
    let size = |server: &Server| -> u64 {
        let files = std::fs::read_dir(server.dir().join("appendonlydir")).unwrap();
        files
            .map(|file| file.unwrap().metadata().unwrap().len())
            .sum()
    };
    // The rules of the node are written once, with the first sample.
    let _: i64 = ask(&mut c, "AGG.STAT node1 first 1");
    for line in [
        "AGG.STAT node1 cpu.load 12.5",
        "AGG.STAT node1 net.rx@eth0 123456789 DIFF",
        "AGG.STAT node1 disk.iops@sda 18446744073709551615 DIFF TAGS dim:iops",
    ] {
        let own: usize = 5 + line.split(' ').map(|word| word.len() + 6).sum::<usize>();
        // One per millisecond, so that each is written as a payload; and many at once, which are written verbatim.
        for pause in [2, 0] {
            let before = size(&server);
            for _ in 0..50 {
                let _: i64 = ask(&mut c, line);
                std::thread::sleep(std::time::Duration::from_millis(pause));
            }
            let each = (size(&server) - before) as usize / 50;
            assert!(each <= own + 60, "{line}: {each} bytes for {own}");
        }
    }
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

#[test]
fn aof_rewritten_under_load_contains_everything() {
    for arguments in [&SYNCED_AOF[..], &AOF_WITH_PREAMBLE[..]] {
        let Some(mut server) = Server::with_module(arguments, "min-window 1 hour-window 2") else {
            return;
        };
        fill_much(&mut server.connection(), "much");
        let goes_on = std::sync::atomic::AtomicBool::new(true);
        let reported: Vec<i64> = std::thread::scope(|scope| {
            let reporters: Vec<_> = (0..2)
                .map(|i| {
                    let (server, goes_on) = (&server, &goes_on);
                    scope.spawn(move || {
                        let mut c = server.connection();
                        let mut reported = 0;
                        // On a loaded machine the rewrites can end before a reporter has done much.
                        while reported <= 10 || goes_on.load(std::sync::atomic::Ordering::Relaxed) {
                            reported += 1;
                            let _: i64 =
                                ask(&mut c, &format!("AGG.STAT much total{i} {reported} DIFF"));
                            let _: i64 = ask(&mut c, &format!("AGG.LOG lines{i} {reported}"));
                            let _: Value = ask(&mut c, &format!("AGG.ERROR much e{i} KEY e{i}"));
                        }
                        reported
                    })
                })
                .collect();
            for _ in 0..3 {
                rewrite_aof(&server);
            }
            goes_on.store(false, std::sync::atomic::Ordering::Relaxed);
            reporters.into_iter().map(|r| r.join().unwrap()).collect()
        });
        shut_down_and_restart(&mut server);
        for (i, reported) in reported.iter().enumerate() {
            assert!(*reported > 10, "{reported}");
            let metric: Value = server.ask(&format!("AGG.GET much METRIC total{i}"));
            assert_eq!(text(&metric, "last"), reported.to_string());
            let error: Value = server.ask(&format!("AGG.GET much ERROR e{i}"));
            assert_eq!(int(&error, "occurrences"), *reported);
            assert_eq!(
                of_queue(&server, &format!("lines{i}"), "LOG", "length"),
                *reported
            );
        }
    }
}
