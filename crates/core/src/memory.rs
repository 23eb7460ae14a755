//! Memory limits.

use crate::counters::{Dropped, RejectReason};
use std::fmt;

/// A memory limit and its use, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// The kind of limit.
    pub limit: MemoryLimit,
    /// The limit.
    pub max: u64,
    /// Bytes in use.
    pub used: u64,
    /// Bytes reserved for the growth of existing metrics and nodes.
    pub reserved: u64,
    /// Bytes that the change may cost.
    pub requested: u64,
}

/// The settings that limit memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryLimit {
    /// `agg.max-memory`.
    Server,
    /// `agg.max-node-memory`.
    Node,
}

impl Memory {
    /// A limit that is never reached.
    pub const UNLIMITED: Memory = Memory {
        limit: MemoryLimit::Server,
        max: u64::MAX,
        used: 0,
        reserved: 0,
        requested: 0,
    };

    /// Bytes below the limit that are not in use, the reserved ones included.
    pub fn available_bytes(&self) -> u64 {
        self.max.saturating_sub(self.used)
    }

    /// Bytes by which the change would exceed the limit.
    pub fn excess(&self) -> u64 {
        let wanted = self.used.saturating_add(self.reserved);
        wanted
            .saturating_add(self.requested)
            .saturating_sub(self.max)
    }

    /// Bytes below the limit that are neither in use nor reserved.
    pub fn spare(&self) -> u64 {
        self.available_bytes().saturating_sub(self.reserved)
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, max, used) = (self.limit.name(), self.max, self.used);
        let (reserved, requested) = (self.reserved, self.requested);
        write!(
            f,
            "{name} ({max} bytes) reached: {requested} bytes requested, {used} used, {reserved} reserved for known \
             metrics and nodes; drain the queues or raise the limit"
        )
    }
}

impl MemoryLimit {
    /// The setting's name.
    pub fn name(self) -> &'static str {
        match self {
            MemoryLimit::Server => "agg.max-memory",
            MemoryLimit::Node => "agg.max-node-memory",
        }
    }

    /// The reason of rejections because of it.
    pub fn rejected(self) -> RejectReason {
        match self {
            MemoryLimit::Server => RejectReason::Memory,
            MemoryLimit::Node => RejectReason::NodeMemory,
        }
    }

    /// The reason of drops because of it.
    pub fn dropped(self) -> Dropped {
        match self {
            MemoryLimit::Server => Dropped::Memory,
            MemoryLimit::Node => Dropped::NodeMemory,
        }
    }
}
