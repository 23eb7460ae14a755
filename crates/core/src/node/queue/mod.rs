//! The five queues of a node.
//!
//! MIN, HOUR and LOG contain records of their own ([`Fifo`]), within a limit of bytes, beyond which the oldest are
//! evicted. ERROR and REALITY hold references to the errors and objects of the node, at most one for each. Ids grow
//! within the node. Deliveries are known to the primary only ([`Leases`]) and are not part of the value.
//!
//! Records of AGG.IMPORT are kept beside those of the node ([`Imported`]), and are never evicted: their sender no longer
//! has them. Readers of a queue see both, merged by id. No id is in both.

pub(crate) mod fifo;
pub(crate) mod imported;
pub(crate) mod lease;

use crate::codec::tags::loaded_tags;
use crate::context::ApplyContext;
use crate::counters::Dropped;
use crate::error::DecodeError;
use crate::model::{CompactForm, LogEntry, Queue, Window, WindowRecord};
use crate::node::queue::fifo::Fifo;
use crate::node::queue::imported::{Imported, first_of};
use crate::node::queue::lease::Leases;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// The limit of a buffer that a node keeps between records, here and in `errors.rs`;
/// [`crate::node::cost::NODE_RESERVE`] covers it.
pub(super) const SCRATCH_LIMIT: usize = 512;

/// Records that are evicted at once where the limit of a queue was lowered: some ten microseconds.
pub(super) const AT_ONCE: u64 = 256;

/// The bytes that a reference counts for.
const REFERENCE_BYTES: u64 = 24;

/// The queues of a node.
#[derive(Default)]
pub(crate) struct Queues {
    fifos: [Fifo; 3],
    /// ERROR and REALITY: from ids to the slots of errors and objects.
    references: [BTreeMap<u64, u32>; 2],
    /// The imported records of each queue. `None` if nothing was ever imported.
    imported: Option<Box<[Imported; 5]>>,
    pub leases: [Leases; 5],
    /// The largest id that was ever in this node.
    pub last_id: u64,
    /// The bytes of all records of windows that were ever queued.
    pub closed_bytes: u64,
    /// A record became available since this was last taken: it was queued, or its lease ended.
    pub ready: bool,
    scratch: Vec<u8>,
}

impl Queues {
    /// Returns the number of records of a queue.
    pub fn len(&self, queue: Queue) -> u64 {
        self.own_len(queue) + self.imported(queue).map_or(0, Imported::len)
    }

    /// Returns the bytes of the records of a queue.
    pub fn bytes(&self, queue: Queue) -> u64 {
        self.own_bytes(queue) + self.imported_bytes(queue)
    }

    /// Returns `true` if the queues have other numbers of records, bytes or leases.
    ///
    /// Every change of a node asks. Queue by queue through the functions above this takes 225 instructions, compared as
    /// arrays 60, and 45 so.
    #[inline]
    pub fn differ(&self, len: &[u64; 5], bytes: &[u64; 5], leased: &[u64; 5]) -> bool {
        if self.imported.is_some() {
            return self.differ_imported(len, bytes, leased);
        }
        let [min, hour, log] = &self.fifos;
        let [errors, objects] = &self.references;
        let [errors, objects] = [errors.len() as u64, objects.len() as u64];
        // The bytes of references follow from their number.
        let mut differences = errors ^ len[3] | objects ^ len[4];
        for (i, fifo) in [min, hour, log].into_iter().enumerate() {
            differences |= fifo.len() ^ len[i] | fifo.bytes() ^ bytes[i];
        }
        for (leases, leased) in self.leases.iter().zip(leased) {
            differences |= leases.leased() ^ leased;
        }
        differences != 0
    }

    #[inline(never)]
    fn differ_imported(&self, len: &[u64; 5], bytes: &[u64; 5], leased: &[u64; 5]) -> bool {
        Queue::ALL.into_iter().any(|queue| {
            let i = queue as usize;
            self.len(queue) != len[i]
                || self.bytes(queue) != bytes[i]
                || self.leases[i].leased() != leased[i]
        })
    }

    /// Returns the number of records of a queue that were not imported.
    pub fn own_len(&self, queue: Queue) -> u64 {
        match self.fifo(queue) {
            Some(fifo) => fifo.len(),
            None => self.references(queue).len() as u64,
        }
    }

    /// Returns the bytes of the records of a queue that were not imported.
    pub fn own_bytes(&self, queue: Queue) -> u64 {
        self.fifo(queue)
            .map_or(self.own_len(queue) * REFERENCE_BYTES, Fifo::bytes)
    }

    /// Returns the bytes of the imported records of a queue.
    pub fn imported_bytes(&self, queue: Queue) -> u64 {
        self.imported(queue).map_or(0, Imported::bytes)
    }

    /// Returns the oldest id.
    pub fn first(&self, queue: Queue) -> Option<u64> {
        self.next_from(queue, 0)
    }

    /// Returns the floor of a record: the lowest id from which on no other record up to this one is in the queue or can
    /// still be added to it. 1: there is nothing before the record.
    pub fn floor(&self, queue: Queue, id: u64) -> u64 {
        let before = self.ids(queue, id.saturating_sub(1), true).next();
        let floor = before.map_or(1, |before| before + 1);
        // What is imported may have any id that is not known yet.
        let imported = self.imported(queue);
        imported.map_or(floor, |imported| floor.max(imported.known_from(id)))
    }

    /// Returns the oldest id that is at least `id`.
    pub fn next_from(&self, queue: Queue, id: u64) -> Option<u64> {
        let own = match self.fifo(queue) {
            Some(fifo) => fifo.next_from(id),
            None => self.references(queue).range(id..).next().map(|(&id, _)| id),
        };
        let imported = self.imported(queue).and_then(|i| i.next_from(id));
        match (own, imported) {
            (Some(own), Some(imported)) => Some(own.min(imported)),
            (own, imported) => own.or(imported),
        }
    }

    /// Returns the ids from `id` on, upwards or downwards.
    pub fn ids(&self, queue: Queue, id: u64, reverse: bool) -> Box<dyn Iterator<Item = u64> + '_> {
        let own = self.own_ids(queue, id, reverse);
        match (self.imported(queue), reverse) {
            (None, _) => own,
            (Some(imported), false) => {
                Box::new(merged(own, imported.ids_from(id), |own, other| own < other))
            }
            (Some(imported), true) => {
                Box::new(merged(own, imported.ids_back_from(id), |own, other| {
                    own > other
                }))
            }
        }
    }

    /// Returns the ids from `id` on of records that were not imported, upwards or downwards.
    pub fn own_ids(
        &self,
        queue: Queue,
        id: u64,
        reverse: bool,
    ) -> Box<dyn Iterator<Item = u64> + '_> {
        match (self.fifo(queue), reverse) {
            (Some(fifo), false) => Box::new(fifo.ids_from(id)),
            (Some(fifo), true) => Box::new(fifo.ids_back_from(id)),
            (None, false) => Box::new(self.references(queue).range(id..).map(|(&id, _)| id)),
            (None, true) => Box::new(self.references(queue).range(..=id).rev().map(|(&id, _)| id)),
        }
    }

    /// Returns `true` if a record of this id is queued that was not imported.
    pub fn is_own(&self, queue: Queue, id: u64) -> bool {
        match self.fifo(queue) {
            Some(fifo) => fifo.get(id).is_some(),
            None => self.references(queue).contains_key(&id),
        }
    }

    /// Returns what was imported into a queue, if anything was.
    pub fn imported(&self, queue: Queue) -> Option<&Imported> {
        self.imported.as_ref()?.get(queue as usize)
    }

    /// Returns what was imported into a queue, to be changed.
    pub fn imported_mut(&mut self, queue: Queue) -> &mut Imported {
        &mut self.imported.get_or_insert_default()[queue as usize]
    }

    /// Queues records of another server.
    pub fn import_all<'t>(
        &mut self,
        queue: Queue,
        floor: u64,
        records: impl Iterator<Item = (u64, &'t [u8])>,
        apply: &mut ApplyContext,
    ) {
        let imported = records
            .filter(|(id, text)| self.import(queue, first_of(floor, *id), *id, text))
            .count() as u64;
        apply.count(|c| c.imported = c.imported.saturating_add(imported));
    }

    /// Queues a record of another server, which has nothing else from `first` on to its id. False if its id is known, or
    /// is that of a record of the node itself.
    pub fn import(&mut self, queue: Queue, first: u64, id: u64, text: &[u8]) -> bool {
        if self.is_own(queue, id) || self.imported(queue).is_some_and(|i| i.is_known(id)) {
            return false;
        }
        self.imported_mut(queue).insert(first, id, text);
        self.last_id = self.last_id.max(id);
        self.leases[queue as usize].add(id);
        self.ready = true;
        true
    }

    /// Returns a record of MIN, HOUR or LOG, to be read as a [`WindowRecord`] or [`LogEntry`].
    pub fn record(&self, queue: Queue, id: u64) -> Option<&[u8]> {
        self.fifo(queue)?.get(id)
    }

    /// Returns the slot to which a record of ERROR or REALITY refers.
    pub fn slot_of(&self, queue: Queue, id: u64) -> Option<u32> {
        if queue.is_references() {
            self.references(queue).get(&id).copied()
        } else {
            None
        }
    }

    /// Returns the oldest record that is not leased.
    pub fn available(&self, queue: Queue) -> Option<u64> {
        let leases = &self.leases[queue as usize];
        leases
            .first_returned()
            .or_else(|| self.next_from(queue, leases.frontier() + 1))
    }

    /// Queues a closed window. Returns its compact form.
    pub fn push_window(
        &mut self,
        window: Window,
        record: &WindowRecord<'_>,
        apply: &mut ApplyContext,
    ) -> CompactForm<'_> {
        let mut bytes = std::mem::take(&mut self.scratch);
        bytes.clear();
        let (flags, mut rest) = record.put(&mut bytes);
        let len = bytes.len();
        record.put_histogram(&mut bytes);
        self.closed_bytes = self.closed_bytes.wrapping_add(bytes.len() as u64);
        self.push(window.queue(), &bytes, apply);
        // The compact form is for the history, which has no histograms.
        bytes.truncate(len);
        if bytes.capacity() > SCRATCH_LIMIT {
            bytes.drain(..rest);
            bytes.shrink_to(SCRATCH_LIMIT);
            rest = 0;
        }
        self.scratch = bytes;
        CompactForm::of(&self.scratch, (flags, rest))
    }

    /// Queues a log entry. Returns its id.
    pub fn push_log(&mut self, entry: &LogEntry<'_>, apply: &mut ApplyContext) -> u64 {
        let mut bytes = std::mem::take(&mut self.scratch);
        bytes.clear();
        entry.put(&mut bytes);
        let id = self.push(Queue::Log, &bytes, apply);
        if bytes.capacity() <= SCRATCH_LIMIT {
            self.scratch = bytes;
        }
        id
    }

    /// Queues a reference to the item in `slot`. Returns its id.
    pub fn push_reference(&mut self, queue: Queue, slot: u32, apply: &mut ApplyContext) -> u64 {
        let id = self.take_id(apply);
        self.references_mut(queue).insert(id, slot);
        self.ready = true;
        id
    }

    /// Removes a record, leased or not; false if there is none.
    pub fn remove(&mut self, queue: Queue, id: u64) -> bool {
        self.leases[queue as usize].remove(id);
        let is_own = match self.fifos.get_mut(queue as usize) {
            Some(fifo) => fifo.remove(id),
            None => self.references_mut(queue).remove(&id).is_some(),
        };
        is_own
            || self
                .imported
                .as_mut()
                .is_some_and(|imported| imported[queue as usize].remove(id))
    }

    /// Removes the oldest `n` records of MIN, HOUR or LOG that were not imported, here and below.
    pub fn remove_oldest(&mut self, queue: Queue, n: u64) {
        for _ in 0..n {
            let popped = match self.fifos.get_mut(queue as usize) {
                Some(fifo) => fifo.pop_first(),
                None => self.references_mut(queue).pop_first().map(|(id, _)| id),
            };
            let Some(id) = popped else { return };
            self.leases[queue as usize].remove(id);
        }
    }

    /// Removes the oldest records of MIN, HOUR or LOG until about `bytes` are free. Returns how many.
    pub fn free(&mut self, queue: Queue, bytes: u64) -> u64 {
        let before = self.own_bytes(queue);
        let mut dropped = 0;
        while self.own_len(queue) > 0 && before - self.own_bytes(queue) < bytes {
            self.remove_oldest(queue, 1);
            dropped += 1;
        }
        dropped
    }

    /// Loads the next record of MIN, HOUR or LOG.
    pub fn load_record(&mut self, queue: Queue, id: u64, bytes: &[u8]) {
        if let Some(fifo) = self.fifos.get_mut(queue as usize) {
            fifo.push(id, bytes);
        }
        self.last_id = self.last_id.max(id);
    }

    /// Sets the slot to which an id refers: the item has moved, or a saved node is loaded.
    pub fn set_reference(&mut self, queue: Queue, id: u64, slot: u32) {
        self.references_mut(queue).insert(id, slot);
        self.last_id = self.last_id.max(id);
    }

    /// Returns the newest id of the records that were not imported.
    pub fn last_own(&self, queue: Queue) -> Option<u64> {
        self.own_ids(queue, crate::id::MAX_ID, true).next()
    }

    /// Ends up to `max` expired leases of a queue. Returns how many.
    pub fn expire_leases(&mut self, queue: Queue, mono_ms: u64, max: usize) -> usize {
        let ended = self.leases[queue as usize].expire(mono_ms, max);
        self.ready |= ended > 0;
        ended
    }

    /// Ends all leases: leased records become available again.
    pub fn reset_leases(&mut self) {
        self.leases = Default::default();
    }

    /// Evicts the oldest records of a queue until it has at most `bytes`, but not more than `max` of them. Returns how
    /// many.
    pub fn drop_above(
        &mut self,
        queue: Queue,
        bytes: u64,
        max: u64,
        apply: &mut ApplyContext,
    ) -> u64 {
        let mut dropped = 0;
        while dropped < max && self.own_len(queue) > 0 && self.own_bytes(queue) > bytes {
            self.remove_oldest(queue, 1);
            dropped += 1;
        }
        apply.count_evicted(queue, dropped);
        dropped
    }

    fn push(&mut self, queue: Queue, record: &[u8], apply: &mut ApplyContext) -> u64 {
        let max = apply
            .rules
            .queue_bytes
            .get(queue as usize)
            .copied()
            .unwrap_or(u64::MAX);
        let cost = Fifo::cost(record.len());
        let before = self.own_bytes(queue);
        // As much as it needs and somewhat more; where the limit was lowered, the rest is evicted over time.
        if before.saturating_add(cost) > max {
            let min = before.saturating_sub(2 * cost);
            self.drop_above(queue, max.saturating_sub(cost).max(min), u64::MAX, apply);
            self.drop_above(queue, max.saturating_sub(cost), AT_ONCE, apply);
        }
        // A record that is larger than the whole queue may be is dropped itself.
        let fits = cost <= max;
        if !fits {
            let now_ms = apply.now_ms;
            apply.count(|c| c.drop(Dropped::QueueFull, Some(queue), 1, now_ms));
        }
        let id = self.take_id(apply);
        if let Some(fifo) = self.fifos.get_mut(queue as usize).filter(|_| fits) {
            fifo.push(id, record);
            self.ready = true;
        }
        id
    }

    fn take_id(&mut self, apply: &mut ApplyContext) -> u64 {
        let id = apply.take_id();
        self.last_id = id;
        id
    }

    fn fifo(&self, queue: Queue) -> Option<&Fifo> {
        self.fifos.get(queue as usize)
    }

    fn references(&self, queue: Queue) -> &BTreeMap<u64, u32> {
        &self.references[usize::from(queue == Queue::Reality)]
    }

    fn references_mut(&mut self, queue: Queue) -> &mut BTreeMap<u64, u32> {
        &mut self.references[usize::from(queue == Queue::Reality)]
    }
}

/// Merges two sequences of ids that are sorted, so that `is_before` holds of each and the next.
fn merged(
    own: impl Iterator<Item = u64>,
    imported: impl Iterator<Item = u64>,
    is_before: fn(&u64, &u64) -> bool,
) -> impl Iterator<Item = u64> {
    let (mut own, mut imported) = (own.peekable(), imported.peekable());
    std::iter::from_fn(move || match (own.peek(), imported.peek()) {
        (Some(id), Some(other)) if is_before(id, other) => own.next(),
        (_, Some(_)) => imported.next(),
        (_, None) => own.next(),
    })
}

/// Reads a record of MIN, HOUR or LOG from a saved node, with its tags in canonical form.
pub(crate) fn loaded_entry(
    queue: Queue,
    bytes: &[u8],
    is_version_1: bool,
) -> Result<Cow<'_, [u8]>, DecodeError> {
    let mut converted = Vec::new();
    match queue {
        Queue::Log => {
            let entry = LogEntry::read(bytes)?;
            if let Cow::Owned(tags) = loaded_tags(entry.tags, is_version_1)? {
                let tags = &tags;
                LogEntry { tags, ..entry }.put(&mut converted);
            }
        }
        Queue::Min | Queue::Hour => {
            let record = WindowRecord::read(bytes)?;
            if let Cow::Owned(tags) = loaded_tags(record.tags, is_version_1)? {
                let tags = &tags;
                WindowRecord { tags, ..record }.put(&mut converted);
            }
        }
        Queue::Error | Queue::Reality => {
            return Err(DecodeError("a record in a queue of references"));
        }
    }
    Ok(match converted.is_empty() {
        true => Cow::Borrowed(bytes),
        false => Cow::Owned(converted),
    })
}
