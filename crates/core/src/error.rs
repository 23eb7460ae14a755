//! What can go wrong: a request that is refused, and bytes that are damaged.

use std::fmt;

/// A request that was refused: nothing was changed. The text is one line that begins with an upper-case code, as it
/// goes to the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why, for the counters.
    pub reason: Refused,
    /// The whole line, as in `ERR AGG.STAT: value '0x10' is not a decimal number`.
    pub text: String,
}

/// The reasons for which requests and single samples are refused, as AGG.INFO and INFO count them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// An argument that is not what it should be.
    Argument,
    /// A time further ahead of the clock than `max-future-ms`.
    Future,
    /// A sample of the other type than the metric's.
    Type,
    /// A new metric beyond `max-series`.
    Series,
    /// A new object beyond `max-realities`.
    Realities,
    /// No memory below `max-memory`.
    Memory,
    /// No memory below the node's `max-node-memory`.
    NodeMemory,
}

impl Refused {
    /// All reasons in the order of their counters.
    pub const ALL: [Refused; 7] = [
        Refused::Argument,
        Refused::Future,
        Refused::Type,
        Refused::Series,
        Refused::Realities,
        Refused::Memory,
        Refused::NodeMemory,
    ];

    /// The name under which it is shown.
    pub fn name(self) -> &'static str {
        match self {
            Refused::Argument => "argument",
            Refused::Future => "future",
            Refused::Type => "type",
            Refused::Series => "max-series",
            Refused::Realities => "max-realities",
            Refused::Memory => "max-memory",
            Refused::NodeMemory => "max-node-memory",
        }
    }
}

impl Refusal {
    /// A bad argument: `ERR` and the text.
    pub fn argument(text: impl fmt::Display) -> Refusal {
        Refusal::new(Refused::Argument, "ERR", text)
    }

    /// A limit that was reached: `AGGFULL` and the text.
    pub fn full(reason: Refused, text: impl fmt::Display) -> Refusal {
        Refusal::new(reason, "AGGFULL", text)
    }

    /// Any refusal.
    pub fn new(reason: Refused, code: &str, text: impl fmt::Display) -> Refusal {
        Refusal {
            reason,
            text: format!("{code} {text}"),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Refusal {}

/// Bytes that are not what they should be: an effect, a frame of a saved node. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damaged(pub &'static str);

impl fmt::Display for Damaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Damaged {}
