//! The keys of a MongoDB sink and their checks. What the driver knows (hosts, replica set, TLS) stands in the URI, as
//! everywhere; who we are does not: a password has no place in a file that others read, nor in a message.

use std::path::PathBuf;
use std::time::Duration;

use mongodb::options::{ConnectionString, Tls};
use toml::Spanned;

use crate::poll::config::{Mistake, Mongo};

use super::{RawSink, escape, needed, secret};

/// The keys.
pub const KEYS: [&str; 10] = [
    "uri",
    "database",
    "prefix",
    "time-series",
    "user",
    "password-file",
    "password-env",
    "batch-lines",
    "batch-bytes",
    "timeout",
];

/// What the driver takes and does not heed.
const NOT_HEEDED: [(&str, &str); 2] = [
    ("sockettimeoutms=", "the key timeout"),
    ("waitqueuetimeoutms=", "the key timeout"),
];
/// The longest name of a database.
const LONGEST_DATABASE: usize = 63;
/// The longest start of a collection's name: a whole name with its database has 255 bytes.
const LONGEST_PREFIX: usize = 100;

impl RawSink {
    /// The database that the file describes.
    pub(super) fn mongo(&self, place: &Spanned<RawSink>) -> Result<Mongo, Mistake> {
        let uri = needed(&self.uri, "uri", place)?;
        check_uri(uri.get_ref()).map_err(|why| Mistake::at(uri, why))?;
        let database = needed(&self.database, "database", place)?;
        check_database(database.get_ref()).map_err(|why| Mistake::at(database, why))?;
        if let Some(prefix) = &self.prefix {
            check_prefix(prefix.get_ref()).map_err(|why| Mistake::at(prefix, why))?;
        }
        let password = secret("password", &self.password_file, &self.password_env)?;
        let uri = match (&self.user, password) {
            (Some(user), password) => {
                let whole = with_user(uri.get_ref(), user.get_ref(), password.as_deref());
                // The driver's words could show the password.
                ConnectionString::parse(&whole)
                    .map_err(|_| Mistake::at(user, "the driver refuses this user and password"))?;
                whole
            }
            (None, Some(_)) => return Err(Mistake::at(place, "a password, but no user")),
            (None, None) => uri.get_ref().clone(),
        };
        let batch_lines = match &self.batch_lines {
            Some(lines) if !(1..=100_000).contains(lines.get_ref()) => {
                return Err(Mistake::at(lines, "expected 1 to 100000"));
            }
            lines => lines.as_ref().map_or(2000, |lines| *lines.get_ref()),
        };
        let timeout = match &self.timeout {
            Some(time) if time.get_ref().0 < Duration::from_secs(1) => {
                return Err(Mistake::at(time, "expected at least 1s"));
            }
            time => time
                .as_ref()
                .map_or(Duration::from_secs(10), |time| time.get_ref().0),
        };
        let bytes = self.batch_bytes.as_ref();
        let read = |path| std::fs::read(path).unwrap_or_default();
        Ok(Mongo {
            files: files(&uri).into_iter().map(read).collect(),
            uri,
            database: database.get_ref().clone(),
            prefix: self
                .prefix
                .as_ref()
                .map_or_else(String::new, |prefix| prefix.get_ref().clone()),
            time_series: self.time_series.as_ref().is_some_and(|on| *on.get_ref()),
            batch_lines: batch_lines as usize,
            batch_bytes: bytes.map_or(1 << 20, |size| size.get_ref().0 as usize),
            timeout,
        })
    }
}

/// The files of certificates that a URI names.
pub(super) fn files(uri: &str) -> Vec<PathBuf> {
    let tls = ConnectionString::parse(uri).ok().and_then(|uri| uri.tls);
    match tls {
        Some(Tls::Enabled(options)) => [options.ca_file_path, options.cert_key_file_path]
            .into_iter()
            .flatten()
            .collect(),
        _ => Vec::new(),
    }
}

fn check_uri(uri: &str) -> Result<(), String> {
    if uri.contains('@') {
        // Not shown: it may hold a password.
        return Err("expected mongodb://HOST:PORT; who we are stands in keys of its own".into());
    }
    if uri.starts_with("mongodb+srv:") {
        let text = "mongodb+srv:// is not supported: this agg asks no DNS for lists of servers; \
                    name them, as in mongodb://HOST1,HOST2/?replicaSet=NAME&tls=true";
        return Err(text.into());
    }
    if !uri.starts_with("mongodb://") {
        return Err("expected mongodb://HOST:PORT".into());
    }
    let lower = uri.to_lowercase();
    let found = NOT_HEEDED
        .iter()
        .find(|(option, _)| lower.contains(*option));
    if let Some((option, instead)) = found {
        let option = option.trim_end_matches('=');
        return Err(format!("the driver has no {option}: use {instead}"));
    }
    ConnectionString::parse(uri)
        .map(drop)
        .map_err(|error| match &*error.kind {
            mongodb::error::ErrorKind::InvalidArgument { message, .. } => message.clone(),
            kind => kind.to_string(),
        })
}

fn check_database(name: &str) -> Result<(), String> {
    let bad = |c: char| c.is_control() || "/\\. \"$*<>:|?".contains(c);
    match name {
        "" => Err("expected a name".into()),
        name if name.len() > LONGEST_DATABASE => {
            Err(format!("expected at most {LONGEST_DATABASE} bytes"))
        }
        name => match name.chars().find(|c| bad(*c)) {
            Some(c) => Err(format!("MongoDB takes no {c:?} in the name of a database")),
            None => Ok(()),
        },
    }
}

fn check_prefix(prefix: &str) -> Result<(), String> {
    let bad = |c: char| c.is_control() || c == '$';
    if prefix.len() > LONGEST_PREFIX {
        return Err(format!("expected at most {LONGEST_PREFIX} bytes"));
    }
    if prefix.starts_with("system.") || prefix.starts_with('.') {
        return Err("MongoDB takes no name of a collection that begins so".into());
    }
    match prefix.chars().find(|c| bad(*c)) {
        Some(c) => Err(format!(
            "MongoDB takes no {c:?} in the name of a collection"
        )),
        None => Ok(()),
    }
}

fn with_user(uri: &str, user: &str, password: Option<&str>) -> String {
    let rest = uri.trim_start_matches("mongodb://");
    match password {
        Some(password) => format!("mongodb://{}:{}@{rest}", escape(user), escape(password)),
        None => format!("mongodb://{}@{rest}", escape(user)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_and_names() {
        for (uri, expected) in [
            ("mongodb://h1:27017,h2/?replicaSet=rs0", ""),
            ("mongodb://h/?tls=true&tlsCAFile=ca.pem", ""),
            (
                "mongodb+srv://cluster.example.com",
                "mongodb+srv:// is not supported: ",
            ),
            ("http://h", "expected mongodb://HOST:PORT"),
            (
                "mongodb://u:s3cret@h",
                "expected mongodb://HOST:PORT; who we are stands in keys of its own",
            ),
            (
                "mongodb://h/?socketTimeoutMS=5",
                "the driver has no sockettimeoutms: use the key timeout",
            ),
            (
                "mongodb://h/?tls=maybe",
                "connection string `tls` option must be a boolean",
            ),
            ("mongodb://h:port", ""),
        ] {
            let told = check_uri(uri).err().unwrap_or_default();
            if uri.ends_with(":port") {
                assert!(told.contains("port"), "{told}");
            } else {
                assert!(told.starts_with(expected), "{told}\nexpected {expected}");
                assert_eq!(told.is_empty(), expected.is_empty(), "{uri}: {told}");
            }
        }
        assert_eq!(check_database("grid"), Ok(()));
        for name in ["", "a.b", "a b", "a$", &"x".repeat(64)] {
            assert!(check_database(name).is_err(), "{name}");
        }
        assert_eq!(check_prefix("agg."), Ok(()));
        for prefix in ["$", "system.", ".x", "a\0"] {
            assert!(check_prefix(prefix).is_err(), "{prefix}");
        }
    }

    #[test]
    fn a_user_is_put_in_as_the_driver_reads_it() {
        let whole = with_user("mongodb://h:1/?authSource=grid", "a@b", Some("p:/?#é"));
        let read = ConnectionString::parse(&whole).unwrap().credential.unwrap();
        assert_eq!(read.username.as_deref(), Some("a@b"));
        assert_eq!(read.password.as_deref(), Some("p:/?#é"));
        assert_eq!(read.source.as_deref(), Some("grid"));
    }
}
