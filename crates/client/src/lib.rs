//! An asynchronous client of Redis and Valkey servers with the aggregator module: connections, encryption, discovery of
//! servers, reconnection.

#![forbid(unsafe_code)]

pub mod connect;
pub mod discovery;
pub mod fetch;
mod file_stamps;
pub mod messages;
pub mod nodes;
mod reconnect;
pub mod reply;
mod shutdown;

pub use file_stamps::FileStamps;
pub use reconnect::{Backoff, Reconnector};
pub use shutdown::Shutdown;
