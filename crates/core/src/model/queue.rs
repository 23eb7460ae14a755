//! The queues of a node.

/// A queue of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queue {
    /// Closed MIN windows.
    Min,
    /// Closed HOUR windows.
    Hour,
    /// Log lines.
    Log,
    /// Errors, new or grown.
    Error,
    /// Objects of reality, new, changed or gone.
    Reality,
}

impl Queue {
    /// All of them, in the order of their numbers.
    pub const ALL: [Queue; 5] = [
        Queue::Min,
        Queue::Hour,
        Queue::Log,
        Queue::Error,
        Queue::Reality,
    ];

    /// The word of the commands.
    pub fn name(self) -> &'static str {
        match self {
            Queue::Min => "MIN",
            Queue::Hour => "HOUR",
            Queue::Log => "LOG",
            Queue::Error => "ERROR",
            Queue::Reality => "REALITY",
        }
    }

    /// Whether it holds references (ERROR, REALITY) instead of entries of its own.
    pub(crate) fn is_references(self) -> bool {
        matches!(self, Queue::Error | Queue::Reality)
    }
}

/// How a record looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RecordFormat {
    /// One JSON object.
    #[default]
    Json,
    /// One line of InfluxDB's line protocol; of MIN and HOUR only.
    Line,
}
