//! AGG.ERROR: the fields of an error, its identity, and what is truncated or rejected.

use super::*;

const ERROR: &str = "AGG.ERROR node message [PUBLIC text] [LEVEL level] [TYPE BUG|PERF|OPS|UNKNOWN] [TAGS tags] \
                     [CODE c] [FUNC f] [FILE p] [BACKTRACE b] [GID n] [NID n] [KEY k] [AT ms] [SEQ source n]";

#[test]
fn error_is_queued_with_all_its_fields() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    let t = now_ms() - 5_000;
    let line = format!(
        "agg.error n 'it failed' nid 9223372036854775807 GID 7 public 'try again' level 9 type perf \
         tags 'b:2 a:1' code E42 func f() file main.c backtrace 'at f\nat g' key mine at {t}"
    );
    assert_eq!(
        tell::<(String, i64)>(&server, &line),
        ("mine".to_owned(), 1)
    );
    let record = only(&server, "ERROR");
    assert_eq!(
        record.text,
        format!(
            concat!(
                r#"{{"node":"n","queue":"ERROR","id":{},"key":"mine","message":"it failed","public":"try again","#,
                r#""level":9,"severity":"CRITICAL","type":"PERF","tags":{{"a":"1","b":"2"}},"code":"E42","func":"f()","file":"main.c","#,
                r#""backtrace":"at f\nat g","gid":7,"nid":9223372036854775807,"occurrences":1,"first":{},"last":{}}}"#
            ),
            record.id, t, t
        )
    );
}

#[test]
fn missing_fields_of_an_error_are_empty_or_0() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    let before = now_ms();
    let (key, occurrences): (String, i64) = server.ask("AGG.ERROR n failed");
    assert_eq!(occurrences, 1);
    assert!(
        key.len() == 32 && key.bytes().all(|b| b"0123456789abcdef".contains(&b)),
        "{key}"
    );
    let record = only(&server, "ERROR");
    let first = record.json()["first"].as_i64().unwrap();
    assert!((before..=now_ms()).contains(&first));
    assert_eq!(
        record.text,
        format!(
            concat!(
                r#"{{"node":"n","queue":"ERROR","id":{},"key":"{}","message":"failed","public":"","level":7,"#,
                r#""severity":"ERROR","type":"UNKNOWN","tags":{{}},"code":"","func":"","file":"","backtrace":"","gid":0,"nid":0,"#,
                r#""occurrences":1,"first":{},"last":{}}}"#
            ),
            record.id, key, first, first
        )
    );
}

#[test]
fn error_has_the_type_that_it_was_given() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    for (word, shown) in [
        ("BUG", "BUG"),
        ("perf", "PERF"),
        ("Ops", "OPS"),
        ("UNKNOWN", "UNKNOWN"),
    ] {
        server.ask::<Value>(&format!("AGG.ERROR n failed KEY {word} TYPE {word}"));
        assert_eq!(
            text(&server.ask(&format!("AGG.GET n ERROR {word}")), "type"),
            shown
        );
    }
}

#[test]
fn occurrences_are_counted_and_the_latest_is_shown() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    let t = now_ms() - 5_000;
    let occurrences = [
        ("one", t),
        ("two", t + 2_000),
        ("three", t - 1_000),
        ("four", t + 1_000),
    ];
    for (i, (message, at)) in occurrences.into_iter().enumerate() {
        let line = format!("AGG.ERROR n {message} KEY k LEVEL {i} AT {at}");
        assert_eq!(
            server.ask::<(String, i64)>(&line),
            ("k".to_owned(), i as i64 + 1)
        );
    }
    let record = only(&server, "ERROR").json();
    assert_eq!(
        (&record["message"], &record["level"], &record["occurrences"]),
        (&"four".into(), &3.into(), &4.into())
    );
    assert_eq!(
        (&record["first"], &record["last"]),
        (&(t - 1_000).into(), &(t + 2_000).into()),
        "the oldest time and the newest, in whatever order they came"
    );
    let shown: Value = server.ask("AGG.GET n ERROR k");
    assert_eq!(
        names(&shown).join(" "),
        "node queue id key message public level severity type tags code func file backtrace gid nid occurrences first \
         last seen"
    );
    assert!(int(&shown, "seen") >= t + 5_000, "when it arrived");
}

#[test]
fn errors_are_identified_by_message_public_code_func_and_file() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    let base = "AGG.ERROR n m PUBLIC p CODE c FUNC f FILE i";
    let (key, _): (String, i64) = server.ask(base);
    let others = "LEVEL 1 TYPE BUG TAGS a:1 BACKTRACE b GID 1 NID 2 AT 1700000000000";
    assert_eq!(
        server.ask::<(String, i64)>(&format!("{base} {others}")),
        (key.clone(), 2)
    );
    assert_eq!(
        server.ask::<(String, i64)>("agg.error n m file i func f code c public p"),
        (key, 3)
    );
    for line in [
        "AGG.ERROR n M PUBLIC p CODE c FUNC f FILE i",
        "AGG.ERROR n m PUBLIC P CODE c FUNC f FILE i",
        "AGG.ERROR n m PUBLIC p CODE C FUNC f FILE i",
        "AGG.ERROR n m PUBLIC p CODE c FUNC F FILE i",
        "AGG.ERROR n m PUBLIC p CODE c FUNC f FILE I",
        "AGG.ERROR n m PUBLIC p CODE c FUNC f",
    ] {
        assert_eq!(server.ask::<(String, i64)>(line).1, 1, "{line}");
    }
    // The key is the same on every node and server.
    let (one, _): (String, i64) = server.ask("AGG.ERROR n m");
    let Some(another) = Server::with_settings(CALM) else {
        return;
    };
    assert_eq!(another.ask::<(String, i64)>("AGG.ERROR other m").0, one);
}

#[test]
fn fields_of_an_error_are_hashed_separately() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    let fields = ["PUBLIC", "CODE", "FUNC", "FILE"];
    for field in fields {
        let (one, _): (String, i64) = server.ask(&format!("AGG.ERROR n ab {field} c"));
        let (two, _): (String, i64) = server.ask(&format!("AGG.ERROR n a {field} bc"));
        assert_ne!(one, two, "message and {field}");
    }
    for pair in fields.windows(2) {
        let (a, b) = (pair[0], pair[1]);
        let (one, _): (String, i64) = server.ask(&format!("AGG.ERROR n m {a} ab {b} c"));
        let (two, _): (String, i64) = server.ask(&format!("AGG.ERROR n m {a} a {b} bc"));
        let (three, _): (String, i64) = server.ask(&format!("AGG.ERROR n m {a} abc"));
        let (four, _): (String, i64) = server.ask(&format!("AGG.ERROR n m {b} abc"));
        let mut keys = [one, two, three, four];
        keys.sort();
        assert!(keys.windows(2).all(|two| two[0] != two[1]), "{a} and {b}");
    }
    // Nor by a NUL or any separator.
    let (one, _): (String, i64) = server.send(&[b"AGG.ERROR", b"n", b"a\0b", b"PUBLIC", b"c"]);
    let (two, _): (String, i64) = server.send(&[b"AGG.ERROR", b"n", b"a", b"PUBLIC", b"b\0c"]);
    assert_ne!(one, two);
}

#[test]
fn long_texts_of_an_error_are_truncated_after_hashing() {
    let Some(server) = Server::with_settings(&format!("{CALM} max-item-size 64")) else {
        return;
    };
    let (long, kept) = too_long();
    let (key, _): (String, i64) = server.ask(&format!(
        "AGG.ERROR n {long} PUBLIC {long} BACKTRACE {long}"
    ));
    let record = only(&server, "ERROR").json();
    for field in ["message", "public", "backtrace"] {
        assert_eq!(record[field], kept, "{field}");
    }
    assert_eq!(int(&server.ask("AGG.INFO n"), "truncated"), 3);
    // Equal up to the point of truncation, but different errors.
    let other = long.replace('b', "c");
    let (another, occurrences): (String, i64) =
        server.ask(&format!("AGG.ERROR n {other} PUBLIC {long}"));
    assert_ne!(key, another);
    assert_eq!(occurrences, 1);
    assert_eq!(
        server.ask::<(String, i64)>(&format!("AGG.ERROR n {long} PUBLIC {long}")),
        (key, 2)
    );
}

#[test]
fn error_with_invalid_arguments_is_rejected() {
    let Some(server) = stocked("") else { return };
    let arity = "ERR wrong number of arguments for 'AGG.ERROR' command";
    assert_rejected_once(&server, &words("AGG.ERROR"), arity);
    assert_rejected(&server, "AGG.ERROR n", arity);
    for (options, why) in [
        ("more", format!("unknown option 'more'; usage: {ERROR}")),
        ("TTL 5", format!("unknown option 'TTL'; usage: {ERROR}")),
        (
            "TYPE FATAL",
            "invalid TYPE 'FATAL': expected one of BUG, PERF, OPS, UNKNOWN".into(),
        ),
        (
            "TYPE ''",
            "invalid TYPE '': expected one of BUG, PERF, OPS, UNKNOWN".into(),
        ),
        ("TAGS", format!("TAGS requires a value; usage: {ERROR}")),
    ] {
        assert_rejected(
            &server,
            &format!("AGG.ERROR n failed {options}"),
            &format!("ERR AGG.ERROR: {why}"),
        );
    }
    for (option, good) in [
        ("PUBLIC", "p"),
        ("LEVEL", "5"),
        ("TYPE", "BUG"),
        ("CODE", "c"),
        ("FUNC", "f"),
        ("FILE", "p"),
        ("BACKTRACE", "b"),
        ("GID", "1"),
        ("NID", "1"),
        ("KEY", "k"),
        ("AT", "1700000000000"),
    ] {
        assert_rejected(
            &server,
            &format!("AGG.ERROR n failed {option}"),
            &format!("ERR AGG.ERROR: {option} requires a value; usage: {ERROR}"),
        );
        assert_rejected(
            &server,
            &format!("AGG.ERROR n failed {option} {good} {option} {good}"),
            &format!("ERR AGG.ERROR: {option} is given twice"),
        );
    }
    for option in ["GID", "NID"] {
        for bad in ["-1", "+1", "01", "1.5", "", "root", "9223372036854775808"] {
            assert_rejected(
                &server,
                &format!("AGG.ERROR n failed {option} '{bad}'"),
                &format!(
                    "ERR AGG.ERROR: invalid {option} '{bad}': expected an integer from 0 to 9223372036854775807"
                ),
            );
        }
    }
    bad_levels(&server, "AGG.ERROR n failed");
}
