//! Replies: the core's replies as the server's, in RESP2 or RESP3 as the client chose, at once or later.

use crate::ffi::Ctx;
use aggregator_core::Reply;

/// The error for a key that holds another type, as Redis words it.
pub const WRONG_TYPE: &str = "WRONGTYPE Operation against a key holding the wrong kind of value";

/// The error when a command cannot run because another one is running.
pub const INTERNAL: &str = "ERR internal error: recursive call of the module";

/// Sends the core's replies to the client of a context.
pub struct Replier<'a>(pub Ctx<'a>);

impl Reply for Replier<'_> {
    fn array(&mut self, len: usize) {
        self.0.reply_array(len);
    }

    fn map(&mut self, len: usize) {
        self.0.reply_map(len);
    }

    fn bulk(&mut self, bytes: &[u8]) {
        self.0.reply_bulk(bytes);
    }

    fn int(&mut self, value: i64) {
        self.0.reply_int(value);
    }

    fn null(&mut self) {
        self.0.reply_null();
    }
}

/// A reply that is sent later.
pub enum Answer {
    /// A reply of the core.
    Reply(RecordedReply),
    /// An error: a line that begins with its code.
    Error(String),
}

impl Answer {
    /// Sends the reply to the client of a context.
    pub fn send(&self, ctx: Ctx<'_>) {
        match self {
            Answer::Reply(recorded) => recorded.send(&mut Replier(ctx)),
            Answer::Error(line) => ctx.reply_error(line),
        }
    }
}

/// A recorded reply of the core.
#[derive(Default)]
pub struct RecordedReply {
    parts: Vec<Part>,
    /// The bulk strings, one after the other.
    texts: Vec<u8>,
}

enum Part {
    Array(usize),
    Map(usize),
    /// The length of a bulk string.
    Bulk(usize),
    Int(i64),
    Null,
}

impl RecordedReply {
    fn send(&self, reply: &mut impl Reply) {
        let mut texts = self.texts.as_slice();
        for part in &self.parts {
            match *part {
                Part::Array(len) => reply.array(len),
                Part::Map(len) => reply.map(len),
                Part::Bulk(len) => {
                    let (text, rest) = texts.split_at_checked(len).unwrap_or_default();
                    reply.bulk(text);
                    texts = rest;
                }
                Part::Int(value) => reply.int(value),
                Part::Null => reply.null(),
            }
        }
    }
}

impl Reply for RecordedReply {
    fn array(&mut self, len: usize) {
        self.parts.push(Part::Array(len));
    }

    fn map(&mut self, len: usize) {
        self.parts.push(Part::Map(len));
    }

    fn bulk(&mut self, bytes: &[u8]) {
        self.parts.push(Part::Bulk(bytes.len()));
        self.texts.extend_from_slice(bytes);
    }

    fn int(&mut self, value: i64) {
        self.parts.push(Part::Int(value));
    }

    fn null(&mut self) {
        self.parts.push(Part::Null);
    }
}
