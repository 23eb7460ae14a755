//! What a change may cost: the most bytes that it makes a node hold, as the ceiling wants to know before it happens.
//!
//! Upper bounds, from the sizes of the structures with what an allocator may add. A quick bound looks at no metric; the
//! close one, asked near the ceiling, looks at each.

use super::fifo::{AHEAD, most_for};
use super::metric::{LENGTHS, Metric, Sample};
use super::queues::Queue;
use super::table::Named;
use super::windows::Older;
use super::{Act, Node};
use crate::counters::{Counters, Dropped};
use crate::error::Refused;
use crate::settings::LEAST_OPEN;
use crate::time::{second, window_start};

/// A new metric: itself, its place in a growing block and in the index.
const METRIC: u64 = 5 * size_of::<Metric>() as u64 + 256;

/// What a metric that is there may come to hold without being asked: what lies beside it, second windows of both lengths,
/// and their deadlines. The ceiling keeps it free for each.
pub const METRIC_RESERVE: u64 = 480;

/// What a node may come to hold beside that: the first records of its two queues, and buffers.
pub const NODE_RESERVE: u64 = 2048;

/// An open window, with its place in a metric's list and its deadline.
const WINDOW: u64 = 2 * size_of::<Older>() as u64 + 64;

/// A closed bucket in a metric's history, the first of all.
const BUCKET: u64 = 320;

/// An entry of the lists, maps and trees that errors, objects and leases are in, with the entry itself.
const ENTRY: u64 = 512;

/// What a lease costs.
pub(super) const LEASE: u64 = 160;

/// What a reference in a queue costs, with its effect.
const REFERENCE: u64 = 160;

/// Text as it is held: rounded up to an allocator's size class.
fn held(len: usize) -> u64 {
    (len + len / 4 + 32) as u64
}

/// The record of a window of a metric whose name and tags have `len` bytes.
fn record(len: usize) -> u64 {
    most_for(len + 128)
}

impl Node {
    /// Windows that may close: of as many samples or metrics, all that may be open.
    pub(crate) fn closing_bound(&self, samples: usize) -> u64 {
        let open: usize = LENGTHS.map(|i| self.most_open(i)).into_iter().sum();
        let each = self.windows_cost() + open as u64 * (record(self.stats.longest) + BUCKET);
        (samples as u64).saturating_mul(each) + 2 * AHEAD
    }

    fn most_open(&self, i: usize) -> usize {
        self.rules.open_windows(self.windows_s[i])
    }

    /// What windows beyond the second of each length may cost a metric: the reserve covers two.
    fn windows_cost(&self) -> u64 {
        let more: usize = LENGTHS
            .map(|i| self.most_open(i) - LEAST_OPEN)
            .into_iter()
            .sum();
        more as u64 * WINDOW
    }

    /// A slice of a sweep that looks at up to `budget` metrics.
    pub fn sweep_bound(&self, budget: usize) -> u64 {
        self.closing_bound(budget)
    }

    /// A sample of any metric.
    pub(crate) fn sample_bound(name: usize, tags: usize) -> u64 {
        METRIC + 2 * held(name) + held(tags)
    }

    /// What this sample may cost here.
    pub(crate) fn sample_cost(&self, name: &[u8], sample: &Sample<'_>, max_series: u32) -> u64 {
        let tags = match sample.tags {
            Some(tags) if !self.stats.tags.holds(tags) => held(tags.len()) + 64,
            _ => 0,
        };
        let slot = self.stats.metrics.find(name);
        match slot.and_then(|slot| self.stats.metrics.get(slot)) {
            Some(metric) if metric.kind != sample.kind => 0,
            Some(metric) => tags + self.windows_cost() + self.closing_cost(metric, sample.at),
            None if self.stats.metrics.len() >= max_series => 0,
            None => METRIC + METRIC_RESERVE + self.windows_cost() + held(name.len()) + tags,
        }
    }

    /// The records and buckets of the windows that a sample of this time may close.
    fn closing_cost(&self, metric: &Metric, at: i64) -> u64 {
        let mut cost = 0;
        for i in LENGTHS {
            let start_s = window_start(second(at), self.windows_s[i]);
            let others = metric
                .open_with_tags(i)
                .filter(|(b, _)| b.start_s() != start_s);
            for (_, tags) in others {
                let len = metric.name().len() + self.stats.tags.text(tags).len();
                cost += record(len) + self.bucket_cost(i) + AHEAD;
            }
        }
        cost
    }

    /// A closed bucket in the history.
    fn bucket_cost(&self, i: usize) -> u64 {
        if self.rules.history[i] == 0 {
            0
        } else {
            BUCKET
        }
    }

    /// A log line.
    pub(crate) fn log_cost(len: usize) -> u64 {
        most_for(len + 32) + AHEAD
    }

    /// A report of any error or object whose texts have `len` bytes.
    pub(crate) fn thing_bound(len: usize) -> u64 {
        4096 + 2 * held(len)
    }

    /// A report of an error; `is_same`: of one that is held with this very content.
    pub(crate) fn error_cost(&self, key: &[u8], content: usize, is_same: bool) -> u64 {
        match (self.errors.table.find(key).is_some(), is_same) {
            (true, true) => 0,
            (true, false) => held(content),
            (false, _) => ENTRY + held(key.len()) + held(content) + 3 * self.errors.entry_size(),
        }
    }

    /// A report of an object that is new or changed.
    pub(crate) fn object_cost(&self, key: &[u8], content: usize) -> u64 {
        let known = self.realities.table.find(key).is_some();
        let new = if known {
            0
        } else {
            held(key.len()) + 3 * self.realities.entry_size()
        };
        ENTRY + held(content) + new
    }

    /// New entries for all errors or objects.
    pub(crate) fn requeue_cost(&self, queue: Queue) -> u64 {
        let len = match queue {
            Queue::Error => self.errors.table.len(),
            _ => self.realities.table.len(),
        };
        u64::from(len) * REFERENCE
    }

    /// Where memory is tight: a sample of a metric that is there counts, but brings no tags that would have to be kept,
    /// and what it closes makes room in its own node first.
    pub(crate) fn tighten<'s>(
        &mut self,
        name: &[u8],
        sample: &Sample<'s>,
        act: &mut Act<'_>,
    ) -> Sample<'s> {
        let mut sample = *sample;
        let slot = self.stats.metrics.find(name);
        let Some(metric) = slot.and_then(|slot| self.stats.metrics.get(slot)) else {
            return sample;
        };
        let cost = self.closing_cost(metric, sample.at);
        let fits = |tags: &[u8]| sample.tag_id.is_some() || self.stats.tags.holds(tags);
        if sample.tags.is_some_and(|tags| !fits(tags)) {
            sample.tags = None;
            self.count_refused(Refused::Memory, act);
        }
        self.make_own_room(cost, act);
        sample
    }

    /// The records of windows that close.
    pub(super) fn records_cost(&self, i: usize, slots: &[u32]) -> u64 {
        let metrics = slots
            .iter()
            .filter_map(|slot| self.stats.metrics.get(*slot));
        metrics
            .flat_map(|m| m.open_with_tags(i).map(move |(_, tags)| (m, tags)))
            .map(|(m, tags)| record(m.name().len() + self.stats.tags.text(tags).len()))
            .sum()
    }

    /// Drops the oldest entries of this node's largest queues for as many bytes, as far as there are some.
    pub(super) fn make_own_room(&mut self, bytes: u64, act: &mut Act<'_>) {
        let mut freed = 0;
        while freed < bytes {
            let queues = [Queue::Min, Queue::Hour, Queue::Log];
            let Some(queue) = queues.into_iter().max_by_key(|q| self.queues.bytes(*q)) else {
                return;
            };
            let before = self.queues.bytes(queue);
            let mut dropped = 0;
            while self.queues.len(queue) > 0 && before - self.queues.bytes(queue) < bytes - freed {
                self.queues.remove_oldest(queue, 1);
                dropped += 1;
            }
            if dropped == 0 {
                return;
            }
            freed += before - self.queues.bytes(queue);
            act.effects.remove_oldest(queue, dropped);
            let now_ms = act.step.now_ms;
            self.queues.count(&mut act.step, |c: &mut Counters| {
                c.drop(Dropped::Memory, Some(queue), dropped, now_ms);
            });
        }
    }
}
