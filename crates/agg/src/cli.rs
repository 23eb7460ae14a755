//! The command line: arguments, and which subcommand runs with them.

use std::time::Duration;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};

use agg_client::Shutdown;
use agg_client::connect::{Access, Server, Tls, TlsFiles};
use agg_client::messages::{fail, say};

use crate::exit_status::ExitStatus;
use crate::signals::{GRACE, shutdown_on_signals};
use crate::tls_options::TlsOptions;
use crate::{drain, host, log, manual, pipe, poll, report, scan, top};

/// Client of Redis and Valkey servers with the aggregator module.
#[derive(Parser)]
#[command(name = "agg", version, about, after_help = EXAMPLES)]
struct Cli {
    /// The server: redis://[user][:password]@host[:port][/db], rediss:// for TLS, or unix:///path. Prefer AGG_PASSWORD
    /// for the password, as process lists show arguments
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
    /// Report this machine: statistics, and its disks, interfaces and CPUs as objects
    Host(host::Options),
    /// Print the records of the queues and remove them
    Drain(drain::Options),
    /// Drain servers into the sinks of a configuration file, as a service
    Poll {
        #[command(flatten)]
        options: poll::Options,
        #[command(flatten)]
        log: log::Options,
    },
    /// Load records from files into the sinks of a configuration file
    Load(poll::load::Options),
    /// Check the configuration file of agg poll
    Check(poll::Options),
    /// Search ranges of addresses for servers
    Scan(scan::Options),
    /// Show servers and their nodes live in a terminal: rates, queues, drops, the most active metrics
    Top(top::Options),
    /// Write a page about a node: plots of its statistics, its errors, its objects
    Report(report::Options),
    /// Send the lines of standard input as log entries or errors
    #[command(subcommand)]
    Pipe(pipe::Command),
    /// Print the manual page, or write the pages of all commands
    Man(manual::Pages),
    /// Print the completions of a shell
    Completions(manual::Completions),
}

const EXAMPLES: &str = "\
Examples:
  agg host                          report this machine every second
  agg drain --follow                print all records as they are queued
  agg poll --config poller.toml     drain servers into files and databases
  agg scan 10.1.0.0/24              search a range of addresses for servers
  agg top                           show a server and its nodes
  agg report --since 24h            write a page with plots of a node's statistics
  tail -F app.log | agg pipe log    send a program's log

Exit codes: 0 success, 1 failed, 2 invalid usage, 130 interrupted.";

/// Parses the arguments and runs the subcommand. Exits with code 2 if arguments or a configuration file are invalid.
///
/// # Errors
/// The subcommand failed.
pub fn run() -> Result<ExitStatus, String> {
    let Cli {
        redis,
        tls,
        command,
    } = Cli::parse();
    match &command {
        Command::Poll { log, .. } => log.init_service(),
        _ => log::Options::default().init(),
    }
    let connection = Connection {
        url: redis,
        tls: tls.into(),
    };
    match command {
        Command::Host(options) => connection.run(options.is_endless(), |server, stop| {
            host::run(server, &options, stop)
        }),
        Command::Drain(options) => {
            options.check().unwrap_or_else(|error| usage_error(&error));
            connection.run(options.is_endless(), |server, stop| {
                drain::run(server, options, stop)
            })
        }
        // The servers are in the configuration file.
        Command::Poll { options, .. } => {
            let poll = options.read().unwrap_or_else(|error| config_error(&error));
            poll.run(&options.config)
        }
        Command::Load(options) => {
            let config = options.read().unwrap_or_else(|error| config_error(&error));
            poll::load::run(&options, config)
        }
        Command::Check(options) => {
            let poll = options.check().unwrap_or_else(|error| config_error(&error));
            say(&options.summary(&poll));
            Ok(ExitStatus::Success)
        }
        Command::Top(options) => run_top(&options, &connection),
        Command::Scan(options) => {
            let scan = options.scan(password(), &connection.tls);
            let scan = scan.unwrap_or_else(|error| usage_error(&error));
            let stop = listen(ExitStatus::Interrupted, GRACE)?;
            scan::run(&options, &scan, &stop)
        }
        Command::Report(options) => {
            connection.run(false, |server, stop| report::run(server, &options, stop))
        }
        Command::Pipe(command) => {
            connection.run(false, |server, stop| pipe::run(server, &command, stop))
        }
        Command::Man(options) => manual::pages(Cli::command(), &options),
        Command::Completions(options) => manual::completions(Cli::command(), &options),
    }
}

fn run_top(options: &top::Options, connection: &Connection) -> Result<ExitStatus, String> {
    let sources = options.sources(&connection.url, &connection.access());
    let sources = sources.unwrap_or_else(|error| match options.has_config() {
        true => config_error(&error),
        false => usage_error(&error),
    });
    let interrupted = match options.is_endless() {
        true => ExitStatus::Success,
        false => ExitStatus::Interrupted,
    };
    let stop = listen(interrupted, GRACE)?;
    top::run(options, sources, &stop)
}

/// The arguments that say how to connect.
struct Connection {
    url: String,
    tls: TlsFiles,
}

impl Connection {
    /// Runs a subcommand that works with one server. An endless one exits with success when it is interrupted.
    fn run(
        &self,
        is_endless: bool,
        run: impl FnOnce(&Server, &Shutdown) -> Result<ExitStatus, String>,
    ) -> Result<ExitStatus, String> {
        let server = Server::parse(&self.url, &self.access());
        let server = server.unwrap_or_else(|error| usage_error(&error.to_string()));
        let interrupted = match is_endless {
            true => ExitStatus::Success,
            false => ExitStatus::Interrupted,
        };
        let stop = listen(interrupted, GRACE)?;
        Ok(match run(&server, &stop)? {
            ExitStatus::Interrupted => interrupted,
            status => status,
        })
    }

    /// Returns what applies to every server whose URL does not say otherwise.
    fn access(&self) -> Access {
        let is_set = self.tls != TlsFiles::default();
        let tls = is_set.then(|| Tls::new(&self.tls)).transpose();
        Access {
            password: password(),
            tls: tls.unwrap_or_else(|error| usage_error(&error.to_string())),
            ..Access::default()
        }
    }
}

/// Returns the password of the environment, if it is set.
fn password() -> Option<String> {
    std::env::var("AGG_PASSWORD").ok().filter(|p| !p.is_empty())
}

/// Listens for signals. A command that is still running `grace` after one exits with the code of `interrupted`.
fn listen(interrupted: ExitStatus, grace: Duration) -> Result<Shutdown, String> {
    shutdown_on_signals(interrupted.code(), grace)
        .map_err(|error| format!("cannot listen for signals: {error}"))
}

/// Exits because of an invalid configuration file, whose errors have one line each.
fn config_error(errors: &str) -> ! {
    errors.lines().for_each(fail);
    std::process::exit(2)
}

/// Exits because of invalid arguments, as clap does.
fn usage_error(error: &str) -> ! {
    Cli::command()
        .error(ErrorKind::ValueValidation, error)
        .exit()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn url_may_precede_and_follow_the_command() {
        for line in [
            "agg --redis redis://h host --once",
            "agg host --once --redis redis://h",
        ] {
            assert_eq!(Cli::parse_from(line.split(' ')).redis, "redis://h");
        }
    }
}
