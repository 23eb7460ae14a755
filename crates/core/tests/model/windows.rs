//! Windows of gauges and increments: which samples they have.

use super::values::HIST;
use super::{
    Act, DEFAULT, LATE, Lengths, QUEUES, Totals, acts, close, count, delay, lengths, steps, ttl,
    world,
};
use crate::support::{Value, World};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// A window of a metric: its number, the index of its length, its start.
pub(super) type Key = (u8, usize, i64);

/// A sample that counted. One that occurred 0 times is a minimum or maximum that AGG.HIST gave.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counted {
    pub at: i64,
    pub value: f64,
    pub times: u64,
    /// What it adds to the sum.
    pub sum: f64,
}

/// The increments of a metric by slot.
#[derive(Default)]
struct Slots {
    /// The time of the newest sample, and the start of the slot in which the metric was first known.
    newest: Option<i64>,
    known: i64,
    /// Those that arrived when their slot was the current one.
    sums: BTreeMap<i64, f64>,
}

/// What the metrics of a model are.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Kind {
    /// Reported with ABS and ADD.
    Gauge,
    /// Reported with INC.
    Increments,
}

/// The expected state of a node: of each open window all its samples, and where each metric was delivered.
pub(super) struct Model {
    pub world: World,
    /// The kind of each metric.
    pub kinds: [Kind; 3],
    lengths: [i64; 2],
    slot: i64,
    open: BTreeMap<Key, Vec<Counted>>,
    /// The last value of each metric in order of arrival, and the sum of its increments.
    last: [f64; 3],
    totals: [f64; 3],
    slots: [Slots; 3],
    delivered: BTreeSet<Key>,
    delivered_to: [[i64; 2]; 3],
    is_there: [bool; 3],
    /// The time after which it has no effect any more where a forgotten metric was delivered.
    until: [i64; 3],
    /// Records of other metrics, with the index of their length.
    pub others: Vec<(usize, serde_json::Value)>,
}

impl Model {
    pub fn new(kinds: [Kind; 3], delay: i64, ttl: u64, (lengths_s, slot_s): Lengths) -> Model {
        let mut world = world(delay, ttl);
        let settings = &mut world.settings;
        [settings.min_window_s, settings.hour_window_s] = lengths_s.map(|s| s as u32);
        settings.inc_slot_s = slot_s as u32;
        Model {
            world,
            kinds,
            lengths: lengths_s.map(|s| s * 1_000),
            slot: slot_s.min(lengths_s[0]) * 1_000,
            last: [0.0; 3],
            totals: [0.0; 3],
            slots: Default::default(),
            open: BTreeMap::new(),
            delivered: BTreeSet::new(),
            delivered_to: [[0; 2]; 3],
            is_there: [false; 3],
            until: [i64::MAX; 3],
            others: Vec::new(),
        }
    }

    fn delay(&self) -> i64 {
        self.world.settings.rules.flush_delay_ms
    }

    /// The number of windows that may be open.
    fn most(&self, i: usize) -> usize {
        let passed = (self.delay() as u64).div_ceil(self.lengths[i] as u64);
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
        let has_passed = start + self.lengths[i] <= self.world.now_ms() - self.delay();
        let is_one_too_many = start < *first && open.len() >= self.most(i);
        start >= *newest || open.contains(&start) || !has_passed && !is_one_too_many
    }

    /// The start of the current slot: that of the newest sample, or the end of the last short window.
    fn current_slot(&self, m: usize) -> i64 {
        let newest = self.slots[m].newest.unwrap_or(0);
        self.delivered_to[m][0].max(newest - newest.rem_euclid(self.slot))
    }

    fn sample(
        &mut self,
        metric: u8,
        value: f64,
        is_change: bool,
        times: u64,
        ago: i64,
    ) -> Result<(), TestCaseError> {
        let at = self.world.now_ms() - ago;
        let (option, value, times) = match (self.kinds[usize::from(metric)], is_change) {
            (Kind::Increments, _) => ("INC", value, times),
            (Kind::Gauge, false) => ("ABS", value - 60.0, times),
            (Kind::Gauge, true) => ("ADD", value - 60.0, 1),
        };
        let hist = if metric == HIST { " HIST" } else { "" };
        let command = match times {
            1 => format!("STAT g{metric} {value} {option}{hist} AT {at}"),
            _ => format!("STAT g{metric} {value} {option}{hist} TIMES {times} AT {at}"),
        };
        let before = match option {
            "ADD" if self.is_there[usize::from(metric)] => self.last[usize::from(metric)],
            _ => 0.0,
        };
        let value = before + value;
        let sum = value * times as f64;
        let sample = Counted {
            at,
            value,
            times,
            sum,
        };
        self.report(metric, &command, &[sample])
    }

    /// AGG.HIST, which counts as its values do one by one.
    fn merge(
        &mut self,
        metric: u8,
        pairs: &[(u32, u64)],
        totals: &Totals,
        ago: i64,
    ) -> Result<(), TestCaseError> {
        let at = self.world.now_ms() - ago;
        let value = |n: u32| f64::from(n) / 8.0 - 60.0;
        let min = totals.min.map(value);
        let max = totals
            .range
            .map(|n| min.unwrap_or(0.0) + f64::from(n) / 8.0);
        let sum = totals.sum.map(f64::from);
        let mut command = format!("HIST g{metric}");
        for (word, total) in [("MAX", max), ("SUM", sum), ("MIN", min)] {
            if let Some(total) = total {
                write!(command, " {word} {total}").unwrap();
            }
        }
        write!(command, " AT {at} VALUES").unwrap();
        let extremes = [min, max].into_iter().flatten();
        let extreme = |value| Counted {
            at,
            value,
            times: 0,
            sum: 0.0,
        };
        let mut samples: Vec<Counted> = extremes.map(extreme).collect();
        for (n, times) in pairs {
            write!(command, " {} {times}", value(*n)).unwrap();
            let within = value(*n)
                .max(min.unwrap_or(f64::MIN))
                .min(max.unwrap_or(f64::MAX));
            samples.push(Counted {
                at,
                value: within,
                times: *times,
                sum: if sum.is_some() {
                    0.0
                } else {
                    within * *times as f64
                },
            });
        }
        samples.last_mut().unwrap().sum += sum.unwrap_or(0.0);
        self.report(metric, &command, &samples)
    }

    /// Runs a command that reports samples of one time, and predicts where they count.
    fn report(
        &mut self,
        metric: u8,
        command: &str,
        samples: &[Counted],
    ) -> Result<(), TestCaseError> {
        let newest = samples.last().unwrap();
        let (at, m) = (newest.at, usize::from(metric));
        if !self.is_there[m] && self.until[m] <= self.world.now_ms() {
            self.delivered_to[m] = [0; 2];
            self.delivered.retain(|key| key.0 != metric);
        }
        let keys = [0, 1].map(|i| (metric, i, at - at.rem_euclid(self.lengths[i])));
        let counts = keys.map(|key| self.counts(key));
        let before = LATE.map(|field| count(&mut self.world, field));
        let taken = self.world.run(command).int();
        let grew = [0, 1, 2].map(|f| count(&mut self.world, LATE[f]) - before[f]);
        let times: u64 = samples.iter().map(|s| s.times).sum();
        let expected = [[false, false], [false, true], [true, false]]
            .map(|these| i64::from(these == counts) * times as i64);
        prop_assert_eq!(grew, expected, "late, late-min, late-hour of {}", command);
        prop_assert_eq!(taken == 1, counts != [false; 2]);
        if !self.is_there[m] && taken == 1 {
            (self.last[m], self.totals[m]) = (0.0, 0.0);
        }
        for (key, counts) in keys.into_iter().zip(counts) {
            if counts {
                self.open.entry(key).or_default().extend(samples);
            }
        }
        if taken == 1 {
            self.last[m] = newest.value;
            self.totals[m] += newest.sum;
            self.add_to_slot(m, at, newest.sum);
        }
        self.is_there[m] |= taken == 1;
        self.take(&[])?;
        self.check_metric(metric)
    }

    fn add_to_slot(&mut self, m: usize, at: i64, sum: f64) {
        let slot = at - at.rem_euclid(self.slot);
        if self.slots[m].newest.is_none() {
            self.slots[m].known = slot.max(self.delivered_to[m][0]);
        }
        if slot >= self.current_slot(m) {
            *self.slots[m].sums.entry(slot).or_default() += sum;
        }
        let newest = &mut self.slots[m].newest;
        *newest = Some(newest.map_or(at, |newest| newest.max(at)));
    }

    /// The rates of the slots of a window that are complete once all before `until` are.
    pub(super) fn rates(&self, (metric, i, start): Key, until: i64) -> Vec<f64> {
        let slots = &self.slots[usize::from(metric)];
        let from = start.max(slots.known);
        let until = until.min(start + self.lengths[i]);
        let sum = |slot: i64| slots.sums.get(&slot).copied().unwrap_or(0.0);
        let slots = (0..).map(|n| from + n * self.slot);
        slots
            .take_while(|slot| *slot < until)
            .map(|slot| sum(slot) * 1_000.0 / self.slot as f64)
            .collect()
    }

    /// Checks what AGG.GET says of a metric and its open windows.
    fn check_metric(&mut self, metric: u8) -> Result<(), TestCaseError> {
        let m = usize::from(metric);
        if !self.is_there[m] {
            return Ok(());
        }
        let shown = self.world.run(&format!("GET METRIC g{metric}"));
        prop_assert!(close(shown.at("last").float(), self.last[m]));
        if self.kinds[m] == Kind::Increments {
            prop_assert!(close(shown.at("total").float(), self.totals[m]));
        }
        let current = self.current_slot(m);
        let newest = self.slots[m].newest.unwrap().max(self.world.now_ms());
        for (i, field) in ["min", "hour"].into_iter().enumerate() {
            let open = shown.at(field).list();
            let keys: Vec<Key> = self
                .starts(metric, i)
                .into_iter()
                .map(|s| (metric, i, s))
                .collect();
            prop_assert_eq!(open.len(), keys.len());
            for (key, open) in keys.into_iter().zip(open) {
                let ms = (newest - key.2).max(self.slot).min(self.lengths[i]);
                let value = |name: &str| match name {
                    "count" => open.at(name).int() as f64,
                    name => open.at(name).float(),
                };
                self.check_values(key, &self.open[&key], current, ms, value)?;
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

    pub fn pass(&mut self, ms: i64) -> Result<(), TestCaseError> {
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
            self.slots[m] = Slots::default();
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
                if !metric.starts_with('g') {
                    self.others.push((i, r));
                    continue;
                }
                let key = (metric.as_bytes()[1] - b'0', i, start);
                let is_over = start + self.lengths[i] <= self.world.now_ms() - self.delay();
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
                let (end, length) = (start + self.lengths[i], self.lengths[i]);
                let value = |name: &str| r[name].as_f64().unwrap();
                self.check_values(key, &samples, end, length, value)?;
                let to = &mut self.delivered_to[usize::from(key.0)][i];
                *to = (*to).max(start + self.lengths[i]);
            }
        }
        Ok(())
    }

    /// Takes an action. Those for others than its metrics do nothing.
    pub fn act(&mut self, act: &Act) -> Result<(), TestCaseError> {
        match act {
            Act::Merge {
                metric,
                pairs,
                totals,
                ago,
            } if self.kinds[usize::from(*metric)] == Kind::Gauge => {
                self.merge(*metric, pairs, totals, *ago)
            }
            Act::Sample {
                metric,
                value,
                option,
                times,
                ago,
            } => self.sample(*metric, f64::from(*value) / 8.0, *option == 1, *times, *ago),
            Act::Pass(ms) => self.pass(*ms),
            Act::Forget { metric } => self.forget(*metric),
            Act::Merge { .. } | Act::Restart { .. } => Ok(()),
        }
    }

    /// Lets the last windows close, and checks that all were delivered.
    pub fn finish(&mut self) -> Result<(), TestCaseError> {
        self.world.check_copies();
        for _ in 0..3 {
            self.pass(8_000_000)?;
        }
        prop_assert!(
            self.open.is_empty(),
            "every window is delivered: {:?}",
            self.open
        );
        self.world.check_copies();
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn gauges_add_up_in_every_window(acts in acts(), delay in delay(), ttl in ttl()) {
        run(Model::new([Kind::Gauge; 3], delay, ttl, DEFAULT), &acts)?;
    }

    #[test]
    fn increments_add_up_in_every_window(acts in acts(), delay in delay(), ttl in ttl(), lengths in lengths()) {
        run(Model::new([Kind::Increments; 3], delay, ttl, lengths), &acts)?;
    }
}

fn run(mut model: Model, acts: &[Act]) -> Result<(), TestCaseError> {
    acts.iter().try_for_each(|act| model.act(act))?;
    model.finish()
}
