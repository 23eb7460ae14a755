//! Closing: when a window ends and is delivered, wherever its node moved.

use super::*;

#[test]
fn last_windows_of_a_quiet_metric_are_delivered() {
    let Some(server) = Server::with_settings(SHORT) else {
        return;
    };
    let t = now_ms();
    together(
        &server,
        &[3, 1, 2].map(|v| format!("AGG.STAT n m {v} TAGS 'dim:iops location:elgouna' AT {t}")),
    );
    let tags = r#"{"dim":"iops","location":"elgouna"}"#;
    let numbers = (3, [6.0, 2.0, 1.0, 3.0, 2.0]);
    for (queue, length) in [("MIN", 1_000), ("HOUR", 2_000)] {
        let records = arrived(&server, queue, 1);
        assert_eq!(records.len(), 1);
        let start = t / length * length;
        let window = (start, start + length);
        is_record(&records[0], ("m", "ABS"), window, numbers, tags);
        // The id is the clock in microseconds: not before the end of the flush delay.
        assert!(records[0].id / 1_000 >= start + length + 100);
    }
    // Then nothing is open and nothing follows.
    let shown = metric(&server, "m");
    assert!(open(&shown, "min").is_empty() && open(&shown, "hour").is_empty());
    assert_eq!(text(&shown, "last"), "2");
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(
        (look(&server, "MIN").len(), look(&server, "HOUR").len()),
        (1, 1)
    );
}

#[test]
fn active_metric_delivers_every_sample_in_one_record_per_window() {
    let Some(server) = Server::with_settings(SHORT) else {
        return;
    };
    let mut connection = server.connection();
    let mut sent = 0;
    let begin = now_ms();
    while now_ms() < begin + 3_300 {
        assert_eq!(ask::<i64>(&mut connection, "AGG.STAT n m 1"), 1);
        sent += 1;
        std::thread::sleep(std::time::Duration::from_millis(3));
    }
    for (queue, length) in [("MIN", 1_000), ("HOUR", 2_000)] {
        let records = until("all samples are delivered", || {
            let records = server.peek("n", queue);
            let count: i64 = records.iter().map(|r| r["count"].as_i64().unwrap()).sum();
            (count == sent).then_some(records)
        });
        let starts: Vec<i64> = records
            .iter()
            .map(|r| r["start"].as_i64().unwrap())
            .collect();
        assert!(
            starts.windows(2).all(|two| two[1] - two[0] == length),
            "each window once, in order: {starts:?}"
        );
        assert!(starts.len() as i64 >= 3_300 / length);
    }
    let shown = metric(&server, "m");
    assert_eq!((int(&shown, "late"), int(&shown, "late-min")), (0, 0));
    assert_eq!(int(&shown, "samples"), sent);
}

#[test]
fn window_stays_open_for_the_flush_delay() {
    let Some(server) = Server::with_settings(HELD_OPEN) else {
        return;
    };
    make_short(&mut server.connection(), "n");
    let t = past();
    server.ask::<i64>(&format!("AGG.STAT n m 1 AT {t}"));
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert!(look(&server, "MIN").is_empty());
    assert_eq!(server.ask::<i64>(&format!("AGG.STAT n m 2 AT {t}")), 1);
    server.ask::<()>("CONFIG SET agg.flush-delay-ms 100");
    assert_eq!(of(&arrived(&server, "MIN", 1), "m", "count"), [2]);
    assert_eq!(of(&arrived(&server, "HOUR", 1), "m", "count"), [2]);
}

#[test]
fn replayed_data_closes_windows_on_the_way() {
    let Some(server) = Server::with_settings(SHORT) else {
        return;
    };
    let t = past();
    let mut lines: Vec<String> = (0..6)
        .map(|i| format!("AGG.STAT n m {i} AT {}", t + i * 1_000))
        .collect();
    lines.push("AGG.PEEK n MIN".into());
    lines.push("AGG.PEEK n HOUR".into());
    let replies = together(&server, &lines);
    assert!(replies[..6].iter().all(|reply| *reply == Value::Int(1)));
    let sums = |reply: &Value| of(&queued_records(reply), "m", "sum");
    assert_eq!(sums(&replies[6]), [0.0, 1.0, 2.0, 3.0, 4.0]);
    assert_eq!(sums(&replies[7]), [1.0, 5.0]);
    assert_eq!(arrived(&server, "MIN", 6).len(), 6);
    assert_eq!(
        of(&arrived(&server, "HOUR", 3), "m", "sum"),
        [1.0, 5.0, 9.0]
    );
}

/// A third window once closed the first long before the end of the flush delay.
#[test]
fn flush_delay_of_three_windows_keeps_four_open() {
    let settings = "min-window 300 hour-window 600 flush-delay-ms 900000 max-future-ms 3600000";
    let Some(server) = Server::with_settings(settings) else {
        return;
    };
    let t = now_ms() / 300_000 * 300_000;
    for i in [0, -300_000, -600_000, 300_000, -600_000, 0] {
        assert_eq!(
            server.ask::<i64>(&format!("AGG.STAT n m 1 AT {}", t + i)),
            1
        );
    }
    let shown = metric(&server, "m");
    let starts: Vec<i64> = open(&shown, "min")
        .iter()
        .map(|b| int(b, "start") - t)
        .collect();
    assert_eq!(starts, [-600_000, -300_000, 0, 300_000]);
    assert_eq!(
        (int(&shown, "late-min"), look(&server, "MIN").len()),
        (0, 0)
    );
    // A fifth closes the first.
    server.ask::<i64>(&format!("AGG.STAT n m 1 AT {}", t + 600_000));
    let closed = look(&server, "MIN");
    assert_eq!(of(&closed, "m", "count"), [2]);
    assert_eq!(of(&closed, "m", "start"), [t - 600_000]);
}

#[test]
fn third_window_closes_the_oldest_of_two_open_ones() {
    let settings = "min-window 300 hour-window 2419200 flush-delay-ms 300000 max-future-ms 3600000";
    let Some(server) = Server::with_settings(settings) else {
        return;
    };
    let t = now_ms();
    let early = t + 300_000;
    let counts = |shown: &Value| -> Vec<i64> {
        open(shown, "min").iter().map(|b| int(b, "count")).collect()
    };
    for (value, at) in [(1, t), (2, early), (3, t), (4, early)] {
        assert_eq!(
            server.ask::<i64>(&format!("AGG.STAT n m {value} AT {at}")),
            1
        );
    }
    let shown = metric(&server, "m");
    assert_eq!(counts(&shown), [2, 2]);
    assert_eq!(int(&shown, "at"), early);
    assert!(look(&server, "MIN").is_empty());
    server.ask::<i64>(&format!("AGG.STAT n m 5 AT {}", early + 300_000));
    assert_eq!(counts(&metric(&server, "m")), [2, 1]);
    let closed = look(&server, "MIN");
    assert_eq!(of(&closed, "m", "sum"), [4.0]);
    let start = t / 300_000 * 300_000;
    assert_eq!(of(&closed, "m", "start"), [start]);
    // Its MIN window has closed: it counts only in the HOUR window.
    assert_eq!(server.ask::<i64>(&format!("AGG.STAT n m 6 AT {t}")), 1);
    assert_eq!(int(&metric(&server, "m"), "late-min"), 1);
    assert_eq!(look(&server, "MIN").len(), 1);
}

#[test]
fn sample_before_the_open_windows_counts_until_the_flush_delay_has_passed() {
    let settings = "min-window 300 hour-window 2419200 flush-delay-ms 900000";
    let Some(server) = Server::with_settings(settings) else {
        return;
    };
    let t = now_ms();
    for name in ["m", "o"] {
        server.ask::<i64>(&format!("AGG.STAT n {name} 1 AT {t}"));
    }
    assert_eq!(
        server.ask::<i64>(&format!("AGG.STAT n m 2 AT {}", t - 600_000)),
        1
    );
    let shown = metric(&server, "m");
    assert_eq!(int(&shown, "late-min"), 0);
    let starts: Vec<i64> = open(&shown, "min")
        .iter()
        .map(|b| int(b, "start"))
        .collect();
    let start = t / 300_000 * 300_000;
    assert_eq!(starts, [start - 600_000, start]);
    server.ask::<()>("CONFIG SET agg.flush-delay-ms 100");
    assert_eq!(
        server.ask::<i64>(&format!("AGG.STAT n o 2 AT {}", t - 600_000)),
        1
    );
    assert_eq!(int(&metric(&server, "o"), "late-min"), 1);
}

#[test]
fn timer_finds_a_node_wherever_it_moved() {
    // Returns the database and the name of the node afterwards.
    for (command, db, name) in [
        ("RENAME n there", 0, "there"),
        ("COPY n there", 0, "there"),
        ("COPY n there DB 3", 3, "there"),
        ("MOVE n 3", 3, "n"),
        ("SWAPDB 0 3", 3, "n"),
    ] {
        let Some(server) = Server::with_settings(SHORT) else {
            return;
        };
        let report = format!("AGG.STAT n m 5 AT {}", past());
        together(&server, &[&report, command]);
        let mut connection = server.connection();
        ask::<()>(&mut connection, &format!("SELECT {db}"));
        let records = until(&format!("records after {command}"), || {
            let records =
                queued_records(&ask(&mut connection, &format!("AGG.PEEK {name} MIN HOUR")));
            (records.len() == 2).then_some(records)
        });
        assert_eq!(of(&records, "m", "sum"), [5.0, 5.0], "{command}");
        assert_eq!(of(&records, "m", "node"), [name, name], "{command}");
    }
}

#[test]
fn restored_node_continues_closing_its_windows() {
    let Some(server) = Server::with_settings("min-window 1 hour-window 2 flush-delay-ms 1000")
    else {
        return;
    };
    server.ask::<i64>("AGG.STAT n m 5");
    let dump: Vec<u8> = server.ask("DUMP n");
    server.ask::<i64>("DEL n");
    server.send::<()>(&[b"RESTORE", b"n", b"0", &dump]);
    assert_eq!(of(&arrived(&server, "MIN", 1), "m", "sum"), [5.0]);
    assert_eq!(of(&arrived(&server, "HOUR", 1), "m", "sum"), [5.0]);
}

#[test]
fn deleted_node_does_not_reappear_with_its_windows() {
    let Some(server) = Server::with_settings(SHORT) else {
        return;
    };
    let t = past();
    let lines = [
        format!("AGG.STAT gone m 5 AT {t}"),
        "DEL gone".into(),
        format!("AGG.STAT n m 5 AT {t}"),
    ];
    together(&server, &lines);
    arrived(&server, "HOUR", 1);
    assert_eq!(server.ask::<Vec<String>>("KEYS *"), ["n"]);
}

#[test]
fn thousand_nodes_deliver_their_windows() {
    let Some(server) = Server::with_settings(SHORT) else {
        return;
    };
    let t = past();
    let lines: Vec<String> = (0..1_000)
        .map(|i| format!("AGG.STAT node{i} m 1 AT {t}"))
        .collect();
    together(&server, &lines);
    until("every node has a record in both queues", || {
        let info: String = server.ask("INFO agg");
        let is = |field: &str| info.contains(&format!("{field}:1000\r\n"));
        (is("agg_min_length") && is("agg_hour_length")).then_some(())
    });
}

#[test]
fn scripts_report_like_clients() {
    let Some(server) = Server::with_settings(SHORT) else {
        return;
    };
    let script =
        "redis.call('AGG.STAT', KEYS[1], 'm', 1) return redis.call('AGG.STAT', KEYS[1], 'm', 2)";
    assert_eq!(
        server.send::<i64>(&[b"EVAL", script.as_bytes(), b"1", b"n"]),
        1
    );
    until("both are delivered", || {
        let sums = of(&look(&server, "HOUR"), "m", "sum");
        let sum: f64 = sums.iter().map(|v| v.as_f64().unwrap()).sum();
        (sum == 3.0).then_some(())
    });
}
