//! The commands of a write, and what the replies say about its records. No I/O.
//!
//! # Invariants
//!
//! - A command has records of one queue of one node, by ascending ids, within the limits of AGG.IMPORT.
//! - Its floor is the lowest that came with records of the queue, so it is at most one that holds.

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

/// The records of a write that one queue of a node gets.
#[derive(Default)]
pub struct Group {
    floor: Option<i64>,
    /// The place in the write and the text of each record, by its id. One that is given twice is sent once.
    records: BTreeMap<i64, (Vec<usize>, Vec<u8>)>,
}

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
            let group = groups.entry(key).or_insert_with(|| Group {
                floor: origin.floor,
                records: BTreeMap::new(),
            });
            // Without the floor of one record, none is known of all.
            group.floor = group.floor.zip(origin.floor).map(|(a, b)| a.min(b));
            let record = group.records.entry(origin.id);
            let (places, _) = record.or_insert_with(|| (Vec::new(), text.to_vec()));
            places.push(place);
        }
        Groups(groups)
    }

    /// Returns whether nothing is left to be sent.
    pub fn is_empty(&self) -> bool {
        self.0.values().all(|group| group.records.is_empty())
    }

    /// Returns the commands for all records, each with at most `max` of them.
    pub fn commands(&self, max: usize) -> (Vec<Cmd>, Vec<Sent>) {
        let (mut commands, mut all_sent) = (Vec::new(), Vec::new());
        for ((node, queue), group) in &self.0 {
            let mut records: Vec<(i64, &Vec<u8>)> = Vec::new();
            let mut bytes = 0;
            let mut finish = |records: &mut Vec<(i64, &Vec<u8>)>| {
                if records.is_empty() {
                    return;
                }
                let import = Import::new(node, *queue, records.iter().copied());
                let import = match group.floor {
                    Some(floor) if floor > 0 => import.floor(floor),
                    _ => import,
                };
                commands.push(import.to_cmd());
                all_sent.push(Sent {
                    node_queue: (node.clone(), *queue),
                    ids: records.drain(..).map(|(id, _)| id).collect(),
                });
            };
            for (id, (_, text)) in &group.records {
                let is_full = records.len() >= max.min(MAX_RECORDS);
                if is_full || bytes + text.len() > MAX_BYTES {
                    finish(&mut records);
                    bytes = 0;
                }
                bytes += text.len();
                records.push((*id, text));
            }
            finish(&mut records);
        }
        (commands, all_sent)
    }

    /// Removes a record, and returns its places in the write.
    pub fn remove(&mut self, node_queue: &NodeQueue, id: i64) -> Vec<usize> {
        let group = self.0.get_mut(node_queue);
        let record = group.and_then(|group| group.records.remove(&id));
        record.map(|(places, _)| places).unwrap_or_default()
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
            origin(0, 9, Some(5)),
            origin(0, 7, Some(3)),
            origin(1, 4, None),
            origin(1, 3, Some(2)),
            origin(0, 9, Some(4)),
        ];
        let texts: [&[u8]; 5] = [b"9", b"7", b"4", b"3", b"9"];
        let mut groups = Groups::new(&texts, &origins, &Stored::default());
        let (commands, sent) = groups.commands(10);
        assert_eq!(words(&commands[0]), "AGG.IMPORT a LOG FLOOR 3 7 7 9 9");
        assert_eq!(commands.len(), 2);
        assert_eq!(sent[1].ids, [3, 4]);
        let (commands, sent) = groups.commands(1);
        assert_eq!((commands.len(), sent.len()), (4, 4));
        assert_eq!(groups.remove(&sent[1].node_queue, 9), [0, 4]);
        assert_eq!(groups.remove(&sent[1].node_queue, 9), [0; 0]);
        let mut stored = Stored::default();
        stored.add(&sent[0].node_queue, &[7, 9]);
        let groups = Groups::new(&texts[..2], &origins[..2], &stored);
        assert!(groups.is_empty());
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
