//! Lifetimes: quiet metrics, errors and objects expire, and errors with new occurrences are queued again.

use super::*;

#[test]
fn quiet_metric_expires_after_its_windows_close() {
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
        let records = look(&server, queue);
        assert_eq!(records.len(), 1, "{records:?}");
        assert_eq!(of(&records, "quiet", "last"), [5.0]);
        assert_eq!(
            of(&records, "quiet", "tags"),
            [serde_json::json!({"a": "1"})]
        );
    }
    // A metric that returns starts again, of whatever type.
    assert_eq!(server.ask::<i64>("AGG.STAT n quiet 1 DIFF"), 1);
}

#[test]
fn error_with_new_occurrences_is_requeued_by_the_timer_after_the_interval() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    for key in ["grown", "not_grown"] {
        server.ask::<Value>(&format!("AGG.ERROR n failed KEY {key}"));
    }
    let first = queued_records(&server.ask("AGG.POP n ERROR"));
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
    // Once delivered it is not delivered again: another error with new occurrences comes alone.
    server.ask::<Value>("AGG.POP n ERROR");
    server.ask::<Value>("AGG.ERROR n failed KEY not_grown");
    let next = arrived(&server, "ERROR", 1);
    assert_eq!(
        (next.len(), &next[0].json()["key"]),
        (1, &"not_grown".into())
    );
}

#[test]
fn error_that_occurs_while_leased_is_requeued() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    server.ask::<Value>("AGG.ERROR n failed KEY k");
    let old = queued_records(&server.ask("AGG.FETCH n ERROR LEASE 600000"))[0].id;
    server.ask::<Value>("AGG.ERROR n failed KEY k");
    server.ask::<()>("CONFIG SET agg.error-interval-ms 1");
    let new = until("it is queued again", || {
        look(&server, "ERROR").into_iter().find(|e| e.id > old)
    });
    assert_eq!(look(&server, "ERROR").len(), 1, "one record for an error");
    assert_eq!(new.json()["occurrences"], 2);
    assert_eq!(server.ask::<i64>(&format!("AGG.ACK n ERROR {old}")), 0);
    assert_eq!(server.ask::<i64>(&format!("AGG.ACK n ERROR {}", new.id)), 1);
}

#[test]
fn quiet_error_expires_but_not_while_it_is_pending() {
    let Some(server) = Server::with_settings(&format!("{CALM} error-ttl 1")) else {
        return;
    };
    server.ask::<Value>("AGG.ERROR n failed KEY waits");
    server.ask::<Value>("AGG.ERROR n failed KEY delivered");
    let records = look(&server, "ERROR");
    server.ask::<i64>(&format!("AGG.ACK n ERROR {}", records[1].id));
    until("the delivered one is forgotten", || {
        (server.ask::<Value>("AGG.GET n ERROR delivered") == Value::Nil).then_some(())
    });
    assert_eq!(
        int(&server.ask("AGG.GET n ERROR waits"), "id"),
        records[0].id
    );
    // It has been quiet for long enough and expires once delivered.
    server.ask::<i64>(&format!("AGG.ACK n ERROR {}", records[0].id));
    until("the other one is forgotten, too", || {
        (server.ask::<Value>("AGG.GET n ERROR waits") == Value::Nil).then_some(())
    });
    let (_, occurrences): (String, i64) = server.ask("AGG.ERROR n failed KEY waits");
    assert_eq!(occurrences, 1);
}

#[test]
fn quiet_error_with_undelivered_occurrences_is_delivered_before_it_expires() {
    let Some(server) = Server::with_settings(&format!("{CALM} error-ttl 1")) else {
        return;
    };
    server.ask::<Value>("AGG.ERROR n failed KEY grown");
    server.ask::<Value>("AGG.POP n ERROR");
    server.ask::<Value>("AGG.ERROR n failed KEY grown");
    server.ask::<Value>("AGG.ERROR n failed KEY delivered");
    server.ask::<Value>("AGG.POP n ERROR");
    // Reported after the other, which has therefore been quiet for longer.
    until("the delivered error is forgotten", || {
        (server.ask::<Value>("AGG.GET n ERROR delivered") == Value::Nil).then_some(())
    });
    assert_eq!(int(&server.ask("AGG.GET n ERROR grown"), "occurrences"), 2);
    server.ask::<()>("CONFIG SET agg.error-interval-ms 1");
    assert_eq!(arrived(&server, "ERROR", 1)[0].json()["occurrences"], 2);
    server.ask::<Value>("AGG.POP n ERROR");
    until("it is forgotten, too", || {
        (server.ask::<Value>("AGG.GET n ERROR grown") == Value::Nil).then_some(())
    });
}

#[test]
fn expired_object_is_queued_as_gone_and_removed_when_acknowledged() {
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
    let first = queued_records(&replies[1])[0].clone();
    let gone = arrived(&server, "REALITY", 1);
    assert_eq!(gone.len(), 1);
    let record = gone[0].json();
    let epoch = record["epoch"].as_i64().unwrap();
    // A lifetime is measured in running time, which the wall clock matches only roughly.
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
    let fetched = queued_records(&server.ask("AGG.FETCH n REALITY"));
    assert_eq!((fetched.len(), fetched[0].id), (1, gone[0].id));
    assert_eq!(
        server.ask::<i64>(&format!("AGG.ACK n REALITY {}", gone[0].id)),
        1
    );
    assert_eq!(server.ask::<Value>("AGG.GET n REALITY vm1"), Value::Nil);
    assert_eq!(server.ask::<i64>("AGG.REALITY n vm1 vm.Guest 1"), 1);
}

#[test]
fn object_lives_as_long_as_its_last_report_or_the_setting_says() {
    let Some(server) = Server::with_settings(&format!("{CALM} reality-ttl 1")) else {
        return;
    };
    // A report replaces everything: the TTL of the previous one does not stay.
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
    // Without a setting an object without a TTL stays.
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
