//! The cost of a change: an upper bound of the memory that it adds to a node, which is compared with the memory limits
//! before the change happens.
//!
//! The bounds are made from the sizes of structures and what an allocator may add. A quick bound looks at no metric; a
//! close one, used near a limit, looks at each. The close bound decides whether other nodes lose records and whether a
//! report is rejected, so it counts each item once: a name that a command gives twice, a tag list that many metrics
//! share, and no more records than their queue may hold.

use crate::context::WriteContext;
use crate::counters::Counters;
use crate::model::histogram::{MAX_BYTES, MAX_HEAP_BYTES, max_heap_bytes};
use crate::model::{MetricType, PerWindow, Queue, Sample, Sequence, Window};
use crate::node::Node;
use crate::node::metric::histograms::{HISTOGRAM_BYTES, HISTOGRAM_OVERHEAD, Histograms};
use crate::node::metric::history::History;
use crate::node::metric::older::OlderWindow;
use crate::node::metric::storage::Metric;
use crate::node::queue::fifo::{AHEAD, PACKED, max_cost_of};
use crate::node::queue::imported::Imported;
use crate::node::sources::{FIRST_SOURCE, Source};
use crate::node::table::Named;
use crate::settings::{MAX_OPEN, MIN_OPEN, Settings};
use crate::time::{second, window_start};

/// A new metric, with its place in a growing block and in the index.
pub(super) const METRIC: u64 = 5 * size_of::<Metric>() as u64 + 256;

/// Each of many new metrics, and what blocks and the index may grow ahead of them.
pub(super) const ONE_OF_MANY: u64 = size_of::<Metric>() as u64 + 80;
pub(super) const MANY: u64 = 64 << 10;

/// The bytes that an existing metric may add without a check: the boxes beside it, second windows of both lengths, and
/// their deadlines. The memory limits keep them free for each metric.
pub const METRIC_RESERVE: u64 = 480;

/// The bytes that a metric whose windows have histograms may add besides: histograms of a new window of each length,
/// and the percentiles of those that close.
pub const HIST_RESERVE: u64 = 2 * (HISTOGRAM_BYTES + HISTOGRAM_OVERHEAD) as u64 + 256;

/// The bytes that the histograms of any metric may take beyond [`HIST_RESERVE`].
pub(crate) const HIST_BEYOND_RESERVE: u64 = beyond_reserve(MAX_HISTOGRAMS, MAX_HEAP_BYTES);

/// The largest number of histograms of a metric.
pub(super) const MAX_HISTOGRAMS: usize = 2 * MAX_OPEN;

/// The bytes that histograms may take beyond [`HIST_RESERVE`], if no window has more samples.
pub(super) fn hist_beyond_reserve(histograms: usize, samples: u64) -> u64 {
    beyond_reserve(histograms, max_heap_bytes(samples))
}

const fn beyond_reserve(histograms: usize, heap_bytes: usize) -> u64 {
    let reserve = 2 * (HISTOGRAM_BYTES + HISTOGRAM_OVERHEAD);
    (histograms * (heap_bytes + HISTOGRAM_OVERHEAD)).saturating_sub(reserve) as u64
}

/// The bytes of percentiles in a record, and in the history.
pub(super) const PERCENTILES: usize = 128;

/// The bytes that a node may add besides: the first records of its two queues, and buffers.
pub const NODE_RESERVE: u64 = 2048;

/// An open window, with its place in the list of its metric and its deadline.
pub(super) const WINDOW: u64 = 2 * size_of::<OlderWindow>() as u64 + 64;

/// The first closed window in the history of a metric.
pub(super) const BUCKET: u64 = 320;

/// A closed window after others: a step of a history so short that an allocator rounds it up by little.
const NEXT_BUCKET: u64 = 192;
const SHORT_HISTORY: u32 = 32;

/// A new source of sequence numbers, with its place in a growing block and in the index, and what the first one needs.
const SOURCE: u64 = (FIRST_SOURCE + 5 * size_of::<Source>()) as u64 + 256;

/// An element of the lists, maps and trees of errors, objects and leases, with its place there.
const ELEMENT: u64 = 512;

/// The cost of an empty node.
pub(crate) const NEW_NODE: u64 = 8 << 10;

/// A lease.
pub(crate) const LEASE_COST: u64 = 160;

/// An imported record besides its text, with its places in the trees of records, ids and returned records.
const IMPORTED: u64 = 256;

/// What the first imported record of a node, and of a queue, needs besides.
const FIRST_IMPORTED: u64 = (5 * size_of::<Imported>()) as u64 + 1536;

/// A reference in a queue, with its effect.
const REFERENCE: u64 = 160;

/// The allocated size of a text: rounded up to an allocator's size class.
pub(super) fn alloc_size(len: usize) -> u64 {
    (len + len / 4 + 32) as u64
}

/// The record of a window of a metric whose name and tags have `len` bytes.
pub(super) fn record(len: usize) -> u64 {
    max_cost_of(len + 128)
}

/// Windows that may close.
#[derive(Default)]
pub(super) struct Closings {
    /// Their records by window: of all together, and of the largest.
    records: PerWindow<u64>,
    largest: PerWindow<u64>,
    /// Their closed windows in the history.
    history: u64,
    /// Windows that open beyond those that the reserve covers.
    pub(super) windows: u64,
}

impl Closings {
    pub(super) fn add(&mut self, window: Window, len: usize, history: u64) {
        let record = record(len);
        self.records[window] = self.records[window].saturating_add(record);
        self.largest[window] = self.largest[window].max(record);
        self.history += history;
    }
}

impl Node {
    /// The windows that one sample may close: [`Node::closing_bound`] without the limits of the queues. Every AGG.STAT
    /// asks.
    #[inline]
    pub(crate) fn closing_bound_of_one(&self) -> u64 {
        let hist = self.has_histograms();
        let window = record(self.metrics.longest + self.hist_record(hist))
            + BUCKET
            + PERCENTILES as u64 * u64::from(hist);
        let cost = |of| {
            let open = self.max_open(of);
            open as u64 * window + (open - MIN_OPEN) as u64 * WINDOW + AHEAD
        };
        cost(Window::Min) + cost(Window::Hour)
    }

    /// The windows that samples or metrics may close: all that may be open of so many.
    pub(crate) fn closing_bound(&self, samples: usize) -> u64 {
        let samples = samples as u64;
        let hist = self.has_histograms();
        let record = record(self.metrics.longest + self.hist_record(hist));
        let open =
            PerWindow::from_fn(|window| samples.saturating_mul(self.max_open(window) as u64));
        self.closings_cost(&Closings {
            records: PerWindow(open.0.map(|open| open.saturating_mul(record))),
            largest: PerWindow([record; 2]),
            history: (open.0[0] + open.0[1])
                .saturating_mul(BUCKET + PERCENTILES as u64 * u64::from(hist)),
            windows: Window::ALL
                .map(|window| samples.saturating_mul(self.more_windows_cost(window)))
                .into_iter()
                .sum(),
        })
    }

    /// Returns `true` if there is a metric with histograms.
    #[inline]
    pub(crate) fn has_histograms(&self) -> bool {
        self.metrics.hist > 0
    }

    #[inline]
    fn max_open(&self, window: Window) -> usize {
        self.rules.open_windows(self.lengths[window])
    }

    /// The windows of a metric beyond the second: the reserve covers two.
    pub(super) fn more_windows_cost(&self, window: Window) -> u64 {
        self.max_open(window).saturating_sub(MIN_OPEN) as u64 * WINDOW
    }

    /// A slice of a sweep that checks up to `budget` metrics; [`Node::sweep_cost`] is the close bound.
    pub fn sweep_bound(&self, budget: usize) -> u64 {
        self.closing_bound(budget.min(self.metrics.table.len() as usize))
    }

    /// A sample of any metric.
    #[inline]
    pub(crate) fn sample_bound(name: usize, tags: usize) -> u64 {
        METRIC + 2 * alloc_size(name) + alloc_size(tags)
    }

    /// The windows of a metric that a sample may close and open. `is_ahead`: its time is reset.
    pub(super) fn add_closings(
        &self,
        metric: &Metric,
        at: i64,
        is_ahead: bool,
        closings: &mut Closings,
    ) {
        for window in Window::ALL {
            let start_s = window_start(second(at), self.lengths[window]);
            let counts_in_one = || metric.open(window).any(|b| b.start_s() == start_s);
            // The first sample of a counter after a pause opens no window, but closes older ones.
            let closes_none = metric.metric_type != MetricType::Diff && counts_in_one();
            if !is_ahead && (closes_none || start_s < metric.watermark_s[window]) {
                continue;
            }
            closings.windows += self.more_windows_cost(window);
            for (open, tags) in metric.open_with_tags(window) {
                if is_ahead || open.start_s() != start_s {
                    let len = metric.name().len() + self.metrics.tags.text(tags).len();
                    let len = len + self.hist_record(metric.has_histograms());
                    closings.add(window, len, self.history_cost(metric, window));
                }
            }
        }
    }

    /// The records and closed windows: no more records than their queue may hold, as the oldest are evicted then.
    pub(super) fn closings_cost(&self, closings: &Closings) -> u64 {
        let mut cost = closings.history.saturating_add(closings.windows);
        for window in Window::ALL {
            if closings.records[window] > 0 {
                let free = self.rules.queue_bytes[window as usize]
                    .saturating_sub(self.queues.own_bytes(window.queue()));
                let max = free.saturating_add(free / 4).saturating_add(PACKED);
                let max = max.saturating_add(closings.largest[window]);
                cost = cost.saturating_add(closings.records[window].min(max) + AHEAD);
            }
        }
        cost
    }

    /// What the record of a window has besides if it has a histogram.
    #[inline]
    pub(super) fn hist_record(&self, hist: bool) -> usize {
        match (hist, self.rules.hist_records) {
            (false, _) => 0,
            (true, false) => PERCENTILES,
            (true, true) => PERCENTILES + MAX_BYTES,
        }
    }

    /// A closed window in the history.
    fn history_cost(&self, metric: &Metric, window: Window) -> u64 {
        let percentiles = PERCENTILES as u64 * u64::from(metric.has_histograms());
        match metric.history(window).map_or(0, History::len) {
            _ if self.rules.history[window as usize] == 0 => 0,
            1..=SHORT_HISTORY => NEXT_BUCKET + percentiles,
            _ => BUCKET + percentiles,
        }
    }

    /// Any sequence number.
    pub(crate) fn sequence_bound(sequence: Sequence<'_>) -> u64 {
        SOURCE + alloc_size(sequence.source.len())
    }

    /// A sequence number. One of a new source takes the place of another where there are as many as allowed.
    pub(crate) fn sequence_cost(&self, sequence: Sequence<'_>, settings: &Settings) -> u64 {
        match self.sources.find(sequence.source) {
            Some(_) => 0,
            None if self.sources.len() >= settings.max_sources => alloc_size(sequence.source.len()),
            None => Node::sequence_bound(sequence),
        }
    }

    /// A log entry.
    pub(crate) fn log_cost(len: usize) -> u64 {
        max_cost_of(len + 32) + AHEAD
    }

    /// An imported record.
    pub(crate) fn import_cost(len: usize) -> u64 {
        IMPORTED + alloc_size(len)
    }

    /// The bytes that an imported record counts for in its queue.
    pub(crate) fn imported_bytes(len: usize) -> u64 {
        Imported::cost(len)
    }

    /// What an import adds besides its records.
    pub(crate) fn first_import_cost(&self) -> u64 {
        FIRST_IMPORTED
            + match self.queues.last_id {
                0 => NEW_NODE,
                _ => 0,
            }
    }

    /// A report of any error or object whose texts have `len` bytes.
    pub(crate) fn item_bound(len: usize) -> u64 {
        4096 + 2 * alloc_size(len)
    }

    /// A report of an error; `is_same`: it has the content that is stored.
    pub(crate) fn error_cost(&self, key: &[u8], content: usize, is_same: bool) -> u64 {
        match (self.errors.table.find(key).is_some(), is_same) {
            (true, true) => 0,
            (true, false) => alloc_size(content),
            (false, _) => {
                ELEMENT
                    + alloc_size(key.len())
                    + alloc_size(content)
                    + 3 * self.errors.element_size()
            }
        }
    }

    /// A report of an object that is new or changed.
    pub(crate) fn object_cost(&self, key: &[u8], content: usize) -> u64 {
        let known = self.objects.table.find(key).is_some();
        let new = if known {
            0
        } else {
            alloc_size(key.len()) + 3 * self.objects.element_size()
        };
        ELEMENT + alloc_size(content) + new
    }

    /// New records for all errors or objects; `closely`: only for those that may get one.
    pub(crate) fn requeue_cost(&self, queue: Queue, closely: bool) -> u64 {
        let n = match (queue, closely) {
            (Queue::Error, false) => self.errors.table.len() as usize,
            (Queue::Error, true) => self.errors_to_requeue().count(),
            (_, false) => self.objects.table.len() as usize,
            (_, true) => self.objects_to_requeue().count(),
        };
        n as u64 * REFERENCE
    }

    /// The removal of a metric.
    pub(crate) fn forget_cost(&self, name: &[u8]) -> u64 {
        match self.metrics.table.find(name) {
            Some(slot) => self.records_cost(&[slot], &Window::ALL),
            None => 0,
        }
    }

    /// Adapts a sample of an existing metric to memory pressure: it brings neither tags that would have to be stored
    /// nor histograms. Records of its own node are evicted for the windows that it closes. If then nothing is left
    /// beyond the reserve of known metrics, the histograms that the metric has get smaller.
    pub(crate) fn reduce_for_pressure<'s>(
        &mut self,
        name: &[u8],
        sample: &Sample<'s>,
        ctx: &mut WriteContext<'_>,
    ) -> Sample<'s> {
        let mut sample = *sample;
        let slot = self.metrics.table.find(name);
        let Some(metric) = slot.and_then(|slot| self.metrics.table.get(slot)) else {
            return sample;
        };
        let is_ahead = metric.is_ahead(ctx.apply.now_ms, self.rules.max_future_ms);
        let mut closings = Closings::default();
        self.add_closings(metric, sample.at, is_ahead, &mut closings);
        if sample.hist && !metric.is_hist() {
            sample.hist = false;
            ctx.count_rejected(ctx.memory.limit.rejected());
        }
        let cost = self.closings_cost(&closings);
        let fits = |tags: &[u8]| sample.tag_id.is_some() || self.metrics.tags.holds(tags);
        if sample.tags.is_some_and(|tags| !fits(tags)) {
            sample.tags = None;
            ctx.count_rejected(ctx.memory.limit.rejected());
        }
        self.free_own_memory(cost, ctx);
        if let Some(slot) = slot.filter(|_| self.spare(ctx) == 0) {
            self.halve_histograms(slot, ctx);
        }
        sample
    }

    /// Halves the resolution of the histograms of a metric, if they are large.
    fn halve_histograms(&mut self, slot: u32, ctx: &mut WriteContext<'_>) {
        let histograms = self.metrics.table.get(slot).and_then(Metric::histograms);
        if histograms.is_some_and(Histograms::are_large) {
            ctx.effects.halve_histograms(&[slot]);
            self.metrics.halve_histograms(slot);
        }
    }

    /// Halves the resolution of the histograms of metrics that a change has made larger than the reserve allows, if
    /// nothing is left beyond that. `slots` grow strictly.
    pub(super) fn limit_histograms(&mut self, slots: &[u32], ctx: &mut WriteContext<'_>) {
        let mut slots = slots.to_vec();
        loop {
            let is_too_large = |slot: &u32| {
                let metric = self.metrics.table.get(*slot);
                let histograms = metric.and_then(Metric::histograms);
                histograms.is_some_and(Histograms::are_too_large)
            };
            slots.retain(is_too_large);
            if slots.is_empty() || self.spare(ctx) > 0 {
                return;
            }
            ctx.effects.halve_histograms(&slots);
            for slot in &slots {
                self.metrics.halve_histograms(*slot);
            }
        }
    }

    /// Does the same for a metric that has taken a sample under memory pressure.
    pub(crate) fn limit_histograms_of(&mut self, name: &[u8], ctx: &mut WriteContext<'_>) {
        if let Some(slot) = self.metrics.table.find(name) {
            self.limit_histograms(&[slot], ctx);
        }
    }

    /// The records of windows that close.
    pub(super) fn records_cost(&self, slots: &[u32], windows: &[Window]) -> u64 {
        let mut closings = Closings::default();
        for slot in slots {
            let Some(metric) = self.metrics.table.get(*slot) else {
                continue;
            };
            for &window in windows {
                for (_, tags) in metric.open_with_tags(window) {
                    let len = metric.name().len() + self.metrics.tags.text(tags).len();
                    let len = len + self.hist_record(metric.has_histograms());
                    closings.add(window, len, 0);
                }
            }
        }
        self.closings_cost(&closings)
    }

    /// The bytes of MIN, HOUR and LOG that may be evicted.
    pub(super) fn queued(&self) -> u64 {
        self.queues.own_bytes(Queue::Min)
            + self.queues.own_bytes(Queue::Hour)
            + self.queues.own_bytes(Queue::Log)
    }

    /// Returns the memory that a change under pressure may still take: what the limit had to spare before, less the
    /// growth of the queues since, with what an allocator may add, or more by their shrinkage.
    fn spare(&self, ctx: &WriteContext<'_>) -> u64 {
        let (spare, queued) = (ctx.memory.spare(), self.queued());
        if queued <= ctx.queued {
            spare.saturating_add(ctx.queued - queued)
        } else {
            let grown = queued - ctx.queued;
            spare.saturating_sub(grown + grown / 4)
        }
    }

    /// Evicts the oldest records of the largest queues of this node, until `cost` bytes are available or the queues are
    /// empty.
    pub(super) fn free_own_memory(&mut self, cost: u64, ctx: &mut WriteContext<'_>) {
        let bytes = cost.saturating_sub(self.spare(ctx));
        let mut freed = 0;
        while freed < bytes {
            let queues = [Queue::Min, Queue::Hour, Queue::Log];
            let Some(queue) = queues.into_iter().max_by_key(|q| self.queues.own_bytes(*q)) else {
                return;
            };
            let before = self.queues.own_bytes(queue);
            let mut dropped = 0;
            while self.queues.own_len(queue) > 0
                && before - self.queues.own_bytes(queue) < bytes - freed
            {
                self.queues.remove_oldest(queue, 1);
                dropped += 1;
            }
            if dropped == 0 {
                return;
            }
            freed += before - self.queues.own_bytes(queue);
            ctx.effects.remove_oldest(queue, dropped);
            let (now_ms, reason) = (ctx.apply.now_ms, ctx.memory.limit.dropped());
            ctx.apply.count(|c: &mut Counters| {
                c.drop(reason, Some(queue), dropped, now_ms);
            });
        }
    }
}
