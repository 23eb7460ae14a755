//! A clock that was wrong.

use super::*;

#[test]
fn wrong_clock_does_not_silence_a_metric() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    let ahead = now_ms() + 50_000;
    server.ask::<i64>(&format!("AGG.STAT n gauge 7 AT {ahead}"));
    server.ask::<i64>(&format!(
        "AGG.STAT n counter 100 DIFF AT {}",
        ahead - 10_000
    ));
    server.ask::<i64>(&format!("AGG.STAT n counter 200 DIFF AT {ahead}"));
    server.ask::<()>("CONFIG SET agg.max-future-ms 0");
    until("the timer closes their windows as they stand", || {
        (int(&server.ask("AGG.INFO n"), "clock-back") == 2).then_some(())
    });
    for queue in ["MIN", "HOUR"] {
        let records = look(&server, queue);
        assert_eq!(of(&records, "gauge", "sum"), [7.0]);
        assert_eq!(of(&records, "counter", "sum"), [100.0]);
    }
    // The next sample counts as the first.
    assert_eq!(server.ask::<i64>("AGG.STAT n gauge 8"), 1);
    assert_eq!(server.ask::<i64>("AGG.STAT n counter 1000 DIFF"), 1);
    let shown = metric(&server, "gauge");
    assert_eq!(text(&shown, "last"), "8");
    assert_eq!(int(&open(&shown, "min")[0], "count"), 1);
    let shown = metric(&server, "counter");
    assert!(open(&shown, "min").is_empty());
    assert_eq!((int(&shown, "restarts"), int(&shown, "gaps")), (0, 0));
    assert_eq!(int(&server.ask("AGG.INFO n"), "clock-back"), 2);
}

#[test]
fn sample_resets_a_metric_ahead_of_the_clock_before_the_timer_does() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    let ahead = now_ms() + 50_000;
    let replies = together(
        &server,
        &[
            format!("AGG.STAT n m 7 AT {ahead}"),
            "CONFIG SET agg.max-future-ms 0".into(),
            "AGG.STAT n m 8".into(),
            "AGG.PEEK n MIN".into(),
            "AGG.GET n METRIC m".into(),
        ],
    );
    assert_eq!(replies[2], Value::Int(1));
    assert_eq!(of(&queued_records(&replies[3]), "m", "sum"), [7.0]);
    assert_eq!(double(&open(&replies[4], "min")[0], "sum"), 8.0);
}

#[test]
fn object_time_too_far_ahead_loses_to_any_report() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    let ahead = now_ms() + 50_000;
    let replies = together(
        &server,
        &[
            format!("AGG.REALITY n k m 1 AT {ahead}"),
            "AGG.REALITY n k m 2".into(),
            "CONFIG SET agg.max-future-ms 0".into(),
            "AGG.REALITY n k m 2".into(),
            "AGG.REALITY n k m 3".into(),
        ],
    );
    assert_eq!(
        [&replies[0], &replies[1], &replies[3], &replies[4]],
        [1, -1, 1, 1].map(Value::Int).each_ref()
    );
    assert_eq!(int(&server.ask("AGG.INFO n"), "clock-back"), 1);
    let record = look(&server, "REALITY")[0].json();
    assert_eq!(record["json"], 3);
    assert!(record["epoch"].as_i64().unwrap() < ahead);
}
