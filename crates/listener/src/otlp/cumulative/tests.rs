//! Tests of differences, restarts, evictions and undone requests.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const EXPLICIT: Layout = Layout::Explicit { bounds: 1 };

fn report(start: u64, time: u64, counts: &[u64]) -> Report<'_> {
    Report {
        start,
        time,
        sum: Some(counts.iter().sum::<u64>() as f64),
        layout: EXPLICIT,
        counts,
    }
}

fn state(limits: Limits) -> CumulativeState {
    // 1 ms: what starts after 1,000,000 ns counts from its first report.
    CumulativeState::new(limits, 1)
}

/// Returns the part of a report that counts: nothing, or the counts.
fn passed(state: &mut CumulativeState, key: u64, report: Report<'_>) -> Option<Vec<u64>> {
    let mut part = Vec::new();
    match state.difference(key, report, &mut part) {
        Difference::Nothing => None,
        Difference::All => Some(report.counts.to_vec()),
        Difference::Part(..) => Some(part),
        Difference::OtherBuckets => panic!("other buckets"),
    }
}

#[test]
fn first_report_counts_if_it_started_later() {
    let mut state = state(Limits::default());
    assert_eq!(passed(&mut state, 1, report(0, 2_000_000, &[1])), None);
    assert_eq!(
        passed(&mut state, 2, report(999_999, 2_000_000, &[1])),
        None
    );
    assert_eq!(
        passed(&mut state, 3, report(1_000_001, 2_000_000, &[1])),
        Some(vec![1])
    );
    // A report that starts when it is read has no start: its values were before.
    assert_eq!(
        passed(&mut state, 4, report(2_000_000, 2_000_000, &[1])),
        None
    );
    assert_eq!(
        passed(&mut state, 4, report(2_000_000, 2_000_001, &[3])),
        Some(vec![2])
    );
}

#[test]
fn evicted_series_do_not_count_twice() {
    let mut state = state(Limits {
        series: 2,
        ..Limits::default()
    });
    for key in 1..=3 {
        assert_eq!(
            passed(&mut state, key, report(2_000_000, 3_000_000, &[5])),
            Some(vec![5])
        );
    }
    assert_eq!((state.evicted(), state.used().0), (1, 2));
    // The first is evicted: the values before its last report have counted.
    assert_eq!(
        passed(&mut state, 1, report(2_000_000, 4_000_000, &[7])),
        None
    );
    assert_eq!(
        passed(&mut state, 1, report(2_000_000, 5_000_000, &[8])),
        Some(vec![1])
    );
    // A restart is later than that.
    assert_eq!(
        passed(&mut state, 4, report(6_000_000, 7_000_000, &[2])),
        Some(vec![2])
    );
}

#[test]
fn memory_is_limited() {
    let mut state = state(Limits {
        series: 1_000,
        bytes: 10_000,
    });
    for key in 0..100 {
        passed(&mut state, key, report(0, 1, &[1; 100]));
        assert!(state.used().1 <= 10_000);
    }
    assert!(state.used().0 >= 9 && state.evicted() > 80);
    passed(&mut state, 1_000, report(0, 1, &[1; 2_000]));
    assert_eq!(state.used(), (0, 0));
}

#[test]
fn undone_reports_count_again() {
    let mut state = state(Limits::default());
    let first = report(2_000_000, 3_000_000, &[5]);
    assert_eq!(passed(&mut state, 1, first), Some(vec![5]));
    let changes = state.take_changes();
    let used = state.used();
    state.undo(changes);
    assert_eq!(state.used(), (0, 0));
    assert_eq!(passed(&mut state, 1, first), Some(vec![5]));
    assert_eq!(state.used(), used);
    drop(state.take_changes());

    // Two reports of one request.
    let (second, third) = (
        report(2_000_000, 4_000_000, &[6]),
        report(2_000_000, 5_000_000, &[8]),
    );
    for _ in 0..2 {
        assert_eq!(passed(&mut state, 1, second), Some(vec![1]));
        assert_eq!(passed(&mut state, 1, third), Some(vec![2]));
        let changes = state.take_changes();
        state.undo(changes);
    }
    // Of a series that is reported repeatedly only the first state is kept.
    for i in 0..9 {
        passed(&mut state, 1, report(2_000_000, 6_000_000 + i, &[8 + i]));
    }
    let changes = state.take_changes();
    assert_eq!(changes.0.len(), 1);
    state.undo(changes);
    // A series that has changed since is left.
    passed(&mut state, 1, second);
    let changes = state.take_changes();
    passed(&mut state, 1, third);
    state.undo(changes);
    assert_eq!(passed(&mut state, 1, third), None);
}

#[test]
fn order_of_attributes_does_not_matter() {
    let state = state(Limits::default());
    let (a, b) = (Attribute::new("a", "1"), Attribute::new("b", "2"));
    let key = state.key("m", &[a.clone(), b.clone()], 1);
    assert_eq!(key, state.key("m", &[b.clone(), a.clone()], 1));
    for other in [
        state.key("m", &[a.clone(), b.clone()], 2),
        state.key("n", &[a.clone(), b.clone()], 1),
        state.key("m", std::slice::from_ref(&a), 1),
        state.key(
            "m",
            &[Attribute::new("a", "2"), Attribute::new("b", "1")],
            1,
        ),
    ] {
        assert_ne!(key, other);
    }
}

/// An exponential histogram of a sender.
#[derive(Clone, Default)]
struct Histogram {
    start: u64,
    scale: i32,
    zero: u64,
    positive: BTreeMap<i64, u64>,
    negative: BTreeMap<i64, u64>,
}

impl Histogram {
    fn add(&mut self, sign: i8, index: i64) {
        // The index is that of scale 6.
        let index = index >> (6 - self.scale);
        match sign {
            0 => self.zero += 1,
            1 => *self.positive.entry(index).or_default() += 1,
            _ => *self.negative.entry(index).or_default() += 1,
        }
    }

    fn reduce(&mut self, scale: i32) {
        let by = self.scale - scale;
        for side in [&mut self.positive, &mut self.negative] {
            for (index, count) in std::mem::take(side) {
                *side.entry(index >> by).or_default() += count;
            }
        }
        self.scale = scale;
    }

    /// The layout and the counts, with some empty buckets at the ends.
    fn encode(&self, padding: usize) -> (Layout, Vec<u64>) {
        let mut counts = vec![self.zero];
        let mut write = |side: &BTreeMap<i64, u64>| {
            let before = counts.len();
            let first = side.keys().next().map_or(7, |i| i - padding as i64);
            let last = side.keys().last().map_or(7, |i| i + padding as i64);
            counts.extend((first..last + 1).map(|i| side.get(&i).copied().unwrap_or(0)));
            (first, counts.len() - before)
        };
        let (positive, positive_len) = write(&self.positive);
        let (negative, _) = write(&self.negative);
        let layout = Layout::Exponential {
            scale: self.scale,
            zero_threshold: 0,
            positive,
            positive_len,
            negative,
        };
        (layout, counts)
    }
}

/// Adds counts to those by sign and index at the coarsest scale, 0.
fn sum_up(total: &mut BTreeMap<(i8, i64), u64>, layout: Layout, counts: &[u64]) {
    let Layout::Exponential { scale, .. } = layout else {
        panic!("explicit");
    };
    let (zero, positive, negative) = sides(layout, counts).unwrap();
    *total.entry((0, 0)).or_default() += zero;
    for (sign, (first, counts)) in [(1, positive), (-1, negative)] {
        for (i, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            let index = (first + i as i64) >> scale;
            *total.entry((sign, index)).or_default() += count;
        }
    }
}

#[derive(Clone, Debug)]
enum Event {
    Add(i8, i64),
    /// It is sent; with the number of empty buckets.
    Send(usize),
    /// It is sent, and the listener answers that it must be sent again.
    SendTwice,
    /// It is sent, and the sender sends it again although it has arrived.
    SendAgain,
    /// An earlier report arrives late.
    SendOld(prop::sample::Index),
    Reduce,
    Restart,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        8 => (-1i8..2, -200i64..200).prop_map(|(sign, index)| Event::Add(sign, index)),
        4 => (0usize..3).prop_map(Event::Send),
        1 => Just(Event::SendTwice),
        1 => Just(Event::SendAgain),
        1 => any::<prop::sample::Index>().prop_map(Event::SendOld),
        1 => Just(Event::Reduce),
        1 => Just(Event::Restart),
    ]
}

/// Two senders with the same attributes: the sent and the received values.
struct Model {
    state: CumulativeState,
    senders: [Histogram; 2],
    sent: Vec<(Histogram, u64)>,
    time: u64,
    arrived: BTreeMap<(i8, i64), u64>,
}

impl Model {
    fn deliver(&mut self, histogram: &Histogram, time: u64, padding: usize, counts: bool) {
        let key = self.state.key("m", &[], histogram.start);
        let (layout, of_report) = histogram.encode(padding);
        let report = Report {
            start: histogram.start,
            time,
            sum: None,
            layout,
            counts: &of_report,
        };
        let mut part = Vec::new();
        let difference = self.state.difference(key, report, &mut part);
        if !counts {
            let changes = self.state.take_changes();
            self.state.undo(changes);
            return;
        }
        drop(self.state.take_changes());
        match difference {
            Difference::Nothing => {}
            Difference::All => sum_up(&mut self.arrived, layout, &of_report),
            Difference::Part(layout, _) => sum_up(&mut self.arrived, layout, &part),
            Difference::OtherBuckets => panic!("other buckets"),
        }
    }

    fn send(&mut self, sender: usize, padding: usize) {
        let histogram = self.senders[sender].clone();
        self.time += 1_000;
        self.sent.push((histogram.clone(), self.time));
        self.deliver(&histogram, self.time, padding, true);
    }
}

proptest! {
    #[test]
    fn sum_of_differences_is_what_happened(events in vec((0usize..2, event()), 0..120)) {
        let mut model = Model {
            state: state(Limits::default()),
            senders: [2_000_000, 2_000_500].map(|start| Histogram { start, scale: 6, ..Histogram::default() }),
            sent: Vec::new(),
            time: 3_000_000,
            arrived: BTreeMap::new(),
        };
        let mut happened = BTreeMap::new();
        let end = [(0, Event::Send(0)), (1, Event::Send(0))];
        for (sender, event) in events.into_iter().chain(end) {
            match event {
                Event::Add(sign, index) => {
                    model.senders[sender].add(sign, index);
                    let index = if sign == 0 { 0 } else { index >> 6 };
                    *happened.entry((sign, index)).or_default() += 1;
                }
                Event::Send(padding) => model.send(sender, padding),
                Event::SendTwice => {
                    let histogram = model.senders[sender].clone();
                    model.deliver(&histogram, model.time + 1_000, 0, false);
                    model.send(sender, 0);
                }
                Event::SendAgain => {
                    model.send(sender, 1);
                    let (histogram, time) = model.sent.last().unwrap().clone();
                    model.deliver(&histogram, time, 1, true);
                }
                Event::SendOld(index) => {
                    if !model.sent.is_empty() {
                        let (histogram, time) = index.get(&model.sent).clone();
                        model.deliver(&histogram, time, 0, true);
                    }
                }
                Event::Reduce => {
                    let scale = (model.senders[sender].scale - 1).max(0);
                    model.senders[sender].reduce(scale);
                }
                Event::Restart => {
                    model.send(sender, 0);
                    model.time += 1_000;
                    model.senders[sender] = Histogram {
                        start: model.time,
                        scale: 6,
                        ..Histogram::default()
                    };
                }
            }
        }
        model.arrived.retain(|_, count| *count > 0);
        prop_assert_eq!(model.arrived, happened);
    }

    #[test]
    fn explicit_differences_add_up(reports in vec((vec(0u64..9, 3), any::<bool>(), any::<bool>()), 1..40)) {
        let mut state = state(Limits::default());
        let (mut total, mut arrived) = ([0u64; 3], [0u64; 3]);
        let (mut now, mut is_lost_since) = ([0u64; 3], false);
        for (i, (added, is_lost, is_restart)) in reports.iter().enumerate() {
            let time = 3_000_000 + i as u64;
            // The counts fall at a restart with the same start, if the last report had any that the next has not.
            let falls = now.iter().zip(added).any(|(was, new)| was > new);
            let is_restart = *is_restart && !is_lost_since && falls;
            if is_restart {
                now = [0; 3];
            }
            for (to, n) in now.iter_mut().zip(added) {
                *to += n;
            }
            for (to, n) in total.iter_mut().zip(added) {
                *to += n;
            }
            is_lost_since = *is_lost && !is_restart && i + 1 < reports.len();
            if is_lost_since {
                continue;
            }
            let passed = passed(&mut state, 1, report(2_000_000, time, &now));
            for (to, n) in arrived.iter_mut().zip(passed.unwrap_or_default()) {
                *to += n;
            }
        }
        prop_assert_eq!(arrived, total);
    }
}
