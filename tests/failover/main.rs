//! Replication, failover and crashes on real servers, under load: replicas of other versions, kill -9, a cluster, Sentinel,
//! resynchronisation. What was promised is counted: what was answered (or confirmed by WAIT) is there afterwards, once
//! and under one id, and one id never has two contents.
//!
//! Here the quick version runs; with AGG_HEAVY=1 the long one: more seeds, more kills. Servers of other versions are
//! those that scripts/servers.sh fetches; a test names those that it lacks and goes on with the others.

mod calls;
mod cluster;
mod crash;
mod load;
mod programs;
mod replay;
mod resync;
mod sentinel;
mod slots;
mod support;
mod tally;
mod versions;
