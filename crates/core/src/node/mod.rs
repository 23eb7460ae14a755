//! One node of the grid: everything that the key holds, and all rules.
//!
//! A change is made in one of two ways that run the same code: on the primary by a [`ExecContext`], which also checks limits
//! and writes down what was decided as effects (`write.rs`, `drain.rs`, `sweep.rs`); on a replica by those effects
//! ([`Node::apply`]). What only the primary knows (leases, what was handed out, quiet times, counts) is no part of the
//! value: no effect, saved node or digest holds it.

mod cost;
mod drain;
mod errors;
mod index;
mod metric;
mod objects;
mod queue;
mod read;
mod render;
mod snapshot;
mod sweep;
mod table;
mod write;

pub(crate) use cost::LEASE_COST;
pub use cost::{METRIC_RESERVE, NODE_RESERVE};
pub(crate) use drain::Take;
pub(crate) use read::Scan;
pub use snapshot::SnapshotLoader;
pub use sweep::SweepOutcome;
pub(crate) use write::{MAX_REQUEUED, ReportOutcome, RequeueError, SampleError};

use crate::context::{ApplyContext, ExecContext, MemoryLimit, WriteContext};
use crate::counters::Counters;
use crate::effect::{Change, Payload, are_effects};
use crate::error::DecodeError;
use crate::id::{MAX_DRAG_US, MAX_ID};
use crate::model::{Delivery, LogEntry, ObjectReport, Occurrence, Queue, Sample, TagId};
use crate::node::errors::Errors;
use crate::node::metric::tag_pool::SharedTags;
use crate::node::metric::{Around, Metrics};
use crate::node::objects::Objects;
use crate::node::queue::Queues;
use crate::node::table::NameHasher;
use crate::settings::{Rules, Settings};

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
    metrics: Metrics,
    queues: Queues,
    errors: Errors,
    objects: Objects,
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
    pub objects: u64,
    /// Entries by queue.
    pub length: [u64; 5],
    /// Bytes by queue.
    pub bytes: [u64; 5],
    /// Leased entries by queue.
    pub leased: [u64; 5],
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
            metrics: Metrics::new(seed),
            queues: Queues::default(),
            errors: Errors::new(seed),
            objects: Objects::new(seed),
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
    ) -> Result<(Node, u64), DecodeError> {
        let mut node = if are_effects(blob)? {
            match Payload::open(blob)?.next()? {
                Some(Change::Adopt { windows_s, rules }) => Node::with(windows_s, rules, seed),
                _ => return Err(DecodeError("these effects belong to a node that exists")),
            }
        } else {
            snapshot::first(blob, seed, max_id)?
        };
        let last_id = node.apply_from(blob, mono_ms, max_id, counters, true)?;
        Ok((node, last_id))
    }

    /// Applies a payload of AGG.APPLY: effects, or a frame of [`Node::snapshot`]. Returns the largest queue id that this
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
    ) -> Result<u64, DecodeError> {
        self.apply_from(blob, mono_ms, max_id, counters, false)
    }

    fn apply_from(
        &mut self,
        blob: &[u8],
        mono: u64,
        max_id: u64,
        counters: &mut Counters,
        new: bool,
    ) -> Result<u64, DecodeError> {
        if !are_effects(blob)? {
            snapshot::apply(self, blob, mono, max_id, new)?;
            return Ok(self.queues.last_id);
        }
        if self.unfinished {
            return Err(DecodeError("effects, and the node is not yet whole"));
        }
        let mut payload = Payload::open(blob)?;
        let work = payload.check()?;
        if payload.first_id > max_id {
            return Err(DecodeError("an id is too far ahead of the clock"));
        }
        // What a primary sent or a file holds was bounded where it was decided; what somebody hands in is here.
        if max_id < MAX_ID && work.is_too_much_for(blob.len()) {
            return Err(DecodeError(
                "more work than a payload of its size may bring",
            ));
        }
        let next_id = payload.first_id.max(self.queues.last_id + 1);
        let mut ctx = ApplyContext {
            now_ms: payload.now_ms,
            mono_ms: mono,
            next_id,
            keeps_history: true,
            is_version_1: payload.version == 1,
            counters,
        };
        (self.clock_ms, self.is_version_1) = (payload.now_ms, ctx.is_version_1);
        let mut shared = SharedTags::default();
        while let Some(mut change) = payload.next()? {
            if let Change::Sample { sample, .. } = &mut change {
                sample.tag_id = shared.id_of(sample.tags, &mut self.metrics.tags);
            }
            self.apply_change(change, &mut ctx);
        }
        shared.release(&mut self.metrics.tags);
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
        self.metrics.tags.acquire(tags)
    }

    /// Whether a reference to a list of tags costs nothing.
    pub(crate) fn holds_tags(&self, tags: &[u8]) -> bool {
        self.metrics.tags.holds(tags)
    }

    /// Hashes names for a set of them that a command needs.
    pub(crate) fn name_hasher(&self) -> NameHasher {
        self.metrics.table.hasher()
    }

    /// Gives back what [`Node::hold_tags`] gave.
    pub(crate) fn release_tags(&mut self, id: TagId) {
        self.metrics.tags.release(id);
    }

    fn replay_context<'a>(&self, mono_ms: u64, counters: &'a mut Counters) -> ApplyContext<'a> {
        ApplyContext {
            now_ms: self.clock_ms,
            mono_ms,
            next_id: self.queues.last_id + 1,
            keeps_history: true,
            is_version_1: self.is_version_1,
            counters,
        }
    }

    /// Takes a line that another server has queued under the id behind the node's last, at the clock of the last payload.
    pub(crate) fn replay_log(&mut self, line: &LogEntry<'_>, mono: u64, counters: &mut Counters) {
        let mut ctx = self.replay_context(mono, counters);
        self.queues.push_log(line, &self.rules, &mut ctx);
    }

    /// Takes an occurrence of an error that is known and was not queued anew by another server, at the clock of the last
    /// payload.
    pub(crate) fn replay_error(&mut self, o: &Occurrence<'_>, mono: u64, counters: &mut Counters) {
        let mut ctx = self.replay_context(mono, counters);
        self.errors.record(o, false, &mut self.queues, &mut ctx);
    }

    /// Takes a report of an object that another server found unchanged, at the clock of the last payload.
    pub(crate) fn replay_object(
        &mut self,
        r: &ObjectReport<'_>,
        mono: u64,
        counters: &mut Counters,
    ) {
        let ctx = self.replay_context(mono, counters);
        if let Some(slot) = self.objects.table.find(r.key) {
            self.objects.touch(slot, r.at, r.ttl_s, &ctx);
        }
    }

    /// Takes a sample that another server has taken, at the clock of the last payload.
    pub(crate) fn replay_sample(
        &mut self,
        name: &[u8],
        sample: &Sample<'_>,
        mono_ms: u64,
        counters: &mut Counters,
    ) {
        let mut ctx = self.replay_context(mono_ms, counters);
        self.with_metrics(&mut ctx, |metrics, around| {
            metrics.sample(name, sample, around)
        });
    }

    fn apply_change(&mut self, change: Change<'_>, ctx: &mut ApplyContext<'_>) {
        match change {
            Change::Adopt { rules, .. } => self.rules = rules,
            Change::NoHistory => ctx.keeps_history = false,
            Change::Sample { name, sample } => {
                self.with_metrics(ctx, |metrics, around| metrics.sample(name, &sample, around));
            }
            Change::Log(entry) => {
                self.queues.push_log(&entry, &self.rules, ctx);
            }
            Change::RecordError { occurrence, queue } => {
                self.errors
                    .record(&occurrence, queue, &mut self.queues, ctx);
            }
            Change::Reality { report, new_id } => {
                self.objects.change(&report, new_id, &mut self.queues, ctx)
            }
            Change::Touch { slot, at, ttl_s } => self.objects.touch(slot, at, ttl_s, ctx),
            Change::Close {
                length,
                newest,
                slots,
            } => {
                let slots = slots.iter(self.metrics.table.len());
                self.with_metrics(ctx, |metrics, around| {
                    metrics.close_due(length, newest, slots, around)
                });
            }
            Change::TrimHistory {
                length,
                at_once,
                slots,
            } => {
                let slots = slots.iter(self.metrics.table.len());
                self.metrics
                    .trim_history(length, self.rules.history[length], at_once, slots);
            }
            Change::ResetTime(slots) => {
                let slots = slots.iter(self.metrics.table.len());
                self.with_metrics(ctx, |metrics, around| metrics.reset_time(slots, around));
            }
            Change::ForgetMetrics(slots) => {
                let slots: Vec<u32> = slots.iter(self.metrics.table.len()).collect();
                self.with_metrics(ctx, |metrics, around| metrics.forget(&slots, around));
            }
            Change::DropForgotten(slots) => {
                let slots: Vec<u32> = slots.iter(self.metrics.forgotten.table.len()).collect();
                self.metrics.drop_forgotten(&slots);
            }
            Change::ForgetErrors(slots) => {
                let slots: Vec<u32> = slots.iter(self.errors.table.len()).collect();
                self.forget_errors(&slots);
            }
            Change::End { new_id, slots } => {
                for slot in slots.iter(self.objects.table.len()) {
                    self.objects.end(slot, new_id, &mut self.queues, ctx);
                }
            }
            Change::Requeue { queue, slots } => {
                self.requeue_slots(queue, slots.iter(u32::MAX), ctx)
            }
            Change::Remove { queue, ids } => ids
                .iter()
                .for_each(|(id, _)| self.remove_entry(queue, id, None)),
            Change::RemoveOldest { queue, n } => self.queues.remove_oldest(queue, n),
            Change::AckErrors(ids) => {
                ids.iter()
                    .for_each(|(id, told)| self.remove_entry(Queue::Error, id, Some(told)));
            }
        }
    }

    /// Lends the metrics and, beside them, the rest of the node.
    #[inline]
    fn with_metrics<R>(
        &mut self,
        ctx: &mut ApplyContext<'_>,
        f: impl FnOnce(&mut Metrics, &mut Around<'_, '_>) -> R,
    ) -> R {
        let mut around = Around {
            rules: &self.rules,
            windows_s: self.windows_s,
            queues: &mut self.queues,
            ctx,
        };
        f(&mut self.metrics, &mut around)
    }

    fn requeue_slots(
        &mut self,
        queue: Queue,
        slots: impl Iterator<Item = u32>,
        ctx: &mut ApplyContext<'_>,
    ) {
        match queue {
            Queue::Error => {
                let len = self.errors.table.len();
                slots
                    .take_while(|s| *s < len)
                    .for_each(|s| self.errors.queue(s, &mut self.queues, ctx));
            }
            Queue::Reality => {
                let len = self.objects.table.len();
                slots
                    .take_while(|s| *s < len)
                    .for_each(|s| self.objects.queue(s, &mut self.queues, ctx));
            }
            Queue::Min | Queue::Hour | Queue::Log => {}
        }
    }

    /// Forgets errors. `slots` grow strictly; they are taken from the end, so that none moves before its turn.
    fn forget_errors(&mut self, slots: &[u32]) {
        for &slot in slots.iter().rev() {
            self.errors.remove(slot, &mut self.queues);
        }
    }

    /// Takes an entry out for good: popped, acknowledged or dropped.
    fn remove_entry(&mut self, queue: Queue, id: u64, told: Option<Delivery>) {
        let slot = self.queues.slot_of(queue, id);
        self.queues.remove(queue, id);
        match (queue, slot) {
            (Queue::Error, Some(slot)) => self.errors.acknowledge(slot, told.unwrap_or_default()),
            (Queue::Reality, Some(slot)) => self.objects.acknowledge(slot, &mut self.queues),
            _ => {}
        }
    }

    /// Runs `f` as one change of the primary: with the settings' rules, effects written down, ids given.
    pub(crate) fn change<R>(
        &mut self,
        exec: &mut ExecContext<'_>,
        f: impl FnOnce(&mut Node, &mut WriteContext<'_>) -> R,
    ) -> R {
        // Within a millisecond ids count on, so that lines of a burst can go to replicas as they came.
        let clock_us = if *exec.last_id / 1000 == exec.now.wall_us / 1000 {
            0
        } else {
            exec.now.wall_us
        };
        let first_id = (*exec.last_id + 1)
            .max(clock_us)
            .max(self.queues.last_id + 1);
        if self.rules != exec.settings.rules {
            let histories = self.rules.history.iter().zip(exec.settings.rules.history);
            if histories.into_iter().any(|(before, now)| now < *before) {
                self.metrics.untrimmed = Some(u32::MAX);
            }
            self.rules = exec.settings.rules.clone();
            self.announced = false;
        }
        exec.effects
            .open(exec.now.ms(), first_id, exec.memory_pressure);
        if !self.announced {
            exec.effects.open_with_rules(self.windows_s, &self.rules);
        }
        let apply = ApplyContext {
            now_ms: exec.now.ms(),
            mono_ms: exec.now.mono_ms,
            next_id: first_id,
            keeps_history: !exec.memory_pressure,
            is_version_1: false,
            counters: exec.counters,
        };
        let mut ctx = WriteContext {
            apply,
            effects: exec.effects,
            settings: exec.settings,
            now: exec.now,
            memory_pressure: exec.memory_pressure,
            memory: exec.memory,
            queued: self.queued(),
            verbatim_allowed: exec.allow_verbatim
                && !exec.memory_pressure
                && self.announced
                && self.clock_ms == exec.now.ms(),
            first_id,
        };
        let result = f(self, &mut ctx);
        if ctx.apply.next_id > first_id {
            // A node whose ids are far ahead of the clock does not drag those of all others along.
            let max = exec.now.wall_us.saturating_add(MAX_DRAG_US);
            *exec.last_id = (*exec.last_id).max((ctx.apply.next_id - 1).min(max));
        }
        if exec.effects.has_payload() {
            self.announced = true;
            self.clock_ms = exec.now.ms();
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
        exec: &mut ExecContext<'_>,
    ) -> u64 {
        if queue.is_references() {
            return 0;
        }
        self.change(exec, |node, ctx| {
            let before = node.queues.bytes(queue);
            let mut dropped = 0;
            while node.queues.len(queue) > 0 && before - node.queues.bytes(queue) < bytes {
                node.queues.remove_oldest(queue, 1);
                dropped += 1;
            }
            ctx.effects.remove_oldest(queue, dropped);
            let now_ms = ctx.apply.now_ms;
            let reason = limit.dropped();
            let count = |c: &mut Counters| c.drop(reason, Some(queue), dropped, now_ms);
            node.queues.count(&mut ctx.apply, count);
            dropped
        })
    }

    /// After a load or promotion: quiet times start anew, all that waits counts as handed out, no lease is held.
    pub fn restart(&mut self, mono_ms: u64) {
        self.metrics.idle_not_before = mono_ms;
        // A limit may have been lowered shortly before.
        self.metrics.untrimmed = Some(u32::MAX);
        self.queues.reset_leases();
        self.errors.restart(mono_ms);
        self.objects.restart(mono_ms);
        self.announced = false;
    }

    /// Whether something became available in a queue since this was last asked.
    pub(crate) fn take_ready(&mut self) -> bool {
        std::mem::take(&mut self.queues.ready)
    }

    /// Counts a refusal that was raised before the node was looked at; the server's own count is the caller's.
    pub fn count_refusal(&mut self, refusal: &crate::CommandError) {
        self.queues.counters.reject(refusal.reason);
    }

    /// What it holds.
    #[inline]
    pub fn gauges(&self) -> Gauges {
        Gauges {
            metrics: self.metrics.table.len().into(),
            forgotten: self.metrics.forgotten.table.len().into(),
            errors: self.errors.table.len().into(),
            objects: self.objects.live(),
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
        u64::from(self.metrics.table.len()) != before.metrics
            || u64::from(self.metrics.forgotten.table.len()) != before.forgotten
            || u64::from(self.errors.table.len()) != before.errors
            || self.objects.live() != before.objects
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
        self.metrics.table.len() as usize
            + self.metrics.forgotten.table.len() as usize / 64
            + self.errors.table.len() as usize
            + self.objects.table.len() as usize
            + Queue::ALL
                .iter()
                .map(|&q| self.queues.len(q) as usize / 64)
                .sum::<usize>()
    }
}
