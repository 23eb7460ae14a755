//! Looks into the server's replies. RESP2: integers, strings, arrays, nil and errors are all there is.

use redis::Value;

/// What the server answered to one command: a value, or the text of its error.
pub type Reply = Result<Value, String>;

/// The elements of an array; none of a nil, which is how some servers say empty.
pub fn items(value: Value) -> Option<Vec<Value>> {
    match value {
        Value::Array(items) => Some(items),
        Value::Nil => Some(Vec::new()),
        _ => None,
    }
}

/// An integer.
pub fn int(value: &Value) -> Option<i64> {
    match value {
        Value::Int(n) => Some(*n),
        _ => None,
    }
}

/// The bytes of a string.
pub fn bytes(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        Value::SimpleString(text) => Some(text.into_bytes()),
        _ => None,
    }
}

/// A string for a person to read.
pub fn text(value: Value) -> Option<String> {
    bytes(value).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// The bytes of a cursor: a number, or an id of two.
const CURSOR: usize = 64;

/// A page of a scan: the cursor and what comes with it.
pub fn page(value: Value) -> Option<(Vec<u8>, Vec<Value>)> {
    let all = items(value)?;
    if all.is_empty() {
        return Some((b"0".to_vec(), Vec::new()));
    }
    let [cursor, page] = all.try_into().ok()?;
    let cursor = bytes(cursor).filter(|cursor| cursor.len() <= CURSOR)?;
    Some((cursor, items(page)?))
}

/// Bytes of all records of a reply that are read: as JSON they take many times as much.
const RECORDS: usize = 8 << 20;

/// The records of AGG.PEEK; those that are no JSON are left out, and those beyond [`RECORDS`].
pub fn records(value: Value) -> Vec<serde_json::Value> {
    let mut left = RECORDS;
    let entries = items(value).unwrap_or_default();
    let record = |entry| {
        let record = bytes(items(entry)?.pop()?)?;
        left = left.checked_sub(record.len())?;
        serde_json::from_slice(&record).ok()
    };
    entries.into_iter().filter_map(record).collect()
}
