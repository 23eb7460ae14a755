//! The errors of a node: one for each distinct error, with the number of its occurrences.
//!
//! An error waits in the queue while its `id` is not 0. When and with which count it was delivered is known to the
//! primary only (`is_delivered`, `last_delivery`) until it is acknowledged. Then the delivery becomes part of the value
//! (`acked`), so that the interval continues after a failover. After a load or a promotion it is unknown with which
//! content a waiting id was delivered (`content_unknown`): the error gets a new id before it is delivered again, and an
//! acknowledgement of the old id says nothing about its content.

use crate::codec::bytes::{Reader, put_bytes, put_i64, put_u64};
use crate::codec::tags::loaded_tags;
use crate::context::ApplyContext;
use crate::error::DecodeError;
use crate::model::{Delivery, ErrorType, Occurrence, Queue};
use crate::node::queue::{Queues, SCRATCH_LIMIT};
use crate::node::table::{Named, Table};
use std::borrow::Cow;
use std::collections::BTreeSet;

/// An error as it is stored.
pub(crate) struct ErrorState {
    key: Box<[u8]>,
    /// The content of the last occurrence to arrive, as [`Occurrence::put_content`] writes it.
    content: Box<[u8]>,
    pub occurrences: u64,
    /// The oldest and the newest time of an occurrence.
    pub first: i64,
    pub last: i64,
    /// The arrival of the last occurrence, by the primary's clock.
    pub seen: i64,
    pub acked: Delivery,
    /// The id of its record in the queue; 0: none.
    pub id: u64,
    /// Primary only: this id was delivered.
    pub is_delivered: bool,
    /// Primary only: it waited when the node was loaded or promoted, so its id may have been delivered with any
    /// content.
    pub content_unknown: bool,
    /// Primary only: the last delivery.
    pub last_delivery: Delivery,
    /// Primary only: the running time of the last arrival.
    pub last_seen: u64,
    /// Its place in the order of arrival.
    order: u64,
}

impl Named for ErrorState {
    fn name(&self) -> &[u8] {
        &self.key
    }
}

impl ErrorState {
    /// Returns the last occurrence to arrive.
    pub fn latest(&self) -> Occurrence<'_> {
        let mut latest = Occurrence::read_content(&self.key, &mut Reader::new(&self.content))
            .unwrap_or(Occurrence {
                key: &self.key,
                texts: [&[]; 6],
                tags: &[],
                level: 0,
                error_type: ErrorType::default(),
                gid: 0,
                nid: 0,
                at: 0,
            });
        latest.at = self.last;
        latest
    }

    /// Returns the bytes of its texts.
    pub fn size(&self) -> usize {
        self.key.len() + self.content.len()
    }

    /// Returns `true` if its id was delivered with other content than the current one.
    pub fn changed_since_delivery(&self) -> bool {
        self.is_delivered
            && (self.content_unknown || self.occurrences != self.last_delivery.occurrences)
    }

    /// Returns `true` if it has occurrences that were not delivered.
    pub fn has_grown(&self) -> bool {
        self.occurrences > self.last_delivery.occurrences
    }

    /// Returns `true` if it is to be queued again: it was delivered, the interval has passed, and it has occurred
    /// again. One whose delivered content is unknown waits anyway, and gets a new id when it is delivered.
    pub fn is_due(&self, now_ms: i64, interval_ms: u64, max_future_ms: i64) -> bool {
        (self.id == 0 || self.is_delivered && !self.content_unknown)
            && self.has_grown()
            && self.is_interval_over(now_ms, interval_ms, max_future_ms)
    }

    /// Returns `true` if the interval since its delivery has passed. A delivery far ahead of the clock is of a clock
    /// that was wrong.
    pub fn is_interval_over(&self, now_ms: i64, interval_ms: u64, max_future_ms: i64) -> bool {
        self.last_delivery.ms.saturating_add_unsigned(interval_ms) <= now_ms
            || self.last_delivery.ms > now_ms.saturating_add(max_future_ms)
    }

    /// Returns the delivery that an acknowledgement confirms. If its content is unknown, the delivery that was
    /// confirmed before stays.
    pub fn acknowledged(&self, now_ms: i64) -> Delivery {
        match (self.content_unknown, self.is_delivered) {
            (true, _) => Delivery {
                ms: now_ms,
                occurrences: self.acked.occurrences,
            },
            (false, true) => self.last_delivery,
            // It was acknowledged without a delivery.
            (false, false) => Delivery {
                ms: now_ms,
                occurrences: self.occurrences,
            },
        }
    }

    /// Writes the form of digests and saved nodes.
    pub fn save(&self, out: &mut Vec<u8>) {
        put_bytes(out, &self.key);
        put_bytes(out, &self.content);
        for ms in [self.first, self.last, self.seen, self.acked.ms] {
            put_i64(out, ms);
        }
        put_u64(out, self.occurrences);
        put_u64(out, self.acked.occurrences);
        put_u64(out, self.id);
    }

    /// Reads what `save` wrote.
    pub fn load(r: &mut Reader<'_>, is_version_1: bool) -> Result<ErrorState, DecodeError> {
        let (key, mut content) = (r.name()?, Cow::Borrowed(r.bytes()?));
        let mut inner = Reader::new(&content);
        let latest = Occurrence::read_content(key, &mut inner)?;
        inner.finish()?;
        if let Cow::Owned(tags) = loaded_tags(latest.tags, is_version_1)? {
            let mut converted = Vec::new();
            let tags = &tags;
            Occurrence { tags, ..latest }.put_content(&mut converted);
            content = Cow::Owned(converted);
        }
        let [first, last, seen, acked_ms] = [r.ms()?, r.ms()?, r.ms()?, r.ms()?];
        let (occurrences, acked) = (r.u64()?, r.u64()?);
        let acked = Delivery {
            ms: acked_ms,
            occurrences: acked,
        };
        Ok(ErrorState {
            key: key.into(),
            content: content.into_owned().into(),
            occurrences,
            first,
            last,
            seen,
            acked,
            id: r.id()?,
            is_delivered: true,
            content_unknown: true,
            last_delivery: acked,
            last_seen: 0,
            order: 0,
        })
    }
}

/// The errors of a node.
pub(crate) struct Errors {
    pub table: Table<ErrorState>,
    /// (order of arrival, slot) of the errors that do not wait, and of those that do.
    idle: BTreeSet<(u64, u32)>,
    waiting: BTreeSet<(u64, u32)>,
    order: u64,
    /// The slots that the sweep has not reached yet.
    pub sweep_cursor: u32,
    scratch: Vec<u8>,
}

impl Errors {
    pub fn new(seed: u64) -> Errors {
        Errors {
            table: Table::new(seed),
            idle: BTreeSet::new(),
            waiting: BTreeSet::new(),
            order: 0,
            sweep_cursor: 0,
            scratch: Vec::new(),
        }
    }

    /// Records an occurrence; `queue` gives the error a new record. Returns the number of occurrences.
    pub fn record(
        &mut self,
        o: &Occurrence<'_>,
        queue: bool,
        queues: &mut Queues,
        apply: &mut ApplyContext,
    ) -> u64 {
        self.record_in(self.table.find(o.key), o, queue, queues, apply)
    }

    /// Does so for the error in `slot`; `None`: a new one.
    pub fn record_in(
        &mut self,
        slot: Option<u32>,
        o: &Occurrence<'_>,
        queue: bool,
        queues: &mut Queues,
        apply: &mut ApplyContext,
    ) -> u64 {
        let slot = slot.unwrap_or_else(|| self.table.insert(ErrorState::new(o)));
        let mut occurrences = 0;
        if let Some(e) = self.table.get_mut(slot) {
            e.occurrences = e.occurrences.saturating_add(1);
            // Occurrences need not arrive in order.
            (e.first, e.last) = (e.first.min(o.at), e.last.max(o.at));
            e.seen = apply.now_ms;
            e.last_seen = apply.mono_ms;
            if !o.has_content(&e.content) {
                self.scratch.clear();
                o.put_content(&mut self.scratch);
                e.content = self.scratch.as_slice().into();
                if self.scratch.capacity() > SCRATCH_LIMIT {
                    self.scratch = Vec::new();
                }
            }
            let list = if e.id == 0 {
                &mut self.idle
            } else {
                &mut self.waiting
            };
            // The last recorded error has the last place already.
            if e.order != self.order || e.order == 0 {
                self.order += 1;
                list.remove(&(e.order, slot));
                e.order = self.order;
                list.insert((e.order, slot));
            }
            occurrences = e.occurrences;
        }
        if queue {
            self.queue(slot, queues, apply);
        }
        occurrences
    }

    /// Gives it a new record; an old one is removed, leased or not.
    pub fn queue(&mut self, slot: u32, queues: &mut Queues, apply: &mut ApplyContext) {
        let Some(e) = self.table.get_mut(slot) else {
            return;
        };
        if e.id != 0 {
            queues.remove(Queue::Error, e.id);
        }
        e.id = queues.push_reference(Queue::Error, slot, apply);
        e.is_delivered = false;
        e.content_unknown = false;
        self.idle.remove(&(e.order, slot));
        self.waiting.insert((e.order, slot));
    }

    /// Notes that its record was popped or acknowledged.
    pub fn acknowledge(&mut self, slot: u32, acked: Delivery) {
        let Some(e) = self.table.get_mut(slot) else {
            return;
        };
        e.id = 0;
        e.acked = acked;
        e.last_delivery = acked;
        e.is_delivered = false;
        e.content_unknown = false;
        self.waiting.remove(&(e.order, slot));
        self.idle.insert((e.order, slot));
    }

    /// Removes it, and its waiting record.
    pub fn remove(&mut self, slot: u32, queues: &mut Queues) {
        let Some(removed) = self.table.remove(slot) else {
            return;
        };
        let e = removed.item;
        if e.id != 0 {
            queues.remove(Queue::Error, e.id);
        }
        self.idle.remove(&(e.order, slot));
        self.waiting.remove(&(e.order, slot));
        if let (Some(from), Some(moved)) = (removed.moved_from, self.table.get(slot)) {
            let list = if moved.id == 0 {
                &mut self.idle
            } else {
                queues.set_reference(Queue::Error, moved.id, slot);
                &mut self.waiting
            };
            list.remove(&(moved.order, from));
            list.insert((moved.order, slot));
        }
    }

    /// Returns the bytes of an error without its texts.
    pub fn element_size(&self) -> u64 {
        size_of::<ErrorState>() as u64
    }

    /// Returns `true` if the error of this key has exactly the content of this occurrence.
    pub fn holds(&self, o: &Occurrence<'_>) -> bool {
        let stored = self.table.find(o.key).and_then(|slot| self.table.get(slot));
        stored.is_some_and(|e| {
            let latest = e.latest();
            let times = Occurrence {
                at: latest.at,
                ..*o
            };
            latest == times
        })
    }

    /// Returns the error to evict: the one unseen for the longest time, a delivered one first.
    pub fn eviction_candidate(&self) -> Option<u32> {
        self.idle
            .first()
            .or(self.waiting.first())
            .map(|&(_, slot)| slot)
    }

    /// Rebuilds the order of arrival after a load, as far as it is known.
    pub fn rebuild(&mut self) {
        let mut by_seen: Vec<(i64, u32)> =
            self.table.iter().map(|(slot, e)| (e.seen, slot)).collect();
        by_seen.sort_unstable();
        self.idle.clear();
        self.waiting.clear();
        for (_, slot) in by_seen {
            self.order += 1;
            if let Some(e) = self.table.get_mut(slot) {
                e.order = self.order;
                let list = if e.id == 0 {
                    &mut self.idle
                } else {
                    &mut self.waiting
                };
                list.insert((self.order, slot));
            }
        }
    }

    /// Resets the errors after a load or a promotion: all waiting errors count as delivered, with unknown content.
    pub fn restart(&mut self, mono_ms: u64) {
        for slot in 0..self.table.len() {
            if let Some(e) = self.table.get_mut(slot) {
                e.last_seen = mono_ms;
                e.last_delivery = e.acked;
                e.is_delivered = e.id != 0;
                e.content_unknown = e.is_delivered;
            }
        }
    }
}

impl ErrorState {
    fn new(o: &Occurrence<'_>) -> ErrorState {
        ErrorState {
            key: o.key.into(),
            content: Box::default(),
            occurrences: 0,
            first: o.at,
            last: o.at,
            seen: 0,
            acked: Delivery::default(),
            id: 0,
            is_delivered: false,
            content_unknown: false,
            last_delivery: Delivery::default(),
            last_seen: 0,
            order: 0,
        }
    }
}
