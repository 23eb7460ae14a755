//! AGG.FORGET: what it removes.

use super::*;

#[test]
fn forget_of_a_metric_closes_its_windows() {
    let Some(server) = stocked("") else { return };
    assert_eq!(server.ask::<i64>("AGG.FORGET n metric gauge"), 1);
    assert_eq!(server.ask::<Value>("AGG.GET n METRIC gauge"), Value::Nil);
    for queue in ["MIN", "HOUR"] {
        let record = only(&server, queue).json();
        assert_eq!(
            (&record["metric"], &record["count"], &record["sum"]),
            (&"gauge".into(), &1.into(), &1.0.into())
        );
        assert_eq!(record["tags"], serde_json::json!({"a": "1"}));
    }
    assert_eq!(server.ask::<i64>("AGG.FORGET n METRIC gauge"), 0);
    assert_eq!(
        server.ask::<i64>("AGG.FORGET n METRIC counter"),
        1,
        "it had a first sample only: no record"
    );
    assert_eq!(look(&server, "MIN").len(), 1);
}

/// A report, AGG.FORGET and another report once gave two records of one window, which FORMAT LINE makes one point of.
#[test]
fn forgotten_metric_gives_no_second_record_of_a_window() {
    let Some(server) = Server::with_settings("min-window 1200 hour-window 2400") else {
        return;
    };
    // Returns the first MIN window of an HOUR window that has not ended.
    let t = now_ms() / 2_400_000 * 2_400_000;
    let stat = |at: i64| -> i64 { server.ask(&format!("AGG.STAT n m 1 AT {at}")) };
    assert_eq!(stat(t), 1);
    assert_eq!(server.ask::<i64>("AGG.FORGET n METRIC m"), 1);
    let delivered = (look(&server, "MIN").len(), look(&server, "HOUR").len());
    assert_eq!(delivered, (1, 1));
    assert_eq!(stat(t + 1), 0);
    let info: Value = server.ask("AGG.INFO n");
    let counts = ["metrics", "forgotten", "late"].map(|field| int(&info, field));
    assert_eq!(counts, [0, 1, 1]);
    // It is part of the value: it is saved and copied.
    let () = server.ask("DEBUG RELOAD");
    assert_eq!(stat(t + 1), 0);
    let _: i64 = server.ask("COPY n copy");
    assert_eq!(server.digest("n"), server.digest("copy"));
    assert_eq!(server.ask::<i64>(&format!("AGG.STAT copy m 1 AT {t}")), 0);
    // After DEL nothing is remembered.
    let _: i64 = server.ask("DEL n");
    assert_eq!(stat(t + 1), 1);
}

#[test]
fn expired_metric_gives_no_second_record_of_a_window() {
    let settings = "min-window 1200 hour-window 2400 series-ttl 1";
    let Some(server) = Server::with_settings(settings) else {
        return;
    };
    let t = now_ms() / 1_200_000 * 1_200_000;
    let line = format!("AGG.STAT n m 1 AT {t}");
    assert_eq!(server.ask::<i64>(&line), 1);
    until("it is forgotten", || {
        (int(&server.ask("AGG.INFO n"), "forgotten") == 1).then_some(())
    });
    assert_eq!(server.ask::<i64>(&line), 0);
    assert_eq!(look(&server, "MIN").len(), 1);
    assert!(
        server
            .ask::<String>("INFO agg")
            .contains("agg_forgotten:1\r\n")
    );
}

#[test]
fn forget_of_an_error_removes_its_pending_record() {
    let Some(server) = stocked("") else { return };
    let id = only(&server, "ERROR").id;
    assert_eq!(server.ask::<i64>("AGG.FORGET n Error known"), 1);
    assert!(look(&server, "ERROR").is_empty());
    assert_eq!(server.ask::<Value>("AGG.GET n ERROR known"), Value::Nil);
    assert_eq!(server.ask::<i64>("AGG.FORGET n ERROR known"), 0);
    assert_eq!(
        server.ask::<(String, i64)>("AGG.ERROR n failed KEY known"),
        ("known".to_owned(), 1)
    );
    assert!(only(&server, "ERROR").id > id);
}

#[test]
fn forgotten_object_is_queued_once_as_gone_and_removed_when_delivered() {
    let Some(server) = stocked("") else { return };
    let first: Value = server.ask("AGG.POP n REALITY");
    assert_eq!(records(&first)[0]["gone"], false);
    assert_eq!(server.ask::<i64>("AGG.FORGET n REALITY sda"), 1);
    assert_eq!(
        server.ask::<i64>("AGG.FORGET n REALITY sda"),
        0,
        "it is gone already"
    );
    assert_eq!(int(&server.ask("AGG.INFO n"), "realities"), 0);
    let last = queued_records(&server.ask("AGG.POP n REALITY"));
    assert_eq!(last.len(), 1);
    let record = last[0].json();
    assert_eq!(
        (&record["key"], &record["model"], &record["gone"]),
        (&"sda".into(), &"system.Disk".into(), &true.into())
    );
    assert!(last[0].id > queued_records(&first)[0].id);
    assert_eq!(server.ask::<Value>("AGG.GET n REALITY sda"), Value::Nil);
}

#[test]
fn forget_of_a_missing_name_replies_0() {
    let Some(server) = stocked("") else { return };
    let before = state(&server);
    for node in ["n", "new"] {
        for family in ["METRIC", "ERROR", "REALITY"] {
            assert_eq!(
                server.ask::<i64>(&format!("AGG.FORGET {node} {family} nothing")),
                0
            );
        }
    }
    assert_eq!(state(&server), before);
}

#[test]
fn forget_with_invalid_arguments_is_rejected() {
    let Some(server) = stocked("") else { return };
    let arity = "ERR wrong number of arguments for 'AGG.FORGET' command";
    for line in [
        "AGG.FORGET",
        "AGG.FORGET n",
        "AGG.FORGET n METRIC",
        "AGG.FORGET n METRIC gauge counter",
    ] {
        assert_rejected_once(&server, &words(line), arity);
    }
    for kind in ["LOG", "gauge", ""] {
        assert_rejected(
            &server,
            &format!("AGG.FORGET n '{kind}' gauge"),
            &format!(
                "ERR AGG.FORGET: invalid kind '{kind}': expected one of METRIC, ERROR, REALITY"
            ),
        );
    }
}
