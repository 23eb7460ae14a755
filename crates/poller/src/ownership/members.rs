//! The members of a fleet as one of them knows them.

use std::time::Duration;

use super::rendezvous;

/// The members of a fleet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Members {
    /// The name of this poller.
    pub me: String,
    /// The names of all members, each once, this poller's among them; empty while they are not known yet.
    pub names: Vec<String>,
    /// The age of the oldest record of a server at which the second member takes over.
    pub takeover_after: Duration,
    /// The longest pause between two fetches of a member that drains.
    pub poll_interval: Duration,
}

impl Members {
    /// Returns how many members come before this poller for a server; 0: this poller owns it.
    pub fn rank(&self, server: &str) -> usize {
        rendezvous::rank(&self.names, &self.me, server)
    }

    /// Returns a part of 1 that differs from server to server and from member to member. Checks of many servers are
    /// spread by it.
    pub fn phase(&self, server: &str) -> f64 {
        rendezvous::score(&self.me, server) as f64 / u64::MAX as f64
    }
}
