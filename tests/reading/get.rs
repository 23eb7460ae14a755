//! AGG.GET: a metric, an error and an object with all their fields.

use super::*;

/// Returns tags, a map in the reply, as pairs.
fn tags(map: &Value) -> Vec<(String, String)> {
    match at(map, "tags") {
        Some(Value::Map(pairs)) => pairs.iter().map(|(n, v)| (bulk(n), bulk(v))).collect(),
        other => panic!("tags are {other:?}"),
    }
}

fn pair(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

#[test]
fn get_metric_shows_an_absolute_metric() {
    let Some(server) = Server::with_settings(LATE) else {
        return;
    };
    let start = past_hour();
    let (second, third) = (start + 1000, start + 2000);
    server.ask::<()>(&format!("AGG.STAT n disk@sda 1.5 TAGS old:1 AT {start}"));
    server.send::<()>(&[
        b"AGG.STAT",
        b"n",
        b"disk@sda",
        b"-4",
        b"TAGS",
        b"b:x:y flag a:",
        b"AT",
        second.to_string().as_bytes(),
    ]);
    server.ask::<()>(&format!("AGG.STAT n disk@sda 2.50 AT {third}"));
    let metric = map(&server, "AGG.GET n metric disk@sda", METRIC);
    assert_eq!(text(&metric, "name"), "disk@sda");
    assert_eq!(text(&metric, "type"), "ABS");
    let expected = [pair("a", ""), pair("b", "x:y"), pair("flag", "true")];
    assert_eq!(tags(&metric), expected);
    assert_eq!(double(&metric, "last"), 2.5);
    assert_eq!(int(&metric, "at"), third);
    for (list, window_ms) in [("min", 300_000), ("hour", 3_600_000)] {
        let open = at(&metric, list).unwrap();
        assert_eq!(windows(open, window_ms), [(start, 3, 0.0, 0)], "{list}");
        let Value::Array(open) = open else {
            unreachable!()
        };
        for (field, value) in [("avg", 0.0), ("min", -4.0), ("max", 2.5), ("last", 2.5)] {
            assert_eq!(double(&open[0], field), value, "{field}");
        }
    }
    for (field, count) in [
        ("samples", 3),
        ("late", 0),
        ("late-min", 0),
        ("late-hour", 0),
        ("restarts", 0),
        ("gaps", 0),
        ("tag-changes", 1),
    ] {
        assert_eq!(int(&metric, field), count, "{field}");
    }
}

#[test]
fn get_metric_shows_a_counter_with_its_restarts_gaps_and_late_samples() {
    let Some(server) = Server::with_settings("max-gap 60 flush-delay-ms 900000") else {
        return;
    };
    let start = past_hour();
    for (total, seconds, taken) in [
        ("100", 0, 1),
        ("160", 10, 1),
        ("5", 20, 1),                     // a restart
        ("70", 100, 1),                   // behind a gap
        ("80", 90, 0),                    // older than the last
        ("18446744073709551615", 110, 1), // the largest that is exact
    ] {
        let at = start + seconds * 1000;
        let line = format!("AGG.STAT n m {total} DIFF AT {at}");
        assert_eq!(server.ask::<i64>(&line), taken, "{line}");
    }
    let metric = map(&server, "AGG.GET n METRIC m", COUNTER);
    assert_eq!(text(&metric, "type"), "DIFF");
    assert_eq!(text(&metric, "last"), "18446744073709551615");
    // 60, then 5 after the restart, none of the gap, and the rest.
    assert_eq!(
        double(&metric, "total"),
        65.0 + 18_446_744_073_709_551_545.0
    );
    assert_eq!(int(&metric, "at"), start + 110_000);
    for (field, count) in [("restarts", 1), ("gaps", 1), ("late", 1), ("late-min", 0)] {
        assert_eq!(int(&metric, field), count, "{field}");
    }
    // The node counts the same.
    let info: Value = server.ask("AGG.INFO n");
    assert_eq!((int(&info, "late"), int(&info, "late-min")), (1, 0));
}

#[test]
fn get_metric_counts_samples_that_missed_only_their_min_window() {
    let Some(server) = Server::with_settings("flush-delay-ms 600000") else {
        return;
    };
    let start = past_hour();
    for (at, taken) in [
        (start, 1),
        (start + 300_000, 1),   // closes the first MIN window
        (start + 1000, 1),      // missed it, but not its hour
        (start + 3_600_000, 1), // closes the hour
        (start + 2000, 0),      // missed that too
    ] {
        let line = format!("AGG.STAT n m 1 AT {at}");
        assert_eq!(server.ask::<i64>(&line), taken, "{line}");
    }
    let metric = map(&server, "AGG.GET n METRIC m", METRIC);
    assert_eq!((int(&metric, "late-min"), int(&metric, "late")), (1, 1));
    let info: Value = server.ask("AGG.INFO n");
    assert_eq!((int(&info, "late-min"), int(&info, "late")), (1, 1));
    assert_eq!(of_server(&server, "late_min"), 1);
    assert_eq!(of_server(&server, "late"), 1);
}

#[test]
fn get_metric_lists_open_windows_oldest_first() {
    let Some(server) = Server::with_settings(LATE) else {
        return;
    };
    let this = now_ms() / 300_000 * 300_000;
    let before = this - 300_000;
    for at in [this, before] {
        assert_eq!(server.ask::<i64>(&format!("AGG.STAT n m 2 AT {at}")), 1);
    }
    let metric = map(&server, "AGG.GET n METRIC m", METRIC);
    let open = windows(at(&metric, "min").unwrap(), 300_000);
    assert_eq!(open, [(before, 1, 2.0, 0), (this, 1, 2.0, 0)]);
    server.ask::<()>("CONFIG SET agg.flush-delay-ms 0");
    server.ask::<()>(&format!("AGG.STAT n old 1 AT {}", past_hour()));
    until("its windows close", || {
        let metric: Value = ask(&mut server.connection3(), "AGG.GET n METRIC old");
        let open = |list: &str| testkit::list(at(&metric, list).unwrap()).len();
        (open("min") + open("hour") == 0).then_some(())
    });
    map(&server, "AGG.GET n METRIC old", METRIC);
}

#[test]
fn get_error_shows_the_record_and_when_it_was_seen() {
    let Some(server) = Server::start() else {
        return;
    };
    let (first, last) = (past_hour(), past_hour() + 1000);
    server.ask::<()>(&format!("AGG.ERROR n old KEY k AT {first}"));
    let before = now_ms();
    server.ask::<()>(&format!(
        "AGG.ERROR n message PUBLIC public LEVEL 2 TYPE PERF TAGS a:1 CODE c FUNC f FILE p BACKTRACE b GID 7 NID 8 \
         KEY k AT {last}"
    ));
    let after = now_ms();
    let id = queued_records(&server.ask("AGG.PEEK n ERROR"))[0].id;
    for waits in [id, 0] {
        let error = map(&server, "AGG.GET n ERROR k", ERROR);
        for (field, value) in [
            ("node", "n"),
            ("queue", "ERROR"),
            ("key", "k"),
            ("message", "message"),
            ("public", "public"),
            ("severity", "DEBUG"),
            ("type", "PERF"),
            ("code", "c"),
            ("func", "f"),
            ("file", "p"),
            ("backtrace", "b"),
        ] {
            assert_eq!(text(&error, field), value, "{field}");
        }
        for (field, value) in [
            ("id", waits),
            ("level", 2),
            ("gid", 7),
            ("nid", 8),
            ("occurrences", 2),
            ("first", first),
            ("last", last),
        ] {
            assert_eq!(int(&error, field), value, "{field}");
        }
        assert_eq!(tags(&error), [pair("a", "1")]);
        // By the clock of the server, whatever AT says.
        assert!((before..=after).contains(&int(&error, "seen")));
        server.ask::<()>("AGG.POP n ERROR");
    }
}

#[test]
fn get_error_of_a_bare_error_has_empty_texts_and_zeros() {
    let Some(server) = Server::start() else {
        return;
    };
    let (key, _): (String, i64) = server.ask("AGG.ERROR n message");
    let error = map(&server, &format!("AGG.GET n ERROR {key}"), ERROR);
    for field in ["public", "code", "func", "file", "backtrace"] {
        assert_eq!(text(&error, field), "", "{field}");
    }
    assert_eq!((int(&error, "gid"), int(&error, "nid")), (0, 0));
    assert_eq!(
        (int(&error, "level"), &*text(&error, "severity")),
        (7, "ERROR")
    );
    assert_eq!(text(&error, "type"), "UNKNOWN");
    assert_eq!(tags(&error), []);
}

#[test]
fn get_reality_shows_the_record_and_when_it_was_seen() {
    let Some(server) = Server::start() else {
        return;
    };
    let changed = past_hour();
    server.send::<()>(&[
        b"AGG.REALITY",
        b"n",
        b"disk:sda",
        b"system.Disk",
        b"{ \"size\": 1.0, \"parts\": [ 1, 2 ] }",
        b"TAGS",
        b"b:2 a:1",
        b"AT",
        changed.to_string().as_bytes(),
    ]);
    let id = queued_records(&server.ask("AGG.PEEK n REALITY"))[0].id;
    for waits in [id, 0] {
        let before = now_ms();
        // Seen again, unchanged.
        let again = "AGG.REALITY n disk:sda system.Disk {\"parts\":[1,2],\"size\":1.0} TAGS";
        let mut words: Vec<&[u8]> = again.split(' ').map(str::as_bytes).collect();
        words.push(b"a:1 b:2");
        assert_eq!(server.send::<i64>(&words), 0);
        let after = now_ms();
        let object = map(&server, "AGG.GET n REALITY disk:sda", OBJECT);
        for (field, value) in [
            ("node", "n"),
            ("queue", "REALITY"),
            ("key", "disk:sda"),
            ("model", "system.Disk"),
            ("json", "{\"size\":1.0,\"parts\":[1,2]}"),
        ] {
            assert_eq!(text(&object, field), value, "{field}");
        }
        for (field, value) in [("id", waits), ("epoch", changed), ("gone", 0)] {
            assert_eq!(int(&object, field), value, "{field}");
        }
        assert_eq!(tags(&object), [pair("a", "1"), pair("b", "2")]);
        assert!((before..=after).contains(&int(&object, "seen")));
        server.ask::<()>("AGG.POP n REALITY");
    }
    server.ask::<()>("AGG.FORGET n REALITY disk:sda");
    let gone = map(&server, "AGG.GET n REALITY disk:sda", OBJECT);
    assert_eq!(int(&gone, "gone"), 1);
    assert!(int(&gone, "id") > id);
}

#[test]
fn names_are_binary_safe_and_families_have_separate_names() {
    let Some(server) = Server::start() else {
        return;
    };
    const NAME: &[u8] = b"\xff \0\n\xc3";
    server.send::<()>(&[b"AGG.STAT", b"n", NAME, b"1"]);
    server.send::<()>(&[b"AGG.ERROR", b"n", b"text", b"KEY", NAME]);
    server.send::<()>(&[b"AGG.REALITY", b"n", NAME, b"model", b"1"]);
    for (family, field) in [("METRIC", "name"), ("ERROR", "key"), ("REALITY", "key")] {
        let get: Value = server.send(&[b"AGG.GET", b"n", family.as_bytes(), NAME]);
        assert_eq!(at(&get, field), Some(&Value::BulkString(NAME.to_vec())));
        let scanned: (String, Vec<Vec<u8>>) = server.ask(&format!("AGG.SCAN n {family} 0"));
        assert_eq!(scanned, ("0".to_owned(), vec![NAME.to_vec()]));
    }
    assert_eq!(
        server.send::<i64>(&[b"AGG.FORGET", b"n", b"ERROR", NAME]),
        1
    );
    let gone: Value = server.send(&[b"AGG.GET", b"n", b"ERROR", NAME]);
    let stays: Value = server.send(&[b"AGG.GET", b"n", b"METRIC", NAME]);
    assert!(gone == Value::Nil && stays != Value::Nil);
}
