//! The metrics of a node, and when to check which for windows to close.

mod closing;
pub(crate) mod deadlines;
pub(crate) mod forgotten;
pub(crate) mod histograms;
pub(crate) mod history;
pub(crate) mod name;
mod observe;
pub(crate) mod older;
pub(crate) mod open_window;
mod slots;
pub(crate) mod storage;
pub(crate) mod tag_pool;
mod window_slot;
pub(crate) mod windowing;

use crate::context::ApplyContext;
use crate::model::{PerWindow, Sample, SampleOutcome, Window};
use crate::node::queue::Queues;
use crate::node::table::Table;
use deadlines::Deadlines;
use forgotten::ForgottenMetrics;
use storage::Metric;
use tag_pool::TagPool;
use windowing::MetricContext;

/// The metrics of a node.
pub(crate) struct Metrics {
    pub table: Table<Metric>,
    pub tags: TagPool,
    pub deadlines: PerWindow<Deadlines>,
    pub forgotten: ForgottenMetrics,
    /// The number of metrics whose windows have histograms.
    pub hist: u32,
    /// The longest name and tags of a metric together, bytes. It only grows.
    pub longest: usize,
    /// The running time before which no metric counts as idle: when the node was loaded or promoted.
    pub idle_not_before: u64,
    /// The slots that the sweep for expired metrics has not reached yet.
    pub sweep_cursor: u32,
    /// The slots below this may have histories beyond a lowered limit. Not part of the value.
    pub untrimmed: Option<u32>,
}

impl Metrics {
    pub fn new(seed: u64) -> Metrics {
        Metrics {
            table: Table::new(seed),
            tags: TagPool::new(seed),
            deadlines: PerWindow::default(),
            forgotten: ForgottenMetrics::new(seed),
            hist: 0,
            longest: 0,
            idle_not_before: 0,
            sweep_cursor: 0,
            untrimmed: None,
        }
    }

    /// Runs `f` on the metric in a slot, if there is one.
    fn with<R>(
        &mut self,
        slot: u32,
        queues: &mut Queues,
        apply: &mut ApplyContext,
        f: impl FnOnce(&mut Metric, &mut MetricContext<'_>) -> R,
    ) -> Option<R> {
        let metric = self.table.get_mut(slot)?;
        let mut ctx = MetricContext {
            slot,
            tags: &mut self.tags,
            deadlines: &mut self.deadlines,
            queues,
            apply,
        };
        Some(f(metric, &mut ctx))
    }

    /// Takes a sample, which creates its metric where there is none. `None`: the metric is of another type.
    pub fn sample(
        &mut self,
        name: &[u8],
        sample: &Sample<'_>,
        queues: &mut Queues,
        apply: &mut ApplyContext,
    ) -> Option<SampleOutcome> {
        match self.table.find(name) {
            Some(slot) => self.sample_at(slot, sample, queues, apply),
            None => self.first_sample(name, sample, queues, apply),
        }
    }

    /// Takes the first sample of a metric, which creates it. A metric that was forgotten continues where it was
    /// delivered: a sample of a window that was delivered is late, and creates nothing.
    pub fn first_sample(
        &mut self,
        name: &[u8],
        sample: &Sample<'_>,
        queues: &mut Queues,
        apply: &mut ApplyContext,
    ) -> Option<SampleOutcome> {
        let mut metric = Metric::new(name, sample.kind.metric_type());
        let known = self.forgotten.find(name);
        if let Some(forgotten) = known.and_then(|known| self.forgotten.table.get(known))
            && forgotten.is_valid(apply.now_ms, apply.rules.max_future_ms)
            && !apply.is_version_1()
        {
            metric.watermark_s = forgotten.watermark_s;
        }
        let slot = self.table.insert(metric);
        let outcome = self.sample_at(slot, sample, queues, apply);
        if outcome == Some(SampleOutcome::Late) {
            self.table.remove(slot);
        } else if let Some(known) = known {
            self.forgotten.remove(known);
        }
        outcome
    }

    /// Takes a sample of the metric in `slot`. `None`: there is none, or it is of another type.
    #[inline]
    pub fn sample_at(
        &mut self,
        slot: u32,
        sample: &Sample<'_>,
        queues: &mut Queues,
        apply: &mut ApplyContext,
    ) -> Option<SampleOutcome> {
        let metric = self.table.get_mut(slot)?;
        if metric.metric_type != sample.kind.metric_type() {
            return None;
        }
        let tags = sample.tags.map_or(0, <[u8]>::len);
        self.longest = self.longest.max(metric.name.len() + tags);
        let mut ctx = MetricContext {
            slot,
            tags: &mut self.tags,
            deadlines: &mut self.deadlines,
            queues,
            apply,
        };
        if !sample.hist {
            return Some(metric.sample(sample, &mut ctx));
        }
        let was_hist = metric.is_hist();
        let outcome = metric.sample(sample, &mut ctx);
        self.hist += u32::from(metric.is_hist() && !was_hist);
        Some(outcome)
    }

    /// Closes windows that are past their end; the newest of a metric only if `newest` is set.
    pub fn close_due(
        &mut self,
        window: Window,
        newest: bool,
        slots: impl Iterator<Item = u32>,
        queues: &mut Queues,
        apply: &mut ApplyContext,
    ) {
        for slot in slots {
            self.with(slot, queues, apply, |metric, ctx| {
                metric.close_due(window, newest, ctx)
            });
        }
    }

    /// Drops the oldest closed windows beyond `max`, at most `at_once` of each metric.
    pub fn trim_history(
        &mut self,
        window: Window,
        max: u32,
        at_once: u8,
        slots: impl Iterator<Item = u32>,
    ) {
        for slot in slots {
            if let Some(metric) = self.table.get_mut(slot) {
                metric.trim_history(window, max, at_once.into());
            }
        }
    }

    /// Closes the windows of metrics whose time is too far ahead.
    pub fn reset_time(
        &mut self,
        slots: impl Iterator<Item = u32>,
        queues: &mut Queues,
        apply: &mut ApplyContext,
    ) {
        for slot in slots {
            self.with(slot, queues, apply, Metric::reset_time);
        }
    }

    /// Closes the windows of metrics and removes the metrics, except for where they were delivered. `slots` grow
    /// strictly; the metrics are removed from the end, so that none moves before its turn.
    pub fn forget(&mut self, slots: &[u32], queues: &mut Queues, apply: &mut ApplyContext) {
        for &slot in slots.iter().rev() {
            if self.with(slot, queues, apply, Metric::close_all).is_some() {
                self.remove(slot, apply);
            }
        }
    }

    /// Removes a metric without open windows, and remembers where it was delivered.
    fn remove(&mut self, slot: u32, apply: &ApplyContext) {
        let Some(metric) = self.table.get(slot) else {
            return;
        };
        self.tags.release(metric.tags);
        self.hist -= u32::from(metric.is_hist());
        let (now_ms, rules) = (apply.now_ms, &apply.rules);
        // A time too far ahead of the clock would silence its name until then.
        if !metric.is_ahead(now_ms, rules.max_future_ms) && !apply.is_version_1() {
            let (name, watermark_s) = (&metric.name, metric.watermark_s);
            self.forgotten
                .remember(name, watermark_s, now_ms, rules.flush_delay_ms);
        }
        for window in Window::ALL {
            if metric.has_check(window) {
                self.deadlines[window].unschedule(slot);
            }
        }
        let moved_from = self.table.remove(slot).and_then(|r| r.moved_from);
        if let (Some(from), Some(moved)) = (moved_from, self.table.get(slot)) {
            for window in Window::ALL {
                if moved.has_check(window) {
                    self.deadlines[window].moved(from, slot);
                }
            }
        }
    }

    /// Halves the resolution of the histograms of the metric in a slot, as far as they are large.
    pub fn halve_histograms(&mut self, slot: u32) {
        if let Some(histograms) = self.table.get_mut(slot).and_then(Metric::histograms_mut) {
            histograms.halve();
        }
    }

    /// Drops what is remembered of forgotten metrics. `slots` grow strictly.
    pub fn drop_forgotten(&mut self, slots: &[u32]) {
        for &slot in slots.iter().rev() {
            self.forgotten.remove(slot);
        }
    }

    /// The running time since which a metric is idle.
    pub fn idle_since(&self, metric: &Metric) -> u64 {
        metric.last_seen().max(self.idle_not_before)
    }
}
