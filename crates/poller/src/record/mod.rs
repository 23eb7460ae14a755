//! Records, parsed from the JSON of a queue, for sinks whose targets have types. No I/O.
//!
//! # Invariants
//!
//! A parsed record has every field that its queue defines (docs/commands.md, Records), with the type of that field, and
//! its numbers are finite. Texts may contain any character, NUL included. Fields that are unknown here are ignored, so
//! that a newer server does no harm. Values that are JSON themselves are kept as they were written.

mod error;
mod fields;
mod histogram;
mod tags;
mod window;

use std::borrow::Cow;

use aggregator_protocol::Queue;

use crate::json::Members;

use fields::Fields;

pub use error::RecordError;
pub use histogram::{Buckets, Histogram};
pub use tags::Tags;
pub use window::Window;

/// A record.
#[derive(Debug, PartialEq)]
pub struct Record<'a> {
    /// Its node.
    pub node: Cow<'a, str>,
    /// Its queue.
    pub queue: Queue,
    /// Its id in the queue: microseconds since 1970, approximately.
    pub id: i64,
    /// The fields of its queue.
    pub content: Content<'a>,
}

/// The content of a record.
#[derive(Debug, PartialEq)]
pub enum Content<'a> {
    /// A closed window, of MIN or HOUR.
    Window(Window<'a>),
    /// A log entry, of LOG.
    Log(LogEntry<'a>),
    /// An error with its occurrences so far, of ERROR.
    Error(Box<ErrorState<'a>>),
    /// An object in its latest state, of REALITY.
    Object(Object<'a>),
}

/// A log entry.
#[derive(Debug, PartialEq)]
pub struct LogEntry<'a> {
    /// The message.
    pub message: Cow<'a, str>,
    /// The level as a number: a greater one is more severe.
    pub level: u8,
    /// The name of the level.
    pub severity: Cow<'a, str>,
    /// The tags.
    pub tags: Tags<'a>,
    /// The time of the event, ms since 1970.
    pub epoch: i64,
}

/// An error with its occurrences so far.
#[derive(Debug, PartialEq)]
pub struct ErrorState<'a> {
    /// The key, which identifies the error within its node.
    pub key: Cow<'a, str>,
    /// The message.
    pub message: Cow<'a, str>,
    /// The text for users.
    pub public: Cow<'a, str>,
    /// The level as a number: a greater one is more severe.
    pub level: u8,
    /// The name of the level.
    pub severity: Cow<'a, str>,
    /// The type.
    pub kind: Cow<'a, str>,
    /// The tags.
    pub tags: Tags<'a>,
    /// The code.
    pub code: Cow<'a, str>,
    /// The function in which it occurred.
    pub function: Cow<'a, str>,
    /// The file in which it occurred.
    pub file: Cow<'a, str>,
    /// The backtrace.
    pub backtrace: Cow<'a, str>,
    /// The group id of the reporter.
    pub gid: i64,
    /// The node id of the reporter.
    pub nid: i64,
    /// The number of occurrences.
    pub occurrences: u64,
    /// The time of the first occurrence, ms since 1970.
    pub first: i64,
    /// The time of the last occurrence, ms since 1970.
    pub last: i64,
}

/// An object in its latest state.
#[derive(Debug, PartialEq)]
pub struct Object<'a> {
    /// The key, which identifies the object within its node.
    pub key: Cow<'a, str>,
    /// The model, such as `system.Disk`.
    pub model: Cow<'a, str>,
    /// Its content, as it was written.
    pub json: &'a str,
    /// The tags.
    pub tags: Tags<'a>,
    /// The time of the report, ms since 1970.
    pub epoch: i64,
    /// True if it no longer exists.
    pub gone: bool,
}

impl<'a> Record<'a> {
    /// Parses a record.
    ///
    /// # Errors
    ///
    /// Returns an error if the text is not a JSON object, or lacks a field of its queue.
    pub fn parse(text: &'a [u8]) -> Result<Record<'a>, RecordError> {
        let members: Members<'a> = serde_json::from_slice(text)?;
        let fields = Fields::new(members);
        let queue = Queue::from_name(fields.text("queue")?.as_bytes())
            .ok_or(RecordError::Invalid("queue"))?;
        let content = match queue {
            Queue::Min | Queue::Hour => Content::Window(Window::of(&fields)?),
            Queue::Log => Content::Log(LogEntry::of(&fields)?),
            Queue::Error => Content::Error(Box::new(ErrorState::of(&fields)?)),
            Queue::Reality => Content::Object(Object::of(&fields)?),
        };
        Ok(Record {
            node: fields.text("node")?,
            queue,
            id: fields.integer("id")?,
            content,
        })
    }
}

impl<'a> LogEntry<'a> {
    fn of(fields: &Fields<'a>) -> Result<LogEntry<'a>, RecordError> {
        Ok(LogEntry {
            message: fields.text("message")?,
            level: fields.integer("level")?,
            severity: fields.text("severity")?,
            tags: Tags::of(fields)?,
            epoch: fields.integer("epoch")?,
        })
    }
}

impl<'a> ErrorState<'a> {
    fn of(fields: &Fields<'a>) -> Result<ErrorState<'a>, RecordError> {
        Ok(ErrorState {
            key: fields.text("key")?,
            message: fields.text("message")?,
            public: fields.text("public")?,
            level: fields.integer("level")?,
            severity: fields.text("severity")?,
            kind: fields.text("type")?,
            tags: Tags::of(fields)?,
            code: fields.text("code")?,
            function: fields.text("func")?,
            file: fields.text("file")?,
            backtrace: fields.text("backtrace")?,
            gid: fields.integer("gid")?,
            nid: fields.integer("nid")?,
            occurrences: fields.integer("occurrences")?,
            first: fields.integer("first")?,
            last: fields.integer("last")?,
        })
    }
}

impl<'a> Object<'a> {
    fn of(fields: &Fields<'a>) -> Result<Object<'a>, RecordError> {
        Ok(Object {
            key: fields.text("key")?,
            model: fields.text("model")?,
            json: fields.raw("json")?.get(),
            tags: Tags::of(fields)?,
            epoch: fields.integer("epoch")?,
            gone: fields.boolean("gone")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_entry_has_its_fields() {
        let text = br#"{"node":"n1","queue":"LOG","id":17,"message":"a\n\u0000b","level":3,"severity":"INFO",
            "tags":{"a.b":"1"},"epoch":1700000000123,"later":{"x":1}}"#;
        let record = Record::parse(text).unwrap();
        assert_eq!(
            (&*record.node, record.queue, record.id),
            ("n1", Queue::Log, 17)
        );
        let Content::Log(entry) = record.content else {
            panic!("{record:?}")
        };
        assert_eq!(entry.message, "a\n\0b");
        assert_eq!(
            (entry.level, &*entry.severity, entry.epoch),
            (3, "INFO", 1_700_000_000_123)
        );
        let pairs: Vec<_> = entry.tags.iter().collect();
        assert_eq!(pairs, [("a.b", "1")]);
    }

    #[test]
    fn error_has_its_fields() {
        let text = br#"{"node":"n1","queue":"ERROR","id":1,"key":"k","message":"broken","public":"p","level":7,
            "severity":"ERROR","type":"UNKNOWN","tags":{},"code":"c7","func":"f","file":"x.c","backtrace":"b","gid":-1,
            "nid":2,"occurrences":3,"first":4,"last":5}"#;
        let Content::Error(error) = Record::parse(text).unwrap().content else {
            panic!()
        };
        assert_eq!(
            (&*error.key, &*error.message, &*error.public, &*error.kind),
            ("k", "broken", "p", "UNKNOWN")
        );
        assert_eq!(
            (
                &*error.code,
                &*error.function,
                &*error.file,
                &*error.backtrace
            ),
            ("c7", "f", "x.c", "b")
        );
        assert_eq!((error.gid, error.nid, error.occurrences), (-1, 2, 3));
        assert_eq!((error.first, error.last), (4, 5));
    }

    #[test]
    fn object_keeps_its_json() {
        let text = br#"{"node":"n1","queue":"REALITY","id":1,"key":"sda","model":"system.Disk",
            "json":{"x":[1.50,"\u0000"]},"tags":{"z":true},"epoch":9,"gone":false}"#;
        let Content::Object(object) = Record::parse(text).unwrap().content else {
            panic!()
        };
        assert_eq!(object.json, r#"{"x":[1.50,"\u0000"]}"#);
        assert!(!object.gone);
        assert_eq!(object.tags.json(), r#"{"z":true}"#);
    }

    #[test]
    fn text_that_is_not_a_record_is_rejected() {
        for (text, expected) in [
            ("x", "not a JSON object: "),
            ("[]", "not a JSON object: "),
            ("{}", "the record has no queue"),
            (r#"{"queue":"DAY"}"#, "the record's queue is invalid"),
            (r#"{"queue":"LOG"}"#, "the record has no message"),
            (
                r#"{"queue":"LOG","message":5}"#,
                "the record's message is invalid",
            ),
            (
                r#"{"queue":"REALITY","id":"1","node":"n","key":"k","model":"m","json":{},"tags":{},"epoch":1,"gone":false}"#,
                "the record's id is invalid",
            ),
        ] {
            let error = Record::parse(text.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{text}: {error}");
        }
    }
}
