//! The work of a node as time passes: windows close, leases and items expire, errors are queued again.
//!
//! A sweep does a bounded amount of work and says whether there is more. Windows past their end are found by a pass
//! over the metrics, which begins when the first window is past its end. Windows whose metric was not idle are checked
//! again when it may be. Lifetimes are long, so a cursor goes round over all items, some at each sweep.

use crate::context::{ExecContext, WriteContext};
use crate::model::{Queue, Window};
use crate::node::Node;
use crate::node::errors::Errors;
use crate::node::metric::forgotten::{Forgotten, ForgottenMetrics};
use crate::node::metric::open_window::OpenWindow;
use crate::node::objects::Objects;
use crate::node::queue::AT_ONCE;
use crate::settings::{Rules, Settings};
use crate::time::Now;

/// The outcome of one slice of a sweep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SweepOutcome {
    /// There is more to do at once: call again with `first` unset.
    pub more: bool,
    /// The first slice has more to do, at the next tick.
    pub soon: bool,
    /// A record became available in a queue: clients that wait for one are to be woken.
    pub ready: bool,
}

/// The share of a table that a sweep passes: all of it within some 20 sweeps, but not too much at once.
fn share(len: u32) -> u32 {
    (len / 20).clamp(16, 4096)
}

/// The number of items that expire at one sweep: then the cursor stops until the next. Checking an item is cheap;
/// expiring one takes about a microsecond.
pub(super) const ENDS: usize = 64;

/// Closed windows of a metric that one slice drops where a limit was lowered: reading them takes half a microsecond.
const TRIM_AT_ONCE: u8 = 16;

impl Node {
    /// Does what is due, at most about `budget` items. `first`: also checks lifetimes, which a first slice does from
    /// time to time.
    pub fn sweep(
        &mut self,
        budget: usize,
        first: bool,
        exec: &mut ExecContext<'_>,
    ) -> SweepOutcome {
        if self.unfinished {
            return SweepOutcome::default();
        }
        self.change(exec, |node, ctx| {
            let (mut more, mut soon) = (node.expire_leases(budget, ctx), false);
            for window in Window::ALL {
                more |= node.find_due(window, budget, ctx);
                more |= node.recheck_idle(window, budget, ctx);
            }
            more |= node.trim_histories(budget, ctx);
            if first {
                soon |= node.end_metrics(ctx);
                soon |= node.sweep_forgotten(ctx);
                soon |= node.sweep_errors(ctx);
                soon |= node.sweep_realities(ctx);
                soon |= node.trim_queues(ctx);
                soon |= node.trim_sources(ctx);
            }
            SweepOutcome {
                more,
                soon,
                ready: node.take_ready(),
            }
        })
    }

    /// A close bound of the memory that one slice of a sweep adds, with the arguments of [`Node::sweep`]: 0 if no window
    /// is due and, for a first slice, no metric expires.
    pub fn sweep_cost(
        &self,
        budget: usize,
        first: bool,
        now: Now,
        node_name: &[u8],
        settings: &Settings,
    ) -> u64 {
        let rules = settings.rules_of(node_name);
        let is_due = Window::ALL.into_iter().any(|window| {
            let deadlines = &self.metrics.deadlines[window];
            let flushed_ms = now.ms().saturating_sub(rules.flush_delay_ms);
            let length_ms = i64::from(self.lengths[window]) * 1000;
            deadlines.scan.is_some()
                || deadlines.waits_before(flushed_ms - length_ms)
                || deadlines.has_due_check(now.mono_ms)
        });
        let expires = || {
            let mut sweep_cursor = self.metrics.sweep_cursor;
            let metrics = SweepCursor::new(&mut sweep_cursor, self.metrics.table.len());
            let (expired, ahead, _) = self.expired_metrics(metrics, now, &rules, settings);
            !expired.is_empty() || !ahead.is_empty()
        };
        match is_due || first && expires() {
            true => self.sweep_bound(budget),
            false => 0,
        }
    }

    fn expire_leases(&mut self, budget: usize, ctx: &mut WriteContext<'_>) -> bool {
        let mut max = 0;
        for queue in Queue::ALL {
            max = max.max(self.queues.expire_leases(queue, ctx.now.mono_ms, budget));
        }
        max == budget
    }

    /// Continues the pass over the metrics that closes windows past their end.
    fn find_due(&mut self, window: Window, budget: usize, ctx: &mut WriteContext<'_>) -> bool {
        let length_ms = ctx.apply.length_ms(window);
        let flushed_ms = ctx.apply.flushed_ms();
        let metrics = &mut self.metrics;
        let deadlines = &metrics.deadlines[window];
        let is_due = || deadlines.waits_before(flushed_ms - length_ms).then_some(0);
        let Some(start) = deadlines.scan.or_else(is_due) else {
            return false;
        };
        let budget = u32::try_from(budget).unwrap_or(u32::MAX);
        let end = start.saturating_add(budget).min(metrics.table.len());
        let (mut older, mut all) = (Vec::new(), Vec::new());
        for slot in start..end {
            let Some(metric) = metrics.table.get(slot) else {
                continue;
            };
            let idle_at = metrics
                .idle_since(metric)
                .saturating_add(self.rules.flush_delay_ms as u64);
            let older_is_due = metric.older_is_due(window, &ctx.apply);
            if metric.newest_is_due(window, &ctx.apply) {
                if idle_at <= ctx.now.mono_ms || metric.has_later_sample(window, length_ms) {
                    all.push(slot);
                    continue;
                }
                if let Some(metric) = metrics.table.get_mut(slot)
                    && let Some(open) = metric.newest_mut(window)
                    && !open.is_awaiting_idle()
                {
                    let deadlines = &mut metrics.deadlines[window];
                    deadlines.closed(open);
                    open.set_awaiting_idle();
                    metric.schedule_check(window, slot, idle_at, deadlines);
                }
            }
            if older_is_due {
                older.push(slot);
            }
        }
        metrics.deadlines[window].scan = (end < metrics.table.len()).then_some(end);
        let more = metrics.deadlines[window].scan.is_some();
        self.close(window, false, &older, ctx);
        self.close(window, true, &all, ctx);
        more
    }

    /// Checks again windows past their end whose metric may be idle by now.
    fn recheck_idle(&mut self, window: Window, budget: usize, ctx: &mut WriteContext<'_>) -> bool {
        let length_ms = ctx.apply.length_ms(window);
        let mono_ms = ctx.now.mono_ms;
        let (mut idle, mut checked) = (Vec::new(), 0);
        let metrics = &mut self.metrics;
        while checked < budget
            && let Some(slot) = metrics.deadlines[window].take_due_check(mono_ms)
        {
            checked += 1;
            let Some(metric) = metrics.table.get_mut(slot) else {
                continue;
            };
            metric.take_check(window);
            let idle_at = metric
                .last_seen()
                .max(metrics.idle_not_before)
                .saturating_add(self.rules.flush_delay_ms as u64);
            let is_idle = metric.has_later_sample(window, length_ms) || idle_at <= mono_ms;
            if metric.newest_is_due(window, &ctx.apply) && is_idle {
                idle.push(slot);
            } else if metric.open(window).any(OpenWindow::is_awaiting_idle) {
                // The newest is not due only where the clock was set back meanwhile.
                let at_ms = idle_at.max(mono_ms + 100);
                metric.schedule_check(window, slot, at_ms, &mut metrics.deadlines[window]);
            }
        }
        idle.sort_unstable();
        self.close(window, true, &idle, ctx);
        checked == budget
    }

    /// Continues the pass over the metrics that drops closed windows beyond a lowered limit, some of each metric at a
    /// time. Returns whether there is more.
    fn trim_histories(&mut self, budget: usize, ctx: &mut WriteContext<'_>) -> bool {
        let Some(left) = self.metrics.untrimmed else {
            return false;
        };
        let metrics = &mut self.metrics;
        // Downwards, as cursors go.
        let end = left.min(metrics.table.len());
        let start = end.saturating_sub(u32::try_from(budget).unwrap_or(u32::MAX));
        let mut is_left = false;
        for window in Window::ALL {
            let max = self.rules.history[window as usize];
            let mut slots = Vec::new();
            for slot in start..end {
                let history = metrics.table.get(slot).and_then(|m| m.history(window));
                let beyond = history.map_or(0, |h| h.len().saturating_sub(max));
                if beyond > 0 {
                    slots.push(slot);
                    is_left |= beyond > u32::from(TRIM_AT_ONCE);
                }
            }
            ctx.effects.trim_history(window, TRIM_AT_ONCE, &slots);
            metrics.trim_history(window, max, TRIM_AT_ONCE, slots.into_iter());
        }
        let left = if is_left { end } else { start };
        metrics.untrimmed = (left > 0).then_some(left);
        metrics.untrimmed.is_some()
    }

    fn close(&mut self, window: Window, newest: bool, slots: &[u32], ctx: &mut WriteContext<'_>) {
        if ctx.memory_pressure {
            let cost = self.records_cost(slots, &[window]);
            self.free_own_memory(cost, ctx);
        }
        ctx.effects.close(window, newest, slots);
        self.metrics.close_due(
            window,
            newest,
            slots.iter().copied(),
            &mut self.queues,
            &mut ctx.apply,
        );
        if ctx.memory_pressure {
            self.limit_histograms(slots, ctx);
        }
    }

    /// Expires metrics that were idle for too long, and closes the windows of those whose clock was wrong. Returns
    /// whether the cursor stopped early, here and below.
    fn end_metrics(&mut self, ctx: &mut WriteContext<'_>) -> bool {
        let mut sweep_cursor = self.metrics.sweep_cursor;
        let metrics = SweepCursor::new(&mut sweep_cursor, self.metrics.table.len());
        let (ended, ahead, stopped) =
            self.expired_metrics(metrics, ctx.now, &ctx.apply.rules, ctx.settings);
        self.metrics.sweep_cursor = sweep_cursor;
        ctx.effects.reset_time(&ahead);
        self.metrics
            .reset_time(ahead.iter().copied(), &mut self.queues, &mut ctx.apply);
        self.forget_metrics(&ended, ctx);
        stopped
    }

    /// Returns the slots of the metrics that were idle for too long and of those whose clock was wrong, both growing, and
    /// whether the cursor stopped early.
    fn expired_metrics(
        &self,
        mut sweep_cursor: SweepCursor<'_>,
        now: Now,
        rules: &Rules,
        settings: &Settings,
    ) -> (Vec<u32>, Vec<u32>, bool) {
        let ttl_ms = settings.series_ttl_s.saturating_mul(1000);
        let (mut ended, mut ahead) = (Vec::new(), Vec::new());
        while let Some(slot) = sweep_cursor.next(ended.len() + ahead.len()) {
            let Some(metric) = self.metrics.table.get(slot) else {
                continue;
            };
            let idle_since = self.metrics.idle_since(metric);
            if ttl_ms != 0 && idle_since.saturating_add(ttl_ms) <= now.mono_ms {
                ended.push(slot);
            } else if metric.is_ahead(now.ms(), rules.max_future_ms) {
                ahead.push(slot);
            }
        }
        // Effects name slots in growing order.
        ended.reverse();
        ahead.reverse();
        (ended, ahead, sweep_cursor.stopped)
    }

    /// Drops what is remembered of forgotten metrics where it has no effect any more.
    fn sweep_forgotten(&mut self, ctx: &mut WriteContext<'_>) -> bool {
        let ForgottenMetrics {
            sweep_cursor,
            table,
            ..
        } = &mut self.metrics.forgotten;
        let mut ended = Vec::new();
        let mut sweep_cursor = SweepCursor::new(sweep_cursor, table.len());
        while let Some(slot) = sweep_cursor.next(ended.len()) {
            let is_valid = |f: &Forgotten| f.is_valid(ctx.apply.now_ms, self.rules.max_future_ms);
            if table
                .get(slot)
                .is_some_and(|forgotten| !is_valid(forgotten))
            {
                ended.push(slot);
            }
        }
        ended.reverse();
        let stopped = sweep_cursor.stopped;
        ctx.effects.drop_forgotten(&ended);
        self.metrics.drop_forgotten(&ended);
        self.trim_forgotten(ctx) || stopped
    }

    fn sweep_errors(&mut self, ctx: &mut WriteContext<'_>) -> bool {
        let ttl_ms = ctx.settings.error_ttl_s.saturating_mul(1000);
        let (mut ended, mut due) = (Vec::new(), Vec::new());
        let Errors {
            sweep_cursor,
            table,
            ..
        } = &mut self.errors;
        let mut sweep_cursor = SweepCursor::new(sweep_cursor, table.len());
        while let Some(slot) = sweep_cursor.next(ended.len() + due.len()) {
            let Some(e) = table.get(slot) else { continue };
            let interval = ctx.settings.error_interval_ms;
            if e.is_due(ctx.apply.now_ms, interval, self.rules.max_future_ms) {
                due.push(slot);
            } else if ttl_ms != 0
                && e.id == 0
                // Where the lifetime is shorter than the interval, the last occurrences are delivered first.
                && !e.has_grown()
                && e.last_seen.saturating_add(ttl_ms) <= ctx.now.mono_ms
            {
                ended.push(slot);
            }
        }
        ended.reverse();
        due.reverse();
        let stopped = sweep_cursor.stopped;
        ctx.effects.requeue(Queue::Error, &due);
        self.requeue_slots(Queue::Error, due.into_iter(), &mut ctx.apply);
        ctx.effects.forget_errors(&ended);
        self.remove_errors(&ended);
        let more = self.evict_errors(ctx.settings.max_errors, ctx);
        stopped || more
    }

    fn sweep_realities(&mut self, ctx: &mut WriteContext<'_>) -> bool {
        let mut ended = Vec::new();
        let Objects {
            sweep_cursor,
            table,
            ..
        } = &mut self.objects;
        let mut sweep_cursor = SweepCursor::new(sweep_cursor, table.len());
        while let Some(slot) = sweep_cursor.next(ended.len()) {
            let object = table.get(slot);
            if object.is_some_and(|o| o.has_ended(ctx.now.mono_ms, ctx.settings.reality_ttl_s)) {
                ended.push(slot);
            }
        }
        ended.reverse();
        let stopped = sweep_cursor.stopped;
        let more = self.end_objects(&ended, ctx);
        stopped || more
    }

    /// Drops some of what a queue has beyond a limit that was lowered; new records evict no more than they need.
    fn trim_queues(&mut self, ctx: &mut WriteContext<'_>) -> bool {
        let mut more = false;
        for (queue, max) in [Queue::Min, Queue::Hour, Queue::Log]
            .into_iter()
            .zip(self.rules.queue_bytes)
        {
            let dropped = self.queues.drop_above(queue, max, AT_ONCE, &mut ctx.apply);
            ctx.effects.remove_oldest(queue, dropped);
            more |= dropped == AT_ONCE;
        }
        more
    }
}

/// A cursor that goes down a table, starts again at its end, and stops where enough has been found. Downwards, as the
/// last item moves into the slot of a removed one: so it is one that has been passed already. (Upwards, half of 10,000
/// metrics that expired together were missed by every round.)
struct SweepCursor<'a> {
    /// The slots that have not been passed yet.
    left: &'a mut u32,
    end: u32,
    stopped: bool,
}

impl<'a> SweepCursor<'a> {
    /// Creates a cursor that passes its share of a table of `len` items.
    fn new(left: &'a mut u32, len: u32) -> SweepCursor<'a> {
        if *left == 0 || *left > len {
            *left = len;
        }
        let end = left.saturating_sub(share(len));
        SweepCursor {
            left,
            end,
            stopped: false,
        }
    }

    /// Returns the next slot, unless `found` items are enough.
    fn next(&mut self, found: usize) -> Option<u32> {
        self.stopped = found >= ENDS;
        if self.stopped || *self.left <= self.end {
            return None;
        }
        *self.left -= 1;
        Some(*self.left)
    }
}
