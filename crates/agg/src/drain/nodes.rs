//! The nodes that `agg drain` drains: those of its arguments, or all nodes of the server.

use std::time::Instant;

use agg_client::Shutdown;
use agg_client::connect::{ClientError, Connection, Server};
use agg_client::nodes::{LIST_TTL, check_module, list_nodes};
use aggregator_protocol::NodeName;

/// The nodes to drain.
pub struct Nodes {
    /// True if the arguments name the nodes. Otherwise they are read from the server.
    pub are_named: bool,
    list: Vec<NodeName>,
    /// The time at which the list was read.
    read_at: Option<Instant>,
}

impl Nodes {
    /// Returns the nodes named in the arguments, if any.
    pub fn new(mut named: Vec<NodeName>) -> Nodes {
        let mut seen = std::collections::HashSet::new();
        named.retain(|name| seen.insert(name.0.clone()));
        Nodes {
            are_named: !named.is_empty(),
            list: named,
            read_at: None,
        }
    }

    /// Returns whether there is exactly one node.
    pub fn is_single(&self) -> bool {
        self.list.len() == 1
    }

    /// Returns the nodes. The list is read once, and again if `refresh` is set and it is old.
    pub async fn list(
        &mut self,
        server: &Server,
        connection: &mut Connection,
        refresh: bool,
        shutdown: &Shutdown,
    ) -> Result<&[NodeName], ClientError> {
        let is_old = self
            .read_at
            .is_none_or(|read_at| refresh && read_at.elapsed() >= LIST_TTL);
        if !self.are_named && is_old {
            let is_first = self.read_at.is_none();
            let list = list_nodes(connection, shutdown).await?;
            if list.is_empty() && is_first {
                check_module(server, connection).await?;
            }
            self.list = list;
            self.read_at = Some(Instant::now());
        }
        Ok(&self.list)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_named_twice_is_drained_once() {
        let name = |text: &str| NodeName(text.into());
        let nodes = Nodes::new(vec![name("b"), name("a"), name("b")]);
        assert!(nodes.are_named);
        assert_eq!(nodes.list, [name("b"), name("a")]);
        assert!(!Nodes::new(vec![]).are_named);
    }
}
