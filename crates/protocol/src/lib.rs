//! Vocabulary that both sides of the wire share: node names, queues, tags, units of command lines and configuration files,
//! natural order of names, masking of text from outside. No I/O, no clock.

#![forbid(unsafe_code)]

pub mod masking;
mod natural_order;
mod node_name;
mod queue;
pub mod tags;
pub mod units;

pub use natural_order::natural;
pub use node_name::NodeName;
pub use queue::{Queue, RecordFormat};
