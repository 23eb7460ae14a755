//! Tests of the program `agg` against real servers and databases, and stubs of both.
//!
//! Each module below is a suite: `cargo test -p agg --test main poll::` runs one.

mod chaos;
mod check;
mod dashboards;
mod deploy;
mod discovery;
mod drain;
mod examples;
mod fleet;
mod host;
mod hostile;
mod listen;
mod load;
mod manual;
mod messages;
mod monitoring;
mod packaged;
mod pipe;
mod poll;
mod poll_files;
mod poll_http;
mod poll_influx_quota;
mod poll_kafka;
mod poll_mongo;
mod poll_opensearch;
mod poll_otlp;
mod poll_otlp_collector;
mod poll_otlp_round_trip;
mod poll_otlp_tls;
mod poll_postgres;
mod poll_prometheus;
mod poll_redis_stream;
mod poll_sinks;
mod relay;
mod report;
mod rotation;
mod seen;
mod serve;
mod sinks;
mod stat;
mod supervised;
mod support;
mod top;
