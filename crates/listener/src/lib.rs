//! Receives metrics and logs in existing protocols, and reports them to a server with the aggregator module.
//!
//! # Layers
//!
//! - A protocol ([`statsd`], [`graphite`], [`influx`], [`prometheus`]) parses what was received and passes it on as
//!   [`report`]s. Protocols know nothing of Redis, and of no transport. What they pass on is borrowed from the input, so a
//!   sample costs no allocation.
//! - [`net`] has the transports. It knows no protocol.
//! - [`collector`] makes reports commands of the module: [`identity`] names the metrics, [`batch`] collects.
//! - [`reporter`] sends them, and keeps them while the server is down.
//! - [`endpoint`] connects a protocol with its transport, and [`listen`] runs the endpoints of a [`config`].
//!
//! # Invariants
//!
//! - Input is hostile. No input panics, takes more than linear time, or allocates more than a multiple of its size.
//! - Nothing is dropped uncounted: input that a protocol cannot use is passed on as [`report::Receiver::invalid`].

#[cfg(feature = "service")]
pub mod batch;
#[cfg(feature = "service")]
pub mod collector;
#[cfg(feature = "service")]
pub mod config;
#[cfg(feature = "service")]
pub mod counts;
mod decimal;
#[cfg(feature = "service")]
pub mod endpoint;
pub mod graphite;
#[cfg(feature = "service")]
pub mod identity;
pub mod influx;
#[cfg(feature = "service")]
pub mod intake;
pub mod lines;
#[cfg(feature = "service")]
pub mod listen;
#[cfg(feature = "service")]
pub mod net;
pub mod otlp;
pub mod prometheus;
pub mod report;
#[cfg(feature = "service")]
pub mod reporter;
#[cfg(feature = "service")]
pub mod sets;
pub mod statsd;
#[cfg(feature = "service")]
pub mod status;
pub mod syslog;
#[cfg(feature = "service")]
mod time_zone;

#[cfg(test)]
mod recorded;
