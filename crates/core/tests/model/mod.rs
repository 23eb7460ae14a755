//! Statistics against a naive model, which keeps every sample and computes every value from scratch.
//!
//! The model knows windows only as lists of samples. It closes nothing by itself but mirrors when the node reports that
//! a window has closed (its record appears), and then requires that the record is what its list gives, that it comes no
//! earlier than it may, and that no window has two. From what was delivered it predicts of each sample where it counts.
//! So the rules of what counts where are checked, with flush delays beyond a window, AGG.FORGET and `series-ttl`, and
//! that nothing is lost or doubled.

mod counters;
mod mixed;
mod values;
mod windows;

use crate::support::World;
use proptest::prelude::*;

/// One action. Times are milliseconds.
#[derive(Clone, Debug)]
enum Act {
    /// The value, its option and occurrences, and how long ago it was taken, milliseconds.
    Sample {
        metric: u8,
        value: u32,
        option: u8,
        times: u64,
        ago: i64,
    },
    /// AGG.HIST: values with their occurrences, the totals that it gives, and how long ago they were taken.
    Merge {
        metric: u8,
        pairs: Vec<(u32, u64)>,
        totals: Totals,
        ago: i64,
    },
    /// Time passes, with ticks.
    Pass(i64),
    /// The counter restarts from 0.
    Restart { metric: u8 },
    /// AGG.FORGET.
    Forget { metric: u8 },
}

/// SUM, MIN and MAX of AGG.HIST, where they are given.
#[derive(Clone, Copy, Debug)]
struct Totals {
    sum: Option<i32>,
    min: Option<u32>,
    /// The distance from `min`, or from 0.
    range: Option<u32>,
}

fn totals() -> impl Strategy<Value = Totals> {
    let of = prop::option::of::<std::ops::Range<u32>>;
    let all = (
        prop::option::of(-1_000_000i32..1_000_000),
        of(0..1_000),
        of(0..1_000),
    );
    all.prop_map(|(sum, min, range)| Totals { sum, min, range })
}

/// The age of samples, milliseconds.
fn ago() -> impl Strategy<Value = i64> {
    prop_oneof![6 => Just(0i64), 2 => 0i64..3_000, 1 => 0i64..400_000, 1 => 0i64..4_000_000, 1 => -20_000i64..0]
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let pairs = prop::collection::vec((0u32..1000, times()), 1..25);
    let act = prop_oneof![
        3 => (0u8..3, pairs, totals(), ago()).prop_map(|(metric, pairs, totals, ago)| Act::Merge { metric, pairs, totals, ago }),
        8 => (0u8..3, 0u32..1000, 0u8..2, times(), ago())
            .prop_map(|(metric, value, option, times, ago)| Act::Sample { metric, value, option, times, ago }),
        4 => prop_oneof![4 => 100i64..2_000, 2 => 2_000i64..60_000, 1 => 60_000i64..700_000, 1 => 700_000i64..5_000_000].prop_map(Act::Pass),
        1 => (0u8..3).prop_map(|metric| Act::Restart { metric }),
        1 => (0u8..3).prop_map(|metric| Act::Forget { metric }),
    ];
    prop::collection::vec(act, 1..120)
}

/// Occurrences of a sample.
fn times() -> impl Strategy<Value = u64> {
    prop_oneof![4 => Just(1u64), 1 => 2u64..10, 1 => Just(1 << 32)]
}

/// The lengths of windows and slots, seconds.
type Lengths = ([i64; 2], i64);

const DEFAULT: Lengths = ([300, 3_600], 10);

/// Lengths of windows and slots: slots that are the window, and one that is longer than it.
fn lengths() -> impl Strategy<Value = Lengths> {
    prop_oneof![
        3 => Just(DEFAULT),
        1 => Just(([60, 120], 60)),
        1 => Just(([5, 3_600], 10)),
        1 => Just(([300, 300], 100)),
        1 => Just(([77, 770], 7)),
    ]
}

const QUEUES: [&str; 2] = ["MIN", "HOUR"];
const LATE: [&str; 3] = ["late", "late-min", "late-hour"];

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(1.0)
}

/// A world with these settings.
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
