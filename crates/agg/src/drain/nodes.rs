//! Which nodes to drain: those named, or all that the server has.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use redis::Value;

use crate::args::NodeName;
use crate::connect::{Failure, Link, Server, Walk, Wire, no_module};
use crate::reply;
use crate::shutdown::Stop;

/// How long a list that was looked up holds.
pub const FRESH: Duration = Duration::from_secs(5);
/// The nodes of a server, and the bytes of their names: a server that has more is not one that gives out records.
const MOST: (usize, usize) = (100_000, 32 << 20);

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
        link: &mut Link,
        again: bool,
        stop: &Stop,
    ) -> Result<&[NodeName], Failure> {
        let old = self
            .looked
            .is_none_or(|looked| again && looked.elapsed() >= FRESH);
        if !self.named && old {
            let first = self.looked.is_none();
            self.list = link.wait(async |wire| {
                let list = scan(wire, stop).await?;
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

/// All nodes of the server, each once; those found so far when the end is asked for.
pub async fn scan(wire: &mut Wire, stop: &Stop) -> Result<Vec<NodeName>, Failure> {
    let mut scan = Scan::default();
    while !scan.go_on(wire).await? && !stop.asked() {}
    Ok(scan.found())
}

/// A look through the keys of a server in steps of a thousand, for whoever has other work in between: with many millions
/// of other keys it takes longer than a lease.
pub struct Scan {
    walk: Walk,
    nodes: BTreeSet<Vec<u8>>,
    /// The bytes of their names.
    bytes: usize,
}

impl Default for Scan {
    fn default() -> Self {
        Scan {
            walk: Walk::new("SCAN"),
            nodes: BTreeSet::new(),
            bytes: 0,
        }
    }
}

impl Scan {
    /// Takes a step; tells whether it was the last.
    pub async fn go_on(&mut self, wire: &mut Wire) -> Result<bool, Failure> {
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
            return Err(wire.strange("SCAN"));
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
pub async fn check_module(server: &Server, wire: &mut Wire) -> Result<(), Failure> {
    let mut command = redis::cmd("COMMAND");
    command.arg("INFO").arg("AGG.FETCH");
    let known = wire.call(&command).await?.ok().and_then(reply::items);
    match known.as_deref() {
        Some([Value::Nil]) => Err(no_module(server.place())),
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

    #[test]
    fn a_node_named_twice_is_drained_once() {
        let name = |text: &str| NodeName(text.into());
        let nodes = Nodes::new(vec![name("b"), name("a"), name("b")]);
        assert!(nodes.named);
        assert_eq!(nodes.list, [name("b"), name("a")]);
        assert!(!Nodes::new(vec![]).named);
    }
}
