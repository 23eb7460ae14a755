//! The objects of a node: the latest state of each.
//!
//! An object waits in the queue while its `id` is not 0. An object that was forgotten, or whose TTL has passed, is
//! `gone`: it is kept until that is delivered. Whether an id was delivered (`is_delivered`) is known to the primary
//! only, so the primary decides whether a change gets a new id, and says so in the effect.

use crate::codec::bytes::{Reader, put_i64, put_u64};
use crate::codec::tags::loaded_tags;
use crate::context::ApplyContext;
use crate::error::DecodeError;
use crate::model::{ObjectReport, Queue};
use crate::node::queue::Queues;
use crate::node::table::{Named, Table};
use std::collections::BTreeSet;

/// An object as it is stored.
pub(crate) struct Object {
    key: Box<[u8]>,
    pub model: Box<[u8]>,
    pub json: Box<[u8]>,
    pub identity: u128,
    pub tags: Box<[u8]>,
    /// The time of its last change.
    pub at: i64,
    /// The newest time that was reported, or the time at which it was gone.
    pub newest: i64,
    pub ttl_s: Option<u64>,
    /// The arrival of the last report, by the primary's clock.
    pub seen: i64,
    pub gone: bool,
    /// The id of its record in the queue; 0: none.
    pub id: u64,
    /// Primary only: this id was delivered.
    pub is_delivered: bool,
    /// Primary only: it waited when the node was loaded or promoted, so its id may have been delivered with any
    /// content. It gets a new id before it is delivered again.
    pub content_unknown: bool,
    /// Primary only: the running time of the last arrival.
    pub last_seen: u64,
}

impl Named for Object {
    fn name(&self) -> &[u8] {
        &self.key
    }
}

impl Object {
    /// Returns the bytes of its texts.
    pub fn size(&self) -> usize {
        self.key.len() + self.model.len() + self.json.len() + self.tags.len()
    }

    /// Returns `true` if a report changes nothing but the time.
    pub fn is_same(&self, r: &ObjectReport<'_>) -> bool {
        self.identity == r.identity && self.is_described_by(r)
    }

    /// Returns `true` if it exists with the model and the tags of a report.
    pub fn is_described_by(&self, r: &ObjectReport<'_>) -> bool {
        !self.gone && *self.model == *r.model && *self.tags == *r.tags
    }

    /// Returns `true` if a change of it needs a new id: it does not wait, or its id was delivered.
    pub fn needs_new_id(&self) -> bool {
        self.id == 0 || self.is_delivered
    }

    /// Returns `true` if its TTL has passed without a report.
    pub fn has_ended(&self, mono_ms: u64, setting_s: u64) -> bool {
        let ttl_s = self.ttl_s.unwrap_or(setting_s);
        !self.gone
            && ttl_s != 0
            && self.last_seen.saturating_add(ttl_s.saturating_mul(1000)) <= mono_ms
    }

    /// Writes the form of digests and saved nodes.
    pub fn save(&self, out: &mut Vec<u8>) {
        self.report().put(out);
        put_i64(out, self.newest);
        put_i64(out, self.seen);
        out.push(self.gone.into());
        put_u64(out, self.id);
    }

    /// Reads what `save` wrote.
    pub fn load(r: &mut Reader<'_>, is_version_1: bool) -> Result<Object, DecodeError> {
        let report = ObjectReport::read(r)?;
        report.check()?;
        let tags = &*loaded_tags(report.tags, is_version_1)?;
        let mut object = Object::new(&ObjectReport { tags, ..report });
        (object.newest, object.seen) = (r.ms()?, r.ms()?);
        object.gone = r.u8()? != 0;
        object.id = r.id()?;
        object.is_delivered = true;
        object.content_unknown = true;
        if object.gone && object.id == 0 {
            return Err(DecodeError("an object is removed but not queued"));
        }
        Ok(object)
    }

    fn report(&self) -> ObjectReport<'_> {
        ObjectReport {
            key: &self.key,
            model: &self.model,
            json: &self.json,
            identity: self.identity,
            tags: &self.tags,
            at: self.at,
            ttl_s: self.ttl_s,
        }
    }

    fn new(r: &ObjectReport<'_>) -> Object {
        Object {
            key: r.key.into(),
            model: r.model.into(),
            json: r.json.into(),
            identity: r.identity,
            tags: r.tags.into(),
            at: r.at,
            newest: r.at,
            ttl_s: r.ttl_s,
            seen: 0,
            gone: false,
            id: 0,
            is_delivered: false,
            content_unknown: false,
            last_seen: 0,
        }
    }
}

/// The objects of a node.
pub(crate) struct Objects {
    pub table: Table<Object>,
    /// The ids of objects that are gone, the oldest first.
    gone: BTreeSet<u64>,
    /// The slots that the sweep has not reached yet.
    pub sweep_cursor: u32,
}

impl Objects {
    pub fn new(seed: u64) -> Objects {
        Objects {
            table: Table::new(seed),
            gone: BTreeSet::new(),
            sweep_cursor: 0,
        }
    }

    /// Returns the bytes of an object without its texts.
    pub fn element_size(&self) -> u64 {
        size_of::<Object>() as u64
    }

    /// Returns `true` if the object is stored as this report says.
    pub fn holds(&self, report: &ObjectReport<'_>) -> bool {
        let stored = self
            .table
            .find(report.key)
            .and_then(|slot| self.table.get(slot));
        stored.is_some_and(|object| object.is_same(report))
    }

    /// Returns the number of objects that are not gone.
    pub fn live(&self) -> u64 {
        u64::from(self.table.len()) - self.gone.len() as u64
    }

    /// Returns the number of objects that are gone and not yet delivered.
    pub fn gone(&self) -> u64 {
        self.gone.len() as u64
    }

    /// Returns the oldest id of an object that is gone.
    pub fn oldest_gone(&self) -> Option<u64> {
        self.gone.first().copied()
    }

    /// Stores a new or changed object. `new_id`: as [`Object::needs_new_id`] said on the primary.
    pub fn change(
        &mut self,
        r: &ObjectReport<'_>,
        new_id: bool,
        queues: &mut Queues,
        apply: &mut ApplyContext,
    ) {
        let slot = match self.table.find(r.key) {
            Some(slot) => {
                if let Some(object) = self.table.get_mut(slot) {
                    self.gone.remove(&if object.gone { object.id } else { 0 });
                    let (id, is_delivered, content_unknown) =
                        (object.id, object.is_delivered, object.content_unknown);
                    *object = Object {
                        id,
                        is_delivered,
                        content_unknown,
                        key: std::mem::take(&mut object.key),
                        ..Object::new(r)
                    };
                }
                slot
            }
            None => self.table.insert(Object::new(r)),
        };
        self.touch(slot, r.at, r.ttl_s, apply);
        if new_id || self.table.get(slot).is_some_and(|o| o.id == 0) {
            self.queue(slot, queues, apply);
        }
    }

    /// Records a report of an unchanged object.
    pub fn touch(&mut self, slot: u32, at: i64, ttl_s: Option<u64>, apply: &ApplyContext) {
        if let Some(object) = self.table.get_mut(slot) {
            object.newest = at;
            object.ttl_s = ttl_s;
            object.seen = apply.now_ms;
            object.last_seen = apply.mono_ms;
        }
    }

    /// Records that an object was forgotten or that its TTL has passed: it is gone, and queued as such.
    pub fn end(&mut self, slot: u32, new_id: bool, queues: &mut Queues, apply: &mut ApplyContext) {
        let Some(object) = self.table.get_mut(slot).filter(|o| !o.gone) else {
            return;
        };
        object.gone = true;
        object.at = apply.now_ms;
        object.newest = object.newest.max(apply.now_ms);
        // An object that does not wait has no id to keep, whatever an effect says.
        if new_id || object.id == 0 {
            self.queue(slot, queues, apply);
        } else {
            self.gone.insert(object.id);
        }
    }

    /// Gives it a new record; an old one is removed, leased or not.
    pub fn queue(&mut self, slot: u32, queues: &mut Queues, apply: &mut ApplyContext) {
        let Some(object) = self.table.get_mut(slot) else {
            return;
        };
        if object.id != 0 {
            queues.remove(Queue::Reality, object.id);
            self.gone.remove(&object.id);
        }
        object.id = queues.push_reference(Queue::Reality, slot, apply);
        object.is_delivered = false;
        object.content_unknown = false;
        if object.gone {
            self.gone.insert(object.id);
        }
    }

    /// Notes that its record was popped, acknowledged or dropped: an object that is gone is removed.
    pub fn acknowledge(&mut self, slot: u32, queues: &mut Queues) {
        let Some(object) = self.table.get_mut(slot) else {
            return;
        };
        if object.gone {
            self.gone.remove(&object.id);
            let removed = self.table.remove(slot);
            let has_moved = removed.is_some_and(|r| r.moved_from.is_some());
            if let Some(moved) = self.table.get(slot).filter(|o| has_moved && o.id != 0) {
                queues.set_reference(Queue::Reality, moved.id, slot);
            }
        } else {
            object.id = 0;
            object.is_delivered = false;
            object.content_unknown = false;
        }
    }

    /// Rebuilds what follows from the objects after a load.
    pub fn rebuild(&mut self) {
        self.gone = self
            .table
            .iter()
            .filter(|(_, o)| o.gone)
            .map(|(_, o)| o.id)
            .collect();
    }

    /// Resets the objects after a load or a promotion: all waiting objects count as delivered.
    pub fn restart(&mut self, mono_ms: u64) {
        for slot in 0..self.table.len() {
            if let Some(object) = self.table.get_mut(slot) {
                object.last_seen = mono_ms;
                object.is_delivered = object.id != 0;
                object.content_unknown = object.is_delivered;
            }
        }
    }
}
