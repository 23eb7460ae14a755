//! The changes that reports make to a node on the primary: limits are checked, the change is made and written down as
//! an effect.

use crate::codec::json;
use crate::context::WriteContext;
use crate::counters::{Counters, Dropped};
use crate::model::{
    ItemKind, LogEntry, MetricType, ObjectReport, Occurrence, Queue, Sample, SampleOutcome, Window,
};
use crate::node::Node;
use crate::node::errors::ErrorState;
use crate::node::objects::Object;
use crate::node::sweep::ENDS;
use crate::node::table::{FREE, Named};
use crate::time::{second, window_start};
use aggregator_protocol::glob::Glob;

/// The reason for which a node rejects a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SampleError {
    /// The metric is of this type, and the sample of another.
    MetricType(MetricType),
    /// The node has `max-series` metrics.
    Series,
}

/// The bytes of the record of a window besides its name and tags, about.
const RECORD: u64 = 64;

/// Errors or objects that are dropped at once where their limit was lowered: some ten microseconds.
const EVICTED: u32 = 64;

/// The limit of the errors or objects that one AGG.REQUEUE queues, and of the work on its pattern: some tens of
/// milliseconds.
pub(crate) const MAX_REQUEUED: usize = 20_000;
const MAX_STEPS: u64 = 12 << 20;

/// The reason for which AGG.REQUEUE was rejected: it would take too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RequeueError {
    /// More than [`MAX_REQUEUED`] match.
    Records,
    /// The pattern was tried on names of too many bytes.
    Pattern,
}

/// The outcome of a report of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReportOutcome {
    Changed,
    Unchanged,
    /// Older than the stored state.
    Older,
}

impl Node {
    /// Returns the slots of the metrics that exist, for [`Node::sample_in`].
    pub(crate) fn metric_slots<'a>(
        &self,
        names: impl Iterator<Item = &'a [u8]> + Clone,
    ) -> Vec<u32> {
        self.metrics.table.find_all(names)
    }

    /// Takes a sample. The caller propagates it if it has counted.
    #[inline]
    pub(crate) fn sample(
        &mut self,
        name: &[u8],
        sample: &Sample<'_>,
        ctx: &mut WriteContext<'_>,
    ) -> Result<SampleOutcome, SampleError> {
        self.sample_in(FREE, name, sample, ctx)
    }

    /// Takes a sample of a metric whose slot is known from [`Node::metric_slots`], as long as no metric was removed
    /// since.
    #[inline]
    pub(crate) fn sample_in(
        &mut self,
        slot: u32,
        name: &[u8],
        sample: &Sample<'_>,
        ctx: &mut WriteContext<'_>,
    ) -> Result<SampleOutcome, SampleError> {
        let slot = Some(slot)
            .filter(|slot| *slot != FREE)
            .or_else(|| self.metrics.table.find(name));
        let (metrics, queues) = (&mut self.metrics, &mut self.queues);
        let outcome = match slot {
            Some(slot) => metrics.sample_at(slot, sample, queues, &mut ctx.apply),
            None if metrics.table.len() >= ctx.settings.max_series => {
                return Err(SampleError::Series);
            }
            None => metrics.first_sample(name, sample, queues, &mut ctx.apply),
        };
        let Some(outcome) = outcome else {
            let metric = slot.and_then(|slot| metrics.table.get(slot));
            return Err(SampleError::MetricType(
                metric.map_or(MetricType::Abs, |metric| metric.metric_type),
            ));
        };
        if outcome != SampleOutcome::Counted {
            ctx.apply.count(|c| c.sample(outcome, sample.times));
        }
        Ok(outcome)
    }

    /// Returns why a sample would be rejected, if it would; `new`: so many metrics are to be created before it.
    pub(crate) fn sample_error(
        &self,
        name: &[u8],
        metric_type: MetricType,
        new: u32,
        max_series: u32,
    ) -> Option<SampleError> {
        let table = &self.metrics.table;
        match table.find(name).and_then(|slot| table.get(slot)) {
            Some(metric) if metric.metric_type != metric_type => {
                Some(SampleError::MetricType(metric.metric_type))
            }
            None if table.len().saturating_add(new) >= max_series => Some(SampleError::Series),
            _ => None,
        }
    }

    /// Returns `true` if there is a metric of this name.
    pub(crate) fn has_metric(&self, name: &[u8]) -> bool {
        self.metrics.table.find(name).is_some()
    }

    /// Returns `true` if a metric of this name is new and has histograms by `hist-match`. The settings of replicas are
    /// others, so the effect of its first sample says so.
    #[inline]
    pub(crate) fn is_matched(&self, name: &[u8], ctx: &WriteContext<'_>) -> bool {
        let patterns = &ctx.settings.hist_match;
        !patterns.is_empty() && !self.has_metric(name) && patterns.matches(name)
    }

    /// Returns the bytes of records that windows of this node have left since the start of the server.
    pub(crate) fn closed_bytes(&self) -> u64 {
        self.queues.closed_bytes
    }

    /// Returns the bytes of the records of the windows that a sample of this time closes, or `None` if there is no
    /// metric of this name.
    pub(crate) fn closing_bytes(&self, name: &[u8], at: i64) -> Option<u64> {
        let metrics = &self.metrics.table;
        let metric = metrics.find(name).and_then(|slot| metrics.get(slot))?;
        let closes = |window: Window| {
            let start_s = window_start(second(at), self.lengths[window]);
            let open = metric.open_with_tags(window);
            open.filter(move |(window, _)| window.start_s() < start_s)
                .map(|(_, tags)| (name.len() + self.metrics.tags.text(tags).len()) as u64 + RECORD)
        };
        Some(Window::ALL.into_iter().flat_map(closes).sum())
    }

    /// Returns the length of the longest tag list of a metric and its open windows, bytes; 0 if there is no metric of
    /// this name.
    pub(crate) fn metric_tags_len(&self, name: &[u8]) -> usize {
        let metrics = &self.metrics.table;
        let Some(metric) = metrics.find(name).and_then(|slot| metrics.get(slot)) else {
            return 0;
        };
        let windows = Window::ALL.into_iter();
        let open = windows.flat_map(|window| metric.open_with_tags(window));
        let lists = open.map(|(_, tags)| tags).chain([metric.tags]);
        lists
            .map(|tags| self.metrics.tags.text(tags).len())
            .max()
            .unwrap_or(0)
    }

    /// Returns the bytes of the records of the windows that an earlier sample of a command opens and a later one of the
    /// same metric closes. `tags`: the longest tag list of the metric in the command, bytes.
    pub(crate) fn reopened_bytes(&self, name: &[u8], tags: usize) -> u64 {
        let tags = tags.max(self.metric_tags_len(name));
        ((name.len() + tags) as u64 + RECORD) * Window::ALL.len() as u64
    }

    /// Returns `true` if an error is stored with exactly the content of this occurrence.
    pub(crate) fn holds_error(&self, o: &Occurrence<'_>) -> bool {
        self.errors.holds(o)
    }

    /// Returns `true` if an object is stored as this report says.
    pub(crate) fn holds_object(&self, report: &ObjectReport<'_>) -> bool {
        self.objects.holds(report)
    }

    /// Returns `true` if an object is stored as this report says, with this text as its JSON except for white space.
    /// Then the text need not be parsed.
    pub(crate) fn holds_text(&self, report: &ObjectReport<'_>, text: &[u8]) -> bool {
        let slot = self.objects.table.find(report.key);
        let object = slot.and_then(|slot| self.objects.table.get(slot));
        object.is_some_and(|o| o.is_described_by(report) && json::is_spaced(text, &o.json))
    }

    /// Queues a log entry. Returns its id. `is_whole`: its text is that of the command.
    pub(crate) fn push_log(
        &mut self,
        entry: &LogEntry<'_>,
        is_whole: bool,
        ctx: &mut WriteContext<'_>,
    ) -> u64 {
        // A verbatim command gets the id after the node's last.
        if is_whole && ctx.is_verbatim() && ctx.apply.next_id == self.queues.last_id + 1 {
            ctx.effects.set_verbatim();
        } else {
            ctx.effects.log(entry);
        }
        self.queues.push_log(entry, &mut ctx.apply)
    }

    /// Counts `n` texts that were cut.
    pub(crate) fn count_truncated(&mut self, n: u64, ctx: &mut WriteContext<'_>) {
        if n > 0 {
            ctx.apply
                .count(|c| c.truncated = c.truncated.saturating_add(n));
        }
    }

    /// Records an occurrence of an error. Returns the number of its occurrences. Beyond `max-errors` another error is
    /// evicted. `is_whole`: its texts are those of the command.
    pub(crate) fn record_error(
        &mut self,
        o: &Occurrence<'_>,
        is_whole: bool,
        ctx: &mut WriteContext<'_>,
    ) -> u64 {
        let interval = ctx.settings.error_interval_ms;
        let slot = self.errors.table.find(o.key);
        let queue = match slot.and_then(|slot| self.errors.table.get(slot)) {
            Some(stored) => {
                let max_future_ms = self.rules.max_future_ms;
                stored.id == 0 && stored.is_interval_over(ctx.apply.now_ms, interval, max_future_ms)
            }
            None => {
                self.evict_errors(ctx.settings.max_errors.saturating_sub(1), ctx);
                ctx.apply.count(|c| c.new_error(o.level));
                true
            }
        };
        if is_whole && !queue && ctx.is_verbatim() {
            ctx.effects.set_verbatim();
        } else {
            ctx.effects.record(o, queue);
        }
        self.errors
            .record_in(slot, o, queue, &mut self.queues, &mut ctx.apply)
    }

    /// Evicts errors until there are at most `max`, but not many at once: where the limit was lowered, the rest is
    /// evicted over time. Returns whether there is more.
    pub(super) fn evict_errors(&mut self, max: u32, ctx: &mut WriteContext<'_>) -> bool {
        let excess = self.errors.table.len().saturating_sub(max);
        let evicted = (0..excess.min(EVICTED)).take_while(|_| self.evict_error(ctx));
        evicted.count() as u32 == EVICTED && excess > EVICTED
    }

    fn evict_error(&mut self, ctx: &mut WriteContext<'_>) -> bool {
        let Some(slot) = self.errors.eviction_candidate() else {
            return false;
        };
        let waited = self.errors.table.get(slot).is_some_and(|e| e.id != 0);
        ctx.effects.forget_errors(&[slot]);
        self.errors.remove(slot, &mut self.queues);
        let now_ms = ctx.apply.now_ms;
        let count =
            |c: &mut Counters| c.drop(Dropped::Errors, Some(Queue::Error), waited.into(), now_ms);
        ctx.apply.count(count);
        true
    }

    /// Takes a report of an object. `is_same`: [`Node::holds_text`] said that it is unchanged. `None`: it is new, and
    /// there are `max-realities` objects.
    pub(crate) fn report_object(
        &mut self,
        report: &ObjectReport<'_>,
        is_same: bool,
        ctx: &mut WriteContext<'_>,
    ) -> Option<ReportOutcome> {
        let slot = self.objects.table.find(report.key);
        let stored = slot.and_then(|slot| Some((slot, self.objects.table.get(slot)?)));
        let is_live = stored.is_some_and(|(_, object)| !object.gone);
        if let Some((slot, object)) = stored {
            let clock_was_wrong =
                object.newest > ctx.apply.now_ms.saturating_add(self.rules.max_future_ms);
            if clock_was_wrong {
                ctx.apply
                    .count(|c| c.clock_back = c.clock_back.saturating_add(1));
            } else if report.at < object.newest {
                return Some(ReportOutcome::Older);
            }
            if is_same || object.is_same(report) {
                if ctx.is_verbatim() {
                    ctx.effects.set_verbatim();
                } else {
                    ctx.effects.touch(slot, report.at, report.ttl_s);
                }
                self.objects
                    .touch(slot, report.at, report.ttl_s, &ctx.apply);
                return Some(ReportOutcome::Unchanged);
            }
        }
        if !is_live && self.is_full_of_objects(ctx.settings.max_realities) {
            return None;
        }
        let new_id = stored.is_none_or(|(_, object)| object.needs_new_id());
        ctx.effects.change(report, new_id);
        self.objects
            .change(report, new_id, &mut self.queues, &mut ctx.apply);
        Some(ReportOutcome::Changed)
    }

    /// Returns `true` if there is an error of this name.
    pub(crate) fn has_error(&self, name: &[u8]) -> bool {
        self.errors.table.find(name).is_some()
    }

    /// Returns `true` if there is an object of this name.
    pub(crate) fn has_object(&self, name: &[u8]) -> bool {
        self.objects.table.find(name).is_some()
    }

    fn is_full_of_objects(&self, max: u32) -> bool {
        self.objects.live() >= max.into()
    }

    /// Returns `true` if a report of an object of this name is rejected: it is new, and there are `max` already.
    pub(crate) fn rejects_object(&self, name: &[u8], max: u32) -> bool {
        let slot = self.objects.table.find(name);
        let object = slot.and_then(|slot| self.objects.table.get(slot));
        object.is_none_or(|o| o.gone) && self.is_full_of_objects(max)
    }

    /// Records that objects are gone (`slots` grow strictly), and queues them as such. Of more than `max-realities`
    /// objects that are gone the oldest are dropped, as many as were added and somewhat more; beyond a lowered limit
    /// the rest is dropped over time. Returns whether there is more.
    pub(super) fn end_objects(&mut self, slots: &[u32], ctx: &mut WriteContext<'_>) -> bool {
        for needs_new_id in [false, true] {
            let needs = |slot: &u32| {
                self.objects
                    .table
                    .get(*slot)
                    .is_some_and(|o| o.needs_new_id())
            };
            let some: Vec<u32> = slots
                .iter()
                .copied()
                .filter(|s| needs(s) == needs_new_id)
                .collect();
            ctx.effects.end(needs_new_id, &some);
            for slot in some {
                self.objects
                    .end(slot, needs_new_id, &mut self.queues, &mut ctx.apply);
            }
        }
        let max = slots.len() as u64 + u64::from(EVICTED);
        let gone = self.objects.gone();
        let excess = gone.saturating_sub(ctx.settings.max_realities.into());
        for _ in 0..excess.min(max) {
            let Some(id) = self.objects.oldest_gone() else {
                return false;
            };
            ctx.effects.remove(Queue::Reality, &[id]);
            self.remove_record(Queue::Reality, id, None);
            let now_ms = ctx.apply.now_ms;
            let count = |c: &mut Counters| c.drop(Dropped::Gone, Some(Queue::Reality), 1, now_ms);
            ctx.apply.count(count);
        }
        excess > max
    }

    /// Forgets the item with this name; false if there is none.
    pub(crate) fn forget(
        &mut self,
        item_kind: ItemKind,
        name: &[u8],
        ctx: &mut WriteContext<'_>,
    ) -> bool {
        match item_kind {
            ItemKind::Metric => {
                let Some(slot) = self.metrics.table.find(name) else {
                    return false;
                };
                self.forget_metrics(&[slot], ctx);
            }
            ItemKind::Error => {
                let Some(slot) = self.errors.table.find(name) else {
                    return false;
                };
                ctx.effects.forget_errors(&[slot]);
                self.errors.remove(slot, &mut self.queues);
            }
            ItemKind::Object => {
                let Some(slot) = self.objects.table.find(name) else {
                    return false;
                };
                if self.objects.table.get(slot).is_none_or(|o| o.gone) {
                    return false;
                }
                self.end_objects(&[slot], ctx);
            }
        }
        true
    }

    pub(super) fn forget_metrics(&mut self, slots: &[u32], ctx: &mut WriteContext<'_>) {
        if ctx.memory_pressure {
            let cost = self.records_cost(slots, &Window::ALL);
            self.free_own_memory(cost, ctx);
        }
        ctx.effects.forget_metrics(slots);
        self.metrics.forget(slots, &mut self.queues, &mut ctx.apply);
        self.trim_forgotten(ctx);
    }

    /// Drops the first forgotten metrics beyond `max-series`, some at a time. Returns whether there are more.
    pub(super) fn trim_forgotten(&mut self, ctx: &mut WriteContext<'_>) -> bool {
        let len = self.metrics.forgotten.table.len();
        let excess = len.saturating_sub(ctx.settings.max_series) as usize;
        if excess == 0 {
            return false;
        }
        let slots = self.metrics.forgotten.oldest(excess.min(2 * ENDS));
        ctx.effects.drop_forgotten(&slots);
        self.metrics.drop_forgotten(&slots);
        ctx.apply.count(|c| {
            c.forgotten_dropped = c.forgotten_dropped.saturating_add(slots.len() as u64);
        });
        excess > slots.len()
    }

    /// Returns the errors that a requeue gives a new record: all but those that wait and were never delivered.
    pub(super) fn errors_to_requeue(&self) -> impl Iterator<Item = (u32, &ErrorState)> {
        let table = self.errors.table.iter();
        table.filter(|(_, e)| e.id == 0 || e.is_delivered)
    }

    /// Returns the objects that a requeue gives a new record, likewise.
    pub(super) fn objects_to_requeue(&self) -> impl Iterator<Item = (u32, &Object)> {
        let table = self.objects.table.iter();
        table.filter(|(_, o)| o.needs_new_id())
    }

    /// Gives all matching errors or objects a new record, except those that wait and were never delivered. Returns how
    /// many.
    pub(crate) fn requeue(
        &mut self,
        queue: Queue,
        pattern: Option<&Glob>,
        ctx: &mut WriteContext<'_>,
    ) -> Result<u64, RequeueError> {
        let mut steps = 0;
        let mut matches =
            |name: &[u8]| steps < MAX_STEPS && pattern.is_none_or(|p| p.matches(name, &mut steps));
        let slots: Vec<u32> = match queue {
            Queue::Error => self
                .errors_to_requeue()
                .filter(|(_, e)| matches(e.name()))
                .map(|(slot, _)| slot)
                .take(MAX_REQUEUED + 1)
                .collect(),
            _ => self
                .objects_to_requeue()
                .filter(|(_, o)| matches(o.name()))
                .map(|(slot, _)| slot)
                .take(MAX_REQUEUED + 1)
                .collect(),
        };
        if slots.len() > MAX_REQUEUED {
            return Err(RequeueError::Records);
        }
        if steps >= MAX_STEPS {
            return Err(RequeueError::Pattern);
        }
        ctx.effects.requeue(queue, &slots);
        self.requeue_slots(queue, slots.iter().copied(), &mut ctx.apply);
        Ok(slots.len() as u64)
    }
}
