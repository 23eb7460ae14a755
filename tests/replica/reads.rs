//! A replica serves reads, rejects writes and decides nothing itself.

use super::*;

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
        "AGG.SCAN n METRIC 0 WITHLAST COUNT 1000",
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
    queued_records(reply)
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
fn replica_rejects_writes() {
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
            "AGG.HIST NODE m VALUES 1 1",
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
