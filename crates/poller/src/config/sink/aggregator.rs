//! The settings and checks of a sink that relays records to another server with the module.

use agg_client::Server;
use toml::Spanned;

use super::super::error::ConfigError;
use super::super::server::RawServer;
use super::super::value::{required, within};
use super::raw::RawSink;

/// The keys of a sink of another server with the module.
pub const KEYS: [&str; 10] = [
    "uri",
    "user",
    "password-file",
    "password-env",
    "tls-ca",
    "tls-cert",
    "tls-key",
    "wait-replicas",
    "batch-lines",
    "batch-bytes",
];

/// The largest number of replicas that can be waited for.
const MAX_REPLICAS: u64 = 100;

/// The settings of a sink of another server with the module.
#[derive(Clone, PartialEq, Eq)]
pub struct Aggregator {
    /// The server, including user and password. Secret.
    pub server: Server,
    /// The number of replicas that have to have a record before it counts as stored.
    pub wait_replicas: u64,
    /// The maximum number of records of one write.
    pub batch_lines: usize,
    /// The maximum number of bytes of one write.
    pub batch_bytes: usize,
}

/// Checks a sink of another server with the module.
pub fn check(sink: &Spanned<RawSink>) -> Result<Aggregator, ConfigError> {
    let raw = sink.get_ref();
    let wait_replicas = match &raw.wait_replicas {
        Some(count) if *count.get_ref() == 0 => 0,
        count => within(count, 0, MAX_REPLICAS)?,
    };
    let server = RawServer {
        url: required(&raw.uri, "uri", sink)?,
        user: &raw.user,
        password_file: &raw.password_file,
        password_env: &raw.password_env,
        tls: [&raw.tls_ca, &raw.tls_cert, &raw.tls_key],
        password_help: "set password-file or password-env of the sink",
    };
    let bytes = raw.batch_bytes.as_ref();
    Ok(Aggregator {
        server: server.check()?,
        wait_replicas,
        batch_lines: within(&raw.batch_lines, 1000, 10_000)? as usize,
        batch_bytes: bytes.map_or(1 << 20, |size| size.get_ref().0 as usize),
    })
}
