//! Readers of RESP 2 replies, which consist of integers, strings, arrays, nil and errors.

use crate::error::ServerError;

/// A reply, or a part of one, that is not an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// The absence of a value.
    Nil,
    /// An integer.
    Int(i64),
    /// A string of any bytes.
    BulkString(Vec<u8>),
    /// A short text, such as `OK`.
    SimpleString(String),
    /// An array; RESP 2 also writes a map as one, of names and values in turn.
    Array(Vec<Value>),
}

/// The reply to one command.
pub type Reply = Result<Value, ServerError>;

/// Returns the elements of an array. A nil has none: some servers answer it for an empty array.
pub fn items(value: Value) -> Option<Vec<Value>> {
    match value {
        Value::Array(items) => Some(items),
        Value::Nil => Some(Vec::new()),
        _ => None,
    }
}

/// Returns an integer.
pub fn int(value: &Value) -> Option<i64> {
    match value {
        Value::Int(n) => Some(*n),
        _ => None,
    }
}

/// Returns the bytes of a string.
pub fn bytes(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        Value::SimpleString(text) => Some(text.into_bytes()),
        _ => None,
    }
}

/// Returns a string as text; bytes that are not UTF-8 are replaced.
pub fn text(value: Value) -> Option<String> {
    bytes(value).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// The maximum length of a cursor, bytes: a number, or an id of two.
const CURSOR: usize = 64;

/// Returns the cursor and the elements of a page of SCAN or AGG.SCAN.
pub fn page(value: Value) -> Option<(Vec<u8>, Vec<Value>)> {
    let all = items(value)?;
    if all.is_empty() {
        return Some((b"0".to_vec(), Vec::new()));
    }
    let [cursor, page] = all.try_into().ok()?;
    let cursor = bytes(cursor).filter(|cursor| cursor.len() <= CURSOR)?;
    Some((cursor, items(page)?))
}

/// The maximum number of bytes of the records of a reply that are read: as JSON they take many times as much.
const RECORDS: usize = 8 << 20;

/// Returns the records of AGG.PEEK as JSON. Records that are not JSON are left out, and those beyond 8 MiB.
pub fn records(value: Value) -> Vec<serde_json::Value> {
    let mut left = RECORDS;
    let deliveries = items(value).unwrap_or_default();
    let record = |delivery| {
        let record = bytes(items(delivery)?.pop()?)?;
        left = left.checked_sub(record.len())?;
        serde_json::from_slice(&record).ok()
    };
    deliveries.into_iter().filter_map(record).collect()
}
