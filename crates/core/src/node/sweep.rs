//! What the passing of time brings about: windows close, leases and lifetimes end, errors are queued again.
//!
//! A sweep does a bounded amount of work and says whether there is more. Windows past their end are found by a pass
//! over the metrics that begins when the first of them is past it; those whose metric was not quiet are looked at again
//! when it may be. Lifetimes are long, so a hand goes round over all things, some at each sweep.

use super::errors::Errors;
use super::forgotten::{Forgotten, ForgottenMetrics};
use super::metric::LENGTHS;
use super::queues::{AT_ONCE, Queue};
use super::realities::Realities;
use super::{Act, Node};
use crate::turn::Turn;

/// What one slice of a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// There is more to do at once: call again with `first` unset.
    pub more: bool,
    /// Of what the first slice does there is more, for a next tick.
    pub soon: bool,
    /// Something became available in a queue: wake who waits for it.
    pub ready: bool,
}

/// How much of a table the hand passes at one sweep: all of it within some 20 sweeps, but not too much at once.
fn share(len: u32) -> u32 {
    (len / 20).clamp(16, 4096)
}

/// Things that end at one sweep: then the hand stops, and goes on at the next. To look at one is cheap; to end one takes
/// a microsecond or so.
pub(super) const ENDS: usize = 64;

/// Closed windows of a metric that one slice drops where a limit was lowered: to read them takes half a microsecond.
const TRIM_AT_ONCE: u8 = 16;

impl Node {
    /// Does what is due, at most about `budget` things. `first`: also looks at lifetimes, as a first slice does from time to
    /// time.
    pub fn sweep(&mut self, budget: usize, first: bool, turn: &mut Turn<'_>) -> Swept {
        if self.unfinished {
            return Swept::default();
        }
        self.act(turn, |node, act| {
            let (mut more, mut soon) = (node.end_leases(budget, act), false);
            for i in LENGTHS {
                more |= node.find_due(i, budget, act);
                more |= node.look_again(i, budget, act);
            }
            more |= node.trim_histories(budget, act);
            if first {
                soon |= node.end_metrics(act);
                soon |= node.sweep_forgotten(act);
                soon |= node.sweep_errors(act);
                soon |= node.sweep_realities(act);
                soon |= node.trim_queues(act);
            }
            Swept {
                more,
                soon,
                ready: node.take_ready(),
            }
        })
    }

    fn end_leases(&mut self, budget: usize, act: &mut Act<'_>) -> bool {
        let mut most = 0;
        for queue in Queue::ALL {
            most = most.max(self.queues.end_leases(queue, act.now.mono_ms, budget));
        }
        most == budget
    }

    /// Goes on with the pass over the metrics that closes windows past their end.
    fn find_due(&mut self, i: usize, budget: usize, act: &mut Act<'_>) -> bool {
        let length = i64::from(self.windows_s[i]) * 1000;
        let passed = act.step.now_ms.saturating_sub(self.rules.flush_delay_ms);
        let stats = &mut self.stats;
        let Some(start) = stats.deadlines[i].scan.or_else(|| {
            stats.deadlines[i]
                .waits_before(passed - length)
                .then_some(0)
        }) else {
            return false;
        };
        let end = start
            .saturating_add(u32::try_from(budget).unwrap_or(u32::MAX))
            .min(stats.metrics.len());
        let (mut older, mut all) = (Vec::new(), Vec::new());
        for slot in start..end {
            let Some(metric) = stats.metrics.get(slot) else {
                continue;
            };
            let quiet_at = stats
                .quiet_from(metric)
                .saturating_add(self.rules.flush_delay_ms as u64);
            let older_is_due = metric.older_is_due(i, length, passed);
            if metric.newest_is_due(i, length, passed) {
                if quiet_at <= act.now.mono_ms || metric.has_later_sample(i, length) {
                    all.push(slot);
                    continue;
                }
                if let Some(metric) = stats.metrics.get_mut(slot)
                    && let Some(bucket) = metric.newest_mut(i)
                    && !bucket.lingers()
                {
                    stats.deadlines[i].linger(bucket, false, slot, quiet_at);
                }
            }
            if older_is_due {
                older.push(slot);
            }
        }
        stats.deadlines[i].scan = (end < stats.metrics.len()).then_some(end);
        let more = stats.deadlines[i].scan.is_some();
        self.close(i, false, &older, act);
        self.close(i, true, &all, act);
        more
    }

    /// Looks again at windows past their end whose metric may be quiet by now.
    fn look_again(&mut self, i: usize, budget: usize, act: &mut Act<'_>) -> bool {
        let length = i64::from(self.windows_s[i]) * 1000;
        let passed = act.step.now_ms.saturating_sub(self.rules.flush_delay_ms);
        let mut quiet = Vec::new();
        let mut looked = 0;
        while looked < budget
            && let Some(slot) = self.stats.deadlines[i].take_linger(act.now.mono_ms)
        {
            looked += 1;
            let stats = &mut self.stats;
            let Some(metric) = stats.metrics.get_mut(slot) else {
                continue;
            };
            let quiet_at = metric
                .heard()
                .max(stats.quiet_since)
                .saturating_add(self.rules.flush_delay_ms as u64);
            let is_quiet = metric.has_later_sample(i, length) || quiet_at <= act.now.mono_ms;
            if metric.newest_is_due(i, length, passed) && is_quiet {
                quiet.push(slot);
                continue;
            }
            // In the older window only where the clock was set back meanwhile.
            let deadlines = &mut stats.deadlines[i];
            for bucket in metric.open_mut(i) {
                if deadlines.is_lingering(bucket, slot, act.now.mono_ms) {
                    deadlines.linger(bucket, false, slot, quiet_at.max(act.now.mono_ms + 100));
                }
            }
        }
        quiet.sort_unstable();
        quiet.dedup();
        self.close(i, true, &quiet, act);
        looked == budget
    }

    /// Goes on with the pass over the metrics that drops closed windows beyond a lowered limit, some of each metric at a
    /// time; whether there is more.
    fn trim_histories(&mut self, budget: usize, act: &mut Act<'_>) -> bool {
        let Some(left) = self.stats.untrimmed else {
            return false;
        };
        let stats = &mut self.stats;
        // Downwards, as a hand goes.
        let end = left.min(stats.metrics.len());
        let start = end.saturating_sub(u32::try_from(budget).unwrap_or(u32::MAX));
        let mut is_left = false;
        for i in LENGTHS {
            let most = self.rules.history[i];
            let mut slots = Vec::new();
            for slot in start..end {
                let history = stats.metrics.get(slot).and_then(|m| m.history(i));
                let beyond = history.map_or(0, |h| h.len().saturating_sub(most));
                if beyond > 0 {
                    slots.push(slot);
                    is_left |= beyond > u32::from(TRIM_AT_ONCE);
                }
            }
            act.effects.trim_history(i, TRIM_AT_ONCE, &slots);
            stats.trim_history(i, most, TRIM_AT_ONCE, slots.into_iter());
        }
        let left = if is_left { end } else { start };
        stats.untrimmed = (left > 0).then_some(left);
        stats.untrimmed.is_some()
    }

    fn close(&mut self, i: usize, newest: bool, slots: &[u32], act: &mut Act<'_>) {
        if act.is_tight {
            let cost = self.records_cost(slots, &[i]);
            self.make_own_room(cost, act);
        }
        act.effects.close(i, newest, slots);
        self.with_stats(&mut act.step, |stats, around| {
            stats.close_due(i, newest, slots.iter().copied(), around);
        });
    }

    /// Forgets metrics that were quiet for too long, and closes the windows of those whose clock was wrong. Whether the
    /// hand stopped on the way, here and below.
    fn end_metrics(&mut self, act: &mut Act<'_>) -> bool {
        let ttl_s = act.settings.series_ttl_s;
        let (mut ended, mut ahead) = (Vec::new(), Vec::new());
        let mut hand = Hand::new(&mut self.stats.hand, self.stats.metrics.len());
        while let Some(slot) = hand.next(ended.len() + ahead.len()) {
            let Some(metric) = self.stats.metrics.get(slot) else {
                continue;
            };
            let quiet_from = metric.heard().max(self.stats.quiet_since);
            if ttl_s != 0
                && quiet_from.saturating_add(ttl_s.saturating_mul(1000)) <= act.now.mono_ms
            {
                ended.push(slot);
            } else if metric.is_ahead(act.step.now_ms, self.rules.max_future_ms) {
                ahead.push(slot);
            }
        }
        // They are told from the first on.
        ended.reverse();
        ahead.reverse();
        let stopped = hand.stopped;
        act.effects.give_up_time(&ahead);
        self.with_stats(&mut act.step, |stats, around| {
            stats.give_up_time(ahead.iter().copied(), around)
        });
        self.forget_metrics(&ended, act);
        stopped
    }

    /// Gives up what is remembered of forgotten metrics where it is of no use any more.
    fn sweep_forgotten(&mut self, act: &mut Act<'_>) -> bool {
        let ForgottenMetrics { hand, table, .. } = &mut self.stats.forgotten;
        let mut ended = Vec::new();
        let mut hand = Hand::new(hand, table.len());
        while let Some(slot) = hand.next(ended.len()) {
            let holds = |f: &Forgotten| f.holds(act.step.now_ms, self.rules.max_future_ms);
            if table.get(slot).is_some_and(|forgotten| !holds(forgotten)) {
                ended.push(slot);
            }
        }
        ended.reverse();
        let stopped = hand.stopped;
        act.effects.drop_forgotten(&ended);
        self.stats.drop_forgotten(&ended);
        self.trim_forgotten(act) || stopped
    }

    fn sweep_errors(&mut self, act: &mut Act<'_>) -> bool {
        let ttl_ms = act.settings.error_ttl_s.saturating_mul(1000);
        let (mut ended, mut due) = (Vec::new(), Vec::new());
        let Errors { hand, table, .. } = &mut self.errors;
        let mut hand = Hand::new(hand, table.len());
        while let Some(slot) = hand.next(ended.len() + due.len()) {
            let Some(e) = table.get(slot) else { continue };
            let interval = act.settings.error_interval_ms;
            if e.is_due(act.step.now_ms, interval, self.rules.max_future_ms) {
                due.push(slot);
            } else if ttl_ms != 0
                && e.id == 0
                // Where the lifetime is shorter than the interval, its last occurrences are delivered first.
                && !e.has_grown()
                && e.heard.saturating_add(ttl_ms) <= act.now.mono_ms
            {
                ended.push(slot);
            }
        }
        ended.reverse();
        due.reverse();
        let stopped = hand.stopped;
        act.effects.requeue(Queue::Error, &due);
        self.requeue_slots(Queue::Error, due.into_iter(), &mut act.step);
        act.effects.forget_errors(&ended);
        self.forget_errors(&ended);
        let more = self.evict_errors(act.settings.max_errors, act);
        stopped || more
    }

    fn sweep_realities(&mut self, act: &mut Act<'_>) -> bool {
        let mut ended = Vec::new();
        let Realities { hand, table, .. } = &mut self.realities;
        let mut hand = Hand::new(hand, table.len());
        while let Some(slot) = hand.next(ended.len()) {
            let object = table.get(slot);
            if object.is_some_and(|o| o.has_ended(act.now.mono_ms, act.settings.reality_ttl_s)) {
                ended.push(slot);
            }
        }
        ended.reverse();
        let stopped = hand.stopped;
        let more = self.end_objects(&ended, act);
        stopped || more
    }

    /// Drops some of what a queue holds beyond a limit that was lowered; what comes in makes no more room than it needs.
    fn trim_queues(&mut self, act: &mut Act<'_>) -> bool {
        let mut more = false;
        for (queue, most) in [Queue::Min, Queue::Hour, Queue::Log]
            .into_iter()
            .zip(self.rules.queue_bytes)
        {
            let dropped = self.queues.drop_above(queue, most, AT_ONCE, &mut act.step);
            act.effects.remove_oldest(queue, dropped);
            more |= dropped == AT_ONCE;
        }
        more
    }
}

/// A hand that goes down a table, begins anew at its end, and stops where enough has been found. Down, as the last thing
/// moves into the slot of one that is taken out: so it is one that was passed already. (Upwards, the half of 10,000
/// metrics that ended together was missed by every round.)
struct Hand<'a> {
    /// The slots that are not passed yet.
    left: &'a mut u32,
    end: u32,
    stopped: bool,
}

impl<'a> Hand<'a> {
    /// It passes its share of a table of `len` things.
    fn new(left: &'a mut u32, len: u32) -> Hand<'a> {
        if *left == 0 || *left > len {
            *left = len;
        }
        let end = left.saturating_sub(share(len));
        Hand {
            left,
            end,
            stopped: false,
        }
    }

    /// The next slot, unless as many as `found` are enough.
    fn next(&mut self, found: usize) -> Option<u32> {
        self.stopped = found >= ENDS;
        if self.stopped || *self.left <= self.end {
            return None;
        }
        *self.left -= 1;
        Some(*self.left)
    }
}
