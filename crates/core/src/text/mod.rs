//! Text that comes in and goes out: numbers, tag lists, patterns, quotations, slots. Nothing here knows of nodes.

pub mod glob;
pub mod number;
pub mod quote;
pub mod slot;
pub mod tags;
