//! Errors: commands that are rejected, and bytes that do not decode.

use crate::counters::RejectReason;
use crate::memory::Memory;
use std::fmt;

/// A command that was rejected; nothing was changed. Its text is the error reply to the client, one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandError {
    /// The code, by which clients tell errors apart.
    pub code: ErrorCode,
    /// The reason, for the counters.
    pub reason: RejectReason,
    /// The name of the command.
    pub command: &'static str,
    /// Says what is wrong, as in `invalid value '0x10': expected a decimal number`.
    pub detail: String,
}

/// The first word of an error reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorCode {
    /// ERR: the command as it stands is wrong.
    Err,
    /// AGGFULL: a limit has been reached.
    Full,
}

impl ErrorCode {
    /// The code as it is sent.
    pub fn name(self) -> &'static str {
        match self {
            ErrorCode::Err => "ERR",
            ErrorCode::Full => "AGGFULL",
        }
    }
}

impl CommandError {
    /// An invalid argument: code ERR.
    pub fn argument(command: &'static str, detail: impl fmt::Display) -> CommandError {
        CommandError::new(ErrorCode::Err, RejectReason::Argument, command, detail)
    }

    /// A limit that has been reached: code AGGFULL.
    pub fn full(
        reason: RejectReason,
        command: &'static str,
        detail: impl fmt::Display,
    ) -> CommandError {
        CommandError::new(ErrorCode::Full, reason, command, detail)
    }

    /// A memory limit with too few bytes available: code AGGFULL.
    pub fn memory(command: &'static str, memory: &Memory) -> CommandError {
        CommandError::full(memory.limit.rejected(), command, memory)
    }

    /// An error with any code.
    pub fn new(
        code: ErrorCode,
        reason: RejectReason,
        command: &'static str,
        detail: impl fmt::Display,
    ) -> CommandError {
        CommandError {
            code,
            reason,
            command,
            detail: detail.to_string(),
        }
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.code.name(), self.command, self.detail)
    }
}

impl std::error::Error for CommandError {}

/// Bytes that are no valid effect or frame of a saved node; nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeError(pub &'static str);

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for DecodeError {}
