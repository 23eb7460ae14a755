//! Reads the state of nodes: the queues as AGG.INFO reports them.

use std::collections::BTreeMap;

use redis::{Cmd, Value};

use agg_client::connect::{ClientError, Connection};
use agg_client::reply;
use aggregator_protocol::NodeName;
use aggregator_protocol::Queue;

use super::status::{NodeStatus, QueueStatus};

/// The number of nodes in one pipeline.
const CHUNK: usize = 500;

/// Reads the state of the nodes. The state of a node that the user may not read is empty.
pub async fn read(
    wire: &mut Connection,
    names: &[NodeName],
) -> Result<BTreeMap<String, NodeStatus>, ClientError> {
    let mut nodes = BTreeMap::new();
    for chunk in names.chunks(CHUNK) {
        let command = |name: &NodeName| {
            let mut command = redis::cmd("AGG.INFO");
            command.arg(&name.0);
            command
        };
        let commands: Vec<Cmd> = chunk.iter().map(command).collect();
        wire.pipeline(&commands, |index, reply| {
            let status = reply.ok().and_then(node).unwrap_or_default();
            nodes.insert(chunk[index].to_string(), status);
        })
        .await?;
    }
    Ok(nodes)
}

fn node(value: Value) -> Option<NodeStatus> {
    let mut status = NodeStatus::default();
    for (name, value) in pairs(value)? {
        if name != b"queues" {
            continue;
        }
        for (name, value) in pairs(value)? {
            if let Some(index) = Queue::from_name(&name)
                .and_then(|queue| Queue::ALL.iter().position(|other| *other == queue))
            {
                status.queues[index] = queue(value);
            }
        }
    }
    Some(status)
}

fn queue(value: Value) -> Option<QueueStatus> {
    let mut status = QueueStatus::default();
    for (name, value) in pairs(value)? {
        let number = reply::int(&value).and_then(|number| u64::try_from(number).ok());
        let field = match name.as_slice() {
            b"length" => &mut status.length,
            b"bytes" => &mut status.bytes,
            b"oldest" => &mut status.oldest_ms,
            b"leased" => &mut status.leased,
            b"dropped" => &mut status.dropped,
            _ => continue,
        };
        *field = number.unwrap_or(0);
    }
    Some(status)
}

/// Reads a map as RESP2 encodes it.
fn pairs(value: Value) -> Option<Vec<(Vec<u8>, Value)>> {
    let mut items = reply::items(value)?.into_iter();
    let mut pairs = Vec::new();
    while let Some(name) = items.next() {
        pairs.push((reply::bytes(name)?, items.next()?));
    }
    Some(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, Value)]) -> Value {
        let flat =
            |(name, value): &(&str, Value)| [Value::BulkString((*name).into()), value.clone()];
        Value::Array(pairs.iter().flat_map(flat).collect())
    }

    #[test]
    fn queues_of_a_node_are_read() {
        let log = map(&[("length", Value::Int(7)), ("oldest", Value::Int(1500))]);
        let info = map(&[("metrics", Value::Int(3)), ("queues", map(&[("LOG", log)]))]);
        let status = node(info).unwrap();
        let expected = QueueStatus {
            length: 7,
            oldest_ms: 1500,
            ..QueueStatus::default()
        };
        assert_eq!(status.queues, [None, None, Some(expected), None, None]);
        assert!(node(Value::Okay).is_none());
    }
}
