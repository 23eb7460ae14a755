//! The identity of a record, for sinks that store the record as it is.

use std::borrow::Cow;

use serde::Deserialize;

use aggregator_protocol::Queue;

/// The node, queue and id of a record, by which a repeated record is recognised.
#[derive(Debug, PartialEq)]
pub struct Identity<'a> {
    /// The node.
    pub node: Cow<'a, str>,
    /// The queue.
    pub queue: Queue,
    /// The id in the queue.
    pub id: i64,
}

#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow)]
    node: Cow<'a, str>,
    #[serde(borrow)]
    queue: Cow<'a, str>,
    id: i64,
}

impl<'a> Identity<'a> {
    /// Reads the identity of a record in JSON.
    ///
    /// # Errors
    ///
    /// Returns the reason why the text is not a record.
    pub fn parse(record: &'a [u8]) -> Result<Identity<'a>, String> {
        let fields: Fields<'a> =
            serde_json::from_slice(record).map_err(|error| format!("not a record: {error}"))?;
        let queue = Queue::from_name(fields.queue.as_bytes())
            .ok_or_else(|| format!("there is no queue {:?}", fields.queue))?;
        Ok(Identity {
            node: fields.node,
            queue,
            id: fields.id,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_is_read_from_json() {
        let record = br#"{"node":"a\u0000b","queue":"LOG","id":-7,"message":"x"}"#;
        let expected = Identity {
            node: "a\0b".into(),
            queue: Queue::Log,
            id: -7,
        };
        assert_eq!(Identity::parse(record), Ok(expected));
        for (text, expected) in [
            ("{}", "not a record: missing field `node`"),
            ("x", "not a record: expected value"),
            (
                r#"{"node":"n","queue":"DAY","id":1}"#,
                "there is no queue \"DAY\"",
            ),
        ] {
            let error = Identity::parse(text.as_bytes()).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
