//! The values of a configuration. Each checks itself when it is read.

use std::time::Duration;

use aggregator_protocol::{level, tags, units};
use serde::Deserialize;

use crate::net::Address;

/// One address, or a list of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "OneOrMany")]
pub struct Addresses(pub Vec<Address>);

impl Addresses {
    /// Returns a port of loopback.
    pub(super) fn local(port: u16) -> Addresses {
        Addresses(vec![Address::Ip(([127, 0, 0, 1], port).into())])
    }
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "expected an address as \"127.0.0.1:8125\", the path of a socket, or a list of them"
)]
enum OneOrMany {
    One(Address),
    Many(Vec<Address>),
}

impl From<OneOrMany> for Addresses {
    fn from(addresses: OneOrMany) -> Addresses {
        match addresses {
            OneOrMany::One(address) => Addresses(vec![address]),
            OneOrMany::Many(addresses) => Addresses(addresses),
        }
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Address, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A size in bytes, such as `"64mb"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Size(pub u64);

impl TryFrom<String> for Size {
    type Error = String;

    fn try_from(text: String) -> Result<Size, String> {
        units::size(&text)
            .map(Size)
            .map_err(|error| error.to_string())
    }
}

impl Size {
    /// Returns the bytes.
    pub fn bytes(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

/// A time, such as `"100ms"`, not zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Time(pub Duration);

impl TryFrom<String> for Time {
    type Error = String;

    fn try_from(text: String) -> Result<Time, String> {
        units::positive_duration(&text)
            .map(Time)
            .map_err(|error| error.to_string())
    }
}

/// A level, by name or number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct LogLevel(pub u8);

impl TryFrom<String> for LogLevel {
    type Error = String;

    fn try_from(text: String) -> Result<LogLevel, String> {
        let level = level::parse(text.as_bytes());
        level.map(LogLevel).ok_or_else(|| {
            format!("expected a level from 0 to 9 or a name such as WARNING, ERROR or CRITICAL, not {text:?}")
        })
    }
}

/// A tag, such as `site:a`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Tag(pub String);

impl TryFrom<String> for Tag {
    type Error = String;

    fn try_from(text: String) -> Result<Tag, String> {
        tags::tag(&text).map(Tag).map_err(|error| error.to_string())
    }
}
