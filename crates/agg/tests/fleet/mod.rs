//! Several pollers share servers: each server has one owner, another takes over when nobody drains it, and whatever the
//! pollers believe of each other no record is lost, and none is written twice unless a lease expired.

mod death;
mod disagreement;
mod failover;
mod heartbeats;
mod support;
