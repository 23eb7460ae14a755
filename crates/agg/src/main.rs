//! `agg`, the aggregator's command-line program: reports a machine, drains queues, sends lines, polls servers, shows them
//! and writes reports about them. It knows the module's commands and nothing about the module's implementation.
//!
//! Exit codes: 0 success, 1 failed at run time, 2 invalid usage (also an invalid configuration file), 130 interrupted.
//! Commands that run until they are interrupted, such as `host`, exit with 0 then.
//!
//! cli.rs defines the arguments and runs the subcommands, which have one module each and do not import each other.

#![forbid(unsafe_code)]

mod cli;
mod connection_check;
mod drain;
mod exit_status;
mod format;
mod host;
mod listen;
mod log;
mod manual;
mod node_argument;
mod pipe;
mod poll;
mod progress;
mod report;
mod runtime;
mod sample_arguments;
mod scan;
mod serve;
mod stat;
mod stats;
mod tls_options;
mod top;

use std::process::ExitCode;

fn main() -> ExitCode {
    // A helper process of `agg host`. It is no command, and logs nothing.
    if std::env::args_os().skip(1).eq([host::probe::ARGUMENT]) {
        return match host::probe::serve() {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        };
    }
    match cli::run() {
        Ok(status) => ExitCode::from(status.code()),
        Err(error) => {
            error.report();
            ExitCode::from(error.code())
        }
    }
}
