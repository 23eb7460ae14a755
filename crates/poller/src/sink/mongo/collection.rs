//! The collections and the fields of their indexes.

use aggregator_protocol::Queue;

/// A collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Collection {
    /// Windows of metrics.
    Statistics,
    /// Log entries.
    Logs,
    /// The newest state of each error.
    Errors,
    /// The newest state of each object.
    Reality,
}

impl Collection {
    /// All collections, in the order of their discriminants.
    pub const ALL: [Collection; 4] = [
        Collection::Statistics,
        Collection::Logs,
        Collection::Errors,
        Collection::Reality,
    ];

    /// Returns the collection for the records of a queue.
    pub fn of(queue: Queue) -> Collection {
        match queue {
            Queue::Min | Queue::Hour => Collection::Statistics,
            Queue::Log => Collection::Logs,
            Queue::Error => Collection::Errors,
            Queue::Reality => Collection::Reality,
        }
    }

    /// Returns the name without the prefix of the settings.
    pub fn name(self) -> &'static str {
        match self {
            Collection::Statistics => "statistics",
            Collection::Logs => "logs",
            Collection::Errors => "errors",
            Collection::Reality => "reality",
        }
    }

    /// Returns whether it has one document for each error or object, instead of one for each record.
    pub fn keeps_states(self) -> bool {
        matches!(self, Collection::Errors | Collection::Reality)
    }

    /// Returns the fields of its indexes: by node and subject, and by time over all nodes.
    pub fn indexes(self, series: bool) -> &'static [&'static [&'static str]] {
        match self {
            Collection::Statistics if series => &[&["series.node", "series.metric", "start"]],
            Collection::Statistics => &[&["node", "metric", "start"], &["start"]],
            Collection::Logs => &[&["node", "epoch"], &["epoch"]],
            Collection::Errors => &[&["node", "last"], &["last"]],
            Collection::Reality => &[&["node", "model"], &["epoch"]],
        }
    }
}
