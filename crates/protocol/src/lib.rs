//! The vocabulary that both sides of the wire share: queues and record formats, names of nodes, numbers, tag lists,
//! levels, percentiles, glob patterns, line protocol, quotations and masking of foreign text, keys of errors, units of
//! command lines and configuration files, and numbers as people read them. No I/O, no clock.

#![forbid(unsafe_code)]

pub mod format;
pub mod glob;
pub mod grouping;
pub mod host_name;
pub mod level;
pub mod line_protocol;
pub mod masking;
mod natural_order;
mod node_name;
pub mod number;
pub mod percentile;
mod queue;
pub mod quote;
pub mod slot;
pub mod tags;
pub mod units;

pub use natural_order::natural;
pub use node_name::NodeName;
pub use queue::{Queue, RecordFormat};
