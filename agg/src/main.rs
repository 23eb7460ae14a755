//! `agg`, the aggregator's command-line program: reports a machine, drains queues, feeds lines. It knows the
//! module's commands and nothing of its inside.
//!
//! This file holds the arguments alone and how the program ends: 0 done, 1 failed at run time, 2 used wrongly,
//! 130 interrupted before the end (what has no end of its own, as `host`, ends with 0 then).

#![forbid(unsafe_code)]

mod args;
mod connect;
mod drain;
mod host;
mod pipe;
mod reply;
mod retry;
mod say;
mod shutdown;

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};

use connect::Server;
use say::say;
use shutdown::Stop;

/// Works with servers that have the aggregator module.
#[derive(Parser)]
#[command(name = "agg", version, about, after_help = EXAMPLES)]
struct Cli {
    /// The server: redis://[user][:password]@host[:port][/db], or unix:///path. A password is better given in
    /// AGG_PASSWORD, where no list of processes shows it
    #[arg(
        long,
        global = true,
        env = "AGG_REDIS",
        hide_env_values = true,
        default_value = "redis://127.0.0.1:7777",
        value_name = "URL"
    )]
    redis: String,

    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Report this machine: its figures as statistics, its disks, interfaces and CPUs as reality
    Host(host::Options),
    /// Print what waits in the queues and take it out of them
    Drain(drain::Options),
    /// Turn the lines of standard input into logs or errors
    #[command(subcommand)]
    Pipe(pipe::Command),
}

const EXAMPLES: &str = "\
Examples:
  agg host                          report this machine every second
  agg drain --follow                print everything that comes out of the queues
  tail -F app.log | agg pipe log    send a program's log

Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted before the end.";

/// How a command ended that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// All was done.
    Done,
    /// Done, but the server refused some of it, which has been said.
    Incomplete,
    /// A signal came before the end.
    Interrupted,
}

impl Ended {
    fn code(self) -> u8 {
        match self {
            Ended::Done => 0,
            Ended::Incomplete => 1,
            Ended::Interrupted => 130,
        }
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let password = std::env::var("AGG_PASSWORD").ok().filter(|p| !p.is_empty());
    let server = match Server::parse(&cli.redis, password) {
        Ok(server) => server,
        Err(why) => usage(&why),
    };
    if let Command::Drain(options) = &cli.command {
        options.check().unwrap_or_else(|why| usage(&why));
    }
    match run(cli.command, &server) {
        Ok(ended) => ExitCode::from(ended.code()),
        Err(why) => {
            say(&why);
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command, server: &Server) -> Result<Ended, String> {
    let interrupted = match &command {
        Command::Host(options) if options.endless() => Ended::Done,
        Command::Drain(options) if options.endless() => Ended::Done,
        _ => Ended::Interrupted,
    };
    let stop = Stop::on_signals(interrupted.code())
        .map_err(|error| format!("cannot listen for signals: {error}"))?;
    let ended = match command {
        Command::Host(options) => host::run(server, &options, &stop)?,
        Command::Drain(options) => drain::run(server, options, &stop)?,
        Command::Pipe(command) => pipe::run(server, &command, &stop)?,
    };
    Ok(if ended == Ended::Interrupted {
        interrupted
    } else {
        ended
    })
}

/// Ends the program as clap does for arguments that it refuses itself.
fn usage(why: &str) -> ! {
    Cli::command().error(ErrorKind::ValueValidation, why).exit()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_url_may_stand_before_and_after_the_command() {
        for line in [
            "agg --redis redis://h host --once",
            "agg host --once --redis redis://h",
        ] {
            assert_eq!(Cli::parse_from(line.split(' ')).redis, "redis://h");
        }
    }
}
