//! What a server tells of itself and of a node, read from its replies. Pure; what is missing is 0, so that an older
//! or newer module is still of use.

use std::collections::BTreeMap;

use redis::Value;

use agg_client::reply;
use aggregator_protocol::masking::cell;

/// The queues of a node.
pub const QUEUES: [&str; 5] = ["MIN", "HOUR", "LOG", "ERROR", "REALITY"];

/// Of these a program tells the server something.
const WRITES: [&str; 5] = [
    "agg.stat",
    "agg.mstat",
    "agg.log",
    "agg.error",
    "agg.reality",
];

/// A queue as AGG.INFO tells of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Queue {
    /// Entries.
    pub length: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Age of the oldest, ms.
    pub oldest: u64,
    /// Entries that somebody has fetched.
    pub leased: u64,
    /// Entries that had to go, since the server's start.
    pub dropped: u64,
}

/// A node as AGG.INFO tells of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    pub metrics: u64,
    pub errors: u64,
    pub realities: u64,
    pub bytes: u64,
    /// Samples that counted nowhere.
    pub late: u64,
    pub clock_back: u64,
    pub truncated: u64,
    /// By reason.
    pub refused: BTreeMap<String, u64>,
    /// In the order of [`QUEUES`].
    pub queues: [Queue; 5],
}

impl Node {
    /// Reads the reply of AGG.INFO.
    pub fn read(value: Value) -> Option<Node> {
        let mut node = Node::default();
        for (field, value) in pairs(value)? {
            match (field.as_str(), &value) {
                ("refused", _) => {
                    let reasons = pairs(value)?.into_iter();
                    node.refused = reasons.map(|(why, n)| (cell(&why), number(&n))).collect();
                }
                ("queues", _) => {
                    for (name, fields) in pairs(value)? {
                        if let Some(at) = QUEUES.iter().position(|queue| *queue == name) {
                            node.queues[at] = Queue::read(fields)?;
                        }
                    }
                }
                (field, value) => match field {
                    "metrics" => node.metrics = number(value),
                    "errors" => node.errors = number(value),
                    "realities" => node.realities = number(value),
                    "bytes" => node.bytes = number(value),
                    "late" => node.late = number(value),
                    "clock-back" => node.clock_back = number(value),
                    "truncated" => node.truncated = number(value),
                    _ => {}
                },
            }
        }
        Some(node)
    }

    fn sum(&self, of: impl Fn(&Queue) -> u64) -> u64 {
        self.queues.iter().map(of).sum()
    }

    /// Entries of all queues.
    pub fn waiting(&self) -> u64 {
        self.sum(|queue| queue.length)
    }

    /// Those of them that somebody has fetched.
    pub fn leased(&self) -> u64 {
        self.sum(|queue| queue.leased)
    }

    /// Entries that had to go, since the server's start.
    pub fn dropped(&self) -> u64 {
        self.sum(|queue| queue.dropped)
    }

    /// What was refused, for all reasons, since the server's start.
    pub fn refused(&self) -> u64 {
        self.refused.values().sum()
    }

    /// Age of the oldest entry, ms.
    pub fn lag(&self) -> u64 {
        let waiting = self.queues.iter().filter(|queue| queue.length > 0);
        waiting.map(|queue| queue.oldest).max().unwrap_or(0)
    }
}

impl Queue {
    fn read(value: Value) -> Option<Queue> {
        let mut queue = Queue::default();
        for (field, value) in pairs(value)? {
            let into = match field.as_str() {
                "length" => &mut queue.length,
                "bytes" => &mut queue.bytes,
                "oldest" => &mut queue.oldest,
                "leased" => &mut queue.leased,
                "dropped" => &mut queue.dropped,
                _ => continue,
            };
            *into = number(&value);
        }
        Some(queue)
    }
}

/// A server as INFO tells of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Server {
    /// Bytes that the module holds.
    pub held: u64,
    /// The most that it may hold.
    pub ceiling: u64,
    /// By reason, since the server's start.
    pub dropped: BTreeMap<String, u64>,
    /// Commands that told the server something, since its start.
    pub reports: u64,
}

impl Server {
    /// Reads the reply of INFO agg commandstats.
    pub fn read(text: &str) -> Server {
        let mut server = Server::default();
        let lines = text.lines().filter_map(|line| line.trim().split_once(':'));
        for (name, value) in lines {
            if let Some(command) = name.strip_prefix("cmdstat_") {
                if WRITES.contains(&command.to_ascii_lowercase().as_str()) {
                    let calls = value
                        .split(',')
                        .find_map(|part| part.strip_prefix("calls="));
                    server.reports += calls.and_then(|n| n.parse().ok()).unwrap_or(0);
                }
                continue;
            }
            let Ok(value) = value.parse() else { continue };
            match name {
                "agg_held" => server.held = value,
                "agg_max_memory" => server.ceiling = value,
                _ => {
                    if let Some(why) = name.strip_prefix("agg_dropped_")
                        && !why.ends_with("_last")
                    {
                        server.dropped.insert(cell(&why.replace('_', "-")), value);
                    }
                }
            }
        }
        server
    }

    /// Drops for all reasons.
    pub fn dropped(&self) -> u64 {
        self.dropped.values().sum()
    }
}

/// A map: a flat array in RESP2.
pub fn pairs(value: Value) -> Option<Vec<(String, Value)>> {
    let mut items = reply::items(value)?.into_iter();
    let mut pairs = Vec::with_capacity(items.len() / 2);
    while let Some(name) = items.next() {
        pairs.push((reply::text(name)?, items.next()?));
    }
    Some(pairs)
}

/// A number that is not negative, however it is told.
pub fn number(value: &Value) -> u64 {
    match value {
        Value::Int(n) => u64::try_from(*n).unwrap_or(0),
        Value::BulkString(bytes) => std::str::from_utf8(bytes)
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or(0),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.into())
    }

    #[test]
    fn a_node() {
        let queue = vec![
            bulk("length"),
            Value::Int(7),
            bulk("bytes"),
            Value::Int(70),
            bulk("oldest"),
            Value::Int(9000),
            bulk("leased"),
            Value::Int(2),
            bulk("dropped"),
            Value::Int(1),
        ];
        let reply = Value::Array(vec![
            bulk("metrics"),
            Value::Int(3),
            bulk("something-new"),
            bulk("x"),
            bulk("refused"),
            Value::Array(vec![
                bulk("type"),
                Value::Int(4),
                bulk("max-series"),
                Value::Int(1),
            ]),
            bulk("queues"),
            Value::Array(vec![
                bulk("LOG"),
                Value::Array(queue),
                bulk("NEW"),
                Value::Array(vec![]),
            ]),
        ]);
        let node = Node::read(reply).unwrap();
        assert_eq!((node.metrics, node.refused(), node.waiting()), (3, 5, 7));
        assert_eq!((node.leased(), node.dropped(), node.lag()), (2, 1, 9000));
        assert_eq!(node.queues[2].bytes, 70);
        assert_eq!(Node::read(Value::Int(1)), None);
        assert_eq!(Node::read(Value::Nil), Some(Node::default()));
    }

    #[test]
    fn a_server() {
        let text = "# agg_memory\r\nagg_held:71456\r\nagg_max_memory:268435456\r\n\
            agg_dropped_queue_full:5\r\nagg_dropped_queue_full_last:1795635667993\r\n\
            cmdstat_AGG.STAT:calls=6,usec=155\r\ncmdstat_agg.log:calls=1,usec=24\r\n\
            cmdstat_AGG.INFO:calls=9,usec=1\r\ncmdstat_get:calls=9,usec=1\r\n";
        let server = Server::read(text);
        assert_eq!((server.held, server.ceiling), (71_456, 268_435_456));
        assert_eq!((server.reports, server.dropped()), (7, 5));
        assert_eq!(server.dropped["queue-full"], 5);
        assert_eq!(Server::read("nonsense"), Server::default());
    }
}
