//! The semantics of the aggregator: one [`Node`] holds the statistics, logs, errors and reality of one node of a
//! grid, decides what a request changes, and renders what leaves.
//!
//! What holds here: no Redis, no clock, no I/O, no globals, no `unsafe`. Time, settings and ids come in with a
//! [`ExecContext`]; replies go to a [`Reply`]; what a replica must repeat goes to [`Effects`]. The same calls in the same
//! order give the same value on every machine.
//!
//! The layers, each of which knows only those before it: [`text`] (numbers, tags, globs, quoting) and [`codec`] (bytes,
//! JSON, line protocol); [`node`] (the value and all rules); [`request`] (arguments to typed requests, and running
//! them).
#![forbid(unsafe_code)]

pub mod ages;
pub mod codec;
pub mod command;
pub mod context;
pub mod counters;
pub mod effect;
pub mod error;
pub mod id;
mod model;
pub mod node;
pub mod reply;
pub mod settings;
pub mod text;
pub mod time;

pub use command::{Command, Request};
pub use context::{ExecContext, Memory, MemoryLimit};
pub use counters::Counters;
pub use effect::{Effects, Propagation};
pub use error::{CommandError, DecodeError};
pub use model::{MetricType, Queue};
pub use node::Node;
pub use reply::Reply;
pub use settings::Settings;
pub use time::Now;
