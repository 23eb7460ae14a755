//! D1 to D8: windows, rates and times of samples.

use super::*;

/// Sends samples of metric `m` of node `n` in one transaction, each with its time relative to `t`, and returns the
/// replies.
fn samples(server: &Server, kind: &str, t: i64, samples: &[(i64, i64)]) -> Vec<i64> {
    let lines: Vec<String> = samples
        .iter()
        .map(|(value, ms)| format!("AGG.STAT n m {value} {kind} AT {}", t + ms))
        .collect();
    let replies = together(server, &lines);
    replies
        .into_iter()
        .map(|reply| redis::from_redis_value(reply).unwrap())
        .collect()
}

/// D1: two differential samples in one second were a division by zero, and the sample was lost (45 of 50 at ten a
/// second).
#[test]
fn d1_samples_of_a_counter_in_one_second_lose_no_increase() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    let t = past();
    // Ten per second for five seconds, each adding 7.
    let steady: Vec<(i64, i64)> = (0..=50).map(|i| (i * 7, i * 100)).collect();
    assert_eq!(samples(&server, "DIFF", t, &steady), [1; 51]);
    let window = open(&server, "m");
    assert_eq!((int(&window, "count"), double(&window, "sum")), (50, 350.0));
    for field in ["avg", "min", "max", "last"] {
        assert_eq!(double(&window, field), 70.0, "{field}");
    }
    // Two with the same time have no rate between them, but the increase is added to the next.
    assert_eq!(
        samples(&server, "DIFF", t, &[(450, 5_000), (550, 6_000)]),
        [1, 1]
    );
    let window = open(&server, "m");
    assert_eq!(double(&window, "sum"), 550.0);
    assert_eq!(double(&window, "max"), 200.0);
}

/// D2: after a window had ended, the maximum of a differential metric was the raw counter.
#[test]
fn d2_maximum_of_a_counter_is_that_of_its_rates() {
    let Some(server) = Server::with_settings(SHORT) else {
        return;
    };
    let counter = [
        (1_000_000, 0),
        (1_000_050, 500),
        (1_000_100, 1_000),
        (1_000_200, 1_500),
        (1_000_250, 2_000),
    ];
    samples(&server, "DIFF", past(), &counter);
    let min = arrived(&server, "MIN", 3);
    assert_eq!(all(&min, "max"), [100.0, 200.0, 100.0]);
    assert_eq!(all(&min, "last"), [100.0, 200.0, 100.0]);
    assert_eq!(all(&arrived(&server, "HOUR", 2), "max"), [200.0, 100.0]);
}

/// D3: a counter that restarted gave a negative rate, which poisoned the average.
#[test]
fn d3_restarted_counter_counts_its_new_value_and_no_negative_rate() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    let counter = [(5_000, 0), (5_100, 1_000), (40, 2_000), (100, 3_000)];
    assert_eq!(samples(&server, "DIFF", past(), &counter), [1; 4]);
    let window = open(&server, "m");
    assert_eq!(double(&window, "sum"), 200.0);
    assert_eq!(
        (double(&window, "min"), double(&window, "max")),
        (40.0, 100.0)
    );
    assert_eq!(double(&window, "avg"), 200.0 / 3.0);
    assert_eq!(int(&server.ask("AGG.GET n METRIC m"), "restarts"), 1);
}

/// D4: the last window of a metric that went quiet was never delivered.
#[test]
fn d4_last_window_of_an_idle_metric_is_delivered() {
    let Some(server) = Server::with_settings(SHORT) else {
        return;
    };
    server.ask::<i64>("AGG.STAT n m 5");
    for queue in ["MIN", "HOUR"] {
        let records = arrived(&server, queue, 1);
        assert_eq!(all(&records, "sum"), [5.0]);
        assert_eq!(all(&records, "count"), [1]);
    }
}

/// D5: a differential metric with its first sample only sent a row of invented zeros.
#[test]
fn d5_counter_with_only_one_sample_delivers_nothing() {
    let Some(server) = Server::with_settings(SHORT) else {
        return;
    };
    let t = past();
    let lines = [
        format!("AGG.STAT n m 5000 DIFF AT {t}"),
        format!("AGG.STAT n witness 1 AT {t}"),
    ];
    together(&server, &lines);
    for queue in ["MIN", "HOUR"] {
        assert_eq!(all(&arrived(&server, queue, 1), "metric"), ["witness"]);
    }
    // Nor when it is forgotten, which closes open windows.
    server.ask::<i64>("AGG.FORGET n METRIC m");
    assert_eq!(server.peek("n", "MIN").len(), 1);
}

/// D6: a row carried the value that belonged to the next window, and a gauge's first sample was compared with 0.
#[test]
fn d6_last_min_and_max_come_from_samples_of_the_window() {
    let Some(server) = Server::with_settings(SHORT) else {
        return;
    };
    let gauge = [(-7, 0), (-5, 900), (30, 1_000), (20, 1_500), (9, 2_000)];
    samples(&server, "ABS", past(), &gauge);
    let min = arrived(&server, "MIN", 3);
    assert_eq!(all(&min, "last"), [-5.0, 20.0, 9.0]);
    assert_eq!(all(&min, "min"), [-7.0, 20.0, 9.0]);
    assert_eq!(all(&min, "max"), [-5.0, 30.0, 9.0]);
}

/// D7: a late sample counted in the current window, moved the metric's time backwards, and an interval counted twice.
#[test]
fn d7_late_sample_counts_in_no_other_window_and_no_interval_twice() {
    let Some(server) = Server::with_settings(SHORT) else {
        return;
    };
    let t = past();
    let counter = [(0, 0), (100, 1_000), (50, 500), (200, 2_000)];
    assert_eq!(samples(&server, "DIFF", t, &counter), [1, 1, 0, 1]);
    let shown: Value = server.ask("AGG.GET n METRIC m");
    assert_eq!((int(&shown, "at"), int(&shown, "late")), (t + 2_000, 1));
    assert_eq!(all(&arrived(&server, "MIN", 2), "sum"), [100.0, 100.0]);
    // A gauge: its windows have closed, and the current one does not count the sample.
    for value in [1, 999] {
        let at = if value == 1 { now_ms() } else { t };
        server.ask::<i64>(&format!("AGG.STAT n gauge {value} AT {at}"));
    }
    let shown: Value = server.ask("AGG.GET n METRIC gauge");
    assert_eq!((int(&shown, "late"), text(&shown, "last")), (1, "1".into()));
    let records = arrived(&server, "MIN", 3);
    assert_eq!(
        (&records[2]["metric"], &records[2]["max"]),
        (&"gauge".into(), &1.0.into())
    );
}

/// D8: one sample from the future silenced the metric until that time came.
#[test]
fn d8_sample_from_the_future_is_rejected_and_the_metric_continues() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    server.ask::<i64>("AGG.STAT n m 1");
    let before = server.digest("n");
    let next_year = now_ms() + 365 * 86_400_000;
    let error = server.error(&format!("AGG.STAT n m 2 AT {next_year}"));
    assert!(
        error.starts_with(&format!("ERR AGG.STAT: AT {next_year} is "))
            && error.ends_with(" ms ahead of the server's clock: agg.max-future-ms allows 60000"),
        "{error}"
    );
    assert_eq!(server.digest("n"), before);
    assert_eq!(server.ask::<i64>("AGG.STAT n m 3"), 1);
    assert_eq!(double(&open(&server, "m"), "sum"), 4.0);
}
