//! Statistics against a second, naive model: every sample kept, every figure computed from scratch.
//!
//! The model knows windows only as lists of samples; it closes nothing by itself but mirrors when the node says that a
//! window has closed (its record appears), and then demands that the record is what its list gives. So the rules of
//! what counts where are checked, and that nothing is lost or doubled.

mod support;

use proptest::prelude::*;
use std::collections::BTreeMap;
use support::{BASE, World};

/// Seconds after [`BASE`] at which a sample is told, relative to the clock.
#[derive(Clone, Debug)]
enum Act {
    /// The value, and how long ago it was taken, milliseconds.
    Sample { metric: u8, value: u32, ago: i64 },
    /// Time passes, with ticks.
    Pass(i64),
    /// The counter begins anew from 0.
    Restart { metric: u8 },
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        8 => (0u8..3, 0u32..1000, prop_oneof![6 => Just(0i64), 2 => 0i64..3_000, 1 => 0i64..400_000, 1 => -20_000i64..0])
            .prop_map(|(metric, value, ago)| Act::Sample { metric, value, ago }),
        4 => prop_oneof![4 => 100i64..2_000, 2 => 2_000i64..60_000, 1 => 60_000i64..700_000].prop_map(Act::Pass),
        1 => (0u8..3).prop_map(|metric| Act::Restart { metric }),
    ];
    prop::collection::vec(act, 1..120)
}

/// A gauge's window in the model.
type Gauges = BTreeMap<(u8, usize, i64), Vec<(i64, f64)>>;

const LENGTHS: [i64; 2] = [300_000, 3_600_000];
const QUEUES: [&str; 2] = ["MIN", "HOUR"];

fn record_key(r: &serde_json::Value, i: usize) -> (u8, usize, i64) {
    (
        r["metric"].as_str().unwrap().as_bytes()[1] - b'0',
        i,
        r["start"].as_i64().unwrap(),
    )
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(1.0)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn gauges_add_up_in_every_window(acts in acts()) {
        let mut w = World::new();
        let mut windows = Gauges::new();
        let mut told = [0u64; 2]; // counted in MIN, in HOUR
        for act in &acts {
            match act {
                Act::Sample { metric, value, ago } => {
                    let at = w.now_ms() - ago;
                    let value = f64::from(*value) / 8.0;
                    let before = w.node.is_some().then(|| w.run("INFO")).map_or([0; 3], |i| ["late", "late-min", "late-hour"].map(|f| i.at(f).int()));
                    let taken = w.run(&format!("STAT g{metric} {value} AT {at}")).int();
                    let info = w.run("INFO");
                    let grew = ["late", "late-min", "late-hour"].map(|f| info.at(f).int());
                    let missed = [0, 1, 2].map(|f| grew[f] > before[f]);
                    prop_assert_eq!(taken == 0, missed[0]);
                    for i in 0..2 {
                        if taken == 1 && !missed[1 + i] {
                            windows.entry((*metric, i, at - at.rem_euclid(LENGTHS[i]))).or_default().push((at, value));
                            told[i] += 1;
                        }
                    }
                }
                Act::Pass(ms) => w.pass_ticking(*ms),
                Act::Restart { .. } => {}
            }
        }
        w.check_copies();
        w.pass_ticking(3_700_000);
        for (i, queue) in QUEUES.iter().enumerate() {
            let mut counted = 0;
            for (_, _, r) in w.pop(queue) {
                let samples = windows.remove(&record_key(&r, i)).expect("a window of samples that counted");
                let sum: f64 = samples.iter().map(|s| s.1).sum();
                let newest = samples.iter().map(|s| s.0).max().unwrap();
                let last = samples.iter().rev().find(|s| s.0 == newest).unwrap().1;
                counted += samples.len() as u64;
                prop_assert_eq!(r["count"].as_u64().unwrap(), samples.len() as u64);
                prop_assert!(close(r["sum"].as_f64().unwrap(), sum));
                prop_assert!(close(r["avg"].as_f64().unwrap(), sum / samples.len() as f64));
                prop_assert_eq!(r["min"].as_f64().unwrap(), samples.iter().map(|s| s.1).fold(f64::MAX, f64::min));
                prop_assert_eq!(r["max"].as_f64().unwrap(), samples.iter().map(|s| s.1).fold(f64::MIN, f64::max));
                prop_assert_eq!(r["last"].as_f64().unwrap(), last);
            }
            prop_assert_eq!(counted, told[i], "every sample that counted is delivered");
        }
        prop_assert!(windows.is_empty(), "every window is delivered once: {:?}", windows);
        w.check_copies();
    }

    #[test]
    fn the_sum_of_all_increases_is_conserved(acts in acts()) {
        let mut w = World::new();
        // Of each counter: its true total, what was last taken and when, and the sum of increases by that.
        let mut totals = [0u64; 3];
        let mut taken: [Option<(u64, i64)>; 3] = [None; 3];
        let mut increases = [[0u64; 3]; 2];
        let mut restarts = 0;
        for act in &acts {
            match act {
                Act::Sample { metric, value, ago } => {
                    let m = usize::from(*metric);
                    totals[m] += u64::from(*value);
                    let at = w.now_ms() - ago;
                    let total = totals[m];
                    let late_hour = |w: &mut World| w.node.is_some().then(|| w.run("INFO").at("late-hour").int()).unwrap_or(0);
                    let before_hour = late_hour(&mut w);
                    if w.run(&format!("STAT c{metric} {total} DIFF AT {at}")).int() == 1 {
                        if let Some((before, when)) = taken[m] {
                            prop_assert!(at >= when, "older than the last: late");
                            let is_gap = at - when > 7_200_000;
                            let is_restart = !is_gap && total < before;
                            if is_restart {
                                prop_assert!(at - when >= 500, "out of order, not a restart");
                                restarts += 1;
                            }
                            let increase = if is_restart { total } else { total - before };
                            let missed_hour = late_hour(&mut w) > before_hour;
                            prop_assert!(!(is_gap && missed_hour), "a first sample counts nowhere");
                            if !is_gap {
                                increases[0][m] += increase;
                                increases[1][m] += if missed_hour { 0 } else { increase };
                            }
                        }
                        taken[m] = Some((total, at));
                    }
                }
                Act::Pass(ms) => w.pass_ticking(*ms),
                Act::Restart { metric } => totals[usize::from(*metric)] = 0,
            }
        }
        let held: i64 = (0..3).filter(|m| taken[*m].is_some()).map(|m| w.run(&format!("GET METRIC c{m}")).at("restarts").int()).sum();
        prop_assert_eq!(held, restarts);
        w.pass_ticking(3_700_000);
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

/// A stream against the definition of a rate, computed from scratch.
#[test]
fn rates_are_those_of_the_definition() {
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
