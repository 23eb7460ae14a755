//! The message of a record: its key, headers and time.

use std::borrow::Cow;
use std::collections::BTreeMap;

use rskafka::chrono::{DateTime, Utc};
use rskafka::record::Record;
use serde::Deserialize;
use serde_json::value::RawValue;

use aggregator_protocol::Queue;

use crate::sink::identity::Identity;

/// A record with its key and time.
pub struct Message<'a> {
    /// The index of the record in the write.
    pub index: usize,
    /// The identity of the record.
    pub identity: Identity<'a>,
    /// The key of the message, by which its partition is chosen.
    pub key: Vec<u8>,
    /// The time of the record, ms since 1970.
    time: i64,
    /// The record as JSON.
    value: &'a [u8],
}

#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow, default)]
    key: Option<Cow<'a, str>>,
    #[serde(default)]
    end: Option<i64>,
    #[serde(default)]
    epoch: Option<i64>,
    /// A time in an error, and a value in a window.
    #[serde(borrow, default)]
    last: Option<&'a RawValue>,
}

impl<'a> Message<'a> {
    /// Reads a record in JSON.
    ///
    /// # Errors
    ///
    /// Returns the reason why the text is not a record.
    pub fn parse(index: usize, record: &'a [u8]) -> Result<Message<'a>, String> {
        let identity = Identity::parse(record)?;
        let fields: Fields<'a> =
            serde_json::from_slice(record).map_err(|error| format!("not a record: {error}"))?;
        let time = match identity.queue {
            Queue::Min | Queue::Hour => fields.end,
            Queue::Log | Queue::Reality => fields.epoch,
            Queue::Error => fields.last.and_then(|last| last.get().parse().ok()),
        };
        let key = match (identity.queue, fields.key) {
            (Queue::Error | Queue::Reality, Some(key)) => {
                serde_json::json!([identity.node, key]).to_string()
            }
            (Queue::Error | Queue::Reality, None) => return Err("the record has no key".into()),
            _ => identity.node.clone().into_owned(),
        };
        Ok(Message {
            index,
            key: key.into_bytes(),
            time: time.ok_or("the record has no time")?,
            identity,
            value: record,
        })
    }

    /// Returns the message as the client takes it.
    pub fn record(&self) -> Record {
        let header = |name: &str, value: String| (name.to_owned(), value.into_bytes());
        Record {
            key: Some(self.key.clone()),
            value: Some(self.value.to_owned()),
            headers: BTreeMap::from([
                header("node", self.identity.node.to_string()),
                header("queue", self.identity.queue.name().to_owned()),
                header("id", self.identity.id.to_string()),
            ]),
            timestamp: DateTime::<Utc>::from_timestamp_millis(self.time).unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> (String, i64) {
        let message = Message::parse(0, text.as_bytes()).unwrap();
        let record = message.record();
        let header = |name: &str| String::from_utf8(record.headers[name].clone()).unwrap();
        assert_eq!((header("node"), header("id")), ("n/1".into(), "7".into()));
        assert_eq!(header("queue"), message.identity.queue.name());
        assert_eq!(record.value.unwrap(), text.as_bytes());
        let key = String::from_utf8(record.key.unwrap()).unwrap();
        (key, record.timestamp.timestamp_millis())
    }

    #[test]
    fn key_is_what_the_state_of_the_record_belongs_to() {
        let window = r#"{"node":"n/1","queue":"MIN","id":7,"end":5,"last":1.5}"#;
        assert_eq!(message(window), ("n/1".into(), 5));
        let entry = r#"{"node":"n/1","queue":"LOG","id":7,"epoch":6}"#;
        assert_eq!(message(entry), ("n/1".into(), 6));
        let error = r#"{"node":"n/1","queue":"ERROR","id":7,"key":"k\"","last":8}"#;
        assert_eq!(message(error), (r#"["n/1","k\""]"#.into(), 8));
        let object = r#"{"node":"n/1","queue":"REALITY","id":7,"key":"sda","epoch":9}"#;
        assert_eq!(message(object), (r#"["n/1","sda"]"#.into(), 9));
    }

    #[test]
    fn record_without_key_or_time_is_rejected() {
        for (text, expected) in [
            (
                r#"{"node":"n","queue":"ERROR","id":7,"last":8}"#,
                "the record has no key",
            ),
            (
                r#"{"node":"n","queue":"LOG","id":7}"#,
                "the record has no time",
            ),
        ] {
            let error = Message::parse(0, text.as_bytes()).err().unwrap();
            assert_eq!(error, expected);
        }
    }
}
