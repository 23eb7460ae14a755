//! The settings and checks of a sink of Redis streams.

use agg_client::Server;
use toml::Spanned;

use super::super::error::ConfigError;
use super::super::server::RawServer;
use super::super::value::{required, within};
use super::raw::RawSink;

/// The keys of a sink of Redis streams.
pub const KEYS: [&str; 12] = [
    "uri",
    "user",
    "password-file",
    "password-env",
    "tls-ca",
    "tls-cert",
    "tls-key",
    "prefix",
    "max-length",
    "deduplicate",
    "batch-lines",
    "batch-bytes",
];

/// The number of records of each queue that the server remembers by default.
const DEDUPLICATE: u64 = 100_000;
/// The maximum number: a script cannot count further.
const MAX_COUNT: u64 = 1 << 53;
/// The maximum number of bytes of a prefix.
const MAX_PREFIX: usize = 200;

/// The settings of a sink of Redis streams.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisStream {
    /// The server, including user and password. Secret.
    pub server: Server,
    /// The beginning of the names of the streams.
    pub prefix: String,
    /// The number of entries to which a stream is trimmed, approximately.
    pub max_length: Option<u64>,
    /// The number of records of each queue that the server remembers, to add none twice. 0: none.
    pub deduplicate: u64,
    /// The maximum number of records of one write.
    pub batch_lines: usize,
    /// The maximum number of bytes of one write.
    pub batch_bytes: usize,
}

/// Checks a sink of Redis streams.
pub fn check(sink: &Spanned<RawSink>) -> Result<RedisStream, ConfigError> {
    let raw = sink.get_ref();
    let prefix = match &raw.prefix {
        Some(prefix) if prefix.get_ref().len() > MAX_PREFIX => {
            let text = format!("expected at most {MAX_PREFIX} bytes");
            return Err(ConfigError::at(prefix, text));
        }
        Some(prefix) => prefix.get_ref().clone(),
        None => "agg:".into(),
    };
    let deduplicate = match &raw.deduplicate {
        Some(count) if *count.get_ref() > MAX_COUNT => {
            return Err(ConfigError::at(count, "the number is too large"));
        }
        count => count.as_ref().map_or(DEDUPLICATE, |count| *count.get_ref()),
    };
    let max_length = match &raw.max_length {
        None => None,
        length => Some(within(length, 1, MAX_COUNT)?),
    };
    let bytes = raw.batch_bytes.as_ref();
    Ok(RedisStream {
        server: server(sink)?,
        prefix,
        max_length,
        deduplicate,
        batch_lines: within(&raw.batch_lines, 1000, 10_000)? as usize,
        batch_bytes: bytes.map_or(1 << 20, |size| size.get_ref().0 as usize),
    })
}

fn server(sink: &Spanned<RawSink>) -> Result<Server, ConfigError> {
    let raw = sink.get_ref();
    let server = RawServer {
        url: required(&raw.uri, "uri", sink)?,
        user: &raw.user,
        password_file: &raw.password_file,
        password_env: &raw.password_env,
        tls: [&raw.tls_ca, &raw.tls_cert, &raw.tls_key],
        password_help: "set password-file or password-env of the sink",
    };
    server.check()
}
