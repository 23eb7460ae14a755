//! A change of a source.

use crate::connect::Server;

/// A server that a source has found, or that has moved or disappeared.
#[derive(Clone)]
pub struct Found {
    /// The identity of the server: its endpoint, or a name for several endpoints of which one is used at a time.
    pub id: String,
    /// The server at its present address; none if it has disappeared.
    pub server: Option<Server>,
}
