//! Formats: our own compact bytes, JSON, InfluxDB's line protocol. They know nothing of nodes.

pub(crate) mod bytes;
pub mod json;

pub use bytes::put_u64;
