//! Replication, failover and crashes on real servers, under load: replicas of other versions, kill -9, a cluster,
//! Sentinel, resynchronisation. Promises are counted: a write that was acknowledged (or confirmed by WAIT) is present
//! afterwards, once and under one id, and no id has two contents.
//!
//! The quick version runs by default; AGG_HEAVY=1 runs more seeds and more kills. Servers of other versions are those
//! that scripts/servers.sh fetches; a test names missing ones and continues with the others.

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
