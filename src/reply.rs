//! Answers: the core's replies as the server's, in RESP2 or RESP3 as the client asked for.

use crate::ffi::api::Ctx;
use aggregator_core::Reply;

/// The error for a key that holds another type, as Redis words it.
pub const WRONG_TYPE: &str = "WRONGTYPE Operation against a key holding the wrong kind of value";

/// Writes the core's replies.
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

/// An answer that is sent later, when its client can take it.
pub enum Answer {
    /// What the core replied.
    Reply(Recorded),
    /// A line that begins with its code.
    Error(String),
}

impl Answer {
    /// Sends it.
    pub fn send(&self, ctx: Ctx<'_>) {
        match self {
            Answer::Reply(recorded) => recorded.replay(&mut Replier(ctx)),
            Answer::Error(line) => ctx.reply_error(line),
        }
    }
}

/// A reply of the core, kept.
#[derive(Default)]
pub struct Recorded {
    parts: Vec<Part>,
    /// The texts, one behind the other.
    texts: Vec<u8>,
}

enum Part {
    Array(usize),
    Map(usize),
    Bulk(usize),
    Int(i64),
    Null,
}

impl Recorded {
    fn replay(&self, reply: &mut impl Reply) {
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

impl Reply for Recorded {
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
