//! The targets of the suite, one file for each sink.

pub mod aggregator;
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
pub mod victoria_metrics;
