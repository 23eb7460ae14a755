//! Looks into the server's replies. RESP2: integers, strings, arrays, nil and errors are all there is.

use redis::{ServerError, Value};

/// What the server answered to one command: a value, or the text of its error.
pub type Reply = Result<Value, String>;

/// The error as the server wrote it, its code first.
pub fn error_text(error: &ServerError) -> String {
    match error.details() {
        Some(details) => format!("{} {details}", error.code()),
        None => error.code().to_owned(),
    }
}

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

/// A page of a scan: the cursor and what comes with it.
pub fn page(value: Value) -> Option<(Vec<u8>, Vec<Value>)> {
    let all = items(value)?;
    if all.is_empty() {
        return Some((b"0".to_vec(), Vec::new()));
    }
    let [cursor, page] = all.try_into().ok()?;
    Some((bytes(cursor)?, items(page)?))
}
