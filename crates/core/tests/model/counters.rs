//! Counters: that no increase is lost or doubled, and the definition of a rate.

use super::{Act, QUEUES, acts, close, count, delay, steps, ttl, world};
use crate::support::{BASE, Value, World};
use proptest::prelude::*;

/// The expected state of three counters, `c0` to `c2`, whatever else their node has.
#[derive(Default)]
pub(super) struct Counters {
    /// The true total of each, what was last taken and when, and its restarts.
    totals: [u64; 3],
    taken: [Option<(u64, i64)>; 3],
    restarts: [i64; 3],
    /// The sums of increases by that, in MIN and HOUR.
    increases: [[u64; 3]; 2],
    /// The increases when the metric was created.
    since: [u64; 3],
    /// The sums of records, of MIN and HOUR.
    delivered: [[f64; 3]; 2],
}

impl Counters {
    /// Takes notice of the metrics that do not exist, or not any more.
    pub fn notice(&mut self, w: &mut World) {
        for m in 0..3 {
            if w.node.is_some() && w.run(&format!("GET METRIC c{m}")) == Value::Null {
                (self.taken[m], self.restarts[m]) = (None, 0);
                self.since[m] = self.increases[0][m];
            }
        }
    }

    /// Takes an action for the counters themselves.
    pub fn act(&mut self, act: &Act, w: &mut World) -> Result<(), TestCaseError> {
        match act {
            Act::Sample {
                metric, value, ago, ..
            } => return self.sample(usize::from(*metric), *value, *ago, w),
            Act::Restart { metric } => self.totals[usize::from(*metric)] = 0,
            Act::Forget { metric } if w.node.is_some() => {
                w.run(&format!("FORGET METRIC c{metric}"));
            }
            // Time passes for all; a counter takes no aggregated samples.
            Act::Forget { .. } | Act::Pass(_) | Act::Merge { .. } => {}
        }
        Ok(())
    }

    fn sample(
        &mut self,
        m: usize,
        value: u32,
        ago: i64,
        w: &mut World,
    ) -> Result<(), TestCaseError> {
        self.totals[m] += u64::from(value);
        let (total, at) = (self.totals[m], w.now_ms() - ago);
        let before_hour = count(w, "late-hour");
        if w.run(&format!("STAT c{m} {total} DIFF AT {at}")).int() == 0 {
            return Ok(());
        }
        if let Some((before, when)) = self.taken[m].replace((total, at)) {
            prop_assert!(at >= when, "older than the last: late");
            let is_gap = at - when > 7_200_000;
            let is_restart = !is_gap && total < before;
            if is_restart {
                prop_assert!(at - when >= 500, "out of order, not a restart");
                self.restarts[m] += 1;
            }
            let increase = if is_restart {
                total
            } else {
                total - before.min(total)
            };
            let missed_hour = count(w, "late-hour") > before_hour;
            prop_assert!(!(is_gap && missed_hour), "a first sample counts nowhere");
            if !is_gap {
                self.increases[0][m] += increase;
                self.increases[1][m] += if missed_hour { 0 } else { increase };
            }
        }
        Ok(())
    }

    /// Checks what AGG.GET says of them.
    pub fn check_metrics(&self, w: &mut World) -> Result<(), TestCaseError> {
        for m in (0..3).filter(|_| w.node.is_some()).collect::<Vec<_>>() {
            if let shown @ Value::Map(_) = w.run(&format!("GET METRIC c{m}")) {
                prop_assert_eq!(shown.at("restarts").int(), self.restarts[m]);
                let total = (self.increases[0][m] - self.since[m]) as f64;
                prop_assert!(close(shown.at("total").float(), total));
            }
        }
        Ok(())
    }

    /// Takes a record; `i`: the index of its length.
    pub fn take(&mut self, i: usize, r: &serde_json::Value) -> Result<(), TestCaseError> {
        let m = r["metric"].as_str().unwrap().as_bytes()[1] - b'0';
        let [sum, avg, min, max] = ["sum", "avg", "min", "max"].map(|f| r[f].as_f64().unwrap());
        self.delivered[i][usize::from(m)] += sum;
        let seconds = (sum / avg.max(1e-300)).abs();
        prop_assert!(avg == 0.0 || seconds >= 0.5 - 1e-9);
        prop_assert!(min <= max);
        Ok(())
    }

    /// Checks that the records have all increases.
    pub fn check_delivered(&self) -> Result<(), TestCaseError> {
        for (i, queue) in QUEUES.into_iter().enumerate() {
            for m in 0..3 {
                let (found, expected) = (self.delivered[i][m], self.increases[i][m]);
                prop_assert!(
                    close(found, expected as f64),
                    "{queue} of c{m}: {found} for {expected}"
                );
            }
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn sum_of_all_increases_is_conserved(acts in acts(), delay in delay(), ttl in ttl()) {
        let (mut w, mut counters) = (world(delay, ttl), Counters::default());
        for act in &acts {
            counters.notice(&mut w);
            counters.act(act, &mut w)?;
            if let Act::Pass(ms) = act {
                steps(*ms).for_each(|step| {
                    w.pass(step);
                    w.tick();
                });
            }
        }
        // The last action may have taken its time to live.
        counters.notice(&mut w);
        counters.check_metrics(&mut w)?;
        for _ in 0..3 {
            w.pass(8_000_000);
            w.pass_ticking(300);
        }
        w.check_copies();
        for (i, queue) in QUEUES.into_iter().enumerate() {
            for (_, _, r) in w.pop(queue) {
                counters.take(i, &r)?;
            }
        }
        counters.check_delivered()?;
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
