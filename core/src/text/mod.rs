//! Text that comes in and goes out: numbers, tag lists, patterns, quotations. Nothing here knows of nodes.

pub mod glob;
pub mod number;
pub mod quote;
pub mod tags;
