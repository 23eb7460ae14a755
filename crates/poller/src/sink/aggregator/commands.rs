//! The commands of a write, and what the replies say about its records. No I/O.
//!
//! # Invariants
//!
//! - A command has records of one queue of one node, by ascending ids, within the limits of AGG.IMPORT.
//! - Its floor is that of its first record, and between its records the leaf had no others: the hub takes all ids from
//!   the floor on to those of the records for known, and would ignore what is between.

use std::collections::{BTreeMap, BTreeSet};

use agg_client::command::{Cmd, Command, Import};
use aggregator_protocol::Queue;

use crate::sink::Origin;

/// The maximum number of bytes of several records of one command.
const MAX_BYTES: usize = 2 << 20;
/// The maximum number of records of one command.
const MAX_RECORDS: usize = 10_000;

/// A queue of a node.
pub type NodeQueue = (Vec<u8>, Queue);

/// A record of a write. One that is given twice is sent once.
struct Grouped {
    /// Its places in the write.
    places: Vec<usize>,
    floor: Option<i64>,
    text: Vec<u8>,
}

/// The records of a write that one queue of a node gets, by their ids.
type Group = BTreeMap<i64, Grouped>;

/// The places in a write and the ids of the records of one command.
pub struct Sent {
    /// The node and the queue.
    pub node_queue: NodeQueue,
    /// The ids, ascending.
    pub ids: Vec<i64>,
}

/// The records of a write that are still to be sent.
#[derive(Default)]
pub struct Groups(BTreeMap<NodeQueue, Group>);

impl Groups {
    /// Groups the records of a write, but for those that are stored already.
    pub fn new(records: &[&[u8]], origins: &[Origin<'_>], stored: &Stored) -> Groups {
        let mut groups: BTreeMap<NodeQueue, Group> = BTreeMap::new();
        for (place, (text, origin)) in records.iter().zip(origins).enumerate() {
            let key = (origin.node.0.clone(), origin.queue);
            if stored.contains(&key, origin.id) {
                continue;
            }
            let group = groups.entry(key).or_default();
            let record = group.entry(origin.id).or_insert_with(|| Grouped {
                places: Vec::new(),
                floor: origin.floor,
                text: text.to_vec(),
            });
            record.places.push(place);
        }
        Groups(groups)
    }

    /// Returns whether nothing is left to be sent.
    pub fn is_empty(&self) -> bool {
        self.0.values().all(BTreeMap::is_empty)
    }

    /// Returns the commands for all records, each with at most `max` of them.
    pub fn commands(&self, max: usize) -> (Vec<Cmd>, Vec<Sent>) {
        let (mut commands, mut all_sent) = (Vec::new(), Vec::new());
        for (node_queue, group) in &self.0 {
            let mut run: Vec<(i64, &Grouped)> = Vec::new();
            let mut bytes = 0;
            for (id, record) in group {
                let is_full = run.len() >= max.min(MAX_RECORDS);
                let is_large = bytes + record.text.len() > MAX_BYTES;
                if let Some((last, before)) = run.last()
                    && (is_full || is_large || !follows(record.floor, *last, before.floor))
                {
                    commands.push(import(node_queue, &run));
                    all_sent.push(sent(node_queue, &run));
                    run.clear();
                    bytes = 0;
                }
                bytes += record.text.len();
                run.push((*id, record));
            }
            if !run.is_empty() {
                commands.push(import(node_queue, &run));
                all_sent.push(sent(node_queue, &run));
            }
        }
        (commands, all_sent)
    }

    /// Removes a record, and returns its places in the write.
    pub fn remove(&mut self, node_queue: &NodeQueue, id: i64) -> Vec<usize> {
        let group = self.0.get_mut(node_queue);
        let record = group.and_then(|group| group.remove(&id));
        record.map(|record| record.places).unwrap_or_default()
    }
}

/// Returns whether a record with this floor can be sent behind the one with the id `before` and its floor.
fn follows(floor: Option<i64>, before: i64, floor_before: Option<i64>) -> bool {
    match (floor_before, floor) {
        (Some(_), Some(floor)) => floor.saturating_sub(1) <= before,
        // Without floors a record says nothing about others.
        (None, None) => true,
        _ => false,
    }
}

fn import((node, queue): &NodeQueue, run: &[(i64, &Grouped)]) -> Cmd {
    let import = Import::new(
        node,
        *queue,
        run.iter().map(|(id, record)| (*id, &record.text)),
    );
    match run.first().and_then(|(_, record)| record.floor) {
        // Below 1 there are no ids, and 0 is no floor.
        Some(floor) if floor > 0 => import.floor(floor).to_cmd(),
        _ => import.to_cmd(),
    }
}

fn sent(node_queue: &NodeQueue, run: &[(i64, &Grouped)]) -> Sent {
    Sent {
        node_queue: node_queue.clone(),
        ids: run.iter().map(|(id, _)| *id).collect(),
    }
}

/// The records of a failing write that are stored, so that they are not sent again.
#[derive(Default)]
pub struct Stored(BTreeMap<NodeQueue, BTreeSet<i64>>);

impl Stored {
    fn contains(&self, node_queue: &NodeQueue, id: i64) -> bool {
        let ids = self.0.get(node_queue);
        ids.is_some_and(|ids| ids.contains(&id))
    }

    /// Notes that records are stored.
    pub fn add(&mut self, node_queue: &NodeQueue, ids: &[i64]) {
        let known = self.0.entry(node_queue.clone()).or_default();
        known.extend(ids);
    }
}

/// Returns the index of the record that an error of AGG.IMPORT names, and the reason: `ERR AGG.IMPORT: record 3: …`.
pub fn rejected(detail: &str) -> Option<(usize, &str)> {
    let text = detail.strip_prefix("AGG.IMPORT: ")?;
    let (number, reason) = match text.strip_prefix("record ") {
        Some(rest) => rest.split_once(": ")?,
        None => {
            let rest = text.strip_prefix("invalid id of record ")?;
            (rest.split_once(' ')?.0, text)
        }
    };
    let number: usize = number.parse().ok()?;
    Some((number.checked_sub(1)?, reason))
}

#[cfg(test)]
mod tests {
    use aggregator_protocol::NodeName;

    use super::*;

    fn words(command: &Cmd) -> String {
        let text = String::from_utf8(command.to_bytes()).unwrap();
        let words: Vec<&str> = text.split("\r\n").skip(2).step_by(2).collect();
        words.join(" ")
    }

    #[test]
    fn records_are_grouped_and_sorted() {
        let nodes = [NodeName(b"a".to_vec()), NodeName(b"b\xff".to_vec())];
        let origin = |node: usize, id, floor| Origin {
            node: &nodes[node],
            queue: Queue::Log,
            id,
            floor,
        };
        let origins = [
            origin(0, 9, Some(8)),
            origin(0, 7, Some(3)),
            origin(1, 4, None),
            origin(1, 3, Some(2)),
            origin(0, 9, Some(8)),
        ];
        let texts: [&[u8]; 5] = [b"9", b"7", b"4", b"3", b"9"];
        let mut groups = Groups::new(&texts, &origins, &Stored::default());
        let (commands, sent) = groups.commands(10);
        assert_eq!(words(&commands[0]), "AGG.IMPORT a LOG FLOOR 3 7 7 9 9");
        assert_eq!((commands.len(), &sent[1].ids[..]), (3, &[3][..]));
        let (commands, sent) = groups.commands(1);
        assert_eq!((commands.len(), sent.len()), (4, 4));
        assert_eq!(words(&commands[1]), "AGG.IMPORT a LOG FLOOR 8 9 9");
        assert_eq!(groups.remove(&sent[1].node_queue, 9), [0, 4]);
        assert_eq!(groups.remove(&sent[1].node_queue, 9), [0; 0]);
        let mut stored = Stored::default();
        stored.add(&sent[0].node_queue, &[7, 9]);
        let groups = Groups::new(&texts[..2], &origins[..2], &stored);
        assert!(groups.is_empty());
    }

    #[test]
    fn command_ends_where_the_leaf_has_another_record() {
        let node = NodeName(b"a".to_vec());
        let lines = |records: &[(i64, Option<i64>)]| -> Vec<String> {
            let origin = |(id, floor): &(i64, Option<i64>)| Origin {
                node: &node,
                queue: Queue::Log,
                id: *id,
                floor: *floor,
            };
            let origins: Vec<Origin> = records.iter().map(origin).collect();
            let texts: Vec<&[u8]> = records.iter().map(|_| &b"x"[..]).collect();
            let groups = Groups::new(&texts, &origins, &Stored::default());
            groups.commands(10).0.iter().map(words).collect()
        };
        // 15 is leased by another relay.
        assert_eq!(
            lines(&[(10, Some(1)), (13, Some(11)), (20, Some(16))]),
            [
                "AGG.IMPORT a LOG FLOOR 1 10 x 13 x",
                "AGG.IMPORT a LOG FLOOR 16 20 x"
            ]
        );
        // Fetched later, when 10 was gone.
        assert_eq!(
            lines(&[(10, Some(7)), (13, Some(1))]),
            ["AGG.IMPORT a LOG FLOOR 7 10 x 13 x"]
        );
        assert_eq!(
            lines(&[(10, None), (13, None)]),
            ["AGG.IMPORT a LOG 10 x 13 x"]
        );
        assert_eq!(lines(&[(10, Some(1)), (13, None)]).len(), 2);
        assert_eq!(lines(&[(10, Some(0)), (13, Some(i64::MIN))]).len(), 1);
    }

    #[test]
    fn commands_stay_within_the_limits_of_the_server() {
        let node = NodeName(b"a".to_vec());
        let large = vec![b'x'; MAX_BYTES / 2];
        let huge = vec![b'x'; MAX_BYTES * 2];
        let texts: Vec<&[u8]> = vec![&large, &large, &large, &huge, b"x"];
        let origins: Vec<Origin> = (1..)
            .take(texts.len())
            .map(|id| Origin {
                node: &node,
                queue: Queue::Log,
                id,
                floor: Some(1),
            })
            .collect();
        let (_, sent) = Groups::new(&texts, &origins, &Stored::default()).commands(10_000);
        let ids: Vec<&[i64]> = sent.iter().map(|sent| &*sent.ids).collect();
        assert_eq!(ids, [&[1, 2][..], &[3], &[4], &[5]]);
    }

    #[test]
    fn error_about_a_record_is_told_from_others() {
        let json = "AGG.IMPORT: record 3: invalid JSON: x";
        assert_eq!(rejected(json), Some((2, "invalid JSON: x")));
        let id = "AGG.IMPORT: invalid id of record 2 '-1': expected an integer from 1 to 9";
        assert_eq!(rejected(id).map(|(index, _)| index), Some(1));
        for other in [
            "AGG.IMPORT: record 0: x",
            "AGG.IMPORT: record x: x",
            "AGG.IMPORT: the records have 3 bytes",
            "unknown command",
            "record 3: x",
        ] {
            assert_eq!(rejected(other), None, "{other}");
        }
    }
}
