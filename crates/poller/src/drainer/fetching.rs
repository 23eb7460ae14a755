//! Fetching: the commands of the planned fetches, and what becomes of the replies.

use std::sync::Arc;
use std::time::Instant;

use crate::line_protocol;
use crate::spans::of_node;
use agg_client::command::Cmd;
use agg_client::connect::{ClientError, Connection};
use agg_client::fetch::{self, FetchRequest, FetchedRecord};
use agg_client::nodes;
use agg_client::reply::{Reply, Value};
use aggregator_protocol::RecordFormat;

use crate::batch::{Batch, Delivery, Record};
use crate::ledger::InFlightBatch;

use super::plan::PendingFetch;
use super::{Drainer, MIN_PAUSE};

/// The maximum number of records of one fetch.
const MAX_RECORDS: usize = 2000;
/// A reply of at least this many bytes ended because of its size.
const FULL_BYTES: usize = (1 << 20) * 3 / 4;

impl Drainer {
    pub(super) fn command(&self, fetch: &PendingFetch) -> Cmd {
        let node_queue = &self.node_queues[fetch.index];
        let json = node_queue.needs(RecordFormat::Json);
        let request = FetchRequest {
            queues: vec![node_queue.queue],
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
        let (fetched, floor) = match reply {
            Ok(value) => {
                let needs_floor = self.node_queues[fetch.index].needs_floor();
                read(value, needs_floor).ok_or_else(|| wire.unexpected_reply("AGG.FETCH"))?
            }
            Err(text) => {
                let node = &self.node_queues[fetch.index].node;
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
                self.node_queues[fetch.index].due = start + pause;
                return Ok(());
            }
        };
        let bytes: usize = fetched.iter().map(|one| one.record.len()).sum();
        self.schedule(fetch.index, fetched.len(), bytes);
        {
            let mut status = self.status.lock();
            status.records += fetched.len() as u64;
            status.bytes += bytes as u64;
        }
        let node_queue = &self.node_queues[fetch.index];
        let fetched = self
            .ledger
            .new_records(&node_queue.node, node_queue.queue, fetched);
        if fetched.is_empty() {
            return Ok(());
        }
        let records = self.records(fetch.index, fetched);
        self.deliver(fetch, (records, floor), start);
        Ok(())
    }

    /// Sets when to fetch from a queue again: at once while it has a backlog, after growing backoff while it is empty.
    fn schedule(&mut self, index: usize, records: usize, bytes: usize) {
        let (longest, now) = (self.table.poll_interval, Instant::now());
        let node_queue = &mut self.node_queues[index];
        node_queue.has_backlog = records == MAX_RECORDS || bytes >= FULL_BYTES;
        if node_queue.has_backlog {
            (node_queue.due, node_queue.pause) = (now, MIN_PAUSE);
            return;
        }
        if records > 0 {
            node_queue.pause = MIN_PAUSE;
        }
        node_queue.due = now + node_queue.pause.min(longest);
        node_queue.pause = (node_queue.pause * 2).min(longest);
    }

    /// Converts records to the formats that the sinks take.
    fn records(&self, index: usize, fetched: Vec<FetchedRecord>) -> Vec<Record> {
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
                json,
                line,
            }
        };
        fetched.into_iter().map(record).collect()
    }

    /// Hands records, with the floor of their queue, to the sinks.
    fn deliver(
        &mut self,
        fetch: PendingFetch,
        (records, floor): (Vec<Record>, Option<i64>),
        start: Instant,
    ) {
        let node_queue = &self.node_queues[fetch.index];
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
            floor,
            records,
        });
        for (to, mut permit) in node_queue.destinations.iter().zip(fetch.permits) {
            permit.resize(bytes);
            let mut delivery = Delivery::new(batch.clone(), number, self.report_to.clone(), permit);
            delivery.edits = to.edits.clone();
            // A sink that has ended drops the delivery, which reports it as abandoned.
            let _ = to.sink.inbox.send(delivery);
        }
    }
}

/// Reads the reply of a fetch from one queue, with the floor of the queue if that was asked for; none if it is not one.
fn read(reply: Value, has_floor: bool) -> Option<(Vec<FetchedRecord>, Option<i64>)> {
    if !has_floor {
        return Some((fetch::read_records(reply)?, None));
    }
    let floored = fetch::read_floored_records(reply)?;
    let floor = floored.iter().map(|(_, floor)| *floor).min();
    let records = floored.into_iter().map(|(record, _)| record);
    Some((records.collect(), floor))
}
