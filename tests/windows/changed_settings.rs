//! Changed settings: the length of windows, and how many closed ones are kept.

use super::*;

/// Returns AGG.RANGE of the metric `m`.
fn range(server: &Server, rest: &str) -> Vec<Value> {
    list(&server.ask(&format!("AGG.RANGE n m {rest}"))).to_vec()
}

#[test]
fn node_keeps_its_window_lengths_when_settings_change() {
    let Some(server) = Server::with_settings(SHORT) else {
        return;
    };
    server.ask::<i64>("AGG.STAT n m 1");
    server.ask::<()>("CONFIG SET agg.min-window 3600 agg.hour-window 7200");
    server.ask::<i64>("AGG.STAT n late_comer 1");
    server.ask::<i64>("AGG.STAT other m 1");
    for (node, min, hour) in [("n", 1, 2), ("other", 3_600, 7_200)] {
        let info: Value = server.ask(&format!("AGG.INFO {node}"));
        assert_eq!(
            (int(&info, "min-window"), int(&info, "hour-window")),
            (min, hour)
        );
    }
    let records = arrived(&server, "MIN", 2);
    assert_eq!(of(&records, "m", "window"), [1]);
    assert_eq!(of(&records, "late_comer", "window"), [1]);
    assert_eq!(of(&arrived(&server, "HOUR", 2), "m", "window"), [2]);
    let shown: Value = server.ask("AGG.GET other METRIC m");
    let window = &open(&shown, "min")[0];
    assert_eq!(int(window, "end") - int(window, "start"), 3_600_000);
}

#[test]
fn closed_windows_are_kept_as_long_as_the_history() {
    let Some(server) = Server::with_settings(&format!("{SHORT} min-history 3 hour-history 0"))
    else {
        return;
    };
    let t = past();
    let lines: Vec<String> = (0..6)
        .map(|i| format!("AGG.STAT n m {i} AT {}", t + i * 1_000))
        .chain(["AGG.RANGE n m MIN".into(), "AGG.RANGE n m HOUR".into()])
        .collect();
    let replies = together(&server, &lines);
    let shape = |windows: &[Value]| -> Vec<(i64, i64)> {
        windows
            .iter()
            .map(|b| ((int(b, "start") - t) / 1_000, int(b, "closed")))
            .collect()
    };
    // The open ones last.
    assert_eq!(shape(list(&replies[6])), [(2, 1), (3, 1), (4, 1), (5, 0)]);
    assert_eq!(shape(list(&replies[7])), [(4, 0)]);
    arrived(&server, "MIN", 6);
    arrived(&server, "HOUR", 3);
    assert_eq!(shape(&range(&server, "MIN")), [(3, 1), (4, 1), (5, 1)]);
    assert!(range(&server, "HOUR").is_empty());
    let window = &range(&server, "MIN")[0];
    let names: Vec<String> = list(window)
        .iter()
        .step_by(2)
        .map(|name| redis::from_redis_value(name.clone()).unwrap())
        .collect();
    assert_eq!(
        names.join(" "),
        "start end count sum avg min max last closed"
    );
    assert_eq!(int(window, "end"), t + 4_000);
    assert_eq!((int(window, "count"), double(window, "sum")), (1, 3.0));
}

#[test]
fn range_shows_the_windows_that_overlap_it() {
    let Some(server) = Server::with_settings(SHORT) else {
        return;
    };
    let t = past();
    let lines: Vec<String> = (0..5)
        .map(|i| format!("AGG.STAT n m {i} AT {}", t + i * 1_000))
        .collect();
    together(&server, &lines);
    arrived(&server, "MIN", 5);
    let sums = |rest: &str| -> Vec<f64> {
        range(&server, rest)
            .iter()
            .map(|b| double(b, "sum"))
            .collect()
    };
    assert_eq!(sums("min"), [0.0, 1.0, 2.0, 3.0, 4.0]);
    assert_eq!(sums(&format!("MIN FROM {}", t + 3_000)), [3.0, 4.0]);
    assert_eq!(sums(&format!("MIN TO {}", t + 1_000)), [0.0, 1.0]);
    assert_eq!(sums(&format!("MIN TO {}", t + 999)), [0.0]);
    let inside = format!("MIN to {} from {}", t + 2_900, t + 1_500);
    assert_eq!(sums(&inside), [1.0, 2.0]);
    assert_eq!(sums(&format!("MIN FROM {}", t + 5_000)), [0.0; 0]);
}
