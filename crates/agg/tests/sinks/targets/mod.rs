//! The targets of the suite, one file for each sink, and what several of them share: `endpoint` and `route`.

pub mod aggregator;
mod endpoint;
pub mod file;
pub mod http;
pub mod influxdb;
pub mod kafka;
pub mod mongodb;
pub mod opensearch;
pub mod otlp;
pub mod postgresql;
pub mod prometheus;
pub mod redis_stream;
mod route;
pub mod victoria_metrics;
