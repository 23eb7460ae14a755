//! AGG.GET, AGG.RANGE, AGG.SCAN, AGG.INFO and INFO agg on a real server: every field by name and in order, in RESP2
//! (flat arrays) and RESP3 (maps), what there is where nothing is, and what is refused.

mod support;

use std::collections::{BTreeMap, BTreeSet};

use redis::Value;
use support::*;

/// Windows of the past stay open: nothing closes before an hour is over.
const LATE: &str = "flush-delay-ms 3600000";

const BUCKET: &str = "start end count sum avg min max last closed";
const METRIC: &str =
    "name type tags last at min hour samples late late-min restarts gaps tag-changes";
const ERROR: &str = "node queue id key message public level type tags code func file backtrace gid nid \
                     occurrences first last seen";
const OBJECT: &str = "node queue id key model json tags epoch gone seen";
const INFO: &str = "metrics errors realities bytes min-window hour-window late late-min clock-back truncated \
                    refused queues";
const QUEUE: &str = "length bytes oldest leased dropped";

/// The start of an hour whose windows have long ended.
fn past_hour() -> i64 {
    now_ms() / 3_600_000 * 3_600_000 - 7_200_000
}

/// The names of a map's fields in order, one blank between two.
fn names(map: &Value) -> String {
    let names: Vec<&Value> = match map {
        Value::Map(pairs) => pairs.iter().map(|(name, _)| name).collect(),
        Value::Array(items) => {
            assert!(items.len().is_multiple_of(2), "{items:?}");
            items.iter().step_by(2).collect()
        }
        _ => panic!("no map: {map:?}"),
    };
    let names: Vec<String> = names.into_iter().map(bulk).collect();
    names.join(" ")
}

fn bulk(value: &Value) -> String {
    match value {
        Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        _ => panic!("no string: {value:?}"),
    }
}

/// A reply of RESP3 as it would be in RESP2.
fn flat(value: &Value) -> Value {
    match value {
        Value::Map(pairs) => {
            let items = pairs
                .iter()
                .flat_map(|(name, value)| [flat(name), flat(value)]);
            Value::Array(items.collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(flat).collect()),
        value => value.clone(),
    }
}

/// What a command answers in RESP3, when it answers the same in RESP2, its maps as flat arrays.
fn look(server: &Server, line: &str) -> Value {
    let two: Value = ask(&mut server.connection(), line);
    let three: Value = ask(&mut server.connection3(), line);
    assert_eq!(two, flat(&three), "{line}");
    three
}

/// A map with these fields.
fn map(server: &Server, line: &str, fields: &str) -> Value {
    let map = look(server, line);
    assert!(matches!(map, Value::Map(_)), "{line}: {map:?}");
    assert_eq!(names(&map), fields, "{line}");
    map
}

/// Tags, a map in the answer, as pairs.
fn tags(map: &Value) -> Vec<(String, String)> {
    match at(map, "tags") {
        Some(Value::Map(pairs)) => pairs.iter().map(|(n, v)| (bulk(n), bulk(v))).collect(),
        other => panic!("tags are {other:?}"),
    }
}

fn pair(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

/// Buckets as start, count, sum, closed; each with all fields.
fn buckets(value: &Value, window_ms: i64) -> Vec<(i64, i64, f64, i64)> {
    list(value)
        .iter()
        .map(|bucket| {
            assert!(matches!(bucket, Value::Map(_)), "{bucket:?}");
            assert_eq!(names(bucket), BUCKET);
            let start = int(bucket, "start");
            assert_eq!(int(bucket, "end"), start + window_ms);
            (
                start,
                int(bucket, "count"),
                double(bucket, "sum"),
                int(bucket, "closed"),
            )
        })
        .collect()
}

fn range(server: &Server, line: &str) -> Vec<(i64, i64, f64, i64)> {
    let hour = line.contains(" HOUR");
    buckets(&look(server, line), if hour { 3_600_000 } else { 300_000 })
}

/// The fields of INFO agg in order, without their prefix.
fn info_agg(server: &Server) -> Vec<(String, i64)> {
    let info: String = server.ask("INFO agg");
    let fields = info.lines().filter_map(|line| line.split_once(':'));
    fields
        .map(|(name, value)| {
            let name = name
                .strip_prefix("agg_")
                .unwrap_or_else(|| panic!("{name}"));
            (name.to_owned(), value.parse().unwrap())
        })
        .collect()
}

fn of_server(server: &Server, field: &str) -> i64 {
    let fields: BTreeMap<String, i64> = info_agg(server).into_iter().collect();
    *fields
        .get(field)
        .unwrap_or_else(|| panic!("no field {field}"))
}

fn of_queue(server: &Server, node: &str, queue: &str, field: &str) -> i64 {
    let info: Value = server.ask(&format!("AGG.INFO {node}"));
    int(at(at(&info, "queues").unwrap(), queue).unwrap(), field)
}

// Where nothing is.

#[test]
fn a_missing_node_or_name_is_nil_or_empty() {
    let Some(server) = Server::start() else {
        return;
    };
    server.ask::<()>("AGG.LOG there text");
    for node in ["missing", "there"] {
        for family in ["METRIC", "ERROR", "REALITY"] {
            let nothing = look(&server, &format!("AGG.GET {node} {family} name"));
            assert_eq!(nothing, Value::Nil, "{node} {family}");
            let end = Value::BulkString(b"0".to_vec());
            for options in ["", " WITHVALUES", " COUNT 1 MATCH *"] {
                let scanned = look(&server, &format!("AGG.SCAN {node} {family} 0{options}"));
                let expected = Value::Array(vec![end.clone(), Value::Array(vec![])]);
                assert_eq!(scanned, expected, "{node} {family}{options}");
            }
        }
        for window in ["MIN", "HOUR"] {
            let nothing = look(&server, &format!("AGG.RANGE {node} metric {window}"));
            assert_eq!(nothing, Value::Array(vec![]), "{node} {window}");
        }
    }
    assert_eq!(look(&server, "AGG.INFO missing"), Value::Nil);
    assert_eq!(server.ask::<i64>("EXISTS missing"), 0);
}

// AGG.GET.

#[test]
fn get_metric_shows_an_absolute_one() {
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
        assert_eq!(buckets(open, window_ms), [(start, 3, 0.0, 0)], "{list}");
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
        ("restarts", 0),
        ("gaps", 0),
        ("tag-changes", 1),
    ] {
        assert_eq!(int(&metric, field), count, "{field}");
    }
}

#[test]
fn get_metric_shows_a_counter_with_its_restarts_gaps_and_late_samples() {
    let Some(server) = Server::with_settings("max-gap 60 flush-delay-ms 3600000") else {
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
    let metric = map(&server, "AGG.GET n METRIC m", METRIC);
    assert_eq!(text(&metric, "type"), "DIFF");
    assert_eq!(text(&metric, "last"), "18446744073709551615");
    assert_eq!(int(&metric, "at"), start + 110_000);
    for (field, count) in [("restarts", 1), ("gaps", 1), ("late", 1), ("late-min", 0)] {
        assert_eq!(int(&metric, field), count, "{field}");
    }
    // The node counts the same.
    let info: Value = server.ask("AGG.INFO n");
    assert_eq!((int(&info, "late"), int(&info, "late-min")), (1, 0));
}

#[test]
fn get_metric_counts_what_missed_its_min_window_alone() {
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
fn get_metric_lists_two_open_windows_the_older_first_and_none_when_all_have_closed() {
    let Some(server) = Server::with_settings(LATE) else {
        return;
    };
    let this = now_ms() / 300_000 * 300_000;
    let before = this - 300_000;
    for at in [this, before] {
        assert_eq!(server.ask::<i64>(&format!("AGG.STAT n m 2 AT {at}")), 1);
    }
    let metric = map(&server, "AGG.GET n METRIC m", METRIC);
    let open = buckets(at(&metric, "min").unwrap(), 300_000);
    assert_eq!(open, [(before, 1, 2.0, 0), (this, 1, 2.0, 0)]);
    server.ask::<()>("CONFIG SET agg.flush-delay-ms 0");
    server.ask::<()>(&format!("AGG.STAT n old 1 AT {}", past_hour()));
    until("its windows close", || {
        let metric: Value = ask(&mut server.connection3(), "AGG.GET n METRIC old");
        let open = |list: &str| support::list(at(&metric, list).unwrap()).len();
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
    let id = entries(&server.ask("AGG.PEEK n ERROR"))[0].id;
    for waits in [id, 0] {
        let error = map(&server, "AGG.GET n ERROR k", ERROR);
        for (field, value) in [
            ("node", "n"),
            ("queue", "ERROR"),
            ("key", "k"),
            ("message", "message"),
            ("public", "public"),
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
        // By the server's clock, whatever AT said.
        assert!((before..=after).contains(&int(&error, "seen")));
        server.ask::<()>("AGG.POP n ERROR");
    }
}

#[test]
fn get_error_of_a_bare_one_has_empty_texts_and_zeros() {
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
        (int(&error, "level"), &*text(&error, "type")),
        (5, "UNKNOWN")
    );
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
    let id = entries(&server.ask("AGG.PEEK n REALITY"))[0].id;
    for waits in [id, 0] {
        let before = now_ms();
        // Seen again, and unchanged.
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
fn names_are_binary_safe_and_families_apart() {
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

// AGG.RANGE.

#[test]
fn range_gives_the_buckets_oldest_first_and_the_open_ones_last() {
    let Some(server) = Server::with_settings("flush-delay-ms 600000") else {
        return;
    };
    let start = past_hour();
    let window = |i: i64| start + i * 300_000;
    for i in 0..4 {
        server.ask::<()>(&format!("AGG.STAT n m {i} AT {}", window(i)));
        server.ask::<()>(&format!("AGG.STAT n m 0.5 AT {}", window(i) + 1));
    }
    let expected = [
        (window(0), 2, 0.5, 1),
        (window(1), 2, 1.5, 1),
        (window(2), 2, 2.5, 1),
        (window(3), 2, 3.5, 0),
    ];
    assert_eq!(range(&server, "AGG.RANGE n m MIN"), expected);
    assert_eq!(range(&server, "agg.range n m min"), expected);
    assert_eq!(range(&server, "AGG.RANGE n m HOUR"), [(start, 8, 8.0, 0)]);
    let reply = look(&server, "AGG.RANGE n m MIN");
    let Value::Array(all) = &reply else {
        unreachable!()
    };
    for (field, value) in [
        ("sum", "3.5"),
        ("avg", "1.75"),
        ("min", "0.5"),
        ("max", "3.0"),
        ("last", "0.5"),
    ] {
        assert_eq!(text(&all[3], field), value, "{field}");
    }
}

#[test]
fn range_gives_two_open_buckets() {
    let Some(server) = Server::with_settings(LATE) else {
        return;
    };
    let this = now_ms() / 300_000 * 300_000;
    let before = this - 300_000;
    server.ask::<()>(&format!("AGG.STAT n m 1 AT {before}"));
    server.ask::<()>(&format!("AGG.STAT n m 2 AT {this}"));
    let open = range(&server, "AGG.RANGE n m MIN");
    assert_eq!(open, [(before, 1, 1.0, 0), (this, 1, 2.0, 0)]);
}

#[test]
fn range_takes_the_windows_that_from_and_to_touch() {
    let Some(server) = Server::with_settings("flush-delay-ms 600000") else {
        return;
    };
    let start = past_hour();
    let window = |i: i64| start + i * 300_000;
    for i in 0..4 {
        server.ask::<()>(&format!("AGG.STAT n m 1 AT {}", window(i)));
    }
    let (one, two) = (window(1), window(2));
    for (options, expected) in [
        ("FROM 0".to_owned(), vec![0, 1, 2, 3]),
        (format!("FROM {one}"), vec![1, 2, 3]),
        (format!("FROM {}", one - 1), vec![0, 1, 2, 3]),
        (format!("FROM {}", one + 1), vec![1, 2, 3]),
        (format!("TO {two}"), vec![0, 1, 2]),
        (format!("TO {}", two - 1), vec![0, 1]),
        (format!("FROM {one} TO {one}"), vec![1]),
        (format!("TO {} from {one}", window(3)), vec![1, 2, 3]),
        (format!("FROM {}", window(4)), vec![]),
        (format!("TO {}", start - 1), vec![]),
        (format!("FROM {two} TO {one}"), vec![]),
        ("FROM 18446744073709551615".to_owned(), vec![]),
        ("TO 18446744073709551615".to_owned(), vec![0, 1, 2, 3]),
        ("TO 0".to_owned(), vec![]),
    ] {
        let found = range(&server, &format!("AGG.RANGE n m MIN {options}"));
        let starts: Vec<i64> = found.iter().map(|bucket| bucket.0).collect();
        let expected: Vec<i64> = expected.into_iter().map(window).collect();
        assert_eq!(starts, expected, "{options}");
    }
    let hour = format!("AGG.RANGE n m HOUR FROM {two} TO {two}");
    assert_eq!(range(&server, &hour).len(), 1);
    let later = format!("AGG.RANGE n m HOUR FROM {}", start + 3_600_000);
    assert_eq!(range(&server, &later), []);
}

#[test]
fn range_shows_as_many_closed_buckets_as_are_kept() {
    let settings = "flush-delay-ms 600000 min-history 2 hour-history 0";
    let Some(server) = Server::with_settings(settings) else {
        return;
    };
    // Within two hours, so that one of them has closed.
    let start = past_hour() - 3_600_000;
    for i in 0..15 {
        server.ask::<()>(&format!("AGG.STAT n m 1 AT {}", start + i * 300_000));
    }
    let window = |i: i64| start + i * 300_000;
    let expected = [
        (window(12), 1, 1.0, 1),
        (window(13), 1, 1.0, 1),
        (window(14), 1, 1.0, 0),
    ];
    assert_eq!(range(&server, "AGG.RANGE n m MIN"), expected);
    let hour = range(&server, "AGG.RANGE n m HOUR");
    assert_eq!(hour, [(window(12), 3, 3.0, 0)]);
}

#[test]
fn range_shows_of_a_counter_the_increase_and_the_rates() {
    let Some(server) = Server::with_settings(LATE) else {
        return;
    };
    let start = past_hour();
    for (total, seconds) in [(0, 0), (60, 60), (360, 120)] {
        let at = start + seconds * 1000;
        server.ask::<()>(&format!("AGG.STAT n m {total} DIFF AT {at}"));
    }
    let reply = look(&server, "AGG.RANGE n m MIN");
    assert_eq!(buckets(&reply, 300_000), [(start, 2, 360.0, 0)]);
    for (field, value) in [
        ("avg", "3.0"),
        ("min", "1.0"),
        ("max", "5.0"),
        ("last", "5.0"),
    ] {
        assert_eq!(text(&list(&reply)[0], field), value, "{field}");
    }
}

// AGG.SCAN.

/// One of a family.
fn add(pipe: &mut redis::Pipeline, family: &str, name: &str) {
    match family {
        "METRIC" => pipe.cmd("AGG.STAT").arg("n").arg(name).arg(1),
        "ERROR" => pipe
            .cmd("AGG.ERROR")
            .arg("n")
            .arg(name)
            .arg("KEY")
            .arg(name),
        _ => pipe
            .cmd("AGG.REALITY")
            .arg("n")
            .arg(name)
            .arg("model")
            .arg(1),
    }
    .ignore();
}

fn add_all(server: &Server, family: &str, names: &[String]) {
    let mut pipe = redis::pipe();
    names.iter().for_each(|name| add(&mut pipe, family, name));
    pipe.query::<()>(&mut server.connection()).unwrap();
}

/// A whole scan: all names in the order given, and how many calls it took; `between` runs between two calls.
fn scan(
    server: &Server,
    family: &str,
    options: &str,
    mut between: impl FnMut(),
) -> (Vec<String>, usize) {
    let mut connection = server.connection();
    let (mut cursor, mut all) = ("0".to_owned(), Vec::new());
    for calls in 1..10_000 {
        let line = format!("AGG.SCAN n {family} {cursor}{options}");
        let (next, names): (String, Vec<String>) = ask(&mut connection, &line);
        next.parse::<u64>().unwrap();
        all.extend(names);
        cursor = next;
        if cursor == "0" {
            return (all, calls);
        }
        between();
    }
    panic!("the scan does not end");
}

fn some(prefix: &str, n: usize) -> Vec<String> {
    (0..n).map(|i| format!("{prefix}{i}")).collect()
}

#[test]
fn scan_comes_to_all_names_and_to_its_end() {
    let Some(server) = Server::start() else {
        return;
    };
    for family in ["METRIC", "ERROR", "REALITY"] {
        let all = some("name", 57);
        add_all(&server, family, &all);
        let expected: BTreeSet<String> = all.into_iter().collect();
        let mut calls = Vec::new();
        for options in ["", " COUNT 1", " COUNT 7", " count 10000"] {
            let (found, n) = scan(&server, family, options, || ());
            // Each once, while nothing comes or goes.
            assert_eq!(found.len(), 57, "{family}{options}");
            assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), expected);
            calls.push(n);
        }
        assert!(calls[1] > calls[2] && calls[2] > calls[3], "{calls:?}");
    }
}

#[test]
fn scan_lists_what_matches() {
    let Some(server) = Server::start() else {
        return;
    };
    for family in ["METRIC", "ERROR", "REALITY"] {
        let names = [
            "disk@sda", "disk@sdb", "disk@sdc", "nic@eth0", "a*b", "axb", "Disk",
        ];
        add_all(&server, family, &names.map(str::to_owned));
        for (glob, expected) in [
            ("*", &names[..]),
            ("disk*", &names[..3]),
            ("disk@sd[ab]", &names[..2]),
            ("disk@sd[^ab]", &names[2..3]),
            ("????@eth?", &[]),
            ("???@eth?", &names[3..4]),
            ("a\\*b", &names[4..5]),
            ("a*b", &names[4..6]),
            ("disk@sda", &names[..1]),
            ("none", &[]),
            ("", &[]),
        ] {
            // What does not match does not end the scan either.
            for count in ["", " COUNT 1"] {
                let options = format!(" MATCH {glob}{count}");
                let (mut found, _) = scan(&server, family, &options, || ());
                found.sort();
                let mut expected = expected.to_vec();
                expected.sort();
                assert_eq!(found, expected, "{family}{options}");
            }
        }
    }
}

#[test]
fn scan_withvalues_gives_each_name_and_what_get_would() {
    let Some(server) = Server::start() else {
        return;
    };
    for (family, fields) in [("METRIC", METRIC), ("ERROR", ERROR), ("REALITY", OBJECT)] {
        let names = some("name", 3);
        add_all(&server, family, &names);
        let line = format!("AGG.SCAN n {family} 0 withvalues COUNT 100 MATCH *[02]");
        let reply = look(&server, &line);
        let [cursor, Value::Array(items)] = list(&reply) else {
            panic!("{reply:?}");
        };
        assert_eq!(bulk(cursor), "0");
        assert_eq!(items.len(), 4);
        let mut found = BTreeSet::new();
        for pair in items.chunks(2) {
            let name = bulk(&pair[0]);
            let line = format!("AGG.GET n {family} {name}");
            assert_eq!(map(&server, &line, fields), pair[1], "{name}");
            found.insert(name);
        }
        let expected = [names[0].clone(), names[2].clone()];
        assert_eq!(found, BTreeSet::from(expected));
    }
}

#[test]
fn scan_lists_all_that_stays_while_others_come_and_go() {
    let Some(server) = Server::start() else {
        return;
    };
    for family in ["METRIC", "ERROR", "REALITY"] {
        for round in 0..3 {
            let stays: BTreeSet<String> = some("stays", 200).into_iter().collect();
            let goes = some(&format!("goes{round}."), 200);
            let before = some(&format!("before{round}."), 50);
            // In turn, so that what goes leaves holes everywhere.
            let mixed: Vec<String> = stays
                .iter()
                .zip(&goes)
                .flat_map(|(a, b)| [a.clone(), b.clone()])
                .collect();
            add_all(&server, family, &before);
            add_all(&server, family, &mixed);
            let forget = |names: &[String]| {
                let mut pipe = redis::pipe();
                for name in names {
                    pipe.cmd("AGG.FORGET")
                        .arg("n")
                        .arg(family)
                        .arg(name)
                        .ignore();
                }
                // What is gone leaves with its delivery.
                pipe.cmd("AGG.POP")
                    .arg("n")
                    .arg("REALITY")
                    .arg("COUNT")
                    .arg(10_000);
                pipe.query::<()>(&mut server.connection()).unwrap();
            };
            forget(&before);
            let mut calls = 0;
            let (found, _) = scan(&server, family, " COUNT 10", || {
                if let Some(some) = goes.chunks(7).nth(calls) {
                    forget(some);
                }
                add_all(&server, family, &some(&format!("comes{round}.{calls}."), 5));
                calls += 1;
            });
            let found: BTreeSet<String> = found.into_iter().collect();
            let missed: Vec<_> = stays.difference(&found).collect();
            assert!(missed.is_empty(), "{family}: {missed:?}");
            let ghosts: Vec<_> = found.iter().filter(|name| before.contains(name)).collect();
            assert!(ghosts.is_empty(), "{family}: {ghosts:?}");
        }
        server.ask::<()>("DEL n");
    }
}

#[test]
fn scan_from_a_cursor_that_is_no_more_comes_to_an_end() {
    let Some(server) = Server::start() else {
        return;
    };
    add_all(&server, "METRIC", &some("name", 100));
    let (cursor, _): (String, Vec<String>) = server.ask("AGG.SCAN n METRIC 0 COUNT 50");
    assert_ne!(cursor, "0");
    server.ask::<()>("DEL n");
    add_all(&server, "METRIC", &some("name", 3));
    for cursor in [&*cursor, "4294967296", "18446744073709551615"] {
        let line = format!("AGG.SCAN n METRIC {cursor}");
        let (next, names): (String, Vec<String>) = server.ask(&line);
        assert_eq!((&*next, names.len()), ("0", 0), "{cursor}");
    }
}

// AGG.INFO and INFO agg.

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
        let refused = at(&info, "refused").unwrap();
        assert_eq!(matches!(refused, Value::Map(_)), is_map);
        let reasons = "argument future type max-series max-realities max-memory";
        assert_eq!(names(refused), reasons);
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
fn info_tells_the_age_of_the_oldest_entry() {
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

#[test]
fn info_agg_has_its_fields_in_order() {
    let Some(server) = Server::start() else {
        return;
    };
    let mut expected: Vec<String> = "nodes metrics errors realities held max_memory"
        .split(' ')
        .map(str::to_owned)
        .collect();
    for queue in ["min", "hour", "log", "error", "reality"] {
        expected.extend(QUEUE.split(' ').map(|field| format!("{queue}_{field}")));
    }
    expected.extend(
        "late late_min clock_back truncated"
            .split(' ')
            .map(str::to_owned),
    );
    for reason in "argument future type max_series max_realities max_memory".split(' ') {
        expected.push(format!("refused_{reason}"));
    }
    for reason in "queue_full max_memory max_errors max_gone history".split(' ') {
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
    // It is in INFO everything too.
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
        assert_eq!(of_server(&server, field), sum, "{field}");
    }
    assert!(of_server(&server, "held") < held);
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
fn ends_that_nobody_drained_are_dropped_and_counted() {
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
fn cut_texts_are_counted() {
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
fn refusals_are_counted_by_reason_of_the_node_and_of_the_server_alike() {
    let Some(server) = Server::with_settings("max-series 1 max-realities 1") else {
        return;
    };
    server.ask::<()>("AGG.STAT n m 1");
    server.ask::<()>("AGG.REALITY n r model 1");
    for line in [
        "AGG.STAT n m x",
        "AGG.STAT n m 1 AT 9000000000000",
        "AGG.STAT n m 1 DIFF",
        "AGG.STAT n new 1",
        "AGG.REALITY n new model 1",
    ] {
        server.error(line);
    }
    let info: Value = server.ask("AGG.INFO n");
    let refused = at(&info, "refused").unwrap();
    let counted = |reason: &str| {
        let of_server = of_server(&server, &format!("refused_{}", reason.replace('-', "_")));
        (int(refused, reason), of_server)
    };
    let reasons = ["argument", "future", "type", "max-series", "max-realities"];
    let found = reasons.map(|reason| (reason, counted(reason)));
    assert_eq!(found, reasons.map(|reason| (reason, (1, 1))));
}

#[test]
fn what_memory_leaves_no_room_for_is_counted() {
    let Some(server) = Server::with_settings("max-memory 1mb") else {
        return;
    };
    let long = "x".repeat(60_000);
    let refused = (0..100)
        .filter(|i| {
            let line = format!("AGG.REALITY n r{i} model \"{long}\"");
            let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
            send::<i64>(&mut server.connection(), &words).is_err()
        })
        .count() as i64;
    assert!(refused > 0);
    let info: Value = server.ask("AGG.INFO n");
    assert_eq!(int(at(&info, "refused").unwrap(), "max-memory"), refused);
    assert_eq!(of_server(&server, "refused_max_memory"), refused);
    assert!(of_server(&server, "held") <= 1 << 20);
}

#[test]
fn counters_begin_anew_with_the_server() {
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

// Refusals.

#[test]
fn what_cannot_be_read_is_refused_with_a_reason() {
    let Some(server) = Server::start() else {
        return;
    };
    server.ask::<()>("AGG.STAT n m 1");
    let kind = |word: &str| format!("the kind '{word}' is not one of METRIC, ERROR, REALITY");
    let cursor =
        |w: &str| format!("cursor '{w}' is not a whole number from 0 to 18446744073709551615");
    let count = |word: &str| format!("COUNT '{word}' is not a whole number from 1 to 10000");
    let time =
        |what: &str, word: &str| format!("{what} '{word}' is not a time in Unix milliseconds");
    let range = "AGG.RANGE node metric MIN|HOUR [FROM ms] [TO ms]";
    let scan = "AGG.SCAN node METRIC|ERROR|REALITY cursor [MATCH glob] [COUNT n] [WITHVALUES]";
    for (line, why) in [
        ("AGG.GET n LOG m", kind("LOG")),
        ("AGG.GET n  m", kind("")),
        ("AGG.GET n METRIC ", "name is empty".to_owned()),
        ("AGG.GET  METRIC m", "node is empty".to_owned()),
        ("AGG.INFO ", "node is empty".to_owned()),
        (
            "AGG.RANGE n m DAY",
            "the window 'DAY' is not one of MIN, HOUR".to_owned(),
        ),
        ("AGG.RANGE n  MIN", "metric is empty".to_owned()),
        ("AGG.RANGE  m MIN", "node is empty".to_owned()),
        (
            "AGG.RANGE n m MIN FROM",
            format!("FROM is missing: {range}"),
        ),
        ("AGG.RANGE n m MIN FROM x", time("FROM", "x")),
        ("AGG.RANGE n m MIN FROM -1", time("FROM", "-1")),
        ("AGG.RANGE n m MIN TO 1.5", time("TO", "1.5")),
        ("AGG.RANGE n m MIN TO ", time("TO", "")),
        (
            "AGG.RANGE n m MIN FROM 1 FROM 1",
            "FROM is given twice".to_owned(),
        ),
        (
            "AGG.RANGE n m MIN TO 1 to 1",
            "TO is given twice".to_owned(),
        ),
        (
            "AGG.RANGE n m MIN COUNT 1",
            format!("'COUNT' is not an option here: {range}"),
        ),
        (
            "AGG.RANGE n m MIN HOUR",
            format!("'HOUR' is not an option here: {range}"),
        ),
        ("AGG.SCAN n LOG 0", kind("LOG")),
        ("AGG.SCAN  METRIC 0", "node is empty".to_owned()),
        ("AGG.SCAN n METRIC x", cursor("x")),
        ("AGG.SCAN n METRIC -1", cursor("-1")),
        ("AGG.SCAN n METRIC ", cursor("")),
        (
            "AGG.SCAN n METRIC 18446744073709551616",
            cursor("18446744073709551616"),
        ),
        ("AGG.SCAN n METRIC 0 COUNT 0", count("0")),
        ("AGG.SCAN n METRIC 0 COUNT 10001", count("10001")),
        ("AGG.SCAN n METRIC 0 COUNT x", count("x")),
        (
            "AGG.SCAN n METRIC 0 COUNT",
            format!("COUNT is missing: {scan}"),
        ),
        (
            "AGG.SCAN n METRIC 0 COUNT 1 COUNT 1",
            "COUNT is given twice".to_owned(),
        ),
        (
            "AGG.SCAN n METRIC 0 MATCH",
            format!("the pattern behind MATCH is missing: {scan}"),
        ),
        (
            "AGG.SCAN n METRIC 0 MATCH a MATCH a",
            "MATCH is given twice".to_owned(),
        ),
        (
            "AGG.SCAN n METRIC 0 WITHVALUES withvalues",
            "WITHVALUES is given twice".to_owned(),
        ),
        (
            "AGG.SCAN n METRIC 0 TYPE x",
            format!("'TYPE' is not an option here: {scan}"),
        ),
    ] {
        let command = line.split(' ').next().unwrap();
        assert_eq!(
            server.error(line),
            format!("ERR {command}: {why}"),
            "{line}"
        );
        // Also where there is no such node.
        if line.contains(" n ") {
            let line = line.replace(" n ", " missing ");
            assert_eq!(
                server.error(&line),
                format!("ERR {command}: {why}"),
                "{line}"
            );
        }
    }
}

#[test]
fn a_name_that_is_too_long_is_refused_with_its_length() {
    let Some(server) = Server::with_settings("max-item-size 100") else {
        return;
    };
    let long = "x".repeat(101);
    let quoted = format!("'{}…'", "x".repeat(64));
    for (line, what) in [
        (format!("AGG.GET n METRIC {long}"), "name"),
        (format!("AGG.RANGE n {long} MIN"), "metric"),
        (format!("AGG.INFO {long}"), "node"),
    ] {
        let command = line.split(' ').next().unwrap();
        let why = format!("{what} {quoted} has 101 bytes: agg.max-item-size allows 100");
        assert_eq!(server.error(&line), format!("ERR {command}: {why}"));
    }
}

#[test]
fn a_wrong_number_of_arguments_is_refused_by_the_server() {
    let Some(server) = Server::start() else {
        return;
    };
    for line in [
        "AGG.GET n METRIC",
        "AGG.GET n METRIC m more",
        "AGG.RANGE n m",
        "AGG.SCAN n METRIC",
        "AGG.INFO",
        "AGG.INFO n more",
    ] {
        let command = line.split(' ').next().unwrap().to_lowercase();
        let why = format!("err wrong number of arguments for '{command}' command");
        assert_eq!(server.error(line).to_lowercase(), why, "{line}");
    }
}

#[test]
fn a_key_that_holds_something_else_is_refused() {
    let Some(server) = Server::start() else {
        return;
    };
    server.ask::<()>("SET n text");
    for line in [
        "AGG.GET n METRIC m",
        "AGG.RANGE n m MIN",
        "AGG.SCAN n METRIC 0",
        "AGG.INFO n",
    ] {
        let why = "WRONGTYPE Operation against a key holding the wrong kind of value";
        assert_eq!(server.error(line), why, "{line}");
    }
}

#[test]
fn reading_changes_nothing() {
    let Some(server) = Server::with_settings(LATE) else {
        return;
    };
    for family in ["METRIC", "ERROR", "REALITY"] {
        add_all(&server, family, &some("name", 3));
    }
    let digest = server.digest("n");
    for line in [
        "AGG.GET n METRIC name0",
        "AGG.GET n ERROR name0",
        "AGG.GET n REALITY name0",
        "AGG.GET n METRIC none",
        "AGG.RANGE n name0 MIN",
        "AGG.SCAN n METRIC 0 WITHVALUES",
        "AGG.INFO n",
        "INFO agg",
    ] {
        server.ask::<Value>(line);
        assert_eq!(server.digest("n"), digest, "{line}");
    }
}
