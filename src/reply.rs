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
