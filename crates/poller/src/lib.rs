//! A poller of servers with the aggregator module: it finds the nodes of servers, drains their queues into sinks, and
//! loses no record.
//!
//! - [`config`] reads the configuration: sources of servers, routes, sinks.
//! - [`run`] drains until a shutdown is requested, with a status page ([`web`]).
//! - [`check`] connects to the servers and sinks of a configuration, and writes nothing.
//! - [`live`] serves the live values of all nodes to Prometheus.
//! - [`load`] loads records from files into the sinks of a configuration.
//! - [`record`] parses the records of queues.
//! - [`rotation`] appends to files that are rotated and compressed.
//!
//! There is a task for each server (drainer/, started by servers.rs) and a task for each sink (worker.rs). Where several
//! pollers share the servers, ownership/ decides which of them drains a server. engine.rs starts the tasks and reloads the
//! configuration. Deliveries go to the sinks, reports on them come back; the memory for records in flight is bounded by
//! the budgets of the sinks (budget.rs), which are parts of `max-in-flight`. File I/O runs on the blocking pool of the
//! runtime.
//!
//! # Invariants
//!
//! Delivery is at least once: a record that was written and not acknowledged is written again, and (node, queue, id)
//! identifies it.

#![forbid(unsafe_code)]

mod batch;
mod budget;
pub mod check;
pub mod config;
mod dead_letters;
mod drainer;
mod engine;
mod error;
pub mod glob;
mod heartbeat;
mod json;
mod ledger;
mod line_protocol;
pub mod live;
pub mod load;
mod node_stats;
pub mod output;
mod ownership;
pub mod prometheus_name;
mod protobuf;
pub mod record;
pub mod rotation;
mod routing;
mod servers;
mod sink;
mod sinks;
mod spans;
mod status;
mod systemd;
mod tags;
mod takeovers;
mod tasks;
pub mod web;
mod worker;

pub use engine::{Control, run};
pub use error::PollError;
