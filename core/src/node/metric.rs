//! One metric, and what a sample does to it.
//!
//! Everything here follows from the metric, the sample, the node's rules and the step's clock alone, so a replica that
//! is given the same sample does the same. A sample that is late changes nothing but counts.

use super::bucket::{Bucket, Kind, finite, rate};
use super::name::Name;
use super::queues::Queues;
use super::series::{Deadlines, History, Place, Series};
use super::table::Named;
use super::tags::{TagId, TagPool};
use crate::counters::Dropped;
use crate::settings::Rules;
use crate::text::number::Number;
use crate::time::window_start;
use crate::turn::Step;

/// The two lengths of windows.
pub(crate) const LENGTHS: [usize; 2] = [0, 1];

/// See the file's header.
pub(crate) struct Metric {
    pub name: Name,
    pub kind: Kind,
    pub tags: TagId,
    /// The time of the newest sample; `None`: the next one is a first one.
    pub at: Option<i64>,
    /// The value of that sample: of a counter, its total.
    pub told: Number,
    /// DIFF: where the last rate ended, and the increase since.
    pub rate_start: i64,
    pub pending: f64,
    pub series: [Series; 2],
    pub history: Option<Box<[History; 2]>>,
    /// When the last sample arrived (running time). Not part of the value.
    pub heard: u64,
    pub counts: Counts,
}

/// Counts since the server's start; not part of the value.
#[derive(Clone, Copy, Default)]
pub(crate) struct Counts {
    pub samples: u64,
    pub late: u32,
    pub late_min: u32,
    pub restarts: u32,
    pub gaps: u32,
    pub tag_changes: u32,
    /// It had tags before: the first that come are no change.
    pub was_tagged: bool,
}

impl Named for Metric {
    fn name(&self) -> &[u8] {
        &self.name
    }
}

/// What became of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Counted,
    /// It counted in its HOUR window alone.
    LateMin,
    /// It changed nothing.
    Late,
}

/// A checked sample; `tags` in canonical form, `None` where it named none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample<'a> {
    pub kind: Kind,
    pub value: Number,
    pub at: i64,
    pub tags: Option<&'a [u8]>,
}

/// What a metric needs of its node.
pub(crate) struct Env<'a, 'b> {
    pub rules: &'a Rules,
    pub lengths_ms: [i64; 2],
    pub tags: &'a mut TagPool,
    pub deadlines: &'a mut [Deadlines; 2],
    pub queues: &'a mut Queues,
    pub step: &'a mut Step<'b>,
}

impl Env<'_, '_> {
    /// A window whose end is at or before this has been passed by the clock by the flush delay.
    pub fn passed_ms(&self) -> i64 {
        self.step.now_ms.saturating_sub(self.rules.flush_delay_ms)
    }
}

impl Metric {
    /// A metric without a sample.
    pub fn new(name: &[u8], kind: Kind) -> Metric {
        Metric {
            name: name.into(),
            kind,
            tags: TagId::NONE,
            at: None,
            told: Number::Int(0),
            rate_start: 0,
            pending: 0.0,
            series: Default::default(),
            history: None,
            heard: 0,
            counts: Counts::default(),
        }
    }

    /// Takes a sample of its own kind. `slot`: its own.
    pub fn sample(&mut self, slot: u32, sample: &Sample<'_>, env: &mut Env<'_, '_>) -> Outcome {
        if self.is_ahead(env.step.now_ms, env.rules.max_future_ms) {
            self.give_up_time(slot, env);
        }
        let outcome = match self.kind {
            Kind::Abs => self.value(slot, sample, env),
            Kind::Diff => self.total(slot, sample, env),
        };
        match outcome {
            Outcome::Late => bump(&mut self.counts.late),
            Outcome::LateMin => bump(&mut self.counts.late_min),
            Outcome::Counted => {}
        }
        if outcome != Outcome::Late {
            self.counts.samples += 1;
            self.heard = env.step.mono_ms;
        }
        outcome
    }

    /// Whether its newest sample lies too far ahead of a clock that must have been wrong.
    pub fn is_ahead(&self, now_ms: i64, max_future_ms: i64) -> bool {
        self.at
            .is_some_and(|at| at > now_ms.saturating_add(max_future_ms))
    }

    /// Closes the windows as they stand; the next sample is a first one.
    pub fn give_up_time(&mut self, slot: u32, env: &mut Env<'_, '_>) {
        self.close_all(slot, env);
        self.at = None;
        for series in &mut self.series {
            series.closed_to = 0;
        }
        env.queues
            .count(env.step, |c| c.clock_back = c.clock_back.saturating_add(1));
    }

    fn value(&mut self, slot: u32, sample: &Sample<'_>, env: &mut Env<'_, '_>) -> Outcome {
        let places = self.places(sample.at, env);
        if places == [Place::Missed; 2] {
            return Outcome::Late;
        }
        let value = sample.value.to_f64();
        self.take_tags(sample, env);
        for i in LENGTHS {
            if let Some(bucket) = self.bucket(i, places[i], sample.at, slot, env) {
                bucket.add_value(sample.at, value);
            }
        }
        if self.at.is_none_or(|at| sample.at >= at) {
            self.at = Some(sample.at);
            self.told = sample.value;
        }
        if places[0] == Place::Missed {
            Outcome::LateMin
        } else {
            Outcome::Counted
        }
    }

    fn total(&mut self, slot: u32, sample: &Sample<'_>, env: &mut Env<'_, '_>) -> Outcome {
        let Some(before) = self.at else {
            return self.first_total(slot, sample, env);
        };
        let ms = sample.at - before;
        if ms < 0 {
            return Outcome::Late;
        }
        if ms > env.rules.max_gap_ms {
            bump(&mut self.counts.gaps);
            return self.first_total(slot, sample, env);
        }
        let places = self.places(sample.at, env);
        // Where either window has missed it, the next sample brings the increase to both: none is lost or doubled.
        if places.contains(&Place::Missed) {
            return Outcome::Late;
        }
        let increase = match increase(sample.value, self.told) {
            Some(increase) => increase,
            None if ms < env.rules.min_interval_ms => return Outcome::Late,
            None => {
                bump(&mut self.counts.restarts);
                sample.value.to_f64()
            }
        };
        self.take_tags(sample, env);
        self.pending = finite(self.pending + increase);
        let covered = sample.at - self.rate_start;
        let ended =
            (covered >= env.rules.min_interval_ms).then(|| rate(self.pending, covered.max(1)));
        for i in LENGTHS {
            if let Some(bucket) = self.bucket(i, places[i], sample.at, slot, env) {
                bucket.add_increase(increase, ms);
                if let Some(rate) = ended {
                    bucket.add_rate(rate);
                }
            }
        }
        if ended.is_some() {
            self.rate_start = sample.at;
            self.pending = 0.0;
        }
        self.at = Some(sample.at);
        self.told = sample.value;
        Outcome::Counted
    }

    /// A counter's first sample sets the total; it opens no window, but closes those that it is later than.
    fn first_total(&mut self, slot: u32, sample: &Sample<'_>, env: &mut Env<'_, '_>) -> Outcome {
        for i in LENGTHS {
            self.close_before(i, window_start(sample.at, env.lengths_ms[i]), slot, env);
        }
        self.take_tags(sample, env);
        self.at = Some(sample.at);
        self.told = sample.value;
        self.rate_start = sample.at;
        self.pending = 0.0;
        Outcome::Counted
    }

    #[inline]
    fn places(&self, at: i64, env: &Env<'_, '_>) -> [Place; 2] {
        let place = |i: usize| {
            let length = env.lengths_ms[i];
            let start = window_start(at, length);
            self.series[i].place(start, start + length <= env.passed_ms())
        };
        [place(0), place(1)]
    }

    #[inline]
    fn take_tags(&mut self, sample: &Sample<'_>, env: &mut Env<'_, '_>) {
        let Some(text) = sample.tags else { return };
        if env.tags.text(self.tags) != text {
            let tags = env.tags.acquire(text);
            if self.tags != TagId::NONE || self.counts.was_tagged {
                env.tags.release(self.tags);
                bump(&mut self.counts.tag_changes);
            }
            self.counts.was_tagged = true;
            self.tags = tags;
        }
    }

    /// The bucket that a sample counts in, opened where it is not yet; its tags become the metric's.
    #[inline]
    fn bucket(
        &mut self,
        i: usize,
        place: Place,
        at: i64,
        slot: u32,
        env: &mut Env<'_, '_>,
    ) -> Option<&mut Bucket> {
        if matches!(place, Place::New | Place::Before) {
            self.open(i, place, window_start(at, env.lengths_ms[i]), slot, env);
        }
        let series = &mut self.series[i];
        let bucket = match place {
            Place::Missed => None,
            Place::Newest | Place::New => series.newest.as_mut(),
            Place::Older | Place::Before => series.older.as_deref_mut(),
        }?;
        if bucket.tags != self.tags {
            env.tags.release(bucket.tags);
            bucket.tags = env.tags.retain(self.tags);
        }
        Some(bucket)
    }

    fn open(&mut self, i: usize, place: Place, start: i64, slot: u32, env: &mut Env<'_, '_>) {
        if place == Place::New {
            self.close_before(i, start, slot, env);
        }
        if self.series[i].newest.is_some() {
            // A third window closes the oldest.
            self.close_older(i, slot, env);
        }
        let mut bucket = Bucket::new(start);
        if start + env.lengths_ms[i] <= env.passed_ms() {
            bucket.linger = (env.step.mono_ms + env.rules.flush_delay_ms as u64).max(1);
        }
        env.deadlines[i].opened(&bucket, slot);
        let series = &mut self.series[i];
        if place == Place::Before {
            series.older = Some(Box::new(bucket));
        } else {
            series.older = series.newest.replace(bucket).map(Box::new);
        }
    }

    /// Closes the windows before `start` whose end the clock has passed by the flush delay: a later sample has come.
    fn close_before(&mut self, i: usize, start: i64, slot: u32, env: &mut Env<'_, '_>) {
        let (length, passed) = (env.lengths_ms[i], env.passed_ms());
        let is_over = |b: &Bucket| b.start < start && b.start + length <= passed;
        if self.series[i].older.as_deref().is_some_and(is_over) {
            self.close_older(i, slot, env);
        }
        if self.series[i].newest.as_ref().is_some_and(is_over) {
            self.close_newest(i, slot, env);
        }
    }

    /// Closes the windows of one length that are past their end by the flush delay; the newest only if told to.
    pub fn close_due(&mut self, i: usize, newest: bool, slot: u32, env: &mut Env<'_, '_>) {
        let (length, passed) = (env.lengths_ms[i], env.passed_ms());
        if self.series[i].older_is_due(length, passed) {
            self.close_older(i, slot, env);
        }
        if newest && self.series[i].newest_is_due(length, passed) {
            self.close_newest(i, slot, env);
        }
    }

    /// Closes all windows as they stand.
    pub fn close_all(&mut self, slot: u32, env: &mut Env<'_, '_>) {
        for i in LENGTHS {
            self.close_older(i, slot, env);
            self.close_newest(i, slot, env);
        }
    }

    fn close_older(&mut self, i: usize, slot: u32, env: &mut Env<'_, '_>) {
        if let Some(bucket) = self.series[i].older.take() {
            self.close(i, &bucket, slot, env);
        }
    }

    fn close_newest(&mut self, i: usize, slot: u32, env: &mut Env<'_, '_>) {
        // An older window that is still open stays; it is then the newest.
        let next = self.series[i].older.take().map(|b| *b);
        if let Some(bucket) = std::mem::replace(&mut self.series[i].newest, next) {
            self.close(i, &bucket, slot, env);
        }
    }

    fn close(&mut self, i: usize, bucket: &Bucket, slot: u32, env: &mut Env<'_, '_>) {
        env.deadlines[i].closed(bucket, slot);
        let closed = bucket.close(self.kind, env.rules.min_interval_ms);
        self.series[i].closed_to = self.series[i]
            .closed_to
            .max(bucket.start + env.lengths_ms[i]);
        env.queues.push_window(
            i,
            &self.name,
            self.kind,
            env.tags.text(bucket.tags),
            &closed,
            env.rules,
            env.step,
        );
        env.tags.release(bucket.tags);
        let most = env.rules.history[i];
        if most > 0 && !env.step.keeps_history {
            let now_ms = env.step.now_ms;
            env.queues
                .count(env.step, |c| c.drop(Dropped::History, None, 1, now_ms));
        } else if most > 0 || self.history.is_some() {
            self.history.get_or_insert_default()[i].push(&closed, most);
        }
    }
}

/// What a total grew by, exactly as long as both are whole; `None` where it is lower than before.
fn increase(total: Number, before: Number) -> Option<f64> {
    match (whole(total), whole(before)) {
        (Some(total), Some(before)) => total.checked_sub(before).map(|d| d as f64),
        _ => {
            let d = total.to_f64() - before.to_f64();
            (d >= 0.0).then_some(d)
        }
    }
}

fn whole(n: Number) -> Option<u128> {
    match n {
        Number::Int(v) => Some(v.into()),
        Number::Float(v) => (v.fract() == 0.0 && (0.0..1e38).contains(&v)).then_some(v as u128),
    }
}

fn bump(n: &mut u32) {
    *n = n.saturating_add(1);
}
