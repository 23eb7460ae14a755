//! What time brings about on a real server: windows close and are delivered, late samples are told from good ones, things
//! end and errors are queued again. The windows are a second or two; where several samples belong together they are sent
//! in one MULTI, between whose commands the timer does not run, and with times of their own, so no result depends on how
//! fast a test is.

mod support;

use redis::Value;
use support::*;

/// MIN windows of one second and HOUR windows of two, closed soon.
const SHORT: &str = "min-window 1 hour-window 2 flush-delay-ms 100";

/// MIN windows of one second in HOUR windows of four weeks: only the first close while a test looks.
const LONG_HOUR: &str = "min-window 1 hour-window 2419200 flush-delay-ms 100";

/// Windows of four weeks: none closes by the clock while a test looks.
const CALM: &str = "min-window 2419200 hour-window 2419200";

/// A moment a minute ago at which windows of [`SHORT`] begin.
fn past() -> i64 {
    (now_ms() - 60_000) / 2_000 * 2_000
}

/// The entries of a queue, looked at.
fn look(server: &Server, queue: &str) -> Vec<Entry> {
    entries(&server.ask(&format!("AGG.PEEK n {queue} COUNT 10000")))
}

/// The entries of a queue, as soon as there are so many.
fn arrived(server: &Server, queue: &str, n: usize) -> Vec<Entry> {
    until(&format!("{n} entries in {queue}"), || {
        let all = look(server, queue);
        (all.len() >= n).then_some(all)
    })
}

/// AGG.GET of a metric.
fn metric(server: &Server, name: &str) -> Value {
    server.ask(&format!("AGG.GET n METRIC {name}"))
}

/// The open windows of a length that AGG.GET shows.
fn open(metric: &Value, length: &str) -> Vec<Value> {
    list(at(metric, length).unwrap()).to_vec()
}

/// AGG.RANGE of the metric `m`.
fn range(server: &Server, rest: &str) -> Vec<Value> {
    list(&server.ask(&format!("AGG.RANGE n m {rest}"))).to_vec()
}

/// A record's numbers: count, then sum, avg, min, max and last.
type Numbers = (u64, [f64; 5]);

/// The record of a window, to the letter.
fn record(
    (queue, id): (&str, i64),
    (name, kind): (&str, &str),
    (start, end): (i64, i64),
    (count, [sum, avg, min, max, last]): Numbers,
    tags: &str,
) -> String {
    let window = (end - start) / 1000;
    format!(
        concat!(
            r#"{{"node":"n","queue":"{}","id":{},"metric":"{}","type":"{}","window":{},"start":{},"end":{},"#,
            r#""count":{},"sum":{:?},"avg":{:?},"min":{:?},"max":{:?},"last":{:?},"tags":{}}}"#
        ),
        queue, id, name, kind, window, start, end, count, sum, avg, min, max, last, tags
    )
}

/// Asserts that an entry is the record of a window, to the letter.
fn is_record(
    entry: &Entry,
    metric: (&str, &str),
    (start, end): (i64, i64),
    numbers: Numbers,
    tags: &str,
) {
    assert_eq!(
        entry.text,
        record(
            (&entry.queue, entry.id),
            metric,
            (start, end),
            numbers,
            tags
        )
    );
}

/// A field of all records of a metric in a queue.
fn of(entries: &[Entry], metric: &str, field: &str) -> Vec<serde_json::Value> {
    let records = entries.iter().map(Entry::json);
    records
        .filter(|r| r["metric"] == metric)
        .map(|r| r[field].clone())
        .collect()
}

// Closing

#[test]
fn the_last_windows_of_a_metric_that_went_quiet_are_delivered() {
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
        let entries = arrived(&server, queue, 1);
        assert_eq!(entries.len(), 1);
        let start = t / length * length;
        let window = (start, start + length);
        is_record(&entries[0], ("m", "ABS"), window, numbers, tags);
        // An id is the clock in microseconds: not before the flush delay was over.
        assert!(entries[0].id / 1_000 >= start + length + 100);
    }
    // Then nothing is open, and nothing follows.
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
fn a_metric_that_goes_on_reporting_delivers_every_sample_in_one_record_for_each_window() {
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
fn a_window_stays_open_for_the_flush_delay() {
    let Some(server) = Server::with_settings("min-window 1 hour-window 2 flush-delay-ms 3600000")
    else {
        return;
    };
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
fn replayed_data_closes_as_it_goes() {
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
    let sums = |reply: &Value| of(&entries(reply), "m", "sum");
    assert_eq!(sums(&replies[6]), [0.0, 1.0, 2.0, 3.0, 4.0]);
    assert_eq!(sums(&replies[7]), [1.0, 5.0]);
    assert_eq!(arrived(&server, "MIN", 6).len(), 6);
    assert_eq!(
        of(&arrived(&server, "HOUR", 3), "m", "sum"),
        [1.0, 5.0, 9.0]
    );
}

#[test]
fn around_a_boundary_two_windows_are_open_and_a_third_closes_the_oldest() {
    let settings = "min-window 10 hour-window 2419200 flush-delay-ms 3600000";
    let Some(server) = Server::with_settings(settings) else {
        return;
    };
    let t = now_ms();
    let early = t + 10_000;
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
    server.ask::<i64>(&format!("AGG.STAT n m 5 AT {}", early + 10_000));
    assert_eq!(counts(&metric(&server, "m")), [2, 1]);
    let closed = look(&server, "MIN");
    assert_eq!(of(&closed, "m", "sum"), [4.0]);
    let start = t / 10_000 * 10_000;
    assert_eq!(of(&closed, "m", "start"), [start]);
    // Its window has closed: it counts in the hour alone.
    assert_eq!(server.ask::<i64>(&format!("AGG.STAT n m 6 AT {t}")), 1);
    assert_eq!(int(&metric(&server, "m"), "late-min"), 1);
    assert_eq!(look(&server, "MIN").len(), 1);
}

#[test]
fn a_sample_from_before_the_open_windows_counts_until_its_window_has_passed_by_the_flush_delay() {
    let settings = "min-window 10 hour-window 2419200 flush-delay-ms 3600000";
    let Some(server) = Server::with_settings(settings) else {
        return;
    };
    let t = now_ms();
    for name in ["m", "o"] {
        server.ask::<i64>(&format!("AGG.STAT n {name} 1 AT {t}"));
    }
    assert_eq!(
        server.ask::<i64>(&format!("AGG.STAT n m 2 AT {}", t - 20_000)),
        1
    );
    let shown = metric(&server, "m");
    assert_eq!(int(&shown, "late-min"), 0);
    let starts: Vec<i64> = open(&shown, "min")
        .iter()
        .map(|b| int(b, "start"))
        .collect();
    let start = t / 10_000 * 10_000;
    assert_eq!(starts, [start - 20_000, start]);
    server.ask::<()>("CONFIG SET agg.flush-delay-ms 100");
    assert_eq!(
        server.ask::<i64>(&format!("AGG.STAT n o 2 AT {}", t - 20_000)),
        1
    );
    assert_eq!(int(&metric(&server, "o"), "late-min"), 1);
}

#[test]
fn the_timer_finds_a_node_wherever_it_went() {
    // The database where it then is, and its name there.
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
        let entries = until(&format!("records after {command}"), || {
            let entries = entries(&ask(&mut connection, &format!("AGG.PEEK {name} MIN HOUR")));
            (entries.len() == 2).then_some(entries)
        });
        assert_eq!(of(&entries, "m", "sum"), [5.0, 5.0], "{command}");
        assert_eq!(of(&entries, "m", "node"), [name, name], "{command}");
    }
}

#[test]
fn a_node_that_was_restored_goes_on_closing_its_windows() {
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
fn a_node_that_was_deleted_does_not_come_back_with_its_windows() {
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
fn a_thousand_nodes_deliver_their_windows() {
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
fn scripts_report_as_clients_do() {
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

// Counters

#[test]
fn a_counter_with_its_first_sample_only_delivers_nothing() {
    let Some(server) = Server::with_settings(SHORT) else {
        return;
    };
    let t = past();
    together(
        &server,
        &[
            format!("AGG.STAT n c 1000 DIFF AT {t}"),
            format!("AGG.STAT n witness 1 AT {t}"),
        ],
    );
    for queue in ["MIN", "HOUR"] {
        let entries = arrived(&server, queue, 1);
        assert_eq!(of(&entries, "witness", "count"), [1]);
        assert_eq!(entries.len(), 1, "{entries:?}");
    }
    assert_eq!(text(&metric(&server, "c"), "last"), "1000");
}

#[test]
fn a_counter_delivers_its_increase_and_rates() {
    let Some(server) = Server::with_settings(SHORT) else {
        return;
    };
    let t = past();
    let samples = [(1_000, 0), (1_100, 500), (1_400, 900), (1_400, 1_000)];
    together(
        &server,
        &samples.map(|(total, ms)| format!("AGG.STAT n c {total} DIFF AT {}", t + ms)),
    );
    let min = arrived(&server, "MIN", 2);
    // The rate of the first half second alone: the 400 ms behind it are less than the interval and go into the next.
    let first = (2, [400.0, 400.0 / 0.9, 200.0, 200.0, 200.0]);
    is_record(&min[0], ("c", "DIFF"), (t, t + 1_000), first, "{}");
    // Its rate ends here, with the increase of the window before.
    let second = (1, [0.0, 0.0, 600.0, 600.0, 600.0]);
    is_record(&min[1], ("c", "DIFF"), (t + 1_000, t + 2_000), second, "{}");
    let hour = arrived(&server, "HOUR", 1);
    let both = (3, [400.0, 400.0, 200.0, 600.0, 600.0]);
    is_record(&hour[0], ("c", "DIFF"), (t, t + 2_000), both, "{}");
}

#[test]
fn a_counter_that_restarted_grows_by_its_new_value() {
    let Some(server) = Server::with_settings(SHORT) else {
        return;
    };
    let t = past();
    // Within the interval a lower total is out of order; at its end the counter has restarted.
    let samples = [
        (1_000, 0),
        (1_100, 500),
        (1_000, 999),
        (50, 1_000),
        (70, 1_500),
    ];
    let replies = together(
        &server,
        &samples.map(|(total, ms)| format!("AGG.STAT n c {total} DIFF AT {}", t + ms)),
    );
    assert_eq!(replies, [1, 1, 0, 1, 1].map(Value::Int));
    let hour = arrived(&server, "HOUR", 1);
    let all = (3, [170.0, 170.0 / 1.5, 40.0, 200.0, 40.0]);
    is_record(&hour[0], ("c", "DIFF"), (t, t + 2_000), all, "{}");
    let shown = metric(&server, "c");
    assert_eq!((int(&shown, "restarts"), int(&shown, "late")), (1, 1));
}

#[test]
fn after_a_gap_a_counter_begins_anew() {
    let Some(server) = Server::with_settings(&format!("{SHORT} max-gap 1")) else {
        return;
    };
    let t = past();
    let mut lines = [(0, 0), (10, 1_000), (1_000_000, 2_001)]
        .map(|(total, ms)| format!("AGG.STAT n c {total} DIFF AT {}", t + ms))
        .to_vec();
    lines.push("AGG.PEEK n HOUR".into());
    lines.push("AGG.GET n METRIC c".into());
    lines.push(format!("AGG.STAT n c 1000020 DIFF AT {}", t + 3_001));
    let replies = together(&server, &lines);
    // A second is no gap, a millisecond more is one; the first sample behind it closes what is older, and opens nothing.
    assert_eq!(of(&entries(&replies[3]), "c", "sum"), [10.0]);
    assert_eq!(int(&replies[4], "gaps"), 1);
    assert!(open(&replies[4], "min").is_empty() && open(&replies[4], "hour").is_empty());
    assert_eq!(of(&arrived(&server, "MIN", 2), "c", "sum"), [10.0, 20.0]);
    assert_eq!(of(&arrived(&server, "HOUR", 2), "c", "avg"), [10.0, 20.0]);
    assert_eq!(int(&metric(&server, "c"), "gaps"), 1);
}

#[test]
fn rates_are_taken_over_at_least_the_interval_that_is_set() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    let t = past();
    let burst = |name: &str| {
        let samples = [(0, 0), (10, 100), (20, 200), (30, 1_000)];
        samples.map(|(total, ms)| format!("AGG.STAT n {name} {total} DIFF AT {}", t + ms))
    };
    together(&server, &burst("usual"));
    server.ask::<()>("CONFIG SET agg.min-interval-ms 100");
    together(&server, &burst("short"));
    for (name, min, max) in [("usual", 30.0, 30.0), ("short", 12.5, 100.0)] {
        let window = &open(&metric(&server, name), "min")[0];
        assert_eq!((double(window, "min"), double(window, "max")), (min, max));
        assert_eq!((double(window, "sum"), int(window, "count")), (30.0, 3));
    }
}

#[test]
fn a_window_in_which_no_rate_ended_shows_the_average_over_the_interval() {
    let Some(server) = Server::with_settings(SHORT) else {
        return;
    };
    let t = past();
    together(
        &server,
        &[(0, 0), (10, 100)].map(|(total, ms)| format!("AGG.STAT n c {total} DIFF AT {}", t + ms)),
    );
    // 10 in 100 ms, over the least of 500 ms.
    let numbers = (1, [10.0, 20.0, 20.0, 20.0, 20.0]);
    is_record(
        &arrived(&server, "MIN", 1)[0],
        ("c", "DIFF"),
        (t, t + 1_000),
        numbers,
        "{}",
    );
}

// Late samples

#[test]
fn a_sample_whose_windows_have_closed_is_late_and_changes_nothing() {
    let Some(server) = Server::with_settings(SHORT) else {
        return;
    };
    let t = now_ms();
    server.ask::<i64>(&format!("AGG.STAT n m 5 TAGS a:1 AT {t}"));
    arrived(&server, "MIN", 1);
    arrived(&server, "HOUR", 1);
    let before = server.digest("n");
    assert_eq!(
        server.ask::<i64>(&format!("AGG.STAT n m 99 TAGS a:2 AT {t}")),
        0
    );
    assert_eq!(server.digest("n"), before);
    let shown = metric(&server, "m");
    assert_eq!((int(&shown, "late"), int(&shown, "samples")), (1, 1));
    assert_eq!(text(&shown, "last"), "5");
    assert_eq!(text(at(&shown, "tags").unwrap(), "a"), "1");
    assert_eq!(int(&server.ask("AGG.INFO n"), "late"), 1);
    // What follows is of the next window, and the late one is not in it.
    server.ask::<i64>("AGG.STAT n m 1");
    let max = of(&arrived(&server, "MIN", 2), "m", "max");
    assert_eq!(max, [5.0, 1.0]);
}

#[test]
fn a_sample_whose_min_window_alone_has_closed_counts_in_its_hour() {
    let Some(server) = Server::with_settings(LONG_HOUR) else {
        return;
    };
    let t = now_ms();
    server.ask::<i64>(&format!("AGG.STAT n m 5 AT {t}"));
    arrived(&server, "MIN", 1);
    assert_eq!(server.ask::<i64>(&format!("AGG.STAT n m 7 AT {t}")), 1);
    let shown = metric(&server, "m");
    assert_eq!((int(&shown, "late-min"), int(&shown, "late")), (1, 0));
    let info: Value = server.ask("AGG.INFO n");
    assert_eq!((int(&info, "late-min"), int(&info, "late")), (1, 0));
    server.ask::<i64>("AGG.FORGET n METRIC m");
    assert_eq!(of(&look(&server, "MIN"), "m", "sum"), [5.0]);
    assert_eq!(of(&look(&server, "HOUR"), "m", "sum"), [12.0]);
}

#[test]
fn a_late_total_brings_its_increase_with_the_next_one() {
    let Some(server) = Server::with_settings(LONG_HOUR) else {
        return;
    };
    let t = past();
    let total = |total: i64, ms: i64| format!("AGG.STAT n c {total} DIFF AT {}", t + ms);
    together(&server, &[total(0, 0), total(10, 600)]);
    arrived(&server, "MIN", 1);
    let before = server.digest("n");
    assert_eq!(
        server.ask::<i64>(&total(15, 700)),
        0,
        "its MIN window has closed"
    );
    assert_eq!(server.ask::<i64>(&total(12, 500)), 0, "older than the last");
    assert_eq!(server.digest("n"), before);
    assert_eq!(server.ask::<i64>(&total(40, 1_600)), 1);
    let shown = metric(&server, "c");
    assert_eq!((int(&shown, "late"), int(&shown, "late-min")), (2, 0));
    assert_eq!(double(&open(&shown, "hour")[0], "sum"), 40.0);
    assert_eq!(of(&arrived(&server, "MIN", 2), "c", "sum"), [10.0, 30.0]);
}

// What records carry

#[test]
fn a_record_carries_the_tags_in_force_at_its_windows_last_sample() {
    let Some(server) = Server::with_settings(SHORT) else {
        return;
    };
    let t = past();
    together(
        &server,
        &[
            format!("AGG.STAT n m 1 TAGS a:1 AT {t}"),
            format!("AGG.STAT n m 1 AT {}", t + 100),
            format!("AGG.STAT n m 1 TAGS 'b:2 word' AT {}", t + 1_000),
            format!("AGG.STAT n m 1 TAGS '' AT {}", t + 2_000),
        ],
    );
    let tags = of(&arrived(&server, "MIN", 3), "m", "tags");
    let expected = [r#"{"a":"1"}"#, r#"{"b":"2","word":true}"#, "{}"];
    let expected = expected.map(|text| serde_json::from_str::<serde_json::Value>(text).unwrap());
    assert_eq!(tags, expected);
    let tags = of(&arrived(&server, "HOUR", 2), "m", "tags");
    assert_eq!(tags, expected[1..]);
    assert_eq!(int(&metric(&server, "m"), "tag-changes"), 2);
}

#[test]
fn the_last_of_a_gauge_is_the_value_with_the_newest_time() {
    let Some(server) = Server::with_settings(SHORT) else {
        return;
    };
    let t = past();
    let samples = [(1, 100), (2, 300), (3, 300), (4, 200)];
    together(
        &server,
        &samples.map(|(value, ms)| format!("AGG.STAT n m {value} AT {}", t + ms)),
    );
    assert_eq!(of(&arrived(&server, "MIN", 1), "m", "last"), [3.0]);
    let shown = metric(&server, "m");
    assert_eq!(
        (text(&shown, "last"), int(&shown, "at")),
        ("3".into(), t + 300)
    );
}

#[test]
fn a_million_samples_of_a_tenth_give_a_hundred_thousand() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    const AT_ONCE: i64 = 10_000;
    let mut command = redis::cmd("AGG.MSTAT");
    command.arg(&["n", "AT", &now_ms().to_string(), "VALUES"]);
    for _ in 0..AT_ONCE {
        command.arg(&["m", "0.1"]);
    }
    let mut connection = server.connection();
    for _ in 0..1_000_000 / AT_ONCE {
        let (taken, late, refused): (i64, i64, Vec<Value>) =
            command.query(&mut connection).unwrap();
        assert_eq!((taken, late, refused.len()), (AT_ONCE, 0, 0));
    }
    let open = open(&metric(&server, "m"), "min")[0].clone();
    assert!((double(&open, "sum") - 100_000.0).abs() < 1e-9);
    server.ask::<i64>("AGG.FORGET n METRIC m");
    for queue in ["MIN", "HOUR"] {
        let record = &look(&server, queue)[0].json();
        assert_eq!(record["count"], 1_000_000);
        let sum = record["sum"].as_f64().unwrap();
        assert!((sum - 100_000.0).abs() < 1e-9, "{sum}");
        assert_eq!(record["avg"], 0.1);
    }
}

#[test]
fn a_sum_or_rate_that_would_pass_the_largest_double_stays_at_it() {
    let Some(server) = Server::with_settings(&format!("{CALM} min-interval-ms 1")) else {
        return;
    };
    let (t, most) = (past(), f64::MAX);
    let line =
        format!("AGG.MSTAT n AT {t} VALUES m {most:e} m {most:e} low -{most:e} low -{most:e}");
    server.ask::<Value>(&line);
    for (name, sum) in [("m", most), ("low", -most)] {
        assert_eq!(double(&open(&metric(&server, name), "min")[0], "sum"), sum);
    }
    server.ask::<i64>(&format!("AGG.STAT n c 0 DIFF AT {t}"));
    server.ask::<i64>(&format!("AGG.STAT n c {most:e} DIFF AT {}", t + 1));
    let window = &open(&metric(&server, "c"), "min")[0];
    for field in ["sum", "avg", "max", "last"] {
        assert_eq!(double(window, field), most, "{field}");
    }
    server.ask::<i64>("AGG.FORGET n METRIC m");
    assert_eq!(look(&server, "MIN")[0].json()["sum"], most);
}

// Settings

#[test]
fn a_node_keeps_its_window_lengths_when_settings_change_later() {
    let Some(server) = Server::with_settings(SHORT) else {
        return;
    };
    server.ask::<i64>("AGG.STAT n m 1");
    server.ask::<()>("CONFIG SET agg.min-window 3600 agg.hour-window 7200");
    server.ask::<i64>("AGG.STAT n late_comer 1");
    server.ask::<i64>("AGG.STAT other m 1");
    for (node, min, hour) in [("n", 1, 2), ("other", 3_600, 7_200)] {
        let info: Value = server.ask(&format!("AGG.INFO {node}"));
        assert_eq!(
            (int(&info, "min-window"), int(&info, "hour-window")),
            (min, hour)
        );
    }
    let entries = arrived(&server, "MIN", 2);
    assert_eq!(of(&entries, "m", "window"), [1]);
    assert_eq!(of(&entries, "late_comer", "window"), [1]);
    assert_eq!(of(&arrived(&server, "HOUR", 2), "m", "window"), [2]);
    let shown: Value = server.ask("AGG.GET other METRIC m");
    let window = &open(&shown, "min")[0];
    assert_eq!(int(window, "end") - int(window, "start"), 3_600_000);
}

#[test]
fn closed_windows_are_kept_as_far_as_the_history_goes() {
    let Some(server) = Server::with_settings(&format!("{SHORT} min-history 3 hour-history 0"))
    else {
        return;
    };
    let t = past();
    let lines: Vec<String> = (0..6)
        .map(|i| format!("AGG.STAT n m {i} AT {}", t + i * 1_000))
        .chain(["AGG.RANGE n m MIN".into(), "AGG.RANGE n m HOUR".into()])
        .collect();
    let replies = together(&server, &lines);
    let shape = |buckets: &[Value]| -> Vec<(i64, i64)> {
        buckets
            .iter()
            .map(|b| ((int(b, "start") - t) / 1_000, int(b, "closed")))
            .collect()
    };
    // The open ones last.
    assert_eq!(shape(list(&replies[6])), [(2, 1), (3, 1), (4, 1), (5, 0)]);
    assert_eq!(shape(list(&replies[7])), [(4, 0)]);
    arrived(&server, "MIN", 6);
    arrived(&server, "HOUR", 3);
    assert_eq!(shape(&range(&server, "MIN")), [(3, 1), (4, 1), (5, 1)]);
    assert!(range(&server, "HOUR").is_empty());
    let bucket = &range(&server, "MIN")[0];
    let names: Vec<String> = list(bucket)
        .iter()
        .step_by(2)
        .map(|name| redis::from_redis_value(name.clone()).unwrap())
        .collect();
    assert_eq!(
        names.join(" "),
        "start end count sum avg min max last closed"
    );
    assert_eq!(int(bucket, "end"), t + 4_000);
    assert_eq!((int(bucket, "count"), double(bucket, "sum")), (1, 3.0));
}

#[test]
fn a_range_shows_the_windows_that_hold_a_moment_of_it() {
    let Some(server) = Server::with_settings(SHORT) else {
        return;
    };
    let t = past();
    let lines: Vec<String> = (0..5)
        .map(|i| format!("AGG.STAT n m {i} AT {}", t + i * 1_000))
        .collect();
    together(&server, &lines);
    arrived(&server, "MIN", 5);
    let sums = |rest: &str| -> Vec<f64> {
        range(&server, rest)
            .iter()
            .map(|b| double(b, "sum"))
            .collect()
    };
    assert_eq!(sums("min"), [0.0, 1.0, 2.0, 3.0, 4.0]);
    assert_eq!(sums(&format!("MIN FROM {}", t + 3_000)), [3.0, 4.0]);
    assert_eq!(sums(&format!("MIN TO {}", t + 1_000)), [0.0, 1.0]);
    assert_eq!(sums(&format!("MIN TO {}", t + 999)), [0.0]);
    let inside = format!("MIN to {} from {}", t + 2_900, t + 1_500);
    assert_eq!(sums(&inside), [1.0, 2.0]);
    assert_eq!(sums(&format!("MIN FROM {}", t + 5_000)), [0.0; 0]);
}

// Lifetimes

#[test]
fn a_quiet_metric_is_forgotten_with_its_windows_closed_first() {
    let Some(server) = Server::with_settings(&format!("{CALM} series-ttl 2")) else {
        return;
    };
    server.ask::<i64>("AGG.STAT n quiet 5 TAGS a:1");
    server.ask::<i64>("AGG.STAT n first_only 5 DIFF");
    let mut connection = server.connection();
    until("the quiet metrics are forgotten", || {
        ask::<i64>(&mut connection, "AGG.STAT n busy 1");
        let metrics = int(&ask(&mut connection, "AGG.INFO n"), "metrics");
        (metrics == 1).then_some(())
    });
    assert_eq!(metric(&server, "quiet"), Value::Nil);
    assert_eq!(metric(&server, "first_only"), Value::Nil);
    assert_ne!(metric(&server, "busy"), Value::Nil);
    for queue in ["MIN", "HOUR"] {
        let entries = look(&server, queue);
        assert_eq!(entries.len(), 1, "{entries:?}");
        assert_eq!(of(&entries, "quiet", "last"), [5.0]);
        assert_eq!(
            of(&entries, "quiet", "tags"),
            [serde_json::json!({"a": "1"})]
        );
    }
    // What comes back begins anew, of whatever type.
    assert_eq!(server.ask::<i64>("AGG.STAT n quiet 1 DIFF"), 1);
}

#[test]
fn an_error_that_has_grown_is_queued_again_by_the_timer_when_the_interval_has_passed() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    for key in ["grown", "not_grown"] {
        server.ask::<Value>(&format!("AGG.ERROR n failed KEY {key}"));
    }
    let first = entries(&server.ask("AGG.POP n ERROR"));
    for _ in 0..4 {
        server.ask::<Value>("AGG.ERROR n again KEY grown");
    }
    assert!(look(&server, "ERROR").is_empty(), "not before five minutes");
    server.ask::<()>("CONFIG SET agg.error-interval-ms 1");
    let again = arrived(&server, "ERROR", 1);
    assert_eq!(again.len(), 1, "what has not grown stays: {again:?}");
    let record = again[0].json();
    assert_eq!(
        (&record["key"], &record["occurrences"], &record["message"]),
        (&"grown".into(), &5.into(), &"again".into())
    );
    assert!(again[0].id > first[1].id);
    assert_eq!(record["first"], first[0].json()["first"]);
    // Once delivered it stays away: another that grows comes alone.
    server.ask::<Value>("AGG.POP n ERROR");
    server.ask::<Value>("AGG.ERROR n failed KEY not_grown");
    let next = arrived(&server, "ERROR", 1);
    assert_eq!(
        (next.len(), &next[0].json()["key"]),
        (1, &"not_grown".into())
    );
}

#[test]
fn an_error_that_grew_while_somebody_has_it_in_hand_is_queued_anew() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    server.ask::<Value>("AGG.ERROR n failed KEY k");
    let old = entries(&server.ask("AGG.FETCH n ERROR LEASE 600000"))[0].id;
    server.ask::<Value>("AGG.ERROR n failed KEY k");
    server.ask::<()>("CONFIG SET agg.error-interval-ms 1");
    let new = until("it is queued anew", || {
        look(&server, "ERROR").into_iter().find(|e| e.id > old)
    });
    assert_eq!(look(&server, "ERROR").len(), 1, "one entry for an error");
    assert_eq!(new.json()["occurrences"], 2);
    assert_eq!(server.ask::<i64>(&format!("AGG.ACK n ERROR {old}")), 0);
    assert_eq!(server.ask::<i64>(&format!("AGG.ACK n ERROR {}", new.id)), 1);
}

#[test]
fn a_quiet_error_is_forgotten_but_not_while_it_waits_to_be_delivered() {
    let Some(server) = Server::with_settings(&format!("{CALM} error-ttl 1")) else {
        return;
    };
    server.ask::<Value>("AGG.ERROR n failed KEY waits");
    server.ask::<Value>("AGG.ERROR n failed KEY delivered");
    let entries = look(&server, "ERROR");
    server.ask::<i64>(&format!("AGG.ACK n ERROR {}", entries[1].id));
    until("the delivered one is forgotten", || {
        (server.ask::<Value>("AGG.GET n ERROR delivered") == Value::Nil).then_some(())
    });
    assert_eq!(
        int(&server.ask("AGG.GET n ERROR waits"), "id"),
        entries[0].id
    );
    // It has been quiet for long enough, and goes when it was delivered.
    server.ask::<i64>(&format!("AGG.ACK n ERROR {}", entries[0].id));
    until("the other one is forgotten, too", || {
        (server.ask::<Value>("AGG.GET n ERROR waits") == Value::Nil).then_some(())
    });
    let (_, occurrences): (String, i64) = server.ask("AGG.ERROR n failed KEY waits");
    assert_eq!(occurrences, 1);
}

#[test]
fn an_object_whose_ttl_ended_is_queued_as_gone_and_leaves_when_acknowledged() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    let before = now_ms();
    let replies = together(
        &server,
        &[
            r#"AGG.REALITY n vm1 vm.Guest '{"cpu":2}' TTL 1 TAGS a:1"#,
            "AGG.POP n REALITY",
        ],
    );
    let first = entries(&replies[1])[0].clone();
    let gone = arrived(&server, "REALITY", 1);
    assert_eq!(gone.len(), 1);
    let record = gone[0].json();
    let epoch = record["epoch"].as_i64().unwrap();
    // A lifetime is running time, which the wall clock matches only roughly.
    assert!((before + 900..=now_ms()).contains(&epoch), "{record}");
    assert_eq!(
        gone[0].text,
        format!(
            concat!(
                r#"{{"node":"n","queue":"REALITY","id":{},"key":"vm1","model":"vm.Guest","#,
                r#""json":{{"cpu":2}},"tags":{{"a":"1"}},"epoch":{},"gone":true}}"#
            ),
            gone[0].id, epoch
        )
    );
    assert!(gone[0].id > first.id);
    assert_eq!(int(&server.ask("AGG.GET n REALITY vm1"), "gone"), 1);
    let fetched = entries(&server.ask("AGG.FETCH n REALITY"));
    assert_eq!((fetched.len(), fetched[0].id), (1, gone[0].id));
    assert_eq!(
        server.ask::<i64>(&format!("AGG.ACK n REALITY {}", gone[0].id)),
        1
    );
    assert_eq!(server.ask::<Value>("AGG.GET n REALITY vm1"), Value::Nil);
    assert_eq!(server.ask::<i64>("AGG.REALITY n vm1 vm.Guest 1"), 1);
}

#[test]
fn an_object_lives_as_long_as_its_last_report_says_or_else_the_setting() {
    let Some(server) = Server::with_settings(&format!("{CALM} reality-ttl 1")) else {
        return;
    };
    // A report replaces the whole: the TTL of the one before does not stay.
    let lines = [
        "AGG.REALITY n forever m 1",
        "AGG.REALITY n forever m 1 TTL 0",
        "AGG.REALITY n long m 1",
        "AGG.REALITY n long m 1 TTL 1000",
        "AGG.REALITY n setting m 1 TTL 1000",
        "AGG.REALITY n setting m 1",
    ];
    together(&server, &lines);
    until("the one with the setting's TTL is gone", || {
        (int(&server.ask("AGG.GET n REALITY setting"), "gone") == 1).then_some(())
    });
    for key in ["forever", "long"] {
        let shown: Value = server.ask(&format!("AGG.GET n REALITY {key}"));
        assert_eq!(int(&shown, "gone"), 0, "{key}");
    }
    // Without a setting an object that names no TTL stays.
    let lines = [
        "CONFIG SET agg.reality-ttl 0",
        "AGG.REALITY n stays m 1 TTL 1",
        "AGG.REALITY n stays m 1",
        "AGG.REALITY n goes m 1 TTL 1",
    ];
    together(&server, &lines);
    until("the one with a TTL of its own is gone", || {
        (int(&server.ask("AGG.GET n REALITY goes"), "gone") == 1).then_some(())
    });
    assert_eq!(int(&server.ask("AGG.GET n REALITY stays"), "gone"), 0);
}

// A clock that was wrong

#[test]
fn a_clock_that_was_wrong_does_not_silence_a_metric() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    let ahead = now_ms() + 50_000;
    server.ask::<i64>(&format!("AGG.STAT n gauge 7 AT {ahead}"));
    server.ask::<i64>(&format!(
        "AGG.STAT n counter 100 DIFF AT {}",
        ahead - 10_000
    ));
    server.ask::<i64>(&format!("AGG.STAT n counter 200 DIFF AT {ahead}"));
    server.ask::<()>("CONFIG SET agg.max-future-ms 0");
    until("the timer closes their windows as they stand", || {
        (int(&server.ask("AGG.INFO n"), "clock-back") == 2).then_some(())
    });
    for queue in ["MIN", "HOUR"] {
        let entries = look(&server, queue);
        assert_eq!(of(&entries, "gauge", "sum"), [7.0]);
        assert_eq!(of(&entries, "counter", "sum"), [100.0]);
    }
    // The next sample is a first one.
    assert_eq!(server.ask::<i64>("AGG.STAT n gauge 8"), 1);
    assert_eq!(server.ask::<i64>("AGG.STAT n counter 1000 DIFF"), 1);
    let shown = metric(&server, "gauge");
    assert_eq!(text(&shown, "last"), "8");
    assert_eq!(int(&open(&shown, "min")[0], "count"), 1);
    let shown = metric(&server, "counter");
    assert!(open(&shown, "min").is_empty());
    assert_eq!((int(&shown, "restarts"), int(&shown, "gaps")), (0, 0));
    assert_eq!(int(&server.ask("AGG.INFO n"), "clock-back"), 2);
}

#[test]
fn a_sample_finds_a_metric_ahead_of_the_clock_before_the_timer_does() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    let ahead = now_ms() + 50_000;
    let replies = together(
        &server,
        &[
            format!("AGG.STAT n m 7 AT {ahead}"),
            "CONFIG SET agg.max-future-ms 0".into(),
            "AGG.STAT n m 8".into(),
            "AGG.PEEK n MIN".into(),
            "AGG.GET n METRIC m".into(),
        ],
    );
    assert_eq!(replies[2], Value::Int(1));
    assert_eq!(of(&entries(&replies[3]), "m", "sum"), [7.0]);
    assert_eq!(double(&open(&replies[4], "min")[0], "sum"), 8.0);
}

#[test]
fn a_time_of_an_object_too_far_ahead_loses_to_any_report() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    let ahead = now_ms() + 50_000;
    let replies = together(
        &server,
        &[
            format!("AGG.REALITY n k m 1 AT {ahead}"),
            "AGG.REALITY n k m 2".into(),
            "CONFIG SET agg.max-future-ms 0".into(),
            "AGG.REALITY n k m 2".into(),
            "AGG.REALITY n k m 3".into(),
        ],
    );
    assert_eq!(
        [&replies[0], &replies[1], &replies[3], &replies[4]],
        [1, -1, 1, 1].map(Value::Int).each_ref()
    );
    assert_eq!(int(&server.ask("AGG.INFO n"), "clock-back"), 1);
    let record = look(&server, "REALITY")[0].json();
    assert_eq!(record["json"], 3);
    assert!(record["epoch"].as_i64().unwrap() < ahead);
}
