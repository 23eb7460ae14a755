//! The table `[fleet]`: the pollers that share the servers.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use agg_client::Server;
use serde::Deserialize;
use toml::Spanned;

use crate::ownership::Members;

use super::error::ConfigError;
use super::server::RawServer;
use super::value::{Time, start};

/// The default of `takeover-after`.
const TAKEOVER_AFTER: Duration = Duration::from_secs(60);
/// The maximum length of a name, bytes.
const MAX_NAME: usize = 64;
/// The maximum number of members.
const MAX_MEMBERS: usize = 1000;

/// The default of `forget-after`.
const FORGET_AFTER: Duration = Duration::from_secs(30);
/// The keys that only a fleet with `members-from` has.
const OF_REGISTRY: &str = "this key needs members-from";

/// The table as it is written.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RawFleet {
    members: Option<Spanned<Vec<Spanned<String>>>>,
    members_from: Option<Spanned<String>>,
    me: Option<Spanned<String>>,
    takeover_after: Option<Spanned<Time>>,
    name: Option<Spanned<String>>,
    forget_after: Option<Spanned<Time>>,
    user: Option<Spanned<String>>,
    password_file: Option<Spanned<PathBuf>>,
    password_env: Option<Spanned<String>>,
    tls_ca: Option<Spanned<PathBuf>>,
    tls_cert: Option<Spanned<PathBuf>>,
    tls_key: Option<Spanned<PathBuf>>,
}

impl RawFleet {
    /// Returns the files that it names.
    pub fn files(&self) -> Vec<PathBuf> {
        let all = [
            &self.password_file,
            &self.tls_ca,
            &self.tls_cert,
            &self.tls_key,
        ];
        let given = all.into_iter().flatten();
        given.map(|file| file.get_ref().clone()).collect()
    }
}

/// The pollers that share the servers.
#[derive(Clone, PartialEq, Eq)]
pub struct Fleet {
    /// The name of this poller.
    pub me: String,
    /// The names of all pollers, this one's among them; empty if they are in the registry.
    pub names: Vec<String>,
    /// The server in which the pollers register.
    pub registry: Option<Registry>,
    /// The age of the oldest record of a server at which another poller takes over.
    pub takeover_after: Duration,
}

/// The server in which pollers register.
#[derive(Clone, PartialEq, Eq)]
pub struct Registry {
    /// The server, including user and password. Secret.
    pub server: Server,
    /// The key of the list.
    pub key: String,
    /// A poller that has not reported for this long is no longer a member.
    pub forget_after: Duration,
}

impl Fleet {
    /// Returns the members of these names. `poll_interval` is the one of the configuration.
    pub fn members(&self, names: Vec<String>, poll_interval: Duration) -> Members {
        Members {
            me: self.me.clone(),
            names,
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
    let (names, registry) = match (&raw.members, &raw.members_from) {
        (Some(members), None) => (listed(raw, members, &me)?, None),
        (None, Some(url)) => (Vec::new(), Some(registry(raw, url)?)),
        (Some(_), Some(url)) => {
            let text = "members and members-from are mutually exclusive";
            return Err(ConfigError::at(url, text));
        }
        (None, None) => {
            let text = "expected \"members\": the names of all pollers that share the servers, or \
                        \"members-from\": a server in which they register";
            return Err(ConfigError::missing_key(fleet, "members", text));
        }
    };
    Ok(Fleet {
        me,
        names,
        registry,
        takeover_after: takeover_after(&raw.takeover_after, poll_interval)?,
    })
}

/// Checks a list in the file. This poller has to be in it.
fn listed(
    raw: &RawFleet,
    members: &Spanned<Vec<Spanned<String>>>,
    me: &String,
) -> Result<Vec<String>, ConfigError> {
    let of_registry = [
        start(&raw.name),
        start(&raw.forget_after),
        start(&raw.user),
        start(&raw.password_file),
        start(&raw.password_env),
        start(&raw.tls_ca),
        start(&raw.tls_cert),
        start(&raw.tls_key),
    ];
    if let Some(at) = of_registry.into_iter().flatten().min() {
        return Err(ConfigError::at_byte(at, OF_REGISTRY));
    }
    let names = names(members)?;
    match &raw.me {
        _ if names.contains(me) => Ok(names),
        Some(given) => Err(ConfigError::at(
            given,
            format!("{me:?} is not among the members"),
        )),
        None => Err(ConfigError::at(
            members,
            format!("the name of this host, {me:?}, is not among the members: set \"me\""),
        )),
    }
}

/// Checks the settings of the server in which pollers register.
fn registry(raw: &RawFleet, url: &Spanned<String>) -> Result<Registry, ConfigError> {
    let server = RawServer {
        url,
        user: &raw.user,
        password_file: &raw.password_file,
        password_env: &raw.password_env,
        tls: [&raw.tls_ca, &raw.tls_cert, &raw.tls_key],
        password_help: "set password-file or password-env of the fleet",
    };
    let server = server.check()?;
    let forget_after = match &raw.forget_after {
        Some(time) if time.get_ref().0 < Duration::from_secs(1) => {
            return Err(ConfigError::at(time, "expected at least 1s"));
        }
        time => time.as_ref().map_or(FORGET_AFTER, |time| time.get_ref().0),
    };
    let of_fleet = match &raw.name {
        Some(text) => name(text)?,
        None => "agg".into(),
    };
    Ok(Registry {
        server,
        key: format!("agg:fleet:{of_fleet}"),
        forget_after,
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
    match is_member_name(name) {
        true => Ok(name.clone()),
        false => Err(ConfigError::at(
            text,
            format!(
                "expected a name of letters, digits and . _ - : of at most {MAX_NAME} bytes, not {name:?}"
            ),
        )),
    }
}

/// Returns whether a text may be the name of a poller.
pub fn is_member_name(name: &str) -> bool {
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
    match is_member_name(&name) {
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
    fn registry_is_read() {
        let Ok(fleet) = read("members-from = \"redis://h:1\"\nme = \"p1\"\nname = \"west\"") else {
            panic!()
        };
        let registry = fleet.registry.unwrap();
        assert_eq!(registry.server.endpoint(), "redis://h:1");
        assert_eq!(registry.key, "agg:fleet:west");
        assert_eq!(registry.forget_after, Duration::from_secs(30));
        assert!(fleet.names.is_empty());
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
