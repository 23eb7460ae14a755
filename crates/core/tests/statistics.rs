//! The rules for statistics, by example.

mod support;

use proptest::prelude::*;
use support::{BASE, World};

/// Reports a value so many milliseconds after [`BASE`].
fn stat(world: &mut World, what: &str, at: i64) -> i64 {
    world.run(&format!("STAT {what} AT {}", BASE + at)).int()
}

#[test]
fn gauge_is_aggregated_over_its_window_and_delivered_by_the_clock() {
    let mut w = World::new();
    for (value, at) in [(3, 1_000), (1, 2_000), (5, 3_000), (2, 3_000)] {
        assert_eq!(stat(&mut w, &format!("m {value}"), at), 1);
    }
    w.pass_ticking(299_000);
    assert!(w.peek("MIN").is_empty());
    w.pass_ticking(6_100);
    let min = w.peek("MIN");
    assert_eq!(min.len(), 1);
    let r = &min[0].2;
    assert_eq!(
        (r["count"].as_u64(), r["sum"].as_f64(), r["avg"].as_f64()),
        (Some(4), Some(11.0), Some(2.75))
    );
    assert_eq!(
        (r["min"].as_f64(), r["max"].as_f64(), r["last"].as_f64()),
        (Some(1.0), Some(5.0), Some(2.0))
    );
    assert_eq!(
        (r["start"].as_i64(), r["end"].as_i64()),
        (Some(BASE), Some(BASE + 300_000))
    );
    assert_eq!(
        (r["type"].as_str(), r["window"].as_u64()),
        (Some("ABS"), Some(300))
    );
    assert!(w.peek("HOUR").is_empty());
    w.pass_ticking(3_300_000);
    assert_eq!(w.peek("HOUR").len(), 1);
    assert_eq!(w.peek("MIN").len(), 1);
    w.check_copies();
}

#[test]
fn counter_gives_rates_and_its_first_sample_gives_none() {
    let mut w = World::new();
    w.pass(4_000_000);
    stat(&mut w, "c 1000 DIFF", 0);
    assert!(w.run("GET METRIC c").at("min").list().is_empty());
    stat(&mut w, "c 1100 DIFF", 10_000);
    stat(&mut w, "c 1400 DIFF", 20_000);
    stat(&mut w, "c 1400 DIFF", 300_000);
    let r = &w.peek("MIN")[0].2;
    assert_eq!(
        (r["count"].as_u64(), r["sum"].as_f64(), r["avg"].as_f64()),
        (Some(2), Some(400.0), Some(20.0))
    );
    assert_eq!(
        (r["min"].as_f64(), r["max"].as_f64(), r["last"].as_f64()),
        (Some(10.0), Some(30.0), Some(30.0))
    );
    w.check_copies();
}

#[test]
fn restarted_counter_grows_by_its_new_value() {
    let mut w = World::new();
    for (total, at) in [(1_000, 0), (1_100, 10_000), (50, 20_000), (70, 30_000)] {
        stat(&mut w, &format!("c {total} DIFF"), at);
    }
    let m = w.run("GET METRIC c");
    assert_eq!(m.at("restarts").int(), 1);
    assert_eq!(m.at("min").list()[0].at("sum").float(), 170.0);
}

#[test]
fn lower_total_within_the_interval_is_late_and_no_restart() {
    let mut w = World::new();
    stat(&mut w, "c 1000 DIFF", 0);
    assert_eq!(stat(&mut w, "c 900 DIFF", 499), 0);
    assert_eq!(stat(&mut w, "c 1010 DIFF", 1_000), 1);
    let m = w.run("GET METRIC c");
    assert_eq!((m.at("restarts").int(), m.at("late").int()), (0, 1));
    assert_eq!(m.at("min").list()[0].at("sum").float(), 10.0);
}

#[test]
fn increases_closer_than_the_interval_go_into_the_next_rate() {
    let mut w = World::new();
    for (total, at) in [(0, 0), (10, 100), (20, 200), (30, 1_000)] {
        stat(&mut w, &format!("c {total} DIFF"), at);
    }
    let m = w.run("GET METRIC c");
    let b = &m.at("min").list()[0];
    assert_eq!((b.at("count").int(), b.at("sum").float()), (3, 30.0));
    assert_eq!((b.at("min").float(), b.at("max").float()), (30.0, 30.0));
}

#[test]
fn window_without_a_rate_shows_its_average() {
    let mut w = World::new();
    stat(&mut w, "c 0 DIFF", 0);
    stat(&mut w, "c 10 DIFF", 100);
    let m = w.run("GET METRIC c");
    let b = &m.at("min").list()[0];
    // 10 over at least 500 ms.
    assert_eq!(
        (
            b.at("avg").float(),
            b.at("min").float(),
            b.at("max").float()
        ),
        (20.0, 20.0, 20.0)
    );
}

#[test]
fn counter_restarts_after_a_gap() {
    let mut w = World::new();
    w.pass(20_000_000);
    stat(&mut w, "c 0 DIFF", 0);
    stat(&mut w, "c 10 DIFF", 1_000);
    stat(&mut w, "c 1000000 DIFF", 1_000 + 7_200_001);
    let m = w.run("GET METRIC c");
    assert_eq!((m.at("gaps").int(), m.at("min").list().len()), (1, 0));
    assert_eq!(w.peek("MIN")[0].2["sum"].as_f64(), Some(10.0));
    assert_eq!(w.peek("HOUR")[0].2["sum"].as_f64(), Some(10.0));
    stat(&mut w, "c 1000100 DIFF", 1_000 + 7_200_001 + 10_000);
    assert_eq!(
        w.run("GET METRIC c").at("min").list()[0].at("avg").float(),
        10.0
    );
    w.check_copies();
}

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

#[test]
fn error_of_a_sample_of_the_other_type_names_the_remedy() {
    let mut w = World::new();
    w.run("STAT m 1");
    assert_eq!(
        w.error("STAT m 1 DIFF"),
        "ERR AGG.STAT: metric 'm' is ABS, the sample DIFF: use AGG.FORGET node METRIC name to reset the metric"
    );
    assert_eq!(w.run("FORGET METRIC m").int(), 1);
    assert_eq!(w.run("STAT m 1 DIFF").int(), 1);
    assert_eq!(w.peek("MIN").len(), 1, "its window was closed first");
    w.check_copies();
}

/// Two records of one window once became one point in line protocol.
#[test]
fn forgotten_metric_gives_no_second_record_of_a_window() {
    let mut w = World::new();
    w.pass(100_000);
    stat(&mut w, "m 1", 10_000);
    w.run("FORGET METRIC m");
    assert_eq!((w.peek("MIN").len(), w.peek("HOUR").len()), (1, 1));
    assert_eq!(w.run("INFO").at("forgotten").int(), 1);
    w.check_copies();
    assert_eq!(stat(&mut w, "m 2", 20_000), 0, "its window is delivered");
    assert_eq!(stat(&mut w, "m 2", -20_000), 0, "and those before");
    let info = w.run("INFO");
    assert_eq!((info.at("late").int(), info.at("metrics").int()), (2, 0));
    w.check_copies();
    // In the rest of the hour it counts in MIN.
    w.pass(300_000);
    assert_eq!(stat(&mut w, "m 4", 310_000), 1);
    let info = w.run("INFO");
    assert_eq!(
        (info.at("late-hour").int(), info.at("forgotten").int()),
        (1, 0)
    );
    w.check_copies();
    w.pass_ticking(400_000);
    w.pass(3_600_000);
    assert_eq!(stat(&mut w, "m 8", 3_600_000), 1);
    w.run("FORGET METRIC m");
    let mut starts = |queue: &str| -> Vec<i64> {
        let records = w.peek(queue);
        records
            .iter()
            .map(|r| r.2["start"].as_i64().unwrap() - BASE)
            .collect()
    };
    assert_eq!(starts("MIN"), [0, 300_000, 3_600_000]);
    assert_eq!(starts("HOUR"), [0, 3_600_000]);
    w.check_copies();
}

#[test]
fn forgotten_counter_loses_no_increase_after_its_first_total() {
    let mut w = World::new();
    w.pass(100_000);
    stat(&mut w, "c 0 DIFF", 0);
    stat(&mut w, "c 10 DIFF", 1_000);
    w.run("FORGET METRIC c");
    assert_eq!(
        stat(&mut w, "c 100 DIFF", 2_000),
        1,
        "a first total opens no window"
    );
    assert_eq!(stat(&mut w, "c 130 DIFF", 3_000), 0);
    w.pass(300_000);
    assert_eq!(stat(&mut w, "c 150 DIFF", 310_000), 1);
    let sum = w.run("GET METRIC c").at("min").list()[0].at("sum").float();
    assert_eq!(sum, 50.0);
    w.check_copies();
}

#[test]
fn delivery_is_remembered_until_the_hour_has_passed() {
    let mut w = World::new();
    w.pass(100_000);
    stat(&mut w, "now 1", 10_000);
    stat(&mut w, "past 1", -86_400_000);
    for name in ["now", "past"] {
        w.run(&format!("FORGET METRIC {name}"));
    }
    let forgotten = |w: &mut World| w.run("INFO").at("forgotten").int();
    w.pass(3_600_000 - 100_000 + 4_900);
    w.tick();
    assert_eq!(forgotten(&mut w), 2);
    w.pass(200);
    w.tick();
    assert_eq!(forgotten(&mut w), 1);
    assert_eq!(stat(&mut w, "past 1", -86_400_000), 0);
    w.pass(86_400_000);
    w.tick();
    assert_eq!(forgotten(&mut w), 0);
    assert_eq!(stat(&mut w, "past 1", -86_400_000), 1);
    assert_eq!(w.run("INFO").at("forgotten-dropped").int(), 0);
    w.check_copies();
}

#[test]
fn first_forgotten_metrics_are_dropped_beyond_the_limit_and_counted() {
    let mut w = World::new();
    w.settings.max_series = 3;
    w.pass(100_000);
    for i in 0..5 {
        stat(&mut w, &format!("m{i} 1"), 10_000);
        w.run(&format!("FORGET METRIC m{i}"));
        w.pass(1_000);
    }
    let info = w.run("INFO");
    let counts = ["forgotten", "forgotten-dropped"].map(|field| info.at(field).int());
    assert_eq!(counts, [3, 2]);
    assert_eq!(w.counters.forgotten_dropped, 2);
    let counted: Vec<i64> = (0..5)
        .map(|i| stat(&mut w, &format!("m{i} 1"), 20_000))
        .collect();
    assert_eq!(counted, [1, 1, 0, 0, 0]);
    w.check_copies();
    // A lower limit takes effect by itself.
    w.settings.max_series = 1;
    w.tick();
    assert_eq!(w.run("INFO").at("forgotten").int(), 1);
    w.check_copies();
}

#[test]
fn metric_expired_by_series_ttl_gives_no_second_record() {
    let mut w = World::new();
    w.settings.series_ttl_s = 60;
    w.pass(10_000);
    w.run("STAT m 1");
    w.pass_ticking(70_000);
    assert_eq!(
        (w.peek("MIN").len(), w.run("INFO").at("metrics").int()),
        (1, 0)
    );
    assert_eq!(w.run("STAT m 1").int(), 0);
    assert_eq!(w.peek("MIN").len(), 1);
    w.check_copies();
}

#[test]
fn wrong_clock_does_not_silence_a_forgotten_metric() {
    let mut w = World::new();
    w.pass(500_000_000);
    w.run("STAT m 7");
    w.run("FORGET METRIC m");
    w.set_wall(BASE + 1_000);
    assert_eq!(stat(&mut w, "m 8", 1_000), 1);
    w.run("FORGET METRIC m");
    w.set_wall(BASE + 500_000_000);
    w.run("STAT o 7");
    w.set_wall(BASE + 1_000);
    w.run("FORGET METRIC o");
    w.tick();
    assert_eq!(stat(&mut w, "o 8", 1_000), 1);
    w.check_copies();
}

#[test]
fn totals_are_exact_to_two_to_the_sixty_fourth() {
    let mut w = World::new();
    stat(&mut w, "c 18446744073709551614 DIFF", 0);
    stat(&mut w, "c 18446744073709551615 DIFF", 1_000);
    stat(&mut w, "c 18446744073709551616 DIFF", 2_000);
    let m = w.run("GET METRIC c");
    assert_eq!(m.at("min").list()[0].at("sum").float(), 2.0);
    stat(&mut w, "d 18446744073709551615 DIFF", 0);
    assert_eq!(
        w.run("GET METRIC d").at("last").text(),
        "18446744073709551615"
    );
}

#[test]
fn idle_metric_expires_and_its_windows_are_delivered() {
    let mut w = World::new();
    w.settings.series_ttl_s = 60;
    w.run("STAT m 1");
    w.pass_ticking(59_000);
    assert_eq!(w.run("INFO").at("metrics").int(), 1);
    w.pass_ticking(1_200);
    assert_eq!(w.run("INFO").at("metrics").int(), 0);
    assert_eq!((w.peek("MIN").len(), w.peek("HOUR").len()), (1, 1));
    w.check_copies();
}

#[test]
fn metrics_idle_together_expire_in_one_round() {
    let mut w = World::new();
    w.settings.series_ttl_s = 60;
    for i in 0..2_000 {
        w.run(&format!("STAT m{i} 1"));
    }
    w.pass(30_000);
    for i in 0..1_000 {
        w.run(&format!("STAT m{} 1", i * 2 % 1_999));
    }
    w.pass(31_000);
    // Twenty ticks for the round, and one more wherever it stopped, every 64 items.
    (0..20 + 1_000 / 64 + 1).for_each(|_| w.tick());
    assert_eq!(w.run("INFO").at("metrics").int(), 1_000);
    w.check_copies();
}

#[test]
fn last_tags_apply_and_a_record_has_those_of_its_last_sample() {
    let mut w = World::new();
    w.pass(700_000);
    stat(&mut w, "m 1", 0);
    stat(&mut w, "m 1 TAGS a:1", 1_000);
    stat(&mut w, "m 1 TAGS a:1", 2_000);
    stat(&mut w, "m 1 TAGS a:2", 3_000);
    stat(&mut w, "m 1 TAGS a:3", 300_000);
    stat(&mut w, "m 1", 600_000);
    let m = w.run("GET METRIC m");
    assert_eq!(
        (
            m.at("tag-changes").int(),
            m.at("tags").at("a").text().as_str()
        ),
        (2, "3")
    );
    let min = w.peek("MIN");
    assert_eq!(
        (
            min[0].2["tags"]["a"].as_str(),
            min[1].2["tags"]["a"].as_str()
        ),
        (Some("2"), Some("3"))
    );
    w.check_copies();
}

#[test]
fn valid_values_count_and_invalid_ones_are_named() {
    let mut w = World::new();
    w.run("STAT d 1 DIFF");
    let reply = w.run("MSTAT VALUES a 1 b x d 3 a 2");
    assert_eq!((reply.list()[0].int(), reply.list()[1].int()), (2, 0));
    let bad: Vec<(i64, String)> = reply.list()[2]
        .list()
        .iter()
        .map(|b| (b.list()[0].int(), b.list()[1].text()))
        .collect();
    assert_eq!(
        bad[0],
        (1, "invalid value 'x': expected a decimal number".into())
    );
    assert!(
        bad[1].0 == 2 && bad[1].1.starts_with("metric 'd' is DIFF"),
        "{bad:?}"
    );
    assert_eq!(
        w.error("MSTAT ATOMIC VALUES e 1 b x"),
        "ERR AGG.MSTAT: sample 1: invalid value 'x': expected a decimal number; no sample was accepted"
    );
    assert!(
        w.error("MSTAT ATOMIC VALUES e 1 d 3")
            .starts_with("ERR AGG.MSTAT: sample 1: metric 'd' is DIFF")
    );
    assert_eq!(w.run("INFO").at("metrics").int(), 2);
    w.check_copies();
}

#[test]
fn new_metric_beyond_the_limit_is_rejected_and_others_count() {
    let mut w = World::new();
    w.settings.max_series = 2;
    w.run("MSTAT VALUES a 1 b 2");
    assert!(
        w.error("STAT c 3")
            .starts_with("AGGFULL AGG.STAT: cannot create metric 'c'")
    );
    assert_eq!(w.run("STAT a 3").int(), 1);
    assert!(
        w.error("MSTAT ATOMIC VALUES a 1 c 2")
            .starts_with("AGGFULL")
    );
    assert_eq!(w.run("INFO").at("refused").at("max-series").int(), 2);
}

#[test]
fn reports_within_a_millisecond_are_propagated_verbatim() {
    let mut w = World::new();
    w.run("STAT a 1");
    assert_eq!((w.sent.0, w.verbatim), (1, 0), "rules and clock first");
    w.run("STAT a 2");
    w.run("STAT b 3 DIFF TAGS x:1");
    w.run("MSTAT VALUES a 4 c 5");
    w.run(&format!("STAT a 6 AT {}", BASE - 1_000));
    assert_eq!((w.sent.0, w.verbatim), (1, 4));
    // Known errors and unchanged objects, too.
    w.run("ERROR e");
    w.run("REALITY o M {}");
    let (sent, repeated) = (w.sent.0, w.verbatim);
    w.run("ERROR e LEVEL 7");
    w.run("REALITY o M {} TTL 9");
    assert_eq!((w.sent.0, w.verbatim), (sent, repeated + 2));
    w.check_copies();
    w.sent.0 = 1;
    w.verbatim = 4;
    // A sample that evicts for others takes ids: its closed windows are propagated.
    w.pass(400_000);
    w.run("STAT a 1");
    w.run("STAT b 9 DIFF");
    assert_eq!((w.sent.0, w.verbatim), (2, 5));
    // A rejection may follow from a setting.
    w.run("MSTAT VALUES a 1 a x");
    assert_eq!((w.sent.0, w.verbatim), (3, 5));
    // A late sample changes nothing, and nothing is sent.
    assert_eq!(w.run(&format!("STAT a 6 AT {}", BASE)).int(), 1);
    w.pass_ticking(3_700_000);
    let sent = (w.sent.0, w.verbatim);
    assert_eq!(w.run(&format!("STAT a 6 AT {}", BASE)).int(), 0);
    assert_eq!((w.sent.0, w.verbatim), sent);
    // Another clock and other rules are propagated with the next sample.
    w.run("STAT a 1");
    w.settings.rules.min_interval_ms = 700;
    w.run("STAT a 2");
    w.run("STAT a 3");
    assert_eq!((w.sent.0, w.verbatim), (sent.0 + 2, sent.1 + 1));
    w.check_copies();
}

proptest! {
    #[test]
    fn every_record_carries_the_tags_in_force_at_its_windows_last_sample(
        acts in prop::collection::vec(
            (
                prop::sample::select(vec!["", "a:1", "a:2", "b:1"]),
                prop_oneof![4 => Just(0i64), 2 => 0i64..20_000, 1 => 0i64..400_000, 1 => -20_000i64..0],
                prop_oneof![3 => Just(0i64), 2 => 100i64..100_000, 1 => 100_000i64..4_000_000],
            ),
            1..50,
        ),
    ) {
        let mut w = World::new();
        w.pass(7_000_000);
        let (mut tags, mut in_force) = ("", Vec::new());
        for (i, (sent, ago, pass)) in acts.into_iter().enumerate() {
            w.pass(pass);
            w.tick();
            // Each has a bit of its own, so a sum shows its samples.
            let (value, at) = (1u64 << i, w.now_ms() - ago);
            let option = if sent.is_empty() { String::new() } else { format!(" TAGS {sent}") };
            if w.run(&format!("STAT m {value}{option} AT {at}")).int() == 1 && !sent.is_empty() {
                tags = sent;
            }
            in_force.push(tags);
            w.check_copies();
        }
        for _ in 0..9 {
            w.pass(4_000_000);
            w.tick();
        }
        for queue in ["MIN", "HOUR"] {
            for (_, _, record) in w.peek(queue) {
                let tag = record["tags"].as_object().unwrap().iter().next();
                let tag = tag.map_or_else(String::new, |(name, v)| format!("{name}:{}", v.as_str().unwrap()));
                let last = (record["sum"].as_f64().unwrap() as u64).ilog2();
                prop_assert_eq!(tag, in_force[last as usize], "{}", record);
            }
        }
        w.check_copies();
    }
}
