//! AGG.REALITY: when an object is queued, which report counts, and which JSON is accepted.

use super::*;

const REALITY: &str = "AGG.REALITY node key model json [TAGS tags] [AT ms] [TTL seconds]";

#[test]
fn object_is_queued_only_when_new_or_changed() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    for (json, options, answer) in [
        (r#"{"size":1,"name":"sda"}"#, "", 1),
        (r#"{"size":1,"name":"sda"}"#, "", 0),
        // Whitespace, the order of members and escapes do not count.
        ("{ \"name\" : \"s\\u0064a\",\n\t\"size\":1 }", "", 0),
        // Numbers compare as written.
        (r#"{"size":1.0,"name":"sda"}"#, "", 1),
        (r#"{"size":1.0,"name":"sda"}"#, "TAGS 'a:1 b'", 1),
        (r#"{"size":1.0,"name":"sda"}"#, "TAGS 'b a:1'", 0),
        // No TAGS means no tags.
        (r#"{"size":1.0,"name":"sda"}"#, "", 1),
        // The TTL is not part of the content.
        (r#"{"size":1.0,"name":"sda"}"#, "TTL 100", 0),
        ("[1,2]", "", 1),
        ("[2,1]", "", 1),
        ("null", "", 1),
    ] {
        let line = format!("AGG.REALITY n sda system.Disk '{json}' {options}");
        assert_eq!(tell::<i64>(&server, &line), answer, "{line}");
        assert_eq!(
            look(&server, "REALITY").len(),
            1,
            "one record for an object"
        );
    }
    assert_eq!(
        tell::<i64>(&server, "AGG.REALITY n sda system.Volume null"),
        1,
        "a change of model"
    );
    assert_eq!(
        tell::<i64>(&server, "AGG.REALITY n sdb system.Volume null"),
        1
    );
    assert_eq!(look(&server, "REALITY").len(), 2);
}

#[test]
fn object_is_delivered_as_given_without_whitespace() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    let t = now_ms() - 5_000;
    let line = format!(
        "agg.reality n sda system.Disk '{{ \"b\" : 1.50,\n \"a\":\" x \" }} ' ttl 1000 at {t} tags 'rack:7 spare'"
    );
    assert_eq!(tell::<i64>(&server, &line), 1);
    let record = only(&server, "REALITY");
    assert_eq!(
        record.text,
        format!(
            concat!(
                r#"{{"node":"n","queue":"REALITY","id":{},"key":"sda","model":"system.Disk","#,
                r#""json":{{"b":1.50,"a":" x "}},"tags":{{"rack":"7","spare":true}},"epoch":{},"gone":false}}"#
            ),
            record.id, t
        )
    );
    let shown: Value = server.ask("AGG.GET n REALITY sda");
    assert_eq!(
        names(&shown).join(" "),
        "node queue id key model json tags epoch gone seen"
    );
    assert_eq!(text(&shown, "json"), r#"{"b":1.50,"a":" x "}"#);
}

#[test]
fn object_has_the_state_of_the_newest_report() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    let t = now_ms() - 50_000;
    let report =
        |json: &str, at: i64| server.ask::<i64>(&format!("AGG.REALITY n k m {json} AT {at}"));
    assert_eq!(report("1", t), 1);
    assert_eq!(report("2", t - 1), -1, "older");
    assert_eq!(report("1", t - 1), -1, "older, if the same");
    assert_eq!(
        report("2", t),
        1,
        "of equal times the later to arrive holds"
    );
    assert_eq!(report("2", t + 1_000), 0, "the same again");
    let epoch = |server: &Server| only(server, "REALITY").json()["epoch"].as_i64();
    assert_eq!(epoch(&server), Some(t), "the time of the last change");
    assert_eq!(report("3", t + 999), -1, "older than the newest report");
    assert_eq!(report("3", t + 1_001), 1);
    assert_eq!(epoch(&server), Some(t + 1_001));
}

#[test]
fn ignored_report_changes_nothing() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    let t = now_ms() - 50_000;
    server.ask::<i64>(&format!("AGG.REALITY n k m 1 AT {t}"));
    let before = state(&server);
    let line = format!("AGG.REALITY n k other 2 TAGS a TTL 1 AT {}", t - 1);
    assert_eq!(server.ask::<i64>(&line), -1);
    assert_eq!(state(&server), before);
}

#[test]
fn report_older_than_the_end_of_its_object_is_ignored() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    let t = now_ms();
    server.ask::<i64>(&format!("AGG.REALITY n k m 1 AT {t}"));
    server.ask::<i64>("AGG.FORGET n REALITY k");
    assert_eq!(
        server.ask::<i64>(&format!("AGG.REALITY n k m 1 AT {}", t - 1)),
        -1
    );
    assert_eq!(only(&server, "REALITY").json()["gone"], true);
    assert_eq!(
        server.ask::<i64>("AGG.REALITY n k m 1"),
        1,
        "it is there again"
    );
    assert_eq!(only(&server, "REALITY").json()["gone"], false);
}

#[test]
fn invalid_json_is_rejected_with_the_position() {
    let Some(server) = stocked("") else { return };
    for (json, why) in [
        ("", "unexpected end, expected a value at byte 0"),
        (" ", "unexpected end, expected a value at byte 1"),
        ("{", "expected a name at byte 1"),
        ("{\"a\":1,}", "expected a name at byte 7"),
        ("{\"a\" 1}", "expected ':' at byte 5"),
        ("{\"a\":1 \"b\"}", "expected ',' or '}' at byte 7"),
        ("[1 2]", "expected ',' or ']' at byte 3"),
        ("[1,]", "expected a value at byte 3"),
        ("[1] 2", "trailing characters at byte 4"),
        ("NaN", "expected a value at byte 0"),
        ("True", "expected a value at byte 0"),
        ("0x10", "trailing characters at byte 1"),
        ("01", "invalid number at byte 0"),
        ("1.", "invalid number at byte 0"),
        ("\"a", "unterminated string at byte 2"),
        ("\"\\x\"", "invalid escape at byte 1"),
        ("\"\\u12\"", "invalid \\u escape at byte 1"),
        ("\"\\ud800\"", "lone surrogate at byte 1"),
        ("\u{feff}1", "unexpected byte order mark at byte 0"),
        (
            "{\"a\":1,\"a\":1}",
            "duplicate name in the object that ends at byte 13",
        ),
        (
            "[{\"a\":1,\"\\u0061\":2},3]",
            "duplicate name in the object that ends at byte 19",
        ),
    ] {
        let shown = json.replace('\\', r"\\");
        assert_rejected(
            &server,
            &format!("AGG.REALITY n sda system.Disk '{json}'"),
            &format!("ERR AGG.REALITY: invalid JSON '{shown}': {why}"),
        );
    }
    for (json, shown, why) in [
        (&b"\"\xff\""[..], r#""\xff""#, "invalid UTF-8 at byte 1"),
        (
            b"\"\n\"",
            r#""\n""#,
            "control character in a string at byte 1",
        ),
        (b"1\0", r"1\x00", "trailing characters at byte 1"),
        (b"'a'", r"\'a\'", "expected a value at byte 0"),
    ] {
        assert_words_rejected(
            &server,
            &[b"AGG.REALITY", b"n", b"sda", b"system.Disk", json],
            &format!("ERR AGG.REALITY: invalid JSON '{shown}': {why}"),
        );
    }
}

#[test]
fn json_nests_at_most_128_deep() {
    let Some(server) = stocked("") else { return };
    let arrays = |n: usize| "[".repeat(n) + &"]".repeat(n);
    let objects = |n: usize| "{\"a\":".repeat(n) + "1" + &"}".repeat(n);
    for json in [arrays(128), objects(128)] {
        assert_eq!(
            server.ask::<i64>(&format!("AGG.REALITY n sda system.Disk {json}")),
            1
        );
    }
    assert_rejected(
        &server,
        &format!("AGG.REALITY n sda system.Disk {}", arrays(129)),
        &format!(
            "ERR AGG.REALITY: invalid JSON '{}…' (258 bytes): nesting deeper than 128 at byte 128",
            "[".repeat(64)
        ),
    );
    let deep = objects(129);
    assert_rejected(
        &server,
        &format!("AGG.REALITY n sda system.Disk {deep}"),
        &format!(
            "ERR AGG.REALITY: invalid JSON '{}…' ({} bytes): nesting deeper than 128 at byte 640",
            &deep[..64],
            deep.len()
        ),
    );
}

#[test]
fn object_with_invalid_arguments_is_rejected() {
    let Some(server) = stocked("") else { return };
    let arity = "ERR wrong number of arguments for 'AGG.REALITY' command";
    assert_rejected_once(&server, &words("AGG.REALITY"), arity);
    assert_rejected(&server, "AGG.REALITY n sda", arity);
    assert_rejected(&server, "AGG.REALITY n sda system.Disk", arity);
    for (options, why) in [
        ("more", format!("unknown option 'more'; usage: {REALITY}")),
        (
            "LEVEL 5",
            format!("unknown option 'LEVEL'; usage: {REALITY}"),
        ),
        ("AT", format!("AT requires a value; usage: {REALITY}")),
        ("TTL", format!("TTL requires a value; usage: {REALITY}")),
        ("TAGS", format!("TAGS requires a value; usage: {REALITY}")),
        ("TTL 1 TTL 1", "TTL is given twice".into()),
        ("TAGS a TAGS a", "TAGS is given twice".into()),
        (
            "AT 1700000000000 at 1700000000000",
            "AT is given twice".into(),
        ),
    ] {
        assert_rejected(
            &server,
            &format!("AGG.REALITY n sda system.Disk {{}} {options}"),
            &format!("ERR AGG.REALITY: {why}"),
        );
    }
    // A hundred years is long enough.
    for ttl in ["-1", "+1", "01", "1.5", "", "never", "3162240001"] {
        assert_rejected(
            &server,
            &format!("AGG.REALITY n sda system.Disk {{}} TTL '{ttl}'"),
            &format!(
                "ERR AGG.REALITY: invalid TTL '{ttl}': expected an integer from 0 to 3162240000"
            ),
        );
    }
}

#[test]
fn names_of_objects_and_models_are_binary_safe() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    for key in [&b"a\0b"[..], b"a\0c", b"a:b", b"\xff"] {
        let command: [&[u8]; 5] = [b"AGG.REALITY", b"n", key, b"m\0\xff|", b"1"];
        assert_eq!(server.send::<i64>(&command), 1);
        let shown: Value = server.send(&[b"AGG.GET", b"n", b"REALITY", key]);
        assert_eq!(at(&shown, "key"), Some(&Value::BulkString(key.to_vec())));
        assert_eq!(
            at(&shown, "model"),
            Some(&Value::BulkString(b"m\0\xff|".to_vec()))
        );
    }
    let records = server.peek("n", "REALITY");
    assert_eq!(records.len(), 4);
    assert_eq!(records[0]["key"], "a\0b");
    assert_eq!(records[3]["key"], "\u{fffd}");
    assert_eq!(records[3]["model"], "m\0\u{fffd}|");
}
