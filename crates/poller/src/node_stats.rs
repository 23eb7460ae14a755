//! Reads the state of nodes: the queues as AGG.INFO reports them.

use std::collections::BTreeMap;

use agg_client::command::{Cmd, Command, Info, NodeInfo};
use agg_client::connect::{ClientError, Connection};
use aggregator_protocol::{NodeName, Queue};

use super::status::NodeStatus;

/// The number of nodes in one pipeline.
const CHUNK: usize = 500;

/// Reads the state of the nodes. The state of a node that the user may not read, and of one of which the server does not
/// send what AGG.INFO describes, is empty: records can be drained without it.
pub async fn read(
    connection: &mut Connection,
    names: &[NodeName],
) -> Result<BTreeMap<String, NodeStatus>, ClientError> {
    let mut nodes = BTreeMap::new();
    for chunk in names.chunks(CHUNK) {
        let commands: Vec<Cmd> = chunk.iter().map(|name| Info::new(name).to_cmd()).collect();
        connection
            .pipeline(&commands, |index, reply| {
                let info = reply.ok().and_then(NodeInfo::read);
                let status = info.map(status).unwrap_or_default();
                nodes.insert(chunk[index].to_string(), status);
            })
            .await?;
    }
    Ok(nodes)
}

fn status(info: NodeInfo) -> NodeStatus {
    NodeStatus {
        queues: Queue::ALL.map(|queue| info.queues.get(&queue).copied()),
    }
}

#[cfg(test)]
mod tests {
    use agg_client::command::QueueInfo;

    use super::*;

    #[test]
    fn queue_that_is_not_reported_has_no_state() {
        let log = QueueInfo {
            length: 7,
            oldest_ms: 1500,
            ..QueueInfo::default()
        };
        let info = NodeInfo {
            queues: BTreeMap::from([(Queue::Log, log)]),
            ..NodeInfo::default()
        };
        let status = status(info);
        assert_eq!(status.queues, [None, None, Some(log), None, None]);
    }
}
