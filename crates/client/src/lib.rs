//! An asynchronous client of Redis and Valkey servers with the aggregator module.
//!
//! - [`Server`] is an address with credentials; [`Server::connect`] makes a [`Connection`], encrypted if its URL is
//!   `rediss://`.
//! - [`command`] has a type for each command of the module and for what it answers. [`Connection::run`] sends one,
//!   [`Connection::run_all`] many in one pipeline.
//! - [`Reconnector`] reconnects with growing, jittered pauses ([`Backoff`]) until a [`Shutdown`] is requested.
//! - [`discovery`] finds servers in address ranges, in a Redis or Valkey Cluster, or behind Sentinels, and follows them
//!   through failovers.
//!
//! ```no_run
//! use agg_client::command::{Ack, Fetch, Level, Log, Stat};
//! use agg_client::{Access, Queue, Server};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let server = Server::parse("redis://127.0.0.1:7777", &Access::default())?;
//! let mut connection = server.connect().await?;
//!
//! // Report.
//! let load = Stat::new("node1", "cpu.load", 12.5).tags("unit:percent");
//! assert!(connection.run(&load).await?);
//! connection.run(&Log::new("node1", "backup finished").level(Level::INFO)).await?;
//!
//! // Drain: a record is leased until it is acknowledged, so none is lost.
//! let queues = [Queue::Log, Queue::Error];
//! for record in connection.run(&Fetch::new("node1", &queues)).await? {
//!     println!("{}", String::from_utf8_lossy(&record.record));
//!     connection.run(&Ack::new("node1", record.queue, &[record.id])).await?;
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Errors
//!
//! [`ClientError::Command`] is an error reply to one command; the connection can be used further. After any other error
//! the connection is dropped. [`ClientError::is_retriable`] says whether it is worth trying again. No message shows a
//! user or a password.
//!
//! # Hostile servers
//!
//! A server may be anybody's, above all one that discovery found. Its replies are bounded in memory, nesting and time;
//! see [`connect`]. A server that another one named gets the credentials only if an [`Allowlist`] permits its address.

//!
//! # Dependencies
//!
//! No type of another client library is part of the interface: [`command::Cmd`] is a command, [`reply::Value`] a reply.

#![forbid(unsafe_code)]

pub mod command;
pub mod connect;
pub mod discovery;
#[cfg(feature = "environment")]
pub mod environment;
mod error;
pub mod fetch;
mod file_stamps;
pub mod nodes;
mod numbering;
mod outbox;
pub mod permissions;
mod reconnect;
pub mod reply;
mod shutdown;
pub mod timestamp;
mod warn_once;

pub use aggregator_protocol::{NodeName, Queue, RecordFormat};
pub use connect::{Access, Allowlist, Connection, Server, TIMEOUT, Tls, TlsFiles};
pub use error::{ClientError, ServerError, TlsError, UrlError};
pub use file_stamps::FileStamps;
pub use numbering::Numbering;
pub use outbox::{Delivery, Outbox};
pub use reconnect::{Backoff, Reconnector};
pub use shutdown::Shutdown;
pub use warn_once::WarnOnce;
