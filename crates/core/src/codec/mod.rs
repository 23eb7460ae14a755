//! Formats: the compact binary format, and JSON. They know nothing of nodes.

pub(crate) mod bytes;
pub mod json;
pub(crate) mod tags;

pub use bytes::put_u64;
