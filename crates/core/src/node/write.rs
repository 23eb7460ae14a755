//! What reports do to a node on the primary: limits are checked, the change is made, and written down as an effect.

use super::errors::{ErrorState, Occurrence};
use super::metric::{LENGTHS, Outcome, Sample};
use super::queues::{LogEntry, Queue};
use super::read::Family;
use super::realities::{Object, Report};
use super::sweep::ENDS;
use super::table::{FREE, Named};
use super::{Act, Kind, Node};
use crate::codec::json;
use crate::counters::{Counters, Dropped};
use crate::error::Refused;
use crate::text::glob::Glob;
use crate::time::{second, window_start};

/// Why a sample was refused by its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SampleRefused {
    /// The metric is of this kind, and the sample of the other.
    Kind(Kind),
    /// There are `max-series` metrics.
    Series,
}

impl SampleRefused {
    pub fn reason(self) -> Refused {
        match self {
            SampleRefused::Kind(_) => Refused::Type,
            SampleRefused::Series => Refused::Series,
        }
    }
}

/// Errors or objects that go at once where their limit was lowered: some ten microseconds.
const EVICTED: u32 = 64;

/// The most errors or objects that one AGG.REQUEUE queues, and the most work on its pattern: some tens of milliseconds.
pub(crate) const MOST_REQUEUED: usize = 20_000;
const MOST_STEPS: u64 = 12 << 20;

/// Why AGG.REQUEUE was refused: it would take too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RequeueRefused {
    /// More than [`MOST_REQUEUED`] match.
    Entries,
    /// The pattern was tried on names of too many bytes.
    Pattern,
}

/// What became of a sample that was not refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    Counted,
    Late,
}

/// What became of a report of an object that was not refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reported {
    Changed,
    Unchanged,
    /// Older than what is held.
    Older,
}

impl Node {
    /// The slots of metrics, as far as they are there, for [`Node::stat_in`].
    pub(crate) fn metric_slots<'a>(
        &self,
        names: impl Iterator<Item = &'a [u8]> + Clone,
    ) -> Vec<u32> {
        self.stats.metrics.find_all(names)
    }

    /// Takes a sample. That it counted is for the caller to propagate.
    pub(crate) fn stat(
        &mut self,
        name: &[u8],
        sample: &Sample<'_>,
        act: &mut Act<'_>,
    ) -> Result<Taken, SampleRefused> {
        self.stat_in(FREE, name, sample, act)
    }

    /// The same of a metric whose slot [`Node::metric_slots`] told, as long as no metric was forgotten meanwhile.
    pub(crate) fn stat_in(
        &mut self,
        slot: u32,
        name: &[u8],
        sample: &Sample<'_>,
        act: &mut Act<'_>,
    ) -> Result<Taken, SampleRefused> {
        let slot = Some(slot)
            .filter(|slot| *slot != FREE)
            .or_else(|| self.stats.metrics.find(name));
        if slot.is_none() && self.stats.metrics.len() >= act.settings.max_series {
            return Err(SampleRefused::Series);
        }
        let outcome = self.with_stats(&mut act.step, |stats, around| match slot {
            Some(slot) => stats.sample_at(slot, sample, around),
            None => stats.first_sample(name, sample, around),
        });
        let outcome = outcome.ok_or(SampleRefused::Kind(sample.kind.other()))?;
        match outcome {
            Outcome::Late => self
                .queues
                .count(&mut act.step, |c| c.late = c.late.saturating_add(1)),
            Outcome::LateMin => self
                .queues
                .count(&mut act.step, |c| c.late_min = c.late_min.saturating_add(1)),
            Outcome::LateHour => self.queues.count(&mut act.step, |c| {
                c.late_hour = c.late_hour.saturating_add(1)
            }),
            Outcome::Counted => {}
        }
        if outcome == Outcome::Late {
            return Ok(Taken::Late);
        }
        Ok(Taken::Counted)
    }

    /// Whether a sample of `kind` would be refused; `new`: how many metrics are to be created before it.
    pub(crate) fn refuses(
        &self,
        name: &[u8],
        kind: Kind,
        new: u32,
        max_series: u32,
    ) -> Option<SampleRefused> {
        match self.stats.metrics.find(name).map(|slot| self.kind_in(slot)) {
            Some(Some(held)) if held != kind => Some(SampleRefused::Kind(held)),
            None if self.stats.metrics.len().saturating_add(new) >= max_series => {
                Some(SampleRefused::Series)
            }
            _ => None,
        }
    }

    /// Whether there is a metric of this name.
    pub(crate) fn has_metric(&self, name: &[u8]) -> bool {
        self.stats.metrics.find(name).is_some()
    }

    /// Bytes of records that windows of this node have left since the server's start.
    pub(crate) fn closed_bytes(&self) -> u64 {
        self.queues.closed_bytes
    }

    /// Bytes of names and tags in the records of the windows that a sample of this time closes.
    pub(crate) fn closing_bytes(&self, name: &[u8], at: i64) -> u64 {
        let metrics = &self.stats.metrics;
        let Some(metric) = metrics.find(name).and_then(|slot| metrics.get(slot)) else {
            return 0;
        };
        let closes = |i: usize| {
            let start_s = window_start(second(at), self.windows_s[i]);
            let open = metric.open_with_tags(i);
            open.filter(move |(bucket, _)| bucket.start_s() < start_s)
                .map(|(_, tags)| (name.len() + self.stats.tags.text(tags).len()) as u64)
        };
        LENGTHS.into_iter().flat_map(closes).sum()
    }

    fn kind_in(&self, slot: u32) -> Option<Kind> {
        self.stats.metrics.get(slot).map(|m| m.kind)
    }

    /// Whether an error is held with the very content of this occurrence.
    pub(crate) fn holds_error(&self, o: &Occurrence<'_>) -> bool {
        self.errors.holds(o)
    }

    /// Whether an object is held as this report tells it.
    pub(crate) fn holds_object(&self, report: &Report<'_>) -> bool {
        self.realities.holds(report)
    }

    /// Whether an object is held as this report tells it, whose JSON is this text but for its spacing: then it need not be
    /// read again.
    pub(crate) fn holds_text(&self, report: &Report<'_>, text: &[u8]) -> bool {
        let slot = self.realities.table.find(report.key);
        let object = slot.and_then(|slot| self.realities.table.get(slot));
        object.is_some_and(|o| o.is_described_by(report) && json::is_spaced(text, &o.json))
    }

    /// Queues a log line: its id. `is_whole`: its text is that of the command.
    pub(crate) fn log(&mut self, entry: &LogEntry<'_>, is_whole: bool, act: &mut Act<'_>) -> u64 {
        // Whoever repeats the command gives the id behind the node's last.
        if is_whole && act.repeats() && act.step.next_id == self.queues.last_id + 1 {
            act.effects.repeat_command();
        } else {
            act.effects.log(entry);
        }
        self.queues.push_log(entry, &self.rules, &mut act.step)
    }

    /// Counts `n` texts that were cut.
    pub(crate) fn count_truncated(&mut self, n: u64, act: &mut Act<'_>) {
        if n > 0 {
            self.queues.count(&mut act.step, |c| {
                c.truncated = c.truncated.saturating_add(n)
            });
        }
    }

    /// Counts a refusal.
    pub(crate) fn count_refused(&mut self, reason: Refused, act: &mut Act<'_>) {
        self.queues.count(&mut act.step, |c| c.refuse(reason));
    }

    /// Counts an occurrence of an error: how often it occurred. Beyond `max-errors` another makes room. `is_whole`: its
    /// texts are those of the command.
    pub(crate) fn error(&mut self, o: &Occurrence<'_>, is_whole: bool, act: &mut Act<'_>) -> u64 {
        let interval = act.settings.error_interval_ms;
        let queue = match self
            .errors
            .table
            .find(o.key)
            .and_then(|slot| self.errors.table.get(slot))
        {
            Some(held) => {
                let max_future_ms = self.rules.max_future_ms;
                held.id == 0 && held.may_be_told(act.step.now_ms, interval, max_future_ms)
            }
            None => {
                self.evict_errors(act.settings.max_errors.saturating_sub(1), act);
                true
            }
        };
        if is_whole && !queue && act.repeats() {
            act.effects.repeat_command();
        } else {
            act.effects.occur(o, queue);
        }
        self.errors.occur(o, queue, &mut self.queues, &mut act.step)
    }

    /// Forgets errors until there are at most `most`, but not many at once: where the limit was lowered, the rest goes
    /// with time. Whether it does.
    pub(super) fn evict_errors(&mut self, most: u32, act: &mut Act<'_>) -> bool {
        let excess = self.errors.table.len().saturating_sub(most);
        let evicted = (0..excess.min(EVICTED)).take_while(|_| self.evict_error(act));
        evicted.count() as u32 == EVICTED && excess > EVICTED
    }

    fn evict_error(&mut self, act: &mut Act<'_>) -> bool {
        let Some(slot) = self.errors.to_evict() else {
            return false;
        };
        let waited = self.errors.table.get(slot).is_some_and(|e| e.id != 0);
        act.effects.forget_errors(&[slot]);
        self.errors.forget(slot, &mut self.queues);
        let now_ms = act.step.now_ms;
        let count =
            |c: &mut Counters| c.drop(Dropped::Errors, Some(Queue::Error), waited.into(), now_ms);
        self.queues.count(&mut act.step, count);
        true
    }

    /// Takes a report of an object. `is_same`: it is held so, as [`Node::holds_text`] said. `None`: it is new, and there are
    /// `max-realities`.
    pub(crate) fn reality(
        &mut self,
        report: &Report<'_>,
        is_same: bool,
        act: &mut Act<'_>,
    ) -> Option<Reported> {
        let slot = self.realities.table.find(report.key);
        let held = slot.and_then(|slot| Some((slot, self.realities.table.get(slot)?)));
        let is_live = held.is_some_and(|(_, object)| !object.gone);
        if let Some((slot, object)) = held {
            let clock_was_wrong =
                object.newest > act.step.now_ms.saturating_add(self.rules.max_future_ms);
            if clock_was_wrong {
                self.queues.count(&mut act.step, |c| {
                    c.clock_back = c.clock_back.saturating_add(1)
                });
            } else if report.at < object.newest {
                return Some(Reported::Older);
            }
            if is_same || object.is_same(report) {
                if act.repeats() {
                    act.effects.repeat_command();
                } else {
                    act.effects.hear(slot, report.at, report.ttl_s);
                }
                self.realities
                    .hear(slot, report.at, report.ttl_s, &act.step);
                return Some(Reported::Unchanged);
            }
        }
        if !is_live && self.is_full_of_objects(act.settings.max_realities) {
            return None;
        }
        let new_id = held.is_none_or(|(_, object)| object.needs_new_id());
        act.effects.change(report, new_id);
        self.realities
            .change(report, new_id, &mut self.queues, &mut act.step);
        Some(Reported::Changed)
    }

    /// Whether there is an error of this name.
    pub(crate) fn has_error(&self, name: &[u8]) -> bool {
        self.errors.table.find(name).is_some()
    }

    /// Whether there is an object of this name.
    pub(crate) fn has_object(&self, name: &[u8]) -> bool {
        self.realities.table.find(name).is_some()
    }

    fn is_full_of_objects(&self, most: u32) -> bool {
        self.realities.live() >= most.into()
    }

    /// Whether a report of an object of this name is refused: it is new, and there are `most` already.
    pub(crate) fn refuses_object(&self, name: &[u8], most: u32) -> bool {
        let slot = self.realities.table.find(name);
        let object = slot.and_then(|slot| self.realities.table.get(slot));
        object.is_none_or(|o| o.gone) && self.is_full_of_objects(most)
    }

    /// Ends objects (their slots grow strictly): they are gone, and queued as such. Beyond `max-realities` of those the
    /// oldest are dropped, as many as were ended and somewhat more; the rest of what is beyond a lowered limit goes with
    /// time. Whether it does.
    pub(super) fn end_objects(&mut self, slots: &[u32], act: &mut Act<'_>) -> bool {
        for needs_new_id in [false, true] {
            let needs = |slot: &u32| {
                self.realities
                    .table
                    .get(*slot)
                    .is_some_and(|o| o.needs_new_id())
            };
            let some: Vec<u32> = slots
                .iter()
                .copied()
                .filter(|s| needs(s) == needs_new_id)
                .collect();
            act.effects.end(needs_new_id, &some);
            for slot in some {
                self.realities
                    .end(slot, needs_new_id, &mut self.queues, &mut act.step);
            }
        }
        let most = slots.len() as u64 + u64::from(EVICTED);
        let gone = self.realities.gone();
        let excess = gone.saturating_sub(act.settings.max_realities.into());
        for _ in 0..excess.min(most) {
            let Some(id) = self.realities.oldest_gone() else {
                return false;
            };
            act.effects.remove(Queue::Reality, &[id]);
            self.take_out(Queue::Reality, id, None);
            let now_ms = act.step.now_ms;
            let count = |c: &mut Counters| c.drop(Dropped::Gone, Some(Queue::Reality), 1, now_ms);
            self.queues.count(&mut act.step, count);
        }
        excess > most
    }

    /// Forgets what has this name; false if there is none.
    pub(crate) fn forget(&mut self, family: Family, name: &[u8], act: &mut Act<'_>) -> bool {
        match family {
            Family::Metric => {
                let Some(slot) = self.stats.metrics.find(name) else {
                    return false;
                };
                self.forget_metrics(&[slot], act);
            }
            Family::Error => {
                let Some(slot) = self.errors.table.find(name) else {
                    return false;
                };
                act.effects.forget_errors(&[slot]);
                self.errors.forget(slot, &mut self.queues);
            }
            Family::Reality => {
                let Some(slot) = self.realities.table.find(name) else {
                    return false;
                };
                if self.realities.table.get(slot).is_none_or(|o| o.gone) {
                    return false;
                }
                self.end_objects(&[slot], act);
            }
        }
        true
    }

    pub(super) fn forget_metrics(&mut self, slots: &[u32], act: &mut Act<'_>) {
        if act.is_tight {
            let cost = self.records_cost(slots, &LENGTHS);
            self.make_own_room(cost, act);
        }
        act.effects.forget_metrics(slots);
        self.with_stats(&mut act.step, |stats, around| stats.forget(slots, around));
        self.trim_forgotten(act);
    }

    /// Gives up the first forgotten metrics beyond `max-series`, some at a time; whether there are more.
    pub(super) fn trim_forgotten(&mut self, act: &mut Act<'_>) -> bool {
        let len = self.stats.forgotten.table.len();
        let excess = len.saturating_sub(act.settings.max_series) as usize;
        if excess == 0 {
            return false;
        }
        let slots = self.stats.forgotten.oldest(excess.min(2 * ENDS));
        act.effects.drop_forgotten(&slots);
        self.stats.drop_forgotten(&slots);
        self.queues.count(&mut act.step, |c| {
            c.forgotten_dropped = c.forgotten_dropped.saturating_add(slots.len() as u64);
        });
        excess > slots.len()
    }

    /// Errors that a requeue gives a new entry: all but those that wait and were never handed out.
    pub(super) fn errors_to_requeue(&self) -> impl Iterator<Item = (u32, &ErrorState)> {
        let table = self.errors.table.iter();
        table.filter(|(_, e)| e.id == 0 || e.handed)
    }

    /// The same of objects.
    pub(super) fn objects_to_requeue(&self) -> impl Iterator<Item = (u32, &Object)> {
        let table = self.realities.table.iter();
        table.filter(|(_, o)| o.needs_new_id())
    }

    /// Gives all errors or objects that match a new entry, but for what waits and was never handed out: how many.
    pub(crate) fn requeue(
        &mut self,
        queue: Queue,
        pattern: Option<&Glob>,
        act: &mut Act<'_>,
    ) -> Result<u64, RequeueRefused> {
        let mut steps = 0;
        let mut matches =
            |name: &[u8]| steps < MOST_STEPS && pattern.is_none_or(|p| p.matches(name, &mut steps));
        let slots: Vec<u32> = match queue {
            Queue::Error => self
                .errors_to_requeue()
                .filter(|(_, e)| matches(e.name()))
                .map(|(slot, _)| slot)
                .take(MOST_REQUEUED + 1)
                .collect(),
            _ => self
                .objects_to_requeue()
                .filter(|(_, o)| matches(o.name()))
                .map(|(slot, _)| slot)
                .take(MOST_REQUEUED + 1)
                .collect(),
        };
        if slots.len() > MOST_REQUEUED {
            return Err(RequeueRefused::Entries);
        }
        if steps >= MOST_STEPS {
            return Err(RequeueRefused::Pattern);
        }
        act.effects.requeue(queue, &slots);
        self.requeue_slots(queue, slots.iter().copied(), &mut act.step);
        Ok(slots.len() as u64)
    }
}
