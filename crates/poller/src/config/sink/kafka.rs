//! The settings and checks of a Kafka sink.

use std::time::Duration;

use toml::Spanned;

use super::super::error::ConfigError;
use super::super::tls::TlsSettings;
use super::super::value::{required, secret, start, timeout, within};
use super::http;
use super::raw::RawSink;
use super::tls;

/// The keys of a Kafka sink.
pub const KEYS: [&str; 16] = [
    "uri",
    "user",
    "password-file",
    "password-env",
    "sasl",
    "tls-ca",
    "tls-cert",
    "tls-key",
    "prefix",
    "compress",
    "create-topics",
    "partitions",
    "replication",
    "batch-lines",
    "batch-bytes",
    "timeout",
];

/// The scheme of a URI, and whether it encrypts.
const SCHEMES: [(&str, bool); 2] = [("kafka://", false), ("kafkas://", true)];
const EXPECTED: &str = "expected kafka://HOST:PORT,HOST:PORT, or kafkas:// for TLS";
/// The maximum number of characters of the name of a topic.
const MAX_TOPIC: usize = 249;
/// The characters of the longest name of a queue.
const MAX_QUEUE: usize = 7;

/// The settings of a Kafka sink.
#[derive(Clone, PartialEq, Eq)]
pub struct Kafka {
    /// The brokers that are asked for the others, as `HOST:PORT`.
    pub brokers: Vec<String>,
    /// The TLS settings. `None`: connections are not encrypted.
    pub tls: Option<TlsSettings>,
    /// The mechanism, the user and the password. Secret.
    pub sasl: Option<(KafkaSasl, String, String)>,
    /// The beginning of the names of the topics.
    pub prefix: String,
    /// The compression of messages.
    pub compression: KafkaCompression,
    /// The partitions and replicas of topics that are created. `None`: none are created.
    pub create_topics: Option<(i32, i16)>,
    /// The maximum number of records of one write.
    pub batch_lines: usize,
    /// The maximum number of bytes of one write.
    pub batch_bytes: usize,
    /// The longest time that a response may take.
    pub timeout: Duration,
}

/// A mechanism of SASL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KafkaSasl {
    /// PLAIN: the broker learns the password.
    Plain,
    /// SCRAM-SHA-256.
    ScramSha256,
    /// SCRAM-SHA-512.
    ScramSha512,
}

/// The compression of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KafkaCompression {
    /// None.
    None,
    /// Gzip.
    Gzip,
    /// Zstandard, which brokers support since version 2.1.
    Zstd,
}

/// Checks a Kafka sink.
pub fn check(sink: &Spanned<RawSink>) -> Result<Kafka, ConfigError> {
    let raw = sink.get_ref();
    let uri = required(&raw.uri, "uri", sink)?;
    let (brokers, encrypted) = brokers(uri.get_ref()).map_err(|text| ConfigError::at(uri, text))?;
    let tls = tls::check(raw, encrypted, "a kafkas://")?;
    let timeout = timeout(&raw.timeout)?;
    let bytes = raw.batch_bytes.as_ref();
    Ok(Kafka {
        brokers,
        tls: encrypted.then_some(tls),
        sasl: sasl(sink)?,
        prefix: prefix(&raw.prefix)?,
        compression: compression(&raw.compress)?,
        create_topics: create_topics(raw)?,
        batch_lines: within(&raw.batch_lines, 5000, 100_000)? as usize,
        batch_bytes: bytes.map_or(1 << 20, |size| size.get_ref().0 as usize),
        timeout,
    })
}

/// Returns the brokers of a URI, and whether connections are encrypted.
fn brokers(uri: &str) -> Result<(Vec<String>, bool), &'static str> {
    let scheme = SCHEMES
        .iter()
        .find_map(|(scheme, encrypted)| Some((uri.strip_prefix(scheme)?, *encrypted)));
    let (rest, encrypted) = scheme.ok_or(EXPECTED)?;
    if rest.contains('@') {
        return Err("expected kafka://HOST:PORT; user and password have their own keys");
    }
    let is_good = |broker: &str| {
        broker.rsplit_once(':').is_some_and(|(host, port)| {
            let of_name = |c: char| c.is_ascii_alphanumeric() || "-._[]:".contains(c);
            !host.is_empty() && host.chars().all(of_name) && port.parse::<u16>().is_ok()
        })
    };
    let brokers: Vec<&str> = rest
        .trim_end_matches('/')
        .split(',')
        .map(str::trim)
        .collect();
    match brokers.iter().all(|broker| is_good(broker)) {
        true => Ok((brokers.into_iter().map(str::to_owned).collect(), encrypted)),
        false => Err(EXPECTED),
    }
}

fn sasl(sink: &Spanned<RawSink>) -> Result<Option<(KafkaSasl, String, String)>, ConfigError> {
    let raw = sink.get_ref();
    let mechanism = match &raw.sasl {
        None => KafkaSasl::ScramSha512,
        Some(text) => match text.get_ref().as_str() {
            "plain" => KafkaSasl::Plain,
            "scram-sha-256" => KafkaSasl::ScramSha256,
            "scram-sha-512" => KafkaSasl::ScramSha512,
            other => {
                let expected = "expected plain, scram-sha-256 or scram-sha-512";
                return Err(ConfigError::at(text, format!("{expected}, not {other:?}")));
            }
        },
    };
    let password = secret("password", &raw.password_file, &raw.password_env)?;
    match (&raw.user, password, &raw.sasl) {
        (Some(user), Some(password), _) => Ok(Some((mechanism, user.get_ref().clone(), password))),
        (Some(user), None, _) => Err(ConfigError::at(
            user,
            "a user needs password-file or password-env",
        )),
        (None, Some(_), _) => Err(http::without_user(sink)),
        (None, None, Some(sasl)) => Err(ConfigError::at(sasl, "sasl needs a user")),
        (None, None, None) => Ok(None),
    }
}

fn prefix(prefix: &Option<Spanned<String>>) -> Result<String, ConfigError> {
    let Some(prefix) = prefix else {
        return Ok("agg.".into());
    };
    let text = prefix.get_ref();
    let is_good = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if !text.chars().all(is_good) {
        let expected = "expected letters, digits, '.', '_' and '-', as Kafka allows in a topic";
        return Err(ConfigError::at(prefix, expected));
    }
    if text.len() > MAX_TOPIC - MAX_QUEUE {
        let expected = format!("expected at most {} characters", MAX_TOPIC - MAX_QUEUE);
        return Err(ConfigError::at(prefix, expected));
    }
    Ok(text.clone())
}

fn compression(text: &Option<Spanned<String>>) -> Result<KafkaCompression, ConfigError> {
    let Some(text) = text else {
        return Ok(KafkaCompression::Zstd);
    };
    match text.get_ref().as_str() {
        "zstd" => Ok(KafkaCompression::Zstd),
        "gzip" => Ok(KafkaCompression::Gzip),
        "none" => Ok(KafkaCompression::None),
        other => {
            let expected = format!("expected zstd, gzip or none, not {other:?}");
            Err(ConfigError::at(text, expected))
        }
    }
}

fn create_topics(raw: &RawSink) -> Result<Option<(i32, i16)>, ConfigError> {
    if raw.create_topics.as_ref().is_some_and(|on| *on.get_ref()) {
        let partitions = within(&raw.partitions, 6, 1000)?;
        let replication = within(&raw.replication, 1, 100)?;
        return Ok(Some((partitions as i32, replication as i16)));
    }
    match start(&raw.partitions).or(start(&raw.replication)) {
        Some(at) => {
            let text = "this key is for topics that are created: set create-topics = true";
            Err(ConfigError::at_byte(at, text))
        }
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brokers_are_read_from_the_uri() {
        for (uri, expected, encrypted) in [
            ("kafka://h1:9092", vec!["h1:9092"], false),
            (
                "kafkas://h1:9093,h-2.x:9093/",
                vec!["h1:9093", "h-2.x:9093"],
                true,
            ),
            ("kafka://[::1]:9092", vec!["[::1]:9092"], false),
        ] {
            let expected = expected.into_iter().map(str::to_owned).collect();
            assert_eq!(brokers(uri), Ok((expected, encrypted)), "{uri}");
        }
        for uri in [
            "h1:9092",
            "kafka://",
            "kafka://h1",
            "kafka://h1:9092,",
            "http://h:1",
        ] {
            assert_eq!(brokers(uri), Err(EXPECTED), "{uri}");
        }
        let error = brokers("kafka://u:s3cret@h:9092").unwrap_err();
        assert!(error.contains("have their own keys"), "{error}");
    }
}
