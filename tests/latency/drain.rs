//! The commands that drain queues, and AGG.PEEK.

use redis::Value;

use crate::support::*;
use testkit::*;

/// Adds log entries with long tag lists that are not UTF-8, and errors and objects with texts that grow when escaped.
fn fill_long(timed: &mut Timed) {
    let (tags, plain, text) = (many_tags(), many_plain_tags(), escaped_text());
    timed.send((0..40).map(|_| with("AGG.LOG n x TAGS", [&tags])));
    timed.send((0..10).map(|i| {
        let key = format!("{i}");
        let words = [
            &text[..],
            b"KEY",
            key.as_bytes(),
            b"BACKTRACE",
            &text,
            b"PUBLIC",
            &text,
            b"TAGS",
            &plain,
        ];
        with("AGG.ERROR n", words)
    }));
    timed.send((0..10).map(|i| with(&format!("AGG.REALITY n o{i} m 1 TAGS"), [&tags])));
    // Windows that close: the queue MIN.
    let past = now_ms() / 3_600_000 * 3_600_000 - 86_400_000;
    for at in [past, past + 3_600_000] {
        let names = (0..40).flat_map(|i| [format!("m{i}").into_bytes(), b"1".to_vec()]);
        let head = [
            b"TAGS".to_vec(),
            tags.clone(),
            b"AT".to_vec(),
            at.to_string().into(),
            b"VALUES".to_vec(),
        ];
        timed.send([with("AGG.MSTAT n", head.into_iter().chain(names))]);
    }
}

const LONG_RECORDS: [&str; 5] = ["LOG", "MIN FORMAT LINE", "MIN", "ERROR", "REALITY"];

fn long_records(verb: &str) {
    let Some(mut timed) = Timed::start("") else {
        return;
    };
    for queue in LONG_RECORDS {
        timed.takes_less(
            &format!("{verb} of long records of {queue}"),
            MANY,
            |timed| {
                timed.ask("DEL n");
                fill_long(timed);
                split(&format!("{verb} n {queue} COUNT 10000"))
            },
        );
    }
}

#[test]
pub fn pop_of_long_records_stays_short() {
    long_records("AGG.POP");
}

#[test]
pub fn fetch_of_long_records_stays_short() {
    long_records("AGG.FETCH");
}

#[test]
pub fn peek_of_long_records_stays_short() {
    long_records("AGG.PEEK");
}

fn many_records(verb: &str, options: &str) {
    let Some(mut timed) = Timed::start("max-errors 10000") else {
        return;
    };
    for queue in ["LOG", "ERROR", "REALITY"] {
        timed.takes_less(
            &format!("{verb} of many records of {queue}"),
            MANY,
            |timed| {
                timed.ask("DEL n");
                timed.send((0..10_000).map(|i| {
                    split(&match queue {
                        "LOG" => "AGG.LOG n x".to_owned(),
                        "ERROR" => format!("AGG.ERROR n m KEY {i}"),
                        _ => format!("AGG.REALITY n o{i} m 1"),
                    })
                }));
                split(&format!("{verb} n {queue} COUNT 10000{options}"))
            },
        );
    }
}

#[test]
pub fn pop_of_many_records_stays_short() {
    many_records("AGG.POP", "");
}

#[test]
pub fn peek_of_many_records_stays_short() {
    many_records("AGG.PEEK", " REV");
}

/// After a failover or a reload each error and object gets a new id before it is delivered.
#[test]
pub fn fetch_of_changed_records_stays_short() {
    let Some(mut timed) = Timed::start("") else {
        return;
    };
    timed.send((0..10_000).map(|i| split(&format!("AGG.ERROR n m KEY {i}"))));
    timed.send((0..10_000).map(|i| split(&format!("AGG.REALITY n o{i} m 1"))));
    for queues in ["ERROR", "REALITY", "ERROR REALITY"] {
        timed.takes_less(
            &format!("AGG.FETCH of {queues} after a reload"),
            MANY,
            |timed| {
                timed.ask("DEBUG RELOAD");
                split(&format!("AGG.FETCH n {queues} COUNT 1"))
            },
        );
    }
}

const LEASED: usize = 50_000;

/// Runs a command when the leases of many records have expired at once, before a tick of the timer sees them.
fn after_many_leases_ended(what: &str, limit: i64, after: impl Fn(i64) -> String) {
    let Some(mut timed) = Timed::start("queue-log 100mb") else {
        return;
    };
    timed.send((0..LEASED).map(|_| split("AGG.LOG n x")));
    timed.last_takes_less(what, limit, |timed| {
        let mut ids: Vec<i64> = Vec::new();
        while ids.len() < LEASED {
            let found = queued_records(&timed.ask("AGG.FETCH n LOG COUNT 10000 LEASE 600000"));
            ids.extend(found.iter().map(|record| record.id));
        }
        // They expire together, while the server sleeps.
        let extend =
            |part: &[i64]| with("AGG.EXTEND n LOG 200", part.iter().map(|id| id.to_string()));
        let mut commands: Vec<Words> = ids.chunks(10_000).map(extend).collect();
        commands.extend([split("DEBUG SLEEP 0.4"), split(&after(ids[0]))]);
        commands
    });
}

#[test]
pub fn nack_after_many_expired_leases_stays_short() {
    after_many_leases_ended("AGG.NACK", ONE, |id| format!("AGG.NACK n LOG {id}"));
}

#[test]
pub fn fetch_after_many_expired_leases_stays_short() {
    after_many_leases_ended("AGG.FETCH", MANY, |_| "AGG.FETCH n LOG COUNT 1".to_owned());
}

#[test]
pub fn nack_and_extend_of_many_ids_stay_short() {
    let Some(mut timed) = Timed::start("") else {
        return;
    };
    timed.send((0..10_000).map(|_| split("AGG.LOG n x")));
    // More than one reply has: 1 MiB.
    let fetch_all = |timed: &mut Timed| {
        let mut ids = Vec::new();
        loop {
            let found = queued_records(&timed.ask("AGG.FETCH n LOG COUNT 10000 LEASE 600000"));
            if found.is_empty() {
                return ids;
            }
            ids.extend(found.iter().map(|record| record.id.to_string()));
        }
    };
    let mut ids = fetch_all(&mut timed);
    ids.reverse();
    for verb in ["AGG.EXTEND n LOG 60000", "AGG.NACK n LOG"] {
        let reply = timed.takes_less(verb, MANY, |timed| {
            fetch_all(timed);
            with(verb, &ids)
        });
        assert_eq!(reply, Value::Int(10_000));
    }
    for verb in ["AGG.EXTEND n LOG 60000", "AGG.NACK n LOG", "AGG.ACK n LOG"] {
        let more = ids.iter().cloned().chain(["1".to_owned()]);
        let words = with(verb, more);
        let rejection = timed.rejects_within(verb, ONE, |_| words.clone());
        assert!(
            rejection.contains("10001 ids given: the maximum is 10000"),
            "{rejection}"
        );
    }
}

#[test]
pub fn ack_of_many_ids_stays_short() {
    let Some(mut timed) = Timed::start("queue-log 64mb") else {
        return;
    };
    for (queue, every) in [("LOG", 1), ("LOG", 4), ("ERROR", 1), ("REALITY", 1)] {
        timed.takes_less(&format!("AGG.ACK of many ids of {queue}"), MANY, |timed| {
            timed.ask("DEL n");
            let n = 10_000 * every;
            timed.send((0..n).map(|i| {
                split(&match queue {
                    "LOG" => format!("AGG.LOG n {}", "x".repeat(1200)),
                    "ERROR" => format!("AGG.ERROR n m KEY {i}"),
                    _ => format!("AGG.REALITY n o{i} m 1"),
                })
            }));
            let mut ids: Vec<i64> = Vec::new();
            while ids.len() < n {
                let from = ids.last().map_or(0, |id| id + 1);
                let found = queued_records(
                    &timed.ask(&format!("AGG.PEEK n {queue} COUNT 10000 FROM {from}")),
                );
                ids.extend(found.iter().map(|record| record.id));
            }
            // In the middle of the queue, so that gaps remain.
            let ids = ids
                .chunks(every * 8)
                .flat_map(|some| &some[..some.len() / every]);
            with(&format!("AGG.ACK n {queue}"), ids.map(|id| id.to_string()))
        });
    }
}

#[test]
pub fn requeue_is_bounded_in_entries_and_in_work() {
    let Some(mut timed) = Timed::start("max-errors 30000 max-realities 30000") else {
        return;
    };
    for (queue, n) in [("ERROR", 20_000), ("REALITY", 20_000)] {
        let reply = timed.takes_less(&format!("AGG.REQUEUE of {queue}"), MANY, |timed| {
            timed.ask("DEL n");
            timed.send((0..n).map(|i| {
                split(&match queue {
                    "ERROR" => format!("AGG.ERROR n m KEY {i}"),
                    _ => format!("AGG.REALITY n o{i} m 1"),
                })
            }));
            for _ in 0..2 {
                timed.ask(&format!("AGG.POP n {queue} COUNT 10000"));
            }
            while !list(&timed.ask(&format!("AGG.POP n {queue} COUNT 10000"))).is_empty() {}
            split(&format!("AGG.REQUEUE n {queue} MATCH *"))
        });
        assert_eq!(reply, Value::Int(n));
    }
    timed.send((20_000..20_001).map(|i| split(&format!("AGG.REALITY n o{i} m 1"))));
    while !list(&timed.ask("AGG.POP n REALITY COUNT 10000")).is_empty() {}
    let rejection = timed.rejects_within("AGG.REQUEUE of too many", MANY, |_| {
        split("AGG.REQUEUE n REALITY")
    });
    assert!(
        rejection.contains("more than 20000 objects match: queue fewer at a time with MATCH"),
        "{rejection}"
    );
    assert_eq!(int(&timed.ask("AGG.INFO n"), "realities"), 20_001);

    timed.ask("DEL n");
    timed.send((0..1000).map(|i| with("AGG.REALITY n", [&long_name(i)[..], b"m", b"1"])));
    while !list(&timed.ask("AGG.POP n REALITY COUNT 10000")).is_empty() {}
    let pattern = format!("*{}b", "a".repeat(1000));
    let rejection = timed.rejects_within("AGG.REQUEUE with an expensive pattern", MANY, |_| {
        split(&format!("AGG.REQUEUE n REALITY MATCH {pattern}"))
    });
    assert!(
        rejection.contains("takes too long: use a shorter pattern"),
        "{rejection}"
    );
    assert!(list(&timed.ask("AGG.PEEK n REALITY")).is_empty());
    // A scan that ends early is cheap whatever the names are.
    assert_eq!(timed.ask("AGG.REQUEUE n REALITY MATCH aab*"), Value::Int(0));
}
