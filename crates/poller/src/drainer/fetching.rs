//! Fetching: the commands of the planned fetches, and what becomes of the replies.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use crate::spans::of_node;
use agg_client::command::Cmd;
use agg_client::connect::{ClientError, Connection, ServerError};
use agg_client::fetch::{FetchRequest, FetchedReply, PlacedRecord};
use agg_client::nodes;
use aggregator_protocol::RecordFormat;

use crate::batch::{Batch, Delivery};
use crate::budget::Permit;
use crate::ledger::InFlightBatch;

use super::plan::PendingFetch;
use super::{Drainer, MIN_PAUSE};

/// The maximum number of records of one fetch.
const MAX_RECORDS: usize = 2000;
/// A reply of at least this many bytes ended because of its size.
const FULL_BYTES: usize = (1 << 20) * 3 / 4;

impl Drainer {
    pub(super) fn command(&self, fetch: &PendingFetch) -> Cmd {
        // All of them lead to the same sinks.
        let node_queue = &self.node_queues[fetch.indexes[0]];
        let json = node_queue.needs(RecordFormat::Json);
        let queue = |index: &usize| self.node_queues[*index].queue;
        let request = FetchRequest {
            queues: fetch.indexes.iter().map(queue).collect(),
            format: if json {
                RecordFormat::Json
            } else {
                RecordFormat::Line
            },
            lease: self.table.lease,
        };
        let mut command = request.fetch(&node_queue.node, MAX_RECORDS as u64, None);
        if node_queue.needs_floor() {
            command.arg("WITHFLOOR");
        }
        command
    }

    /// Hands the records of a reply to the sinks.
    pub(super) fn received(
        &mut self,
        wire: &Connection,
        fetch: PendingFetch,
        reply: Result<Option<FetchedReply>, ServerError>,
        start: Instant,
    ) -> Result<(), ClientError> {
        let reply = match reply {
            Ok(reply) => reply.ok_or_else(|| wire.unexpected_reply("AGG.FETCH"))?,
            Err(text) => {
                let node = &self.node_queues[fetch.indexes[0]].node;
                if text.code == "READONLY" {
                    return Err(wire.rejected("AGG.FETCH", &text));
                }
                // A key that was a node at the time of the scan may have been deleted or moved since.
                if !text.is_elsewhere() {
                    let what = format!("AGG.FETCH from node {node}");
                    let text = wire.rejected(&what, &text).to_string();
                    of_node(node).in_scope(|| self.once.warn(&text));
                }
                let pause = nodes::LIST_TTL.max(self.table.poll_interval);
                for index in fetch.indexes {
                    self.node_queues[index].due = start + pause;
                }
                return Ok(());
            }
        };
        let FetchedReply { bytes, records } = reply;
        let needs_floor = self.node_queues[fetch.indexes[0]].needs_floor();
        if needs_floor && records.iter().any(|one| one.floor.is_none()) {
            return Err(wire.unexpected_reply("AGG.FETCH"));
        }
        let length: usize = records.iter().map(|one| one.place.len()).sum();
        let is_full = records.len() == MAX_RECORDS || length >= FULL_BYTES;
        {
            let mut status = self.status.lock();
            status.records += records.len() as u64;
            status.bytes += length as u64;
        }
        let mut parts = self
            .by_queue(fetch.indexes, records)
            .ok_or_else(|| wire.unexpected_reply("AGG.FETCH"))?;
        self.schedule(&parts, is_full, start);
        parts.retain(|(_, placed)| !placed.is_empty());
        let mut permits = fetch.permits;
        let (last, before) = match parts.split_last() {
            Some((last, before)) => (last, before),
            None => return Ok(()),
        };
        for part in before {
            self.deliver(part, Cow::Borrowed(&bytes), &mut permits, start);
        }
        self.deliver(last, Cow::Owned(bytes), &mut permits, start);
        Ok(())
    }

    /// Divides the records of a reply among the queues that were fetched from, in the order of the command. Returns
    /// `None` if one is of another queue.
    fn by_queue(
        &self,
        indexes: Vec<usize>,
        mut fetched: Vec<PlacedRecord>,
    ) -> Option<Vec<(usize, Vec<PlacedRecord>)>> {
        let mut parts = Vec::with_capacity(indexes.len());
        for index in indexes {
            let queue = self.node_queues[index].queue;
            // Most replies have records of one queue, which are not moved.
            let (part, rest) = match fetched.iter().all(|one| one.queue == queue) {
                true => (fetched, Vec::new()),
                false => fetched.into_iter().partition(|one| one.queue == queue),
            };
            fetched = rest;
            parts.push((index, part));
        }
        fetched.is_empty().then_some(parts)
    }

    /// Sets when to fetch from the queues of a reply again: at once from those with a backlog, after growing pauses from
    /// those that are empty.
    fn schedule(&mut self, parts: &[(usize, Vec<PlacedRecord>)], is_full: bool, start: Instant) {
        let (longest, now) = (self.table.poll_interval, Instant::now());
        // The server takes the queues in order. If the reply is full it ended in the last one that has records, and did
        // not get to those behind it.
        let last = parts.iter().rposition(|(_, records)| !records.is_empty());
        for (place, (index, records)) in parts.iter().enumerate() {
            let node_queue = &mut self.node_queues[*index];
            node_queue.has_backlog = is_full && last.is_some_and(|last| place >= last);
            if node_queue.has_backlog {
                (node_queue.due, node_queue.pause) = (now, MIN_PAUSE);
                continue;
            }
            // One that was fetched from before it was due, since another one was, has as long a pause as before.
            let was_due = node_queue.due <= start;
            if !records.is_empty() {
                node_queue.pause = MIN_PAUSE;
            }
            node_queue.due = now + node_queue.pause.min(longest);
            if was_due || !records.is_empty() {
                node_queue.pause = (node_queue.pause * 2).min(longest);
            }
        }
    }

    /// Hands the records of one queue that are not in flight to its sinks, with their part of the budget for the reply.
    fn deliver(
        &mut self,
        (index, placed): &(usize, Vec<PlacedRecord>),
        reply: Cow<'_, [u8]>,
        permits: &mut [Permit],
        start: Instant,
    ) {
        let node_queue = &self.node_queues[*index];
        let (node, queue) = (&node_queue.node, node_queue.queue);
        let new = self.ledger.new_records(node, queue, placed);
        if new.is_empty() {
            return;
        }
        let mut batch = Batch::new(node.clone(), queue);
        let formats = (
            node_queue.needs(RecordFormat::Json),
            node_queue.needs(RecordFormat::Line),
        );
        match formats {
            (false, _) => batch.place(&new, reply, RecordFormat::Line),
            (true, is_both) => {
                batch.place(&new, reply, RecordFormat::Json);
                // A fetch has one format, so the other one is derived.
                if is_both {
                    batch.add_lines();
                }
            }
        }
        let bytes = batch.bytes();
        let number = self.ledger.insert(InFlightBatch {
            node: node.clone(),
            queue,
            ids: new.iter().map(|record| record.id).collect(),
            leased_until: start + self.table.lease,
            pending_sinks: node_queue.destinations.len(),
            is_abandoned: false,
        });
        let batch = Arc::new(batch);
        for (to, permit) in node_queue.destinations.iter().zip(permits) {
            let permit = permit.split(bytes);
            let mut delivery = Delivery::new(batch.clone(), number, self.report_to.clone(), permit);
            delivery.edits = to.edits.clone();
            // A sink that has ended drops the delivery, which reports it as abandoned.
            let _ = to.sink.inbox.send(delivery);
        }
    }
}
