//! The command that reports log entries: AGG.LOG.

use super::report::{report, write_sequence};
use super::{Cmd, Command, Level, Sequence, count, option};
use crate::reply::Value;

/// AGG.LOG: reports a log entry. Returns the entry's id.
#[derive(Clone, Copy, Debug)]
pub struct Log<'a> {
    node: &'a [u8],
    message: &'a [u8],
    level: Option<Level>,
    tags: Option<&'a str>,
    at: Option<i64>,
}

impl<'a> Log<'a> {
    /// Reports `message`.
    pub fn new(
        node: &'a (impl AsRef<[u8]> + ?Sized),
        message: &'a (impl AsRef<[u8]> + ?Sized),
    ) -> Self {
        Log {
            node: node.as_ref(),
            message: message.as_ref(),
            level: None,
            tags: None,
            at: None,
        }
    }

    /// Sets the level; the default is [`Level::INFO`].
    pub fn level(mut self, level: Level) -> Self {
        self.level = Some(level);
        self
    }

    /// Sets the tags, such as `job:nightly`.
    pub fn tags(mut self, tags: &'a str) -> Self {
        self.tags = Some(tags);
        self
    }

    /// Sets the time, Unix milliseconds; the default is the server's clock.
    pub fn at(mut self, at: i64) -> Self {
        self.at = Some(at);
        self
    }

    fn write_with(&self, sequence: Option<Sequence<'_>>, cmd: &mut Cmd) {
        cmd.arg(self.node).arg(self.message);
        option(cmd, "LEVEL", self.level);
        option(cmd, "TAGS", self.tags);
        option(cmd, "AT", self.at);
        write_sequence(cmd, sequence);
    }
}

impl Command for Log<'_> {
    type Output = u64;
    const NAME: &'static str = "AGG.LOG";

    fn write_args(&self, cmd: &mut Cmd) {
        self.write_with(None, cmd);
    }

    fn read_reply(&self, reply: Value) -> Option<u64> {
        count(&reply)
    }
}

report!(Log);
