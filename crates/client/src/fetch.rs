//! Fetching of records, and how they are settled afterwards. No I/O.

use std::time::Duration;

use aggregator_protocol::{NodeName, Queue, RecordFormat};

use crate::command::{Ack, Cmd, Command, Fetch, Nack};

pub use crate::command::{FetchedRecord, read_floored_records, read_records};
pub use crate::connect::{FetchedReply, PlacedRecord};

/// The records to fetch from each node.
#[derive(Clone, Debug)]
pub struct FetchRequest {
    /// The queues.
    pub queues: Vec<Queue>,
    /// The format of the records.
    pub format: RecordFormat,
    /// The time for which other consumers do not get the records.
    pub lease: Duration,
}

impl FetchRequest {
    /// Returns the command that fetches up to `count` records, and waits for `block` while there are none.
    pub fn fetch(&self, node: &NodeName, count: u64, block: Option<Duration>) -> Cmd {
        let fetch = Fetch::new(node, &self.queues)
            .count(count)
            .lease(self.lease)
            .format(self.format);
        match block {
            Some(block) => fetch.block(block).to_cmd(),
            None => fetch.to_cmd(),
        }
    }
}

/// Returns the commands that acknowledge the first `done` of the records and end the leases of the others.
pub fn settle(node: &NodeName, records: &[FetchedRecord], done: usize) -> Vec<Cmd> {
    let (done, back) = records.split_at(done);
    let acks = by_queue(done).map(|(queue, ids)| Ack::new(node, queue, &ids).to_cmd());
    let nacks = by_queue(back).map(|(queue, ids)| Nack::new(node, queue, &ids).to_cmd());
    acks.chain(nacks).collect()
}

/// The ids of the records of each queue that has any.
fn by_queue(records: &[FetchedRecord]) -> impl Iterator<Item = (Queue, Vec<i64>)> {
    Queue::ALL.into_iter().filter_map(|queue| {
        let of_queue = records.iter().filter(|record| record.queue == queue);
        let ids: Vec<i64> = of_queue.map(|record| record.id).collect();
        (!ids.is_empty()).then_some((queue, ids))
    })
}

#[cfg(test)]
mod tests {
    use crate::command::Import;
    use crate::reply::Value;

    use super::*;

    fn words(command: &Cmd) -> String {
        let packed = String::from_utf8(command.to_bytes()).unwrap();
        let lines: Vec<&str> = packed.split("\r\n").collect();
        lines
            .iter()
            .skip(2)
            .step_by(2)
            .copied()
            .collect::<Vec<_>>()
            .join(" ")
    }

    fn node() -> NodeName {
        NodeName(b"n1".to_vec())
    }

    fn value(queue: &str, id: i64, record: &str) -> Value {
        Value::Array(vec![
            Value::BulkString(queue.into()),
            Value::Int(id),
            Value::Int(1),
            Value::BulkString(record.into()),
        ])
    }

    #[test]
    fn fetch_names_everything() {
        let (queues, lease) = (vec![Queue::Min, Queue::Log], Duration::from_secs(30));
        let request = FetchRequest {
            queues,
            format: RecordFormat::Json,
            lease,
        };
        assert_eq!(
            words(&request.fetch(&node(), 7, None)),
            "AGG.FETCH n1 MIN LOG COUNT 7 LEASE 30000 FORMAT JSON"
        );
        assert_eq!(
            words(&request.fetch(&node(), 7, Some(Duration::from_millis(500)))),
            "AGG.FETCH n1 MIN LOG COUNT 7 LEASE 30000 BLOCK 500 FORMAT JSON"
        );
    }

    #[test]
    fn reply_is_read_and_nil_is_empty() {
        let got = read_records(Value::Array(vec![value("LOG", 5, "{}")])).unwrap();
        assert_eq!(
            got,
            [FetchedRecord {
                queue: Queue::Log,
                id: 5,
                deliveries: 1,
                record: b"{}".to_vec()
            }]
        );
        assert_eq!(read_records(Value::Nil), Some(vec![]));
        assert_eq!(
            read_records(Value::Array(vec![value("OTHER", 5, "{}")])),
            None
        );
        assert_eq!(read_records(Value::SimpleString("OK".into())), None);
        assert_eq!(read_records(Value::Array(vec![Value::Int(1)])), None);
    }

    #[test]
    fn floors_are_read_where_they_were_asked_for() {
        let mut with_floor = value("LOG", 5, "{}");
        if let Value::Array(items) = &mut with_floor {
            items.push(Value::Int(3));
        }
        let reply = || Value::Array(vec![with_floor.clone()]);
        let floored = read_floored_records(reply()).unwrap();
        assert_eq!((floored[0].0.id, floored[0].1), (5, 3));
        assert_eq!(read_records(reply()).unwrap(), [floored[0].0.clone()]);
        let without = Value::Array(vec![value("LOG", 5, "{}")]);
        assert_eq!(read_floored_records(without), None);
        assert_eq!(read_floored_records(Value::Nil), Some(vec![]));
        let fetch = Fetch::new("n", &[Queue::Log]).count(2).with_floor();
        assert_eq!(words(&fetch.to_cmd()), "AGG.FETCH n LOG COUNT 2 WITHFLOOR");
        let import = Import::new("n", Queue::Log, [(1, "a"), (2, "b")]).floor(1);
        assert_eq!(words(&import.to_cmd()), "AGG.IMPORT n LOG FLOOR 1 1 a 2 b");
    }

    #[test]
    fn done_records_are_acknowledged_and_the_rest_released() {
        let all = [
            value("MIN", 1, ""),
            value("LOG", 2, ""),
            value("LOG", 3, ""),
            value("LOG", 4, ""),
        ];
        let all = read_records(Value::Array(all.to_vec())).unwrap();
        let texts =
            |printed| -> Vec<String> { settle(&node(), &all, printed).iter().map(words).collect() };
        assert_eq!(texts(4), ["AGG.ACK n1 MIN 1", "AGG.ACK n1 LOG 2 3 4"]);
        assert_eq!(
            texts(2),
            [
                "AGG.ACK n1 MIN 1",
                "AGG.ACK n1 LOG 2",
                "AGG.NACK n1 LOG 3 4"
            ]
        );
        assert_eq!(texts(0), ["AGG.NACK n1 MIN 1", "AGG.NACK n1 LOG 2 3 4"]);
        assert!(settle(&node(), &[], 0).is_empty());
    }
}
