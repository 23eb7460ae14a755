//! Nothing leaks: queued records are delivered, dropped or still queued; and after everything is drained and forgotten,
//! nearly no memory is used.

use redis::{Connection, Value};
use std::collections::HashSet;

use crate::attackers;
use crate::support::*;
use testkit::*;

#[test]
fn queued_records_are_delivered_or_dropped_or_still_queued() {
    let _beside = beside();
    let Some(server) = server(&format!("{CALM} max-memory 4mb queue-log 1mb")) else {
        return;
    };
    let mut connection = server.connection();
    let (mut given, mut taken) = (HashSet::new(), HashSet::new());
    let mut random = Random(seed());
    let logs = ["logs0", "logs1", "logs2", "logs3"];
    for round in 0..amount(300, 3_000) {
        let commands = attackers::messages(&mut random);
        for (answer, words) in burst(&mut connection, &commands).into_iter().zip(&commands) {
            if let Ok(Value::Int(id)) = answer {
                let node = String::from_utf8(words[1].clone()).unwrap();
                assert!(given.insert((node, id)), "an id was given twice");
            }
        }
        if round % 20 == 0 {
            let node = *random.one(&logs);
            let popped: Value = ask(&mut connection, &format!("AGG.POP {node} LOG COUNT 20"));
            taken.extend(
                queued_records(&popped)
                    .into_iter()
                    .map(|record| (node.to_owned(), record.id)),
            );
            let node = *random.one(&logs);
            let line = format!("AGG.FETCH {node} LOG COUNT 10 LEASE 50");
            for record in queued_records(&ask(&mut connection, &line)) {
                let acked: i64 = ask(
                    &mut connection,
                    &format!("AGG.ACK {node} LOG {}", record.id),
                );
                assert_eq!(acked, 1);
                taken.insert((node.to_owned(), record.id));
            }
        }
    }
    // What exceeded the limit under memory pressure is dropped by the timer within its next ticks.
    let totals = || (agg(&server, "agg_held"), agg(&server, "agg_log_dropped"));
    until("the timer has trimmed", || {
        let before = totals();
        std::thread::sleep(std::time::Duration::from_millis(300));
        (totals() == before).then_some(())
    });
    let (mut dropped, mut length) = (0, 0);
    for node in logs {
        let mine =
            |ids: &HashSet<(String, i64)>| ids.iter().filter(|(n, _)| n == node).count() as i64;
        let count = |field: &str| of_queue(&server, node, "LOG", field);
        let (given, taken) = (mine(&given), mine(&taken));
        assert_eq!(given, taken + count("dropped") + count("length"), "{node}");
        dropped += count("dropped");
        length += count("length");
    }
    assert!(
        dropped > 0 && length > 0,
        "{dropped} dropped, {length} waiting"
    );
    assert_eq!(agg(&server, "agg_log_dropped"), dropped);
    assert_eq!(agg(&server, "agg_log_length"), length);
    assert_eq!(check_drops(&server), dropped);
    let by_reason =
        ["queue_full", "max_memory"].map(|reason| agg(&server, &format!("agg_dropped_{reason}")));
    assert!(
        by_reason.iter().all(|n| *n > 0),
        "queue-full and max-memory: {by_reason:?}"
    );
    // Pending records are those neither consumed nor dropped.
    for node in logs {
        for record in drain(&mut connection, node) {
            assert!(
                given.contains(&(node.to_owned(), record)),
                "{record} was never given"
            );
            assert!(
                taken.insert((node.to_owned(), record)),
                "{record} was taken before"
            );
        }
    }
    assert_eq!(taken.len() as i64 + dropped, given.len() as i64);
}

/// Consumes all records, also leased ones, and returns their ids.
fn drain(connection: &mut Connection, node: &str) -> Vec<i64> {
    let mut ids = Vec::new();
    loop {
        let line = format!("AGG.PEEK {node} MIN HOUR LOG ERROR REALITY COUNT 10000");
        let there = queued_records(&ask(connection, &line));
        if there.is_empty() {
            return ids;
        }
        let acks = there
            .iter()
            .map(|record| split(&format!("AGG.ACK {node} {} {}", record.queue, record.id)));
        let acks: Vec<_> = acks.collect();
        for (answer, record) in burst(connection, &acks).into_iter().zip(&there) {
            // The timer may have given it a new id meanwhile.
            if answer == Ok(Value::Int(1)) {
                ids.push(record.id);
            }
        }
    }
}

/// Forgets everything in a node.
fn forget(connection: &mut Connection, node: &str) {
    for family in ["METRIC", "ERROR", "REALITY"] {
        loop {
            let line = format!("AGG.SCAN {node} {family} 0 COUNT 1000");
            let (_, names): (String, Vec<Vec<u8>>) = ask(connection, &line);
            let forget = |name: &Vec<u8>| {
                let mut words = split(&format!("AGG.FORGET {node} {family}"));
                words.push(name.clone());
                words
            };
            let commands: Vec<_> = names.iter().map(forget).collect();
            // Gone objects stay listed until that was delivered.
            for answer in burst(connection, &commands) {
                answer.unwrap();
            }
            drain(connection, node);
            if names.is_empty() {
                break;
            }
        }
    }
}

#[test]
fn memory_used_is_nearly_nothing_after_draining_and_forgetting() {
    let _beside = beside();
    let Some(server) = server("min-window 1 hour-window 2 flush-delay-ms 100 max-memory 16mb")
    else {
        return;
    };
    let mut connection = server.connection();
    let empty = agg(&server, "agg_held");
    let mut random = Random(seed());
    let mut most = 0;
    for _ in 0..amount(40, 400) {
        for (_, attack) in attackers::ALL {
            burst(&mut connection, &attack(&mut random));
        }
        most = most.max(agg(&server, "agg_held"));
    }
    assert!(most > 12 * MB, "{most} bytes were held");
    let keys: Vec<String> = ask(&mut connection, "KEYS *");
    for node in &keys {
        drain(&mut connection, node);
        forget(&mut connection, node);
        drain(&mut connection, node);
    }
    let info: String = server.ask("INFO agg");
    for name in [
        "agg_metrics",
        "agg_errors",
        "agg_realities",
        "agg_min_length",
        "agg_log_length",
        "agg_reality_length",
    ] {
        assert_eq!(info_field::<i64>(&info, name), 0, "{info}");
    }
    let left = agg(&server, "agg_held") - empty;
    let each = left / keys.len() as i64;
    println!(
        "{} nodes held {most} bytes, and hold {left} when empty: {each} each",
        keys.len()
    );
    assert!(each < 6 << 10, "an empty node holds {each} bytes");
    for node in &keys {
        let _: i64 = ask(&mut connection, &format!("DEL {node}"));
    }
    // The names are dropped in the next round of the timer; its own buffers stay.
    until("the registry is empty", || {
        (agg(&server, "agg_held") - empty < 192 << 10).then_some(())
    });
}
