//! AGG.IMPORT on the primary: decides which records of another server are accepted.
//!
//! No record of any node is evicted for them, since their sender keeps what does not fit. As many are accepted, from the
//! first, as fit below the limits of the queue and of memory.

use crate::context::WriteContext;
use crate::model::Queue;
use crate::node::Node;
use crate::node::queue::imported::{Imported, MAX_RANGES, first_of};

/// Records of another server.
#[derive(Clone, Copy)]
pub(crate) struct Import<'a> {
    pub queue: Queue,
    /// The floor of the records: from this id to the last record, the sender has no records but these and those that the
    /// node already has; 0: not given.
    pub floor: u64,
    /// Ids and texts; the ids grow strictly.
    pub records: &'a [(u64, &'a [u8])],
}

/// The reason for which no record is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ImportError {
    /// The record of this index has the id of a record of the node itself.
    Conflict(usize),
    /// There is no space for the first record.
    Refused(Shortage),
}

/// The limit that leaves no space for a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shortage {
    /// `queue-import`.
    Queue,
    /// [`MAX_RANGES`].
    Ranges,
    /// A memory limit, with the bytes that the record needs.
    Memory(u64),
}

/// The space that is left for records.
struct Space {
    queue_bytes: u64,
    max_queue_bytes: u64,
    memory: u64,
}

impl Space {
    /// Takes the space for a record that covers the ids from `first` to `id`.
    fn take(
        &mut self,
        imported: Option<&Imported>,
        (first, id): (u64, u64),
        len: usize,
    ) -> Result<(), Shortage> {
        let bytes = self.queue_bytes.saturating_add(Imported::cost(len));
        if bytes > self.max_queue_bytes {
            return Err(Shortage::Queue);
        }
        let is_full = |i: &Imported| i.ranges_len() >= MAX_RANGES;
        if imported.is_some_and(|i| is_full(i) && i.opens_range(first, id)) {
            return Err(Shortage::Ranges);
        }
        let cost = Node::import_cost(len);
        self.memory = self
            .memory
            .checked_sub(cost)
            .ok_or(Shortage::Memory(cost))?;
        self.queue_bytes = bytes;
        Ok(())
    }
}

impl Node {
    /// Imports records. Returns how many, from the first, the node has now or had. Nothing is changed on an error.
    pub(crate) fn import(
        &mut self,
        import: Import<'_>,
        ctx: &mut WriteContext<'_>,
    ) -> Result<u64, ImportError> {
        let Import { queue, records, .. } = import;
        if let Some(at) = self.conflict(queue, records) {
            return Err(ImportError::Conflict(at));
        }
        let mut space = Space {
            queue_bytes: self.queues.imported_bytes(queue),
            max_queue_bytes: ctx.settings.queue_import,
            memory: ctx.memory.spare().saturating_sub(self.first_import_cost()),
        };
        let (mut stored, mut shortage, mut accepted) = (0, None, Vec::new());
        for &(id, text) in records {
            let imported = self.queues.imported(queue);
            let is_new = !imported.is_some_and(|i| i.is_known(id));
            let first = first_of(import.floor, id);
            if is_new && let Err(too_little) = space.take(imported, (first, id), text.len()) {
                shortage = Some(too_little);
                break;
            }
            if is_new && self.queues.import(queue, first, id, text) {
                accepted.push((id, text));
            }
            stored += 1;
        }
        let new = accepted.len() as u64;
        let refused = records.len() as u64 - stored;
        ctx.apply.count(|c| {
            c.imported = c.imported.saturating_add(new);
            c.import_duplicates = c.import_duplicates.saturating_add(stored - new);
            c.import_refused = c.import_refused.saturating_add(refused);
        });
        if let Some(shortage) = shortage.filter(|_| stored == 0) {
            return Err(ImportError::Refused(shortage));
        }
        if new > 0 {
            ctx.effects.import(queue, import.floor, &accepted);
        }
        Ok(stored)
    }

    /// Returns the first record that is not known and has the id of a record of the node itself.
    fn conflict(&self, queue: Queue, records: &[(u64, &[u8])]) -> Option<usize> {
        let imported = self.queues.imported(queue);
        let is_known = |id| imported.is_some_and(|i| i.is_known(id));
        let conflicts = |(id, _): &(u64, &[u8])| self.queues.is_own(queue, *id) && !is_known(*id);
        records.iter().position(conflicts)
    }
}
