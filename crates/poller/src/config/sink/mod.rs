//! The checks of a sink, by type.

mod aggregator;
mod file;
mod http;
mod influx;
mod kafka;
mod mongo;
mod opensearch;
mod otlp;
mod postgres;
mod prometheus;
mod raw;
mod redis_stream;
mod timestamp;
mod tls;

use toml::Spanned;

use crate::rotation::Mode;
use aggregator_protocol::RecordFormat;

use super::error::ConfigError;
use super::model::{Kind, Sink};
use super::value::{output, required};

pub use aggregator::Aggregator;
pub use kafka::{Kafka, KafkaCompression, KafkaSasl};
pub use opensearch::{IndexBy, OpenSearch};
pub use otlp::Otlp;
pub use postgres::Postgres;
pub use prometheus::Prometheus;
pub use raw::RawSink;
pub use redis_stream::RedisStream;
pub use timestamp::Timestamp;

/// Checks a sink and converts it.
///
/// # Errors
///
/// Returns the first error.
pub fn check(name: &str, sink: &Spanned<RawSink>) -> Result<Sink, ConfigError> {
    let raw = sink.get_ref();
    let r#type = required(&raw.r#type, "type", sink)?;
    let kind = r#type.get_ref().as_str();
    let Some(keys) = keys(kind) else {
        let text = format!(
            "expected the type stdout, file, influxdb, prometheus, http, mongodb, opensearch, otlp, postgresql, redis-stream, aggregator or kafka, not {kind:?}"
        );
        return Err(ConfigError::at(r#type, text));
    };
    if let Some((key, at)) = raw.given().into_iter().find(|(key, _)| !keys.contains(key)) {
        let text = format!(
            "a sink of type {kind} has no {key:?}: it takes {}",
            keys.join(", ")
        );
        return Err(ConfigError::at_byte(at, text));
    }
    let format = match &raw.format {
        None if kind == "influxdb" => RecordFormat::Line,
        None => RecordFormat::Json,
        Some(format) => match (format.get_ref().as_str(), kind) {
            ("json", _) | ("lines", "http") => RecordFormat::Json,
            ("line", "file" | "stdout") => RecordFormat::Line,
            (other, kind) => {
                let forms = if kind == "http" { "lines" } else { "line" };
                let text = format!("expected the format json or {forms}, not {other:?}");
                return Err(ConfigError::at(format, text));
            }
        },
    };
    let kind = match kind {
        "stdout" => Kind::Stdout,
        // The path comes last: an error in it hides the errors after it.
        "file" => Kind::File {
            rotation: file::rotation(raw)?,
            mode: raw
                .mode
                .as_ref()
                .map_or(Mode::Private, |mode| mode.get_ref().0),
            path: output(required(&raw.path, "path", sink)?)?,
        },
        "mongodb" => Kind::Mongo(Box::new(mongo::check(sink)?)),
        "opensearch" => Kind::OpenSearch(Box::new(opensearch::check(name, sink)?)),
        "otlp" => Kind::Otlp(Box::new(otlp::check(name, sink)?)),
        "postgresql" => Kind::Postgres(Box::new(postgres::check(sink)?)),
        "prometheus" => Kind::Prometheus(Box::new(prometheus::check(name, sink)?)),
        "kafka" => Kind::Kafka(Box::new(kafka::check(sink)?)),
        "aggregator" => Kind::Aggregator(Box::new(aggregator::check(sink)?)),
        "redis-stream" => Kind::RedisStream(Box::new(redis_stream::check(sink)?)),
        "http" => {
            let (post, body) = http::check(name, sink)?;
            Kind::Http(post, body)
        }
        _ => {
            let (post, timestamp) = influx::check(name, sink)?;
            Kind::Influx(post, timestamp)
        }
    };
    Ok(Sink {
        name: name.to_owned(),
        format,
        kind,
    })
}

/// The types of sinks.
pub const TYPES: [&str; 12] = [
    "stdout",
    "file",
    "influxdb",
    "prometheus",
    "http",
    "mongodb",
    "opensearch",
    "otlp",
    "postgresql",
    "redis-stream",
    "aggregator",
    "kafka",
];

/// Returns the keys of a type besides `type`, or `None` if there is no such type.
pub fn keys(kind: &str) -> Option<Vec<&'static str>> {
    const FILE: [&str; 7] = [
        "format",
        "path",
        "rotate",
        "rotate-every",
        "compress",
        "keep",
        "mode",
    ];
    let mut keys = match kind {
        "stdout" => vec!["format"],
        "file" => FILE.to_vec(),
        "mongodb" => mongo::KEYS.to_vec(),
        "opensearch" => [&opensearch::KEYS[..], &http::KEYS].concat(),
        "otlp" => otlp::KEYS.to_vec(),
        "postgresql" => postgres::KEYS.to_vec(),
        "prometheus" => prometheus::KEYS.to_vec(),
        "kafka" => kafka::KEYS.to_vec(),
        "aggregator" => aggregator::KEYS.to_vec(),
        "redis-stream" => redis_stream::KEYS.to_vec(),
        "http" => [&["format", "headers", "expect"], &http::KEYS[..]].concat(),
        "influxdb" => [
            &["version", "timestamp"],
            &influx::VERSION_1[..],
            &influx::VERSION_2,
            &influx::VERSION_3,
            &http::KEYS,
        ]
        .concat(),
        _ => return None,
    };
    let mut seen = Vec::new();
    keys.retain(|key| {
        !seen.contains(key) && {
            seen.push(*key);
            true
        }
    });
    Some(keys)
}
