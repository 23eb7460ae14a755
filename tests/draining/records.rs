//! Records in JSON: their fields in order, and text that is not UTF-8.

use super::*;

#[test]
fn records_of_windows_have_their_fields_in_order() {
    let Some(server) = Server::start() else {
        return;
    };
    let start = past_hour();
    for (value, seconds) in [("1", 0), ("2.5", 10), ("0.25", 20)] {
        let at = start + seconds * 1000;
        server.ask::<()>(&format!("AGG.STAT n disk.iops@sda {value} AT {at}"));
    }
    server.send::<()>(&[
        b"AGG.STAT",
        b"n",
        b"disk.iops@sda",
        b"1e21",
        b"TAGS",
        b"dim:iops flag  empty: url:http://h",
        b"AT",
        (start + 30_000).to_string().as_bytes(),
    ]);
    close(&server, b"n", b"disk.iops@sda");
    for (queue, window) in [("MIN", 300), ("HOUR", 3600)] {
        let record = only(&server, &format!("AGG.POP n {queue}"));
        let (id, end) = (record.id, start + window * 1000);
        assert_eq!(
            record.text,
            format!(
                "{{\"node\":\"n\",\"queue\":\"{queue}\",\"id\":{id},\"metric\":\"disk.iops@sda\",\"type\":\"ABS\",\
                 \"window\":{window},\"start\":{start},\"end\":{end},\"count\":4,\"sum\":1e21,\"avg\":2.5e20,\
                 \"min\":0.25,\"max\":1e21,\"last\":1e21,\
                 \"tags\":{{\"dim\":\"iops\",\"empty\":\"\",\"flag\":true,\"url\":\"http://h\"}}}}"
            )
        );
    }
}

#[test]
fn record_of_a_counter_has_the_increase_and_the_rates() {
    let Some(server) = Server::start() else {
        return;
    };
    let start = past_hour();
    for (total, seconds) in [(1000, 0), (1060, 60), (1360, 120)] {
        let at = start + seconds * 1000;
        server.ask::<()>(&format!("AGG.STAT n m {total} DIFF AT {at}"));
    }
    close(&server, b"n", b"m");
    let record = only(&server, "AGG.POP n MIN");
    let (id, end) = (record.id, start + 300_000);
    assert_eq!(
        record.text,
        format!(
            "{{\"node\":\"n\",\"queue\":\"MIN\",\"id\":{id},\"metric\":\"m\",\"type\":\"DIFF\",\"window\":300,\
             \"start\":{start},\"end\":{end},\"count\":2,\"sum\":360.0,\"avg\":3.0,\"min\":1.0,\"max\":5.0,\
             \"last\":5.0,\"tags\":{{}}}}"
        )
    );
}

#[test]
fn records_of_logs_have_their_fields_in_order() {
    let Some(server) = Server::start() else {
        return;
    };
    let at = past_hour();
    let id: i64 = server.send(&[
        b"AGG.LOG",
        b"n",
        b"say \"hi\"\\\n\x01",
        b"LEVEL",
        b"9",
        b"TAGS",
        b"b:1 a",
        b"AT",
        at.to_string().as_bytes(),
    ]);
    assert_eq!(
        only(&server, "AGG.POP n LOG").text,
        format!(
            "{{\"node\":\"n\",\"queue\":\"LOG\",\"id\":{id},\"message\":\"say \\\"hi\\\"\\\\\\n\\u0001\",\"level\":9,\
             \"severity\":\"CRITICAL\",\
             \"tags\":{{\"a\":true,\"b\":\"1\"}},\"epoch\":{at}}}"
        )
    );
    let before = now_ms();
    let id = log(&server, "n", "text");
    let record = only(&server, "AGG.POP n LOG");
    let epoch = record.json()["epoch"].as_i64().unwrap();
    assert!((before..=now_ms()).contains(&epoch));
    assert_eq!(
        record.text,
        format!(
            "{{\"node\":\"n\",\"queue\":\"LOG\",\"id\":{id},\"message\":\"text\",\"level\":3,\
             \"severity\":\"INFO\",\"tags\":{{}},\"epoch\":{epoch}}}"
        )
    );
}

#[test]
fn records_of_errors_have_their_fields_in_order() {
    let Some(server) = Server::start() else {
        return;
    };
    let (first, last) = (past_hour(), past_hour() + 5000);
    server.ask::<()>(&format!("AGG.ERROR n old KEY k AT {first}"));
    server.ask::<()>(&format!(
        "AGG.ERROR n message PUBLIC public LEVEL 1 TYPE ops TAGS a:1 CODE c FUNC f FILE p BACKTRACE b GID 7 NID 8 \
         KEY k AT {last}"
    ));
    let record = only(&server, "AGG.POP n ERROR");
    let id = record.id;
    assert_eq!(
        record.text,
        format!(
            "{{\"node\":\"n\",\"queue\":\"ERROR\",\"id\":{id},\"key\":\"k\",\"message\":\"message\",\
             \"public\":\"public\",\"level\":1,\"severity\":\"DEBUG\",\"type\":\"OPS\",\
             \"tags\":{{\"a\":\"1\"}},\"code\":\"c\",\
             \"func\":\"f\",\"file\":\"p\",\"backtrace\":\"b\",\"gid\":7,\"nid\":8,\"occurrences\":2,\
             \"first\":{first},\"last\":{last}}}"
        )
    );
    let (key, _): (String, i64) = server.ask(&format!("AGG.ERROR n bare AT {first}"));
    let record = only(&server, "AGG.POP n ERROR");
    let id = record.id;
    assert_eq!(
        record.text,
        format!(
            "{{\"node\":\"n\",\"queue\":\"ERROR\",\"id\":{id},\"key\":\"{key}\",\"message\":\"bare\",\"public\":\"\",\
             \"level\":7,\"severity\":\"ERROR\",\"type\":\"UNKNOWN\",\"tags\":{{}},\"code\":\"\",\"func\":\"\",\"file\":\"\",\
             \"backtrace\":\"\",\"gid\":0,\"nid\":0,\"occurrences\":1,\"first\":{first},\"last\":{first}}}"
        )
    );
}

#[test]
fn records_of_objects_have_their_fields_in_order() {
    let Some(server) = Server::start() else {
        return;
    };
    let at = past_hour();
    server.send::<()>(&[
        b"AGG.REALITY",
        b"n",
        b"disk:sda",
        b"system.Disk",
        b" { \"size\" : 1.50, \"a b\":[ 1,null ] }\n",
        b"TAGS",
        b"b:1 a",
        b"AT",
        at.to_string().as_bytes(),
    ]);
    let record = only(&server, "AGG.POP n REALITY");
    let id = record.id;
    assert_eq!(
        record.text,
        format!(
            "{{\"node\":\"n\",\"queue\":\"REALITY\",\"id\":{id},\"key\":\"disk:sda\",\"model\":\"system.Disk\",\
             \"json\":{{\"size\":1.50,\"a b\":[1,null]}},\"tags\":{{\"a\":true,\"b\":\"1\"}},\"epoch\":{at},\
             \"gone\":false}}"
        )
    );
    // Its last change is its end.
    let before = now_ms();
    server.ask::<()>("AGG.FORGET n REALITY disk:sda");
    let record = only(&server, "AGG.POP n REALITY");
    let (id, epoch) = (record.id, record.json()["epoch"].as_i64().unwrap());
    assert!((before..=now_ms()).contains(&epoch));
    assert_eq!(
        record.text,
        format!(
            "{{\"node\":\"n\",\"queue\":\"REALITY\",\"id\":{id},\"key\":\"disk:sda\",\"model\":\"system.Disk\",\
             \"json\":{{\"size\":1.50,\"a b\":[1,null]}},\"tags\":{{\"a\":true,\"b\":\"1\"}},\"epoch\":{epoch},\
             \"gone\":true}}"
        )
    );
}

#[test]
fn node_of_a_record_is_the_name_of_the_key_at_delivery() {
    let Some(server) = Server::start() else {
        return;
    };
    one_of_each(&server, "old");
    server.ask::<()>("RENAME old new");
    let found = take(&server, "AGG.POP new MIN HOUR LOG ERROR REALITY");
    assert_eq!(found.len(), 5);
    assert!(found.iter().all(|e| e.json()["node"] == "new"));
}

#[test]
fn text_that_is_not_utf8_is_delivered_as_valid_json() {
    let Some(server) = Server::start() else {
        return;
    };
    // A lone start, a lone continuation, a surrogate, something too long, and a start at the end.
    const BAD: &[u8] = b"a\xffb\xc3(\x80\xed\xa0\x80\xc0\xaf\xf0\x9f\x98c\0\xe2";
    let tags = [b"tag" as &[u8], BAD, b":", BAD, b" \xfe:1 \xff:2"].concat();
    let at = past_hour().to_string();
    let at = at.as_bytes();
    server.send::<()>(&[b"AGG.STAT", BAD, BAD, b"1", b"TAGS", &tags, b"AT", at]);
    close(&server, BAD, BAD);
    server.send::<()>(&[b"AGG.LOG", BAD, BAD, b"TAGS", &tags]);
    server.send::<()>(&[
        b"AGG.ERROR",
        BAD,
        BAD,
        b"PUBLIC",
        BAD,
        b"TAGS",
        &tags,
        b"CODE",
        BAD,
        b"FUNC",
        BAD,
        b"FILE",
        BAD,
        b"BACKTRACE",
        BAD,
        b"KEY",
        BAD,
    ]);
    server.send::<()>(&[
        b"AGG.REALITY",
        BAD,
        BAD,
        BAD,
        b"\"\xc3\xa9\"",
        b"TAGS",
        &tags,
    ]);
    let words = QUEUES.map(str::as_bytes);
    let reply: Value = server.send(&[&[b"AGG.POP" as &[u8], BAD], &words[..]].concat());
    // `queued_records` accepts only valid UTF-8, `records` only valid JSON.
    let records = records(&reply);
    assert_eq!(records.len(), 5);
    let texts = "node metric message public code func file backtrace key model";
    for (record, queued) in records.iter().zip(queued_records(&reply)) {
        for name in texts.split(' ') {
            let Some(text) = record.get(name) else {
                continue;
            };
            let text = text.as_str().unwrap();
            assert!(text.starts_with("a\u{fffd}b\u{fffd}("), "{name}: {text:?}");
            assert!(text.ends_with("c\0\u{fffd}"), "{name}: {text:?}");
        }
        let tags = record["tags"].as_object().unwrap();
        assert!(tags.keys().any(|name| name.starts_with("taga\u{fffd}b")));
        // Two names that became equal are not written twice.
        assert_eq!(
            queued.text.matches("\"\u{fffd}\":").count(),
            1,
            "{}",
            queued.text
        );
    }
}
