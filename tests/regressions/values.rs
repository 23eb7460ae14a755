//! D9 to D14: values, names, precision and bounds.

use super::*;

/// Sends a command in which quotes keep words together.
fn tell<T: redis::FromRedisValue>(server: &Server, line: &str) -> T {
    server.send(&words(line))
}

/// D9: NaN at a window's end sent a row with `nan`, and again with every retry.
#[test]
fn d9_nan_is_rejected_and_in_no_record() {
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
    let lines = queued_records(&server.ask("AGG.PEEK n MIN FORMAT LINE"));
    assert!(
        lines[0]
            .text
            .contains(" avg=1.0,max=1.0,min=1.0,sum=1.0,last=1.0,count=1i "),
        "{lines:?}"
    );
}

/// D10: a first sample that was no number blocked its metric for up to a day.
#[test]
fn d10_first_sample_that_is_no_number_leaves_nothing_behind() {
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

/// D11: a `|` in a name made a row of eight fields, which was rejected after it was popped.
#[test]
fn d11_bar_is_a_part_of_a_name() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    tell::<i64>(&server, "AGG.STAT n 'disk|sda|1' 5 TAGS 'a|b:c|d'");
    server.ask::<i64>("AGG.FORGET n METRIC disk|sda|1");
    let record = &server.peek("n", "MIN")[0];
    assert_eq!(record["metric"], "disk|sda|1");
    assert_eq!(record["tags"], serde_json::json!({"a|b": "c|d"}));
    let line = &queued_records(&server.ask("AGG.PEEK n MIN FORMAT LINE"))[0].text;
    assert!(
        line.starts_with("disk|sda|1,a|b=c|d,node=n,window=2419200s avg=5.0,"),
        "{line}"
    );
}

/// D12: a `:` in node or metric made two metrics one, and a NUL cut a name off.
#[test]
fn d12_names_with_a_colon_or_nul_stay_distinct() {
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
        queued_records(&reply)[0].text.contains(r#""avg":1e-7,"#),
        "{reply:?}"
    );
}

/// D14: nothing was bounded: a 10 MB tag, a hundred logs of 1 MB, any number of metrics; a full queue dropped silently.
#[test]
fn d14_sizes_and_numbers_are_bounded_and_drops_counted_by_reason() {
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
    let held: u64 = info_field(&all, "agg_held");
    assert!(held < 2 << 20, "{held} bytes");
    assert!(
        all.contains(&format!("agg_dropped_queue_full:{dropped}\r\n")),
        "{all}"
    );
}
