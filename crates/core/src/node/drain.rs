//! Delivering records, and removing them.
//!
//! Deliveries are known to the primary only. What leaves a queue or gets a new id is an effect.

use crate::context::WriteContext;
use crate::model::{Delivery, Queue, RecordFormat};
use crate::node::render::Renderer;
use crate::node::{LEASE_COST, Node};
use crate::reply::Reply;
use crate::time::Now;

/// A reply ends after this many bytes of records, or of the work of rendering them: tags whose names are equal once
/// they are UTF-8 take time and leave nothing.
const MAX_BYTES: usize = 1 << 20;

/// Leases that a command expires in passing, about a millisecond's worth; the timer expires the others. Until then, of
/// more expired records than this, those whose leases ended first come first.
const ENDED: usize = 4096;

/// Leases that a node grants even when no memory is available: at most 16 KB.
const ALWAYS_LEASED: u64 = 100;

/// Records to be replied, rendered before the first byte of the reply.
pub(crate) struct Batch {
    text: Vec<u8>,
    /// The work of rendering the records, in about bytes.
    effort: usize,
    records: Vec<BatchRecord>,
    /// The upper limit of the number of records.
    max: usize,
    /// The floors of the records, where the reply has them.
    floors: Option<Vec<u64>>,
}

struct BatchRecord {
    queue: Queue,
    id: u64,
    deliveries: u64,
    end: usize,
}

impl Batch {
    fn new(max: usize) -> Batch {
        Batch {
            text: Vec::new(),
            effort: 0,
            records: Vec::new(),
            max,
            floors: None,
        }
    }

    /// Writes `[[queue, id, deliveries, record], ...]`, with its floor behind each record if wanted.
    pub fn reply(&self, reply: &mut dyn Reply) {
        reply.array(self.records.len());
        let mut start = 0;
        for (i, record) in self.records.iter().enumerate() {
            reply.array(4 + usize::from(self.floors.is_some()));
            reply.bulk(record.queue.name().as_bytes());
            reply.int(record.id as i64);
            reply.int(record.deliveries as i64);
            reply.bulk(self.text.get(start..record.end).unwrap_or_default());
            if let Some(floors) = &self.floors {
                reply.int(floors.get(i).map_or(0, |floor| *floor as i64));
            }
            start = record.end;
        }
    }

    /// Returns `true` if it has no records.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    fn is_full(&self, count: usize) -> bool {
        self.records.len() >= count || self.text.len().max(self.effort) >= MAX_BYTES
    }

    /// `render` appends the record and returns its work.
    fn push(
        &mut self,
        queue: Queue,
        id: u64,
        deliveries: u64,
        render: impl FnOnce(&mut Vec<u8>) -> usize,
    ) {
        self.effort += render(&mut self.text);
        if self.records.is_empty() {
            // The others will be about as long; repeated growth would copy them, and touch new memory each time.
            let rest = self.text.len().saturating_mul(self.max.saturating_sub(1));
            self.text.reserve(rest.min(MAX_BYTES));
            self.records.reserve(self.max);
        }
        self.records.push(BatchRecord {
            queue,
            id,
            deliveries,
            end: self.text.len(),
        });
    }
}

/// Selects the records to deliver, and their format.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Selection<'a> {
    pub queues: &'a [Queue],
    pub count: usize,
    pub format: RecordFormat,
}

impl Node {
    /// Creates a batch for up to `count` records of some queues.
    fn batch(&self, queues: &[Queue], count: usize) -> Batch {
        let queued = queues.iter().map(|queue| self.queues.len(*queue));
        let queued = usize::try_from(queued.sum::<u64>()).unwrap_or(usize::MAX);
        Batch::new(queued.min(count))
    }

    /// Removes and returns the oldest records.
    pub(crate) fn pop(
        &mut self,
        selection: Selection<'_>,
        name: &[u8],
        ctx: &mut WriteContext<'_>,
    ) -> Batch {
        let mut batch = self.batch(selection.queues, selection.count);
        for &queue in selection.queues {
            let (mut removed, mut acked) = (Vec::new(), Vec::new());
            self.queues.expire_leases(queue, ctx.now.mono_ms, ENDED);
            while let Some(id) = self.queues.available(queue) {
                if batch.is_full(selection.count) {
                    break;
                }
                if let Some(slot) = self.needs_new_id(queue, id) {
                    // What was removed may have moved others: the effects are in the order of the changes.
                    ctx.effects.remove(queue, &std::mem::take(&mut removed));
                    ctx.effects.ack_errors(&std::mem::take(&mut acked));
                    self.give_new_id(queue, slot, ctx);
                    continue;
                }
                let deliveries = self.queues.leases[queue as usize].deliveries(id) + 1;
                batch.push(queue, id, deliveries, |out| {
                    self.renderer(name, selection.format).record(queue, id, out)
                });
                if queue == Queue::Error && self.queues.slot_of(queue, id).is_some() {
                    let now = self.delivery_now(id, ctx.apply.now_ms);
                    acked.push((id, now));
                    self.remove_record(queue, id, Some(now));
                } else {
                    removed.push(id);
                    self.remove_record(queue, id, None);
                }
            }
            ctx.effects.remove(queue, &removed);
            ctx.effects.ack_errors(&acked);
        }
        batch
    }

    /// Leases and returns the oldest records, for `lease_ms`, and their floors if wanted.
    pub(crate) fn fetch(
        &mut self,
        selection: Selection<'_>,
        lease_ms: u64,
        with_floor: bool,
        name: &[u8],
        ctx: &mut WriteContext<'_>,
    ) -> Batch {
        let until = ctx.now.mono_ms.saturating_add(lease_ms).max(1);
        let count = selection
            .count
            .min(self.most_leases(ctx.memory.available_bytes()));
        let mut batch = self.batch(selection.queues, count);
        for &queue in selection.queues {
            self.queues.expire_leases(queue, ctx.now.mono_ms, ENDED);
            while let Some(id) = self.next_available(queue, batch.is_full(count), ctx) {
                let deliveries = self.queues.leases[queue as usize].lease(id, until);
                batch.push(queue, id, deliveries, |out| {
                    self.renderer(name, selection.format).record(queue, id, out)
                });
                self.mark_delivered(queue, id, ctx.apply.now_ms);
            }
        }
        if with_floor {
            let floor = |record: &BatchRecord| self.queues.floor(record.queue, record.id);
            batch.floors = Some(batch.records.iter().map(floor).collect());
        }
        batch
    }

    /// Returns how many records may be leased. A lease takes memory, so no more than fits; but a few are always
    /// granted, because a queue that is not drained never frees any.
    fn most_leases(&self, available_bytes: u64) -> usize {
        let leased: u64 = self.queues.leases.iter().map(|l| l.leased()).sum();
        let max = (available_bytes / LEASE_COST).max(ALWAYS_LEASED.saturating_sub(leased));
        usize::try_from(max).unwrap_or(usize::MAX)
    }

    /// Returns the oldest record that can be delivered. Records whose content changed since their delivery get new ids
    /// before.
    fn next_available(
        &mut self,
        queue: Queue,
        full: bool,
        ctx: &mut WriteContext<'_>,
    ) -> Option<u64> {
        if full {
            return None;
        }
        loop {
            let id = self.queues.available(queue)?;
            match self.needs_new_id(queue, id) {
                Some(slot) => self.give_new_id(queue, slot, ctx),
                None => return Some(id),
            }
        }
    }

    /// Returns the slot of a record that must not be delivered under this id, because the id was or may have been
    /// delivered with other content.
    fn needs_new_id(&self, queue: Queue, id: u64) -> Option<u32> {
        let slot = self.queues.slot_of(queue, id)?;
        let needs = match queue {
            Queue::Error => {
                let e = self.errors.table.get(slot);
                e.is_some_and(|e| e.changed_since_delivery())
            }
            Queue::Reality => self
                .objects
                .table
                .get(slot)
                .is_some_and(|o| o.content_unknown),
            Queue::Min | Queue::Hour | Queue::Log => false,
        };
        needs.then_some(slot)
    }

    fn give_new_id(&mut self, queue: Queue, slot: u32, ctx: &mut WriteContext<'_>) {
        ctx.effects.requeue(queue, &[slot]);
        self.requeue_slots(queue, [slot].into_iter(), &mut ctx.apply);
    }

    fn mark_delivered(&mut self, queue: Queue, id: u64, now_ms: i64) {
        let Some(slot) = self.queues.slot_of(queue, id) else {
            return;
        };
        if queue == Queue::Error {
            if let Some(e) = self.errors.table.get_mut(slot) {
                e.is_delivered = true;
                e.last_delivery = Delivery {
                    ms: now_ms,
                    occurrences: e.occurrences,
                };
            }
        } else if let Some(object) = self.objects.table.get_mut(slot) {
            object.is_delivered = true;
        }
    }

    fn delivery_now(&self, id: u64, now_ms: i64) -> Delivery {
        let slot = self.queues.slot_of(Queue::Error, id);
        let occurrences = slot
            .and_then(|slot| self.errors.table.get(slot))
            .map_or(0, |e| e.occurrences);
        Delivery {
            ms: now_ms,
            occurrences,
        }
    }

    /// Removes records, leased or not. Returns how many existed. `ids` grow strictly, here and below.
    pub(crate) fn ack(&mut self, queue: Queue, ids: &[u64], ctx: &mut WriteContext<'_>) -> u64 {
        let (mut removed, mut acked) = (Vec::new(), Vec::new());
        for &id in ids {
            match self.queues.slot_of(queue, id) {
                Some(slot) if queue == Queue::Error => {
                    let Some(e) = self.errors.table.get(slot) else {
                        continue;
                    };
                    let what = e.acknowledged(ctx.apply.now_ms);
                    acked.push((id, what));
                    self.remove_record(queue, id, Some(what));
                }
                Some(_) => {
                    removed.push(id);
                    self.remove_record(queue, id, None);
                }
                None if self.queues.remove(queue, id) => removed.push(id),
                None => {}
            }
        }
        ctx.effects.remove(queue, &removed);
        ctx.effects.ack_errors(&acked);
        (removed.len() + acked.len()) as u64
    }

    /// Ends leases at once. Returns how many there were. An expired lease does not exist any more, here and below,
    /// whether or not a tick has noticed.
    pub(crate) fn nack(&mut self, queue: Queue, ids: &[u64], now: Now) -> u64 {
        let leases = &mut self.queues.leases[queue as usize];
        let mut release = |id: u64| leases.is_leased(id, now.mono_ms) && leases.release(id);
        let given = ids.iter().filter(|id| release(**id)).count() as u64;
        self.queues.ready |= given > 0;
        given
    }

    /// Extends leases to `ms` from now. Returns how many there were.
    pub(crate) fn extend(&mut self, queue: Queue, ms: u64, ids: &[u64], now: Now) -> u64 {
        let until = now.mono_ms.saturating_add(ms).max(1);
        let leases = &mut self.queues.leases[queue as usize];
        let mut extend = |id: u64| leases.is_leased(id, now.mono_ms) && leases.extend(id, until);
        ids.iter().filter(|id| extend(**id)).count() as u64
    }

    /// Returns records without changing them: from `from` on (`None`: all), upwards or downwards.
    pub(crate) fn peek(
        &self,
        selection: Selection<'_>,
        from: Option<u64>,
        reverse: bool,
        name: &[u8],
    ) -> Batch {
        let mut batch = self.batch(selection.queues, selection.count);
        let start = from.unwrap_or(if reverse { crate::id::MAX_ID } else { 0 });
        for &queue in selection.queues {
            for id in self.queues.ids(queue, start, reverse) {
                if batch.is_full(selection.count) {
                    return batch;
                }
                let deliveries = self.queues.leases[queue as usize].deliveries(id);
                batch.push(queue, id, deliveries, |out| {
                    self.renderer(name, selection.format).record(queue, id, out)
                });
            }
        }
        batch
    }

    /// Returns `true` if a record of these queues can be delivered now. Ends expired leases.
    pub fn available(&mut self, queues: &[Queue], now: Now) -> bool {
        queues.iter().any(|&queue| {
            self.queues.expire_leases(queue, now.mono_ms, ENDED);
            self.queues.available(queue).is_some()
        })
    }

    fn renderer<'a>(&'a self, name: &'a [u8], format: RecordFormat) -> Renderer<'a> {
        Renderer {
            node: self,
            name,
            format,
        }
    }
}
