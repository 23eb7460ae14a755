//! Counters: rates, restarts and gaps.

use super::stat;
use crate::support::World;

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

/// The rule is that of one window: more than one restart, and more than a tenth of the increases.
#[test]
fn counter_is_suspected_above_one_restart_and_a_tenth_of_its_increases() {
    for (increases, restarts, is_suspect) in [
        (1, 1, false),
        (2, 2, true),
        (19, 2, true),
        (20, 2, false),
        (29, 2, false),
        (29, 3, true),
        (30, 3, false),
    ] {
        let mut w = World::new();
        w.pass(700_000);
        for i in 0..=increases {
            // The restarts come last; each total is 1 less than the one before.
            let total = if i + restarts > increases {
                100 - i
            } else {
                200 + i
            };
            stat(&mut w, &format!("c {total} DIFF"), i * 1_000);
        }
        let open = w.run("GET METRIC c");
        assert_eq!(open.at("restarts").int(), restarts);
        assert_eq!(open.at("min").list()[0].at("count").int(), increases);
        assert_eq!(
            w.run("INFO").at("suspect-diff").int(),
            0,
            "the window is open"
        );
        stat(&mut w, "c 500 DIFF", 300_000);
        let context = format!("{restarts} of {increases}");
        assert_eq!(
            w.run("INFO").at("suspect-diff").int(),
            i64::from(is_suspect),
            "{context}"
        );
        // Each window counts for itself.
        stat(&mut w, "c 600 DIFF", 600_000);
        assert_eq!(
            w.run("INFO").at("suspect-diff").int(),
            i64::from(is_suspect),
            "{context}"
        );
        w.check_copies();
    }
}
