//! The nodes of a server.

use std::collections::BTreeSet;
use std::time::Duration;

use aggregator_protocol::NodeName;
use redis::Value;

use crate::Shutdown;
use crate::connect::{ClientError, Connection, Server, Walk, no_module};
use crate::reply;

/// How long a list of nodes that was looked up stays valid.
pub const LIST_TTL: Duration = Duration::from_secs(5);
/// The nodes of a server, and the bytes of their names: a server that has more is not one that gives out records.
const MOST: (usize, usize) = (100_000, 32 << 20);

/// All nodes of the server, each once; those found so far when the end is asked for.
pub async fn list_nodes(
    wire: &mut Connection,
    stop: &Shutdown,
) -> Result<Vec<NodeName>, ClientError> {
    let mut scan = NodeScan::default();
    while !scan.step(wire).await? && !stop.is_requested() {}
    Ok(scan.found())
}

/// A look through the keys of a server in steps of a thousand, for whoever has other work in between: with many millions
/// of other keys it takes longer than a lease.
pub struct NodeScan {
    walk: Walk,
    nodes: BTreeSet<Vec<u8>>,
    /// The bytes of their names.
    bytes: usize,
}

impl Default for NodeScan {
    fn default() -> Self {
        NodeScan {
            walk: Walk::new("SCAN"),
            nodes: BTreeSet::new(),
            bytes: 0,
        }
    }
}

impl NodeScan {
    /// Takes a step; tells whether it was the last.
    pub async fn step(&mut self, wire: &mut Connection) -> Result<bool, ClientError> {
        let mut command = redis::cmd("SCAN");
        command
            .arg(self.walk.cursor())
            .arg("TYPE")
            .arg("aggr-node")
            .arg("COUNT")
            .arg(1000);
        let value = match wire.call(&command).await? {
            Ok(value) => value,
            // Some servers refuse the name of a type that they do not have.
            Err(text) if text.contains("unknown type") => Value::Nil,
            Err(text) => {
                return Err(wire.refused("to list its nodes (name them with --node)", &text));
            }
        };
        let Some((next, keys)) = page(value) else {
            return Err(wire.unexpected_reply("SCAN"));
        };
        for key in keys {
            let bytes = key.len();
            // SCAN may tell a key twice.
            if self.nodes.insert(key) {
                self.bytes += bytes;
            }
        }
        let (nodes, bytes) = MOST;
        if self.nodes.len() > nodes || self.bytes > bytes {
            let why =
                format!("it names more than {nodes} nodes, or names of more than {bytes} bytes");
            return Err(wire.lost(&why));
        }
        self.walk.step(wire, next)
    }

    /// What was found so far, each once.
    pub fn found(self) -> Vec<NodeName> {
        self.nodes.into_iter().map(NodeName).collect()
    }
}

fn page(value: Value) -> Option<(Vec<u8>, Vec<Vec<u8>>)> {
    let (cursor, keys) = reply::page(value)?;
    let keys: Option<_> = keys.into_iter().map(reply::bytes).collect();
    Some((cursor, keys?))
}

/// No nodes: is it that nobody reported yet, or that nobody can? Who may not ask is not told.
pub async fn check_module(server: &Server, wire: &mut Connection) -> Result<(), ClientError> {
    let mut command = redis::cmd("COMMAND");
    command.arg("INFO").arg("AGG.FETCH");
    let known = wire.call(&command).await?.ok().and_then(reply::items);
    match known.as_deref() {
        Some([Value::Nil]) => Err(no_module(server.endpoint())),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_a_scan() {
        let bulk = |text: &str| Value::BulkString(text.into());
        let value = Value::Array(vec![bulk("7"), Value::Array(vec![bulk("a"), bulk("b")])]);
        assert_eq!(
            page(value),
            Some((b"7".to_vec(), vec![b"a".to_vec(), b"b".to_vec()]))
        );
        assert_eq!(page(Value::Nil), Some((b"0".to_vec(), vec![])));
        assert_eq!(page(Value::Okay), None);
    }
}
