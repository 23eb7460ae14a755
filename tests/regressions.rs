//! The defects of the design before this one, D1 to D18: each is a test that it does not occur here, on a real server.

use redis::Value;
use testkit::*;

/// MIN windows of one second and HOUR windows of two, closed soon.
const SHORT: &str = "min-window 1 hour-window 2 flush-delay-ms 100";

/// Windows of four weeks: none closes by the clock during a test.
const CALM: &str = "min-window 2419200 hour-window 2419200";

/// Returns a time a minute ago at which windows of [`SHORT`] start.
fn past() -> i64 {
    (now_ms() - 60_000) / 2_000 * 2_000
}

/// Sends a command in which quotes keep words together.
fn tell<T: redis::FromRedisValue>(server: &Server, line: &str) -> T {
    server.send(&words(line))
}

/// Waits for this many records of a queue and returns them.
fn arrived(server: &Server, queue: &str, n: usize) -> Vec<serde_json::Value> {
    until(&format!("{n} records in {queue}"), || {
        let all = server.peek("n", queue);
        (all.len() >= n).then_some(all)
    })
}

/// Returns a field of each record.
fn all(records: &[serde_json::Value], field: &str) -> Vec<serde_json::Value> {
    records.iter().map(|record| record[field].clone()).collect()
}

/// Returns the open MIN window of a metric of node `n`.
fn open(server: &Server, metric: &str) -> Value {
    let shown: Value = server.ask(&format!("AGG.GET n METRIC {metric}"));
    list(at(&shown, "min").unwrap())[0].clone()
}

/// Sends samples of metric `m` of node `n` in one transaction, each with its time relative to `t`, and returns the
/// replies.
fn samples(server: &Server, kind: &str, t: i64, samples: &[(i64, i64)]) -> Vec<i64> {
    let lines: Vec<String> = samples
        .iter()
        .map(|(value, ms)| format!("AGG.STAT n m {value} {kind} AT {}", t + ms))
        .collect();
    let replies = together(server, &lines);
    replies
        .into_iter()
        .map(|reply| redis::from_redis_value(reply).unwrap())
        .collect()
}

/// D1: two differential samples in one second were a division by zero, and the sample was lost (45 of 50 at ten a second).
#[test]
fn d1_two_differential_samples_in_one_second_lose_no_increase() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    let t = past();
    // Ten per second for five seconds, each adding 7.
    let steady: Vec<(i64, i64)> = (0..=50).map(|i| (i * 7, i * 100)).collect();
    assert_eq!(samples(&server, "DIFF", t, &steady), [1; 51]);
    let window = open(&server, "m");
    assert_eq!((int(&window, "count"), double(&window, "sum")), (50, 350.0));
    for field in ["avg", "min", "max", "last"] {
        assert_eq!(double(&window, field), 70.0, "{field}");
    }
    // Two with the same time have no rate between them, but the increase is added to the next.
    assert_eq!(
        samples(&server, "DIFF", t, &[(450, 5_000), (550, 6_000)]),
        [1, 1]
    );
    let window = open(&server, "m");
    assert_eq!(double(&window, "sum"), 550.0);
    assert_eq!(double(&window, "max"), 200.0);
}

/// D2: after a window had ended, the maximum of a differential metric was the raw counter.
#[test]
fn d2_the_maximum_after_a_window_turned_over_is_that_of_the_rates() {
    let Some(server) = Server::with_settings(SHORT) else {
        return;
    };
    let counter = [
        (1_000_000, 0),
        (1_000_050, 500),
        (1_000_100, 1_000),
        (1_000_200, 1_500),
        (1_000_250, 2_000),
    ];
    samples(&server, "DIFF", past(), &counter);
    let min = arrived(&server, "MIN", 3);
    assert_eq!(all(&min, "max"), [100.0, 200.0, 100.0]);
    assert_eq!(all(&min, "last"), [100.0, 200.0, 100.0]);
    assert_eq!(all(&arrived(&server, "HOUR", 2), "max"), [200.0, 100.0]);
}

/// D3: a counter that restarted gave a negative rate, which poisoned the average.
#[test]
fn d3_a_counter_that_restarted_brings_its_new_value_and_no_negative_rate() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    let counter = [(5_000, 0), (5_100, 1_000), (40, 2_000), (100, 3_000)];
    assert_eq!(samples(&server, "DIFF", past(), &counter), [1; 4]);
    let window = open(&server, "m");
    assert_eq!(double(&window, "sum"), 200.0);
    assert_eq!(
        (double(&window, "min"), double(&window, "max")),
        (40.0, 100.0)
    );
    assert_eq!(double(&window, "avg"), 200.0 / 3.0);
    assert_eq!(int(&server.ask("AGG.GET n METRIC m"), "restarts"), 1);
}

/// D4: the last window of a metric that went quiet was never delivered.
#[test]
fn d4_the_last_window_of_a_metric_that_went_quiet_is_delivered() {
    let Some(server) = Server::with_settings(SHORT) else {
        return;
    };
    server.ask::<i64>("AGG.STAT n m 5");
    for queue in ["MIN", "HOUR"] {
        let records = arrived(&server, queue, 1);
        assert_eq!(all(&records, "sum"), [5.0]);
        assert_eq!(all(&records, "count"), [1]);
    }
}

/// D5: a differential metric with its first sample only sent a row of invented zeros.
#[test]
fn d5_a_differential_metric_with_its_first_sample_only_sends_nothing() {
    let Some(server) = Server::with_settings(SHORT) else {
        return;
    };
    let t = past();
    let lines = [
        format!("AGG.STAT n m 5000 DIFF AT {t}"),
        format!("AGG.STAT n witness 1 AT {t}"),
    ];
    together(&server, &lines);
    for queue in ["MIN", "HOUR"] {
        assert_eq!(all(&arrived(&server, queue, 1), "metric"), ["witness"]);
    }
    // Nor when it is forgotten, which closes open windows.
    server.ask::<i64>("AGG.FORGET n METRIC m");
    assert_eq!(server.peek("n", "MIN").len(), 1);
}

/// D6: a row carried the value that belonged to the next window, and a gauge's first sample was compared with 0.
#[test]
fn d6_last_min_and_max_are_of_the_windows_own_samples() {
    let Some(server) = Server::with_settings(SHORT) else {
        return;
    };
    let gauge = [(-7, 0), (-5, 900), (30, 1_000), (20, 1_500), (9, 2_000)];
    samples(&server, "ABS", past(), &gauge);
    let min = arrived(&server, "MIN", 3);
    assert_eq!(all(&min, "last"), [-5.0, 20.0, 9.0]);
    assert_eq!(all(&min, "min"), [-7.0, 20.0, 9.0]);
    assert_eq!(all(&min, "max"), [-5.0, 30.0, 9.0]);
}

/// D7: a late sample counted in the current window, moved the metric's time backwards, and an interval counted twice.
#[test]
fn d7_a_late_sample_counts_in_no_other_window_and_no_interval_twice() {
    let Some(server) = Server::with_settings(SHORT) else {
        return;
    };
    let t = past();
    let counter = [(0, 0), (100, 1_000), (50, 500), (200, 2_000)];
    assert_eq!(samples(&server, "DIFF", t, &counter), [1, 1, 0, 1]);
    let shown: Value = server.ask("AGG.GET n METRIC m");
    assert_eq!((int(&shown, "at"), int(&shown, "late")), (t + 2_000, 1));
    assert_eq!(all(&arrived(&server, "MIN", 2), "sum"), [100.0, 100.0]);
    // A gauge: its windows have closed, and the current one does not count the sample.
    for value in [1, 999] {
        let at = if value == 1 { now_ms() } else { t };
        server.ask::<i64>(&format!("AGG.STAT n gauge {value} AT {at}"));
    }
    let shown: Value = server.ask("AGG.GET n METRIC gauge");
    assert_eq!((int(&shown, "late"), text(&shown, "last")), (1, "1".into()));
    let records = arrived(&server, "MIN", 3);
    assert_eq!(
        (&records[2]["metric"], &records[2]["max"]),
        (&"gauge".into(), &1.0.into())
    );
}

/// D8: one sample from the future silenced the metric until that time came.
#[test]
fn d8_a_sample_from_the_future_is_an_error_and_the_metric_goes_on() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    server.ask::<i64>("AGG.STAT n m 1");
    let before = server.digest("n");
    let next_year = now_ms() + 365 * 86_400_000;
    let error = server.error(&format!("AGG.STAT n m 2 AT {next_year}"));
    assert!(
        error.starts_with(&format!("ERR AGG.STAT: AT {next_year} is "))
            && error.ends_with(" ms ahead of the server's clock: agg.max-future-ms allows 60000"),
        "{error}"
    );
    assert_eq!(server.digest("n"), before);
    assert_eq!(server.ask::<i64>("AGG.STAT n m 3"), 1);
    assert_eq!(double(&open(&server, "m"), "sum"), 4.0);
}

/// D9: NaN at a window's end sent a row with `nan`, and again with every retry.
#[test]
fn d9_nan_is_an_error_and_no_row_holds_one() {
    let Some(server) = Server::with_settings(SHORT) else {
        return;
    };
    server.ask::<i64>("AGG.STAT n m 1");
    for value in ["nan", "NaN", "-nan", "inf", "-inf", "Infinity", "1e999"] {
        let error = server.error(&format!("AGG.STAT n m {value}"));
        assert!(
            error.starts_with(&format!("ERR AGG.STAT: invalid value '{value}': ")),
            "{error}"
        );
    }
    let records = arrived(&server, "MIN", 1);
    assert_eq!((records.len(), &records[0]["avg"]), (1, &1.0.into()));
    let lines = entries(&server.ask("AGG.PEEK n MIN FORMAT LINE"));
    assert!(
        lines[0]
            .text
            .contains(" avg=1.0,max=1.0,min=1.0,sum=1.0,last=1.0,count=1i "),
        "{lines:?}"
    );
}

/// D10: a first sample that was no number blocked its metric for up to a day.
#[test]
fn d10_a_first_sample_that_is_no_number_leaves_nothing_behind() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    assert_eq!(
        server.error("AGG.STAT n m full"),
        "ERR AGG.STAT: invalid value 'full': expected a decimal number"
    );
    assert_eq!(server.ask::<i64>("EXISTS n"), 0);
    assert_eq!(server.ask::<i64>("AGG.STAT n m 5"), 1);
    assert_eq!(double(&open(&server, "m"), "sum"), 5.0);
}

/// D11: a `|` in a name made a row of eight fields, which was refused after it was popped.
#[test]
fn d11_a_bar_in_a_name_is_a_part_of_it() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    tell::<i64>(&server, "AGG.STAT n 'disk|sda|1' 5 TAGS 'a|b:c|d'");
    server.ask::<i64>("AGG.FORGET n METRIC disk|sda|1");
    let record = &server.peek("n", "MIN")[0];
    assert_eq!(record["metric"], "disk|sda|1");
    assert_eq!(record["tags"], serde_json::json!({"a|b": "c|d"}));
    let line = &entries(&server.ask("AGG.PEEK n MIN FORMAT LINE"))[0].text;
    assert!(
        line.starts_with("disk|sda|1,a|b=c|d,node=n,window=2419200s avg=5.0,"),
        "{line}"
    );
}

/// D12: a `:` in node or metric made two metrics one, and a NUL cut a name off.
#[test]
fn d12_a_colon_or_nul_in_a_name_makes_no_two_things_one() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    let names: [(&[u8], &[u8]); 4] = [
        (b"a:b", b"c"),
        (b"a", b"b:c"),
        (b"n\0one", b"m\0one"),
        (b"n\0two", b"m\0two"),
    ];
    for (i, (node, metric)) in names.into_iter().enumerate() {
        let value = (i + 1).to_string();
        server.send::<i64>(&[b"AGG.STAT", node, metric, value.as_bytes()]);
        server.send::<i64>(&[b"AGG.STAT", b"all", metric, value.as_bytes()]);
    }
    assert_eq!(server.ask::<i64>("DBSIZE"), 5);
    assert_eq!(int(&server.ask("AGG.INFO all"), "metrics"), 4);
    for (i, (node, metric)) in names.into_iter().enumerate() {
        for node in [node, b"all"] {
            let shown: Value = server.send(&[b"AGG.GET", node, b"METRIC", metric]);
            assert_eq!(text(&shown, "last"), (i + 1).to_string());
            assert_eq!(int(&shown, "samples"), 1);
        }
    }
    server.send::<i64>(&[b"AGG.FORGET", b"all", b"METRIC", b"m\0two"]);
    assert_eq!(server.peek("all", "MIN")[0]["metric"], "m\0two");
}

/// D13: counters of more than 14 digits lost precision, and values below 1e-6 became 0.
#[test]
fn d13_large_counters_and_small_values_keep_their_precision() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    let t = past();
    for (i, total) in [
        "18446744073709551612",
        "18446744073709551613",
        "18446744073709551615",
    ]
    .iter()
    .enumerate()
    {
        let at = t + i as i64 * 1_000;
        server.ask::<i64>(&format!("AGG.STAT n c {total} DIFF AT {at}"));
        assert_eq!(text(&server.ask("AGG.GET n METRIC c"), "last"), *total);
    }
    let window = open(&server, "c");
    assert_eq!(double(&window, "sum"), 3.0);
    assert_eq!((double(&window, "min"), double(&window, "max")), (1.0, 2.0));
    for (value, shown) in [
        ("0.0000001", "1e-7"),
        ("1.5e-300", "1.5e-300"),
        ("0.30000000000000004", "0.30000000000000004"),
        ("9007199254740993.0", "9007199254740992.0"),
    ] {
        server.ask::<i64>(&format!("AGG.STAT n g{value} {value} AT {t}"));
        for field in ["sum", "avg", "min", "max", "last"] {
            assert_eq!(text(&open(&server, &format!("g{value}")), field), shown);
        }
    }
    server.ask::<i64>("AGG.FORGET n METRIC g0.0000001");
    let reply: Value = server.ask("AGG.PEEK n MIN");
    assert!(
        entries(&reply)[0].text.contains(r#""avg":1e-7,"#),
        "{reply:?}"
    );
}

/// D14: nothing was bounded: a 10 MB tag, a hundred logs of 1 MB, any number of metrics; a full queue dropped silently.
#[test]
fn d14_everything_is_bounded_and_each_drop_is_counted_by_its_reason() {
    let Some(server) = Server::with_settings(&format!("{CALM} max-series 100 queue-log 1mb"))
    else {
        return;
    };
    let tag = format!("a:{}", "b".repeat(10 << 20));
    assert_eq!(
        server.error(&format!("AGG.STAT n m 1 TAGS {tag}")),
        format!(
            "ERR AGG.STAT: TAGS '{}…' has 10485762 bytes: agg.max-item-size allows 65536",
            &tag[..64]
        )
    );
    let line = format!("AGG.LOG n {}", "x".repeat(1 << 20));
    for _ in 0..100 {
        server.ask::<i64>(&line);
    }
    for i in 0..200 {
        let line = format!("AGG.STAT n metric{i} 1");
        if i < 100 {
            server.ask::<i64>(&line);
        } else {
            assert_eq!(
                server.error(&line),
                format!(
                    "AGGFULL AGG.STAT: cannot create metric 'metric{i}': the node has reached agg.max-series (100)"
                )
            );
        }
    }
    let info: Value = server.ask("AGG.INFO n");
    assert_eq!((int(&info, "metrics"), int(&info, "truncated")), (100, 100));
    assert_eq!(int(at(&info, "refused").unwrap(), "max-series"), 100);
    let log = at(at(&info, "queues").unwrap(), "LOG").unwrap();
    let (length, dropped) = (int(log, "length"), int(log, "dropped"));
    assert!((10..=16).contains(&length), "{length} of 64 kb in 1 MiB");
    assert_eq!(length + dropped, 100);
    assert!(int(log, "bytes") <= 1 << 20);
    let all: String = server.ask("INFO agg");
    let held = all.split("agg_held:").nth(1).unwrap();
    let held: u64 = held.lines().next().unwrap().parse().unwrap();
    assert!(held < 2 << 20, "{held} bytes");
    assert!(
        all.contains(&format!("agg_dropped_queue_full:{dropped}\r\n")),
        "{all}"
    );
}

/// D15: after 100 occurrences of an error nothing more was delivered: 99 were lost.
#[test]
fn d15a_occurrences_after_the_first_delivery_are_delivered_by_themselves() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    server.ask::<Value>("AGG.ERROR n failed");
    server.ask::<Value>("AGG.POP n ERROR");
    for _ in 0..99 {
        server.ask::<Value>("AGG.ERROR n failed");
    }
    assert!(
        server.peek("n", "ERROR").is_empty(),
        "not before five minutes"
    );
    server.ask::<()>("CONFIG SET agg.error-interval-ms 1");
    let records = arrived(&server, "ERROR", 1);
    assert_eq!(all(&records, "occurrences"), [100]);
}

/// D15: an error had duplicates in the queue.
#[test]
fn d15b_an_error_has_one_entry_however_often_it_occurs() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    for _ in 0..100 {
        server.ask::<Value>("AGG.ERROR n failed");
    }
    assert_eq!(all(&server.peek("n", "ERROR"), "occurrences"), [100]);
}

/// D15: the number of errors had no limit.
#[test]
fn d15c_the_number_of_errors_is_bounded_and_undelivered_ones_go_last() {
    let Some(server) = Server::with_settings(&format!("{CALM} max-errors 3")) else {
        return;
    };
    let report = |key: &str| {
        server.ask::<Value>(&format!("AGG.ERROR n failed KEY {key}"));
    };
    let dropped = || {
        let info: Value = server.ask("AGG.INFO n");
        assert_eq!(int(&info, "errors"), 3);
        int(
            at(at(&info, "queues").unwrap(), "ERROR").unwrap(),
            "dropped",
        )
    };
    let held = || {
        let (_, mut keys): (String, Vec<String>) = server.ask("AGG.SCAN n ERROR 0");
        keys.sort();
        keys.concat()
    };
    "abc"
        .split_terminator("")
        .filter(|k| !k.is_empty())
        .for_each(report);
    server.ask::<Value>("AGG.POP n ERROR COUNT 2");
    // Of the delivered errors a and b, b was last seen longer ago.
    report("a");
    report("d");
    assert_eq!((held(), dropped()), ("acd".into(), 0));
    report("e");
    assert_eq!((held(), dropped()), ("cde".into(), 0));
    // All are pending: the one last seen longest ago is dropped and counted.
    report("c");
    report("f");
    assert_eq!((held(), dropped()), ("cef".into(), 1));
    assert_eq!(all(&server.peek("n", "ERROR"), "key"), ["c", "e", "f"]);
}

/// D16: three updates of an object made three records.
#[test]
fn d16a_an_object_has_one_entry_which_shows_its_latest_state() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    for state in ["1", "2", "3"] {
        assert_eq!(
            server.ask::<i64>(&format!("AGG.REALITY n sda system.Disk {state}")),
            1
        );
    }
    assert_eq!(all(&server.peek("n", "REALITY"), "json"), [3]);
}

/// D16: the same object of two nodes overwrote each other.
#[test]
fn d16b_the_same_object_of_two_nodes_is_two_objects() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    for (node, state) in [("one", 1), ("two", 2)] {
        server.ask::<i64>(&format!("AGG.REALITY {node} sda system.Disk {state}"));
    }
    for (node, state) in [("one", 1), ("two", 2)] {
        let records = server.peek(node, "REALITY");
        assert_eq!(all(&records, "json"), [state]);
        assert_eq!(all(&records, "node"), [node]);
    }
}

/// D16: an older state of an object overwrote a newer one.
#[test]
fn d16c_an_older_state_does_not_overwrite_a_newer_one() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    let t = past();
    let report = |state: i64, at: i64| {
        server.ask::<i64>(&format!("AGG.REALITY n sda system.Disk {state} AT {at}"))
    };
    assert_eq!((report(2, t), report(1, t - 1_000)), (1, -1));
    assert_eq!(all(&server.peek("n", "REALITY"), "json"), [2]);
    server.ask::<Value>("AGG.POP n REALITY");
    assert_eq!(report(1, t - 1_000), -1, "nor when it was delivered");
    assert!(server.peek("n", "REALITY").is_empty());
}

/// D17: a row carried the tags of the time of draining.
#[test]
fn d17_a_row_carries_the_tags_of_its_window() {
    let Some(server) = Server::with_settings(SHORT) else {
        return;
    };
    let t = past();
    let line = |tags: &str, ms: i64| format!("AGG.STAT n m 1 TAGS {tags} AT {}", t + ms);
    together(&server, &[line("rack:1", 0), line("rack:2", 1_000)]);
    arrived(&server, "MIN", 2);
    server.ask::<i64>("AGG.STAT n m 1 TAGS rack:3");
    let tags = all(&server.peek("n", "MIN")[..2], "tags");
    assert_eq!(
        tags,
        [
            serde_json::json!({"rack": "1"}),
            serde_json::json!({"rack": "2"})
        ]
    );
}

/// D18: invalid UTF-8 stopped the consumer.
#[test]
fn d18a_invalid_utf8_leaves_as_valid_json_and_lines() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    let bad: &[u8] = b"a\xff\xfe\xc3";
    let tags = [b"t\xff:", bad].concat();
    let reports: [&[&[u8]]; 4] = [
        &[b"AGG.STAT", bad, bad, b"1", b"TAGS", &tags],
        &[b"AGG.LOG", bad, bad, b"TAGS", &tags],
        &[b"AGG.ERROR", bad, bad, b"CODE", bad, b"KEY", bad],
        &[b"AGG.REALITY", bad, bad, bad, b"{}", b"TAGS", &tags],
    ];
    for report in reports {
        server.send::<Value>(report);
    }
    server.send::<i64>(&[b"AGG.FORGET", bad, b"METRIC", bad]);
    let reply: Value = server.send(&words("AGG.PEEK NODE MIN HOUR LOG ERROR REALITY").named(bad));
    let shown = "a\u{fffd}\u{fffd}\u{fffd}";
    // Parsing them as text and JSON is half of the test.
    let records = records(&reply);
    assert_eq!(all(&records, "node"), [shown; 5]);
    for (i, field) in ["metric", "metric", "message", "code", "model"]
        .into_iter()
        .enumerate()
    {
        assert_eq!(records[i][field], shown, "{field}");
    }
    let reply: Value = server.send(&words("AGG.PEEK NODE MIN FORMAT LINE").named(bad));
    assert!(
        entries(&reply)[0]
            .text
            .starts_with(&format!("{shown},node={shown},"))
    );
}

/// Reads a node whose name is not text.
trait Named<'a> {
    fn named(self, node: &'a [u8]) -> Vec<&'a [u8]>;
}

impl<'a> Named<'a> for Vec<&'a [u8]> {
    fn named(mut self, node: &'a [u8]) -> Vec<&'a [u8]> {
        self[1] = node;
        self
    }
}

/// D18: it consisted of scripts, which SCRIPT FLUSH removed.
#[test]
fn d18b_script_flush_takes_nothing_away() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    server.ask::<i64>("AGG.STAT n m 1");
    server.ask::<()>("SCRIPT FLUSH");
    server.ask::<()>("FUNCTION FLUSH");
    assert_eq!(server.ask::<i64>("AGG.STAT n m 2"), 1);
    assert_eq!(double(&open(&server, "m"), "sum"), 3.0);
}

/// D18: keys were not declared, so it did not work in a cluster.
#[test]
fn d18c_every_command_declares_its_one_key_and_works_in_a_cluster() {
    let Some(server) = Server::with_module(&["--cluster-enabled", "yes"], CALM) else {
        return;
    };
    server.ask::<()>("CLUSTER ADDSLOTSRANGE 0 16383");
    until("the cluster is up", || {
        let info: String = server.ask("CLUSTER INFO");
        info.contains("cluster_state:ok").then_some(())
    });
    let lines = [
        "AGG.STAT n m 1",
        "AGG.MSTAT n VALUES m 1 o 2",
        "AGG.LOG n line",
        "AGG.ERROR n failed KEY k",
        "AGG.REALITY n k m {}",
        "AGG.PEEK n LOG",
        "AGG.FETCH n LOG",
        "AGG.ACK n LOG 1",
        "AGG.NACK n LOG 1",
        "AGG.EXTEND n LOG 1000 1",
        "AGG.POP n ERROR",
        "AGG.REQUEUE n ERROR",
        "AGG.GET n METRIC m",
        "AGG.RANGE n m MIN",
        "AGG.SCAN n METRIC 0",
        "AGG.INFO n",
        "AGG.FORGET n METRIC m",
    ];
    for line in lines {
        let keys: Vec<String> = server.ask(&format!("COMMAND GETKEYS {line}"));
        assert_eq!(keys, ["n"], "{line}");
        server.ask::<Value>(line);
    }
}

/// D18: a poller that died had lost up to 1,000 rows.
#[test]
fn d18d_what_a_poller_that_died_had_in_hand_comes_back() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    for i in 0..1_000 {
        server.ask::<i64>(&format!("AGG.LOG n line{i}"));
    }
    let mut poller = server.connection();
    let taken = entries(&ask(&mut poller, "AGG.FETCH n LOG COUNT 1000 LEASE 300"));
    assert_eq!(taken.len(), 1_000);
    drop(poller);
    let again = until("the leases end", || {
        let again = entries(&server.ask("AGG.FETCH n LOG COUNT 1000 LEASE 600000"));
        (!again.is_empty()).then_some(again)
    });
    let ids = |entries: &[Entry]| entries.iter().map(|e| e.id).collect::<Vec<_>>();
    assert_eq!(ids(&again), ids(&taken));
    assert!(again.iter().all(|entry| entry.deliveries == 2));
}

/// D18: the hash of an error did not separate its fields.
#[test]
fn d18e_fields_of_an_error_do_not_run_into_each_other() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    let (one, _): (String, i64) = server.ask("AGG.ERROR n ab PUBLIC c");
    let (two, occurrences): (String, i64) = server.ask("AGG.ERROR n a PUBLIC bc");
    assert_ne!(one, two);
    assert_eq!(occurrences, 1);
    assert_eq!(int(&server.ask("AGG.INFO n"), "errors"), 2);
}

/// D18: seconds were silently taken for milliseconds.
#[test]
fn d18f_seconds_where_milliseconds_are_meant_are_an_error() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    let seconds = now_ms() / 1_000;
    for line in [
        "AGG.STAT n m 1",
        "AGG.LOG n line",
        "AGG.ERROR n failed",
        "AGG.REALITY n k m {}",
    ] {
        let name = line.split(' ').next().unwrap();
        assert_eq!(
            server.error(&format!("{line} AT {seconds}")),
            format!("ERR {name}: AT {seconds} looks like seconds: times are Unix milliseconds")
        );
    }
    assert_eq!(server.ask::<i64>("EXISTS n"), 0);
}

/// D18: hexadecimal numbers and blanks were accepted as values.
#[test]
fn d18g_hex_and_blanks_are_no_numbers() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    for value in ["0x10", "0X1P3", " 1", "1 ", " ", ""] {
        let command: [&[u8]; 4] = [b"AGG.STAT", b"n", b"m", value.as_bytes()];
        assert_eq!(
            refusal(&mut server.connection(), &command),
            format!("ERR AGG.STAT: invalid value '{value}': expected a decimal number")
        );
    }
    assert_eq!(server.ask::<i64>("EXISTS n"), 0);
}
