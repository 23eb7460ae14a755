//! Servers and the connections to them.
//!
//! # Invariants
//!
//! - Every call ends: within [`TIMEOUT`] after the last byte from the server, and within a minute however slowly bytes
//!   arrive.
//! - What a server sends is bounded, whoever it is (see `resp.rs`).
//! - A connection that has failed once cannot be used again, as replies could be taken for those of other commands.

mod allowlist;
mod connection;
mod fetched;
mod lookup;
mod raw;
mod read_buffer;
mod resp;
mod server;
mod tls;
mod walk;

pub use allowlist::Allowlist;
pub use connection::{Connection, TIMEOUT};
pub use fetched::{FetchedReply, PlacedRecord};
pub use lookup::lookup;
pub use raw::{RawReply, Token, Tokens};
pub use server::{Access, Server};
pub use tls::{Tls, TlsFiles};
pub use walk::CursorWalk;

pub use crate::error::{ClientError, ServerError, TlsError, UrlError};
