//! AGG.LOG: log entries that are queued, truncated and rejected.

use super::*;

const LOG: &str = "AGG.LOG node message [LEVEL level] [TAGS tags] [AT ms] [SEQ source n]";

#[test]
fn log_entry_is_queued_with_all_its_fields() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    let t = now_ms() - 5_000;
    let line = format!("agg.log n 'disk is \"full\"' at {t} tags 'job:x word' level 0");
    let id: i64 = tell(&server, &line);
    let delivered = only(&server, "LOG");
    assert_eq!((delivered.queue.as_str(), delivered.id), ("LOG", id));
    assert_eq!(
        delivered.text,
        format!(
            r#"{{"node":"n","queue":"LOG","id":{id},"message":"disk is \"full\"","level":0,"severity":"TRACE","tags":{{"job":"x","word":true}},"epoch":{t}}}"#
        )
    );
}

#[test]
fn log_entry_defaults_to_info_and_the_clock_of_the_server() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    let before = now_ms();
    let ids: Vec<i64> = (0..100).map(|_| server.ask("AGG.LOG n the_same")).collect();
    let after = now_ms();
    assert!(ids.windows(2).all(|pair| pair[0] < pair[1]), "{ids:?}");
    let delivered = look(&server, "LOG");
    assert_eq!(
        delivered.iter().map(|e| e.id).collect::<Vec<_>>(),
        ids,
        "the id that was answered is the delivered's"
    );
    for delivered in delivered {
        let record = delivered.json();
        assert_eq!(
            (&record["level"], &record["severity"]),
            (&3.into(), &"INFO".into())
        );
        assert_eq!(record["tags"], serde_json::json!({}));
        let epoch = record["epoch"].as_i64().unwrap();
        assert!((before..=after).contains(&epoch), "{record}");
        // An id is about the clock in microseconds.
        assert!(
            (before..=after + 1).contains(&(delivered.id / 1000)),
            "{record}"
        );
    }
}

#[test]
fn level_has_a_number_and_a_name_in_any_case() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    for (given, level, severity) in [
        ("0", 0, "TRACE"),
        ("trace", 0, "TRACE"),
        ("Debug", 1, "DEBUG"),
        ("2", 2, "DEBUG"),
        ("INFO", 3, "INFO"),
        ("notice", 4, "NOTICE"),
        ("WARNING", 5, "WARNING"),
        ("6", 6, "WARNING"),
        ("error", 7, "ERROR"),
        ("8", 8, "ERROR"),
        ("cRiTiCaL", 9, "CRITICAL"),
    ] {
        server.ask::<i64>(&format!("AGG.LOG n line LEVEL {given}"));
        server.ask::<()>(&format!("AGG.ERROR n failed KEY {given} LEVEL {given}"));
        let shown: Value = server.ask(&format!("AGG.GET n ERROR {given}"));
        let shown = (int(&shown, "level"), text(&shown, "severity"));
        assert_eq!(shown, (level, severity.to_owned()), "{given}");
        for queue in ["LOG", "ERROR"] {
            let record = only(&server, queue).json();
            let found = (&record["level"], &record["severity"]);
            assert_eq!(found, (&level.into(), &severity.into()), "{queue} {given}");
            server.ask::<()>(&format!("AGG.POP n {queue}"));
        }
    }
}

#[test]
fn log_entry_may_contain_any_bytes_and_is_delivered_as_valid_json() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    let bytes: Vec<u8> = (0..=255).collect();
    server.send::<i64>(&[b"AGG.LOG", b"n\xff", &bytes, b"TAGS", b"a\0:\xfe\n"]);
    let reply: Value = server.send(&[b"AGG.PEEK", b"n\xff", b"LOG"]);
    let record = queued_records(&reply)[0].json();
    assert_eq!(record["node"], "n\u{fffd}");
    assert_eq!(record["message"], String::from_utf8_lossy(&bytes).as_ref());
    assert_eq!(record["tags"], serde_json::json!({"a\0": "\u{fffd}\n"}));
}

#[test]
fn log_entry_with_invalid_arguments_is_rejected() {
    let Some(server) = stocked("") else { return };
    let arity = "ERR wrong number of arguments for 'AGG.LOG' command";
    assert_rejected_once(&server, &words("AGG.LOG"), arity);
    assert_rejected(&server, "AGG.LOG n", arity);
    for (options, why) in [
        ("more", format!("unknown option 'more'; usage: {LOG}")),
        ("DIFF", format!("unknown option 'DIFF'; usage: {LOG}")),
        ("LEVEL", format!("LEVEL requires a value; usage: {LOG}")),
        ("LEVEL 5 AT", format!("AT requires a value; usage: {LOG}")),
        ("TAGS", format!("TAGS requires a value; usage: {LOG}")),
        ("LEVEL 5 LEVEL 5", "LEVEL is given twice".into()),
        ("TAGS a tags a", "TAGS is given twice".into()),
    ] {
        assert_rejected(
            &server,
            &format!("AGG.LOG n line {options}"),
            &format!("ERR AGG.LOG: {why}"),
        );
    }
    bad_levels(&server, "AGG.LOG n line");
}

#[test]
fn long_log_entry_is_truncated_at_a_character_marked_and_counted() {
    let Some(server) = Server::with_settings(&format!("{CALM} max-item-size 64")) else {
        return;
    };
    let (long, kept) = too_long();
    server.ask::<i64>(&format!("AGG.LOG n {}", "a".repeat(64)));
    assert_eq!(int(&server.ask("AGG.INFO n"), "truncated"), 0);
    server.ask::<i64>(&format!("AGG.LOG n {long}"));
    server.ask::<i64>(&format!("AGG.LOG n {}", "a".repeat(70)));
    let messages: Vec<_> = server
        .peek("n", "LOG")
        .into_iter()
        .map(|record| record["message"].as_str().unwrap().to_owned())
        .collect();
    let whole = "a".repeat(64);
    assert_eq!(
        messages,
        [whole.clone(), kept, format!("{whole}…[+6 bytes]")]
    );
    assert_eq!(int(&server.ask("AGG.INFO n"), "truncated"), 2);
    assert_eq!(server_count(&server, "agg_truncated"), 2);
}
