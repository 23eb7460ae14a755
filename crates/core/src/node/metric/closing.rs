//! The closing of windows: when they are due, their records, and their history.

use super::open_window::OpenWindow;
use super::storage::Metric;
use super::windowing::MetricContext;
use crate::context::ApplyContext;
use crate::counters::Dropped;
use crate::model::{MetricType, TagId, Window, WindowPercentiles, WindowRecord};

impl Metric {
    /// Returns `true` if an open window before the newest is past its end by the flush delay. It closes at once, as a
    /// later window is open.
    pub fn older_is_due(&self, window: Window, apply: &ApplyContext) -> bool {
        self.oldest(window)
            .is_some_and(|open| is_flushed(open, window, apply))
    }

    /// Returns `true` if the newest open window is past its end by the flush delay.
    pub fn newest_is_due(&self, window: Window, apply: &ApplyContext) -> bool {
        self.newest[window]
            .as_ref()
            .is_some_and(|open| is_flushed(open, window, apply))
    }

    /// Returns `true` if a sample later than the newest open window has come: one that opened none, as the first of a
    /// counter.
    pub fn has_later_sample(&self, window: Window, length_ms: i64) -> bool {
        match (self.last_at(), &self.newest[window]) {
            (Some(at), Some(newest)) => at >= newest.start() + length_ms,
            _ => false,
        }
    }

    /// Closes the windows before `start_s` that are past their end by the flush delay: a later sample has come.
    pub(super) fn close_before(
        &mut self,
        window: Window,
        start_s: u32,
        ctx: &mut MetricContext<'_>,
    ) {
        let is_over = |open: &OpenWindow, apply: &ApplyContext| {
            open.start_s() < start_s && is_flushed(open, window, apply)
        };
        while self
            .oldest(window)
            .is_some_and(|open| is_over(open, ctx.apply))
            && self.close_oldest(window, ctx)
        {}
        let newest = self.newest[window].as_ref();
        if newest.is_some_and(|open| is_over(open, ctx.apply)) {
            self.close_newest(window, ctx);
        }
    }

    /// Closes the windows that are past their end by the flush delay; the newest only if `newest` is set.
    pub fn close_due(&mut self, window: Window, newest: bool, ctx: &mut MetricContext<'_>) {
        while self.older_is_due(window, ctx.apply) && self.close_oldest(window, ctx) {}
        if newest && self.newest_is_due(window, ctx.apply) {
            self.close_newest(window, ctx);
        }
    }

    /// Closes all windows.
    pub fn close_all(&mut self, ctx: &mut MetricContext<'_>) {
        for window in Window::ALL {
            while self.close_oldest(window, ctx) {}
            self.close_newest(window, ctx);
        }
    }

    /// Closes the oldest window before the newest; false if there is none.
    pub(super) fn close_oldest(&mut self, window: Window, ctx: &mut MetricContext<'_>) -> bool {
        let Some(older) = self.take_oldest(window) else {
            return false;
        };
        self.close(window, older.window, older.tags, ctx);
        ctx.tags.release(older.tags);
        true
    }

    fn close_newest(&mut self, window: Window, ctx: &mut MetricContext<'_>) {
        self.check_restarts(window, ctx);
        let Some(open) = self.newest[window].take() else {
            return;
        };
        self.close(window, open, self.newest_tags(window), ctx);
        self.take_newest_tags(window, ctx.tags);
        // The latest of the older windows that are still open is the newest then.
        if let Some(older) = self.take_last_older(window) {
            self.newest[window] = Some(older.window);
            self.give_newest_tags(window, older.tags, ctx.tags);
        }
    }

    /// Queues the record of a window that is not open any more, and keeps the window in the history.
    fn close(
        &mut self,
        window: Window,
        mut open: OpenWindow,
        tags: TagId,
        ctx: &mut MetricContext<'_>,
    ) {
        let (rules, lengths) = (ctx.apply.rules, ctx.apply.lengths);
        ctx.deadlines[window].closed(&open);
        let end_s = open.start_s().saturating_add(lengths[window]);
        let mut ms = rules.min_interval_ms;
        if self.metric_type == MetricType::Inc {
            ms = ctx.apply.length_ms(window);
            let slots = self.complete_slots(end_s, &lengths);
            let rates = slots.add_to(&mut open, lengths[window]);
            self.observe_rates(window, open.start_s(), rates);
            // A slot that an open short window contains is still the current one.
            if window == Window::Min {
                self.add_slots(slots, &lengths);
            }
        }
        if window == Window::Hour && self.metric_type != MetricType::Abs {
            self.add_closed_total(open.sum());
        }
        self.watermark_s[window] = self.watermark_s[window].max(end_s);
        let mut closed = open.close(self.metric_type, ms);
        let mut histogram = None;
        if self.has_histograms() {
            histogram = self.take_histogram(window, open.start_s(), ctx.apply);
            closed.percentiles = histogram.as_ref().and_then(|histogram| {
                let extremes = (closed.min, closed.max);
                WindowPercentiles::of(histogram, rules.percentiles, extremes, closed.avg)
            });
        }
        let record = WindowRecord {
            name: &self.name,
            metric_type: self.metric_type,
            tags: ctx.tags.text(tags),
            closed,
            histogram: histogram.filter(|_| rules.hist_records),
        };
        let form = ctx.queues.push_window(window, &record, ctx.apply);
        let max = rules.history[window as usize];
        if max > 0 && !ctx.apply.keeps_history {
            let now_ms = ctx.apply.now_ms;
            ctx.apply
                .count(|c| c.drop(Dropped::History, None, 1, now_ms));
        } else {
            self.keep(window, open.start_s(), form, max);
        }
    }

    /// Checks how often a counter has restarted in its newest MIN window, which is no longer the newest: a window takes
    /// no more increases then.
    pub(super) fn check_restarts(&mut self, window: Window, ctx: &mut MetricContext<'_>) {
        let is_counter = self.metric_type == MetricType::Diff && window == Window::Min;
        if is_counter && self.take_restarts() {
            ctx.apply.suspect(&self.name);
        }
    }
}

/// Returns `true` if the clock has passed the end of a window by the flush delay.
fn is_flushed(open: &OpenWindow, window: Window, apply: &ApplyContext) -> bool {
    open.start() + apply.length_ms(window) <= apply.flushed_ms()
}
