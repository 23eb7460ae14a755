//! What of a server the sinks have, and what it is owed for that. Pure.
//!
//! What holds: each batch that was handed over is acknowledged when all its sinks stored it, and given back when one
//! did not, once each; what the server has not confirmed stays owed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use redis::Cmd;

use agg_client::fetch::FetchedRecord;
use aggregator_protocol::NodeName;
use aggregator_protocol::Queue;

use super::batch::Event;

/// A batch that the sinks have.
pub struct Held {
    /// Of this node
    pub node: NodeName,
    /// and queue.
    pub queue: Queue,
    /// In order.
    pub ids: Vec<i64>,
    /// When the lease ends.
    pub until: Instant,
    /// Sinks that have not answered.
    pub waiting: usize,
    /// A sink will not write it.
    pub given_up: bool,
}

impl Held {
    fn command(&self, verb: &str, lease: Option<Duration>) -> Cmd {
        let ids = self.ids.iter().copied();
        command(verb, &self.node, self.queue, lease, ids)
    }
}

fn command(
    verb: &str,
    node: &NodeName,
    queue: Queue,
    lease: Option<Duration>,
    ids: impl Iterator<Item = i64>,
) -> Cmd {
    let mut command = redis::cmd(verb);
    command.arg(&node.0).arg(queue.name());
    if let Some(lease) = lease {
        command.arg(lease.as_millis() as u64);
    }
    ids.for_each(|id| {
        command.arg(id);
    });
    command
}

/// What is to be sent now.
pub struct Due {
    /// First what is owed, then the extensions.
    pub commands: Vec<Cmd>,
    /// How many of the commands are owed.
    pub owed: usize,
    extended: Vec<u64>,
    until: Instant,
}

/// The books of one server.
pub struct Ledger {
    lease: Duration,
    held: BTreeMap<u64, Held>,
    last: u64,
    /// ACK and NACK that the server has not confirmed.
    owed: Vec<Cmd>,
}

impl Ledger {
    /// Nothing is held and nothing owed; leases are for so long.
    pub fn new(lease: Duration) -> Ledger {
        Ledger {
            lease,
            held: BTreeMap::new(),
            last: 0,
            owed: Vec::new(),
        }
    }

    /// Whether nothing is held and nothing owed.
    pub fn clear(&self) -> bool {
        self.held.is_empty() && self.owed.is_empty()
    }

    /// Whether something is owed.
    pub fn owes(&self) -> bool {
        !self.owed.is_empty()
    }

    /// Sets for how long leases are from now on.
    pub fn set_lease(&mut self, lease: Duration) {
        self.lease = lease;
    }

    /// Notes a batch; returns its number, by which the sinks answer.
    pub fn hold(&mut self, held: Held) -> u64 {
        self.last += 1;
        self.held.insert(self.last, held);
        self.last
    }

    /// Of entries that came, those that the sinks do not have already.
    pub fn news(
        &self,
        node: &NodeName,
        queue: Queue,
        mut entries: Vec<FetchedRecord>,
    ) -> Vec<FetchedRecord> {
        for held in self.held.values() {
            if held.queue == queue && held.node == *node {
                entries.retain(|entry| held.ids.binary_search(&entry.id).is_err());
            }
        }
        entries
    }

    /// Takes a sink's answer.
    pub fn take(&mut self, event: Event) {
        let (number, given_up) = match event {
            Event::Stored(number) => (number, false),
            Event::GivenUp(number) => (number, true),
        };
        // What was given back at the end may be answered late.
        let Some(held) = self.held.get_mut(&number) else {
            return;
        };
        held.waiting -= 1;
        held.given_up |= given_up;
        if held.waiting == 0 {
            let verb = if held.given_up { "AGG.NACK" } else { "AGG.ACK" };
            self.owed.push(held.command(verb, None));
            self.held.remove(&number);
        }
    }

    /// Gives back all that the sinks still have.
    pub fn give_back_all(&mut self) {
        for held in std::mem::take(&mut self.held).values() {
            self.owed.push(held.command("AGG.NACK", None));
        }
    }

    /// What is owed, and an extension of each lease of which half is over.
    pub fn due(&self, now: Instant) -> Due {
        let mut commands = self.owed.clone();
        let mut extended = Vec::new();
        for (number, held) in &self.held {
            if held.until.saturating_duration_since(now) <= self.lease / 2 {
                commands.push(held.command("AGG.EXTEND", Some(self.lease)));
                extended.push(*number);
            }
        }
        Due {
            commands,
            owed: self.owed.len(),
            extended,
            until: now + self.lease,
        }
    }

    /// Notes that the server has done what was due.
    pub fn settled(&mut self, due: Due) {
        self.owed.drain(..due.owed);
        for number in due.extended {
            if let Some(held) = self.held.get_mut(&number) {
                held.until = due.until;
            }
        }
    }

    /// When the next lease has to be extended.
    pub fn next(&self) -> Option<Instant> {
        let half = |held: &Held| held.until - self.lease / 2;
        self.held.values().map(half).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(30);

    fn ledger(now: Instant, waiting: usize) -> Ledger {
        let mut ledger = Ledger::new(LEASE);
        let number = ledger.hold(Held {
            node: NodeName(b"n1".to_vec()),
            queue: Queue::Log,
            ids: vec![5, 7],
            until: now + LEASE,
            waiting,
            given_up: false,
        });
        assert_eq!(number, 1);
        ledger
    }

    fn words(due: &Due) -> Vec<String> {
        let text = |command: &Cmd| {
            let packed = String::from_utf8(command.get_packed_command()).unwrap();
            let words: Vec<&str> = packed.split("\r\n").skip(2).step_by(2).collect();
            words.join(" ")
        };
        due.commands.iter().map(text).collect()
    }

    #[test]
    fn it_is_acknowledged_when_all_sinks_have_it() {
        let now = Instant::now();
        let mut ledger = ledger(now, 2);
        ledger.take(Event::Stored(1));
        assert!(words(&ledger.due(now)).is_empty());
        ledger.take(Event::Stored(1));
        assert_eq!(words(&ledger.due(now)), ["AGG.ACK n1 LOG 5 7"]);
        // Not confirmed: still owed.
        let due = ledger.due(now);
        assert_eq!((words(&due).len(), ledger.clear()), (1, false));
        ledger.settled(due);
        assert!(ledger.clear());
    }

    #[test]
    fn what_one_sink_gave_up_is_given_back_once() {
        let now = Instant::now();
        let mut ledger = ledger(now, 2);
        ledger.take(Event::GivenUp(1));
        assert!(words(&ledger.due(now)).is_empty());
        ledger.take(Event::Stored(1));
        assert_eq!(words(&ledger.due(now)), ["AGG.NACK n1 LOG 5 7"]);
        ledger.give_back_all();
        ledger.take(Event::Stored(1));
        assert_eq!(ledger.due(now).owed, 1);
    }

    #[test]
    fn a_lease_is_extended_when_half_of_it_is_over() {
        let now = Instant::now();
        let mut ledger = ledger(now, 1);
        assert_eq!(ledger.next(), Some(now + LEASE / 2));
        assert!(words(&ledger.due(now + LEASE / 3)).is_empty());
        let due = ledger.due(now + LEASE / 2);
        assert_eq!(words(&due), ["AGG.EXTEND n1 LOG 30000 5 7"]);
        assert_eq!(due.owed, 0);
        ledger.settled(due);
        assert_eq!(ledger.next(), Some(now + LEASE));
        // One that has ended is asked for all the same: nobody else may have got it.
        assert_eq!(ledger.due(now + 9 * LEASE).commands.len(), 1);
    }

    #[test]
    fn what_the_sinks_have_is_no_news() {
        let ledger = ledger(Instant::now(), 1);
        let entries = |ids: &[i64]| -> Vec<FetchedRecord> {
            let entry = |id: &i64| FetchedRecord {
                queue: Queue::Log,
                id: *id,
                deliveries: 1,
                record: vec![],
            };
            ids.iter().map(entry).collect()
        };
        let node = NodeName(b"n1".to_vec());
        let news = ledger.news(&node, Queue::Log, entries(&[4, 5, 6, 7]));
        assert_eq!(news, entries(&[4, 6]));
        assert_eq!(ledger.news(&node, Queue::Min, entries(&[5])).len(), 1);
        let other = NodeName(b"n2".to_vec());
        assert_eq!(ledger.news(&other, Queue::Log, entries(&[5])).len(), 1);
    }
}
