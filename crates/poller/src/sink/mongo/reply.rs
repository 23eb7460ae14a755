//! Interprets the replies of a server: which documents it rejects permanently, and which errors can be retried. No I/O.

use mongodb::bson::{Bson, Document};
use mongodb::error::{Error, ErrorKind};

use crate::sink::interface::{SinkError, shorten};

/// Codes below 10000 that are about one document.
const DOCUMENT_CODES: [i32; 16] = [
    2,   // BadValue
    9,   // FailedToParse
    14,  // TypeMismatch
    15,  // Overflow: nested too deep
    22,  // InvalidBSON
    28,  // PathNotViable
    52,  // DollarPrefixedFieldName
    53,  // InvalidIdField
    54,  // NotSingleValueField: a shard key
    55,  // InvalidDBRef
    56,  // EmptyFieldName
    57,  // DottedFieldName
    61,  // ShardKeyNotFound
    66,  // ImmutableField
    121, // DocumentValidationCommandError: the user's validator
    171, // CannotIndexParallelArrays
];
/// Codes from 10000 on that are about the server. All others there are about one statement.
const SERVER_CODES: [i32; 12] = [
    10058, // not primary, in old versions
    10107, // NotWritablePrimary
    11600, // InterruptedAtShutdown
    11601, // Interrupted
    11602, // InterruptedDueToReplStateChange
    12501, // quota exceeded
    12586, // a background operation is running
    13113, // out of sessions, in old versions
    13388, // StaleConfig
    13435, // NotPrimaryNoSecondaryOk
    13436, // NotPrimaryOrSecondary
    14031, // OutOfDiskSpace
];
/// Codes of a command that mean that one document in it was too large or invalid.
const BATCH_CODES: [i32; 5] = [
    15,    // Overflow: nested too deep
    22,    // InvalidBSON
    10334, // BSONObjectTooLarge
    17419, // too large after an update
    17420, // the same
];
/// The reason if a reply is not one of MongoDB.
pub const UNEXPECTED: &str = "unexpected reply; is it MongoDB?";
/// A unique index already contains such a document.
const DUPLICATE_KEY: i32 = 11000;

/// A command that failed.
#[derive(Debug, PartialEq, Eq)]
pub struct CommandError {
    /// The server's error code. Absent if the error is not a reply of the server.
    pub code: Option<i32>,
    /// The reason.
    pub reason: String,
}

impl CommandError {
    /// Creates an error without a code.
    pub fn new(reason: impl Into<String>) -> CommandError {
        CommandError {
            code: None,
            reason: reason.into(),
        }
    }

    /// Adds what failed, if the server rejected it. A server that is down rejects nothing.
    pub fn while_trying(self, what: &str) -> CommandError {
        let reason = match self.code {
            Some(_) => format!("cannot {what}: {}", self.reason),
            None => self.reason,
        };
        CommandError { reason, ..self }
    }

    /// Returns whether one of the documents is at fault. Then smaller commands find out which.
    pub fn is_about_batch(&self) -> bool {
        self.code.is_some_and(|code| BATCH_CODES.contains(&code))
    }
}

impl From<CommandError> for SinkError {
    fn from(error: CommandError) -> SinkError {
        SinkError::retriable(error.reason)
    }
}

impl From<Error> for CommandError {
    fn from(error: Error) -> CommandError {
        let code = match &*error.kind {
            ErrorKind::Command(error) => Some(error.code),
            _ => None,
        };
        let reason = match &*error.kind {
            ErrorKind::Command(error) => error.message.clone(),
            ErrorKind::ServerSelection { message, .. } => selection(message),
            kind => kind.to_string(),
        };
        let reason = one_line(&reason);
        CommandError { code, reason }
    }
}

/// Shortens the driver's message about finding no server to write to: it keeps the addresses and the errors, and drops
/// the rest of the topology.
fn selection(message: &str) -> String {
    let (head, servers) = message.split_once(" Topology: ").unwrap_or((message, ""));
    let mut text = head.trim_end_matches('.').to_owned();
    for server in servers.split("{ Address: ").skip(1) {
        let address = server.split([',', ' ']).next().unwrap_or_default();
        let kind = server.split_once("Error: Kind: ").map(|(_, kind)| kind);
        let error = kind.map(|kind| kind.split(", labels: ").next().unwrap_or(kind));
        match error {
            Some(error) => text += &format!("; {address}: {error}"),
            None => text += &format!("; {address} is not the primary"),
        }
    }
    text
}

/// A statement of a command that was not executed.
#[derive(Debug, PartialEq, Eq)]
pub struct WriteError {
    /// Its index in the command.
    pub index: usize,
    /// The reason in the words of the server.
    pub reason: String,
    /// True if a document with this `_id` exists already.
    pub is_duplicate: bool,
}

/// Returns the statements of a command that were not executed.
///
/// # Errors
///
/// Returns an error if nothing is certain: a statement failed because of the state of the server, or what was written may
/// be lost.
pub fn write_errors(reply: &Document) -> Result<Vec<WriteError>, CommandError> {
    let errors = reply.get_array("writeErrors");
    let mut found = Vec::new();
    for error in errors.map_or(&[][..], |errors| errors) {
        let Bson::Document(error) = error else {
            return Err(CommandError::new(UNEXPECTED));
        };
        let number = |name| match error.get(name) {
            Some(Bson::Int32(number)) => Some(i64::from(*number)),
            Some(Bson::Int64(number)) => Some(*number),
            Some(Bson::Double(number)) => Some(*number as i64),
            _ => None,
        };
        let words = error.get_str("errmsg").unwrap_or_default();
        let (Some(index), Some(code)) = (number("index"), number("code")) else {
            return Err(CommandError::new(UNEXPECTED));
        };
        let (index, code) = (index as usize, code as i32);
        let reason = format!("error {code}: {}", one_line(words));
        if !is_about_document(code) {
            let code = Some(code);
            return Err(CommandError { code, reason });
        }
        found.push(WriteError {
            index,
            reason,
            is_duplicate: code == DUPLICATE_KEY && is_id_index(error, words),
        });
    }
    if let Ok(concern) = reply.get_document("writeConcernError") {
        let words = concern.get_str("errmsg").unwrap_or("no reason given");
        return Err(CommandError::new(format!(
            "written, but not acknowledged by a majority: {}",
            one_line(words)
        )));
    }
    Ok(found)
}

fn is_about_document(code: i32) -> bool {
    DOCUMENT_CODES.contains(&code) || (code >= 10000 && !SERVER_CODES.contains(&code))
}

/// Returns whether the duplicate is in the index of `_id`, not in one of the user.
fn is_id_index(error: &Document, words: &str) -> bool {
    match error.get_document("keyPattern") {
        Ok(pattern) => pattern.len() == 1 && pattern.contains_key("_id"),
        // Servers before 4.4 name it only in the message.
        Err(_) => words.contains(" index: _id_ ") || words.contains("$_id_ "),
    }
}

/// Cuts a reason, which may have any length, and makes it one line.
fn one_line(reason: &str) -> String {
    shorten(&reason.replace('\n', " "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use mongodb::bson::doc;

    fn one(code: i32, words: &str) -> Result<Vec<WriteError>, CommandError> {
        write_errors(
            &doc! {"ok": 1, "n": 0, "writeErrors": [{"index": 3, "code": code, "errmsg": words}]},
        )
    }

    #[test]
    fn invalid_document_is_named() {
        assert_eq!(write_errors(&doc! {"ok": 1, "n": 5}), Ok(vec![]));
        for code in [121, 10334, 17419, 2, 52, 16755] {
            let error = WriteError {
                index: 3,
                reason: format!("error {code}: no"),
                is_duplicate: false,
            };
            assert_eq!(one(code, "no"), Ok(vec![error]));
        }
    }

    #[test]
    fn state_of_the_server_is_retriable() {
        for code in [10107, 11600, 13, 50, 64, 112, 189, 14031, 8000, 1] {
            assert!(one(code, "no").is_err(), "{code}");
        }
        let reply = doc! {"ok": 1, "n": 5, "writeConcernError": {"code": 64, "errmsg": "waiting"}};
        let reason = "written, but not acknowledged by a majority: waiting";
        assert_eq!(write_errors(&reply), Err(CommandError::new(reason)));
        assert!(write_errors(&doc! {"writeErrors": [1]}).is_err());
    }

    #[test]
    fn only_a_duplicate_id_counts_as_a_duplicate() {
        let is_duplicate =
            |error: Document| write_errors(&doc! {"writeErrors": [error]}).unwrap()[0].is_duplicate;
        let error = |pattern: Document| {
            doc! {"index": 0, "code": 11000, "errmsg": "E11000", "keyPattern": pattern}
        };
        assert!(is_duplicate(error(doc! {"_id": 1})));
        assert!(!is_duplicate(error(doc! {"message": 1})));
        let words = "E11000 duplicate key error collection: g.logs index: _id_ dup key: { : 1 }";
        assert!(is_duplicate(
            doc! {"index": 0, "code": 11000, "errmsg": words}
        ));
        let words = words.replace("_id_", "m_1");
        assert!(!is_duplicate(
            doc! {"index": 0, "code": 11000, "errmsg": words}
        ));
    }

    #[test]
    fn unreachable_servers_are_shown_with_their_errors() {
        let known = "{ Type: ReplicaSetNoPrimary, Set Name: rs, Servers: [ { Address: h1:1, Type: Unknown, Error: Kind: \
                     I/O error: Connection refused (os error 111), labels: {}, source: None }, { Address: h2:2, Type: \
                     RsSecondary, Average RTT: 1ms } ] }";
        let message = format!("Server selection timeout: No available servers. Topology: {known}");
        let expected = "Server selection timeout: No available servers; h1:1: I/O error: Connection refused (os error \
                    111); h2:2 is not the primary";
        assert_eq!(selection(&message), expected);
        assert_eq!(selection("something else"), "something else");
    }

    #[test]
    fn only_errors_about_documents_split_the_batch() {
        let error = |code| CommandError {
            code: Some(code),
            reason: String::new(),
        };
        assert!(error(10334).is_about_batch());
        assert!(!error(9).is_about_batch() && !error(13).is_about_batch());
        assert!(!CommandError::new("x").is_about_batch());
    }
}
