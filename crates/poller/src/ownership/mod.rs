//! Ownership: which poller of a fleet drains a server, and when another takes over.
//!
//! # Invariants
//!
//! Ownership saves work, and correctness never depends on it: leases keep two pollers from getting the same records, and
//! a poller that owns nothing takes over what nobody drains. No decision uses a poller's wall clock.

mod members;
mod rendezvous;
mod role;

pub use members::Members;
pub use role::{Backlog, Duty, Role, Step};
