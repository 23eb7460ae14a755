//! Tracks the batches of one server that are in flight to sinks, and the acknowledgements still to be sent. No I/O.
//!
//! # Invariants
//!
//! A batch is acknowledged (AGG.ACK) when all its sinks have stored it, and released (AGG.NACK) when one of them has
//! not, once each. A command stays in the list of unconfirmed ones until the server has confirmed it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use agg_client::command::Cmd;

use agg_client::fetch::PlacedRecord;
use aggregator_protocol::{NodeName, Queue};

use super::batch::DeliveryStatus;

/// A batch that was handed to its sinks.
pub struct InFlightBatch {
    /// The node that the records are from.
    pub node: NodeName,
    /// The queue that the records are from.
    pub queue: Queue,
    /// The ids of the records, in ascending order.
    pub ids: Vec<i64>,
    /// The time at which the lease ends.
    pub leased_until: Instant,
    /// The number of sinks that have not reported yet.
    pub pending_sinks: usize,
    /// True if a sink has reported that it will not write the batch.
    pub is_abandoned: bool,
}

impl InFlightBatch {
    /// Builds a command about all records of the batch.
    fn command(&self, name: &str, lease: Option<Duration>) -> Cmd {
        let mut command = Cmd::of_node(name, &self.node);
        command.arg(self.queue.name());
        if let Some(lease) = lease {
            command.arg(lease.as_millis() as u64);
        }
        command.args(&self.ids);
        command
    }
}

/// The commands that have to be sent now.
pub struct DueCommands {
    /// The unconfirmed acknowledgements, then the extensions of leases.
    pub commands: Vec<Cmd>,
    /// The number of the commands that are acknowledgements.
    pub acknowledgements: usize,
    extended: Vec<u64>,
    leased_until: Instant,
}

/// The batches and acknowledgements of one server.
pub struct Ledger {
    lease: Duration,
    in_flight: BTreeMap<u64, InFlightBatch>,
    last_number: u64,
    /// AGG.ACK and AGG.NACK that the server has not confirmed.
    unconfirmed: Vec<Cmd>,
}

impl Ledger {
    /// Creates an empty ledger for leases of this length.
    pub fn new(lease: Duration) -> Ledger {
        Ledger {
            lease,
            in_flight: BTreeMap::new(),
            last_number: 0,
            unconfirmed: Vec::new(),
        }
    }

    /// Returns whether nothing is in flight and nothing unconfirmed.
    pub fn is_empty(&self) -> bool {
        self.in_flight.is_empty() && self.unconfirmed.is_empty()
    }

    /// Returns whether an acknowledgement is unconfirmed.
    pub fn has_unconfirmed(&self) -> bool {
        !self.unconfirmed.is_empty()
    }

    /// Sets the length of leases from now on.
    pub fn set_lease(&mut self, lease: Duration) {
        self.lease = lease;
    }

    /// Adds a batch. Returns its number, by which the sinks report on it.
    pub fn insert(&mut self, batch: InFlightBatch) -> u64 {
        self.last_number += 1;
        self.in_flight.insert(self.last_number, batch);
        self.last_number
    }

    /// Returns those of the fetched records that are not in flight.
    pub fn new_records<'a>(
        &self,
        node: &NodeName,
        queue: Queue,
        records: &'a [PlacedRecord],
    ) -> Cow<'a, [PlacedRecord]> {
        let mut new = Cow::Borrowed(records);
        let ids = || records.iter().map(|record| record.id);
        let (Some(lowest), Some(highest)) = (ids().min(), ids().max()) else {
            return new;
        };
        for batch in self.in_flight.values() {
            // Ids grow, so a reply rarely has one that a batch could have, and need not be looked up in it.
            let overlaps = batch.ids.first().is_some_and(|first| *first <= highest)
                && batch.ids.last().is_some_and(|last| *last >= lowest);
            if overlaps && batch.queue == queue && batch.node == *node {
                new.to_mut()
                    .retain(|record| batch.ids.binary_search(&record.id).is_err());
            }
        }
        new
    }

    /// Records the report of one sink.
    pub fn record(&mut self, status: DeliveryStatus) {
        let (number, is_abandoned) = match status {
            DeliveryStatus::Stored(number) => (number, false),
            DeliveryStatus::Abandoned(number) => (number, true),
        };
        // A sink may report late on a batch that was released at shutdown.
        let Some(batch) = self.in_flight.get_mut(&number) else {
            return;
        };
        batch.pending_sinks -= 1;
        batch.is_abandoned |= is_abandoned;
        if batch.pending_sinks == 0 {
            let name = if batch.is_abandoned {
                "AGG.NACK"
            } else {
                "AGG.ACK"
            };
            self.unconfirmed.push(batch.command(name, None));
            self.in_flight.remove(&number);
        }
    }

    /// Releases all batches that are in flight.
    pub fn release_all(&mut self) {
        for batch in std::mem::take(&mut self.in_flight).values() {
            self.unconfirmed.push(batch.command("AGG.NACK", None));
        }
    }

    /// Returns the unconfirmed acknowledgements, and an extension of each lease of which half is over.
    pub fn due(&self, now: Instant) -> DueCommands {
        let mut commands = self.unconfirmed.clone();
        let mut extended = Vec::new();
        for (number, batch) in &self.in_flight {
            if batch.leased_until.saturating_duration_since(now) <= self.lease / 2 {
                commands.push(batch.command("AGG.EXTEND", Some(self.lease)));
                extended.push(*number);
            }
        }
        DueCommands {
            commands,
            acknowledgements: self.unconfirmed.len(),
            extended,
            leased_until: now + self.lease,
        }
    }

    /// Notes that the server has executed the due commands.
    pub fn confirm(&mut self, due: DueCommands) {
        self.unconfirmed.drain(..due.acknowledgements);
        for number in due.extended {
            if let Some(batch) = self.in_flight.get_mut(&number) {
                batch.leased_until = due.leased_until;
            }
        }
    }

    /// Returns when the next lease has to be extended.
    pub fn next_extension(&self) -> Option<Instant> {
        let half = |batch: &InFlightBatch| batch.leased_until - self.lease / 2;
        self.in_flight.values().map(half).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(30);

    fn ledger(now: Instant, pending_sinks: usize) -> Ledger {
        let mut ledger = Ledger::new(LEASE);
        let number = ledger.insert(InFlightBatch {
            node: NodeName(b"n1".to_vec()),
            queue: Queue::Log,
            ids: vec![5, 7],
            leased_until: now + LEASE,
            pending_sinks,
            is_abandoned: false,
        });
        assert_eq!(number, 1);
        ledger
    }

    fn words(due: &DueCommands) -> Vec<String> {
        let text = |command: &Cmd| {
            let packed = String::from_utf8(command.to_bytes()).unwrap();
            let words: Vec<&str> = packed.split("\r\n").skip(2).step_by(2).collect();
            words.join(" ")
        };
        due.commands.iter().map(text).collect()
    }

    #[test]
    fn batch_is_acknowledged_when_all_sinks_have_stored_it() {
        let now = Instant::now();
        let mut ledger = ledger(now, 2);
        ledger.record(DeliveryStatus::Stored(1));
        assert!(words(&ledger.due(now)).is_empty());
        ledger.record(DeliveryStatus::Stored(1));
        assert_eq!(words(&ledger.due(now)), ["AGG.ACK n1 LOG 5 7"]);
        // Not confirmed, so it is due again.
        let due = ledger.due(now);
        assert_eq!((words(&due).len(), ledger.is_empty()), (1, false));
        ledger.confirm(due);
        assert!(ledger.is_empty());
    }

    #[test]
    fn batch_that_a_sink_abandoned_is_released_once() {
        let now = Instant::now();
        let mut ledger = ledger(now, 2);
        ledger.record(DeliveryStatus::Abandoned(1));
        assert!(words(&ledger.due(now)).is_empty());
        ledger.record(DeliveryStatus::Stored(1));
        assert_eq!(words(&ledger.due(now)), ["AGG.NACK n1 LOG 5 7"]);
        ledger.release_all();
        ledger.record(DeliveryStatus::Stored(1));
        assert_eq!(ledger.due(now).acknowledgements, 1);
    }

    #[test]
    fn lease_is_extended_when_half_of_it_is_over() {
        let now = Instant::now();
        let mut ledger = ledger(now, 1);
        assert_eq!(ledger.next_extension(), Some(now + LEASE / 2));
        assert!(words(&ledger.due(now + LEASE / 3)).is_empty());
        let due = ledger.due(now + LEASE / 2);
        assert_eq!(words(&due), ["AGG.EXTEND n1 LOG 30000 5 7"]);
        assert_eq!(due.acknowledgements, 0);
        ledger.confirm(due);
        assert_eq!(ledger.next_extension(), Some(now + LEASE));
        // An expired lease is extended all the same: nobody else may have fetched the records.
        assert_eq!(ledger.due(now + 9 * LEASE).commands.len(), 1);
    }

    #[test]
    fn entries_in_flight_are_not_new() {
        let ledger = ledger(Instant::now(), 1);
        let records = |ids: &[i64]| -> Vec<PlacedRecord> {
            let record = |id: &i64| PlacedRecord {
                queue: Queue::Log,
                id: *id,
                deliveries: 1,
                floor: None,
                place: 0..0,
            };
            ids.iter().map(record).collect()
        };
        let node = NodeName(b"n1".to_vec());
        let new = |node: &NodeName, queue, ids| -> Vec<i64> {
            let records = records(ids);
            let new = ledger.new_records(node, queue, &records);
            new.iter().map(|record| record.id).collect()
        };
        assert_eq!(new(&node, Queue::Log, &[4, 5, 6, 7]), [4, 6]);
        for ids in [&[5][..], &[7], &[7, 5], &[]] {
            assert!(new(&node, Queue::Log, ids).is_empty());
        }
        for ids in [&[1, 4][..], &[6], &[8, 9], &[9, 1]] {
            assert_eq!(new(&node, Queue::Log, ids), ids);
        }
        assert_eq!(new(&node, Queue::Min, &[5]), [5]);
        let other = NodeName(b"n2".to_vec());
        assert_eq!(new(&other, Queue::Log, &[5]), [5]);
    }
}
