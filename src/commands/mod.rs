//! The commands: for each a spec, which the server registers and shows in COMMAND DOCS, beside its handler.

mod drain;
mod internal;
mod read;
mod report;
mod run;

use crate::ffi::CommandSpec;
use std::ffi::CStr;

/// The ACL categories of the module's commands, on servers that let a module add some.
pub const CATEGORIES: [&CStr; 3] = [c"agg-report", c"agg-drain", c"agg-read"];

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
