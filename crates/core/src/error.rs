//! What can go wrong: a request that is refused, and bytes that are damaged.

use std::fmt;

/// A request that was refused: nothing was changed. The text is one line that begins with an upper-case code, as it
/// goes to the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandError {
    /// Why, for the counters.
    pub reason: RejectReason,
    /// The whole line, as in `ERR AGG.STAT: value '0x10' is not a decimal number`.
    pub text: String,
}

/// The reasons for which requests and single samples are refused, as AGG.INFO and INFO count them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RejectReason {
    /// An argument that is not what it should be.
    Argument,
    /// A time further ahead of the clock than `max-future-ms`.
    Future,
    /// A sample of the other type than the metric's.
    Type,
    /// A new metric beyond `max-series`.
    Series,
    /// A new object beyond `max-objects`.
    Objects,
    /// No memory below `max-memory`.
    Memory,
    /// No memory below the node's `max-node-memory`.
    NodeMemory,
}

impl RejectReason {
    /// All reasons in the order of their counters.
    pub const ALL: [RejectReason; 7] = [
        RejectReason::Argument,
        RejectReason::Future,
        RejectReason::Type,
        RejectReason::Series,
        RejectReason::Objects,
        RejectReason::Memory,
        RejectReason::NodeMemory,
    ];

    /// The name under which it is shown.
    pub fn name(self) -> &'static str {
        match self {
            RejectReason::Argument => "argument",
            RejectReason::Future => "future",
            RejectReason::Type => "type",
            RejectReason::Series => "max-series",
            RejectReason::Objects => "max-realities",
            RejectReason::Memory => "max-memory",
            RejectReason::NodeMemory => "max-node-memory",
        }
    }
}

impl CommandError {
    /// A bad argument: `ERR` and the text.
    pub fn argument(text: impl fmt::Display) -> CommandError {
        CommandError::new(RejectReason::Argument, "ERR", text)
    }

    /// A limit that was reached: `AGGFULL` and the text.
    pub fn full(reason: RejectReason, text: impl fmt::Display) -> CommandError {
        CommandError::new(reason, "AGGFULL", text)
    }

    /// Any refusal.
    pub fn new(reason: RejectReason, code: &str, text: impl fmt::Display) -> CommandError {
        CommandError {
            reason,
            text: format!("{code} {text}"),
        }
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for CommandError {}

/// Bytes that are not what they should be: an effect, a frame of a saved node. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeError(pub &'static str);

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for DecodeError {}
