//! The rules for statistics, by example.

mod counters;
mod forgotten;
mod hist;
mod merged;
mod windows;

use crate::support::{BASE, World};
use proptest::prelude::*;

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
