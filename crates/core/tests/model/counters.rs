//! Counters: that no increase is lost or doubled, and the definition of a rate.

use super::{Act, QUEUES, acts, close, count, delay, steps, ttl, world};
use crate::support::{BASE, Value, World};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn sum_of_all_increases_is_conserved(acts in acts(), delay in delay(), ttl in ttl()) {
        let mut w = world(delay, ttl);
        // Of each counter: its true total, what was last taken and when, its restarts; and the sums of increases by
        // that.
        let mut totals = [0u64; 3];
        let mut taken: [Option<(u64, i64)>; 3] = [None; 3];
        let mut restarts = [0; 3];
        let mut increases = [[0u64; 3]; 2];
        // The increases when the metric was created.
        let mut since = [0u64; 3];
        for act in &acts {
            for m in 0..3 {
                if w.node.is_some() && w.run(&format!("GET METRIC c{m}")) == Value::Null {
                    (taken[m], restarts[m], since[m]) = (None, 0, increases[0][m]);
                }
            }
            match act {
                Act::Sample { metric, value, ago, .. } => {
                    let m = usize::from(*metric);
                    totals[m] += u64::from(*value);
                    let at = w.now_ms() - ago;
                    let total = totals[m];
                    let before_hour = count(&mut w, "late-hour");
                    if w.run(&format!("STAT c{metric} {total} DIFF AT {at}")).int() == 1 {
                        if let Some((before, when)) = taken[m] {
                            prop_assert!(at >= when, "older than the last: late");
                            let is_gap = at - when > 7_200_000;
                            let is_restart = !is_gap && total < before;
                            if is_restart {
                                prop_assert!(at - when >= 500, "out of order, not a restart");
                                restarts[m] += 1;
                            }
                            let increase = if is_restart { total } else { total - before.min(total) };
                            let missed_hour = count(&mut w, "late-hour") > before_hour;
                            prop_assert!(!(is_gap && missed_hour), "a first sample counts nowhere");
                            if !is_gap {
                                increases[0][m] += increase;
                                increases[1][m] += if missed_hour { 0 } else { increase };
                            }
                        }
                        taken[m] = Some((total, at));
                    }
                }
                Act::Pass(ms) => steps(*ms).for_each(|step| {
                    w.pass(step);
                    w.tick();
                }),
                // A counter takes none.
                Act::Merge { .. } => {}
                Act::Restart { metric } => totals[usize::from(*metric)] = 0,
                Act::Forget { metric } => {
                    if w.node.is_some() {
                        w.run(&format!("FORGET METRIC c{metric}"));
                    }
                }
            }
        }
        for (m, restarts) in restarts.into_iter().enumerate() {
            if let Some(shown @ Value::Map(_)) = w.node.is_some().then(|| w.run(&format!("GET METRIC c{m}"))) {
                prop_assert_eq!(shown.at("restarts").int(), restarts);
                prop_assert!(close(shown.at("total").float(), (increases[0][m] - since[m]) as f64));
            }
        }
        for _ in 0..3 {
            w.pass(8_000_000);
            w.pass_ticking(300);
        }
        w.check_copies();
        for (i, queue) in QUEUES.into_iter().enumerate() {
            let mut sums = [0.0; 3];
            for (_, _, r) in w.pop(queue) {
                sums[usize::from(r["metric"].as_str().unwrap().as_bytes()[1] - b'0')] += r["sum"].as_f64().unwrap();
                let seconds = (r["sum"].as_f64().unwrap() / r["avg"].as_f64().unwrap().max(1e-300)).abs();
                prop_assert!(r["avg"].as_f64() == Some(0.0) || seconds >= 0.5 - 1e-9);
                prop_assert!(r["min"].as_f64().unwrap() <= r["max"].as_f64().unwrap());
            }
            for m in 0..3 {
                prop_assert!(close(sums[m], increases[i][m] as f64), "{} of c{}: {} for {}", queue, m, sums[m], increases[i][m]);
            }
        }
    }
}

/// Compares a stream with the definition of a rate, computed from scratch.
#[test]
fn rates_follow_the_definition() {
    let mut w = World::new();
    let samples = [
        (0, 100),
        (300, 130),
        (500, 150),
        (900, 190),
        (1_700, 300),
        (2_100, 310),
        (2_200, 400),
    ];
    for (at, total) in samples {
        w.run(&format!("STAT c {total} DIFF AT {}", BASE + at));
    }
    let (mut end, mut rates) = ((0, 100), Vec::new());
    for (at, total) in samples {
        if at - end.0 >= 500 {
            rates.push(f64::from(total - end.1) * 1000.0 / (at - end.0) as f64);
            end = (at, total);
        }
    }
    let m = w.run("GET METRIC c");
    let b = &m.at("min").list()[0];
    assert_eq!(
        b.at("max").float(),
        rates.iter().copied().fold(f64::MIN, f64::max)
    );
    assert_eq!(
        b.at("min").float(),
        rates.iter().copied().fold(f64::MAX, f64::min)
    );
    assert_eq!(b.at("last").float(), *rates.last().unwrap());
    assert!(close(b.at("avg").float(), 300.0 / 2.2));
}
