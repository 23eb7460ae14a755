//! A replica has the state that its primary decided, with an equal digest, whatever its own settings are. It decides
//! nothing itself until it is promoted.

use std::time::Duration;

use redis::{Connection, Value};
use testkit::random_workload::{BUSY, Lifetimes, OTHERS, RandomWorkload};
use testkit::*;

/// Short windows that close without further samples.
const CLOSING: &str = "min-window 1 hour-window 2 flush-delay-ms 0";

/// A primary and its replica.
struct Pair {
    primary: Server,
    replica: Server,
}

impl Pair {
    fn start(settings: &str, of_replica: &str) -> Option<Pair> {
        let primary = Server::with_module(&["--repl-diskless-sync-delay", "0"], settings)?;
        let replica = replica_of(&primary, of_replica)?;
        Some(Pair { primary, replica })
    }

    /// Waits until the replica has received everything that the primary sent.
    fn in_step(&self) {
        in_step(&self.primary, &self.replica);
    }
}

fn replica_of(primary: &Server, settings: &str) -> Option<Server> {
    let port = primary.port.to_string();
    let arguments = [
        "--repl-diskless-sync-delay",
        "0",
        "--replicaof",
        "127.0.0.1",
        &port,
    ];
    let replica = Server::with_module(&arguments, settings)?;
    until("the replica is in touch", || {
        (replication(&replica, "master_link_status") == "up").then_some(())
    });
    Some(replica)
}

/// Returns a field of INFO replication.
fn replication(server: &Server, field: &str) -> String {
    let info: String = server.ask("INFO replication");
    let line = info
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {field} in {info}"))
        .to_owned()
}

fn in_step(primary: &Server, replica: &Server) {
    until("the replica has caught up", || {
        let sent = replication(primary, "master_repl_offset");
        let is_up = replication(replica, "master_link_status") == "up";
        (is_up && replication(replica, "slave_repl_offset") == sent).then_some(())
    });
}

/// Returns the digest of all data of a server, with times of expiry.
fn digest(server: &Server) -> String {
    server.ask("DEBUG DIGEST")
}

/// Asserts that both have the same state at a moment in which the primary does not change.
fn assert_equal(primary: &Server, replica: &Server, when: &str) {
    let (here, there) = until("the primary stands still", || {
        let before = digest(primary);
        in_step(primary, replica);
        let there = digest(replica);
        (digest(primary) == before).then_some((before, there))
    });
    if here != there {
        panic!("{when}: {}", difference(primary, replica));
    }
}

/// Describes which nodes differ.
fn difference(primary: &Server, replica: &Server) -> String {
    let mut found = String::new();
    for db in 0..16 {
        let (mut here, mut there) = (in_db(primary, db), in_db(replica, db));
        for (name, other) in [("primary", &mut here), ("replica", &mut there)] {
            let mut keys: Vec<String> = ask(other, "KEYS *");
            keys.sort();
            for key in keys {
                let digest: Vec<String> = ask(other, &format!("DEBUG DIGEST-VALUE {key}"));
                found += &format!("\n{name} {db} {key} {digest:?}");
            }
        }
    }
    found
}

/// Opens a connection and selects a database.
fn in_db(server: &Server, db: u32) -> Connection {
    let mut connection = server.connection();
    let () = ask(&mut connection, &format!("SELECT {db}"));
    connection
}

fn closes(server: &Server, node: &str, metric: &str) {
    until(&format!("{node} closes the window of {metric}"), || {
        let records = server.peek(node, "MIN");
        records.iter().any(|r| r["metric"] == metric).then_some(())
    });
}

/// Waits until windows that are open now have ended.
fn let_windows_end() {
    let start = now_ms();
    until("the windows are over", || {
        (now_ms() > start + 2200).then_some(())
    });
}

/// `AGG_SEED` selects other random commands.
fn random_commands_leave_both_equal(seed: u64) {
    let other = std::env::var("AGG_SEED").ok();
    let seed = other.map_or(seed, |other| other.parse().unwrap());
    let Some(pair) = Pair::start(BUSY, OTHERS[0]) else {
        return;
    };
    let mut workload = RandomWorkload::new(&pair.primary, seed, Lifetimes::Finite);
    for round in 0..8 {
        for i in 0..400 {
            workload.act();
            // The timer runs between the commands.
            if i % 2 == 0 {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        if round == 4 {
            // The replication link breaks and is restored.
            let _: i64 = pair.primary.ask("CLIENT KILL TYPE replica");
        }
        let when = format!("seed {seed}, after round {round}");
        assert_equal(&pair.primary, &pair.replica, &when);
    }
    // Most commands were carried out, so the comparison is meaningful.
    assert!(workload.done > 2000, "{}", workload.done);
    // A replica that joins now gets everything in one full copy.
    let Some(other) = replica_of(&pair.primary, OTHERS[0]) else {
        return;
    };
    assert_equal(&pair.primary, &other, "at last, on a new replica");
}

#[test]
fn replica_with_other_settings_has_the_same_value() {
    random_commands_leave_both_equal(0x9e37_79b9_7f4a_7c15);
}

#[test]
fn replica_with_other_settings_has_the_same_value_after_other_commands() {
    random_commands_leave_both_equal(0x0123_4567_89ab_cdef);
}

#[test]
fn replica_of_a_replica_has_the_same_value() {
    let Some(pair) = Pair::start(BUSY, OTHERS[0]) else {
        return;
    };
    let Some(last) = replica_of(&pair.replica, "min-window 7 hour-window 7") else {
        return;
    };
    let mut workload = RandomWorkload::new(&pair.primary, 77, Lifetimes::Finite);
    (0..1000).for_each(|_| workload.act());
    assert_equal(&pair.primary, &pair.replica, "the replica");
    in_step(&pair.replica, &last);
    assert_equal(&pair.primary, &last, "its replica");
}

#[test]
fn busy_primary_covers_everything_that_is_compared() {
    let Some(server) = Server::with_settings(BUSY) else {
        return;
    };
    let mut workload = RandomWorkload::new(&server, 1, Lifetimes::Finite);
    until("all kinds of events have happened", || {
        (0..50).for_each(|_| workload.act());
        let info: String = server.ask("INFO agg");
        let is_none = |field: &str| info.contains(&format!("{field}:0\r\n"));
        let fields = [
            "agg_dropped_queue_full",
            "agg_dropped_max_errors",
            "agg_refused_max_series",
            "agg_refused_max_realities",
            "agg_late",
            "agg_late_min",
            "agg_late_hour",
            "agg_truncated",
        ];
        fields
            .iter()
            .all(|f| info.contains(f) && !is_none(f))
            .then_some(())
    });
}

#[test]
fn replica_keeps_everything_of_a_large_load() {
    let Some(primary) = Server::with_module(&["--repl-diskless-sync-delay", "0"], HELD_OPEN) else {
        return;
    };
    fill_short(&mut primary.connection(), "n");
    fill_much(&mut primary.connection(), "n");
    fill_short(&mut in_db(&primary, 3), "n");
    let Some(replica) = replica_of(&primary, OTHERS[0]) else {
        return;
    };
    assert_equal(&primary, &replica, "after the first load");
    fill_much(&mut primary.connection(), "other");
    assert_equal(&primary, &replica, "after much more than its limit");
}

#[test]
fn first_node_of_a_replica_measures_the_same_as_on_the_primary() {
    let Some(Pair { primary, replica }) = Pair::start("", "") else {
        return;
    };
    let _: i64 = primary.ask("AGG.STAT n m 1");
    in_step(&primary, &replica);
    let usage = |server: &Server| server.ask::<i64>("MEMORY USAGE n");
    let (here, there) = (usage(&primary), usage(&replica));
    assert!((here - there).abs() < 1024, "{here}, the replica {there}");
}

#[test]
fn replica_serves_reads() {
    let Some(pair) = Pair::start(HELD_OPEN, OTHERS[0]) else {
        return;
    };
    fill_short(&mut pair.primary.connection(), "n");
    pair.in_step();
    for line in [
        "AGG.PEEK n MIN HOUR ERROR REALITY",
        "AGG.PEEK n MIN HOUR FORMAT LINE",
        "AGG.PEEK n MIN REV COUNT 1",
        "AGG.GET n METRIC net.rx",
        "AGG.GET n ERROR waiting",
        "AGG.GET n REALITY leased",
        "AGG.RANGE n net.rx MIN",
        "AGG.SCAN n METRIC 0 WITHVALUES COUNT 1000",
        "TYPE n",
    ] {
        let here: Value = pair.primary.ask(line);
        let there: Value = pair.replica.ask(line);
        // Deliveries and leases exist only on the primary.
        let is_look = line.starts_with("AGG.PEEK");
        let same = match is_look {
            true => without_deliveries(&here) == without_deliveries(&there),
            false => without_counters(&here) == without_counters(&there),
        };
        assert!(same, "{line}: {here:?} and {there:?}");
        assert_ne!(there, Value::Nil, "{line}");
    }
    let info = pair.replica.ask("AGG.INFO n");
    assert_eq!((int(&info, "metrics"), int(&info, "min-window")), (4, 1));
    let log = at(at(&info, "queues").unwrap(), "LOG").unwrap();
    assert_eq!((int(log, "length"), int(log, "leased")), (2, 0));
}

fn without_deliveries(reply: &Value) -> Vec<(String, i64, String)> {
    entries(reply)
        .into_iter()
        .map(|e| (e.queue, e.id, e.text))
        .collect()
}

/// Counters and `seen` are local to each server.
fn without_counters(reply: &Value) -> Value {
    const OWN: [&str; 8] = [
        "samples",
        "late",
        "late-min",
        "late-hour",
        "restarts",
        "gaps",
        "tag-changes",
        "seen",
    ];
    let Value::Array(items) = reply else {
        return reply.clone();
    };
    let mut kept = Vec::new();
    let mut skip = false;
    for item in items {
        let is_own = OWN
            .iter()
            .any(|own| *item == Value::BulkString(own.as_bytes().into()));
        if !skip && !is_own {
            kept.push(without_counters(item));
        }
        skip = !skip && is_own;
    }
    Value::Array(kept)
}

#[test]
fn replica_refuses_writes() {
    let Some(pair) = Pair::start(HELD_OPEN, "") else {
        return;
    };
    fill_short(&mut pair.primary.connection(), "n");
    pair.in_step();
    let before = digest(&pair.replica);
    for node in ["n", "none"] {
        for line in [
            "AGG.STAT NODE m 1",
            "AGG.MSTAT NODE VALUES m 1",
            "AGG.LOG NODE hello",
            "AGG.ERROR NODE broken",
            "AGG.REALITY NODE k m {}",
            "AGG.FORGET NODE METRIC temp",
            "AGG.REQUEUE NODE ERROR",
            "AGG.POP NODE LOG",
            "AGG.FETCH NODE LOG",
            "AGG.FETCH NODE LOG BLOCK 0",
            "AGG.ACK NODE LOG 1",
            "AGG.NACK NODE LOG 1",
            "AGG.EXTEND NODE LOG 1000 1",
            "AGG.APPLY NODE payload",
        ] {
            let line = line.replace("NODE", node);
            assert_eq!(
                pair.replica.error(&line),
                "READONLY You can't write against a read only replica.",
                "{line}"
            );
        }
    }
    assert_eq!(digest(&pair.replica), before);
}

#[test]
fn replica_closes_and_expires_nothing_itself() {
    let Some(mut pair) = Pair::start(HELD_OPEN, OTHERS[0]) else {
        return;
    };
    fill_short(&mut pair.primary.connection(), "n");
    pair.in_step();
    let before = digest(&pair.replica);
    let waiting: Value = pair.replica.ask("AGG.PEEK n MIN HOUR ERROR REALITY");
    // By its own settings windows would close, and metrics, errors and objects would expire, within a second.
    let_windows_end();
    assert_eq!(digest(&pair.replica), before);
    assert_eq!(digest(&pair.primary), before);
    // Nor while the primary is down.
    pair.primary.stop();
    until("the replica is alone", || {
        (replication(&pair.replica, "master_link_status") == "down").then_some(())
    });
    let_windows_end();
    assert_eq!(digest(&pair.replica), before);
    assert_eq!(
        pair.replica
            .ask::<Value>("AGG.PEEK n MIN HOUR ERROR REALITY"),
        waiting
    );
}

#[test]
fn closed_window_reaches_the_replica() {
    let Some(pair) = Pair::start(CLOSING, OTHERS[0]) else {
        return;
    };
    let _: i64 = pair.primary.ask("AGG.STAT n m 1");
    closes(&pair.replica, "n", "m");
    assert_eq!(pair.primary.peek("n", "MIN"), pair.replica.peek("n", "MIN"));
    assert_equal(&pair.primary, &pair.replica, "after a closing");
}

#[test]
fn promoted_replica_continues() {
    let Some(mut pair) = Pair::start(HELD_OPEN, HELD_OPEN) else {
        return;
    };
    let mut c = pair.primary.connection();
    fill_short(&mut c, "n");
    pair.in_step();
    let waiting = entries(&pair.primary.ask("AGG.PEEK n LOG ERROR REALITY"));
    let before = digest(&pair.primary);
    pair.primary.stop();
    let promoted = &pair.replica;
    let () = promoted.ask("REPLICAOF NO ONE");
    assert_eq!(digest(promoted), before);
    // Records that the old primary leased are redelivered: errors and objects under new ids, because nobody knows with
    // which content the old ids were delivered.
    let again = entries(&promoted.ask("AGG.FETCH n LOG ERROR REALITY"));
    let ids = |entries: &[Entry]| entries.iter().map(|e| e.id).collect::<Vec<_>>();
    let content = |entries: &[Entry]| -> Vec<String> {
        let text = |e: &Entry| e.text.replace(&format!("\"id\":{},", e.id), "");
        entries.iter().map(text).collect()
    };
    assert_eq!(content(&again), content(&waiting));
    for (was, is) in waiting.iter().zip(&again) {
        assert_eq!(was.id == is.id, was.queue == "LOG", "{}", is.text);
    }
    let id: i64 = promoted.ask("AGG.LOG n more");
    assert!(id > *ids(&waiting).iter().max().unwrap());
    let () = promoted.ask("CONFIG SET agg.flush-delay-ms 0");
    closes(promoted, "n", "temp");
    let _: i64 = promoted.ask("AGG.STAT n new.one 1");
    closes(promoted, "n", "new.one");
    let all = entries(&promoted.ask("AGG.PEEK n MIN COUNT 10000"));
    assert!(ids(&all).is_sorted_by(|a, b| a < b), "{all:?}");
}

#[test]
fn demoted_primary_adopts_the_state_of_the_new_one() {
    let Some(pair) = Pair::start(HELD_OPEN, HELD_OPEN) else {
        return;
    };
    fill_short(&mut pair.primary.connection(), "n");
    pair.in_step();
    let () = pair.replica.ask("REPLICAOF NO ONE");
    fill_short(&mut pair.replica.connection(), "n");
    fill_short(&mut pair.primary.connection(), "lost");
    let () = pair
        .primary
        .ask(&format!("REPLICAOF 127.0.0.1 {}", pair.replica.port));
    until("the old primary is in touch", || {
        (replication(&pair.primary, "master_link_status") == "up").then_some(())
    });
    assert_equal(&pair.replica, &pair.primary, "with the parts exchanged");
    assert!(!pair.primary.ask::<bool>("EXISTS lost"));
}

#[test]
fn planned_failover_loses_nothing_while_windows_close() {
    let Some(pair) = Pair::start(CLOSING, CLOSING) else {
        return;
    };
    let _: Value = pair.primary.ask("AGG.MSTAT n VALUES a 1 b 2");
    let log: i64 = pair.primary.ask("AGG.LOG n hello");
    let () = pair.primary.ask("FAILOVER TIMEOUT 20000");
    until("the parts are exchanged", || {
        (replication(&pair.primary, "role") == "slave"
            && replication(&pair.replica, "role") == "master")
            .then_some(())
    });
    for metric in ["a", "b"] {
        closes(&pair.replica, "n", metric);
    }
    assert!(pair.replica.ask::<i64>("AGG.LOG n more") > log);
    until("the old primary is in touch", || {
        (replication(&pair.primary, "master_link_status") == "up").then_some(())
    });
    assert_equal(&pair.replica, &pair.primary, "after the failover");
}

#[test]
fn windows_due_while_clients_are_paused_close_afterwards() {
    let Some(pair) = Pair::start(HELD_OPEN, OTHERS[0]) else {
        return;
    };
    make_short(&mut pair.primary.connection(), "n");
    let _: i64 = pair.primary.ask("AGG.STAT n m 1");
    let _: Value = pair.primary.ask("AGG.REALITY n brief m {} TTL 1");
    let _: Value = pair.primary.ask("AGG.POP n REALITY");
    let () = pair.primary.ask("CLIENT PAUSE 60000 WRITE");
    let () = pair.primary.ask("CONFIG SET agg.flush-delay-ms 0");
    let before = digest(&pair.primary);
    let_windows_end();
    assert_eq!(
        digest(&pair.primary),
        before,
        "something changed in a pause"
    );
    let () = pair.primary.ask("CLIENT UNPAUSE");
    closes(&pair.primary, "n", "m");
    until("the object's life ends", || {
        let records = pair.primary.peek("n", "REALITY");
        (records.first()?["gone"] == true).then_some(())
    });
    assert_equal(&pair.primary, &pair.replica, "after the pause");
}

#[test]
fn blocked_client_is_served_after_a_pause() {
    let Some(pair) = Pair::start(HELD_OPEN, OTHERS[0]) else {
        return;
    };
    make_short(&mut pair.primary.connection(), "n");
    let _: i64 = pair.primary.ask("AGG.STAT n m 1");
    let mut c = pair.primary.connection();
    let waiting = std::thread::spawn(move || entries(&ask(&mut c, "AGG.FETCH n MIN HOUR BLOCK 0")));
    until("the client waits", || {
        let info: String = pair.primary.ask("INFO clients");
        info.contains("blocked_clients:1").then_some(())
    });
    let () = pair.primary.ask("CLIENT PAUSE 60000 WRITE");
    let () = pair.primary.ask("CONFIG SET agg.flush-delay-ms 0");
    let_windows_end();
    assert!(!waiting.is_finished());
    let () = pair.primary.ask("CLIENT UNPAUSE");
    let fetched = waiting.join().unwrap();
    assert_eq!(fetched[0].json()["metric"], "m");
    assert_equal(&pair.primary, &pair.replica, "after the pause");
}

/// Returns a field of INFO agg.
fn info_agg(server: &Server, field: &str) -> i64 {
    let info: String = server.ask("INFO agg");
    let line = info
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {field} in {info}"))
        .parse()
        .unwrap()
}

/// It once was 0 on a replica, and after a failover the age of a record that was long removed.
#[test]
fn age_of_the_oldest_record_is_right_on_a_replica_and_after_a_failover() {
    let Some(pair) = Pair::start("", "") else {
        return;
    };
    let (first, second) = (&pair.primary, &pair.replica);
    let old: i64 = first.ask("AGG.LOG n old");
    let age = |id: i64| now_ms() - id / 1_000;
    let is_age_of = |server: &Server, id: i64| {
        until("the age is that of the oldest record", || {
            let before = age(id);
            let stated = info_agg(server, "agg_log_oldest");
            (before..=age(id)).contains(&stated).then_some(())
        });
    };
    pair.in_step();
    is_age_of(first, old);
    is_age_of(second, old);
    let () = second.ask("REPLICAOF NO ONE");
    let () = first.ask(&format!("REPLICAOF 127.0.0.1 {}", second.port));
    until("the old primary is in touch", || {
        (replication(first, "master_link_status") == "up").then_some(())
    });
    let _: Value = second.ask("AGG.POP n LOG");
    let new: i64 = second.ask("AGG.LOG n new");
    is_age_of(second, new);
    is_age_of(first, new);
    let _: Value = second.ask("AGG.POP n LOG");
    until("none waits", || {
        (info_agg(first, "agg_log_oldest") == 0).then_some(())
    });
    // While clients are paused the timer decides nothing, but still reads.
    let paused: i64 = second.ask("AGG.LOG n paused");
    let () = second.ask("CLIENT PAUSE 60000 WRITE");
    is_age_of(second, paused);
    let () = second.ask("CLIENT UNPAUSE");
}
