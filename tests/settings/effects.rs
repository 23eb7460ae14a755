//! The effect of each setting on nodes, queues, windows and lifetimes.

use super::*;

/// A time long ago, at the start of an hour.
fn long_ago() -> i64 {
    (now_ms() / 3_600_000 - 100) * 3_600_000
}

#[test]
fn max_series_bounds_the_metrics_of_a_node() {
    let Some(server) = Server::start() else {
        return;
    };
    let _: Value = server.ask("AGG.MSTAT n VALUES a 1 b 1");
    set(&server, "agg.max-series 2");
    let error = server.error("AGG.STAT n c 1");
    assert!(
        error.starts_with("AGGFULL ") && error.contains("agg.max-series (2)"),
        "{error}"
    );
    assert_eq!(server.ask::<i64>("AGG.STAT n a 2"), 1);
    assert_eq!(server.ask::<i64>("AGG.STAT other c 2"), 1);
    set(&server, "agg.max-series 3");
    assert_eq!(server.ask::<i64>("AGG.STAT n c 1"), 1);
}

#[test]
fn max_errors_bounds_the_errors_of_a_node() {
    let Some(server) = Server::with_settings("max-errors 3") else {
        return;
    };
    for i in 0..5 {
        let _: Value = server.ask(&format!("AGG.ERROR n e KEY e{i}"));
    }
    assert_eq!(int(&server.ask("AGG.INFO n"), "errors"), 3);
    set(&server, "agg.max-errors 4");
    for i in 5..8 {
        let _: Value = server.ask(&format!("AGG.ERROR n e KEY e{i}"));
    }
    assert_eq!(int(&server.ask("AGG.INFO n"), "errors"), 4);
}

#[test]
fn max_realities_bounds_the_objects_of_a_node() {
    let Some(server) = Server::start() else {
        return;
    };
    set(&server, "agg.max-realities 1");
    assert_eq!(server.ask::<i64>("AGG.REALITY n a m {}"), 1);
    let error = server.error("AGG.REALITY n b m {}");
    assert!(
        error.starts_with("AGGFULL ") && error.contains("agg.max-realities (1)"),
        "{error}"
    );
    assert_eq!(server.ask::<i64>("AGG.REALITY n a m []"), 1);
}

#[test]
fn max_memory_bounds_the_records_of_a_node() {
    let Some(server) = Server::start() else {
        return;
    };
    set(&server, "agg.max-memory 1mb");
    let mut c = server.connection();
    let mut n = 0;
    let error = until("memory is full", || {
        n += 1;
        assert!(n < 20_000, "20000 errors fit a megabyte");
        let line = format!("AGG.ERROR n e{n} PUBLIC {}", "x".repeat(400));
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        send::<Value>(&mut c, &words).err()
    });
    assert_eq!(error.code(), Some("AGGFULL"));
    let detail = error.detail().unwrap();
    assert!(
        detail.contains("agg.max-memory") && detail.contains("1048576"),
        "{detail}"
    );
    set(&server, "agg.max-memory 2mb");
    let _: Value = server.ask("AGG.ERROR n one.more");
}

#[test]
fn max_memory_bounds_the_records_of_a_requeue() {
    let Some(server) = Server::with_settings("max-memory 1mb") else {
        return;
    };
    // Errors that are held and do not wait, until there is no room.
    let script = "for i = 1, 100000 do
        local reply = redis.pcall('AGG.ERROR', KEYS[1], 'e', 'KEY', ARGV[1] .. i)
        if reply.err then return reply.err end
    end";
    for prefix in ["a", "b", "c"] {
        let why: String = server.send(&[b"EVAL", script.as_bytes(), b"1", b"n", prefix.as_bytes()]);
        assert!(why.starts_with("AGGFULL "), "{why}");
        let _: Value = server.ask("AGG.POP n ERROR COUNT 10000");
    }
    let _: String = server.send(&[b"EVAL", script.as_bytes(), b"1", b"n", b"d"]);
    let held = || -> i64 { server.info_field("agg", "agg_held") };
    assert!(held() <= 1 << 20, "{} are held", held());
    // It is rejected, or it fits.
    let _ = send::<i64>(&mut server.connection(), &[b"AGG.REQUEUE", b"n", b"ERROR"]);
    assert!(held() <= 1 << 20, "{} are held after a requeue", held());
}

#[test]
fn queues_are_bounded_in_bytes() {
    let Some(server) = Server::start() else {
        return;
    };
    set(
        &server,
        "agg.queue-log 4kb agg.queue-min 4kb agg.queue-hour 4kb",
    );
    let start = long_ago() - 60 * 3_600_000;
    for i in 0..150 {
        let _: i64 = server.ask(&format!("AGG.LOG n {}", "x".repeat(200)));
        let at = start + i * 3_600_000;
        let _: i64 = server.ask(&format!("AGG.STAT n a.metric {i} AT {at}"));
    }
    for queue in ["LOG", "MIN", "HOUR"] {
        assert!(of_queue(&server, "n", queue, "dropped") > 0, "{queue}");
        let info: Value = server.ask("AGG.INFO n");
        let queue = at(at(&info, "queues").unwrap(), queue).unwrap().clone();
        assert!(int(&queue, "bytes") <= 4096, "{queue:?}");
        assert!(int(&queue, "length") > 5, "{queue:?}");
    }
    // Another setting holds for the next record.
    let before = of_queue(&server, "n", "LOG", "dropped");
    set(&server, "agg.queue-log 1mb");
    (0..90).for_each(|_| {
        let _: i64 = server.ask(&format!("AGG.LOG n {}", "x".repeat(200)));
    });
    assert_eq!(of_queue(&server, "n", "LOG", "dropped"), before);
}

#[test]
fn max_item_size_bounds_one_text() {
    let Some(server) = Server::start() else {
        return;
    };
    set(&server, "agg.max-item-size 64");
    let long = "x".repeat(100);
    let _: i64 = server.ask(&format!("AGG.LOG n {long}"));
    let message = server.peek("n", "LOG")[0]["message"].clone();
    let message = message.as_str().unwrap();
    assert!(message.starts_with("xxx"), "{message}");
    let (kept, mark) = message.split_once('…').unwrap();
    assert_eq!(mark, format!("[+{} bytes]", 100 - kept.len()));
    assert!(kept.len() <= 64);
    for line in [
        format!("AGG.STAT n {long} 1"),
        format!("AGG.REALITY n k m \"{long}\""),
        format!("AGG.LOG n hello TAGS {long}"),
    ] {
        assert!(server.error(&line).starts_with("ERR "), "{line}");
    }
    set(&server, "agg.max-item-size 100");
    assert_eq!(server.ask::<i64>(&format!("AGG.STAT n {long} 1")), 1);
}

#[test]
fn window_settings_apply_to_new_nodes() {
    let Some(server) = Server::start() else {
        return;
    };
    let windows = |node: &str| {
        let info = server.ask(&format!("AGG.INFO {node}"));
        (int(&info, "min-window"), int(&info, "hour-window"))
    };
    let _: i64 = server.ask("AGG.LOG old hello");
    set(&server, "agg.min-window 60 agg.hour-window 600");
    let _: i64 = server.ask("AGG.LOG new hello");
    let _: i64 = server.ask("AGG.LOG old hello");
    assert_eq!(windows("old"), (300, 3600));
    assert_eq!(windows("new"), (60, 600));
    let start = long_ago();
    for at in [start, start + 60_000, start + 700_000] {
        for node in ["old", "new"] {
            let _: i64 = server.ask(&format!("AGG.STAT {node} m 1 AT {at}"));
        }
    }
    let of = |node: &str| -> Vec<(i64, i64)> {
        let records = server.peek(node, "MIN");
        let start_of = |r: &serde_json::Value| r["start"].as_i64().unwrap() - start;
        let one = |r: &serde_json::Value| (r["window"].as_i64().unwrap(), start_of(r));
        records.iter().map(one).collect()
    };
    assert_eq!(of("old"), [(300, 0)]);
    assert_eq!(of("new"), [(60, 0), (60, 60_000)]);
}

#[test]
fn histories_are_as_long_as_configured() {
    let Some(server) = Server::with_settings("min-history 3 hour-history 0") else {
        return;
    };
    let start = long_ago();
    let closed = |window: &str| -> usize {
        let windows: Value = server.ask(&format!("AGG.RANGE n m {window}"));
        let is_closed = |window: &&Value| int(window, "closed") == 1;
        list(&windows).iter().filter(is_closed).count()
    };
    let mut hour = 0;
    let mut report = |hours: i64| {
        for _ in 0..hours {
            let at = start + hour * 3_600_000;
            let _: i64 = server.ask(&format!("AGG.STAT n m 1 AT {at}"));
            hour += 1;
        }
    };
    report(10);
    assert_eq!((closed("MIN"), closed("HOUR")), (3, 0));
    set(&server, "agg.min-history 5 agg.hour-history 2");
    report(10);
    assert_eq!((closed("MIN"), closed("HOUR")), (5, 2));
    set(&server, "agg.min-history 0 agg.hour-history 1");
    report(1);
    assert_eq!((closed("MIN"), closed("HOUR")), (0, 1));
}

#[test]
fn flush_delay_keeps_windows_open() {
    let Some(server) = Server::with_settings(HELD_OPEN) else {
        return;
    };
    make_short(&mut server.connection(), "n");
    let _: i64 = server.ask("AGG.STAT n m 1");
    let start = now_ms();
    until("the window is over", || {
        (now_ms() > start + 1300).then_some(())
    });
    assert_eq!(server.peek("n", "MIN").len(), 0);
    set(&server, "agg.flush-delay-ms 0");
    until("the window closes", || server.peek("n", "MIN").pop());
}

#[test]
fn max_future_bounds_times_ahead_of_the_clock() {
    let Some(server) = Server::start() else {
        return;
    };
    let ahead = |ms: i64| format!("AGG.LOG n hello AT {}", now_ms() + ms);
    assert!(server.error(&ahead(90_000)).contains("max-future-ms"));
    let _: i64 = server.ask(&ahead(30_000));
    set(&server, "agg.max-future-ms 1000");
    assert!(server.error(&ahead(30_000)).contains("max-future-ms"));
    set(&server, "agg.max-future-ms 7200000");
    let _: i64 = server.ask(&ahead(3_600_000));
}

#[test]
fn min_interval_is_the_shortest_time_of_a_rate() {
    let Some(server) = Server::start() else {
        return;
    };
    let start = long_ago();
    let average = |metric: &str| {
        for (after, total) in [(0, 0), (100, 10)] {
            let at = start + after;
            let _: i64 = server.ask(&format!("AGG.STAT n {metric} {total} DIFF AT {at}"));
        }
        let windows: Value = server.ask(&format!("AGG.RANGE n {metric} MIN"));
        double(&list(&windows)[0], "avg")
    };
    assert_eq!(average("a"), 20.0);
    set(&server, "agg.min-interval-ms 50");
    assert_eq!(average("b"), 100.0);
}

#[test]
fn max_gap_is_the_longest_time_between_samples_of_a_counter() {
    let Some(server) = Server::start() else {
        return;
    };
    let start = long_ago();
    let gaps = |metric: &str| {
        for (after, total) in [(0, 0), (10_000, 10)] {
            let at = start + after;
            let _: i64 = server.ask(&format!("AGG.STAT n {metric} {total} DIFF AT {at}"));
        }
        int(&server.ask(&format!("AGG.GET n METRIC {metric}")), "gaps")
    };
    assert_eq!(gaps("a"), 0);
    set(&server, "agg.max-gap 5");
    assert_eq!(gaps("b"), 1);
}

#[test]
fn error_interval_is_the_time_until_an_error_is_requeued() {
    let Some(server) = Server::start() else {
        return;
    };
    let _: Value = server.ask("AGG.ERROR n broken KEY e");
    let _: Value = server.ask("AGG.POP n ERROR");
    let _: Value = server.ask("AGG.ERROR n broken KEY e");
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert_eq!(server.peek("n", "ERROR").len(), 0);
    set(&server, "agg.error-interval-ms 100");
    let record = until("the error comes again", || server.peek("n", "ERROR").pop());
    assert_eq!(record["occurrences"], 2);
}

#[test]
fn lifetimes_expire_metrics_errors_and_objects() {
    let Some(server) = Server::start() else {
        return;
    };
    let _: i64 = server.ask("AGG.STAT n m 1");
    let _: Value = server.ask("AGG.ERROR n broken KEY e");
    let _: Value = server.ask("AGG.POP n ERROR");
    let _: i64 = server.ask("AGG.REALITY n k m {}");
    let _: i64 = server.ask("AGG.REALITY n stays m {} TTL 0");
    let held = || {
        let info = server.ask("AGG.INFO n");
        (
            int(&info, "metrics"),
            int(&info, "errors"),
            int(&info, "realities"),
        )
    };
    std::thread::sleep(std::time::Duration::from_millis(1300));
    assert_eq!(held(), (1, 1, 2));
    set(&server, "agg.series-ttl 1");
    until("the metric ends", || (held().0 == 0).then_some(()));
    set(&server, "agg.error-ttl 1");
    until("the error ends", || (held().1 == 0).then_some(()));
    set(&server, "agg.reality-ttl 1");
    until("the object ends", || {
        let records = server.peek("n", "REALITY");
        records.iter().any(|r| r["gone"] == true).then_some(())
    });
    let stays: Value = server.ask("AGG.GET n REALITY stays");
    assert_ne!(stays, Value::Nil);
}

/// Returns the record of a closed window of one metric: all of its values are reported, then a later one.
fn record_of(server: &Server, metric: &str, options: &str) -> serde_json::Value {
    let at = long_ago();
    for value in 1..=100 {
        let _: i64 = server.ask(&format!("AGG.STAT n {metric} {value} AT {at}{options}"));
    }
    let _: i64 = server.ask(&format!("AGG.STAT n {metric} 1 AT {}", at + 300_000));
    server.peek("n", "MIN").pop().unwrap()
}

#[test]
fn percentiles_and_histograms_are_as_the_settings_say() {
    let Some(server) = Server::start() else {
        return;
    };
    let first = record_of(&server, "a", " HIST");
    let near = |record: &serde_json::Value, field: &str, value: f64| {
        let shown = record[field].as_f64().unwrap();
        assert!((shown / value - 1.0).abs() < 0.0109, "{field}: {record}");
    };
    for (field, value) in [("p50", 50.0), ("p90", 90.0), ("p95", 95.0), ("p99", 99.0)] {
        near(&first, field, value);
    }
    assert_eq!(first.get("hist"), None);
    set(&server, "agg.percentiles '99.9 25' agg.hist-records yes");
    let second = record_of(&server, "b", " HIST");
    near(&second, "p25", 25.0);
    near(&second, "p99_9", 100.0);
    assert_eq!(second.get("p50"), None);
    assert_eq!(second["hist"]["scale"], 5);
    set(&server, "agg.percentiles '' agg.hist-records no");
    let third = record_of(&server, "c", " HIST");
    assert!(third.get("p50").is_none() && third.get("hist").is_none());
}

#[test]
fn hist_match_selects_new_metrics() {
    let Some(server) = Server::start() else {
        return;
    };
    let _: i64 = server.ask(&format!("AGG.STAT n old.ms 1 AT {}", long_ago()));
    set(&server, "agg.hist-match '*.ms'");
    assert!(record_of(&server, "new.ms", "").get("p50").is_some());
    assert!(record_of(&server, "old.ms", "").get("p50").is_none());
    assert!(record_of(&server, "new.bytes", "").get("p50").is_none());
}
