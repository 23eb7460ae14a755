//! A sink for another server with the module, the hub: relays records under their node, queue and id.
//!
//! # Invariants
//!
//! - A write succeeds when the server has, of all its records, stored or known each one that it does not reject, and as
//!   many replicas as configured have them, too.
//! - A record that the server rejects becomes a dead letter alone: an error names it, the others are sent again, in
//!   smaller commands. Any other error, and a server without space, fails the write, which is retried.
//! - While a write fails, what the server confirmed on the same connection is not sent again. After a loss of the
//!   connection everything is: the server may be another one.

mod commands;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use agg_client::command::Cmd;
use agg_client::reply::{Reply, Value};
use agg_client::{ClientError, Connection, ServerError};
use aggregator_protocol::{NodeName, Queue};
use async_trait::async_trait;

use crate::config;

use self::commands::{Groups, NodeQueue, Sent, Stored, rejected};
use super::identity::Identity;
use super::{BatchLimits, Origin, Rejection, Sink, SinkError};

/// The longest time to wait for replicas; less than the timeout of a reply.
const WAIT: Duration = Duration::from_secs(3);
/// The channel of the message that is replicated before replicas are waited for.
const CHANNEL: &str = "agg-relay";
/// The time by which the server accepts ids ahead of its clock, microseconds.
const MAX_AHEAD_US: u128 = 86_400_000_000;

/// Queues of another server.
pub struct Aggregator {
    settings: config::Aggregator,
    connection: Option<Connection>,
    /// The records of a write that failed which the server has.
    stored: Stored,
}

/// The outcome of one round of commands.
#[derive(Default)]
struct Round {
    stored: Vec<(NodeQueue, Vec<i64>)>,
    rejected: Vec<(NodeQueue, i64, String)>,
    /// The reason why records are not stored that are not rejected.
    error: Option<String>,
    /// The error may be one of this server alone: its name may lead to another one after a failover.
    is_elsewhere: bool,
}

impl Aggregator {
    /// Creates a sink for the server of these settings. Nothing is sent yet.
    pub fn new(settings: config::Aggregator) -> Aggregator {
        Aggregator {
            settings,
            connection: None,
            stored: Stored::default(),
        }
    }

    /// Connects if there is no connection.
    async fn connected(&mut self) -> Result<&mut Connection, ClientError> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                // It may be another server than before.
                self.stored = Stored::default();
                self.settings.server.connect().await?
            }
        };
        Ok(self.connection.insert(connection))
    }

    /// Creates the error for a call that failed.
    fn failed(&mut self, error: &ClientError) -> SinkError {
        self.connection = None;
        SinkError::retriable(match error {
            ClientError::NoModule { endpoint } => {
                format!(
                    "{endpoint} does not have AGG.IMPORT: it needs the aggregator module of this version"
                )
            }
            error => error.to_string(),
        })
    }

    /// Sends the records that are left, each command with at most `max`, and waits for the replicas.
    async fn round(&mut self, groups: &Groups, max: usize) -> Result<Round, ClientError> {
        let endpoint = self.settings.server.endpoint().to_owned();
        let replicas = self.settings.wait_replicas;
        let (commands, sent) = groups.commands(max);
        let connection = self.connected().await?;
        let mut round = Round::default();
        let each = |index: usize, reply: Reply| {
            if let Some(sent) = sent.get(index) {
                round.note(&endpoint, sent, reply);
            }
        };
        connection.pipeline(&commands, each).await?;
        if replicas > 0 && !round.stored.is_empty() {
            let confirmed = wait(connection, replicas, WAIT).await?;
            if confirmed < replicas {
                // None of it counts: it is sent again, and waited for again.
                return Err(ClientError::Rejected {
                    endpoint,
                    what: "a write".into(),
                    error: ServerError::parse(&too_few(confirmed, replicas)),
                });
            }
        }
        Ok(round)
    }

    /// Checks that the user may import records, and that there are replicas enough.
    async fn inspect(&mut self) -> Result<String, ClientError> {
        let replicas = self.settings.wait_replicas;
        let endpoint = self.settings.server.endpoint().to_owned();
        let connection = self.connected().await?;
        // It has an invalid id, so nothing is changed.
        let mut command = Cmd::new("AGG.IMPORT");
        command.arg("agg-poll-check").arg("LOG").arg("0").arg("{}");
        match connection.call(&command).await? {
            // A user may be allowed the nodes of a leaf alone.
            Err(error) if error.is_permission_denied() && !error.denies_command() => {}
            Err(error) if rejected(&error.detail).is_some() => {}
            Err(error) => return Err(connection.rejected("AGG.IMPORT", &error)),
            Ok(_) => return Err(connection.unexpected_reply("AGG.IMPORT")),
        }
        if replicas > 0 {
            let confirmed = wait(connection, replicas, WAIT).await?;
            if confirmed < replicas {
                return Err(ClientError::Rejected {
                    endpoint,
                    what: "writes".into(),
                    error: ServerError::parse(&too_few(confirmed, replicas)),
                });
            }
        }
        Ok(format!("aggregator at {endpoint}"))
    }
}

impl Round {
    /// Notes the reply to a command.
    fn note(&mut self, endpoint: &str, sent: &Sent, reply: Reply) {
        let (node, queue) = &sent.node_queue;
        let error = match reply {
            Ok(Value::Int(count)) => match usize::try_from(count) {
                Ok(count) if count <= sent.ids.len() => {
                    let stored = sent.ids[..count].to_vec();
                    if count > 0 {
                        self.stored.push((sent.node_queue.clone(), stored));
                    }
                    if count == sent.ids.len() {
                        return;
                    }
                    "has no space for more records; its pollers have to drain it".to_owned()
                }
                _ => "sent an unexpected reply".to_owned(),
            },
            Ok(_) => "sent an unexpected reply".to_owned(),
            Err(error) => {
                if error.code == "ERR"
                    && let Some((index, reason)) = rejected(&error.detail)
                    && let Some(id) = sent.ids.get(index)
                    && !is_clock(reason, *id)
                {
                    let rejected = (sent.node_queue.clone(), *id, reason.to_owned());
                    self.rejected.push(rejected);
                    return;
                }
                let help = match error.code.as_str() {
                    "MOVED" | "ASK" | "CROSSSLOT" => ": a cluster cannot be a hub",
                    "READONLY" => ": the server is a replica",
                    "NOPERM" => ": the user needs +agg.import and the keys of the nodes",
                    _ => "",
                };
                self.is_elsewhere |= !["AGGFULL", "OOM"].contains(&error.code.as_str());
                let text = error.to_string();
                format!(
                    "does not accept records: {}{help}",
                    text.trim_end_matches('.')
                )
            }
        };
        let node = NodeName(node.clone());
        let text = format!("{endpoint}, queue {} of node {node}: {error}", queue.name());
        self.error.get_or_insert(text);
    }
}

#[async_trait]
impl Sink for Aggregator {
    fn limits(&self) -> BatchLimits {
        BatchLimits {
            records: self.settings.batch_lines,
            bytes: self.settings.batch_bytes,
        }
    }

    async fn connect(&mut self) -> Result<String, SinkError> {
        match self.inspect().await {
            Ok(description) => Ok(description),
            Err(error) => Err(self.failed(&error)),
        }
    }

    async fn write(&mut self, records: &[&[u8]]) -> Result<Vec<Rejection>, SinkError> {
        let mut rejections = Vec::new();
        let mut known: Vec<(usize, NodeName, Queue, i64)> = Vec::new();
        for (index, record) in records.iter().enumerate() {
            match Identity::parse(record) {
                Ok(identity) => {
                    let node = NodeName(identity.node.as_bytes().to_vec());
                    known.push((index, node, identity.queue, identity.id));
                }
                Err(reason) => rejections.push(Rejection { index, reason }),
            }
        }
        let texts: Vec<&[u8]> = known.iter().map(|(index, ..)| records[*index]).collect();
        let origin =
            |(_, node, queue, id): &'_ (usize, NodeName, Queue, i64)| (node.clone(), *queue, *id);
        let owned: Vec<(NodeName, Queue, i64)> = known.iter().map(origin).collect();
        let origins: Vec<Origin> = owned
            .iter()
            .map(|(node, queue, id)| Origin {
                node,
                queue: *queue,
                id: *id,
                floor: None,
            })
            .collect();
        for rejection in self.write_from(&texts, &origins).await? {
            let index = known[rejection.index].0;
            rejections.push(Rejection { index, ..rejection });
        }
        Ok(rejections)
    }

    async fn write_from(
        &mut self,
        records: &[&[u8]],
        origins: &[Origin<'_>],
    ) -> Result<Vec<Rejection>, SinkError> {
        if let Err(error) = self.connected().await {
            return Err(self.failed(&error));
        }
        let mut groups = Groups::new(records, origins, &self.stored);
        let mut rejections = Vec::new();
        let mut max = self.settings.batch_lines;
        while !groups.is_empty() {
            let round = match self.round(&groups, max).await {
                Ok(round) => round,
                Err(error) => return Err(self.failed(&error)),
            };
            for (node_queue, ids) in &round.stored {
                self.stored.add(node_queue, ids);
                for id in ids {
                    groups.remove(node_queue, *id);
                }
            }
            for (node_queue, id, reason) in round.rejected {
                for index in groups.remove(&node_queue, id) {
                    let reason = reason.clone();
                    rejections.push(Rejection { index, reason });
                }
            }
            if round.is_elsewhere {
                self.connection = None;
            }
            if let Some(error) = round.error {
                return Err(SinkError::retriable(error));
            }
            // An error names one record of its command. Smaller commands find several in one round, so the rounds are
            // few and no record is sent often.
            max = (max / 2).max(1);
        }
        self.stored = Stored::default();
        rejections.sort_by_key(|rejection| rejection.index);
        Ok(rejections)
    }
}

/// Returns whether the server rejects a record because its own clock is behind: by the clock of this machine the id is not
/// too far in the future. It is not the fault of the record.
fn is_clock(reason: &str, id: i64) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |now| now.as_micros());
    reason.contains("ahead of the server's clock")
        && u128::try_from(id).is_ok_and(|id| id <= now + MAX_AHEAD_US)
}

/// Waits for replicas. Returns how many have everything that the server has written.
///
/// Since Redis 7.2, WAIT waits for what its own connection wrote last. A record that the server knows already was written
/// by another one, and may not be replicated yet. So the connection writes something itself first: a message to a channel
/// is replicated, and changes nothing.
async fn wait(
    connection: &mut Connection,
    replicas: u64,
    time: Duration,
) -> Result<u64, ClientError> {
    let mut publish = Cmd::new("PUBLISH");
    publish.arg(CHANNEL).arg("");
    if let Err(error) = connection.call(&publish).await? {
        return Err(connection.rejected("PUBLISH", &error));
    }
    let mut command = Cmd::new("WAIT");
    command.arg(replicas).arg(time.as_millis() as u64);
    match connection.call(&command).await? {
        Ok(Value::Int(count)) => Ok(u64::try_from(count).unwrap_or(0)),
        Ok(_) => Err(connection.unexpected_reply("WAIT")),
        Err(error) => Err(connection.rejected("WAIT", &error)),
    }
}

fn too_few(confirmed: u64, replicas: u64) -> String {
    let ms = WAIT.as_millis();
    format!(
        "NOREPLICAS {confirmed} of {replicas} replicas (wait-replicas) confirmed within {ms} ms"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clock_of_the_server_is_no_fault_of_a_record() {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let now = now.as_micros() as i64;
        let reason = "the id 7 is 90000 s ahead of the server's clock: the maximum is a day";
        let day = MAX_AHEAD_US as i64;
        assert!(is_clock(reason, now));
        assert!(is_clock(reason, now + day - 60_000_000));
        // By both clocks it is the id that is wrong.
        assert!(!is_clock(reason, now + day + 60_000_000));
        assert!(!is_clock("queue is not LOG", now));
        assert!(!is_clock(reason, -1));
    }
}
