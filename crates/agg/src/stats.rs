//! Statistics that a server reports about itself (INFO) and about a node (AGG.INFO). No I/O.
//!
//! A missing field is 0, so that replies of older and newer modules remain usable.

use std::collections::BTreeMap;

use agg_client::command::{NodeInfo, QueueInfo};
use agg_client::reply::{self, Value};
use aggregator_protocol::Queue;
use aggregator_protocol::masking::cell;

/// The commands that report something to the server.
const REPORTING_COMMANDS: [&str; 6] = [
    "agg.stat",
    "agg.mstat",
    "agg.hist",
    "agg.log",
    "agg.error",
    "agg.reality",
];

/// A node, from AGG.INFO.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeStats {
    pub metrics: u64,
    pub errors: u64,
    pub objects: u64,
    /// Memory used, bytes.
    pub bytes: u64,
    /// Samples that missed all of their windows.
    pub late: u64,
    /// Short windows of DIFF metrics to which several processes seem to report their totals.
    pub suspect_diff: u64,
    /// Sources of sequence numbers that were dropped for new ones.
    pub sources_dropped: u64,
    /// Removed metrics that are no longer remembered.
    pub forgotten_dropped: u64,
    /// Records of other servers that AGG.IMPORT stored.
    pub imported: u64,
    /// Records that AGG.IMPORT was given again and ignored.
    pub import_duplicates: u64,
    /// Records for which AGG.IMPORT had no space.
    pub import_refused: u64,
    pub clock_back: u64,
    pub truncated: u64,
    /// Rejected reports by reason; the reasons are masked for a terminal.
    pub refused: BTreeMap<String, u64>,
    /// In the order of [`Queue::ALL`].
    pub queues: [QueueInfo; Queue::ALL.len()],
}

impl From<NodeInfo> for NodeStats {
    fn from(info: NodeInfo) -> NodeStats {
        let refused = info.refused.into_iter();
        NodeStats {
            metrics: info.metrics,
            errors: info.errors,
            objects: info.realities,
            bytes: info.bytes,
            late: info.late,
            suspect_diff: info.suspect_diff,
            sources_dropped: info.sources_dropped,
            forgotten_dropped: info.forgotten_dropped,
            imported: info.imported,
            import_duplicates: info.import_duplicates,
            import_refused: info.import_refused,
            clock_back: info.clock_back,
            truncated: info.truncated,
            refused: refused.map(|(reason, n)| (cell(&reason), n)).collect(),
            queues: Queue::ALL.map(|queue| info.queues.get(&queue).copied().unwrap_or_default()),
        }
    }
}

impl NodeStats {
    fn sum(&self, of: impl Fn(&QueueInfo) -> u64) -> u64 {
        self.queues.iter().map(of).sum()
    }

    /// Returns the number of records in all queues.
    pub fn pending(&self) -> u64 {
        self.sum(|queue| queue.length)
    }

    /// Returns the number of records under a lease.
    pub fn leased(&self) -> u64 {
        self.sum(|queue| queue.leased)
    }

    /// Returns the number of records dropped since the server started.
    pub fn dropped(&self) -> u64 {
        self.sum(|queue| queue.dropped)
    }

    /// Returns the number of reports rejected since the server started, for all reasons.
    pub fn refused(&self) -> u64 {
        self.refused.values().sum()
    }

    /// Returns the age of the oldest pending record, ms.
    pub fn lag_ms(&self) -> u64 {
        let pending = self.queues.iter().filter(|queue| queue.length > 0);
        pending.map(|queue| queue.oldest_ms).max().unwrap_or(0)
    }
}

/// A server, from INFO.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerStats {
    /// Bytes used by the module.
    pub memory_used: u64,
    /// The module's memory limit, bytes.
    pub memory_limit: u64,
    /// Records dropped since the server started, by reason.
    pub dropped: BTreeMap<String, u64>,
    /// Calls of reporting commands since the server started.
    pub reports: u64,
}

impl ServerStats {
    /// Parses the reply of INFO agg commandstats.
    pub fn parse(text: &str) -> ServerStats {
        let mut server = ServerStats::default();
        let lines = text.lines().filter_map(|line| line.trim().split_once(':'));
        for (name, value) in lines {
            if let Some(command) = name.strip_prefix("cmdstat_") {
                if REPORTING_COMMANDS.contains(&command.to_ascii_lowercase().as_str()) {
                    let calls = value
                        .split(',')
                        .find_map(|part| part.strip_prefix("calls="));
                    server.reports += calls.and_then(|n| n.parse().ok()).unwrap_or(0);
                }
                continue;
            }
            let Ok(value) = value.parse() else { continue };
            match name {
                "agg_held" => server.memory_used = value,
                "agg_max_memory" => server.memory_limit = value,
                _ => {
                    if let Some(reason) = name.strip_prefix("agg_dropped_")
                        && !reason.ends_with("_last")
                    {
                        server
                            .dropped
                            .insert(cell(&reason.replace('_', "-")), value);
                    }
                }
            }
        }
        server
    }

    /// Returns the number of records dropped for all reasons.
    pub fn dropped(&self) -> u64 {
        self.dropped.values().sum()
    }
}

/// Returns the pairs of a map, which is a flat array in RESP2.
pub fn pairs(value: Value) -> Option<Vec<(String, Value)>> {
    let mut items = reply::items(value)?.into_iter();
    let mut pairs = Vec::with_capacity(items.len() / 2);
    while let Some(name) = items.next() {
        pairs.push((reply::text(name)?, items.next()?));
    }
    Some(pairs)
}

/// Returns a number that is not negative, sent as an integer or as a string; 0 for anything else.
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
    fn node_stats_sum_the_queues_and_reasons() {
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
            bulk("suspect-diff"),
            Value::Int(6),
            bulk("sources-dropped"),
            Value::Int(8),
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
        let node = NodeStats::from(NodeInfo::read(reply).unwrap());
        assert_eq!((node.metrics, node.refused(), node.pending()), (3, 5, 7));
        assert_eq!((node.leased(), node.dropped(), node.lag_ms()), (2, 1, 9000));
        assert_eq!(node.queues[2].bytes, 70);
        assert_eq!((node.suspect_diff, node.sources_dropped), (6, 8));
        let empty = NodeInfo::read(Value::Nil).unwrap();
        assert_eq!(NodeStats::from(empty), NodeStats::default());
    }

    #[test]
    fn server_stats_are_parsed() {
        let text = "# agg_memory\r\nagg_held:71456\r\nagg_max_memory:268435456\r\n\
            agg_dropped_queue_full:5\r\nagg_dropped_queue_full_last:1795635667993\r\n\
            cmdstat_AGG.STAT:calls=6,usec=155\r\ncmdstat_agg.log:calls=1,usec=24\r\n\
            cmdstat_AGG.INFO:calls=9,usec=1\r\ncmdstat_get:calls=9,usec=1\r\n";
        let server = ServerStats::parse(text);
        assert_eq!(
            (server.memory_used, server.memory_limit),
            (71_456, 268_435_456)
        );
        assert_eq!((server.reports, server.dropped()), (7, 5));
        assert_eq!(server.dropped["queue-full"], 5);
        assert_eq!(ServerStats::parse("nonsense"), ServerStats::default());
    }
}
