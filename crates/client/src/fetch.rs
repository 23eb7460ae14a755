//! The commands of draining and their replies. Pure.

use std::time::Duration;

use redis::{Cmd, Value};

use crate::reply;
use aggregator_protocol::{NodeName, Queue, RecordFormat};

/// A record that was handed out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedRecord {
    /// Where it waited.
    pub queue: Queue,
    /// Its id there.
    pub id: i64,
    /// How often it was handed out, this time included.
    pub deliveries: u64,
    /// The text.
    pub record: Vec<u8>,
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct FetchRequest {
    /// From these queues.
    pub queues: Vec<Queue>,
    /// So written.
    pub format: RecordFormat,
    /// Kept from others for so long.
    pub lease: Duration,
}

impl FetchRequest {
    /// The command that hands out `count` entries at most and waits for so long where there are none.
    pub fn fetch(&self, node: &NodeName, count: u64, block: Option<Duration>) -> Cmd {
        let mut command = redis::cmd("AGG.FETCH");
        command.arg(&node.0);
        for queue in &self.queues {
            command.arg(queue.name());
        }
        command
            .arg("COUNT")
            .arg(count)
            .arg("LEASE")
            .arg(self.lease.as_millis() as u64);
        if let Some(block) = block {
            command.arg("BLOCK").arg(block.as_millis() as u64);
        }
        command.arg("FORMAT").arg(self.format.name());
        command
    }
}

/// The entries of a reply; none of what is no reply of AGG.FETCH.
pub fn entries(reply: Value) -> Option<Vec<FetchedRecord>> {
    reply::items(reply)?.into_iter().map(entry).collect()
}

fn entry(value: Value) -> Option<FetchedRecord> {
    let [queue, id, deliveries, record] = reply::items(value)?.try_into().ok()?;
    Some(FetchedRecord {
        queue: Queue::from_name(&reply::bytes(queue)?)?,
        id: reply::int(&id)?,
        deliveries: u64::try_from(reply::int(&deliveries)?).ok()?,
        record: reply::bytes(record)?,
    })
}

/// The commands that acknowledge the first `printed` of the entries and give the others back.
pub fn settle(node: &NodeName, entries: &[FetchedRecord], printed: usize) -> Vec<Cmd> {
    let (done, back) = entries.split_at(printed);
    let mut commands = by_queue("AGG.ACK", node, done);
    commands.extend(by_queue("AGG.NACK", node, back));
    commands
}

fn by_queue(verb: &str, node: &NodeName, entries: &[FetchedRecord]) -> Vec<Cmd> {
    let command = |queue: Queue| {
        let mut ids = entries
            .iter()
            .filter(|entry| entry.queue == queue)
            .map(|e| e.id)
            .peekable();
        ids.peek()?;
        let mut command = redis::cmd(verb);
        command.arg(&node.0).arg(queue.name());
        ids.for_each(|id| {
            command.arg(id);
        });
        Some(command)
    };
    Queue::ALL.into_iter().filter_map(command).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(command: &Cmd) -> String {
        let packed = String::from_utf8(command.get_packed_command()).unwrap();
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
    fn replies_are_read_and_nil_is_empty() {
        let got = entries(Value::Array(vec![value("LOG", 5, "{}")])).unwrap();
        assert_eq!(
            got,
            [FetchedRecord {
                queue: Queue::Log,
                id: 5,
                deliveries: 1,
                record: b"{}".to_vec()
            }]
        );
        assert_eq!(entries(Value::Nil), Some(vec![]));
        assert_eq!(entries(Value::Array(vec![value("OTHER", 5, "{}")])), None);
        assert_eq!(entries(Value::Okay), None);
        assert_eq!(entries(Value::Array(vec![Value::Int(1)])), None);
    }

    #[test]
    fn what_was_printed_is_acknowledged_and_the_rest_given_back() {
        let all = [
            value("MIN", 1, ""),
            value("LOG", 2, ""),
            value("LOG", 3, ""),
            value("LOG", 4, ""),
        ];
        let all = entries(Value::Array(all.to_vec())).unwrap();
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
