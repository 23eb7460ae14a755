//! Vocabulary that both sides of the wire share: node names, units of command lines and configuration files, order of
//! names, timestamps, masking of text from outside. No I/O, no clock.

#![forbid(unsafe_code)]

pub mod masking;
mod natural_order;
mod node_name;
mod queue;
pub mod tags;
pub mod timestamp;
pub mod units;

pub use natural_order::natural;
pub use node_name::NodeName;
pub use queue::{Queue, RecordFormat};
