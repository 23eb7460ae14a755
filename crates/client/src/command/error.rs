//! Errors: AGG.ERROR, and an error as a node stores it.

use std::collections::BTreeMap;

use aggregator_protocol::level;

use super::fields::Fields;
use super::report::{report, write_sequence};
use super::{Cmd, Command, Level, Sequence, count, option};
use crate::reply::{self, Value};

/// The type of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorType {
    /// A defect of a program.
    Bug,
    /// Something takes too long or too much.
    Perf,
    /// The environment fails.
    Ops,
    /// Not known; the default.
    Unknown,
}

impl ErrorType {
    /// All types.
    pub const ALL: [ErrorType; 4] = [
        ErrorType::Bug,
        ErrorType::Perf,
        ErrorType::Ops,
        ErrorType::Unknown,
    ];

    /// Returns the type with this word, in any case.
    pub fn from_name(name: &str) -> Option<ErrorType> {
        let mut all = ErrorType::ALL.into_iter();
        all.find(|error_type| error_type.as_str().eq_ignore_ascii_case(name))
    }

    /// Returns the word of the commands.
    pub fn as_str(self) -> &'static str {
        match self {
            ErrorType::Bug => "BUG",
            ErrorType::Perf => "PERF",
            ErrorType::Ops => "OPS",
            ErrorType::Unknown => "UNKNOWN",
        }
    }
}

/// AGG.ERROR: reports an error. The server keeps each error once, with its count.
///
/// An error is identified by its key, or without one by a hash of message, public text, code, function and file: leave
/// out of the message what differs from one occurrence to the next, or give a key.
#[derive(Clone, Debug)]
pub struct Error<'a> {
    node: &'a [u8],
    message: &'a [u8],
    level: Option<Level>,
    error_type: Option<ErrorType>,
    tags: Option<&'a str>,
    /// Options that are texts, by the words of the command.
    texts: Vec<(&'static str, &'a [u8])>,
    gid: Option<u64>,
    nid: Option<u64>,
    at: Option<i64>,
}

impl<'a> Error<'a> {
    /// Reports `message`.
    pub fn new(
        node: &'a (impl AsRef<[u8]> + ?Sized),
        message: &'a (impl AsRef<[u8]> + ?Sized),
    ) -> Self {
        Error {
            node: node.as_ref(),
            message: message.as_ref(),
            level: None,
            error_type: None,
            tags: None,
            texts: Vec::new(),
            gid: None,
            nid: None,
            at: None,
        }
    }

    /// Sets the level; the default is [`Level::ERROR`].
    pub fn level(mut self, level: Level) -> Self {
        self.level = Some(level);
        self
    }

    /// Sets the type.
    pub fn error_type(mut self, error_type: ErrorType) -> Self {
        self.error_type = Some(error_type);
        self
    }

    /// Sets the tags.
    pub fn tags(mut self, tags: &'a str) -> Self {
        self.tags = Some(tags);
        self
    }

    /// Sets the text that users may see.
    pub fn public(self, text: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        self.text("PUBLIC", text.as_ref())
    }

    /// Sets the error's code.
    pub fn code(self, code: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        self.text("CODE", code.as_ref())
    }

    /// Sets the function in which the error occurred.
    pub fn func(self, func: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        self.text("FUNC", func.as_ref())
    }

    /// Sets the file in which the error occurred.
    pub fn file(self, file: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        self.text("FILE", file.as_ref())
    }

    /// Sets the backtrace.
    pub fn backtrace(self, backtrace: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        self.text("BACKTRACE", backtrace.as_ref())
    }

    /// Sets the key that identifies the error.
    pub fn key(self, key: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        self.text("KEY", key.as_ref())
    }

    /// Sets the id of the group that the error concerns.
    pub fn gid(mut self, gid: u64) -> Self {
        self.gid = Some(gid);
        self
    }

    /// Sets the id of the node that the error concerns.
    pub fn nid(mut self, nid: u64) -> Self {
        self.nid = Some(nid);
        self
    }

    /// Sets the time, Unix milliseconds; the default is the server's clock.
    pub fn at(mut self, at: i64) -> Self {
        self.at = Some(at);
        self
    }

    fn text(mut self, name: &'static str, text: &'a [u8]) -> Self {
        self.texts.retain(|(other, _)| *other != name);
        self.texts.push((name, text));
        self
    }

    fn write_with(&self, sequence: Option<Sequence<'_>>, cmd: &mut Cmd) {
        cmd.arg(self.node).arg(self.message);
        option(cmd, "LEVEL", self.level);
        option(cmd, "TYPE", self.error_type.map(ErrorType::as_str));
        option(cmd, "TAGS", self.tags);
        for (name, text) in &self.texts {
            cmd.arg(*name).arg(*text);
        }
        option(cmd, "GID", self.gid);
        option(cmd, "NID", self.nid);
        option(cmd, "AT", self.at);
        write_sequence(cmd, sequence);
    }
}

/// The reply of AGG.ERROR.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Occurrence {
    /// The key of the error.
    pub key: String,
    /// The number of times that the error has occurred.
    pub occurrences: u64,
}

impl Command for Error<'_> {
    type Output = Occurrence;
    const NAME: &'static str = "AGG.ERROR";

    fn write_args(&self, cmd: &mut Cmd) {
        self.write_with(None, cmd);
    }

    fn read_reply(&self, reply: Value) -> Option<Occurrence> {
        let [key, occurrences] = reply::items(reply)?.try_into().ok()?;
        Some(Occurrence {
            key: reply::text(key)?,
            occurrences: count(&occurrences)?,
        })
    }
}

report!(Error);

/// An error as a node stores it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredError {
    /// The id in the queue ERROR; 0 while the error is not queued.
    pub id: i64,
    /// The key.
    pub key: String,
    /// The message.
    pub message: String,
    /// The text that users may see.
    pub public: String,
    /// The level, 0 to 9.
    pub level: u64,
    /// The name of the level, such as `WARNING`.
    pub severity: String,
    /// `BUG`, `PERF`, `OPS` or `UNKNOWN`.
    pub error_type: String,
    /// The tags; a tag without a value has the text `true`.
    pub tags: BTreeMap<String, String>,
    /// The code.
    pub code: String,
    /// The function.
    pub func: String,
    /// The file.
    pub file: String,
    /// The backtrace.
    pub backtrace: String,
    /// The number of times that the error has occurred.
    pub occurrences: u64,
    /// The time of the first occurrence, Unix milliseconds.
    pub first: i64,
    /// The time of the last occurrence, Unix milliseconds.
    pub last: i64,
    /// The time at which the last report arrived, Unix milliseconds.
    pub seen: i64,
}

/// Returns the name of a level; of one beyond the highest, the name of that.
fn severity(level: u64) -> &'static str {
    level::severity(u8::try_from(level).unwrap_or(level::MAX))
}

impl StoredError {
    pub(super) fn read(reply: Value) -> Option<StoredError> {
        let mut fields = Fields::read(reply)?;
        let level = fields.count("level")?;
        Some(StoredError {
            id: fields.int("id")?,
            key: fields.text("key")?,
            message: fields.text("message")?,
            public: fields.text("public")?,
            level,
            severity: match fields.take("severity") {
                Some(name) => reply::text(name)?,
                // The server is older than the field.
                None => severity(level).to_owned(),
            },
            error_type: fields.text("type")?,
            tags: fields.tags("tags")?,
            code: fields.text("code")?,
            func: fields.text("func")?,
            file: fields.text("file")?,
            backtrace: fields.text("backtrace")?,
            occurrences: fields.count("occurrences")?,
            first: fields.int("first")?,
            last: fields.int("last")?,
            seen: fields.int("seen")?,
        })
    }
}
