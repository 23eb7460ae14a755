//! Forgotten and expired metrics, and the time to which their windows were delivered.

use super::stat;
use crate::support::{BASE, World};

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

/// A late row creates nothing (the first total of a counter is never late), so the type is that of the first row which
/// counts: also where the command is replayed as it is.
#[test]
fn late_row_of_a_forgotten_metric_does_not_decide_its_type() {
    let rows = |late: &str, rows: &str| {
        let at = BASE + 10_000;
        format!("COLUMNS METRIC VALUE TYPE AT VALUES m 1 {late} {at} {rows}")
    };
    for (late, kind, other) in [
        ("INC", "DIFF", "ABS"),
        ("ABS", "DIFF", "INC"),
        ("ADD", "INC", "DIFF"),
    ] {
        let mut w = World::new();
        w.pass(400_000);
        stat(&mut w, &format!("m 1 {late}"), 10_000);
        stat(&mut w, &format!("m 1 {late}"), 11_000);
        w.run("FORGET METRIC m");
        let now = w.now_ms();
        let error = w.error(&format!(
            "MSTAT ATOMIC {}",
            rows(late, &format!("m 5 {kind} {now}"))
        ));
        let why = format!(
            "ERR AGG.MSTAT: sample 1: metric 'm' is {}",
            late.replace("ADD", "ABS")
        );
        assert!(error.starts_with(&why), "{error}");
        let before = w.verbatim;
        let reply = w.run(&format!(
            "MSTAT {}",
            rows(late, &format!("m 5 {kind} {now}"))
        ));
        assert_eq!(
            (reply.list()[0].int(), reply.list()[1].int()),
            (1, 1),
            "{late} {kind}"
        );
        assert!(reply.list()[2].list().is_empty());
        assert_eq!(w.verbatim, before + 1);
        assert_eq!(w.run("GET METRIC m").at("type").text(), kind);
        w.check_copies();
        // With a rejected row the counted one is propagated alone.
        w.run("FORGET METRIC m");
        let (first, third) = (
            format!("m 5 {kind} {}", now + 300_000),
            format!("m 6 {other} {now}"),
        );
        w.pass(300_000);
        let reply = w.run(&format!(
            "MSTAT {}",
            rows(late, &format!("{first} {third}"))
        ));
        assert_eq!((reply.list()[0].int(), reply.list()[1].int()), (1, 1));
        assert_eq!(reply.list()[2].list().len(), 1, "{other}");
        assert_eq!(w.verbatim, before + 1);
        w.check_copies();
    }
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
