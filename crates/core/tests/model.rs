//! Statistics against a naive model, which keeps every sample and computes every value from scratch.
//!
//! The model knows windows only as lists of samples. It closes nothing by itself but mirrors when the node reports that
//! a window has closed (its record appears), and then requires that the record is what its list gives, that it comes no
//! earlier than it may, and that no window has two. From what was delivered it predicts of each sample where it counts.
//! So the rules of what counts where are checked, with flush delays beyond a window, AGG.FORGET and `series-ttl`, and
//! that nothing is lost or doubled.

use crate::support::{BASE, Value, World};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// One action; times are seconds after [`BASE`], relative to the clock.
#[derive(Clone, Debug)]
enum Act {
    /// The value, and how long ago it was taken, milliseconds.
    Sample { metric: u8, value: u32, ago: i64 },
    /// Time passes, with ticks.
    Pass(i64),
    /// The counter restarts from 0.
    Restart { metric: u8 },
    /// AGG.FORGET.
    Forget { metric: u8 },
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        8 => (0u8..3, 0u32..1000, prop_oneof![6 => Just(0i64), 2 => 0i64..3_000, 1 => 0i64..400_000, 1 => 0i64..4_000_000, 1 => -20_000i64..0])
            .prop_map(|(metric, value, ago)| Act::Sample { metric, value, ago }),
        4 => prop_oneof![4 => 100i64..2_000, 2 => 2_000i64..60_000, 1 => 60_000i64..700_000, 1 => 700_000i64..5_000_000].prop_map(Act::Pass),
        1 => (0u8..3).prop_map(|metric| Act::Restart { metric }),
        1 => (0u8..3).prop_map(|metric| Act::Forget { metric }),
    ];
    prop::collection::vec(act, 1..120)
}

const WINDOWS_MS: [i64; 2] = [300_000, 3_600_000];
const QUEUES: [&str; 2] = ["MIN", "HOUR"];
const LATE: [&str; 3] = ["late", "late-min", "late-hour"];

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(1.0)
}

/// A window of a metric: its number, the index of its length, its start.
type Key = (u8, usize, i64);

/// The expected state of a node: of each open window all its samples, and where each metric was delivered.
struct Model {
    world: World,
    open: BTreeMap<Key, Vec<(i64, f64)>>,
    delivered: BTreeSet<Key>,
    delivered_to: [[i64; 2]; 3],
    is_there: [bool; 3],
    /// The time after which it has no effect any more where a forgotten metric was delivered.
    until: [i64; 3],
}

impl Model {
    fn new(delay: i64, ttl: u64) -> Model {
        Model {
            world: world(delay, ttl),
            open: BTreeMap::new(),
            delivered: BTreeSet::new(),
            delivered_to: [[0; 2]; 3],
            is_there: [false; 3],
            until: [i64::MAX; 3],
        }
    }

    fn delay(&self) -> i64 {
        self.world.settings.rules.flush_delay_ms
    }

    /// The number of windows that may be open.
    fn most(&self, i: usize) -> usize {
        let passed = (self.delay() as u64).div_ceil(WINDOWS_MS[i] as u64);
        (1 + passed as usize).clamp(2, 4)
    }

    fn starts(&self, metric: u8, i: usize) -> Vec<i64> {
        let keys = self.open.keys().filter(|key| (key.0, key.1) == (metric, i));
        keys.map(|key| key.2).collect()
    }

    /// Returns `true` if a sample of the window counts there.
    fn counts(&self, (metric, i, start): Key) -> bool {
        let open = self.starts(metric, i);
        if start < self.delivered_to[usize::from(metric)][i] {
            return false;
        }
        let (Some(first), Some(newest)) = (open.first(), open.last()) else {
            return true;
        };
        let has_passed = start + WINDOWS_MS[i] <= self.world.now_ms() - self.delay();
        let is_one_too_many = start < *first && open.len() >= self.most(i);
        start >= *newest || open.contains(&start) || !has_passed && !is_one_too_many
    }

    fn sample(&mut self, metric: u8, value: f64, ago: i64) -> Result<(), TestCaseError> {
        let at = self.world.now_ms() - ago;
        let m = usize::from(metric);
        if !self.is_there[m] && self.until[m] <= self.world.now_ms() {
            self.delivered_to[m] = [0; 2];
            self.delivered.retain(|key| key.0 != metric);
        }
        let keys = [0, 1].map(|i| (metric, i, at - at.rem_euclid(WINDOWS_MS[i])));
        let counts = keys.map(|key| self.counts(key));
        let before = LATE.map(|field| count(&mut self.world, field));
        let taken = self
            .world
            .run(&format!("STAT g{metric} {value}{} AT {at}", option(metric)))
            .int();
        let grew = [0, 1, 2].map(|f| count(&mut self.world, LATE[f]) > before[f]);
        let expected = [[false, false], [false, true], [true, false]].map(|these| these == counts);
        prop_assert_eq!(
            grew,
            expected,
            "late, late-min, late-hour of a sample {} ms ago",
            ago
        );
        prop_assert_eq!(taken == 1, counts != [false; 2]);
        for (key, counts) in keys.into_iter().zip(counts) {
            if counts {
                self.open.entry(key).or_default().push((at, value));
            }
        }
        self.is_there[m] |= taken == 1;
        self.take(&[])?;
        self.check_open(metric)
    }

    /// Checks the percentiles of the open windows.
    fn check_open(&mut self, metric: u8) -> Result<(), TestCaseError> {
        if !self.is_there[usize::from(metric)] {
            return Ok(());
        }
        let shown = self.world.run(&format!("GET METRIC g{metric}"));
        for (i, name) in ["min", "hour"].into_iter().enumerate() {
            for window in shown.at(name).list() {
                let key = (metric, i, window.at("start").int());
                let value = |field: &str| {
                    let Value::Map(members) = window else {
                        panic!("{window:?}")
                    };
                    let member = members.iter().find(|(name, _)| name.text() == field);
                    member.map(|(_, value)| value.float())
                };
                check_percentiles(metric, value, &self.open[&key])?;
            }
        }
        Ok(())
    }

    fn forget(&mut self, metric: u8) -> Result<(), TestCaseError> {
        if self.world.node.is_some() {
            let forgotten = self.world.run(&format!("FORGET METRIC g{metric}")).int();
            prop_assert_eq!(forgotten == 1, self.is_there[usize::from(metric)]);
            self.take(&[metric])?;
            self.is_forgotten(metric);
        }
        Ok(())
    }

    fn pass(&mut self, ms: i64) -> Result<(), TestCaseError> {
        for step in steps(ms) {
            self.world.pass(step);
            self.world.tick();
            let there = (0..3).filter(|m| self.is_there[usize::from(*m)]);
            let gone = |m: &u8| self.world.run(&format!("GET METRIC g{m}")) == Value::Null;
            let gone: Vec<u8> = there
                .collect::<Vec<u8>>()
                .into_iter()
                .filter(gone)
                .collect();
            self.take(&gone)?;
            gone.into_iter().for_each(|m| self.is_forgotten(m));
        }
        Ok(())
    }

    fn is_forgotten(&mut self, metric: u8) {
        let m = usize::from(metric);
        if std::mem::take(&mut self.is_there[m]) {
            let now = self.world.now_ms();
            let passed = self.delivered_to[m][1] + self.delay();
            let until = if passed > now {
                passed
            } else {
                now + 86_400_000
            };
            // It is kept in seconds.
            self.until[m] = (until + 999) / 1_000 * 1_000;
        }
    }

    /// Takes what was delivered: each window once, with all its samples, and not before the flush delay is over unless
    /// its metric is forgotten, or has too many windows.
    fn take(&mut self, forgotten: &[u8]) -> Result<(), TestCaseError> {
        if self.world.node.is_none() {
            return Ok(());
        }
        for (i, queue) in QUEUES.into_iter().enumerate() {
            for (_, _, r) in self.world.pop(queue) {
                let (metric, start) = (r["metric"].as_str().unwrap(), r["start"].as_i64().unwrap());
                let key = (metric.as_bytes()[1] - b'0', i, start);
                let is_over = start + WINDOWS_MS[i] <= self.world.now_ms() - self.delay();
                let are_many = self.starts(key.0, i).len() > self.most(i);
                prop_assert!(
                    is_over || are_many || forgotten.contains(&key.0),
                    "too early: {}",
                    r
                );
                prop_assert!(self.delivered.insert(key), "a second time: {}", r);
                let samples = self
                    .open
                    .remove(&key)
                    .expect("a window of samples that counted");
                check_record(&r, &samples)?;
                check_percentiles(key.0, |field| r[field].as_f64(), &samples)?;
                let to = &mut self.delivered_to[usize::from(key.0)][i];
                *to = (*to).max(start + WINDOWS_MS[i]);
            }
        }
        Ok(())
    }
}

/// The histograms of the first metric are compared with all its values.
const HIST: u8 = 0;

fn option(metric: u8) -> &'static str {
    match metric {
        HIST => " HIST",
        _ => "",
    }
}

/// Checks the percentiles of a window: exact while it has at most 16 samples, otherwise within the bounds of values
/// with a ratio up to 10^3 (the values are 0, and 1/8 to 1000/8).
fn check_percentiles(
    metric: u8,
    shown: impl Fn(&str) -> Option<f64>,
    samples: &[(i64, f64)],
) -> Result<(), TestCaseError> {
    let mut values: Vec<f64> = samples.iter().map(|s| s.1).collect();
    values.sort_by(f64::total_cmp);
    for (percent, field) in [(50, "p50"), (90, "p90"), (95, "p95"), (99, "p99")] {
        let expected = values[(values.len() * percent).div_ceil(100) - 1];
        let max = if values.len() <= 16 {
            0.0
        } else {
            0.0109 * expected
        };
        match shown(field) {
            None => prop_assert!(metric != HIST, "no {field}"),
            Some(_) if metric != HIST => prop_assert!(false, "{field} without HIST"),
            Some(value) => prop_assert!(
                (value - expected).abs() <= max,
                "{field}: {value} for {expected} of {} samples",
                values.len()
            ),
        }
    }
    Ok(())
}

fn check_record(r: &serde_json::Value, samples: &[(i64, f64)]) -> Result<(), TestCaseError> {
    let sum: f64 = samples.iter().map(|s| s.1).sum();
    let newest = samples.iter().map(|s| s.0).max().unwrap();
    let last = samples.iter().rev().find(|s| s.0 == newest).unwrap().1;
    let values = || samples.iter().map(|s| s.1);
    prop_assert_eq!(r["count"].as_u64().unwrap(), samples.len() as u64);
    prop_assert!(close(r["sum"].as_f64().unwrap(), sum));
    prop_assert!(close(
        r["avg"].as_f64().unwrap(),
        sum / samples.len() as f64
    ));
    prop_assert_eq!(
        r["min"].as_f64().unwrap(),
        values().fold(f64::MAX, f64::min)
    );
    prop_assert_eq!(
        r["max"].as_f64().unwrap(),
        values().fold(f64::MIN, f64::max)
    );
    prop_assert_eq!(r["last"].as_f64().unwrap(), last);
    Ok(())
}

fn world(delay: i64, ttl: u64) -> World {
    let mut w = World::new();
    w.settings.rules.flush_delay_ms = delay;
    w.settings.series_ttl_s = ttl;
    w
}

/// A number of AGG.INFO.
fn count(w: &mut World, field: &str) -> i64 {
    match w.node {
        Some(_) => w.run("INFO").at(field).int(),
        None => 0,
    }
}

/// Some steps in which time passes.
fn steps(ms: i64) -> impl Iterator<Item = i64> {
    let step = (ms / 10).max(100);
    (0..ms / step).map(move |_| step)
}

/// Flush delays: shorter than the windows, and longer than the short one.
fn delay() -> impl Strategy<Value = i64> {
    prop_oneof![Just(5_000i64), Just(0), 1i64..900_000]
}

/// `series-ttl`: none, below a window, and others.
fn ttl() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0u64), 1u64..4_000]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn gauges_add_up_in_every_window(acts in acts(), delay in delay(), ttl in ttl()) {
        let mut model = Model::new(delay, ttl);
        for act in &acts {
            match *act {
                Act::Sample { metric, value, ago } => model.sample(metric, f64::from(value) / 8.0, ago)?,
                Act::Pass(ms) => model.pass(ms)?,
                Act::Forget { metric } => model.forget(metric)?,
                Act::Restart { .. } => {}
            }
        }
        model.world.check_copies();
        for _ in 0..3 {
            model.pass(8_000_000)?;
        }
        prop_assert!(model.open.is_empty(), "every window is delivered: {:?}", model.open);
        model.world.check_copies();
    }

    #[test]
    fn sum_of_all_increases_is_conserved(acts in acts(), delay in delay(), ttl in ttl()) {
        let mut w = world(delay, ttl);
        // Of each counter: its true total, what was last taken and when, its restarts; and the sums of increases by
        // that.
        let mut totals = [0u64; 3];
        let mut taken: [Option<(u64, i64)>; 3] = [None; 3];
        let mut restarts = [0; 3];
        let mut increases = [[0u64; 3]; 2];
        for act in &acts {
            for m in 0..3 {
                if w.node.is_some() && w.run(&format!("GET METRIC c{m}")) == Value::Null {
                    (taken[m], restarts[m]) = (None, 0);
                }
            }
            match act {
                Act::Sample { metric, value, ago } => {
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
