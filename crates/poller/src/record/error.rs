//! The reason for which a text is not a record.

/// A text that is not the JSON of a record.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The text is not a JSON object.
    #[error("not a JSON object: {0}")]
    NotAnObject(#[from] serde_json::Error),
    /// A field is missing.
    #[error("the record has no {0}")]
    Missing(&'static str),
    /// A field has another type than the queue defines, or is out of range.
    #[error("the record's {0} is invalid")]
    Invalid(&'static str),
}
