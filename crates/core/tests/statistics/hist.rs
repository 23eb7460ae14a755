//! HIST: the windows that have a histogram, its contents, and what records show of it. (`model/windows.rs` compares the
//! percentiles of gauges and increments with all values.)

use super::stat;
use crate::support::{BASE, Value, World, reload};
use aggregator_core::histogram::{Histogram, Percentiles};
use aggregator_core::name_patterns::NamePatterns;

const FIELDS: [&str; 4] = ["p50", "p90", "p95", "p99"];

/// Returns the percentiles of the records of a queue: `None` of one without.
fn percentiles(w: &mut World, queue: &str) -> Vec<Option<[f64; 4]>> {
    let of = |r: &serde_json::Value| r.get("p50").map(|_| FIELDS.map(|f| r[f].as_f64().unwrap()));
    w.peek(queue).iter().map(|(_, _, r)| of(r)).collect()
}

/// Returns the percentiles of the open windows of a metric.
fn open(w: &mut World, metric: &str, window: &str) -> Vec<Option<[f64; 4]>> {
    let metric = w.run(&format!("GET METRIC {metric}"));
    let of = |window: &Value| {
        let Value::Map(members) = window else {
            panic!("{window:?}")
        };
        let has = members.iter().any(|(name, _)| name.text() == "p50");
        has.then(|| FIELDS.map(|f| window.at(f).float()))
    };
    metric.at(window).list().iter().map(of).collect()
}

#[test]
fn window_that_the_sample_opens_has_a_histogram_and_an_open_one_has_none() {
    let mut w = World::new();
    w.pass(4_000_000);
    stat(&mut w, "m 1", 0);
    stat(&mut w, "m 2 HIST", 1_000);
    assert_eq!(open(&mut w, "m", "min"), [None]);
    // The option sticks: the next MIN windows have one without it, the HOUR window that was open has not.
    stat(&mut w, "m 3", 300_000);
    assert_eq!(open(&mut w, "m", "hour"), [None]);
    stat(&mut w, "m 4", 3_600_000);
    assert_eq!(percentiles(&mut w, "MIN"), [None, Some([3.0; 4])]);
    assert_eq!(percentiles(&mut w, "HOUR"), [None]);
    assert_eq!(open(&mut w, "m", "min"), [Some([4.0; 4])]);
    assert_eq!(open(&mut w, "m", "hour"), [Some([4.0; 4])]);
    w.check_copies();
}

#[test]
fn option_of_a_late_sample_does_not_stick() {
    let mut w = World::new();
    w.pass(8_000_000);
    stat(&mut w, "m 1", 7_500_000);
    assert_eq!(stat(&mut w, "m 1 HIST", 0), 0);
    stat(&mut w, "m 2", 7_900_000);
    assert_eq!(open(&mut w, "m", "min"), [None]);
    // One that counts in HOUR only does.
    stat(&mut w, "m 2 HIST", 7_250_000);
    stat(&mut w, "m 2", 8_000_000);
    assert_eq!(w.run("GET METRIC m").at("late-min").int(), 1);
    assert_eq!(open(&mut w, "m", "min").last(), Some(&None));
    w.pass(300_000);
    stat(&mut w, "m 2", 8_200_000);
    assert_eq!(open(&mut w, "m", "min"), [Some([2.0; 4])]);
    w.check_copies();
}

#[test]
fn sample_that_misses_its_min_window_goes_into_the_hour_window() {
    let mut w = World::new();
    w.pass(700_000);
    stat(&mut w, "m 10 HIST", 0);
    stat(&mut w, "m 20", 600_000);
    assert_eq!(percentiles(&mut w, "MIN"), [Some([10.0; 4])]);
    stat(&mut w, "m 1", 1_000);
    assert_eq!(w.run("GET METRIC m").at("late-min").int(), 1);
    // 1, 10, 20: the second is in no histogram but that of the open MIN window.
    assert_eq!(open(&mut w, "m", "hour"), [Some([10.0, 20.0, 20.0, 20.0])]);
    w.check_copies();
    w.pass(3_600_000);
    stat(&mut w, "m 5", 3_700_000);
    assert_eq!(
        percentiles(&mut w, "HOUR"),
        [Some([10.0, 20.0, 20.0, 20.0])]
    );
    w.check_copies();
}

#[test]
fn histogram_of_a_counter_is_over_the_rates_that_feed_its_maximum() {
    let mut w = World::new();
    w.pass(1_000_000);
    stat(&mut w, "c 0 DIFF HIST", 0);
    // Rates 1 to 10; the last increase ends none.
    let mut total = 0;
    for i in 1..=10 {
        total += i;
        stat(&mut w, &format!("c {total} DIFF"), i * 1_000);
    }
    stat(&mut w, &format!("c {} DIFF", total + 900), 10_100);
    let expected = Some([5.0, 9.0, 10.0, 10.0]);
    assert_eq!(open(&mut w, "c", "min"), [expected]);
    assert_eq!(open(&mut w, "c", "hour"), [expected]);
    w.check_copies();
}

#[test]
fn percentiles_of_a_window_without_a_rate_are_its_average() {
    let mut w = World::new();
    stat(&mut w, "c 0 DIFF HIST", 0);
    stat(&mut w, "c 10 DIFF", 100);
    assert_eq!(open(&mut w, "c", "min"), [Some([20.0; 4])]);
    w.pass_ticking(306_000);
    assert_eq!(percentiles(&mut w, "MIN"), [Some([20.0; 4])]);
    w.check_copies();
}

#[test]
fn percentiles_stay_as_they_were_when_the_window_closed() {
    let mut w = World::new();
    w.pass(4_000_000);
    for i in 1..=1_000 {
        stat(&mut w, &format!("m {i} HIST"), i * 200);
    }
    stat(&mut w, "m 5", 300_000);
    w.settings.rules.percentiles = Percentiles::parse(b"0.1 99.9").unwrap();
    let closed = w.peek("MIN")[0].2.clone();
    let near =
        |field: &str, value: f64| (closed[field].as_f64().unwrap() / value - 1.0).abs() < 0.0109;
    assert!(near("p50", 500.0) && near("p99", 990.0), "{closed}");
    let range = w.run("RANGE m MIN");
    let [first, second] = range.list() else {
        panic!("{range:?}")
    };
    for field in FIELDS {
        assert!((first.at(field).float() / closed[field].as_f64().unwrap() - 1.0).abs() < 1e-12);
    }
    // Before `closed`, after `last`.
    let names = |window: &Value| match window {
        Value::Map(members) => members
            .iter()
            .map(|(name, _)| name.text())
            .collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    let before = ["start", "end", "count", "sum", "avg", "min", "max", "last"];
    assert_eq!(names(first), [&before[..], &FIELDS, &["closed"]].concat());
    assert_eq!(
        names(second),
        [&before[..], &["p0_1", "p99_9", "closed"]].concat()
    );
    w.check_copies();
    w.settings.rules.percentiles = Percentiles::NONE;
    w.pass(600_000);
    stat(&mut w, "m 5", 600_000);
    assert_eq!(w.peek("MIN")[1].2.get("p50"), None);
    w.check_copies();
}

#[test]
fn records_have_the_histogram_where_the_setting_says_so() {
    let mut w = World::new();
    w.pass(4_000_000);
    let mut expected = Histogram::default();
    for i in 0..100 {
        let value = f64::from(i) - 10.0;
        stat(
            &mut w,
            &format!("m {value} HIST TAGS p50:a,b"),
            i64::from(i) * 1_000,
        );
        expected.insert(value, 1);
    }
    w.settings.rules.hist_records = true;
    stat(&mut w, "m 5", 300_000);
    w.settings.rules.hist_records = false;
    stat(&mut w, "m 5", 600_000);
    w.check_copies();
    let mut json = Vec::new();
    expected.write_json(&mut json);
    let json = format!("\"hist\":{},\"tags\":", String::from_utf8(json).unwrap());
    let records = w.run("PEEK MIN COUNT 9");
    let text = |i: usize| records.list()[i].list()[3].text();
    assert!(text(0).contains(&json), "{}", text(0));
    assert!(!text(1).contains("hist"), "{}", text(1));
    let line = w.run("PEEK MIN COUNT 1 FORMAT LINE").list()[0].list()[3].text();
    let (tags, fields) = line.split_once(' ').unwrap();
    assert!(tags.contains(",p50_=a\\,b,"), "{line}");
    let names: Vec<&str> = fields
        .split(',')
        .map(|f| f.split_once('=').unwrap().0)
        .collect();
    let all = [
        "avg", "max", "min", "sum", "last", "p50", "p90", "p95", "p99", "count",
    ];
    assert_eq!(names, all);
    // What a record shows of a window that closed is part of the value.
    assert_eq!(w.peek("MIN")[0].2["hist"]["zero"], 1);
}

#[test]
fn histogram_is_gone_with_its_window() {
    let mut w = World::new();
    w.pass(300_000);
    stat(&mut w, "m 1 HIST", 0);
    w.run("FORGET METRIC m");
    assert_eq!(percentiles(&mut w, "HOUR"), [Some([1.0; 4])]);
    stat(&mut w, "m 1", 300_000);
    assert_eq!(open(&mut w, "m", "min"), [None], "a new metric");
    w.check_copies();
    // A clock that was wrong closes all windows.
    let at = BASE + 40_000;
    w.run(&format!("STAT n 1 HIST AT {at}"));
    w.set_wall(BASE - 7_200_000);
    w.run("STAT n 2");
    assert_eq!(percentiles(&mut w, "MIN").last(), Some(&Some([1.0; 4])));
    assert_eq!(open(&mut w, "n", "min"), [Some([2.0; 4])]);
    w.check_copies();
}

#[test]
fn new_metric_that_a_pattern_selects_has_histograms() {
    let mut w = World::new();
    w.pass(300_000);
    stat(&mut w, "old.ms 1", 0);
    w.settings.hist_match = NamePatterns::parse("*.ms db.*").unwrap();
    let verbatim = w.verbatim;
    stat(&mut w, "new.ms 2", 0);
    let reply = w.run(&format!(
        "MSTAT AT {BASE} VALUES old.ms 3 db.x 4 db.x 5 other 6 bad x"
    ));
    assert_eq!(reply.list()[0].int(), 4);
    w.run(&format!("MSTAT AT {BASE} VALUES db.y 4 other 6"));
    assert_eq!(w.verbatim, verbatim);
    w.check_copies();
    for (metric, value) in [("new.ms", 2.0), ("db.x", 4.0), ("db.y", 4.0)] {
        let shown = open(&mut w, metric, "min")[0].unwrap();
        assert_eq!(shown[0], value, "{metric}");
    }
    for metric in ["old.ms", "other"] {
        assert_eq!(open(&mut w, metric, "min"), [None], "{metric}");
    }
    // It is known now.
    stat(&mut w, "new.ms 2", 1_000);
    assert!(w.verbatim > verbatim);
    w.check_copies();
}

/// Under memory pressure histograms get smaller instead of samples being rejected, and replicas follow.
#[test]
fn resolution_is_halved_where_memory_is_short() {
    let mut w = World::new();
    w.pass(300_000);
    w.settings.rules.hist_records = true;
    for i in 1..=1_000 {
        stat(&mut w, &format!("m {i} HIST"), i * 100);
    }
    let before = open(&mut w, "m", "min")[0].unwrap();
    w.memory_pressure = true;
    assert_eq!(stat(&mut w, "m 500", 200_000), 1);
    // Code 20, one run of slots: the first slot, one.
    let payload = &w.payload;
    assert!(payload.windows(4).any(|part| part == [20, 1, 0, 1]));
    w.check_copies();
    let after = open(&mut w, "m", "min")[0].unwrap();
    assert_ne!(before, after);
    for (value, expected) in after.iter().zip([500.0, 900.0, 950.0, 990.0]) {
        assert!(
            (value / expected - 1.0).abs() <= 0.0218,
            "{value} for {expected}"
        );
    }
    for i in 0..50 {
        assert_eq!(stat(&mut w, "m 500", 200_001 + i), 1);
        w.check_copies();
    }
    assert!(!w.payload.windows(4).any(|part| part == [20, 1, 0, 1]));
    w.memory_pressure = false;
    w.pass(300_000);
    stat(&mut w, "m 1", 300_000);
    let record = w.peek("MIN")[0].2.clone();
    assert_eq!(record["count"], 1_051);
    let scale = record["hist"]["scale"].as_i64().unwrap();
    assert!((0..4).contains(&scale), "{record}");
    w.check_copies();
}

#[test]
fn metric_that_has_no_histograms_gets_none_while_memory_is_short() {
    let mut w = World::new();
    w.pass(600_000);
    stat(&mut w, "m 1", 0);
    w.memory_pressure = true;
    assert_eq!(stat(&mut w, "m 1 HIST", 300_000), 1);
    assert_eq!(open(&mut w, "m", "min"), [None]);
    w.memory_pressure = false;
    assert_eq!(stat(&mut w, "m 1 HIST", 600_000), 1);
    assert_eq!(open(&mut w, "m", "min").last(), Some(&Some([1.0; 4])));
    assert_eq!(w.node.as_ref().unwrap().contents().hist_metrics, 1);
    w.check_copies();
    assert_eq!(reload(w.node.as_ref().unwrap()).contents().hist_metrics, 1);
    w.run("FORGET METRIC m");
    assert_eq!(w.node.as_ref().unwrap().contents().hist_metrics, 0);
    w.check_copies();
}

#[test]
fn histograms_count_in_the_effort_to_free_a_node() {
    let effort_of = |sample: &str| {
        let mut w = World::new();
        for i in 0..20 {
            w.run(&format!("STAT m{i} {sample}"));
        }
        w.node.as_ref().unwrap().free_effort()
    };
    assert_eq!(effort_of("1"), 20);
    // Redis frees a value of more than 64 on another thread.
    assert_eq!(effort_of("1 HIST"), 100);
}

/// The memory limits keep a reserve free for each of these.
#[test]
fn only_metrics_with_histograms_count_as_such() {
    let mut w = World::new();
    let counted = |w: &World| {
        w.check_copies();
        let node = w.node.as_ref().unwrap();
        let counts = [node, &reload(node), w.replica.as_ref().unwrap()]
            .map(|node| node.contents().hist_metrics);
        assert_eq!(counts, [counts[0]; 3]);
        counts[0]
    };
    for line in ["STAT a 1", "STAT b 1 INC", "STAT c 1 DIFF"] {
        w.run(line);
    }
    assert_eq!(counted(&w), 0);
    w.run("MSTAT COLUMNS METRIC VALUE HIST VALUES a 2 1 d 1 1 e 1 0");
    w.run("STAT b 1 INC HIST");
    assert_eq!(counted(&w), 3);
    w.run("STAT d 1 HIST");
    assert_eq!(counted(&w), 3);
    w.run("FORGET METRIC a");
    assert_eq!(counted(&w), 2);
}
