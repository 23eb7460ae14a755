//! AGG.HIST: samples that the reporter has aggregated, and what it rejects. (`model/windows.rs` compares windows with all
//! values.)

use super::stat;
use crate::support::{BASE, Value, World, reload};
use proptest::prelude::*;
use std::fmt::Write;

/// Reports values so many milliseconds after [`BASE`].
fn hist(w: &mut World, what: &str, at: i64, values: &str) -> i64 {
    let at = BASE + at;
    w.run(&format!("HIST {what} AT {at} VALUES {values}")).int()
}

/// Returns count, sum, min, max and last of the open windows of a metric.
fn open(w: &mut World, metric: &str, window: &str) -> Vec<[f64; 5]> {
    let shown = w.run(&format!("GET METRIC {metric}"));
    let of = |window: &Value| {
        let number = |field: &str| window.at(field).float();
        let count = window.at("count").int() as f64;
        [
            count,
            number("sum"),
            number("min"),
            number("max"),
            number("last"),
        ]
    };
    shown.at(window).list().iter().map(of).collect()
}

/// Returns whether the open windows of a metric have percentiles.
fn has_percentiles(w: &mut World, metric: &str, window: &str) -> Vec<bool> {
    let shown = w.run(&format!("GET METRIC {metric}"));
    let has = |window: &Value| match window {
        Value::Map(members) => members.iter().any(|(name, _)| name.text() == "p99"),
        other => panic!("{other:?}"),
    };
    shown.at(window).list().iter().map(has).collect()
}

#[test]
fn totals_follow_from_the_values_where_they_are_not_given() {
    let mut w = World::new();
    w.pass(60_000);
    assert_eq!(hist(&mut w, "m", 0, "2.5 2 -1 1 7 3"), 1);
    for window in ["min", "hour"] {
        assert_eq!(open(&mut w, "m", window), [[6.0, 25.0, -1.0, 7.0, 7.0]]);
        assert_eq!(has_percentiles(&mut w, "m", window), [true]);
    }
    let shown = w.run("GET METRIC m");
    assert_eq!(shown.at("type").text(), "ABS");
    assert_eq!(
        (shown.at("last").text(), shown.at("samples").int()),
        ("7".into(), 6)
    );
    // In any order of options, with any sum.
    assert_eq!(
        hist(&mut w, "k MAX 9 SUM -1e3 MIN -4 TAGS a:1", 1_000, "3 2 2 1"),
        1
    );
    assert_eq!(open(&mut w, "k", "min"), [[3.0, -1_000.0, -4.0, 9.0, 2.0]]);
    assert_eq!(w.run("GET METRIC k").at("tags").at("a").text(), "1");
    w.check_copies();
}

#[test]
fn value_beyond_the_given_extremes_counts_as_the_nearer_one() {
    let mut w = World::new();
    w.pass(60_000);
    assert_eq!(hist(&mut w, "m MIN 2 MAX 6", 0, "1 2 4 1 7.5 3"), 1);
    assert_eq!(open(&mut w, "m", "min"), [[6.0, 26.0, 2.0, 6.0, 6.0]]);
    assert_eq!(w.run("GET METRIC m").at("last").text(), "6");
    // The other extreme is computed of the values as they count.
    assert_eq!(hist(&mut w, "k MIN 10", 0, "1 2 4 1"), 1);
    assert_eq!(open(&mut w, "k", "min"), [[3.0, 30.0, 10.0, 10.0, 10.0]]);
    w.check_copies();
}

#[test]
fn window_without_a_histogram_takes_the_totals() {
    let mut w = World::new();
    w.pass(700_000);
    stat(&mut w, "m 100", 0);
    assert_eq!(hist(&mut w, "m MIN 1", 1_000, "5 3 4 7"), 1);
    assert_eq!(open(&mut w, "m", "min"), [[11.0, 143.0, 1.0, 100.0, 4.0]]);
    assert_eq!(has_percentiles(&mut w, "m", "min"), [false]);
    // The option sticks, as HIST does.
    stat(&mut w, "m 3", 300_000);
    assert_eq!(has_percentiles(&mut w, "m", "min").last(), Some(&true));
    assert_eq!(w.node.as_ref().unwrap().contents().hist_metrics, 1);
    w.check_copies();
    assert_eq!(reload(w.node.as_ref().unwrap()).contents().hist_metrics, 1);
}

#[test]
fn older_report_does_not_change_the_last_value_of_a_window() {
    let mut w = World::new();
    w.pass(60_000);
    hist(&mut w, "m", 5_000, "1 1 2 1");
    hist(&mut w, "m", 4_000, "9 1 8 1");
    assert_eq!(open(&mut w, "m", "min"), [[4.0, 20.0, 1.0, 9.0, 2.0]]);
    // In order of arrival it is.
    assert_eq!(w.run("GET METRIC m").at("last").text(), "8");
    stat(&mut w, "m 1 ADD", 6_000);
    assert_eq!(w.run("GET METRIC m").at("last").text(), "9");
    w.check_copies();
}

#[test]
fn late_samples_are_counted_with_their_occurrences() {
    let mut w = World::new();
    w.pass(8_000_000);
    assert_eq!(hist(&mut w, "m", 7_500_000, "1 5"), 1);
    assert_eq!(hist(&mut w, "m", 0, "1 4294967296 2 1"), 0);
    assert_eq!(hist(&mut w, "m", 7_250_000, "1 70 2 7"), 1);
    let shown = w.run("GET METRIC m");
    let counts = ["late", "late-min", "late-hour", "samples"].map(|f| shown.at(f).int());
    assert_eq!(counts, [i64::from(u32::MAX), 77, 0, 82]);
    let info = w.run("INFO");
    let counts = ["late", "late-min", "late-hour"].map(|f| info.at(f).int());
    assert_eq!(counts, [(1 << 32) + 1, 77, 0]);
    // What missed its MIN window is in the HOUR window.
    assert_eq!(open(&mut w, "m", "hour"), [[82.0, 89.0, 1.0, 2.0, 1.0]]);
    w.check_copies();
    // Nothing of a late report sticks.
    let mut w = World::new();
    w.pass(8_000_000);
    stat(&mut w, "m 1", 7_500_000);
    hist(&mut w, "m TAGS late", 0, "1 5");
    assert_eq!(w.node.as_ref().unwrap().contents().hist_metrics, 0);
    assert_eq!(w.run("GET METRIC m").at("tags"), &Value::Map(vec![]));
    w.check_copies();
}

#[test]
fn report_of_another_type_is_rejected() {
    let mut w = World::new();
    w.run("STAT c 1 DIFF");
    w.run("STAT i 1 INC");
    for (metric, metric_type) in [("c", "DIFF"), ("i", "INC")] {
        assert_eq!(
            w.error(&format!("HIST {metric} VALUES 1 1")),
            format!(
                "ERR AGG.HIST: metric '{metric}' is {metric_type}, the sample ABS: \
                 use AGG.FORGET node METRIC name to reset the metric"
            )
        );
    }
    w.settings.max_series = 2;
    let error = w.error("HIST new VALUES 1 1");
    assert!(
        error.starts_with("AGGFULL AGG.HIST: cannot create metric 'new'"),
        "{error}"
    );
    w.check_copies();
}

#[test]
fn invalid_argument_is_named_and_changes_nothing() {
    let mut w = World::new();
    w.run("HIST m VALUES 1 1");
    let before = (w.sent, w.verbatim);
    let usage = "usage: AGG.HIST node metric [SUM s] [MIN m] [MAX m] [TAGS tags] [AT ms] [SEQ source n] \
                 VALUES value times [value times ...]";
    let times = "expected an integer from 1 to 4294967296";
    for (words, text) in [
        ("m", format!("VALUES is missing; {usage}")),
        ("m SUM 1", format!("VALUES is missing; {usage}")),
        (
            "m VALUES",
            "VALUES requires pairs of value and times, got 0 arguments".into(),
        ),
        (
            "m VALUES 1 2 3",
            "VALUES requires pairs of value and times, got 3 arguments".into(),
        ),
        (
            "m SUM x VALUES 1 1",
            "invalid SUM 'x': expected a decimal number".into(),
        ),
        (
            "m MIN 1e999 VALUES 1 1",
            "invalid MIN '1e999': too large for a double".into(),
        ),
        (
            "m MAX 1e-999 VALUES 1 1",
            "invalid MAX '1e-999': too close to 0 for a double".into(),
        ),
        (
            "m MIN 3 MAX 2.5 VALUES 1 1",
            "MIN 3 is above MAX 2.5".into(),
        ),
        (
            "m VALUES 1 1 x 1",
            "pair 1: invalid value 'x': expected a decimal number".into(),
        ),
        (
            "m VALUES 1 0",
            format!("pair 0: invalid times '0': {times}"),
        ),
        (
            "m VALUES 1 1 1 4294967297",
            format!("pair 1: invalid times '4294967297': {times}"),
        ),
        (
            "m VALUES 1 -1",
            format!("pair 0: invalid times '-1': {times}"),
        ),
        ("m SUM 1 SUM 1 VALUES 1 1", "SUM is given twice".into()),
        (
            "m HIST VALUES 1 1",
            format!("unknown option 'HIST'; {usage}"),
        ),
        (
            "m DIFF VALUES 1 1",
            format!("unknown option 'DIFF'; {usage}"),
        ),
        (
            "m AT 5 VALUES 1 1",
            "AT 5 looks like seconds: times are Unix milliseconds".into(),
        ),
        (
            "m TAGS :x VALUES 1 1",
            "invalid tag ':x' in TAGS: expected name:value or name=value".into(),
        ),
        (" VALUES 1 1", "metric must not be empty".into()),
    ] {
        assert_eq!(
            w.error(&format!("HIST {words}")),
            format!("ERR AGG.HIST: {text}")
        );
        assert_eq!((w.sent, w.verbatim), before);
    }
    w.check_copies();
}

#[test]
fn one_command_takes_ten_thousand_pairs() {
    let mut w = World::new();
    let pairs = |n: usize| "1 4294967296 ".repeat(n);
    let command = |pairs: &str| format!("HIST m VALUES {}", pairs.trim_end());
    assert_eq!(w.run(&command(&pairs(10_000))).int(), 1);
    assert_eq!(w.run("GET METRIC m").at("samples").int(), 10_000 << 32);
    assert_eq!(
        w.error(&command(&pairs(10_001))),
        "ERR AGG.HIST: VALUES has 10001 pairs: the maximum is 10000"
    );
    let long = format!("0.{}", "1".repeat(1_000));
    assert_eq!(
        w.error(&command(&format!("{long} 1 ").repeat(5_200))),
        "ERR AGG.HIST: VALUES has 5215600 bytes: the maximum is 5120000"
    );
    w.check_copies();
}

#[test]
fn repetition_changes_nothing_and_an_error_consumes_no_number() {
    let mut w = World::new();
    assert_eq!(w.run("HIST m SEQ a 5 VALUES 1 2").int(), 1);
    assert_eq!(w.run("HIST m SEQ a 5 VALUES 1 2"), Value::Null);
    w.error("HIST m SEQ a 6 VALUES 1 0");
    assert_eq!(w.run("HIST m SEQ a 6 VALUES 1 2").int(), 1);
    assert_eq!(w.run("STAT m 1 SEQ a 6"), Value::Null);
    assert_eq!(w.run("GET METRIC m").at("samples").int(), 4);
    w.check_copies();
}

/// A command with few pairs in a millisecond of the node is propagated verbatim; one with many is a shorter payload.
#[test]
fn few_pairs_are_propagated_verbatim_and_many_as_a_histogram() {
    let mut w = World::new();
    w.run("HIST m VALUES 1 1");
    assert_eq!((w.sent.0, w.verbatim), (1, 0));
    w.run("HIST m TAGS a:1 SEQ s 1 VALUES 0.1 1 0.2 5");
    assert_eq!((w.sent.0, w.verbatim), (1, 1));
    let (mut values, mut n) = (String::new(), 0);
    for i in 0..10_000 {
        write!(values, " {} {}", 0.001 * f64::from(i * i), i % 7 + 1).unwrap();
        n += i % 7 + 1;
    }
    w.run(&format!("HIST m SEQ s 2 VALUES{values}"));
    assert_eq!((w.sent.0, w.verbatim), (2, 1));
    assert!(w.payload.len() < 800, "{}", w.payload.len());
    assert_eq!(w.run("GET METRIC m").at("samples").int(), i64::from(n) + 7);
    w.check_copies();
}

/// Under memory pressure aggregated samples of known metrics count like others.
#[test]
fn samples_count_where_memory_is_short() {
    let mut w = World::new();
    w.pass(300_000);
    w.settings.rules.hist_records = true;
    stat(&mut w, "plain 1", 0);
    let many: String = (1..=1_000).map(|i| format!("{i} 1 ")).collect();
    let many = many.trim_end();
    hist(&mut w, "m", 0, many);
    w.memory_pressure = true;
    let error = w.error("HIST new VALUES 1 1");
    assert!(
        error.starts_with("AGGFULL AGG.HIST: agg.max-memory"),
        "{error}"
    );
    assert_eq!(hist(&mut w, "m TAGS new", 100_000, "500 5"), 1);
    // Code 20, one run of slots: the first metric is `plain`.
    assert!(w.payload.windows(4).any(|part| part == [20, 1, 1, 1]));
    w.check_copies();
    // It gets no histograms.
    assert_eq!(hist(&mut w, "plain", 100_000, "500 5"), 1);
    assert_eq!(
        open(&mut w, "plain", "min"),
        [[6.0, 2_501.0, 1.0, 500.0, 500.0]]
    );
    assert_eq!(w.node.as_ref().unwrap().contents().hist_metrics, 1);
    w.check_copies();
    w.memory_pressure = false;
    hist(&mut w, "m", 200_000, many);
    stat(&mut w, "m 1", 299_000);
    w.pass_ticking(310_000);
    let records = w.peek("MIN");
    let record = records.iter().find(|(_, _, r)| r["metric"] == "m").unwrap();
    assert_eq!(record.2["count"], 2_006);
    assert_eq!(record.2["hist"]["scale"], 4, "{}", record.2);
    w.check_copies();
}

/// The reserve of a metric includes two histograms of 1,280 bytes, and counts of 2^32 may take twice that.
#[test]
fn large_histograms_get_smaller_at_once_where_memory_is_short() {
    let mut w = World::new();
    w.settings.rules.hist_records = true;
    w.pass(700_000);
    hist(&mut w, "m", 650_000, "1 1");
    w.memory_pressure = true;
    let wide = "1 4294967296 1000 1";
    // Code 20, the first metric.
    let is_halved = |w: &World| w.payload.ends_with(&[20, 1, 0, 1]);
    // One fits.
    hist(&mut w, "m", 660_000, wide);
    assert!(!is_halved(&w));
    w.pass(240_000);
    hist(&mut w, "m", 930_000, wide);
    assert!(is_halved(&w), "{:?}", w.payload);
    w.check_copies();
    // They stay small.
    hist(&mut w, "m", 931_000, wide);
    assert!(!is_halved(&w));
    w.memory_pressure = false;
    w.pass_ticking(320_000);
    let records = w.peek("MIN");
    for (_, _, record) in &records {
        let scale = record["hist"]["scale"].as_i64().unwrap();
        assert!((-10..5).contains(&scale), "{record}");
    }
    assert_eq!(records.len(), 2);
    w.check_copies();
}

/// The text of a value whose exponent may be any, and its multiplicity.
fn pair() -> impl Strategy<Value = (f64, u64)> {
    let value = prop_oneof![
        6 => (1i64..1_000_000, 0usize..3).prop_map(|(n, d)| n as f64 / [1.0, 10.0, 1_000.0][d]),
        2 => -1_000.0..1_000.0f64,
        1 => Just(0.0),
        1 => any::<f64>().prop_filter("finite", |value| value.is_finite()),
    ];
    (
        value,
        prop_oneof![6 => Just(1u64), 3 => 1u64..40, 1 => 1u64..=1 << 32],
    )
}

/// Returns the histograms in the records of a metric: reported in some parts with the totals that follow.
fn histograms(parts: &[Vec<(f64, u64)>], singly: bool) -> Vec<serde_json::Value> {
    let mut w = World::new();
    w.settings.rules.hist_records = true;
    w.pass(300_000);
    for part in parts {
        if singly {
            for (value, times) in part {
                stat(&mut w, &format!("m {value:e} HIST TIMES {times}"), 1_000);
            }
        } else {
            let values = part
                .iter()
                .map(|(value, times)| format!("{value:e} {times}"));
            hist(&mut w, "m", 1_000, &values.collect::<Vec<_>>().join(" "));
        }
        w.check_copies();
    }
    // Delivers both windows.
    w.run("FORGET METRIC m");
    let of = |r: &serde_json::Value| {
        let fields = ["count", "min", "max", "p50", "p90", "p95", "p99", "hist"];
        fields.iter().map(|field| r[field].clone()).collect()
    };
    let queues = ["MIN", "HOUR"].map(|queue| w.peek(queue));
    queues.iter().flatten().map(|(_, _, r)| of(r)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn every_split_and_order_gives_the_same_window(
        pairs in prop::collection::vec(pair(), 1..40),
        splits in prop::collection::vec(0usize..40, 0..6),
        seed in any::<u64>(),
    ) {
        let whole = histograms(std::slice::from_ref(&pairs), false);
        prop_assert_eq!(whole.len(), 2);
        prop_assert_eq!(&histograms(std::slice::from_ref(&pairs), true), &whole);
        let mut shuffled = pairs;
        let n = shuffled.len();
        (0..n).for_each(|i| shuffled.swap(i, (seed.rotate_left(i as u32) % n as u64) as usize));
        let mut parts = vec![shuffled];
        for at in splits {
            let last = parts.last_mut().unwrap();
            if at > 0 && at < last.len() {
                let rest = last.split_off(at);
                parts.push(rest);
            }
        }
        prop_assert_eq!(&histograms(&parts, false), &whole);
    }
}
