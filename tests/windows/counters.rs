//! Counters: their increases and rates over windows, restarts and gaps.

use super::*;

#[test]
fn counter_with_only_one_sample_delivers_nothing() {
    let Some(server) = Server::with_settings(SHORT) else {
        return;
    };
    let t = past();
    together(
        &server,
        &[
            format!("AGG.STAT n c 1000 DIFF AT {t}"),
            format!("AGG.STAT n witness 1 AT {t}"),
        ],
    );
    for queue in ["MIN", "HOUR"] {
        let records = arrived(&server, queue, 1);
        assert_eq!(of(&records, "witness", "count"), [1]);
        assert_eq!(records.len(), 1, "{records:?}");
    }
    assert_eq!(text(&metric(&server, "c"), "last"), "1000");
}

#[test]
fn counter_delivers_its_increase_and_rates() {
    let Some(server) = Server::with_settings(SHORT) else {
        return;
    };
    let t = past();
    let samples = [(1_000, 0), (1_100, 500), (1_400, 900), (1_400, 1_000)];
    together(
        &server,
        &samples.map(|(total, ms)| format!("AGG.STAT n c {total} DIFF AT {}", t + ms)),
    );
    let min = arrived(&server, "MIN", 2);
    // Only the rate of the first half second: the following 400 ms are less than the interval and count in the next.
    let first = (2, [400.0, 400.0 / 0.9, 200.0, 200.0, 200.0]);
    is_record(&min[0], ("c", "DIFF"), (t, t + 1_000), first, "{}");
    // Its rate ends here, with the increase of the window before.
    let second = (1, [0.0, 0.0, 600.0, 600.0, 600.0]);
    is_record(&min[1], ("c", "DIFF"), (t + 1_000, t + 2_000), second, "{}");
    let hour = arrived(&server, "HOUR", 1);
    let both = (3, [400.0, 400.0, 200.0, 600.0, 600.0]);
    is_record(&hour[0], ("c", "DIFF"), (t, t + 2_000), both, "{}");
}

#[test]
fn restarted_counter_grows_by_its_new_value() {
    let Some(server) = Server::with_settings(SHORT) else {
        return;
    };
    let t = past();
    // Within the interval a lower total is out of order; at its end the counter has restarted.
    let samples = [
        (1_000, 0),
        (1_100, 500),
        (1_000, 999),
        (50, 1_000),
        (70, 1_500),
    ];
    let replies = together(
        &server,
        &samples.map(|(total, ms)| format!("AGG.STAT n c {total} DIFF AT {}", t + ms)),
    );
    assert_eq!(replies, [1, 1, 0, 1, 1].map(Value::Int));
    let hour = arrived(&server, "HOUR", 1);
    let all = (3, [170.0, 170.0 / 1.5, 40.0, 200.0, 40.0]);
    is_record(&hour[0], ("c", "DIFF"), (t, t + 2_000), all, "{}");
    let shown = metric(&server, "c");
    assert_eq!((int(&shown, "restarts"), int(&shown, "late")), (1, 1));
}

#[test]
fn counter_restarts_after_a_gap() {
    let Some(server) = Server::with_settings(&format!("{SHORT} max-gap 1")) else {
        return;
    };
    let t = past();
    let mut lines = [(0, 0), (10, 1_000), (1_000_000, 2_001)]
        .map(|(total, ms)| format!("AGG.STAT n c {total} DIFF AT {}", t + ms))
        .to_vec();
    lines.push("AGG.PEEK n HOUR".into());
    lines.push("AGG.GET n METRIC c".into());
    lines.push(format!("AGG.STAT n c 1000020 DIFF AT {}", t + 3_001));
    let replies = together(&server, &lines);
    // A second is no gap, a millisecond more is one. The first sample after it closes older windows and opens none.
    assert_eq!(of(&queued_records(&replies[3]), "c", "sum"), [10.0]);
    assert_eq!(int(&replies[4], "gaps"), 1);
    assert!(open(&replies[4], "min").is_empty() && open(&replies[4], "hour").is_empty());
    assert_eq!(of(&arrived(&server, "MIN", 2), "c", "sum"), [10.0, 20.0]);
    assert_eq!(of(&arrived(&server, "HOUR", 2), "c", "avg"), [10.0, 20.0]);
    assert_eq!(int(&metric(&server, "c"), "gaps"), 1);
}

#[test]
fn rates_span_at_least_the_configured_interval() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    let t = past();
    let burst = |name: &str| {
        let samples = [(0, 0), (10, 100), (20, 200), (30, 1_000)];
        samples.map(|(total, ms)| format!("AGG.STAT n {name} {total} DIFF AT {}", t + ms))
    };
    together(&server, &burst("usual"));
    server.ask::<()>("CONFIG SET agg.min-interval-ms 100");
    together(&server, &burst("short"));
    for (name, min, max) in [("usual", 30.0, 30.0), ("short", 12.5, 100.0)] {
        let window = &open(&metric(&server, name), "min")[0];
        assert_eq!((double(window, "min"), double(window, "max")), (min, max));
        assert_eq!((double(window, "sum"), int(window, "count")), (30.0, 3));
    }
}

#[test]
fn window_without_a_complete_rate_shows_the_average_over_the_interval() {
    let Some(server) = Server::with_settings(SHORT) else {
        return;
    };
    let t = past();
    together(
        &server,
        &[(0, 0), (10, 100)].map(|(total, ms)| format!("AGG.STAT n c {total} DIFF AT {}", t + ms)),
    );
    // 10 in 100 ms, over the least of 500 ms.
    let numbers = (1, [10.0, 20.0, 20.0, 20.0, 20.0]);
    is_record(
        &arrived(&server, "MIN", 1)[0],
        ("c", "DIFF"),
        (t, t + 1_000),
        numbers,
        "{}",
    );
}
