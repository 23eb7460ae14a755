//! `agg`, the aggregator's command-line program: reports a machine, drains queues, feeds lines, polls servers, shows
//! them, reports about them. It knows the module's commands and nothing of its inside.
//!
//! This file holds the arguments alone and how the program ends: 0 done, 1 failed at run time, 2 used wrongly,
//! 130 interrupted before the end (what has no end of its own, as `host`, ends with 0 then). A file of settings with
//! mistakes is wrong usage.

#![forbid(unsafe_code)]

mod drain;
mod host;
mod html;
mod line;
mod log;
mod manual;
mod output;
mod pipe;
mod poll;
mod report;
mod scan;
mod signals;
mod tls_options;
mod top;

use std::process::ExitCode;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};

use agg_client::Shutdown;
use agg_client::connect::{Access, Server, Tls, TlsFiles};
use agg_client::messages::{fail, say};
use tls_options::TlsOptions;

/// Works with servers that have the aggregator module.
#[derive(Parser)]
#[command(name = "agg", version, about, after_help = EXAMPLES)]
struct Cli {
    /// The server: redis://[user][:password]@host[:port][/db], encrypted with rediss://, or unix:///path. A password
    /// is better given in AGG_PASSWORD, where no list of processes shows it
    #[arg(
        long,
        global = true,
        env = "AGG_REDIS",
        hide_env_values = true,
        default_value = "redis://127.0.0.1:7777",
        value_name = "URL"
    )]
    redis: String,

    #[command(flatten)]
    tls: TlsOptions,

    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Report this machine: its figures as statistics, its disks, interfaces and CPUs as reality
    Host(host::Options),
    /// Print what waits in the queues and take it out of them
    Drain(drain::Options),
    /// Drain the servers that a file names into the sinks that it names, for as long as it runs
    Poll {
        #[command(flatten)]
        options: poll::Options,
        #[command(flatten)]
        log: log::Options,
    },
    /// Bring records from files to the sinks that a file names
    Load(poll::load::Options),
    /// Tell whether the file for agg poll is as it should be
    Check(poll::Options),
    /// Find the servers in a range of addresses
    Scan(scan::Options),
    /// Show servers and their nodes live in a terminal: rates, queues, drops, what is noisy
    Top(top::Options),
    /// Write a page about a node: plots of its statistics, its errors, its objects
    Report(report::Options),
    /// Turn the lines of standard input into logs or errors
    #[command(subcommand)]
    Pipe(pipe::Command),
    /// Print the manual's page, or write the pages of all commands
    Man(manual::Pages),
    /// Print what a shell completes
    Completions(manual::Completions),
}

const EXAMPLES: &str = "\
Examples:
  agg host                          report this machine every second
  agg drain --follow                print everything that comes out of the queues
  agg poll --config poller.toml     drain servers into files and databases
  agg scan 10.1.0.0/24              find the servers in a range of addresses
  agg top                           see what a server and its nodes are doing
  agg report --since 24h            a page with plots of a node's statistics
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
    if std::env::args_os().skip(1).eq([host::probe::WORD]) {
        return match host::probe::serve() {
            Ok(ended) => ExitCode::from(ended.code()),
            Err(_) => ExitCode::FAILURE,
        };
    }
    let Cli {
        redis,
        tls,
        command,
    } = Cli::parse();
    match &command {
        Command::Poll { log, .. } => log.begin_service(),
        _ => log::Options::default().begin(),
    }
    let tls = TlsFiles::from(tls);
    let place = (redis.as_str(), &tls);
    let ended = match command {
        Command::Host(options) => against(place, options.endless(), |server, stop| {
            host::run(server, &options, stop)
        }),
        Command::Drain(options) => {
            options.check().unwrap_or_else(|why| usage(&why));
            against(place, options.endless(), |server, stop| {
                drain::run(server, options, stop)
            })
        }
        // Their servers stand in the file.
        Command::Poll { options, .. } => {
            let poll = options.read().unwrap_or_else(|why| mistake(&why));
            poll.run(&options.config)
        }
        Command::Load(options) => {
            let config = options.read().unwrap_or_else(|why| mistake(&why));
            poll::load::run(&options, config)
        }
        Command::Check(options) => {
            let poll = options.check().unwrap_or_else(|why| mistake(&why));
            say(&options.praise(&poll));
            Ok(Ended::Done)
        }
        Command::Top(options) => {
            let sources = options.sources(&redis, &access(&tls));
            let sources = sources.unwrap_or_else(|why| match options.of_file() {
                true => mistake(&why),
                false => usage(&why),
            });
            let interrupted = match options.endless() {
                true => Ended::Done,
                false => Ended::Interrupted,
            };
            listen(interrupted, signals::GRACE).and_then(|stop| top::run(&options, sources, &stop))
        }
        Command::Scan(options) => {
            let scan = options.scan(password(), &tls);
            let scan = scan.unwrap_or_else(|why| usage(&why));
            listen(Ended::Interrupted, signals::GRACE)
                .and_then(|stop| scan::run(&options, &scan, &stop))
        }
        Command::Report(options) => against(place, false, |server, stop| {
            report::run(server, &options, stop)
        }),
        Command::Pipe(command) => against(place, false, |server, stop| {
            pipe::run(server, &command, stop)
        }),
        Command::Man(options) => manual::pages(Cli::command(), &options),
        Command::Completions(options) => manual::completions(Cli::command(), &options),
    };
    match ended {
        Ok(ended) => ExitCode::from(ended.code()),
        Err(why) => {
            fail(&why);
            ExitCode::FAILURE
        }
    }
}

/// Runs a command that works with one server; an `endless` one is interrupted in no other way than it ends.
fn against(
    (url, tls): (&str, &TlsFiles),
    endless: bool,
    run: impl FnOnce(&Server, &Shutdown) -> Result<Ended, String>,
) -> Result<Ended, String> {
    let server = Server::parse(url, &access(tls)).unwrap_or_else(|why| usage(&why));
    let interrupted = if endless {
        Ended::Done
    } else {
        Ended::Interrupted
    };
    let stop = listen(interrupted, signals::GRACE)?;
    Ok(match run(&server, &stop)? {
        Ended::Interrupted => interrupted,
        ended => ended,
    })
}

/// What holds for every server that is given by its URL.
fn access(tls: &TlsFiles) -> Access {
    let given = *tls != TlsFiles::default();
    let tls = given.then(|| Tls::new(tls)).transpose();
    Access {
        password: password(),
        tls: tls.unwrap_or_else(|why| usage(&why)),
        ..Access::default()
    }
}

/// The password of the environment, where it has one.
fn password() -> Option<String> {
    std::env::var("AGG_PASSWORD").ok().filter(|p| !p.is_empty())
}

/// Listens for signals; a command that is stuck when `grace` has passed ends as `interrupted`.
fn listen(interrupted: Ended, grace: Duration) -> Result<Shutdown, String> {
    signals::shutdown_on_signals(interrupted.code(), grace)
        .map_err(|error| format!("cannot listen for signals: {error}"))
}

/// Ends the program for mistakes in a file, a line each, which is wrong usage.
fn mistake(why: &str) -> ! {
    why.lines().for_each(fail);
    std::process::exit(2)
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
