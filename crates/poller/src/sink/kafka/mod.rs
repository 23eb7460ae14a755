//! A sink for clusters that speak Kafka's protocol: a topic per queue.
//!
//! # Invariants
//!
//! - A message is stored when all replicas in sync have it (acks=all).
//! - The messages of one write go to their partitions concurrently, a request per partition, and each partition has its own
//!   result. If one fails the write is retried, and messages that other partitions have stored are not sent again.
//! - A request whose answer is lost is sent again, so delivery is at least once: the client has no idempotent producer.

mod cluster;
mod message;
mod partitioner;
mod produce;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use aggregator_protocol::Queue;
use async_trait::async_trait;
use futures_util::{FutureExt, StreamExt, stream};

use crate::config;

use self::cluster::{Cluster, Partition};
use self::message::Message;
use self::produce::Written;
use super::interface::shorten;
use super::{BatchLimits, Rejection, Sink, SinkError};

/// The number of partitions that are written to at the same time.
const CONCURRENT: usize = 16;

/// A record, by what identifies it.
type Id = (String, Queue, i64);

/// Topics of a cluster.
pub struct Kafka {
    settings: config::Kafka,
    cluster: Option<Cluster>,
    /// The records of the last write, which failed, that are stored. At most one write.
    stored: HashSet<Id>,
}

impl Kafka {
    /// Creates a sink for the cluster of these settings. Nothing is sent yet.
    pub fn new(settings: config::Kafka) -> Kafka {
        Kafka {
            settings,
            cluster: None,
            stored: HashSet::new(),
        }
    }

    fn topic(&self, queue: Queue) -> String {
        format!("{}{}", self.settings.prefix, queue.name().to_lowercase())
    }

    /// Connects if there is no connection.
    async fn cluster(&mut self) -> Result<&mut Cluster, String> {
        let cluster = match self.cluster.take() {
            Some(cluster) => cluster,
            None => Cluster::connect(&self.settings).await?,
        };
        Ok(self.cluster.insert(cluster))
    }

    /// Writes messages to their partitions, and returns the result of each partition.
    async fn send(&mut self, messages: &[Message<'_>]) -> Result<Vec<Written>, String> {
        let settings = self.settings.clone();
        let topics = Queue::ALL.map(|queue| self.topic(queue));
        let cluster = self.cluster().await?;
        let mut by_queue: [Vec<&Message>; Queue::ALL.len()] = Default::default();
        for message in messages {
            by_queue[message.identity.queue as usize].push(message);
        }
        let mut by_partition: BTreeMap<(usize, i32), Vec<&Message>> = BTreeMap::new();
        for (queue, messages) in by_queue.into_iter().enumerate() {
            if messages.is_empty() {
                continue;
            }
            let ids = cluster.topic(&topics[queue], &settings).await?;
            for message in messages {
                let id = ids[partitioner::partition(&message.key, ids.len())];
                by_partition.entry((queue, id)).or_default().push(message);
            }
        }
        let mut writes = Vec::with_capacity(by_partition.len());
        for ((queue, id), messages) in by_partition {
            // A partition without a leader does not keep the others from being written.
            let leader = cluster.partition(&topics[queue], id, &settings).await;
            writes.push(write_part(leader, messages).boxed());
        }
        Ok(stream::iter(writes)
            .buffer_unordered(CONCURRENT)
            .collect()
            .await)
    }

    /// Creates the error for a write that is retried.
    fn failed(&mut self, reason: &str) -> SinkError {
        self.cluster = None;
        SinkError::retriable(shorten(reason))
    }
}

#[async_trait]
impl Sink for Kafka {
    fn limits(&self) -> BatchLimits {
        BatchLimits {
            records: self.settings.batch_lines,
            bytes: self.settings.batch_bytes,
        }
    }

    async fn connect(&mut self) -> Result<String, SinkError> {
        let names = Queue::ALL.map(|queue| self.topic(queue));
        let creates = self.settings.create_topics.is_some();
        match self.cluster().await {
            Ok(cluster) => {
                let count = cluster.topic_count();
                let missing: Vec<&str> = names
                    .iter()
                    .filter(|name| !cluster.has_topic(name))
                    .map(String::as_str)
                    .collect();
                // A route may not have all queues, so a missing topic is no error.
                Ok(match missing.is_empty() || creates {
                    true => format!("Kafka with {count} topics"),
                    false => format!(
                        "Kafka with {count} topics; there is no topic {}",
                        missing.join(", ")
                    ),
                })
            }
            Err(reason) => Err(self.failed(&reason)),
        }
    }

    async fn write(&mut self, records: &[&[u8]]) -> Result<Vec<Rejection>, SinkError> {
        let mut rejections = Vec::new();
        let (mut messages, mut done) = (Vec::with_capacity(records.len()), HashSet::new());
        for (index, record) in records.iter().enumerate() {
            match Message::parse(index, record) {
                Ok(message) => match self.stored.take(&id(&message)) {
                    Some(stored) => drop(done.insert(stored)),
                    None => messages.push(message),
                },
                Err(reason) => rejections.push(Rejection { index, reason }),
            }
        }
        self.stored = done;
        let written = match self.send(&messages).await {
            Ok(written) => written,
            Err(reason) => return Err(self.failed(&reason)),
        };
        let mut failed = None;
        for part in written {
            if let Some(reason) = part.failed {
                failed.get_or_insert(reason);
            }
            let of_part = part.stored.iter().filter_map(|index| {
                let at = messages.binary_search_by_key(index, |message| message.index);
                Some(id(&messages[at.ok()?]))
            });
            self.stored.extend(of_part);
            let of_part = part.rejected.into_iter();
            rejections.extend(of_part.map(|(index, reason)| Rejection { index, reason }));
        }
        match failed {
            Some(reason) => Err(self.failed(&reason)),
            None => {
                self.stored.clear();
                Ok(rejections)
            }
        }
    }
}

/// Writes the messages of one partition.
async fn write_part(
    leader: Result<Arc<Partition>, String>,
    messages: Vec<&Message<'_>>,
) -> Written {
    match leader {
        Ok(leader) => produce::write(&*leader, &messages).await,
        Err(reason) => Written {
            failed: Some(reason),
            ..Written::default()
        },
    }
}

fn id(message: &Message) -> Id {
    let identity = &message.identity;
    (identity.node.to_string(), identity.queue, identity.id)
}
