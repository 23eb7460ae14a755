//! The state of a node: AGG.INFO.

use std::collections::BTreeMap;

use aggregator_protocol::Queue;

use super::fields::Fields;
use super::{Cmd, Command};
use crate::reply::Value;

/// A queue as AGG.INFO describes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueInfo {
    /// The number of records, pending or leased.
    pub length: u64,
    /// The memory of the records, bytes.
    pub bytes: u64,
    /// The age of the oldest record, milliseconds: the lag of the records behind it.
    pub oldest_ms: u64,
    /// The number of leased records.
    pub leased: u64,
    /// The number of records that left the queue undelivered since the server's start, for any reason.
    pub dropped: u64,
}

impl QueueInfo {
    fn read(reply: Value) -> Option<QueueInfo> {
        let mut fields = Fields::read(reply)?;
        Some(QueueInfo {
            length: fields.count_or("length", 0)?,
            bytes: fields.count_or("bytes", 0)?,
            oldest_ms: fields.count_or("oldest", 0)?,
            leased: fields.count_or("leased", 0)?,
            dropped: fields.count_or("dropped", 0)?,
        })
    }
}

/// A node as AGG.INFO describes it. Counters count since the server's start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeInfo {
    /// The number of metrics.
    pub metrics: u64,
    /// The number of errors.
    pub errors: u64,
    /// The number of objects.
    pub realities: u64,
    /// The memory of the node, bytes.
    pub bytes: u64,
    /// The length of short windows, seconds.
    pub min_window_s: u64,
    /// The length of long windows, seconds.
    pub hour_window_s: u64,
    /// The length of the slots over which rates of INC metrics are calculated, seconds; 0 if the server is older than
    /// INC.
    pub inc_slot_s: u64,
    /// The number of removed metrics that the node remembers, so that no window is delivered twice.
    pub forgotten: u64,
    /// The number of sources whose sequence numbers the node keeps.
    pub sources: u64,
    /// The number of removed metrics that were dropped, because a node remembers a limited number.
    pub forgotten_dropped: u64,
    /// The number of sources that were dropped for new ones: a report of such a source that is sent again counts twice.
    pub sources_dropped: u64,
    /// The number of short windows in which a DIFF metric restarted so often that several processes seem to report
    /// their totals to it.
    pub suspect_diff: u64,
    /// The number of samples that were too late for all windows.
    pub late: u64,
    /// The number of samples that were too late for the short window alone.
    pub late_min: u64,
    /// The number of samples that were too late for the long window alone.
    pub late_hour: u64,
    /// The number of records of other servers that AGG.IMPORT stored.
    pub imported: u64,
    /// The number of records that AGG.IMPORT was given again and ignored.
    pub import_duplicates: u64,
    /// The number of records for which AGG.IMPORT had no space; their senders keep them.
    pub import_refused: u64,
    /// The number of times that the server's clock was set back.
    pub clock_back: u64,
    /// The number of texts that were truncated.
    pub truncated: u64,
    /// The number of rejected reports, by reason.
    pub refused: BTreeMap<String, u64>,
    /// The queues.
    pub queues: BTreeMap<Queue, QueueInfo>,
}

impl NodeInfo {
    /// Reads the reply of AGG.INFO; none if it is not one.
    ///
    /// A missing field has its default, and an unknown one is ignored, so that the replies of older and newer servers
    /// are read, too.
    pub fn read(reply: Value) -> Option<NodeInfo> {
        let mut fields = Fields::read(reply)?;
        let queues = Fields::read(fields.take("queues").unwrap_or(Value::Nil))?;
        let queues = queues.rest().filter_map(|(name, queue)| {
            let name = Queue::from_name(name.as_bytes())?;
            Some(QueueInfo::read(queue).map(|queue| (name, queue)))
        });
        Some(NodeInfo {
            queues: queues.collect::<Option<_>>()?,
            metrics: fields.count_or("metrics", 0)?,
            errors: fields.count_or("errors", 0)?,
            realities: fields.count_or("realities", 0)?,
            bytes: fields.count_or("bytes", 0)?,
            min_window_s: fields.count_or("min-window", 300)?,
            hour_window_s: fields.count_or("hour-window", 3600)?,
            inc_slot_s: fields.count_or("inc-slot", 0)?,
            forgotten: fields.count_or("forgotten", 0)?,
            sources: fields.count_or("sources", 0)?,
            forgotten_dropped: fields.count_or("forgotten-dropped", 0)?,
            sources_dropped: fields.count_or("sources-dropped", 0)?,
            suspect_diff: fields.count_or("suspect-diff", 0)?,
            late: fields.count_or("late", 0)?,
            late_min: fields.count_or("late-min", 0)?,
            late_hour: fields.count_or("late-hour", 0)?,
            imported: fields.count_or("imported", 0)?,
            import_duplicates: fields.count_or("import-duplicates", 0)?,
            import_refused: fields.count_or("import-refused", 0)?,
            clock_back: fields.count_or("clock-back", 0)?,
            truncated: fields.count_or("truncated", 0)?,
            refused: fields.counts("refused")?,
        })
    }
}

/// AGG.INFO: describes a node. Returns none if there is no such node.
#[derive(Clone, Copy, Debug)]
pub struct Info<'a> {
    node: &'a [u8],
}

impl<'a> Info<'a> {
    /// Describes this node.
    pub fn new(node: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        Info {
            node: node.as_ref(),
        }
    }
}

impl Command for Info<'_> {
    type Output = Option<NodeInfo>;
    const NAME: &'static str = "AGG.INFO";

    fn write_args(&self, cmd: &mut Cmd) {
        cmd.arg(self.node);
    }

    fn read_reply(&self, reply: Value) -> Option<Option<NodeInfo>> {
        super::maybe(reply, NodeInfo::read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, Value)]) -> Value {
        let flat =
            |(name, value): &(&str, Value)| [Value::BulkString((*name).into()), value.clone()];
        Value::Array(pairs.iter().flat_map(flat).collect())
    }

    #[test]
    fn missing_fields_have_defaults_and_unknown_ones_are_ignored() {
        let log = map(&[("length", Value::Int(7)), ("oldest", Value::Int(1500))]);
        let queues = map(&[("LOG", log), ("NEW", Value::Int(1))]);
        let info = map(&[
            ("metrics", Value::Int(3)),
            ("inc-slot", Value::Int(10)),
            ("suspect-diff", Value::Int(2)),
            ("sources-dropped", Value::Int(4)),
            ("something-new", Value::Nil),
            ("queues", queues),
        ]);
        let log = QueueInfo {
            length: 7,
            oldest_ms: 1500,
            ..QueueInfo::default()
        };
        let expected = NodeInfo {
            metrics: 3,
            min_window_s: 300,
            hour_window_s: 3600,
            inc_slot_s: 10,
            suspect_diff: 2,
            sources_dropped: 4,
            queues: BTreeMap::from([(Queue::Log, log)]),
            ..NodeInfo::default()
        };
        assert_eq!(NodeInfo::read(info), Some(expected));
    }

    #[test]
    fn anything_but_a_description_is_not_read() {
        for reply in [
            Value::Int(1),
            Value::SimpleString("OK".into()),
            map(&[("metrics", Value::Int(-1))]),
            map(&[("queues", map(&[("LOG", Value::Int(1))]))]),
        ] {
            assert_eq!(NodeInfo::read(reply), None);
        }
    }
}
