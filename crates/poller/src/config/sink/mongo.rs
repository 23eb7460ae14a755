//! The checks of a MongoDB sink. Hosts, replica set and TLS are options of the URI, as in other programs. User and
//! password are not part of the URI: a password does not belong in a file that others read, or in a message.

use mongodb::error::ErrorKind;
use mongodb::options::ConnectionString;
use toml::Spanned;

use super::super::error::ConfigError;
use super::super::model::Mongo;
use super::super::value::{encode, required, secret, timeout};
use super::http;
use super::raw::{RawSink, files_of_uri};

/// The keys of a MongoDB sink.
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

/// Options that the driver parses and ignores, and what to use instead.
const IGNORED_OPTIONS: [(&str, &str); 2] = [
    ("sockettimeoutms=", "the key timeout"),
    ("waitqueuetimeoutms=", "the key timeout"),
];
/// The maximum number of bytes of the name of a database.
const MAX_DATABASE: usize = 63;
/// The maximum number of bytes of the prefix of a collection: its full name, with the database, may have 255.
const MAX_PREFIX: usize = 100;

/// Checks a MongoDB sink.
pub fn check(sink: &Spanned<RawSink>) -> Result<Mongo, ConfigError> {
    let raw = sink.get_ref();
    let uri = required(&raw.uri, "uri", sink)?;
    check_uri(uri.get_ref()).map_err(|error| ConfigError::at(uri, error.to_string()))?;
    let database = required(&raw.database, "database", sink)?;
    check_database(database.get_ref())
        .map_err(|error| ConfigError::at(database, error.to_string()))?;
    if let Some(prefix) = &raw.prefix {
        check_prefix(prefix.get_ref())
            .map_err(|error| ConfigError::at(prefix, error.to_string()))?;
    }
    let password = secret("password", &raw.password_file, &raw.password_env)?;
    let uri = match (&raw.user, password) {
        (Some(user), password) => {
            let whole = with_user(uri.get_ref(), user.get_ref(), password.as_deref());
            // The message of the driver could show the password.
            ConnectionString::parse(&whole)
                .map_err(|_| ConfigError::at(user, "the driver rejects this user and password"))?;
            whole
        }
        (None, Some(_)) => return Err(http::without_user(sink)),
        (None, None) => uri.get_ref().clone(),
    };
    let batch_lines = match &raw.batch_lines {
        Some(lines) if !(1..=100_000).contains(lines.get_ref()) => {
            return Err(ConfigError::at(lines, "expected 1 to 100000"));
        }
        lines => lines.as_ref().map_or(2000, |lines| *lines.get_ref()),
    };
    let timeout = timeout(&raw.timeout)?;
    let bytes = raw.batch_bytes.as_ref();
    let read = |path| std::fs::read(path).unwrap_or_default();
    Ok(Mongo {
        files: files_of_uri(&uri).into_iter().map(read).collect(),
        uri,
        database: database.get_ref().clone(),
        prefix: raw
            .prefix
            .as_ref()
            .map_or_else(String::new, |prefix| prefix.get_ref().clone()),
        time_series: raw.time_series.as_ref().is_some_and(|on| *on.get_ref()),
        batch_lines: batch_lines as usize,
        batch_bytes: bytes.map_or(1 << 20, |size| size.get_ref().0 as usize),
        timeout,
    })
}

/// An invalid URI. The message does not show the URI, since it may contain a password.
#[derive(Debug, thiserror::Error)]
enum UriError {
    #[error("expected mongodb://HOST:PORT; user and password have their own keys")]
    HasUser,
    #[error(
        "mongodb+srv:// is not supported: list the servers, as in mongodb://HOST1,HOST2/?replicaSet=NAME&tls=true"
    )]
    Srv,
    #[error("expected mongodb://HOST:PORT")]
    Scheme,
    #[error("the driver ignores {option}: use {instead}")]
    IgnoredOption {
        option: &'static str,
        instead: &'static str,
    },
    #[error("{0}")]
    Driver(String),
}

fn check_uri(uri: &str) -> Result<(), UriError> {
    if uri.contains('@') {
        return Err(UriError::HasUser);
    }
    if uri.starts_with("mongodb+srv:") {
        return Err(UriError::Srv);
    }
    if !uri.starts_with("mongodb://") {
        return Err(UriError::Scheme);
    }
    let lower = uri.to_lowercase();
    let mut ignored = IGNORED_OPTIONS.into_iter();
    if let Some((option, instead)) = ignored.find(|(option, _)| lower.contains(option)) {
        let option = option.trim_end_matches('=');
        return Err(UriError::IgnoredOption { option, instead });
    }
    ConnectionString::parse(uri)
        .map(drop)
        .map_err(|error| match &*error.kind {
            ErrorKind::InvalidArgument { message, .. } => UriError::Driver(message.clone()),
            kind => UriError::Driver(kind.to_string()),
        })
}

/// A name that MongoDB does not allow.
#[derive(Debug, thiserror::Error)]
enum NameError {
    #[error("the name is empty")]
    Empty,
    #[error("expected at most {0} bytes")]
    TooLong(usize),
    #[error("MongoDB does not allow {0:?} in the name of a database")]
    InDatabase(char),
    #[error("MongoDB does not allow {0:?} in the name of a collection")]
    InCollection(char),
    #[error("MongoDB does not allow this beginning of the name of a collection")]
    CollectionStart,
}

fn check_database(name: &str) -> Result<(), NameError> {
    let bad = |c: char| c.is_control() || "/\\. \"$*<>:|?".contains(c);
    match name {
        "" => Err(NameError::Empty),
        name if name.len() > MAX_DATABASE => Err(NameError::TooLong(MAX_DATABASE)),
        name => match name.chars().find(|c| bad(*c)) {
            Some(c) => Err(NameError::InDatabase(c)),
            None => Ok(()),
        },
    }
}

fn check_prefix(prefix: &str) -> Result<(), NameError> {
    let bad = |c: char| c.is_control() || c == '$';
    if prefix.len() > MAX_PREFIX {
        return Err(NameError::TooLong(MAX_PREFIX));
    }
    if prefix.starts_with("system.") || prefix.starts_with('.') {
        return Err(NameError::CollectionStart);
    }
    match prefix.chars().find(|c| bad(*c)) {
        Some(c) => Err(NameError::InCollection(c)),
        None => Ok(()),
    }
}

/// Adds user and password to a URI.
fn with_user(uri: &str, user: &str, password: Option<&str>) -> String {
    let rest = uri.trim_start_matches("mongodb://");
    match password {
        Some(password) => format!("mongodb://{}:{}@{rest}", encode(user), encode(password)),
        None => format!("mongodb://{}@{rest}", encode(user)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_and_names_are_checked() {
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
                "expected mongodb://HOST:PORT; user and password have their own keys",
            ),
            (
                "mongodb://h/?socketTimeoutMS=5",
                "the driver ignores sockettimeoutms: use the key timeout",
            ),
            (
                "mongodb://h/?tls=maybe",
                "connection string `tls` option must be a boolean",
            ),
            ("mongodb://h:port", ""),
        ] {
            let error = check_uri(uri)
                .err()
                .map_or_else(String::new, |error| error.to_string());
            if uri.ends_with(":port") {
                assert!(error.contains("port"), "{error}");
            } else {
                assert!(error.starts_with(expected), "{error}\nexpected {expected}");
                assert_eq!(error.is_empty(), expected.is_empty(), "{uri}: {error}");
            }
        }
        assert!(check_database("grid").is_ok());
        for name in ["", "a.b", "a b", "a$", &"x".repeat(64)] {
            assert!(check_database(name).is_err(), "{name}");
        }
        assert!(check_prefix("agg.").is_ok());
        for prefix in ["$", "system.", ".x", "a\0"] {
            assert!(check_prefix(prefix).is_err(), "{prefix}");
        }
    }

    #[test]
    fn user_is_added_as_the_driver_parses_it() {
        let whole = with_user("mongodb://h:1/?authSource=grid", "a@b", Some("p:/?#é"));
        let read = ConnectionString::parse(&whole).unwrap().credential.unwrap();
        assert_eq!(read.username.as_deref(), Some("a@b"));
        assert_eq!(read.password.as_deref(), Some("p:/?#é"));
        assert_eq!(read.source.as_deref(), Some("grid"));
    }
}
