//! AGG.INFO and INFO agg: what a node and the server count.

use super::*;

const INFO: &str = "metrics errors realities bytes min-window hour-window inc-slot forgotten sources late late-min late-hour forgotten-dropped sources-dropped clock-back suspect-diff truncated imported import-duplicates import-refused \
                    refused queues";

const QUEUE: &str = "length bytes oldest leased dropped";

#[test]
fn info_of_a_node_has_its_fields_in_order() {
    let Some(server) = Server::with_settings("min-window 10 hour-window 60") else {
        return;
    };
    server.ask::<()>("AGG.LOG n text");
    for (mut connection, is_map) in [(server.connection(), false), (server.connection3(), true)] {
        let info: Value = ask(&mut connection, "AGG.INFO n");
        assert_eq!(matches!(info, Value::Map(_)), is_map);
        assert_eq!(names(&info), INFO);
        let rejected = at(&info, "refused").unwrap();
        assert_eq!(matches!(rejected, Value::Map(_)), is_map);
        let reasons =
            "argument future type max-series max-realities max-memory max-node-memory queue-import";
        assert_eq!(names(rejected), reasons);
        let queues = at(&info, "queues").unwrap();
        assert_eq!(matches!(queues, Value::Map(_)), is_map);
        assert_eq!(names(queues), "MIN HOUR LOG ERROR REALITY");
        for name in names(queues).split(' ') {
            let queue = at(queues, name).unwrap();
            assert_eq!(matches!(queue, Value::Map(_)), is_map);
            assert_eq!(names(queue), QUEUE);
        }
        assert_eq!(int(&info, "min-window"), 10);
        assert_eq!(int(&info, "hour-window"), 60);
    }
    // A node keeps the windows that it was created with.
    server.ask::<()>("CONFIG SET agg.min-window 20");
    let (old, new): (Value, Value) = (server.ask("AGG.INFO n"), {
        server.ask::<()>("AGG.LOG other text");
        server.ask("AGG.INFO other")
    });
    let windows = (int(&old, "min-window"), int(&new, "min-window"));
    assert_eq!(windows, (10, 20));
}

#[test]
fn info_counts_what_a_node_holds() {
    let Some(server) = Server::start() else {
        return;
    };
    add_all(&server, "METRIC", &some("m", 3));
    add_all(&server, "ERROR", &some("e", 2));
    add_all(&server, "REALITY", &some("r", 4));
    server.ask::<()>("AGG.POP n REALITY COUNT 1");
    let info: Value = server.ask("AGG.INFO n");
    for (field, n) in [("metrics", 3), ("errors", 2), ("realities", 4)] {
        assert_eq!(int(&info, field), n, "{field}");
    }
    let bytes = int(&info, "bytes");
    assert!(bytes > 0);
    server.ask::<()>("AGG.FORGET n REALITY r0");
    let info: Value = server.ask("AGG.INFO n");
    assert_eq!(int(&info, "realities"), 3, "those gone are apart");
    server.ask::<()>("AGG.FETCH n ERROR LEASE 600000 COUNT 1");
    for (queue, length, leased) in [("MIN", 0, 0), ("ERROR", 2, 1), ("REALITY", 4, 0)] {
        assert_eq!(of_queue(&server, "n", queue, "length"), length, "{queue}");
        assert_eq!(of_queue(&server, "n", queue, "leased"), leased, "{queue}");
        let bytes = of_queue(&server, "n", queue, "bytes");
        assert_eq!(bytes > 0, length > 0, "{queue}");
    }
    add_all(&server, "METRIC", &some("more", 1000));
    assert!(int(&server.ask("AGG.INFO n"), "bytes") > bytes + 1000 * 50);
}

#[test]
fn info_shows_the_age_of_the_oldest_record() {
    let Some(server) = Server::start() else {
        return;
    };
    let first: i64 = server.ask("AGG.LOG n text");
    until("it is old", || {
        (of_queue(&server, "n", "LOG", "oldest") >= 200).then_some(())
    });
    let before = now_ms();
    let age = of_queue(&server, "n", "LOG", "oldest");
    let after = now_ms();
    let queued = first / 1000;
    assert!(
        (before - queued - 1..=after - queued + 1).contains(&age),
        "{age}"
    );
    until("the server tells it too", || {
        (of_server(&server, "log_oldest") >= 200).then_some(())
    });
    let ack = format!("AGG.ACK n LOG {first}");
    let replies = together(&server, &["AGG.LOG n text", &ack, "AGG.INFO n"]);
    let log = at(at(&replies[2], "queues").unwrap(), "LOG").unwrap();
    assert!(int(log, "oldest") < 200, "the next is young: {log:?}");
    server.ask::<()>("AGG.POP n LOG");
    assert_eq!(of_queue(&server, "n", "LOG", "oldest"), 0);
    assert_eq!(of_server(&server, "log_oldest"), 0);
}

/// Seven bits to a byte, the lowest first.
fn varint(mut n: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while n >= 128 {
        bytes.push(n as u8 | 128);
        n >>= 7;
    }
    bytes.push(n as u8);
    bytes
}

/// If the clock was set back, ids lie ahead of it and show no age. So do ids of another server.
#[test]
fn record_with_an_id_ahead_of_the_clock_has_an_age_that_grows() {
    let Some(server) = Server::start() else {
        return;
    };
    server.ask::<i64>("AGG.LOG n first");
    let now = now_ms();
    // A payload of effects: its version, the clock, the first id, a log entry.
    let clock = varint(now as u64 * 2);
    let id = varint((now as u64 + 1_800_000) * 1_000);
    let record = [b"\x02\x05ahead\0\x03", &clock[..]].concat();
    let payload = [&[2], &clock[..], &id, &record].concat();
    server.send::<()>(&[b"AGG.APPLY", b"n", &payload]);
    server.ask::<()>("AGG.POP n LOG COUNT 1");
    until("the age has grown", || {
        let of_node = of_queue(&server, "n", "LOG", "oldest");
        (of_node >= 200 && of_server(&server, "log_oldest") >= 200).then_some(())
    });
    // Records queued after it get an id ahead of the clock, too.
    let id: i64 = server.ask("AGG.LOG n behind");
    assert!(id / 1_000 > now_ms() + 1_000_000);
    let before = of_queue(&server, "n", "LOG", "oldest");
    server.ask::<()>("AGG.POP n LOG COUNT 1");
    let age = of_queue(&server, "n", "LOG", "oldest");
    assert!(age <= before, "{age}: it is younger");
    until("its age has grown", || {
        (of_queue(&server, "n", "LOG", "oldest") > before).then_some(())
    });
}

#[test]
fn info_agg_has_its_fields_in_order() {
    let Some(server) = Server::start() else {
        return;
    };
    let mut expected: Vec<String> =
        "nodes metrics errors realities forgotten sources held max_memory max_node_memory"
            .split(' ')
            .map(str::to_owned)
            .collect();
    for queue in ["min", "hour", "log", "error", "reality"] {
        expected.extend(QUEUE.split(' ').map(|field| format!("{queue}_{field}")));
    }
    expected.extend(
        "late late_min late_hour forgotten_dropped sources_dropped clock_back suspect_diff truncated \
         new_errors_trace new_errors_debug new_errors_info new_errors_notice new_errors_warning new_errors_error \
         new_errors_critical imported import_duplicates import_refused"
            .split(' ')
            .map(str::to_owned),
    );
    for reason in
        "argument future type max_series max_realities max_memory max_node_memory queue_import"
            .split(' ')
    {
        expected.push(format!("refused_{reason}"));
    }
    for reason in "queue_full max_memory max_errors max_gone history max_node_memory".split(' ') {
        expected.push(format!("dropped_{reason}"));
        expected.push(format!("dropped_{reason}_last"));
    }
    let names: Vec<String> = info_agg(&server).into_iter().map(|field| field.0).collect();
    assert_eq!(names, expected);
    // A server that was just started has counted nothing.
    for (name, value) in info_agg(&server) {
        assert!(
            value == 0 || name == "held" || name == "max_memory",
            "{name}:{value}"
        );
    }
    // It is part of INFO everything, too.
    let all: String = server.ask("INFO everything");
    assert!(all.contains("agg_max_memory:268435456"));
}

#[test]
fn info_agg_sums_over_the_nodes_of_all_databases() {
    let Some(server) = Server::start() else {
        return;
    };
    let empty = of_server(&server, "held");
    let mut there = server.connection();
    ask::<()>(&mut there, "SELECT 3");
    for _ in 0..2 {
        add_all(&server, "METRIC", &some("m", 3));
        ask::<()>(&mut there, "AGG.STAT n m 1");
        ask::<()>(&mut there, "AGG.ERROR n text KEY k");
        ask::<()>(&mut there, "AGG.REALITY n k model 1");
    }
    server.ask::<()>("AGG.LOG n text");
    server.ask::<()>("AGG.LOG other text");
    ask::<()>(&mut there, "AGG.FETCH n ERROR REALITY");
    server.ask::<()>("AGG.FETCH other LOG");
    for (field, sum) in [
        ("nodes", 3),
        ("metrics", 4),
        ("errors", 1),
        ("realities", 1),
        ("log_length", 2),
        ("log_leased", 1),
        ("error_length", 1),
        ("error_leased", 1),
        ("reality_leased", 1),
        ("min_length", 0),
    ] {
        assert_eq!(of_server(&server, field), sum, "{field}");
    }
    let bytes: i64 = ["n", "other"]
        .map(|n| of_queue(&server, n, "LOG", "bytes"))
        .iter()
        .sum();
    assert_eq!(of_server(&server, "log_bytes"), bytes);
    let held = of_server(&server, "held");
    assert!(empty < held && held < of_server(&server, "max_memory"));
    ask::<()>(&mut there, "DEL n");
    server.ask::<()>("DEL other");
    for (field, sum) in [
        ("nodes", 1),
        ("metrics", 3),
        ("errors", 0),
        ("log_leased", 0),
    ] {
        // A server may free them in a background thread.
        until(&format!("{field} is {sum}"), || {
            (of_server(&server, field) == sum).then_some(())
        });
    }
    until("less is held", || {
        (of_server(&server, "held") < held).then_some(())
    });
    server.ask::<()>("CONFIG SET agg.max-memory 100mb");
    assert_eq!(of_server(&server, "max_memory"), 100 << 20);
}

#[test]
fn drops_are_counted_by_queue_and_by_reason_with_the_time_of_the_last() {
    let Some(server) = Server::with_settings("queue-log 1024 max-errors 2") else {
        return;
    };
    let before = now_ms();
    let logged = 100;
    (0..logged).for_each(|_| server.ask::<()>("AGG.LOG n text"));
    add_all(&server, "ERROR", &some("e", 5));
    let after = now_ms();
    let left = of_queue(&server, "n", "LOG", "length");
    assert!(0 < left && left < logged);
    assert!(of_queue(&server, "n", "LOG", "bytes") <= 1024);
    assert_eq!(of_queue(&server, "n", "LOG", "dropped"), logged - left);
    assert_eq!(of_queue(&server, "n", "ERROR", "dropped"), 3);
    for (queue, reason) in [("LOG", "queue_full"), ("ERROR", "max_errors")] {
        let dropped = of_queue(&server, "n", queue, "dropped");
        let field = format!("{}_dropped", queue.to_lowercase());
        assert_eq!(of_server(&server, &field), dropped);
        assert_eq!(of_server(&server, &format!("dropped_{reason}")), dropped);
        let last = of_server(&server, &format!("dropped_{reason}_last"));
        assert!((before..=after).contains(&last), "{reason}: {last}");
    }
}

#[test]
fn undrained_ends_of_objects_are_dropped_and_counted() {
    let Some(server) = Server::with_settings("max-realities 2") else {
        return;
    };
    let before = now_ms();
    for i in 0..5 {
        server.ask::<()>(&format!("AGG.REALITY n r{i} model 1"));
        server.ask::<()>(&format!("AGG.FORGET n REALITY r{i}"));
    }
    assert_eq!(of_queue(&server, "n", "REALITY", "length"), 2);
    assert_eq!(of_queue(&server, "n", "REALITY", "dropped"), 3);
    assert_eq!(of_server(&server, "dropped_max_gone"), 3);
    assert!((before..=now_ms()).contains(&of_server(&server, "dropped_max_gone_last")));
}

#[test]
fn truncated_texts_are_counted() {
    let Some(server) = Server::with_settings("max-item-size 100") else {
        return;
    };
    let long = "x".repeat(101);
    server.ask::<()>(&format!("AGG.LOG n {long}"));
    server.ask::<()>(&format!("AGG.ERROR n {long} PUBLIC {long}"));
    assert_eq!(int(&server.ask("AGG.INFO n"), "truncated"), 3);
    assert_eq!(of_server(&server, "truncated"), 3);
}

#[test]
fn rejections_are_counted_by_reason_for_the_node_and_the_server() {
    let Some(server) = Server::with_settings("max-series 1 max-realities 1") else {
        return;
    };
    server.ask::<()>("AGG.STAT n m 1");
    server.ask::<()>("AGG.REALITY n r model 1");
    for line in [
        "AGG.STAT n m x",
        "AGG.STAT n m 1 AT 4200000000000",
        "AGG.STAT n m 1 DIFF",
        "AGG.STAT n new 1",
        "AGG.REALITY n new model 1",
    ] {
        server.error(line);
    }
    let info: Value = server.ask("AGG.INFO n");
    let rejected = at(&info, "refused").unwrap();
    let counted = |reason: &str| {
        let of_server = of_server(&server, &format!("refused_{}", reason.replace('-', "_")));
        (int(rejected, reason), of_server)
    };
    let reasons = ["argument", "future", "type", "max-series", "max-realities"];
    let found = reasons.map(|reason| (reason, counted(reason)));
    assert_eq!(found, reasons.map(|reason| (reason, (1, 1))));
}

#[test]
fn rejections_for_lack_of_memory_are_counted() {
    let Some(server) = Server::with_settings("max-memory 1mb") else {
        return;
    };
    let long = "x".repeat(60_000);
    let rejected = (0..100)
        .filter(|i| {
            let line = format!("AGG.REALITY n r{i} model \"{long}\"");
            let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
            send::<i64>(&mut server.connection(), &words).is_err()
        })
        .count() as i64;
    assert!(rejected > 0);
    let info: Value = server.ask("AGG.INFO n");
    assert_eq!(int(at(&info, "refused").unwrap(), "max-memory"), rejected);
    assert_eq!(of_server(&server, "refused_max_memory"), rejected);
    assert!(of_server(&server, "held") <= 1 << 20);
}

#[test]
fn counters_restart_with_the_server() {
    let Some(mut server) = Server::start() else {
        return;
    };
    let start = past_hour();
    server.ask::<()>(&format!("AGG.STAT n m 5 DIFF AT {start}"));
    server.ask::<()>(&format!("AGG.STAT n m 4 DIFF AT {}", start - 1));
    assert_eq!(int(&server.ask("AGG.INFO n"), "late"), 1);
    let digest = server.digest("n");
    server.ask::<()>("SAVE");
    server.restart();
    assert_eq!(int(&server.ask("AGG.INFO n"), "late"), 0);
    assert_eq!(of_server(&server, "late"), 0);
    assert_eq!(of_server(&server, "nodes"), 1);
    assert_eq!(server.digest("n"), digest);
}

#[test]
fn info_agg_counts_new_errors_by_severity() {
    let Some(server) = Server::start() else {
        return;
    };
    for (key, level) in [
        ("a", "CRITICAL"),
        ("b", "8"),
        ("c", "7"),
        ("d", "0"),
        // Known ones.
        ("a", "CRITICAL"),
        ("c", "9"),
    ] {
        server.ask::<Value>(&format!("AGG.ERROR n m KEY {key} LEVEL {level}"));
    }
    for (severity, count) in [
        ("trace", 1),
        ("debug", 0),
        ("warning", 0),
        ("error", 2),
        ("critical", 1),
    ] {
        let field = format!("new_errors_{severity}");
        assert_eq!(of_server(&server, &field), count, "{severity}");
    }
}
