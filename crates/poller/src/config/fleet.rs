//! The table `[fleet]`: the pollers that share the servers.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use crate::ownership::Members;

use super::error::ConfigError;
use super::value::Time;

/// The default of `takeover-after`.
const TAKEOVER_AFTER: Duration = Duration::from_secs(60);
/// The maximum length of a name, bytes.
const MAX_NAME: usize = 64;
/// The maximum number of members.
const MAX_MEMBERS: usize = 1000;

/// The table as it is written.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RawFleet {
    members: Option<Spanned<Vec<Spanned<String>>>>,
    me: Option<Spanned<String>>,
    takeover_after: Option<Spanned<Time>>,
}

/// The pollers that share the servers.
#[derive(Clone, PartialEq, Eq)]
pub struct Fleet {
    /// The name of this poller.
    pub me: String,
    /// The names of all pollers, this one's among them.
    pub names: Vec<String>,
    /// The age of the oldest record of a server at which another poller takes over.
    pub takeover_after: Duration,
}

impl Fleet {
    /// Returns the members as the configuration names them. `poll_interval` is the one of the configuration.
    pub fn members(&self, poll_interval: Duration) -> Members {
        Members {
            me: self.me.clone(),
            names: self.names.clone(),
            takeover_after: self.takeover_after,
            poll_interval,
        }
    }
}

/// Checks the table.
pub fn check(fleet: &Spanned<RawFleet>, poll_interval: Duration) -> Result<Fleet, ConfigError> {
    let raw = fleet.get_ref();
    let me = match &raw.me {
        Some(me) => name(me)?,
        None => host(fleet)?,
    };
    let names = match &raw.members {
        Some(members) => names(members)?,
        None => {
            let text = "expected \"members\": the names of all pollers that share the servers";
            return Err(ConfigError::missing_key(fleet, "members", text));
        }
    };
    if !names.contains(&me) {
        let text = match &raw.me {
            Some(_) => format!("{me:?} is not among the members"),
            None => format!("the name of this host, {me:?}, is not among the members: set \"me\""),
        };
        return Err(match (&raw.me, &raw.members) {
            (Some(me), _) => ConfigError::at(me, text),
            (None, Some(members)) => ConfigError::at(members, text),
            (None, None) => ConfigError::at(fleet, text),
        });
    }
    Ok(Fleet {
        me,
        names,
        takeover_after: takeover_after(&raw.takeover_after, poll_interval)?,
    })
}

fn names(members: &Spanned<Vec<Spanned<String>>>) -> Result<Vec<String>, ConfigError> {
    let list = members.get_ref();
    if list.is_empty() {
        let text =
            "expected the names of all pollers that share the servers, this one's among them";
        return Err(ConfigError::at(members, text));
    }
    if list.len() > MAX_MEMBERS {
        let text = format!("expected at most {MAX_MEMBERS} members");
        return Err(ConfigError::at(members, text));
    }
    let mut names = BTreeSet::new();
    for member in list {
        if !names.insert(name(member)?) {
            let text = format!("{:?} is listed twice", member.get_ref());
            return Err(ConfigError::at(member, text));
        }
    }
    Ok(names.into_iter().collect())
}

/// Checks a name: it is shown in messages, and part of what decides the owner.
fn name(text: &Spanned<String>) -> Result<String, ConfigError> {
    let name = text.get_ref();
    match is_name(name) {
        true => Ok(name.clone()),
        false => Err(ConfigError::at(
            text,
            format!(
                "expected a name of letters, digits and . _ - : of at most {MAX_NAME} bytes, not {name:?}"
            ),
        )),
    }
}

fn is_name(name: &str) -> bool {
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:".contains(&byte);
    (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(is_good)
}

/// Returns the name of this host.
fn host(fleet: &Spanned<RawFleet>) -> Result<String, ConfigError> {
    let own = rustix::system::uname();
    let name = own.nodename().to_string_lossy().into_owned();
    let unfit = || {
        let text = format!("the name of this host, {name:?}, cannot be that of a member");
        ConfigError::missing_key(fleet, "me", format!("expected \"me\": {text}"))
    };
    match is_name(&name) {
        true => Ok(name),
        false => Err(unfit()),
    }
}

fn takeover_after(
    time: &Option<Spanned<Time>>,
    poll_interval: Duration,
) -> Result<Duration, ConfigError> {
    let Some(time) = time else {
        return Ok(TAKEOVER_AFTER.max(8 * poll_interval));
    };
    // A record waits for a poll interval, and for the sink, though its server is drained.
    let least = Duration::from_secs(1).max(8 * poll_interval);
    match time.get_ref().0 {
        short if short < least => Err(ConfigError::at(
            time,
            format!("expected at least 1s, and at least 8 times poll-interval: {least:?}"),
        )),
        time => Ok(time),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{error::position, parse_one};
    use super::*;

    fn read(fleet: &str) -> Result<Fleet, String> {
        let text = format!(
            "[fleet]\n{fleet}\n[[source]]\nurls = [\"redis://h\"]\n[[route]]\nqueues = [\"LOG\"]\n\
             sinks = [\"out\"]\n[sink.out]\ntype = \"stdout\"\n"
        );
        match parse_one(&text) {
            Ok(config) => Ok(config.fleet.unwrap()),
            Err(error) => {
                let (line, column) = position(&text, error.at.unwrap());
                Err(format!("{line}:{column}: {}", error.text))
            }
        }
    }

    #[test]
    fn fleet_is_read() {
        let Ok(fleet) = read("members = [\"p2\", \"p1\"]\nme = \"p1\"") else {
            panic!()
        };
        assert_eq!(fleet.names, ["p1", "p2"]);
        assert_eq!(fleet.takeover_after, Duration::from_secs(60));
        let own = rustix::system::uname();
        let host = own.nodename().to_string_lossy().into_owned();
        let Ok(fleet) = read(&format!("members = [{host:?}]\ntakeover-after = \"8s\"")) else {
            panic!()
        };
        assert_eq!((fleet.me, fleet.takeover_after.as_secs()), (host, 8));
    }

    #[test]
    fn mistakes_are_errors() {
        for (fleet, expected) in [
            ("me = \"p1\"", "1:1: expected \"members\""),
            (
                "members = []\nme = \"p1\"",
                "2:11: expected the names of all pollers",
            ),
            (
                "members = [\"p1\", \"p1\"]\nme = \"p1\"",
                "2:18: \"p1\" is listed twice",
            ),
            (
                "members = [\"p1\"]\nme = \"p2\"",
                "3:6: \"p2\" is not among the members",
            ),
            ("members = [\"p1\"]", "2:11: the name of this host, "),
            (
                "members = [\"p 1\"]\nme = \"p1\"",
                "2:12: expected a name of letters",
            ),
            (
                "members = [\"p1\"]\nme = \"\"",
                "3:6: expected a name of letters",
            ),
            (
                "members = [\"p1\"]\nme = \"p1\"\ntakeover-after = \"7s\"",
                "4:18: expected at least 1s, and at least 8 times poll-interval: 8s",
            ),
            (
                "members = [\"p1\"]\nme = \"p1\"\nyou = 1",
                "4:1: unknown key `you`",
            ),
        ] {
            let error = read(fleet).err().unwrap();
            assert!(error.starts_with(expected), "{error}\nexpected {expected}");
        }
    }
}
