//! The queues of a node, and how their records are written.

/// The queues, in the order in which they are drained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Queue {
    /// Records of short windows, 5 minutes by default.
    Min,
    /// Records of long windows, an hour by default.
    Hour,
    /// Log entries.
    Log,
    /// Errors.
    Error,
    /// Objects.
    Reality,
}

impl Queue {
    /// All queues.
    pub const ALL: [Queue; 5] = [
        Queue::Min,
        Queue::Hour,
        Queue::Log,
        Queue::Error,
        Queue::Reality,
    ];
    /// The queues whose records line protocol can express.
    pub const NUMBERS: [Queue; 2] = [Queue::Min, Queue::Hour];
    /// The queues of references to errors or objects.
    pub const REFERENCES: [Queue; 2] = [Queue::Error, Queue::Reality];

    /// Returns `true` if it holds references to errors or objects (ERROR, REALITY) instead of records of its own.
    pub fn is_references(self) -> bool {
        Queue::REFERENCES.contains(&self)
    }

    /// Returns the keyword of the commands.
    pub const fn name(self) -> &'static str {
        match self {
            Queue::Min => "MIN",
            Queue::Hour => "HOUR",
            Queue::Log => "LOG",
            Queue::Error => "ERROR",
            Queue::Reality => "REALITY",
        }
    }

    /// Returns the queue of a keyword.
    pub fn from_name(name: &[u8]) -> Option<Queue> {
        Queue::ALL
            .into_iter()
            .find(|queue| queue.name().as_bytes() == name)
    }
}

/// The format of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordFormat {
    /// One JSON object a line.
    Json,
    /// InfluxDB line protocol, of MIN and HOUR.
    Line,
}

impl RecordFormat {
    /// All formats.
    pub const ALL: [RecordFormat; 2] = [RecordFormat::Json, RecordFormat::Line];

    /// Returns the keyword of the commands.
    pub const fn name(self) -> &'static str {
        match self {
            RecordFormat::Json => "JSON",
            RecordFormat::Line => "LINE",
        }
    }
}
