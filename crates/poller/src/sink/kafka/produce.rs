//! Writes messages to one partition, and finds those that the broker rejects for their content.
//!
//! # Invariants
//!
//! A broker appends all messages of a request to a partition or none. If it rejects them for the content of one, they are
//! halved until the message is alone; the others are written. Every other error fails the write.

use rskafka::client::error::{Error, ProtocolError};
use rskafka::{BackoffError, ConnectionError};

use super::message::Message;

/// A message that a broker rejects, by its index in the write, with the reason.
pub type Rejected = (usize, String);

/// Writes messages to a partition.
#[async_trait::async_trait]
pub trait Produce: Sync {
    /// Writes messages. All or none are stored.
    async fn produce(&self, messages: &[&Message]) -> Result<(), ProduceError>;
}

/// The reason why messages were not stored.
#[derive(Debug)]
pub enum ProduceError {
    /// At least one of them is rejected for its content or its size.
    Content(String),
    /// The brokers or the topic have a problem. Nothing is known to be stored.
    Cluster(String),
}

/// The result of a write to a partition.
#[derive(Default)]
pub struct Written {
    /// The indexes of the records that are stored.
    pub stored: Vec<usize>,
    /// The messages that are rejected.
    pub rejected: Vec<Rejected>,
    /// The reason why the rest is not stored.
    pub failed: Option<String>,
}

/// Writes messages to a partition until all are stored or rejected, or the cluster fails.
pub async fn write(partition: &impl Produce, messages: &[&Message<'_>]) -> Written {
    let mut written = Written::default();
    // The last part comes first, so that the order is kept.
    let mut todo = vec![messages];
    while let Some(part) = todo.pop() {
        match (partition.produce(part).await, part) {
            (Ok(()), part) => {
                let indexes = part.iter().map(|message| message.index);
                written.stored.extend(indexes);
            }
            (Err(ProduceError::Content(reason)), [message]) => {
                written.rejected.push((message.index, reason));
            }
            (Err(ProduceError::Content(_)), part) => {
                let (first, second) = part.split_at(part.len() / 2);
                todo.extend([second, first]);
            }
            (Err(ProduceError::Cluster(reason)), _) => {
                written.failed = Some(reason);
                break;
            }
        }
    }
    written
}

/// Classifies an error of the client.
pub fn classify(error: &Error) -> ProduceError {
    let is_content = |code: &ProtocolError| {
        matches!(
            code,
            ProtocolError::MessageTooLarge
                | ProtocolError::RecordListTooLarge
                | ProtocolError::InvalidRecord
                | ProtocolError::InvalidTimestamp
        )
    };
    match error {
        Error::ServerError { protocol_error, .. } if is_content(protocol_error) => {
            ProduceError::Content(describe(error))
        }
        _ => ProduceError::Cluster(describe(error)),
    }
}

/// Returns the words of an error: the name of its code as Kafka writes it, with the message of the broker.
pub fn describe(error: &Error) -> String {
    let Error::ServerError {
        protocol_error,
        error_message,
        ..
    } = error
    else {
        return match error {
            Error::RetryFailed(last) | Error::Connection(ConnectionError::RetryFailed(last)) => {
                last_error(last)
            }
            error => error.to_string(),
        };
    };
    let name = code_name(protocol_error);
    match error_message {
        Some(message) => format!("{name}: {message}"),
        None => name,
    }
}

/// Returns the words of the error of the last attempt.
fn last_error(BackoffError::DeadlineExceded { source, .. }: &BackoffError) -> String {
    match source.downcast_ref::<Error>() {
        Some(error) => describe(error),
        None => source.to_string(),
    }
}

/// Returns the name of a code as Kafka writes it, such as `TOPIC_AUTHORIZATION_FAILED`.
fn code_name(error: &ProtocolError) -> String {
    let mut name = String::new();
    for c in format!("{error:?}").chars() {
        if c.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(c.to_ascii_uppercase());
    }
    name
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;
    use rskafka::client::error::RequestContext;

    use super::*;

    fn server_error(protocol_error: ProtocolError) -> Error {
        Error::ServerError {
            protocol_error,
            error_message: None,
            request: RequestContext::Topic("t".into()),
            response: None,
            is_virtual: false,
        }
    }

    /// A partition that rejects messages of one node, and fails after some requests.
    struct Picky {
        stored: Mutex<Vec<i64>>,
        requests: Mutex<usize>,
    }

    #[async_trait::async_trait]
    impl Produce for Picky {
        async fn produce(&self, messages: &[&Message]) -> Result<(), ProduceError> {
            let mut left = self.requests.lock();
            if *left == 0 {
                return Err(ProduceError::Cluster("down".into()));
            }
            *left -= 1;
            if messages
                .iter()
                .any(|message| message.identity.node == "bad")
            {
                return Err(ProduceError::Content("INVALID_RECORD".into()));
            }
            self.stored
                .lock()
                .extend(messages.iter().map(|message| message.identity.id));
            Ok(())
        }
    }

    async fn run(nodes: &[&str], requests: usize) -> (Written, Vec<i64>) {
        let text = |(id, node): (usize, &&str)| {
            format!(r#"{{"node":"{node}","queue":"LOG","id":{id},"epoch":1}}"#)
        };
        let texts: Vec<String> = nodes.iter().enumerate().map(text).collect();
        let messages: Vec<Message> = texts
            .iter()
            .enumerate()
            .map(|(index, text)| Message::parse(index, text.as_bytes()).unwrap())
            .collect();
        let partition = Picky {
            stored: Mutex::default(),
            requests: Mutex::new(requests),
        };
        let messages: Vec<&Message> = messages.iter().collect();
        let written = write(&partition, &messages).await;
        (written, partition.stored.into_inner())
    }

    #[tokio::test]
    async fn message_that_is_rejected_is_found_and_the_others_keep_their_order() {
        let (written, stored) = run(&["a", "b", "bad", "c", "bad", "d"], 100).await;
        assert_eq!(stored, [0, 1, 3, 5]);
        assert_eq!(written.stored, [0, 1, 3, 5]);
        let reason = || "INVALID_RECORD".to_owned();
        assert_eq!(written.rejected, [(2, reason()), (4, reason())]);
        assert!(written.failed.is_none());
    }

    #[tokio::test]
    async fn messages_that_were_stored_before_a_failure_are_known() {
        let (written, stored) = run(&["a", "b", "bad", "c"], 2).await;
        assert_eq!(stored, [0, 1]);
        assert_eq!(written.stored, [0, 1]);
        assert!(written.rejected.is_empty());
        assert_eq!(written.failed.as_deref(), Some("down"));
    }

    #[test]
    fn only_codes_about_a_record_reject_it() {
        for code in [
            ProtocolError::MessageTooLarge,
            ProtocolError::InvalidRecord,
            ProtocolError::InvalidTimestamp,
        ] {
            assert!(matches!(
                classify(&server_error(code)),
                ProduceError::Content(_)
            ));
        }
        for (code, name) in [
            (ProtocolError::NotLeaderOrFollower, "NOT_LEADER_OR_FOLLOWER"),
            (ProtocolError::CorruptMessage, "CORRUPT_MESSAGE"),
            (ProtocolError::NotEnoughReplicas, "NOT_ENOUGH_REPLICAS"),
            (ProtocolError::KafkaStorageError, "KAFKA_STORAGE_ERROR"),
            (
                ProtocolError::UnsupportedCompressionType,
                "UNSUPPORTED_COMPRESSION_TYPE",
            ),
            (
                ProtocolError::TopicAuthorizationFailed,
                "TOPIC_AUTHORIZATION_FAILED",
            ),
        ] {
            match classify(&server_error(code)) {
                ProduceError::Cluster(reason) => assert_eq!(reason, name),
                ProduceError::Content(reason) => panic!("{reason}"),
            }
        }
    }
}
