//! What a server's answers mean: which documents it will never take, and what may pass. Pure.

use mongodb::bson::{Bson, Document};
use mongodb::error::{Error, ErrorKind};

use crate::poll::sink::Trouble;

/// The characters of a reason that are kept.
const REASON: usize = 500;

/// Codes below 10000 that speak of one document.
const OF_DOCUMENT: [i32; 16] = [
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
    121, // DocumentValidationFailure: a validator of the user's
    171, // CannotIndexParallelArrays
];
/// Codes from 10000 on that speak of the server. The others there are assertions on one statement.
const OF_SERVER: [i32; 12] = [
    10058, // not primary, in old words
    10107, // NotWritablePrimary
    11600, // InterruptedAtShutdown
    11601, // Interrupted
    11602, // InterruptedDueToReplStateChange
    12501, // quota exceeded
    12586, // a background operation is running
    13113, // out of sessions, in old words
    13388, // StaleConfig
    13435, // NotPrimaryNoSecondaryOk
    13436, // NotPrimaryOrSecondary
    14031, // OutOfDiskSpace
];
/// Codes of whole commands that mean that one document in it was too much.
const OF_BATCH: [i32; 5] = [
    15,    // Overflow: nested too deep
    22,    // InvalidBSON
    10334, // BSONObjectTooLarge
    17419, // too large after an update
    17420, // the same
];
/// A unique index has such a document already.
const DUPLICATE: i32 = 11000;

/// Why a command has not done what it was to do.
#[derive(Debug, PartialEq, Eq)]
pub struct Failure {
    /// The server's number for it.
    pub code: Option<i32>,
    /// Its words.
    pub why: String,
}

impl Failure {
    /// Words alone.
    pub fn of(why: impl Into<String>) -> Failure {
        Failure {
            code: None,
            why: why.into(),
        }
    }

    /// What failed, where it was the server that said no; a server that is away says nothing.
    pub fn while_trying(self, what: &str) -> Failure {
        let why = match self.code {
            Some(_) => format!("cannot {what}: {}", self.why),
            None => self.why,
        };
        Failure { why, ..self }
    }

    /// Whether a document in the command was too much, so that fewer at a time find out which.
    pub fn of_batch(&self) -> bool {
        self.code.is_some_and(|code| OF_BATCH.contains(&code))
    }

    /// As what it is to a sink: to be tried again.
    pub fn later(self) -> Trouble {
        let (why, after) = (self.why, None);
        Trouble::Later { why, after }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let code = match &*error.kind {
            ErrorKind::Command(error) => Some(error.code),
            _ => None,
        };
        let why = match &*error.kind {
            ErrorKind::Command(error) => error.message.clone(),
            ErrorKind::ServerSelection { message, .. } => selection(message),
            kind => kind.to_string(),
        };
        let why = cut(&why);
        Failure { code, why }
    }
}

/// What the driver says when it finds no server to write to, without what it knows of each: the servers and what is
/// wrong with them.
fn selection(message: &str) -> String {
    let (head, servers) = message.split_once(" Topology: ").unwrap_or((message, ""));
    let mut words = head.trim_end_matches('.').to_owned();
    for server in servers.split("{ Address: ").skip(1) {
        let address = server.split([',', ' ']).next().unwrap_or_default();
        let kind = server.split_once("Error: Kind: ").map(|(_, kind)| kind);
        let why = kind.map(|kind| kind.split(", labels: ").next().unwrap_or(kind));
        match why {
            Some(why) => words += &format!("; {address}: {why}"),
            None => words += &format!("; {address} is not the primary"),
        }
    }
    words
}

/// What is wrong with one statement of a command.
#[derive(Debug, PartialEq, Eq)]
pub struct Fault {
    /// Its place in the command.
    pub index: usize,
    /// The server's words.
    pub why: String,
    /// A document with this `_id` is there.
    pub there: bool,
}

/// The statements of a command that were not done.
///
/// Returns an error if nothing is certain: a statement failed for what the server is in, or what was done may be lost.
pub fn faults(reply: &Document) -> Result<Vec<Fault>, Failure> {
    let errors = reply.get_array("writeErrors");
    let mut faults = Vec::new();
    for error in errors.map_or(&[][..], |errors| errors) {
        let Bson::Document(error) = error else {
            return Err(Failure::of("an answer that is none of MongoDB's"));
        };
        let number = |name| match error.get(name) {
            Some(Bson::Int32(number)) => Some(i64::from(*number)),
            Some(Bson::Int64(number)) => Some(*number),
            Some(Bson::Double(number)) => Some(*number as i64),
            _ => None,
        };
        let words = error.get_str("errmsg").unwrap_or_default();
        let (Some(index), Some(code)) = (number("index"), number("code")) else {
            return Err(Failure::of("an answer that is none of MongoDB's"));
        };
        let (index, code) = (index as usize, code as i32);
        let why = format!("error {code}: {}", cut(words));
        if !of_document(code) {
            let code = Some(code);
            return Err(Failure { code, why });
        }
        faults.push(Fault {
            index,
            why,
            there: code == DUPLICATE && of_identity(error, words),
        });
    }
    if let Ok(concern) = reply.get_document("writeConcernError") {
        let words = concern.get_str("errmsg").unwrap_or("no reason given");
        return Err(Failure::of(format!(
            "written, but not yet to stay: {}",
            cut(words)
        )));
    }
    Ok(faults)
}

fn of_document(code: i32) -> bool {
    OF_DOCUMENT.contains(&code) || (code >= 10000 && !OF_SERVER.contains(&code))
}

/// Whether it is the index of `_id` that has such a document, and none of the user's.
fn of_identity(error: &Document, words: &str) -> bool {
    match error.get_document("keyPattern") {
        Ok(pattern) => pattern.len() == 1 && pattern.contains_key("_id"),
        // Servers before 4.4 say it in words alone.
        Err(_) => words.contains(" index: _id_ ") || words.contains("$_id_ "),
    }
}

fn cut(words: &str) -> String {
    let mut words = words.trim().replace('\n', " ");
    if let Some((cut, _)) = words.char_indices().nth(REASON) {
        words.truncate(cut);
        words.push('…');
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use mongodb::bson::doc;

    fn one(code: i32, words: &str) -> Result<Vec<Fault>, Failure> {
        faults(
            &doc! {"ok": 1, "n": 0, "writeErrors": [{"index": 3, "code": code, "errmsg": words}]},
        )
    }

    #[test]
    fn a_document_that_is_no_good_is_named() {
        assert_eq!(faults(&doc! {"ok": 1, "n": 5}), Ok(vec![]));
        for code in [121, 10334, 17419, 2, 52, 16755] {
            let why = format!("error {code}: no");
            let fault = Fault {
                index: 3,
                why,
                there: false,
            };
            assert_eq!(one(code, "no"), Ok(vec![fault]));
        }
    }

    #[test]
    fn what_the_server_is_in_passes() {
        for code in [10107, 11600, 13, 50, 64, 112, 189, 14031, 8000, 1] {
            assert!(one(code, "no").is_err(), "{code}");
        }
        let reply = doc! {"ok": 1, "n": 5, "writeConcernError": {"code": 64, "errmsg": "waiting"}};
        let why = "written, but not yet to stay: waiting";
        assert_eq!(faults(&reply), Err(Failure::of(why)));
        assert!(faults(&doc! {"writeErrors": [1]}).is_err());
    }

    #[test]
    fn a_duplicate_is_there_by_its_id_alone() {
        let there = |error: Document| faults(&doc! {"writeErrors": [error]}).unwrap()[0].there;
        let error = |pattern: Document| {
            doc! {"index": 0, "code": 11000, "errmsg": "E11000", "keyPattern": pattern}
        };
        assert!(there(error(doc! {"_id": 1})));
        assert!(!there(error(doc! {"message": 1})));
        let words = "E11000 duplicate key error collection: g.logs index: _id_ dup key: { : 1 }";
        assert!(there(doc! {"index": 0, "code": 11000, "errmsg": words}));
        let words = words.replace("_id_", "m_1");
        assert!(!there(doc! {"index": 0, "code": 11000, "errmsg": words}));
    }

    #[test]
    fn of_servers_that_are_away_it_is_told_what_is_wrong() {
        let known = "{ Type: ReplicaSetNoPrimary, Set Name: rs, Servers: [ { Address: h1:1, Type: Unknown, Error: Kind: \
                     I/O error: Connection refused (os error 111), labels: {}, source: None }, { Address: h2:2, Type: \
                     RsSecondary, Average RTT: 1ms } ] }";
        let message = format!("Server selection timeout: No available servers. Topology: {known}");
        let told = "Server selection timeout: No available servers; h1:1: I/O error: Connection refused (os error \
                    111); h2:2 is not the primary";
        assert_eq!(selection(&message), told);
        assert_eq!(selection("something else"), "something else");
    }

    #[test]
    fn only_what_is_too_much_is_tried_in_parts() {
        let failure = |code| Failure {
            code: Some(code),
            why: String::new(),
        };
        assert!(failure(10334).of_batch());
        assert!(!failure(9).of_batch() && !failure(13).of_batch());
        assert!(!Failure::of("x").of_batch());
    }
}
