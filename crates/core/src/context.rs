//! What one command or one tick brings along.

use crate::counters::{Counters, Dropped};
use crate::effect::Effects;
use crate::error::RejectReason;
use crate::id::MAX_ID;
use crate::settings::Settings;
use crate::time::Now;
use std::fmt;

/// The surroundings of one command or tick: read before, used throughout, handed on after.
pub struct ExecContext<'a> {
    /// Both clocks.
    pub now: Now,
    /// The settings in force.
    pub settings: &'a Settings,
    /// The last queue id that this server gave; ids given raise it.
    pub last_id: &'a mut u64,
    /// What a replica must repeat is appended here.
    pub effects: &'a mut Effects,
    /// A command may be propagated as it came, where that means the same.
    pub allow_verbatim: bool,
    /// It cannot be shown that what this may cost fits the limits, even after room was made: nothing new is taken, and
    /// what must go on (samples of metrics that are there, closings) keeps no history and makes room in its own node
    /// where `memory` leaves nothing to spare.
    pub memory_pressure: bool,
    /// The memory limit that leaves the least, as the shell measured it.
    pub memory: Memory,
    /// The server's counters, raised beside the node's own.
    pub counters: &'a mut Counters,
}

/// A memory limit and what stands against it, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Which limit it is.
    pub limit: MemoryLimit,
    /// The limit.
    pub max: u64,
    /// Bytes in use.
    pub used: u64,
    /// Bytes kept free for what known metrics and nodes may come to hold.
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
    /// A limit that nothing reaches.
    pub const UNLIMITED: Memory = Memory {
        limit: MemoryLimit::Server,
        max: u64::MAX,
        used: 0,
        reserved: 0,
        requested: 0,
    };

    /// Bytes that may still be allocated below the limit, those that are reserved among them.
    pub fn available_bytes(&self) -> u64 {
        self.max.saturating_sub(self.used)
    }

    /// Bytes by which the limit would be passed.
    pub fn excess(&self) -> u64 {
        let wanted = self.used.saturating_add(self.reserved);
        wanted
            .saturating_add(self.requested)
            .saturating_sub(self.max)
    }

    /// Bytes that may be taken without touching what is reserved.
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
            "{name} ({max} bytes) has no room for {requested} bytes: {used} are used, {reserved} reserved for known \
             metrics and nodes; drain the queues, or raise it"
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

    /// How a refusal because of it counts.
    pub fn rejected(self) -> RejectReason {
        match self {
            MemoryLimit::Server => RejectReason::Memory,
            MemoryLimit::Node => RejectReason::NodeMemory,
        }
    }

    /// How what is dropped because of it counts.
    pub fn dropped(self) -> Dropped {
        match self {
            MemoryLimit::Server => Dropped::Memory,
            MemoryLimit::Node => Dropped::NodeMemory,
        }
    }
}

/// One change of a node as it is applied: on the primary from a [`ExecContext`], on a replica from an effect's header. All
/// that a change depends on besides the node's value is in here.
pub(crate) struct ApplyContext<'a> {
    /// The primary's wall clock, Unix milliseconds.
    pub now_ms: i64,
    /// This server's running time; decides nothing while a change is applied, it is only remembered.
    pub mono_ms: u64,
    /// The id that the next entry gets.
    pub next_id: u64,
    /// Windows that close leave a bucket for AGG.RANGE.
    pub keeps_history: bool,
    /// It was decided by version 1 of effects (0.1.0), which kept two windows open and forgot a metric whole.
    pub is_version_1: bool,
    /// The server's counters.
    pub counters: &'a mut Counters,
}

impl ApplyContext<'_> {
    /// The next id. Ids of one step follow each other without gaps.
    pub fn take_id(&mut self) -> u64 {
        let id = self.next_id.min(MAX_ID);
        self.next_id = id + 1;
        id
    }
}

/// A turn as the node's own code sees it.
pub(crate) struct WriteContext<'a> {
    pub apply: ApplyContext<'a>,
    pub effects: &'a mut Effects,
    pub settings: &'a Settings,
    pub now: Now,
    pub memory_pressure: bool,
    pub memory: Memory,
    /// What MIN, HOUR and LOG counted for before the change, bytes.
    pub queued: u64,
    /// Replicas hold the node's rules and its clock, and the command may go to them as it came.
    pub verbatim_allowed: bool,
    pub first_id: u64,
}

impl WriteContext<'_> {
    /// Whether the command as it came says all that was decided so far.
    pub fn is_verbatim(&self) -> bool {
        self.verbatim_allowed && self.apply.next_id == self.first_id && self.effects.is_empty()
    }
}
