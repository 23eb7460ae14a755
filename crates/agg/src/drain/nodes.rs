//! Which nodes to drain: those named, or all that the server has.

use std::time::Instant;

use agg_client::Shutdown;
use agg_client::connect::{BlockingConnection, ClientError, Server};
use agg_client::nodes::{LIST_TTL, check_module, list_nodes};
use aggregator_protocol::NodeName;

/// The nodes.
pub struct Nodes {
    /// Whether they were named; else they are looked up.
    pub named: bool,
    list: Vec<NodeName>,
    looked: Option<Instant>,
}

impl Nodes {
    /// Those named, where there are any.
    pub fn new(mut named: Vec<NodeName>) -> Nodes {
        let mut seen = std::collections::HashSet::new();
        named.retain(|name| seen.insert(name.0.clone()));
        Nodes {
            named: !named.is_empty(),
            list: named,
            looked: None,
        }
    }

    /// Whether there is just one.
    pub fn single(&self) -> bool {
        self.list.len() == 1
    }

    /// The nodes as of now, looked up `again` when the list is old.
    pub fn list(
        &mut self,
        server: &Server,
        link: &mut BlockingConnection,
        again: bool,
        stop: &Shutdown,
    ) -> Result<&[NodeName], ClientError> {
        let old = self
            .looked
            .is_none_or(|looked| again && looked.elapsed() >= LIST_TTL);
        if !self.named && old {
            let first = self.looked.is_none();
            self.list = link.wait(async |wire| {
                let list = list_nodes(wire, stop).await?;
                if list.is_empty() && first {
                    check_module(server, wire).await?;
                }
                Ok(list)
            })?;
            self.looked = Some(Instant::now());
        }
        Ok(&self.list)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_named_twice_is_drained_once() {
        let name = |text: &str| NodeName(text.into());
        let nodes = Nodes::new(vec![name("b"), name("a"), name("b")]);
        assert!(nodes.named);
        assert_eq!(nodes.list, [name("b"), name("a")]);
        assert!(!Nodes::new(vec![]).named);
    }
}
