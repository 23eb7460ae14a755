//! What one command or one tick brings along.

use crate::{Counters, Effects, Now, Settings};

/// The surroundings of one command or tick: read before, used throughout, handed on after.
pub struct Turn<'a> {
    /// Both clocks.
    pub now: Now,
    /// The settings in force.
    pub settings: &'a Settings,
    /// The last queue id that this server gave; ids given raise it.
    pub last_id: &'a mut u64,
    /// What a replica must repeat is appended here.
    pub effects: &'a mut Effects,
    /// A command may be propagated as it came, where that means the same.
    pub may_repeat: bool,
    /// It cannot be shown that what this may cost fits the ceiling, even after room was made: nothing new is taken, and
    /// what must go on (samples of metrics that are there, closings) keeps no history and makes room in its own node.
    pub is_tight: bool,
    /// Bytes that may still be allocated below the ceiling.
    pub room: u64,
    /// The server's counters, raised beside the node's own.
    pub counters: &'a mut Counters,
}

/// Ids stay below this, so that every client language holds them exactly.
pub const MAX_ID: u64 = (1 << 53) - 1;

/// How far ahead of the clock an id may be that somebody hands in (RESTORE, AGG.APPLY of a client), and for how long a
/// node's ids that are ahead of the clock drag those of the server along, microseconds (a day, an hour).
pub const MAX_AHEAD_US: u64 = 86_400_000_000;
/// See [`MAX_AHEAD_US`].
pub const MAX_DRAG_US: u64 = 3_600_000_000;

/// One change of a node as it is applied: on the primary from a [`Turn`], on a replica from an effect's header. All
/// that a change depends on besides the node's value is in here.
pub(crate) struct Step<'a> {
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

impl Step<'_> {
    /// The next id. Ids of one step follow each other without gaps.
    pub fn take_id(&mut self) -> u64 {
        let id = self.next_id.min(MAX_ID);
        self.next_id = id + 1;
        id
    }
}
