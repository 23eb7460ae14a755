//! The changes that effects and replayed commands make to a node.

use super::{Node, snapshot};
use crate::context::ApplyContext;
use crate::counters::Counters;
use crate::effect::{Change, Payload, are_effects};
use crate::error::DecodeError;
use crate::id::MAX_ID;
use crate::model::{Delivery, LogEntry, ObjectReport, Occurrence, Queue, Sample, Sequence};
use crate::node::metric::tag_pool::SharedTags;
use aggregator_protocol::tags;

impl Node {
    /// Creates a node from the first payload of AGG.APPLY for a key that does not exist. Returns the node and its
    /// largest id.
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
                Some(Change::Adopt { lengths, rules }) => Node::with(lengths, rules, seed),
                _ => return Err(DecodeError("these effects require an existing node")),
            }
        } else {
            snapshot::first(blob, seed, max_id)?
        };
        let last_id = node.apply_from(blob, mono_ms, max_id, counters, true)?;
        Ok((node, last_id))
    }

    /// Applies a payload of AGG.APPLY: effects, or a frame of [`Node::snapshot`]. Returns the largest queue id that
    /// this node has given or taken. An id larger than `max_id` is an error.
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
        mono_ms: u64,
        max_id: u64,
        counters: &mut Counters,
        new: bool,
    ) -> Result<u64, DecodeError> {
        if !are_effects(blob)? {
            snapshot::apply(self, blob, mono_ms, max_id, new)?;
            return Ok(self.queues.last_id);
        }
        if self.unfinished {
            return Err(DecodeError("unexpected effects: the node is not complete"));
        }
        let mut payload = Payload::open(blob)?;
        let work = payload.check()?;
        if payload.first_id.max(work.imported_id) > max_id {
            return Err(DecodeError("an id is too far ahead of the clock"));
        }
        // The work of a payload from a primary or a file was limited where it was decided; that of a client is limited
        // here.
        if max_id < MAX_ID && work.is_too_much_for(blob.len()) {
            return Err(DecodeError(
                "more work than a payload of its size may bring",
            ));
        }
        let next_id = payload.first_id.max(self.queues.last_id + 1);
        let clocks = (payload.now_ms, mono_ms);
        let mut apply = ApplyContext::new(clocks, next_id, *self.rules, self.lengths);
        apply.version = payload.version;
        (self.clock_ms, self.version) = (payload.now_ms, payload.version);
        match apply.is_version_1() {
            true => self.apply_v1(&mut payload, &mut apply)?,
            false => self.apply_all(&mut payload, &mut apply)?,
        }
        self.add_counts(&apply, counters);
        Ok(self.queues.last_id)
    }

    fn apply_all(
        &mut self,
        payload: &mut Payload<'_>,
        apply: &mut ApplyContext,
    ) -> Result<(), DecodeError> {
        let mut shared = SharedTags::default();
        while let Some(mut change) = payload.next()? {
            if let Change::Sample { sample, .. } | Change::Hist { sample, .. } = &mut change {
                sample.tag_id = shared.id_of(sample.tags, &mut self.metrics.tags);
            }
            self.apply_change(change, apply);
        }
        shared.release(&mut self.metrics.tags);
        Ok(())
    }

    /// Applies the changes of a payload of version 1, whose tag lists are converted. A list that samples share is
    /// converted once.
    fn apply_v1(
        &mut self,
        payload: &mut Payload<'_>,
        apply: &mut ApplyContext,
    ) -> Result<(), DecodeError> {
        let (mut last, mut list): (*const [u8], _) = (&[], Vec::new());
        while let Some(mut change) = payload.next()? {
            if let Some(tags) = change.tags_mut() {
                if !std::ptr::eq(last, *tags) {
                    last = *tags;
                    list = tags::from_v1(tags).into_owned();
                }
                *tags = &list;
            }
            self.apply_change(change, apply);
        }
        Ok(())
    }

    fn apply_change(&mut self, change: Change<'_>, apply: &mut ApplyContext) {
        let queues = &mut self.queues;
        match change {
            Change::Adopt { rules, .. } => (*self.rules, apply.rules) = (rules, rules),
            Change::NoHistory => apply.keeps_history = false,
            Change::Sample { name, sample } => {
                self.metrics.sample(name, &sample, queues, apply);
            }
            Change::Hist {
                name,
                sample,
                aggregate,
            } => {
                let sample = Sample {
                    aggregate: Some(&aggregate),
                    ..sample
                };
                self.metrics.sample(name, &sample, queues, apply);
            }
            Change::Log(entry) => {
                queues.push_log(&entry, apply);
            }
            Change::RecordError { occurrence, queue } => {
                self.errors.record(&occurrence, queue, queues, apply);
            }
            Change::Reality { report, new_id } => {
                self.objects.change(&report, new_id, queues, apply)
            }
            Change::Touch { slot, at, ttl_s } => self.objects.touch(slot, at, ttl_s, apply),
            Change::Close {
                window,
                newest,
                slots,
            } => {
                let slots = slots.iter(self.metrics.table.len());
                self.metrics.close_due(window, newest, slots, queues, apply);
            }
            Change::TrimHistory {
                window,
                at_once,
                slots,
            } => {
                let slots = slots.iter(self.metrics.table.len());
                let max = self.rules.history[window as usize];
                self.metrics.trim_history(window, max, at_once, slots);
            }
            Change::ResetTime(slots) => {
                let slots = slots.iter(self.metrics.table.len());
                self.metrics.reset_time(slots, queues, apply);
            }
            Change::ForgetMetrics(slots) => {
                let slots: Vec<u32> = slots.iter(self.metrics.table.len()).collect();
                self.metrics.forget(&slots, queues, apply);
            }
            Change::HalveHistograms(slots) => {
                for slot in slots.iter(self.metrics.table.len()) {
                    self.metrics.halve_histograms(slot);
                }
            }
            Change::DropForgotten(slots) => {
                let slots: Vec<u32> = slots.iter(self.metrics.forgotten.table.len()).collect();
                self.metrics.drop_forgotten(&slots);
            }
            Change::ForgetErrors(slots) => {
                let slots: Vec<u32> = slots.iter(self.errors.table.len()).collect();
                self.remove_errors(&slots);
            }
            Change::End { new_id, slots } => {
                for slot in slots.iter(self.objects.table.len()) {
                    self.objects.end(slot, new_id, queues, apply);
                }
            }
            Change::Requeue { queue, slots } => {
                self.requeue_slots(queue, slots.iter(u32::MAX), apply)
            }
            Change::Remove { queue, ids } => ids
                .iter()
                .for_each(|(id, _)| self.remove_record(queue, id, None)),
            Change::RemoveOldest { queue, n } => queues.remove_oldest(queue, n),
            Change::Sequence(sequence) => self.sources.replay(sequence),
            Change::DropSources(n) => {
                self.sources.evict(n);
            }
            Change::Import {
                queue,
                floor,
                records,
            } => queues.import_all(queue, floor, records.iter(), apply),
            Change::AckErrors(ids) => {
                ids.iter()
                    .for_each(|(id, acked)| self.remove_record(Queue::Error, id, Some(acked)));
            }
        }
    }

    /// Gives errors or objects new records. `slots` grow strictly; those beyond the table are ignored.
    pub(super) fn requeue_slots(
        &mut self,
        queue: Queue,
        slots: impl Iterator<Item = u32>,
        apply: &mut ApplyContext,
    ) {
        let queues = &mut self.queues;
        match queue {
            Queue::Error => {
                let len = self.errors.table.len();
                slots
                    .take_while(|slot| *slot < len)
                    .for_each(|slot| self.errors.queue(slot, queues, apply));
            }
            Queue::Reality => {
                let len = self.objects.table.len();
                slots
                    .take_while(|slot| *slot < len)
                    .for_each(|slot| self.objects.queue(slot, queues, apply));
            }
            Queue::Min | Queue::Hour | Queue::Log => {}
        }
    }

    /// Removes errors. `slots` grow strictly; the errors are removed from the end, so that none moves before its turn.
    pub(super) fn remove_errors(&mut self, slots: &[u32]) {
        for &slot in slots.iter().rev() {
            self.errors.remove(slot, &mut self.queues);
        }
    }

    /// Removes a record permanently: it was popped, acknowledged or dropped.
    pub(super) fn remove_record(&mut self, queue: Queue, id: u64, acked: Option<Delivery>) {
        let slot = self.queues.slot_of(queue, id);
        self.queues.remove(queue, id);
        match (queue, slot) {
            (Queue::Error, Some(slot)) => self.errors.acknowledge(slot, acked.unwrap_or_default()),
            (Queue::Reality, Some(slot)) => self.objects.acknowledge(slot, &mut self.queues),
            _ => {}
        }
    }
}

/// Commands that another server has accepted and propagated verbatim. They run at the clock of the last payload.
impl Node {
    /// Returns whether commands that come verbatim mean what they meant in version 1 (0.1.0).
    pub fn is_version_1(&self) -> bool {
        self.version == 1
    }

    fn replay(
        &mut self,
        mono_ms: u64,
        counters: &mut Counters,
        f: impl FnOnce(&mut Node, &mut ApplyContext),
    ) {
        let (clocks, next_id) = ((self.clock_ms, mono_ms), self.queues.last_id + 1);
        let mut apply = ApplyContext::new(clocks, next_id, *self.rules, self.lengths);
        apply.version = self.version;
        f(self, &mut apply);
        self.add_counts(&apply, counters);
    }

    /// Consumes the sequence number of a command.
    pub(crate) fn replay_sequence(&mut self, sequence: Sequence<'_>) {
        self.sources.replay(sequence);
    }

    /// Queues a log entry under the id after the node's last.
    pub(crate) fn replay_log(
        &mut self,
        entry: &LogEntry<'_>,
        mono_ms: u64,
        counters: &mut Counters,
    ) {
        self.replay(mono_ms, counters, |node, apply| {
            node.queues.push_log(entry, apply);
        });
    }

    /// Records an occurrence of an error that exists and was not queued again.
    pub(crate) fn replay_error(
        &mut self,
        o: &Occurrence<'_>,
        mono_ms: u64,
        counters: &mut Counters,
    ) {
        self.replay(mono_ms, counters, |node, apply| {
            node.errors.record(o, false, &mut node.queues, apply);
        });
    }

    /// Takes a report of an unchanged object.
    pub(crate) fn replay_object(
        &mut self,
        report: &ObjectReport<'_>,
        mono_ms: u64,
        counters: &mut Counters,
    ) {
        self.replay(mono_ms, counters, |node, apply| {
            if let Some(slot) = node.objects.table.find(report.key) {
                node.objects.touch(slot, report.at, report.ttl_s, apply);
            }
        });
    }

    /// Takes samples: names and samples.
    pub(crate) fn replay_samples<'s>(
        &mut self,
        samples: impl Iterator<Item = (&'s [u8], Sample<'s>)>,
        mono_ms: u64,
        counters: &mut Counters,
    ) {
        self.replay(mono_ms, counters, |node, apply| {
            for (name, sample) in samples {
                node.metrics.sample(name, &sample, &mut node.queues, apply);
            }
        });
    }
}
