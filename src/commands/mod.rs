//! The commands: what runs each. Their table is the core's ([`CommandSpec`]).

mod apply;
mod help;
mod run;

use crate::ffi::Handler;
use aggregator_core::Command;
use aggregator_core::command::{COMMANDS, CommandSpec};
use run::{fetch, read, report, write};

/// Returns all commands with their handlers.
pub fn commands() -> [(&'static CommandSpec, Handler); 21] {
    macro_rules! row {
        ($command:ident, $run:ident) => {
            (
                Command::$command.spec(),
                Handler::new(|call| $run(Command::$command, call)),
            )
        };
    }
    let [.., help, apply] = &COMMANDS;
    [
        row!(Stat, report),
        row!(Mstat, report),
        row!(Hist, report),
        row!(Log, report),
        row!(Error, report),
        row!(Reality, report),
        row!(Import, write),
        row!(Forget, write),
        row!(Requeue, write),
        row!(Pop, write),
        (Command::Fetch.spec(), Handler::new(fetch)),
        row!(Ack, write),
        row!(Nack, write),
        row!(Extend, write),
        row!(Peek, read),
        row!(Get, read),
        row!(Range, read),
        row!(Scan, read),
        row!(Info, read),
        (help, Handler::keyless(help::help)),
        (apply, Handler::new(apply::apply)),
    ]
}
