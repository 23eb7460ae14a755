//! Windows: late samples, open windows, and the clock.

use super::stat;
use crate::support::{BASE, World};

#[test]
fn late_gauge_counts_in_its_hour_or_changes_nothing() {
    let mut w = World::new();
    w.pass(700_000);
    stat(&mut w, "m 1", 0);
    stat(&mut w, "m 2", 300_000);
    stat(&mut w, "m 3", 600_000);
    assert_eq!(stat(&mut w, "m 10 TAGS a:b", 1_000), 1);
    let m = w.run("GET METRIC m");
    assert_eq!((m.at("late-min").int(), m.at("late").int()), (1, 0));
    assert_eq!(m.at("hour").list()[0].at("count").int(), 4);
    w.pass(3_600_000);
    stat(&mut w, "m 4", 3_600_000);
    assert_eq!(stat(&mut w, "m 99 TAGS a:c", 2_000), 0);
    let info = w.run("INFO");
    assert_eq!((info.at("late").int(), info.at("late-min").int()), (1, 1));
    assert_eq!(w.peek("HOUR")[0].2["sum"].as_f64(), Some(16.0));
    w.check_copies();
}

/// A counter whose data was imported again with its times once stopped counting when the import paused for longer than
/// the flush delay, as its HOUR window had closed by then.
#[test]
fn import_that_pauses_continues_in_min_windows() {
    for kind in ["", " DIFF"] {
        let mut w = World::new();
        w.pass(86_400_000);
        let mut counted = Vec::new();
        for i in 0..6 {
            counted.push(stat(&mut w, &format!("m {}{kind}", i * 100), 300_000 * i));
            if i == 2 {
                w.pass_ticking(6_000);
                assert_eq!(w.peek("HOUR").len(), 1, "the hour is delivered");
            }
        }
        assert_eq!(counted, [1; 6]);
        w.pass_ticking(6_000);
        let samples = if kind.is_empty() { 6 } else { 5 };
        let count = |w: &mut World, queue: &str| -> u64 {
            let records = w.peek(queue);
            records.iter().map(|r| r.2["count"].as_u64().unwrap()).sum()
        };
        assert_eq!(count(&mut w, "MIN"), samples);
        assert_eq!(
            (w.peek("HOUR").len(), count(&mut w, "HOUR")),
            (1, samples - 3)
        );
        let m = w.run("GET METRIC m");
        let info = w.run("INFO");
        for shown in [&m, &info] {
            let counts = ["late", "late-min", "late-hour"].map(|f| shown.at(f).int());
            assert_eq!(counts, [0, 0, 3]);
        }
        w.check_copies();
    }
}

#[test]
fn first_sample_of_a_counter_in_a_delivered_hour_counts_nowhere() {
    let mut w = World::new();
    w.settings.rules.max_gap_ms = 60_000;
    w.pass(86_400_000);
    stat(&mut w, "c 0 DIFF", 0);
    stat(&mut w, "c 10 DIFF", 1_000);
    w.pass_ticking(6_000);
    assert_eq!(w.peek("HOUR").len(), 1);
    assert_eq!(stat(&mut w, "c 50 DIFF", 600_000), 1);
    let m = w.run("GET METRIC c");
    assert_eq!((m.at("gaps").int(), m.at("late-hour").int()), (1, 0));
    assert_eq!(stat(&mut w, "c 60 DIFF", 610_000), 1);
    assert_eq!(w.run("GET METRIC c").at("late-hour").int(), 1);
    w.check_copies();
}

#[test]
fn late_counter_sample_brings_its_increase_with_the_next() {
    let mut w = World::new();
    w.pass(400_000);
    stat(&mut w, "c 0 DIFF", 0);
    stat(&mut w, "c 10 DIFF", 10_000);
    assert_eq!(stat(&mut w, "c 5 DIFF", 5_000), 0);
    stat(&mut w, "c 30 DIFF", 20_000);
    assert_eq!(
        w.run("GET METRIC c").at("min").list()[0].at("sum").float(),
        30.0
    );
}

#[test]
fn two_windows_are_open_around_a_boundary() {
    let mut w = World::new();
    w.pass(299_000);
    stat(&mut w, "m 1", 298_000);
    stat(&mut w, "m 2", 301_000);
    assert_eq!(stat(&mut w, "m 3", 299_000), 1);
    let open = w.run("GET METRIC m");
    let open: Vec<i64> = open
        .at("min")
        .list()
        .iter()
        .map(|b| b.at("count").int())
        .collect();
    assert_eq!(open, [2, 1]);
    w.check_copies();
    w.pass_ticking(6_100);
    assert_eq!(w.peek("MIN").len(), 1);
    assert_eq!(stat(&mut w, "m 4", 299_500), 1, "counts in the hour");
    assert_eq!(w.run("GET METRIC m").at("late-min").int(), 1);
}

/// The open windows of a length, as (start after [`BASE`], samples).
fn open(w: &mut World, metric: &str, length: &str) -> Vec<(i64, i64)> {
    let shown = w.run(&format!("GET METRIC {metric}"));
    let windows = shown.at(length).list().iter();
    windows
        .map(|b| (b.at("start").int() - BASE, b.at("count").int()))
        .collect()
}

/// With windows shorter than the flush delay, a third window once closed the first, long before the delay had passed.
#[test]
fn flush_delay_applies_to_shorter_windows() {
    let mut w = World::new();
    (w.settings.min_window_s, w.settings.hour_window_s) = (20, 40);
    w.settings.rules.flush_delay_ms = 60_000;
    for i in 0..4 {
        assert_eq!(stat(&mut w, "m 1", i * 20_000), 1);
        w.pass_ticking(20_000);
    }
    // It is 80 s, and the first window ended at 20.
    let first = w.peek("MIN");
    assert_eq!(first.len(), 1, "{first:?}");
    assert_eq!(first[0].2["start"].as_i64(), Some(BASE));
    for at in [20_000, 45_000, 79_000] {
        assert_eq!(stat(&mut w, "m 1 TAGS late:yes", at), 1);
    }
    let all = [(20_000, 2), (40_000, 2), (60_000, 2)];
    assert_eq!(open(&mut w, "m", "min"), all);
    assert_eq!(open(&mut w, "m", "hour"), [(0, 3), (40_000, 4)]);
    assert_eq!(w.run("GET METRIC m").at("late-min").int(), 0);
    w.check_copies();
    w.pass_ticking(200_000);
    for (queue, counts) in [("MIN", vec![1, 2, 2, 2]), ("HOUR", vec![3, 4])] {
        let records = w.peek(queue);
        let of = |field: &str| -> Vec<i64> {
            records
                .iter()
                .map(|r| r.2[field].as_i64().unwrap())
                .collect()
        };
        assert_eq!(of("count"), counts);
        assert!(of("start").is_sorted());
    }
    assert_eq!(w.peek("MIN")[1].2["tags"]["late"].as_str(), Some("yes"));
    w.check_copies();
}

#[test]
fn fifth_window_closes_the_oldest() {
    let mut w = World::new();
    w.settings.rules.flush_delay_ms = 900_000;
    w.settings.rules.max_future_ms = 3_000_000;
    w.pass(600_000);
    for at in [600_000, 1_200_000, 0, 900_000] {
        assert_eq!(stat(&mut w, "m 1", at), 1);
    }
    assert_eq!(open(&mut w, "m", "min").len(), 4);
    // A window before all of them would be closed at once.
    assert_eq!(stat(&mut w, "m 1", -300_000), 1);
    assert_eq!(w.run("GET METRIC m").at("late-min").int(), 1);
    assert_eq!(stat(&mut w, "m 1", 300_000), 1, "between them");
    assert_eq!(w.peek("MIN").len(), 1);
    assert_eq!(stat(&mut w, "m 1", 1_500_000), 1);
    let starts: Vec<i64> = open(&mut w, "m", "min").iter().map(|b| b.0).collect();
    assert_eq!(starts, [600_000, 900_000, 1_200_000, 1_500_000]);
    assert_eq!(w.peek("MIN").len(), 2);
    w.check_copies();
}

#[test]
fn node_with_shorter_windows_than_the_setting_keeps_four_open() {
    let mut w = World::new();
    (w.settings.min_window_s, w.settings.hour_window_s) = (20, 40);
    stat(&mut w, "m 1", 0);
    // Three of the new windows, 45 of the node's.
    (w.settings.min_window_s, w.settings.hour_window_s) = (300, 3_600);
    w.settings.rules.flush_delay_ms = 900_000;
    for i in 1..8 {
        w.pass_ticking(20_000);
        stat(&mut w, "m 1", i * 20_000);
        let expected = (i + 1).min(4) as usize;
        assert_eq!(open(&mut w, "m", "min").len(), expected);
        assert_eq!(w.peek("MIN").len(), (i as usize + 1) - expected);
    }
    assert_eq!(open(&mut w, "m", "hour").len(), 4);
    assert_eq!(w.run("INFO").at("min-window").int(), 20);
    w.check_copies();
}

#[test]
fn metric_gets_no_third_window_under_memory_pressure() {
    let mut w = World::new();
    w.settings.rules.flush_delay_ms = 900_000;
    w.settings.rules.max_future_ms = 3_000_000;
    for i in 0..3 {
        stat(&mut w, "many 1", i * 300_000);
    }
    stat(&mut w, "few 1", 0);
    w.memory_pressure = true;
    for i in 1..4 {
        assert_eq!(stat(&mut w, "many 1", i * 300_000), 1);
        assert_eq!(stat(&mut w, "few 1", i * 300_000), 1);
    }
    assert_eq!(open(&mut w, "many", "min").len(), 3);
    assert_eq!(open(&mut w, "few", "min").len(), 2);
    w.check_copies();
}

#[test]
fn shorter_flush_delay_closes_the_windows_beyond_it() {
    let mut w = World::new();
    w.settings.rules.flush_delay_ms = 900_000;
    for i in 0..4 {
        stat(&mut w, "m 1", i * 300_000);
        w.pass_ticking(if i < 3 { 300_000 } else { 1_000 });
    }
    assert_eq!(open(&mut w, "m", "min").len(), 4);
    w.settings.rules.flush_delay_ms = 5_000;
    w.pass_ticking(10_000);
    assert_eq!(open(&mut w, "m", "min").len(), 1);
    assert_eq!(w.peek("MIN").len(), 3);
    w.check_copies();
}

#[test]
fn metric_that_reports_into_an_old_window_keeps_it_open_until_it_is_idle() {
    let mut w = World::new();
    stat(&mut w, "m 1", 0);
    for _ in 0..40 {
        w.pass_ticking(10_000);
        w.run(&format!("STAT other 1 AT {}", w.now_ms()));
    }
    // Idle for long: closed. Now samples of a window long past: each keeps the import going.
    assert_eq!(
        w.peek("MIN")
            .iter()
            .filter(|r| r.2["metric"] == "m")
            .count(),
        1
    );
    for i in 0..30 {
        stat(&mut w, "replay 1", i * 1_000);
        w.pass_ticking(1_000);
    }
    assert_eq!(
        w.peek("MIN")
            .iter()
            .filter(|r| r.2["metric"] == "replay")
            .count(),
        0
    );
    w.pass_ticking(5_200);
    let replayed: Vec<_> = w
        .peek("MIN")
        .into_iter()
        .filter(|r| r.2["metric"] == "replay")
        .collect();
    assert_eq!(replayed.len(), 1);
    assert_eq!(replayed[0].2["count"].as_u64(), Some(30));
    w.check_copies();
}

#[test]
fn imported_data_closes_windows_in_passing() {
    let mut w = World::new();
    w.pass(86_400_000);
    for i in 0..24 {
        stat(&mut w, "m 1", i * 300_000);
    }
    assert_eq!((w.peek("MIN").len(), w.peek("HOUR").len()), (23, 1));
    w.pass_ticking(5_200);
    assert_eq!((w.peek("MIN").len(), w.peek("HOUR").len()), (24, 2));
    let range = w.run("RANGE m MIN");
    assert_eq!(range.list().len(), 12, "the default history");
    w.check_copies();
}

#[test]
fn wrong_clock_does_not_silence_a_metric() {
    let mut w = World::new();
    w.pass(500_000_000);
    let ahead = w.now_ms();
    w.run(&format!("STAT m 7 AT {ahead}"));
    w.set_wall(BASE + 1_000);
    w.tick();
    assert_eq!(w.run("INFO").at("clock-back").int(), 1);
    assert_eq!(w.peek("MIN").len(), 1);
    assert_eq!(w.run(&format!("STAT m 8 AT {}", BASE + 1_000)).int(), 1);
    assert_eq!(
        w.run("GET METRIC m").at("min").list()[0].at("count").int(),
        1
    );
    w.check_copies();
}
