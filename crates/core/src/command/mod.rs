//! The commands: their table, their arguments, and how they run on a node.

mod args;
mod columns;
mod drain;
mod hist;
mod import;
mod mstat;
mod names;
mod read;
mod report;
mod request;
mod samples;
mod sequence;
mod spec;
mod stat;
mod table;

pub use request::{Block, Request, RunOutcome};
pub use spec::{Access, Arg, ArgType, CommandSpec, Flag, Group};
pub use table::COMMANDS;

/// The commands that the core parses and runs: all but AGG.APPLY.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // each is the command of its name
pub enum Command {
    Stat,
    Mstat,
    Hist,
    Log,
    Error,
    Reality,
    Import,
    Forget,
    Requeue,
    Pop,
    Fetch,
    Ack,
    Nack,
    Extend,
    Peek,
    Get,
    Range,
    Scan,
    Info,
}

impl Command {
    /// All commands.
    pub const ALL: [Command; 19] = [
        Command::Stat,
        Command::Mstat,
        Command::Hist,
        Command::Log,
        Command::Error,
        Command::Reality,
        Command::Import,
        Command::Forget,
        Command::Requeue,
        Command::Pop,
        Command::Fetch,
        Command::Ack,
        Command::Nack,
        Command::Extend,
        Command::Peek,
        Command::Get,
        Command::Range,
        Command::Scan,
        Command::Info,
    ];

    /// Returns its row of the command table.
    pub fn spec(self) -> &'static CommandSpec {
        &COMMANDS[self as usize]
    }

    /// Returns its name, as in `AGG.STAT`.
    pub fn name(self) -> &'static str {
        self.spec().name
    }

    /// Returns `true` if it creates a node that does not exist.
    pub fn creates(self) -> bool {
        use Command::{Error, Hist, Import, Log, Mstat, Reality, Stat};
        matches!(self, Stat | Mstat | Hist | Log | Error | Reality | Import)
    }

    /// Returns `true` if records may be evicted to free memory for it. An import evicts none: its sender still has the
    /// records.
    pub fn may_evict(self) -> bool {
        self != Command::Import
    }
}
