//! Fuzz targets of `aggregator-core`, `aggregator-protocol` and `agg-listener`, as functions from bytes.
//!
//! Each target is a module with `run(data)`, which panics if a promise is broken. `fuzz_targets/` passes them to
//! libFuzzer, `tests/corpus.rs` runs them on the committed corpus without it, and `examples/seeds.rs` writes that
//! corpus. The expectations are a second, naive implementation of the contract: no rule of the core is
//! used to check the core.

pub mod arguments;
pub mod codec;
pub mod commands;
pub mod json;
pub mod large;
pub mod line;
pub mod listen_otlp;
pub mod listen_statsd;
pub mod listen_syslog;
pub mod listen_text;
pub mod memory;
pub mod received;
pub mod server;

/// A target.
pub type Target = fn(&[u8]);

/// All targets by name.
pub const TARGETS: [(&str, Target); 10] = [
    ("codec", codec::run),
    ("arguments", arguments::run),
    ("json", json::run),
    ("line", line::run),
    ("commands", commands::run),
    ("large", large::run),
    ("listen_statsd", listen_statsd::run),
    ("listen_text", listen_text::run),
    ("listen_otlp", listen_otlp::run),
    ("listen_syslog", listen_syslog::run),
];
