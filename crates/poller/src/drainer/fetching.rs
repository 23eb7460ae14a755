//! Fetching: the commands of the planned fetches, and what becomes of the replies.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use crate::line_protocol;
use crate::spans::of_node;
use agg_client::command::Cmd;
use agg_client::connect::{ClientError, Connection};
use agg_client::fetch::{self, FetchRequest, FetchedRecord};
use agg_client::nodes;
use agg_client::reply::{Reply, Value};
use aggregator_protocol::{Queue, RecordFormat};

use crate::batch::{Batch, Delivery, Record};
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
        reply: Reply,
        start: Instant,
    ) -> Result<(), ClientError> {
        let (fetched, floors) = match reply {
            Ok(value) => {
                let needs_floor = self.node_queues[fetch.indexes[0]].needs_floor();
                read(value, needs_floor).ok_or_else(|| wire.unexpected_reply("AGG.FETCH"))?
            }
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
        let bytes: usize = fetched.iter().map(|one| one.record.len()).sum();
        let is_full = fetched.len() == MAX_RECORDS || bytes >= FULL_BYTES;
        {
            let mut status = self.status.lock();
            status.records += fetched.len() as u64;
            status.bytes += bytes as u64;
        }
        let parts = self.by_queue(fetch.indexes, fetched);
        let parts = parts.ok_or_else(|| wire.unexpected_reply("AGG.FETCH"))?;
        self.schedule(&parts, is_full, start);
        let mut permits = fetch.permits;
        for (index, fetched) in parts {
            let node_queue = &self.node_queues[index];
            let fetched = self
                .ledger
                .new_records(&node_queue.node, node_queue.queue, fetched);
            if !fetched.is_empty() {
                let records = self.records(index, fetched, &floors);
                self.deliver(index, &mut permits, records, start);
            }
        }
        Ok(())
    }

    /// Divides the records of a reply among the queues that were fetched from, in the order of the command. Returns
    /// `None` if one is of another queue.
    fn by_queue(
        &self,
        indexes: Vec<usize>,
        mut fetched: Vec<FetchedRecord>,
    ) -> Option<Vec<(usize, Vec<FetchedRecord>)>> {
        let mut parts = Vec::with_capacity(indexes.len());
        for index in indexes {
            let queue = self.node_queues[index].queue;
            let (part, rest) = fetched.into_iter().partition(|one| one.queue == queue);
            fetched = rest;
            parts.push((index, part));
        }
        fetched.is_empty().then_some(parts)
    }

    /// Sets when to fetch from the queues of a reply again: at once from those with a backlog, after growing pauses from
    /// those that are empty.
    fn schedule(&mut self, parts: &[(usize, Vec<FetchedRecord>)], is_full: bool, start: Instant) {
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

    /// Converts records to the formats that the sinks take.
    fn records(&self, index: usize, fetched: Vec<FetchedRecord>, floors: &Floors) -> Vec<Record> {
        let node_queue = &self.node_queues[index];
        let formats = (
            node_queue.needs(RecordFormat::Json),
            node_queue.needs(RecordFormat::Line),
        );
        let record = |fetched: FetchedRecord| {
            let (json, line) = match formats {
                (false, _) => (None, Some(fetched.record)),
                (true, false) => (Some(fetched.record), None),
                // A fetch has one format, so the other one is derived.
                (true, true) => {
                    let line = line_protocol::from_json(&fetched.record).ok();
                    (Some(fetched.record), line)
                }
            };
            Record {
                id: fetched.id,
                deliveries: fetched.deliveries,
                floor: floors.get(&(fetched.queue, fetched.id)).copied(),
                json,
                line,
            }
        };
        fetched.into_iter().map(record).collect()
    }

    /// Hands the records of one queue to its sinks, with their part of the budget for the reply.
    fn deliver(
        &mut self,
        index: usize,
        permits: &mut [Permit],
        records: Vec<Record>,
        start: Instant,
    ) {
        let node_queue = &self.node_queues[index];
        let bytes = records.iter().map(Record::bytes).sum();
        let number = self.ledger.insert(InFlightBatch {
            node: node_queue.node.clone(),
            queue: node_queue.queue,
            ids: records.iter().map(|record| record.id).collect(),
            leased_until: start + self.table.lease,
            pending_sinks: node_queue.destinations.len(),
            is_abandoned: false,
        });
        let batch = Arc::new(Batch {
            node: node_queue.node.clone(),
            queue: node_queue.queue,
            records,
        });
        for (to, permit) in node_queue.destinations.iter().zip(permits) {
            let permit = permit.split(bytes);
            let mut delivery = Delivery::new(batch.clone(), number, self.report_to.clone(), permit);
            delivery.edits = to.edits.clone();
            // A sink that has ended drops the delivery, which reports it as abandoned.
            let _ = to.sink.inbox.send(delivery);
        }
    }
}

/// The floors of records.
type Floors = HashMap<(Queue, i64), i64>;

/// Reads the reply of a fetch, with the floors of its records if they were asked for; none if it is not one.
fn read(reply: Value, has_floors: bool) -> Option<(Vec<FetchedRecord>, Floors)> {
    if !has_floors {
        return Some((fetch::read_records(reply)?, Floors::new()));
    }
    let floored = fetch::read_floored_records(reply)?;
    let floor = |(record, floor): &(FetchedRecord, i64)| ((record.queue, record.id), *floor);
    let floors = floored.iter().map(floor).collect();
    let records = floored.into_iter().map(|(record, _)| record);
    Some((records.collect(), floors))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_record_has_its_own_floor() {
        let record = |queue: &str, id: i64, floor: i64| {
            Value::Array(vec![
                Value::BulkString(queue.into()),
                Value::Int(id),
                Value::Int(1),
                Value::BulkString("{}".into()),
                Value::Int(floor),
            ])
        };
        let reply = Value::Array(vec![
            record("MIN", 9, 9),
            record("LOG", 5, 3),
            record("LOG", 9, 6),
        ]);
        let (records, floors) = read(reply.clone(), true).unwrap();
        assert_eq!(records.len(), 3);
        assert_eq!(
            floors,
            [
                ((Queue::Min, 9), 9),
                ((Queue::Log, 5), 3),
                ((Queue::Log, 9), 6)
            ]
            .into()
        );
        assert!(read(reply, false).unwrap().1.is_empty());
    }
}
