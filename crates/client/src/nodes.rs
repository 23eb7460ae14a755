//! The nodes of a server.

use std::collections::BTreeSet;
use std::time::Duration;

use aggregator_protocol::NodeName;

use crate::command::Cmd;
use crate::connect::{ClientError, Connection, CursorWalk, Server};
use crate::reply::{self, Value};
use crate::shutdown::Shutdown;

/// The time for which a list of nodes stays valid.
pub const LIST_TTL: Duration = Duration::from_secs(5);
/// The maximum number of nodes of a server: a server with more is not one to drain.
const MAX_NODES: usize = 100_000;
/// The maximum size of their names, bytes.
const MAX_NAME_BYTES: usize = 32 << 20;

/// Returns all nodes of the server, each once, or those found so far when the end is requested.
///
/// # Errors
///
/// The connection failed, or the server rejects SCAN.
pub async fn list_nodes(
    connection: &mut Connection,
    shutdown: &Shutdown,
) -> Result<Vec<NodeName>, ClientError> {
    let mut scan = NodeScan::default();
    while !scan.step(connection).await? && !shutdown.is_requested() {}
    Ok(scan.found())
}

/// A scan of a server's keys in steps of a thousand, for callers that have other work in between: with many millions of
/// other keys it takes longer than a lease.
pub struct NodeScan {
    walk: CursorWalk,
    nodes: BTreeSet<Vec<u8>>,
    /// The bytes of the names.
    bytes: usize,
}

impl Default for NodeScan {
    fn default() -> Self {
        NodeScan {
            walk: CursorWalk::new("SCAN"),
            nodes: BTreeSet::new(),
            bytes: 0,
        }
    }
}

impl NodeScan {
    /// Takes a step, and returns whether it was the last.
    ///
    /// # Errors
    ///
    /// The connection failed, the server rejects SCAN, or it names too many nodes.
    pub async fn step(&mut self, connection: &mut Connection) -> Result<bool, ClientError> {
        let mut command = Cmd::new("SCAN");
        command
            .arg(self.walk.cursor())
            .arg("TYPE")
            .arg("aggr-node")
            .arg("COUNT")
            .arg(1000);
        let value = match connection.call(&command).await? {
            Ok(value) => value,
            // Some servers reject a type that they do not have.
            Err(error) if error.detail.contains("unknown type") => Value::Nil,
            Err(error) => {
                return Err(connection.rejected("SCAN", &error));
            }
        };
        let Some((next, keys)) = page(value) else {
            return Err(connection.unexpected_reply("SCAN"));
        };
        for key in keys {
            let bytes = key.len();
            // SCAN may return a key twice.
            if self.nodes.insert(key) {
                self.bytes += bytes;
            }
        }
        if self.nodes.len() > MAX_NODES || self.bytes > MAX_NAME_BYTES {
            return Err(connection.lost(&format!(
                "it names more than {MAX_NODES} nodes, or names of more than {MAX_NAME_BYTES} bytes"
            )));
        }
        self.walk.step(connection, next)
    }

    /// Returns the nodes that were found, each once.
    pub fn found(self) -> Vec<NodeName> {
        self.nodes.into_iter().map(NodeName).collect()
    }
}

fn page(value: Value) -> Option<(Vec<u8>, Vec<Vec<u8>>)> {
    let (cursor, keys) = reply::page(value)?;
    let keys: Option<_> = keys.into_iter().map(reply::bytes).collect();
    Some((cursor, keys?))
}

/// Checks that a server without nodes has the module. The check passes if the user may not run COMMAND.
///
/// # Errors
///
/// The connection failed, or the server does not have the module.
pub async fn check_module(server: &Server, connection: &mut Connection) -> Result<(), ClientError> {
    let mut command = Cmd::new("COMMAND");
    command.arg("INFO").arg("AGG.FETCH");
    let known = connection.call(&command).await?.ok().and_then(reply::items);
    match known.as_deref() {
        Some([Value::Nil]) => Err(ClientError::NoModule {
            endpoint: server.endpoint().to_owned(),
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_of_a_scan_is_read() {
        let bulk = |text: &str| Value::BulkString(text.into());
        let value = Value::Array(vec![bulk("7"), Value::Array(vec![bulk("a"), bulk("b")])]);
        assert_eq!(
            page(value),
            Some((b"7".to_vec(), vec![b"a".to_vec(), b"b".to_vec()]))
        );
        assert_eq!(page(Value::Nil), Some((b"0".to_vec(), vec![])));
        assert_eq!(page(Value::SimpleString("OK".into())), None);
    }
}
