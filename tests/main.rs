//! Tests of the module on a real server: what its commands answer, what it keeps and what it replicates.
//!
//! Each module below is a suite: `cargo test --test main reading::` runs one. Suites that measure time, fill memory or
//! restart many servers are binaries of their own (`latency`, `memory`, `failover`), as is `docs`, which also runs the
//! programs of the documents.

mod acl;
mod blocking;
mod command_docs;
mod corrupt;
mod draining;
mod instructions;
mod keyspace;
mod layering;
mod persistence;
mod reading;
mod regressions;
mod replica;
mod reporting;
mod sequence;
mod settings;
mod stable;
mod types;
mod windows;
