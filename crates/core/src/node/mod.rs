//! One node of the grid: everything that the key holds, and all rules.
//!
//! A change is made in one of two ways that run the same code: on the primary by a [`Turn`], which also checks limits
//! and writes down what was decided as effects (`write.rs`, `drain.rs`, `sweep.rs`); on a replica by those effects
//! ([`Node::apply`]). What only the primary knows (leases, what was handed out, quiet times, counts) is no part of the
//! value: no effect, saved node or digest holds it.

mod bucket;
mod cost;
mod drain;
mod errors;
mod fifo;
mod forgotten;
mod frames;
mod history;
mod index;
mod leases;
mod metric;
mod name;
mod queues;
mod read;
mod realities;
mod render;
mod series;
mod stats;
mod sweep;
mod table;
mod tags;
mod windows;
mod write;

pub use bucket::Kind;
pub use cost::{METRIC_RESERVE, NODE_RESERVE};
pub use frames::Loader;
pub use queues::Queue;
pub use render::Format;
pub use sweep::Swept;
pub(crate) use write::{MOST_REQUEUED, Reported, RequeueRefused, SampleRefused, Taken};

/// What requests and effects carry into a node.
pub(crate) mod parts {
    pub(crate) use super::bucket::Kind;
    pub(crate) use super::cost::LEASE;
    pub(crate) use super::drain::Take;
    pub(crate) use super::errors::{Occurrence, Told};
    pub(crate) use super::metric::Sample;
    pub(crate) use super::queues::{LogEntry, Queue};
    pub(crate) use super::read::{Family, Scan};
    pub(crate) use super::realities::Report;
    pub(crate) use super::tags::TagId;
}

use crate::effect::{Change, Effects, Payload, are_effects};
use crate::settings::{Rules, Settings};
use crate::turn::{MAX_DRAG_US, MAX_ID, Memory, MemoryLimit, Step, Turn};
use crate::{Counters, Damaged, Now};
use errors::{Errors, Occurrence};
use metric::Sample;
use queues::{LogEntry, Queues};
use realities::{Realities, Report};
use stats::{Around, Stats};
use table::NameHasher;
use tags::{SharedTags, TagId};

/// See the module's header.
pub struct Node {
    windows_s: [u32; 2],
    rules: Rules,
    /// The rules are those that replicas hold, too.
    announced: bool,
    /// The primary's clock at the last payload, Unix milliseconds: what a command means that is repeated as it came.
    clock_ms: i64,
    /// The last payload was one of version 1: commands behind it mean what they meant then.
    is_version_1: bool,
    /// It is being put together from the frames of a saved node, and is not yet whole.
    unfinished: bool,
    /// Of a saved node that is being read: it was saved so.
    saved_unfinished: bool,
    stats: Stats,
    queues: Queues,
    errors: Errors,
    realities: Realities,
}

/// What a node holds now, to be summed over the server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gauges {
    /// Metrics.
    pub metrics: u64,
    /// Forgotten metrics, of which it is remembered up to where they were delivered.
    pub forgotten: u64,
    /// Errors.
    pub errors: u64,
    /// Objects that are not gone.
    pub realities: u64,
    /// Entries by queue.
    pub length: [u64; 5],
    /// Bytes by queue.
    pub bytes: [u64; 5],
    /// Leased entries by queue.
    pub leased: [u64; 5],
}

/// A turn as the node's own code sees it.
pub(crate) struct Act<'a> {
    pub step: Step<'a>,
    pub effects: &'a mut Effects,
    pub settings: &'a Settings,
    pub now: Now,
    pub is_tight: bool,
    pub memory: Memory,
    /// What MIN, HOUR and LOG counted for before the change, bytes.
    queued: u64,
    /// Replicas hold the node's rules and its clock, and the command may go to them as it came.
    can_repeat: bool,
    first_id: u64,
}

impl Act<'_> {
    /// Whether the command as it came says all that was decided so far.
    pub fn repeats(&self) -> bool {
        self.can_repeat && self.step.next_id == self.first_id && self.effects.is_empty()
    }
}

impl Node {
    /// A new node with the settings' window lengths. `seed` scatters this process's hash tables; nothing visible
    /// depends on it.
    pub fn new(settings: &Settings, seed: u64) -> Node {
        Node::with(
            [settings.min_window_s, settings.hour_window_s],
            settings.rules.clone(),
            seed,
        )
    }

    fn with(windows_s: [u32; 2], rules: Rules, seed: u64) -> Node {
        Node {
            windows_s,
            rules,
            announced: false,
            clock_ms: 0,
            is_version_1: false,
            unfinished: false,
            saved_unfinished: false,
            stats: Stats::new(seed),
            queues: Queues::default(),
            errors: Errors::new(seed),
            realities: Realities::new(seed),
        }
    }

    /// A node from the first payload of AGG.APPLY that arrives for a key that does not exist, and the largest id in
    /// it.
    ///
    /// # Errors
    /// The payload is damaged, or does not begin a node.
    pub fn create(
        blob: &[u8],
        seed: u64,
        mono_ms: u64,
        max_id: u64,
        counters: &mut Counters,
    ) -> Result<(Node, u64), Damaged> {
        let mut node = if are_effects(blob)? {
            match Payload::open(blob)?.next()? {
                Some(Change::Adopt { windows_s, rules }) => Node::with(windows_s, rules, seed),
                _ => return Err(Damaged("these effects belong to a node that exists")),
            }
        } else {
            frames::first(blob, seed, max_id)?
        };
        let last_id = node.apply_from(blob, mono_ms, max_id, counters, true)?;
        Ok((node, last_id))
    }

    /// Applies a payload of AGG.APPLY: effects, or a frame of [`Node::frames`]. Returns the largest queue id that this
    /// node has given or taken. A larger id than `max_id` is damage.
    ///
    /// # Errors
    /// The payload is damaged; nothing was changed.
    pub fn apply(
        &mut self,
        blob: &[u8],
        mono_ms: u64,
        max_id: u64,
        counters: &mut Counters,
    ) -> Result<u64, Damaged> {
        self.apply_from(blob, mono_ms, max_id, counters, false)
    }

    fn apply_from(
        &mut self,
        blob: &[u8],
        mono: u64,
        max_id: u64,
        counters: &mut Counters,
        new: bool,
    ) -> Result<u64, Damaged> {
        if !are_effects(blob)? {
            frames::apply(self, blob, mono, max_id, new)?;
            return Ok(self.queues.last_id);
        }
        if self.unfinished {
            return Err(Damaged("effects, and the node is not yet whole"));
        }
        let mut payload = Payload::open(blob)?;
        let work = payload.check()?;
        if payload.first_id > max_id {
            return Err(Damaged("an id is too far ahead of the clock"));
        }
        // What a primary sent or a file holds was bounded where it was decided; what somebody hands in is here.
        if max_id < MAX_ID && work.is_too_much_for(blob.len()) {
            return Err(Damaged("more work than a payload of its size may bring"));
        }
        let next_id = payload.first_id.max(self.queues.last_id + 1);
        let mut step = Step {
            now_ms: payload.now_ms,
            mono_ms: mono,
            next_id,
            keeps_history: true,
            is_version_1: payload.version == 1,
            counters,
        };
        (self.clock_ms, self.is_version_1) = (payload.now_ms, step.is_version_1);
        let mut shared = SharedTags::default();
        while let Some(mut change) = payload.next()? {
            if let Change::Sample { sample, .. } = &mut change {
                sample.tag_id = shared.id_of(sample.tags, &mut self.stats.tags);
            }
            self.repeat(change, &mut step);
        }
        shared.release(&mut self.stats.tags);
        Ok(self.queues.last_id)
    }

    /// It is being put together by AGG.APPLY, and takes nothing else until it is whole.
    pub fn is_unfinished(&self) -> bool {
        self.unfinished
    }

    /// The primary's clock at the last payload, Unix milliseconds.
    pub fn clock_ms(&self) -> i64 {
        self.clock_ms
    }

    /// A reference to a list of tags for as long as a command runs; [`Node::release_tags`] gives it back.
    pub(crate) fn hold_tags(&mut self, tags: &[u8]) -> TagId {
        self.stats.tags.acquire(tags)
    }

    /// Whether a reference to a list of tags costs nothing.
    pub(crate) fn holds_tags(&self, tags: &[u8]) -> bool {
        self.stats.tags.holds(tags)
    }

    /// Hashes names for a set of them that a command needs.
    pub(crate) fn name_hasher(&self) -> NameHasher {
        self.stats.metrics.hasher()
    }

    /// Gives back what [`Node::hold_tags`] gave.
    pub(crate) fn release_tags(&mut self, id: TagId) {
        self.stats.tags.release(id);
    }

    fn told_step<'a>(&self, mono_ms: u64, counters: &'a mut Counters) -> Step<'a> {
        Step {
            now_ms: self.clock_ms,
            mono_ms,
            next_id: self.queues.last_id + 1,
            keeps_history: true,
            is_version_1: self.is_version_1,
            counters,
        }
    }

    /// Takes a line that another server has queued under the id behind the node's last, at the clock of the last payload.
    pub(crate) fn repeat_line(&mut self, line: &LogEntry<'_>, mono: u64, counters: &mut Counters) {
        let mut step = self.told_step(mono, counters);
        self.queues.push_log(line, &self.rules, &mut step);
    }

    /// Takes an occurrence of an error that is known and was not queued anew by another server, at the clock of the last
    /// payload.
    pub(crate) fn repeat_error(&mut self, o: &Occurrence<'_>, mono: u64, counters: &mut Counters) {
        let mut step = self.told_step(mono, counters);
        self.errors.occur(o, false, &mut self.queues, &mut step);
    }

    /// Takes a report of an object that another server found unchanged, at the clock of the last payload.
    pub(crate) fn repeat_object(&mut self, r: &Report<'_>, mono: u64, counters: &mut Counters) {
        let step = self.told_step(mono, counters);
        if let Some(slot) = self.realities.table.find(r.key) {
            self.realities.hear(slot, r.at, r.ttl_s, &step);
        }
    }

    /// Takes a sample that another server has taken, at the clock of the last payload.
    pub(crate) fn repeat_sample(
        &mut self,
        name: &[u8],
        sample: &Sample<'_>,
        mono_ms: u64,
        counters: &mut Counters,
    ) {
        let mut step = self.told_step(mono_ms, counters);
        self.with_stats(&mut step, |stats, around| {
            stats.sample(name, sample, around)
        });
    }

    fn repeat(&mut self, change: Change<'_>, step: &mut Step<'_>) {
        match change {
            Change::Adopt { rules, .. } => self.rules = rules,
            Change::NoHistory => step.keeps_history = false,
            Change::Sample { name, sample } => {
                self.with_stats(step, |stats, around| stats.sample(name, &sample, around));
            }
            Change::Log(entry) => {
                self.queues.push_log(&entry, &self.rules, step);
            }
            Change::Occur { occurrence, queue } => {
                self.errors
                    .occur(&occurrence, queue, &mut self.queues, step);
            }
            Change::Reality { report, new_id } => {
                self.realities
                    .change(&report, new_id, &mut self.queues, step)
            }
            Change::Hear { slot, at, ttl_s } => self.realities.hear(slot, at, ttl_s, step),
            Change::Close {
                length,
                newest,
                slots,
            } => {
                let slots = slots.iter(self.stats.metrics.len());
                self.with_stats(step, |stats, around| {
                    stats.close_due(length, newest, slots, around)
                });
            }
            Change::TrimHistory {
                length,
                at_once,
                slots,
            } => {
                let slots = slots.iter(self.stats.metrics.len());
                self.stats
                    .trim_history(length, self.rules.history[length], at_once, slots);
            }
            Change::GiveUpTime(slots) => {
                let slots = slots.iter(self.stats.metrics.len());
                self.with_stats(step, |stats, around| stats.give_up_time(slots, around));
            }
            Change::ForgetMetrics(slots) => {
                let slots: Vec<u32> = slots.iter(self.stats.metrics.len()).collect();
                self.with_stats(step, |stats, around| stats.forget(&slots, around));
            }
            Change::DropForgotten(slots) => {
                let slots: Vec<u32> = slots.iter(self.stats.forgotten.table.len()).collect();
                self.stats.drop_forgotten(&slots);
            }
            Change::ForgetErrors(slots) => {
                let slots: Vec<u32> = slots.iter(self.errors.table.len()).collect();
                self.forget_errors(&slots);
            }
            Change::End { new_id, slots } => {
                for slot in slots.iter(self.realities.table.len()) {
                    self.realities.end(slot, new_id, &mut self.queues, step);
                }
            }
            Change::Requeue { queue, slots } => {
                self.requeue_slots(queue, slots.iter(u32::MAX), step)
            }
            Change::Remove { queue, ids } => ids
                .iter()
                .for_each(|(id, _)| self.take_out(queue, id, None)),
            Change::RemoveOldest { queue, n } => self.queues.remove_oldest(queue, n),
            Change::TellErrors(ids) => {
                ids.iter()
                    .for_each(|(id, told)| self.take_out(Queue::Error, id, Some(told)));
            }
        }
    }

    /// Lends the metrics and, beside them, the rest of the node.
    #[inline]
    fn with_stats<R>(
        &mut self,
        step: &mut Step<'_>,
        f: impl FnOnce(&mut Stats, &mut Around<'_, '_>) -> R,
    ) -> R {
        let mut around = Around {
            rules: &self.rules,
            windows_s: self.windows_s,
            queues: &mut self.queues,
            step,
        };
        f(&mut self.stats, &mut around)
    }

    fn requeue_slots(
        &mut self,
        queue: Queue,
        slots: impl Iterator<Item = u32>,
        step: &mut Step<'_>,
    ) {
        match queue {
            Queue::Error => {
                let len = self.errors.table.len();
                slots
                    .take_while(|s| *s < len)
                    .for_each(|s| self.errors.queue(s, &mut self.queues, step));
            }
            Queue::Reality => {
                let len = self.realities.table.len();
                slots
                    .take_while(|s| *s < len)
                    .for_each(|s| self.realities.queue(s, &mut self.queues, step));
            }
            Queue::Min | Queue::Hour | Queue::Log => {}
        }
    }

    /// Forgets errors. `slots` grow strictly; they are taken from the end, so that none moves before its turn.
    fn forget_errors(&mut self, slots: &[u32]) {
        for &slot in slots.iter().rev() {
            self.errors.forget(slot, &mut self.queues);
        }
    }

    /// Takes an entry out for good: popped, acknowledged or dropped.
    fn take_out(&mut self, queue: Queue, id: u64, told: Option<errors::Told>) {
        let slot = self.queues.slot_of(queue, id);
        self.queues.remove(queue, id);
        match (queue, slot) {
            (Queue::Error, Some(slot)) => self.errors.delivered(slot, told.unwrap_or_default()),
            (Queue::Reality, Some(slot)) => self.realities.delivered(slot, &mut self.queues),
            _ => {}
        }
    }

    /// Runs `f` as one change of the primary: with the settings' rules, effects written down, ids given.
    pub(crate) fn act<R>(
        &mut self,
        turn: &mut Turn<'_>,
        f: impl FnOnce(&mut Node, &mut Act<'_>) -> R,
    ) -> R {
        // Within a millisecond ids count on, so that lines of a burst can go to replicas as they came.
        let clock_us = if *turn.last_id / 1000 == turn.now.wall_us / 1000 {
            0
        } else {
            turn.now.wall_us
        };
        let first_id = (*turn.last_id + 1)
            .max(clock_us)
            .max(self.queues.last_id + 1);
        if self.rules != turn.settings.rules {
            let histories = self.rules.history.iter().zip(turn.settings.rules.history);
            if histories.into_iter().any(|(before, now)| now < *before) {
                self.stats.untrimmed = Some(u32::MAX);
            }
            self.rules = turn.settings.rules.clone();
            self.announced = false;
        }
        turn.effects.open(turn.now.ms(), first_id, turn.is_tight);
        if !self.announced {
            turn.effects.open_with_rules(self.windows_s, &self.rules);
        }
        let step = Step {
            now_ms: turn.now.ms(),
            mono_ms: turn.now.mono_ms,
            next_id: first_id,
            keeps_history: !turn.is_tight,
            is_version_1: false,
            counters: turn.counters,
        };
        let mut act = Act {
            step,
            effects: turn.effects,
            settings: turn.settings,
            now: turn.now,
            is_tight: turn.is_tight,
            memory: turn.memory,
            queued: self.queued(),
            can_repeat: turn.may_repeat
                && !turn.is_tight
                && self.announced
                && self.clock_ms == turn.now.ms(),
            first_id,
        };
        let result = f(self, &mut act);
        if act.step.next_id > first_id {
            // A node whose ids are far ahead of the clock does not drag those of all others along.
            let most = turn.now.wall_us.saturating_add(MAX_DRAG_US);
            *turn.last_id = (*turn.last_id).max((act.step.next_id - 1).min(most));
        }
        if turn.effects.has_payload() {
            self.announced = true;
            self.clock_ms = turn.now.ms();
            self.is_version_1 = false;
        }
        result
    }

    /// Makes room below a limit: drops the oldest entries of MIN, HOUR or LOG until about `bytes` are free. Returns how
    /// many.
    pub fn drop_oldest(
        &mut self,
        queue: Queue,
        bytes: u64,
        limit: MemoryLimit,
        turn: &mut Turn<'_>,
    ) -> u64 {
        if queue.is_references() {
            return 0;
        }
        self.act(turn, |node, act| {
            let before = node.queues.bytes(queue);
            let mut dropped = 0;
            while node.queues.len(queue) > 0 && before - node.queues.bytes(queue) < bytes {
                node.queues.remove_oldest(queue, 1);
                dropped += 1;
            }
            act.effects.remove_oldest(queue, dropped);
            let now_ms = act.step.now_ms;
            let reason = limit.dropped();
            let count = |c: &mut Counters| c.drop(reason, Some(queue), dropped, now_ms);
            node.queues.count(&mut act.step, count);
            dropped
        })
    }

    /// After a load or promotion: quiet times start anew, all that waits counts as handed out, no lease is held.
    pub fn restart(&mut self, mono_ms: u64) {
        self.stats.quiet_since = mono_ms;
        // A limit may have been lowered shortly before.
        self.stats.untrimmed = Some(u32::MAX);
        self.queues.forget_leases();
        self.errors.restart(mono_ms);
        self.realities.restart(mono_ms);
        self.announced = false;
    }

    /// Whether something became available in a queue since this was last asked.
    pub(crate) fn take_ready(&mut self) -> bool {
        std::mem::take(&mut self.queues.ready)
    }

    /// Counts a refusal that was raised before the node was looked at; the server's own count is the caller's.
    pub fn count_refusal(&mut self, refusal: &crate::Refusal) {
        self.queues.counters.refuse(refusal.reason);
    }

    /// What it holds.
    #[inline]
    pub fn gauges(&self) -> Gauges {
        Gauges {
            metrics: self.stats.metrics.len().into(),
            forgotten: self.stats.forgotten.table.len().into(),
            errors: self.errors.table.len().into(),
            realities: self.realities.live(),
            length: Queue::ALL.map(|q| self.queues.len(q)),
            bytes: Queue::ALL.map(|q| self.queues.bytes(q)),
            leased: Queue::ALL.map(|q| self.queues.leases[q as usize].leased()),
        }
    }

    /// Whether it holds other than `before`; cheaper than to look and compare.
    #[inline]
    pub fn differs(&self, before: &Gauges) -> bool {
        let queue = |q: Queue| {
            self.queues.len(q) != before.length[q as usize]
                || self.queues.bytes(q) != before.bytes[q as usize]
                || self.queues.leases[q as usize].leased() != before.leased[q as usize]
        };
        u64::from(self.stats.metrics.len()) != before.metrics
            || u64::from(self.stats.forgotten.table.len()) != before.forgotten
            || u64::from(self.errors.table.len()) != before.errors
            || self.realities.live() != before.realities
            || Queue::ALL.into_iter().any(queue)
    }

    /// The largest id that was ever in this node.
    pub fn last_id(&self) -> u64 {
        self.queues.last_id
    }

    /// The oldest id of a queue: about when it was queued, Unix microseconds.
    pub fn oldest(&self, queue: Queue) -> Option<u64> {
        self.queues.first(queue)
    }

    /// Number of blocks of memory, about: UNLINK frees what has many on another thread.
    pub fn free_effort(&self) -> usize {
        self.stats.metrics.len() as usize
            + self.stats.forgotten.table.len() as usize / 64
            + self.errors.table.len() as usize
            + self.realities.table.len() as usize
            + Queue::ALL
                .iter()
                .map(|&q| self.queues.len(q) as usize / 64)
                .sum::<usize>()
    }
}
