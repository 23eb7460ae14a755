//! The metrics of a node, and when to look at which.

pub(crate) mod deadlines;
pub(crate) mod forgotten;
pub(crate) mod history;
mod name;
pub(crate) mod older;
pub(crate) mod open_window;
pub(crate) mod storage;
pub(crate) mod tag_pool;

use crate::context::ApplyContext;
use crate::model::{Sample, SampleOutcome};
use crate::node::metric::deadlines::Deadlines;
use crate::node::metric::forgotten::ForgottenMetrics;
use crate::node::metric::storage::{Env, Metric};
use crate::node::metric::tag_pool::TagPool;
use crate::node::queue::Queues;
use crate::node::table::Table;
use crate::settings::Rules;

/// See the file's header.
pub(crate) struct Metrics {
    pub table: Table<Metric>,
    pub tags: TagPool,
    pub deadlines: [Deadlines; 2],
    pub forgotten: ForgottenMetrics,
    /// No name and tags of a metric together are longer: bytes. It only grows.
    pub longest: usize,
    /// Running time before which no metric counts as quiet: when it was loaded or promoted.
    pub idle_not_before: u64,
    /// The next slot that a sweep looks at for lifetimes.
    pub sweep_cursor: u32,
    /// The slots below this are still to be looked at for histories beyond a lowered limit. Not part of the value.
    pub untrimmed: Option<u32>,
}

/// The rest of the node, as far as a change of a metric touches it.
pub(crate) struct Around<'a, 'b> {
    pub rules: &'a Rules,
    pub windows_s: [u32; 2],
    pub queues: &'a mut Queues,
    pub ctx: &'a mut ApplyContext<'b>,
}

fn env<'a, 'b>(
    (tags, deadlines): (&'a mut TagPool, &'a mut [Deadlines; 2]),
    around: &'a mut Around<'_, 'b>,
) -> Env<'a, 'b> {
    Env {
        rules: around.rules,
        windows_s: around.windows_s,
        tags,
        deadlines,
        queues: around.queues,
        ctx: around.ctx,
    }
}

impl Metrics {
    pub fn new(seed: u64) -> Metrics {
        Metrics {
            table: Table::new(seed),
            tags: TagPool::new(seed),
            deadlines: Default::default(),
            forgotten: ForgottenMetrics::new(seed),
            longest: 0,
            idle_not_before: 0,
            sweep_cursor: 0,
            untrimmed: None,
        }
    }

    /// Takes a sample, for a new metric where there is none. `None`: the metric is of the other kind.
    pub fn sample(
        &mut self,
        name: &[u8],
        sample: &Sample<'_>,
        around: &mut Around<'_, '_>,
    ) -> Option<SampleOutcome> {
        match self.table.find(name) {
            Some(slot) => self.sample_at(slot, sample, around),
            None => self.first_sample(name, sample, around),
        }
    }

    /// Takes a sample of a metric that is not there, which creates it. One that was forgotten goes on where it was
    /// delivered; a sample of what was delivered is late, and creates nothing.
    pub fn first_sample(
        &mut self,
        name: &[u8],
        sample: &Sample<'_>,
        around: &mut Around<'_, '_>,
    ) -> Option<SampleOutcome> {
        let mut metric = Metric::new(name, sample.metric_type);
        let known = self.forgotten.find(name);
        let (now_ms, future_ms) = (around.ctx.now_ms, around.rules.max_future_ms);
        if let Some(forgotten) = known.and_then(|known| self.forgotten.table.get(known))
            && forgotten.holds(now_ms, future_ms)
            && !around.ctx.is_version_1
        {
            metric.watermark_s = forgotten.watermark_s;
        }
        let slot = self.table.insert(metric);
        let outcome = self.sample_at(slot, sample, around);
        if outcome == Some(SampleOutcome::Late) {
            self.table.remove(slot);
        } else if let Some(known) = known {
            self.forgotten.remove(known);
        }
        outcome
    }

    /// Takes a sample of the metric in `slot`. `None`: there is none, or it is of the other kind.
    #[inline]
    pub fn sample_at(
        &mut self,
        slot: u32,
        sample: &Sample<'_>,
        around: &mut Around<'_, '_>,
    ) -> Option<SampleOutcome> {
        let metric = self
            .table
            .get_mut(slot)
            .filter(|m| m.metric_type == sample.metric_type)?;
        let tags = sample.tags.map_or(0, <[u8]>::len);
        self.longest = self.longest.max(metric.name.len() + tags);
        let mut env = env((&mut self.tags, &mut self.deadlines), around);
        Some(metric.sample(slot, sample, &mut env))
    }

    /// Closes windows past their end, the newest ones only if told to.
    pub fn close_due(
        &mut self,
        length: usize,
        newest: bool,
        slots: impl Iterator<Item = u32>,
        around: &mut Around<'_, '_>,
    ) {
        for slot in slots {
            if let Some(metric) = self.table.get_mut(slot) {
                let mut env = env((&mut self.tags, &mut self.deadlines), around);
                metric.close_due(length, newest, slot, &mut env);
            }
        }
    }

    /// Drops the oldest closed windows of one length beyond `max`, at most `at_once` of each metric.
    pub fn trim_history(
        &mut self,
        length: usize,
        max: u32,
        at_once: u8,
        slots: impl Iterator<Item = u32>,
    ) {
        for slot in slots {
            if let Some(metric) = self.table.get_mut(slot) {
                metric.trim_history(length, max, at_once.into());
            }
        }
    }

    /// Closes the windows of metrics whose time lies too far ahead.
    pub fn reset_time(&mut self, slots: impl Iterator<Item = u32>, around: &mut Around<'_, '_>) {
        for slot in slots {
            if let Some(metric) = self.table.get_mut(slot) {
                let mut env = env((&mut self.tags, &mut self.deadlines), around);
                metric.reset_time(slot, &mut env);
            }
        }
    }

    /// Closes the windows of metrics and forgets them, but for up to where they are delivered. `slots` grow strictly; they
    /// are taken from the end, so that none moves before its turn.
    pub fn forget(&mut self, slots: &[u32], around: &mut Around<'_, '_>) {
        for &slot in slots.iter().rev() {
            if let Some(metric) = self.table.get_mut(slot) {
                let mut env = env((&mut self.tags, &mut self.deadlines), around);
                metric.close_all(slot, &mut env);
                self.tags.release(metric.tags);
                let (now_ms, rules) = (around.ctx.now_ms, around.rules);
                // What lies too far ahead of the clock would silence its name until then.
                if !metric.is_ahead(now_ms, rules.max_future_ms) && !around.ctx.is_version_1 {
                    let (name, watermark_s) = (&metric.name, metric.watermark_s);
                    self.forgotten
                        .remember(name, watermark_s, now_ms, rules.flush_delay_ms);
                }
                let moved_from = self.table.remove(slot).and_then(|r| r.moved_from);
                if let (Some(from), Some(moved)) = (moved_from, self.table.get(slot)) {
                    for (i, deadlines) in self.deadlines.iter_mut().enumerate() {
                        moved.open(i).for_each(|b| deadlines.moved(b, from, slot));
                    }
                }
            }
        }
    }

    /// Gives up what is remembered of forgotten metrics. `slots` grow strictly.
    pub fn drop_forgotten(&mut self, slots: &[u32]) {
        for &slot in slots.iter().rev() {
            self.forgotten.remove(slot);
        }
    }

    /// Since when a metric is quiet (running time).
    pub fn idle_since(&self, metric: &Metric) -> u64 {
        metric.last_seen().max(self.idle_not_before)
    }
}
