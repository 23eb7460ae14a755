//! The samples of a metric: how they count, and which windows they open.
//!
//! The outcome follows from the metric, the sample and the [`ApplyContext`] alone, so a replica that is given the same
//! sample does the same. A late sample changes nothing but counts.

use super::deadlines::Deadlines;
use super::open_window::OpenWindow;
use super::storage::{Metric, PendingRate, SlotState};
use super::tag_pool::TagPool;
use super::window_slot::WindowSlot;
use crate::context::ApplyContext;
use crate::model::{
    Aggregate, MetricType, PerWindow, Sample, SampleKind, SampleOutcome, TagId, Window, finite,
    rate,
};
use crate::node::queue::Queues;
use crate::time::{second, window_start};
use aggregator_protocol::number::Number;

/// The parts of a node that a change of a metric can change.
pub(crate) struct MetricContext<'a> {
    /// The slot of the metric.
    pub slot: u32,
    pub tags: &'a mut TagPool,
    pub deadlines: &'a mut PerWindow<Deadlines>,
    pub queues: &'a mut Queues,
    pub apply: &'a mut ApplyContext,
}

impl Metric {
    /// Takes a sample of the metric's type.
    #[inline]
    pub fn sample(&mut self, sample: &Sample<'_>, ctx: &mut MetricContext<'_>) -> SampleOutcome {
        if self.is_ahead(ctx.apply.now_ms, ctx.apply.rules.max_future_ms) {
            self.reset_time(ctx);
        }
        let outcome = match self.metric_type {
            MetricType::Abs => {
                let changed;
                let sample = match sample.kind {
                    SampleKind::Add => {
                        changed = self.changed(sample);
                        &changed
                    }
                    _ => sample,
                };
                match sample.aggregate {
                    None => self.value(sample, ctx),
                    Some(aggregate) => self.merge(sample, aggregate, ctx),
                }
            }
            MetricType::Diff => self.take_total(sample, ctx),
            MetricType::Inc => self.increment(sample, ctx),
        };
        let times = sample.times;
        if outcome != SampleOutcome::Counted {
            self.count_late(outcome, times);
        }
        if outcome.has_counted() {
            self.count_sample(times);
            self.touch(ctx.apply.mono_ms);
        }
        outcome
    }

    /// Counts a sample that did not count in both windows.
    #[cold]
    fn count_late(&mut self, outcome: SampleOutcome, times: u64) {
        match outcome {
            SampleOutcome::Late => self.count(times, |c| &mut c.late),
            SampleOutcome::LateMin => self.count(times, |c| &mut c.late_min),
            SampleOutcome::LateHour => self.count(times, |c| &mut c.late_hour),
            SampleOutcome::Counted => {}
        }
    }

    /// Returns `true` if its newest sample is further ahead of the clock than any may be: the clock was wrong when it
    /// came.
    #[inline]
    pub fn is_ahead(&self, now_ms: i64, max_future_ms: i64) -> bool {
        let max = now_ms.saturating_add(max_future_ms);
        self.last_at().is_some_and(|at| at > max)
    }

    /// Closes all windows; the next sample is a first one.
    #[cold]
    pub fn reset_time(&mut self, ctx: &mut MetricContext<'_>) {
        self.close_all(ctx);
        self.reset_last_at();
        self.watermark_s = PerWindow([0; 2]);
        ctx.apply
            .count(|c| c.clock_back = c.clock_back.saturating_add(1));
    }

    /// Takes the value of a gauge.
    #[inline]
    fn value(&mut self, sample: &Sample<'_>, ctx: &mut MetricContext<'_>) -> SampleOutcome {
        let at_s = second(sample.at);
        let is_newest = |window| self.is_in_newest(window, at_s, ctx.apply);
        if !(is_newest(Window::Min) && is_newest(Window::Hour)) {
            return self.value_elsewhere(sample, ctx);
        }
        // Nearly every sample takes this path.
        let slots = PerWindow([WindowSlot::Newest; 2]);
        let value = sample.value.to_f64();
        let weighted = sample.weighted(value);
        self.take_options(sample, slots, ctx);
        for window in Window::ALL {
            self.take_newest_tags(window, ctx.tags);
            if let Some(open) = self.newest[window].as_mut() {
                open.add_value(sample.at, value, weighted, sample.times);
            }
        }
        self.observe(slots, value, sample.times);
        self.take_last(sample, ctx.apply);
        SampleOutcome::Counted
    }

    /// Takes the value of a gauge that does not count in the newest window of each length.
    #[inline(never)]
    fn value_elsewhere(
        &mut self,
        sample: &Sample<'_>,
        ctx: &mut MetricContext<'_>,
    ) -> SampleOutcome {
        let slots = self.window_slots(sample.at, ctx.apply);
        if slots == PerWindow([WindowSlot::Missed; 2]) {
            return SampleOutcome::Late;
        }
        let value = sample.value.to_f64();
        let weighted = sample.weighted(value);
        self.take_options(sample, slots, ctx);
        for window in Window::ALL {
            if let Some(open) = self.open_at(window, slots[window], ctx) {
                open.add_value(sample.at, value, weighted, sample.times);
            }
        }
        self.observe(slots, value, sample.times);
        self.take_last(sample, ctx.apply);
        outcome_of(slots)
    }

    /// Takes the samples of a gauge that a reporter has aggregated.
    #[inline(never)]
    fn merge(
        &mut self,
        sample: &Sample<'_>,
        aggregate: &Aggregate,
        ctx: &mut MetricContext<'_>,
    ) -> SampleOutcome {
        let slots = self.window_slots(sample.at, ctx.apply);
        if slots == PerWindow([WindowSlot::Missed; 2]) {
            return SampleOutcome::Late;
        }
        let last = sample.value.to_f64();
        self.take_options(sample, slots, ctx);
        for window in Window::ALL {
            if let Some(open) = self.open_at(window, slots[window], ctx) {
                open.add_aggregate(sample.at, last, aggregate, sample.times);
            }
        }
        self.observe_aggregate(slots, &aggregate.histogram);
        self.take_last(sample, ctx.apply);
        outcome_of(slots)
    }

    /// Makes the value of a gauge's sample the last one in order of arrival.
    #[inline]
    fn take_last(&mut self, sample: &Sample<'_>, apply: &ApplyContext) {
        match self.last_at() {
            Some(last) if sample.at < last => {
                // Before version 3, which has changes of the last value, the newest sample had it.
                if apply.version >= 3 {
                    self.set_last(last, sample.value);
                }
            }
            _ => self.set_last(sample.at, sample.value),
        }
    }

    /// Converts a change of a gauge (ADD) to a sample with the new value.
    #[inline(never)]
    fn changed<'s>(&self, change: &Sample<'s>) -> Sample<'s> {
        Sample {
            value: sum(self.last_value(), change.value),
            ..*change
        }
    }

    /// Takes an increment.
    #[inline(never)]
    fn increment(&mut self, sample: &Sample<'_>, ctx: &mut MetricContext<'_>) -> SampleOutcome {
        let slots = self.window_slots(sample.at, ctx.apply);
        if slots == PerWindow([WindowSlot::Missed; 2]) {
            return SampleOutcome::Late;
        }
        let lengths = ctx.apply.lengths;
        let last_at = match self.last_at() {
            Some(last) => last,
            None => {
                self.set_last(sample.at, sample.value);
                let known_s = self.current_slot(&lengths);
                self.set_slot_state(SlotState { sum: 0.0, known_s });
                sample.at
            }
        };
        let sum = sample.weighted(sample.value.to_f64());
        self.take_options(sample, slots, ctx);
        for window in Window::ALL {
            if let Some(open) = self.open_at(window, slots[window], ctx) {
                open.add_increments(sum, sample.times);
            }
        }
        if slots[Window::Hour] == WindowSlot::Missed {
            self.add_closed_total(sum);
        }
        let slot_s = window_start(second(sample.at), lengths.slot_s);
        let current_s = self.current_slot(&lengths);
        if slot_s > current_s {
            self.add_slots(self.complete_slots(slot_s, &lengths), &lengths);
        }
        if slot_s >= current_s {
            self.add_to_slot(sum);
        }
        self.set_last(last_at.max(sample.at), sample.value);
        outcome_of(slots)
    }

    /// Takes the total of a counter.
    fn take_total(&mut self, sample: &Sample<'_>, ctx: &mut MetricContext<'_>) -> SampleOutcome {
        let Some(before) = self.last_at() else {
            return self.first_total(sample, ctx);
        };
        let ms = sample.at - before;
        if ms < 0 {
            return SampleOutcome::Late;
        }
        let rules = ctx.apply.rules;
        if ms > rules.max_gap_ms {
            self.count(1, |c| &mut c.gaps);
            return self.first_total(sample, ctx);
        }
        let slots = self.window_slots(sample.at, ctx.apply);
        // Where its MIN window has closed, the next sample brings the increase to both windows: none is lost or
        // doubled. A closed HOUR window takes no further sample, so waiting for one would stop the counter until the
        // next hour.
        if slots[Window::Min] == WindowSlot::Missed {
            return SampleOutcome::Late;
        }
        let (increase, is_restart) = match increase(sample.value, self.last_value()) {
            Some(increase) => (increase, false),
            None if ms < rules.min_interval_ms => return SampleOutcome::Late,
            None => (sample.value.to_f64(), true),
        };
        self.take_options(sample, slots, ctx);
        let pending = self.pending_rate();
        let sum = finite(pending.increase + increase);
        let covered = i64::from(pending.ms) + ms;
        let ended = (covered >= rules.min_interval_ms).then(|| rate(sum, covered.max(1)));
        for window in Window::ALL {
            if let Some(open) = self.open_at(window, slots[window], ctx) {
                open.add_increase(increase, ms);
                if let Some(rate) = ended {
                    open.add_rates(rate, 1);
                }
            }
        }
        if let Some(rate) = ended {
            self.observe(slots, rate, 1);
        }
        // In the window that the sample has opened.
        if is_restart {
            self.count_restart();
        }
        if slots[Window::Hour] == WindowSlot::Missed {
            self.add_closed_total(increase);
        }
        self.set_pending_rate(match ended {
            Some(_) => PendingRate::default(),
            None => PendingRate {
                increase: sum,
                ms: u32::try_from(covered).unwrap_or(u32::MAX),
            },
        });
        self.set_last(sample.at, sample.value);
        outcome_of(slots)
    }

    /// Takes the first sample of a counter, which sets its total. It opens no window, but closes those before it.
    fn first_total(&mut self, sample: &Sample<'_>, ctx: &mut MetricContext<'_>) -> SampleOutcome {
        for window in Window::ALL {
            let start_s = window_start(second(sample.at), ctx.apply.lengths[window]);
            self.close_before(window, start_s, ctx);
        }
        self.take_options(sample, PerWindow([WindowSlot::Missed; 2]), ctx);
        self.set_last(sample.at, sample.value);
        self.set_pending_rate(PendingRate::default());
        SampleOutcome::Counted
    }
}

/// The options and open windows of a sample.
impl Metric {
    /// Takes over the options of a sample that counts, before it opens windows.
    #[inline]
    fn take_options(
        &mut self,
        sample: &Sample<'_>,
        slots: PerWindow<WindowSlot>,
        ctx: &mut MetricContext<'_>,
    ) {
        if sample.hist {
            self.set_hist();
        }
        self.take_tags(sample, slots, ctx);
    }

    /// Makes the tags of a sample those of the metric, and of the windows in which it counts: those of `slots`.
    #[inline]
    fn take_tags(
        &mut self,
        sample: &Sample<'_>,
        slots: PerWindow<WindowSlot>,
        ctx: &mut MetricContext<'_>,
    ) {
        let Some(text) = sample.tags else { return };
        let is_same = match sample.tag_id {
            Some(id) => id == self.tags,
            None => ctx.tags.text(self.tags) == text,
        };
        if !is_same {
            let tags = match sample.tag_id {
                Some(id) => ctx.tags.retain(id),
                None => ctx.tags.acquire(text),
            };
            self.change_tags(tags, slots, ctx);
        }
    }

    /// Changes the tags. The caller has a reference to them, which is the metric's then.
    #[cold]
    fn change_tags(
        &mut self,
        tags: TagId,
        slots: PerWindow<WindowSlot>,
        ctx: &mut MetricContext<'_>,
    ) {
        for window in Window::ALL {
            let stays = self.newest[window].is_some() && slots[window] != WindowSlot::Newest;
            if stays && !self.has_other_tags(window) {
                let before = ctx.tags.retain(self.tags);
                self.keep_newest_tags(window, before);
            }
        }
        // The first tags are no change, unless there were some that were removed: that was a change.
        if self.tags != TagId::NONE || self.counts().tag_changes > 0 {
            ctx.tags.release(self.tags);
            self.count(1, |c| &mut c.tag_changes);
        }
        self.tags = tags;
    }

    /// Returns the open window in which a sample counts, opened if it is not open yet, with the metric's tags.
    #[inline]
    fn open_at(
        &mut self,
        window: Window,
        slot: WindowSlot,
        ctx: &mut MetricContext<'_>,
    ) -> Option<&mut OpenWindow> {
        if let WindowSlot::New(start_s) | WindowSlot::Before(start_s) = slot {
            self.open_window(window, slot, start_s, ctx);
        }
        match slot {
            WindowSlot::Missed => None,
            WindowSlot::Newest | WindowSlot::New(_) => {
                self.take_newest_tags(window, ctx.tags);
                self.newest[window].as_mut()
            }
            WindowSlot::Older(start_s) | WindowSlot::Before(start_s) => {
                let tags = self.tags;
                let older = self.older_mut(window, start_s)?;
                if older.tags != tags {
                    ctx.tags.release(older.tags);
                    older.tags = ctx.tags.retain(tags);
                }
                Some(&mut older.window)
            }
        }
    }

    #[cold]
    fn open_window(
        &mut self,
        window: Window,
        slot: WindowSlot,
        start_s: u32,
        ctx: &mut MetricContext<'_>,
    ) {
        if matches!(slot, WindowSlot::New(_)) {
            self.close_before(window, start_s, ctx);
        }
        // One window too many closes the oldest.
        let max_open = ctx.apply.max_open(window, self.open_count(window));
        while self.open_count(window) >= max_open && self.close_oldest(window, ctx) {}
        let mut open = OpenWindow::new(start_s);
        if open.start() + ctx.apply.length_ms(window) <= ctx.apply.flushed_ms() {
            let idle_at = ctx.apply.mono_ms + ctx.apply.rules.flush_delay_ms as u64;
            open.set_awaiting_idle();
            self.schedule_check(window, ctx.slot, idle_at, &mut ctx.deadlines[window]);
        } else {
            ctx.deadlines[window].opened(&open);
        }
        if self.is_hist() {
            self.add_histogram(window, start_s);
        }
        if self.metric_type == MetricType::Inc {
            let lengths = &ctx.apply.lengths;
            let rates = self.add_past_slots(&mut open, lengths[window], lengths);
            self.observe_rates(window, start_s, rates);
        }
        match slot {
            WindowSlot::Before(_) => self.add_older(window, open, TagId::NONE),
            _ => {
                self.check_restarts(window, ctx);
                if let Some(before) = self.newest[window].replace(open) {
                    let tags = ctx.tags.retain(self.newest_tags(window));
                    self.take_newest_tags(window, ctx.tags);
                    self.add_older(window, before, tags);
                }
            }
        }
    }
}

/// Returns the outcome of a sample that counted in one window at least.
#[inline]
fn outcome_of(slots: PerWindow<WindowSlot>) -> SampleOutcome {
    match slots.0 {
        [WindowSlot::Missed, _] => SampleOutcome::LateMin,
        [_, WindowSlot::Missed] => SampleOutcome::LateHour,
        _ => SampleOutcome::Counted,
    }
}

/// Returns the sum of two numbers: exact if both are whole and the sum is not negative, else rounded to a double and
/// limited to the largest.
fn sum(a: Number, b: Number) -> Number {
    let exact = whole(a).zip(whole(b)).and_then(|(a, b)| a.checked_add(b));
    match exact.and_then(|sum| u64::try_from(sum).ok()) {
        Some(sum) => Number::Int(sum),
        None => Number::Float(finite(a.to_f64() + b.to_f64())),
    }
}

/// Returns the increase of a total, exact as long as both totals are whole; `None` where it is lower than before.
fn increase(total: Number, before: Number) -> Option<f64> {
    match (whole(total), whole(before)) {
        // A saved node may claim a negative total, so that the difference exceeds the range.
        (Some(total), Some(before)) => {
            (total >= before).then(|| total.saturating_sub(before) as f64)
        }
        _ => {
            let d = total.to_f64() - before.to_f64();
            (d >= 0.0).then_some(d)
        }
    }
}

fn whole(n: Number) -> Option<i128> {
    match n {
        Number::Int(v) => Some(v.into()),
        Number::Float(v) => (v.fract() == 0.0 && v.abs() < 1e38).then_some(v as i128),
    }
}
