//! The commands: a row for each, and the handlers behind them.
//!
//! A handler opens the key, lets the core run, and hands over what it decided. Rows hold what the server is told of a
//! command: flags, key spec, ACL categories and the arguments that COMMAND DOCS shows.

mod drain;
mod internal;
mod read;
mod report;
mod run;

pub use run::{Call, fetch_for};

use crate::ffi::command_info::CommandSpec;

/// All commands.
pub static COMMANDS: [&CommandSpec; 18] = [
    &report::STAT,
    &report::MSTAT,
    &report::LOG,
    &report::ERROR,
    &report::REALITY,
    &report::FORGET,
    &drain::REQUEUE,
    &drain::POP,
    &drain::FETCH,
    &drain::ACK,
    &drain::NACK,
    &drain::EXTEND,
    &drain::PEEK,
    &read::GET,
    &read::RANGE,
    &read::SCAN,
    &read::INFO,
    &internal::APPLY,
];
