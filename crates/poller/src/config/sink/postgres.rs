//! The settings and checks of a PostgreSQL sink. Hosts, database and options are in the URI, as in other programs. User
//! and password are not part of it: a password does not belong in a file that others read, or in a message.

use std::time::Duration;

use tokio_postgres::config::SslMode;
use toml::Spanned;

use super::super::error::ConfigError;
use super::super::tls::TlsSettings;
use super::super::value::{required, secret, timeout, within};
use super::raw::RawSink;
use super::tls;

/// The keys of a PostgreSQL sink.
pub const KEYS: [&str; 13] = [
    "uri",
    "user",
    "password-file",
    "password-env",
    "tls-ca",
    "tls-cert",
    "tls-key",
    "schema",
    "prefix",
    "writers",
    "batch-lines",
    "batch-bytes",
    "timeout",
];

const EXPECTED: &str = "expected postgresql://HOST:PORT/DATABASE";
/// The maximum number of bytes of an identifier.
const MAX_NAME: usize = 63;
/// The bytes that a name of a table and of its index need besides the prefix.
const MAX_PREFIX: usize = 30;

/// A server has 100 connections by default, for all its clients.
const MAX_WRITERS: u64 = 16;

/// The settings of a PostgreSQL sink.
#[derive(Clone, PartialEq, Eq)]
pub struct Postgres {
    /// The servers, the database, user and password. Secret.
    pub server: tokio_postgres::Config,
    /// The TLS settings. `None`: connections are not encrypted.
    pub tls: Option<TlsSettings>,
    /// The schema of the tables.
    pub schema: String,
    /// The beginning of the names of the tables.
    pub prefix: String,
    /// The number of connections that are written to at the same time.
    pub writers: usize,
    /// The maximum number of records of one statement.
    pub batch_lines: usize,
    /// The maximum number of bytes of one statement, as JSON.
    pub batch_bytes: usize,
    /// The longest time that a statement may take.
    pub timeout: Duration,
}

impl Postgres {
    /// Returns the full name of a table. No part of it needs quotes.
    pub fn table(&self, name: &str) -> String {
        format!("{}.{}{name}", self.schema, self.prefix)
    }
}

/// Checks a PostgreSQL sink.
pub fn check(sink: &Spanned<RawSink>) -> Result<Postgres, ConfigError> {
    let raw = sink.get_ref();
    let timeout = timeout(&raw.timeout)?;
    let mut server = server(sink)?;
    let encrypted = server.get_ssl_mode() == SslMode::Require;
    let tls = tls::check(raw, encrypted, "a URI with sslmode=require, not for this")?;
    server
        .connect_timeout(timeout * 3 / 4)
        .tcp_user_timeout(timeout)
        .keepalives_idle(Duration::from_secs(60))
        .application_name("agg");
    let bytes = raw.batch_bytes.as_ref();
    Ok(Postgres {
        server,
        tls: encrypted.then_some(tls),
        schema: name(&raw.schema, "public", MAX_NAME)?,
        prefix: name(&raw.prefix, "", MAX_PREFIX)?,
        writers: within(&raw.writers, 2, MAX_WRITERS)? as usize,
        batch_lines: within(&raw.batch_lines, 5000, 100_000)? as usize,
        batch_bytes: bytes.map_or(2 << 20, |size| size.get_ref().0 as usize),
        timeout,
    })
}

/// Parses the URI, and adds user and password. No message shows the URI, since it may contain a password.
fn server(sink: &Spanned<RawSink>) -> Result<tokio_postgres::Config, ConfigError> {
    let raw = sink.get_ref();
    let uri = required(&raw.uri, "uri", sink)?;
    let text = uri.get_ref();
    let error = |text: &str| Err(ConfigError::at(uri, text));
    let rest = text
        .strip_prefix("postgresql://")
        .or(text.strip_prefix("postgres://"));
    let Some(rest) = rest else {
        return error(EXPECTED);
    };
    let (address, options) = rest.split_once('?').unwrap_or((rest, ""));
    let names = options.split('&').filter_map(|pair| pair.split('=').next());
    let secret_names = ["user", "password", "passfile"];
    if address.contains('@') || names.clone().any(|name| secret_names.contains(&name)) {
        return error(
            "expected postgresql://HOST:PORT/DATABASE; user and password have their own keys",
        );
    }
    // The certificate and the name of the server are always checked.
    let is_verified = |pair: &&str| matches!(*pair, "sslmode=verify-ca" | "sslmode=verify-full");
    let options: Vec<&str> = options
        .split('&')
        .map(|pair| match is_verified(&pair) {
            true => "sslmode=require",
            false => pair,
        })
        .collect();
    let whole = format!("postgresql://{address}?{}", options.join("&"));
    let Ok(mut server) = whole
        .trim_end_matches('?')
        .parse::<tokio_postgres::Config>()
    else {
        return error(EXPECTED);
    };
    if server.get_hosts().is_empty() {
        return error(EXPECTED);
    }
    if server.get_dbname().is_none_or(str::is_empty) {
        return error("the URI names no database: expected postgresql://HOST:PORT/DATABASE");
    }
    // "prefer" would encrypt without a check, or not at all.
    if server.get_ssl_mode() == SslMode::Prefer {
        if names.clone().any(|name| name == "sslmode") {
            return error("expected sslmode=disable, require, verify-ca or verify-full");
        }
        server.ssl_mode(SslMode::Disable);
    }
    server.user(required(&raw.user, "user", sink)?.get_ref());
    if let Some(password) = secret("password", &raw.password_file, &raw.password_env)? {
        server.password(password);
    }
    Ok(server)
}

/// Checks a name, or a part of one, that need not be quoted.
fn name(text: &Option<Spanned<String>>, default: &str, max: usize) -> Result<String, ConfigError> {
    let Some(text) = text else {
        return Ok(default.to_owned());
    };
    let words = text.get_ref();
    let is_good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if words.is_empty()
        || words.starts_with(|c: char| c.is_ascii_digit())
        || !words.chars().all(is_good)
    {
        let expected = "expected lower-case letters, digits and underscores";
        return Err(ConfigError::at(text, expected));
    }
    match words.len() <= max {
        true => Ok(words.clone()),
        false => Err(ConfigError::at(
            text,
            format!("expected at most {max} bytes"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(keys: &str) -> Result<Postgres, String> {
        let raw: Spanned<RawSink> =
            toml::from_str(&format!("type = \"postgresql\"\n{keys}")).unwrap();
        check(&raw).map_err(|error| error.text)
    }

    #[test]
    fn uri_is_checked() {
        let of = |uri: &str| checked(&format!("uri = \"{uri}\"\nuser = \"agg\""));
        let server = of("postgresql://db:5433/grid?target_session_attrs=read-write")
            .map_err(|text| panic!("{text}"))
            .unwrap()
            .server;
        assert_eq!(
            (server.get_ports(), server.get_dbname()),
            (&[5433][..], Some("grid"))
        );
        assert_eq!(
            (server.get_user(), server.get_ssl_mode()),
            (Some("agg"), SslMode::Disable)
        );
        for mode in ["require", "verify-ca", "verify-full"] {
            let settings = of(&format!("postgres://db/grid?sslmode={mode}"));
            assert!(
                settings.is_ok_and(|settings| settings.tls.is_some()),
                "{mode}"
            );
        }
        for (uri, expected) in [
            ("http://db/grid", EXPECTED),
            ("postgresql://db:port/grid", EXPECTED),
            ("postgresql:///grid", EXPECTED),
            (
                "postgresql://u:s3cret@db/grid",
                "expected postgresql://HOST:PORT/DATABASE; user",
            ),
            (
                "postgresql://db/grid?password=s3cret",
                "expected postgresql://HOST:PORT/DATABASE; user",
            ),
            ("postgresql://db", "the URI names no database"),
            (
                "postgresql://db/grid?sslmode=prefer",
                "expected sslmode=disable, require",
            ),
        ] {
            let error = of(uri).err().unwrap_or_default();
            assert!(error.starts_with(expected), "{uri}: {error}");
            assert!(!error.contains("s3cret"));
        }
        let error = checked("uri = \"postgresql://db/grid\"").err().unwrap();
        assert!(error.contains("\"user\""), "{error}");
    }

    #[test]
    fn names_need_no_quotes() {
        let of = |keys: &str| {
            checked(&format!(
                "uri = \"postgresql://db/grid\"\nuser = \"agg\"\n{keys}"
            ))
            .map(|settings| (settings.schema, settings.prefix))
        };
        assert_eq!(of("").unwrap(), ("public".into(), String::new()));
        assert_eq!(
            of("schema = \"grid\"\nprefix = \"agg_\"").unwrap(),
            ("grid".into(), "agg_".into())
        );
        for keys in [
            "schema = \"a b\"",
            "prefix = \"A\"",
            "prefix = \"1\"",
            "schema = \"\"",
        ] {
            assert!(of(keys).is_err(), "{keys}");
        }
    }
}
