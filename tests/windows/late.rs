//! Late samples, whose windows have closed.

use super::*;

/// MIN windows of one second in HOUR windows of four weeks: only MIN windows close during a test.
const LONG_HOUR: &str = "min-window 1 hour-window 2419200 flush-delay-ms 100";

#[test]
fn sample_of_closed_windows_is_late_and_changes_nothing() {
    let Some(server) = Server::with_settings(SHORT) else {
        return;
    };
    let t = now_ms();
    server.ask::<i64>(&format!("AGG.STAT n m 5 TAGS a:1 AT {t}"));
    arrived(&server, "MIN", 1);
    arrived(&server, "HOUR", 1);
    let before = server.digest("n");
    assert_eq!(
        server.ask::<i64>(&format!("AGG.STAT n m 99 TAGS a:2 AT {t}")),
        0
    );
    assert_eq!(server.digest("n"), before);
    let shown = metric(&server, "m");
    assert_eq!((int(&shown, "late"), int(&shown, "samples")), (1, 1));
    assert_eq!(text(&shown, "last"), "5");
    assert_eq!(text(at(&shown, "tags").unwrap(), "a"), "1");
    assert_eq!(int(&server.ask("AGG.INFO n"), "late"), 1);
    // Later samples are in the next window, without the late one.
    server.ask::<i64>("AGG.STAT n m 1");
    let max = of(&arrived(&server, "MIN", 2), "m", "max");
    assert_eq!(max, [5.0, 1.0]);
}

#[test]
fn sample_whose_min_window_has_closed_counts_in_its_hour_window() {
    let Some(server) = Server::with_settings(LONG_HOUR) else {
        return;
    };
    let t = now_ms();
    server.ask::<i64>(&format!("AGG.STAT n m 5 AT {t}"));
    arrived(&server, "MIN", 1);
    assert_eq!(server.ask::<i64>(&format!("AGG.STAT n m 7 AT {t}")), 1);
    let shown = metric(&server, "m");
    assert_eq!((int(&shown, "late-min"), int(&shown, "late")), (1, 0));
    let info: Value = server.ask("AGG.INFO n");
    assert_eq!((int(&info, "late-min"), int(&info, "late")), (1, 0));
    server.ask::<i64>("AGG.FORGET n METRIC m");
    assert_eq!(of(&look(&server, "MIN"), "m", "sum"), [5.0]);
    assert_eq!(of(&look(&server, "HOUR"), "m", "sum"), [12.0]);
}

#[test]
fn late_total_adds_its_increase_to_the_next_sample() {
    let Some(server) = Server::with_settings(LONG_HOUR) else {
        return;
    };
    let t = past();
    let total = |total: i64, ms: i64| format!("AGG.STAT n c {total} DIFF AT {}", t + ms);
    together(&server, &[total(0, 0), total(10, 600)]);
    arrived(&server, "MIN", 1);
    let before = server.digest("n");
    assert_eq!(
        server.ask::<i64>(&total(15, 700)),
        0,
        "its MIN window has closed"
    );
    assert_eq!(server.ask::<i64>(&total(12, 500)), 0, "older than the last");
    assert_eq!(server.digest("n"), before);
    assert_eq!(server.ask::<i64>(&total(40, 1_600)), 1);
    let shown = metric(&server, "c");
    assert_eq!((int(&shown, "late"), int(&shown, "late-min")), (2, 0));
    assert_eq!(double(&open(&shown, "hour")[0], "sum"), 40.0);
    assert_eq!(of(&arrived(&server, "MIN", 2), "c", "sum"), [10.0, 30.0]);
}

/// With windows of a second: a counter that is replayed with its times pauses, and the timer closes its windows
/// meanwhile.
#[test]
fn replayed_counter_that_pauses_keeps_counting_and_shows_what_its_hour_window_missed() {
    let settings = "min-window 1 hour-window 3600 flush-delay-ms 100";
    let Some(server) = Server::with_settings(settings) else {
        return;
    };
    let t = past_hour();
    for kind in ["DIFF", "ABS"] {
        let sample = |i: i64| format!("AGG.STAT {kind} m {} {kind} AT {}", i * 10, t + i * 1_000);
        let before: Vec<Value> = (0..3).map(|i| server.ask(&sample(i))).collect();
        until("the hour is delivered", || {
            let delivered: Value = server.ask(&format!("AGG.PEEK {kind} HOUR"));
            (queued_records(&delivered).len() == 1).then_some(())
        });
        let after: Vec<Value> = (3..6).map(|i| server.ask(&sample(i))).collect();
        assert_eq!([before, after].concat(), [1; 6].map(Value::Int), "{kind}");
        let shown: Value = server.ask(&format!("AGG.GET {kind} METRIC m"));
        for of in [shown, server.ask(&format!("AGG.INFO {kind}"))] {
            let counts = ["late", "late-min", "late-hour"].map(|field| int(&of, field));
            assert_eq!(counts, [0, 0, 3], "{kind}");
        }
    }
    assert!(
        server
            .ask::<String>("INFO agg")
            .contains("agg_late_hour:6\r\n")
    );
}
