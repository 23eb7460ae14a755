//! Spans that name the server or the node that a message is about.

use aggregator_protocol::NodeName;
use tracing::Span;

// Spans of the level error: a higher level would leave out the names.

/// Returns the span of messages about a server.
pub fn of_server(id: &str) -> Span {
    tracing::error_span!("server", server = id)
}

/// Returns the span of messages about a node.
pub fn of_node(name: &NodeName) -> Span {
    tracing::error_span!("node", node = %name)
}
