//! Objects: AGG.REALITY, and an object as a node stores it.

use std::collections::BTreeMap;

use super::fields::Fields;
use super::{Cmd, Command, option};
use crate::reply::{self, Value};

/// AGG.REALITY: reports the state of an object as JSON. The same content with other spacing
/// or order of members is no change.
#[derive(Clone, Copy, Debug)]
pub struct Reality<'a> {
    node: &'a [u8],
    key: &'a [u8],
    model: &'a [u8],
    json: &'a [u8],
    tags: Option<&'a str>,
    at: Option<i64>,
    ttl_s: Option<u64>,
}

impl<'a> Reality<'a> {
    /// Reports `json` as the state of the object `key`, which is of `model`.
    pub fn new(
        node: &'a (impl AsRef<[u8]> + ?Sized),
        key: &'a (impl AsRef<[u8]> + ?Sized),
        model: &'a (impl AsRef<[u8]> + ?Sized),
        json: &'a (impl AsRef<[u8]> + ?Sized),
    ) -> Self {
        Reality {
            node: node.as_ref(),
            key: key.as_ref(),
            model: model.as_ref(),
            json: json.as_ref(),
            tags: None,
            at: None,
            ttl_s: None,
        }
    }

    /// Sets the tags.
    pub fn tags(mut self, tags: &'a str) -> Self {
        self.tags = Some(tags);
        self
    }

    /// Sets the time, Unix milliseconds.
    pub fn at(mut self, at: i64) -> Self {
        self.at = Some(at);
        self
    }

    /// Sets the time to live, seconds: an object that is not reported for so long is gone. 0: it does not expire.
    pub fn ttl_s(mut self, seconds: u64) -> Self {
        self.ttl_s = Some(seconds);
        self
    }
}

/// The outcome of a report of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectState {
    /// The object is new or has changed.
    Changed,
    /// The object has not changed.
    Unchanged,
    /// The report is older than the stored state.
    Older,
}

impl Command for Reality<'_> {
    type Output = ObjectState;
    const NAME: &'static str = "AGG.REALITY";

    fn write_args(&self, cmd: &mut Cmd) {
        cmd.arg(self.node)
            .arg(self.key)
            .arg(self.model)
            .arg(self.json);
        option(cmd, "TAGS", self.tags);
        option(cmd, "AT", self.at);
        option(cmd, "TTL", self.ttl_s);
    }

    fn read_reply(&self, reply: Value) -> Option<ObjectState> {
        match reply::int(&reply)? {
            1 => Some(ObjectState::Changed),
            0 => Some(ObjectState::Unchanged),
            -1 => Some(ObjectState::Older),
            _ => None,
        }
    }
}

/// An object as a node stores it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredObject {
    /// The id in the queue REALITY; 0 while the object is not queued.
    pub id: i64,
    /// The key.
    pub key: String,
    /// The model.
    pub model: String,
    /// The state, JSON.
    pub json: String,
    /// The tags; a tag without a value has the text `true`.
    pub tags: BTreeMap<String, String>,
    /// The time of the state, Unix milliseconds.
    pub epoch: i64,
    /// True if the object is gone.
    pub gone: bool,
    /// The time at which the last report arrived, Unix milliseconds.
    pub seen: i64,
}

impl StoredObject {
    pub(super) fn read(reply: Value) -> Option<StoredObject> {
        let mut fields = Fields::read(reply)?;
        Some(StoredObject {
            id: fields.int("id")?,
            key: fields.text("key")?,
            model: fields.text("model")?,
            json: fields.text("json")?,
            tags: fields.tags("tags")?,
            epoch: fields.int("epoch")?,
            gone: fields.int("gone")? == 1,
            seen: fields.int("seen")?,
        })
    }
}
