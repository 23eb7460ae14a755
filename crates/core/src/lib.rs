//! The semantics of the aggregator. One [`Node`] holds the statistics, logs, errors and objects of one node of a grid,
//! decides what a command changes, and renders the records that pollers fetch.
//!
//! # Invariants
//!
//! No Redis, no clock, no I/O, no globals, no `unsafe`. Time, settings and ids come in with an [`ExecContext`], replies
//! go to a [`Reply`], and what a replica must replay goes to [`Effects`]. The same calls in the same order give the
//! same value on every machine.
//!
//! # Layers
//!
//! Each layer depends only on those before it:
//!
//! 1. the crate `aggregator-protocol` (numbers, tags, globs, line protocol) and [`codec`] (bytes, JSON);
//! 2. `model` (what commands report, effects carry and queues hold);
//! 3. [`effect`] (what replicas replay);
//! 4. [`node`] (the value and all rules);
//! 5. [`command`] (the command table, the parser, and how commands run).
#![forbid(unsafe_code)]

pub mod ages;
pub mod codec;
pub mod command;
pub mod context;
pub mod counters;
pub mod effect;
pub mod error;
pub mod id;
pub mod memory;
mod model;
pub mod name_patterns;
pub mod node;
pub mod reply;
pub mod settings;
pub mod text_settings;
pub mod time;

pub use command::{Command, Request};
pub use context::ExecContext;
pub use counters::Counters;
pub use effect::{Effects, Propagation};
pub use error::{CommandError, DecodeError};
pub use memory::{Memory, MemoryLimit};
pub use model::{MetricType, Queue, histogram};
pub use node::Node;
pub use reply::Reply;
pub use settings::Settings;
pub use time::Now;
