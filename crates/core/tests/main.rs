//! The tests of the core through its public interface, in one binary.

mod bounds;
mod columns;
mod formats;
mod histogram;
mod histories;
mod imports;
mod jitter;
mod model;
mod replica;
mod sequence;
mod statistics;
mod support;
