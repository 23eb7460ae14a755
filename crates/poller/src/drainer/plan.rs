//! The fetches of one round of a drainer.

use std::time::Duration;

use crate::budget::Permit;
use crate::routing::Destination;

/// The shortest pause between two fetches from a queue that has no backlog.
pub(super) const MIN_PAUSE: Duration = Duration::from_millis(20);
/// The bytes reserved for one reply: about 1 MiB, and the item that exceeded it.
pub(super) const REPLY_BYTES: u64 = (1 << 20) + (256 << 10);

/// A fetch that was or will be sent.
pub(super) struct PendingFetch {
    /// The index of the node queue.
    pub(super) index: usize,
    /// The budget for the reply, one permit for each destination.
    pub(super) permits: Vec<Permit>,
}

/// The fetches of one round.
#[derive(Default)]
pub(super) struct FetchPlan {
    pub(super) fetches: Vec<PendingFetch>,
    /// The sinks on whose budget the round is blocked.
    pub(super) blocked_on: Vec<Destination>,
}
