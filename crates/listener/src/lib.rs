//! Receives metrics and logs in existing protocols, and reports them to a server with the aggregator module.
//!
//! # Layers
//!
//! A protocol parses what was received and passes it on as [`report`]s. Protocols know nothing of Redis, and of no
//! transport. What they pass on is borrowed from the input, so a sample costs no allocation.
//!
//! # Invariants
//!
//! - Input is hostile. No input panics, takes more than linear time, or allocates more than a multiple of its size.
//! - Nothing is dropped uncounted: input that a protocol cannot use is passed on as [`report::Receiver::invalid`].

pub mod batch;
pub mod collector;
mod decimal;
pub mod graphite;
pub mod identity;
pub mod influx;
pub mod lines;
pub mod otlp;
pub mod prometheus;
pub mod report;
pub mod sets;
pub mod statsd;
pub mod syslog;

#[cfg(test)]
mod recorded;
#[cfg(test)]
mod text_speed;
