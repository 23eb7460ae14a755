//! The sinks: where records are written.
//!
//! # Invariants
//!
//! After [`Sink::write`] has succeeded, all records but the rejected ones are stored durably. A record may be written more than
//! once (at least once), so a sink makes that harmless or leaves it to the reader.

mod aggregator;
mod bisect;
mod encoded;
mod file;
mod http;
mod http_client;
mod identity;
mod influx;
mod interface;
mod kafka;
mod mongo;
mod opensearch;
mod otlp;
mod post;
mod postgres;
mod prometheus;
mod quota;
mod redis_stream;
mod resolver;
mod stdout;
mod tunnel;

use aggregator_protocol::RecordFormat;

use super::config::Kind;

pub use file::check_writable;
pub use interface::{BatchLimits, Origin, Rejection, Sink, SinkError, lines, printable_lines};

/// Opens the sink that the configuration describes.
pub fn open(kind: Kind, format: RecordFormat) -> Box<dyn Sink> {
    match kind {
        Kind::Stdout => Box::new(stdout::Stdout::new(format)),
        Kind::File {
            path,
            rotation,
            mode,
        } => Box::new(file::File::new((path, mode), rotation, format)),
        Kind::Influx(settings, timestamp) => {
            Box::new(post::Post::new(settings, influx::Influx(timestamp)))
        }
        Kind::Http(settings, body) => Box::new(post::Post::new(settings, body)),
        Kind::Prometheus(settings) => Box::new(prometheus::Prometheus::new(*settings)),
        Kind::Mongo(settings) => Box::new(mongo::Mongo::new(*settings)),
        Kind::OpenSearch(settings) => Box::new(opensearch::OpenSearch::new(*settings)),
        Kind::Otlp(settings) => Box::new(otlp::Otlp::new(*settings)),
        Kind::Kafka(settings) => Box::new(kafka::Kafka::new(*settings)),
        Kind::Postgres(settings) => Box::new(postgres::Postgres::new(*settings)),
        Kind::Aggregator(settings) => Box::new(aggregator::Aggregator::new(*settings)),
        Kind::RedisStream(settings) => Box::new(redis_stream::RedisStream::new(*settings)),
    }
}
