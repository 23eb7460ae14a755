//! The exit status of a command that did not fail.

/// The exit status of a command that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    Success,
    /// The command completed, but a server rejected some of it, which was reported.
    Incomplete,
    /// A signal ended the command early.
    Interrupted,
}

impl ExitStatus {
    /// Returns the exit code.
    pub fn code(self) -> u8 {
        match self {
            ExitStatus::Success => 0,
            ExitStatus::Incomplete => 1,
            ExitStatus::Interrupted => 130,
        }
    }
}
