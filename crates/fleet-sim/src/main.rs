//! `fleet-sim`: thousands of simulated servers, or a sink, to measure the pollers of a large fleet on one machine.
//! `scripts/fleet-sim.py` runs it together with real `agg poll` processes and reports what it measures.
//!
//! - `fleet-sim servers` accepts connections at one port of many loopback addresses. Each address is a server with one
//!   node, which is a real node of `aggregator-core`.
//! - `fleet-sim sink` accepts the records of `http` sinks after a delay, and counts them.
//!
//! Both read orders from standard input ([`orders`]), write a line of JSON twice a second, and end when standard input
//! is closed, so that none outlives the script.
//!
//! # Invariants
//!
//! One thread per process, as in a server. Listens at loopback addresses only.

mod clock;
mod connection;
mod load;
mod options;
mod orders;
mod random;
mod resp;
mod server;
mod servers;
mod sink;
mod world;

use std::process::ExitCode;

use options::Options;

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let subcommand = words.next().unwrap_or_default();
    let options = match Options::parse(words) {
        Ok(options) => options,
        Err(error) => return failed(&error),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error.to_string()),
    };
    let local = tokio::task::LocalSet::new();
    let result = match subcommand.as_str() {
        "servers" => local.block_on(&runtime, servers::run(options)),
        "sink" => local.block_on(&runtime, sink::run(options)),
        _ => return failed("expected servers or sink"),
    };
    // Tasks that read standard input would keep the process.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error.to_string()),
    }
}

fn failed(reason: &str) -> ExitCode {
    eprintln!("fleet-sim: {reason}");
    ExitCode::FAILURE
}
