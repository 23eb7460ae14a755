//! Promotions, failovers and pauses lose nothing.

use super::*;

#[test]
fn promoted_replica_continues() {
    let Some(mut pair) = Pair::start(HELD_OPEN, HELD_OPEN) else {
        return;
    };
    let mut c = pair.primary.connection();
    fill_short(&mut c, "n");
    pair.in_step();
    let waiting = queued_records(&pair.primary.ask("AGG.PEEK n LOG ERROR REALITY"));
    let before = digest(&pair.primary);
    pair.primary.stop();
    let promoted = &pair.replica;
    let () = promoted.ask("REPLICAOF NO ONE");
    assert_eq!(digest(promoted), before);
    // Records that the old primary leased are redelivered: errors and objects under new ids, because nobody knows with
    // which content the old ids were delivered.
    let again = queued_records(&promoted.ask("AGG.FETCH n LOG ERROR REALITY"));
    let ids = |records: &[QueuedRecord]| records.iter().map(|e| e.id).collect::<Vec<_>>();
    let content = |records: &[QueuedRecord]| -> Vec<String> {
        let text = |e: &QueuedRecord| e.text.replace(&format!("\"id\":{},", e.id), "");
        records.iter().map(text).collect()
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
    let all = queued_records(&promoted.ask("AGG.PEEK n MIN COUNT 10000"));
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
    let waiting =
        std::thread::spawn(move || queued_records(&ask(&mut c, "AGG.FETCH n MIN HOUR BLOCK 0")));
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
    server.info_field("agg", field)
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
