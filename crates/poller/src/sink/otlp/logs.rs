//! Log entries, errors and objects as log records of OTLP.
//!
//! # Invariants
//!
//! Each log record has the queue and the id of its record as attributes, with which a reader recognises a repeated one.
//! Together with the node they are unique.
//!
//! Source: <https://github.com/open-telemetry/opentelemetry-proto>, package `logs.v1`.

use aggregator_protocol::level;

use crate::protobuf;
use crate::record::{ErrorState, LogEntry, Object, Record, Tags};

use super::item::{CONTENT, attribute, integer_attribute, nanoseconds, tag_name};

/// The fields of a log record.
const TIME: u64 = 1;
const SEVERITY_NUMBER: u64 = 2;
const SEVERITY_TEXT: u64 = 3;
const BODY: u64 = 5;
const ATTRIBUTES: u64 = 6;
const OBSERVED: u64 = 11;
const EVENT_NAME: u64 = 12;

/// The attributes of agg. A tag of such a name gets another one.
const QUEUE: &str = "aggregator.queue";
const ID: &str = "aggregator.id";
const KEY: &str = "aggregator.key";
const PUBLIC: &str = "aggregator.public";
const CODE: &str = "aggregator.code";
const GID: &str = "aggregator.gid";
const NID: &str = "aggregator.nid";
const OCCURRENCES: &str = "aggregator.occurrences";
const FIRST: &str = "aggregator.first";
const MODEL: &str = "aggregator.model";
const GONE: &str = "aggregator.gone";
/// Names by OpenTelemetry's semantic conventions.
const TYPE: &str = "exception.type";
const STACK_TRACE: &str = "exception.stacktrace";
const FUNCTION: &str = "code.function.name";
const FILE: &str = "code.file.path";
const RESERVED: [&str; 15] = [
    QUEUE,
    ID,
    KEY,
    PUBLIC,
    CODE,
    GID,
    NID,
    OCCURRENCES,
    FIRST,
    MODEL,
    GONE,
    TYPE,
    STACK_TRACE,
    FUNCTION,
    FILE,
];

/// The names of the events: the state of an error, and the state of an object.
const ERROR_EVENT: &str = "aggregator.error";
const OBJECT_EVENT: &str = "aggregator.object";

/// The parts of a log record that come from the content of a record.
struct Parts<'a> {
    time: i64,
    level: u8,
    severity: &'a str,
    body: &'a str,
    /// The name of the event, or nothing.
    event: &'static str,
    attributes: Vec<u8>,
    tags: &'a Tags<'a>,
}

/// Returns a log entry as a field of a scope.
///
/// # Errors
///
/// Returns the reason if OTLP cannot express it.
pub fn entry(record: &Record<'_>, entry: &LogEntry<'_>) -> Result<Vec<u8>, String> {
    let parts = Parts {
        time: entry.epoch,
        level: entry.level,
        severity: &entry.severity,
        body: &entry.message,
        event: "",
        attributes: Vec::new(),
        tags: &entry.tags,
    };
    encode(record, &parts)
}

/// Returns the state of an error as a field of a scope.
///
/// # Errors
///
/// Returns the reason if OTLP cannot express it.
pub fn error(record: &Record<'_>, error: &ErrorState<'_>) -> Result<Vec<u8>, String> {
    let mut attributes = Vec::with_capacity(256);
    for (name, value) in [
        (KEY, &error.key),
        (PUBLIC, &error.public),
        (TYPE, &error.kind),
        (CODE, &error.code),
        (FUNCTION, &error.function),
        (FILE, &error.file),
        (STACK_TRACE, &error.backtrace),
    ] {
        if !value.is_empty() {
            attribute(&mut attributes, ATTRIBUTES, name, value);
        }
    }
    let occurrences = i64::try_from(error.occurrences).unwrap_or(i64::MAX);
    for (name, value) in [
        (GID, error.gid),
        (NID, error.nid),
        (OCCURRENCES, occurrences),
        (FIRST, error.first),
    ] {
        integer_attribute(&mut attributes, ATTRIBUTES, name, value);
    }
    let parts = Parts {
        time: error.last,
        level: error.level,
        severity: &error.severity,
        body: &error.message,
        event: ERROR_EVENT,
        attributes,
        tags: &error.tags,
    };
    encode(record, &parts)
}

/// Returns the state of an object as a field of a scope.
///
/// # Errors
///
/// Returns the reason if OTLP cannot express it.
pub fn object(record: &Record<'_>, object: &Object<'_>) -> Result<Vec<u8>, String> {
    let mut attributes = Vec::with_capacity(128);
    attribute(&mut attributes, ATTRIBUTES, KEY, &object.key);
    attribute(&mut attributes, ATTRIBUTES, MODEL, &object.model);
    if object.gone {
        attribute(&mut attributes, ATTRIBUTES, GONE, "true");
    }
    let parts = Parts {
        time: object.epoch,
        level: level::INFO,
        severity: "INFO",
        body: object.json,
        event: OBJECT_EVENT,
        attributes,
        tags: &object.tags,
    };
    encode(record, &parts)
}

fn encode(record: &Record<'_>, parts: &Parts<'_>) -> Result<Vec<u8>, String> {
    let mut log = Vec::with_capacity(parts.body.len() + parts.attributes.len() + 256);
    protobuf::fixed64(&mut log, TIME, nanoseconds(parts.time)?);
    protobuf::integer(&mut log, SEVERITY_NUMBER, severity_number(parts.level));
    protobuf::bytes(&mut log, SEVERITY_TEXT, parts.severity.as_bytes());
    let mut any = Vec::with_capacity(parts.body.len() + 8);
    protobuf::bytes(&mut any, 1, parts.body.as_bytes());
    protobuf::bytes(&mut log, BODY, &any);
    attribute(&mut log, ATTRIBUTES, QUEUE, record.queue.name());
    integer_attribute(&mut log, ATTRIBUTES, ID, record.id);
    log.extend_from_slice(&parts.attributes);
    for (tag, value) in parts.tags.iter() {
        attribute(&mut log, ATTRIBUTES, &tag_name(tag, &RESERVED), value);
    }
    // The id is the time in µs by the clock of the server.
    protobuf::fixed64(&mut log, OBSERVED, nanoseconds(record.id / 1000)?);
    if !parts.event.is_empty() {
        protobuf::bytes(&mut log, EVENT_NAME, parts.event.as_bytes());
    }
    let mut out = Vec::with_capacity(log.len() + 8);
    protobuf::bytes(&mut out, CONTENT, &log);
    Ok(out)
}

/// Returns the severity of a level.
///
/// Source: <https://opentelemetry.io/docs/specs/otel/logs/data-model/#field-severitynumber>
fn severity_number(level: u8) -> u64 {
    match level {
        0 => 1,
        1 => 5,
        2 => 6,
        level::INFO => 9,
        // NOTICE
        4 => 10,
        5 => 13,
        6 => 14,
        level::ERROR => 17,
        8 => 18,
        _ => 21,
    }
}

#[cfg(test)]
mod tests;
