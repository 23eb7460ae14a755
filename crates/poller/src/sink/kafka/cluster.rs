//! The connection to a cluster: topics and the leaders of their partitions.
//!
//! # Invariants
//!
//! - Every call ends within the timeout of the sink. The client retries by itself for a moment only, for example while a
//!   new topic has no leader; then the reason is reported, and the sink is asked to write again.
//! - After an error the client is given up with all its connections, and the next write begins with the brokers of the
//!   configuration.
//! - The client has no queue of its own: what it holds are the requests that are being awaited here.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rskafka::BackoffConfig;
use rskafka::client::error::{Error, ProtocolError};
use rskafka::client::partition::{Compression, PartitionClient, UnknownTopicHandling};
use rskafka::client::{Client, ClientBuilder, Credentials, SaslConfig};
use tokio::time::{Instant, timeout};

use crate::config::{Kafka, KafkaCompression, KafkaSasl};

use super::message::Message;
use super::produce::{Produce, ProduceError, classify, describe};

/// The maximum size of a response, bytes. The largest is the metadata of all topics.
const MAX_RESPONSE: usize = 32 << 20;
/// The time that the client spends in pauses between its own attempts.
const RETRY: Duration = Duration::from_millis(500);
/// The time for which the number of partitions of the topics is taken to be the same.
const METADATA_AGE: Duration = Duration::from_secs(300);

/// A client with what it knows of the topics.
pub struct Cluster {
    client: Client,
    /// The ids of the partitions of each topic, in ascending order.
    topics: HashMap<String, Vec<i32>>,
    fetched: Instant,
    partitions: HashMap<(String, i32), Arc<Partition>>,
}

/// The leader of a partition.
pub struct Partition {
    client: PartitionClient,
    compression: Compression,
    timeout: Duration,
}

impl Cluster {
    /// Connects to one of the brokers, and reads the list of topics.
    pub async fn connect(settings: &Kafka) -> Result<Cluster, String> {
        let mut builder = ClientBuilder::new(settings.brokers.clone())
            .client_id("agg")
            .max_message_size(MAX_RESPONSE)
            .backoff_config(BackoffConfig {
                init_backoff: Duration::from_millis(50),
                max_backoff: Duration::from_secs(1),
                base: 2.0,
                deadline: Some(RETRY),
            });
        if let Some(tls) = &settings.tls {
            builder = builder.tls_config(tls.config.clone());
        }
        if let Some((mechanism, user, password)) = &settings.sasl {
            let credentials = Credentials::new(user.clone(), password.clone());
            builder = builder.sasl_config(match mechanism {
                KafkaSasl::Plain => SaslConfig::Plain(credentials),
                KafkaSasl::ScramSha256 => SaslConfig::ScramSha256(credentials),
                KafkaSasl::ScramSha512 => SaslConfig::ScramSha512(credentials),
            });
        }
        let client = within(settings.timeout, builder.build()).await?;
        let mut cluster = Cluster {
            client,
            topics: HashMap::new(),
            fetched: Instant::now(),
            partitions: HashMap::new(),
        };
        cluster.fetch_topics(settings.timeout).await?;
        Ok(cluster)
    }

    /// Returns the number of topics.
    pub fn topic_count(&self) -> usize {
        self.topics.len()
    }

    /// Returns whether a topic exists.
    pub fn has_topic(&self, topic: &str) -> bool {
        self.topics.contains_key(topic)
    }

    async fn fetch_topics(&mut self, timeout: Duration) -> Result<(), String> {
        let topics = within(timeout, self.client.list_topics()).await?;
        let with_ids = topics.into_iter().map(|topic| {
            let ids = topic.partitions.into_iter().collect();
            (topic.name, ids)
        });
        self.topics = with_ids.collect();
        self.fetched = Instant::now();
        Ok(())
    }

    /// Returns the partitions of a topic. Creates the topic if it is missing and that is configured.
    pub async fn topic(&mut self, topic: &str, settings: &Kafka) -> Result<Vec<i32>, String> {
        if self.fetched.elapsed() > METADATA_AGE || !self.has_topic(topic) {
            self.fetch_topics(settings.timeout).await?;
        }
        if !self.has_topic(topic) {
            let Some((partitions, replication)) = settings.create_topics else {
                return Err(format!(
                    "there is no topic {topic}: create it, or set create-topics = true"
                ));
            };
            self.create(topic, (partitions, replication), settings.timeout)
                .await?;
            self.fetch_topics(settings.timeout).await?;
        }
        match self.topics.get(topic) {
            Some(ids) if !ids.is_empty() => Ok(ids.clone()),
            _ => Err(format!("the topic {topic} has no partitions yet")),
        }
    }

    async fn create(
        &self,
        topic: &str,
        (partitions, replication): (i32, i16),
        limit: Duration,
    ) -> Result<(), String> {
        let failed = |reason: String| format!("cannot create the topic {topic}: {reason}");
        let controller = self.client.controller_client();
        let controller = controller.map_err(|error| failed(describe(&error)))?;
        let wait = i32::try_from(limit.as_millis() / 2).unwrap_or(i32::MAX);
        let create = controller.create_topic(topic, partitions, replication, wait);
        match timeout(limit, create).await {
            Ok(Ok(())) => Ok(()),
            // Another poller has just created it.
            Ok(Err(Error::ServerError {
                protocol_error: ProtocolError::TopicAlreadyExists,
                ..
            })) => Ok(()),
            Ok(Err(error)) => Err(failed(describe(&error))),
            Err(_) => Err(failed(no_answer(limit))),
        }
    }

    /// Returns the leader of a partition.
    pub async fn partition(
        &mut self,
        topic: &str,
        id: i32,
        settings: &Kafka,
    ) -> Result<Arc<Partition>, String> {
        let key = (topic.to_owned(), id);
        if let Some(partition) = self.partitions.get(&key) {
            return Ok(partition.clone());
        }
        let client = self
            .client
            .partition_client(topic, id, UnknownTopicHandling::Retry);
        let client = within(settings.timeout, client)
            .await
            .map_err(|reason| format!("topic {topic}, partition {id}: {reason}"))?;
        let partition = Arc::new(Partition {
            client,
            compression: match settings.compression {
                KafkaCompression::None => Compression::NoCompression,
                KafkaCompression::Gzip => Compression::Gzip,
                KafkaCompression::Zstd => Compression::Zstd,
            },
            timeout: settings.timeout,
        });
        self.partitions.insert(key, partition.clone());
        Ok(partition)
    }
}

#[async_trait::async_trait]
impl Produce for Partition {
    async fn produce(&self, messages: &[&Message]) -> Result<(), ProduceError> {
        let records = messages.iter().map(|message| message.record()).collect();
        let produced = self.client.produce(records, self.compression);
        let place = || {
            let (topic, id) = (self.client.topic(), self.client.partition());
            format!("topic {topic}, partition {id}")
        };
        match timeout(self.timeout, produced).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(match classify(&error) {
                ProduceError::Cluster(reason) => {
                    ProduceError::Cluster(format!("{}: {reason}", place()))
                }
                content @ ProduceError::Content(_) => content,
            }),
            Err(_) => {
                let reason = no_answer(self.timeout);
                Err(ProduceError::Cluster(format!("{}: {reason}", place())))
            }
        }
    }
}

/// Waits for a call, for at most this time.
async fn within<T>(
    limit: Duration,
    call: impl Future<Output = Result<T, Error>>,
) -> Result<T, String> {
    match timeout(limit, call).await {
        Ok(result) => result.map_err(|error| describe(&error)),
        Err(_) => Err(no_answer(limit)),
    }
}

fn no_answer(limit: Duration) -> String {
    format!("no answer within {limit:?}")
}
