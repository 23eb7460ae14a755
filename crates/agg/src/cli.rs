//! The command line: arguments, and which subcommand runs with them.

use std::sync::Arc;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};

use agg_client::Shutdown;
use agg_client::connect::{Access, Server, Tls, TlsFiles};

use tokio::sync::Notify;

use crate::exit_status::ExitStatus;
use crate::runtime::{self, Policy};
use crate::tls_options::TlsOptions;
use crate::{drain, host, listen, log, manual, pipe, poll, report, scan, serve, stat, top};

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
    /// Receive statsd, OpenTelemetry, syslog, InfluxDB, Prometheus or Graphite, and report it
    Listen {
        #[command(flatten)]
        options: Box<listen::Options>,
        #[command(flatten)]
        log: log::Options,
    },
    /// Serve the live values of all nodes to Prometheus
    Serve {
        #[command(flatten)]
        options: Box<serve::Options>,
        #[command(flatten)]
        log: log::Options,
    },
    /// Load records from files into the sinks of a configuration file
    Load(poll::load::Options),
    /// Check the configuration file of agg poll, and connect to its servers and sinks
    Check(poll::check::Options),
    /// Search ranges of addresses for servers
    Scan(scan::Options),
    /// Show servers and their nodes live in a terminal: rates, queues, drops, the most active metrics
    Top(top::Options),
    /// Write a page about a node: plots of its statistics, its errors, its objects
    Report(report::Options),
    /// Report one value, for shells
    Stat(stat::Options),
    /// Send the lines of standard input as values, log entries or errors
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
  agg listen                        receive statsd, OTLP and syslog
  agg serve                         serve live values to Prometheus
  agg scan 10.1.0.0/24              search a range of addresses for servers
  agg top                           show a server and its nodes
  agg report --since 24h            write a page with plots of a node's statistics
  agg stat backup.seconds 318       report one value
  tail -F app.log | agg pipe log    send a program's log

Exit codes: 0 success, 1 failed or incomplete, 2 invalid usage or configuration, 130 interrupted.";

/// An error that ends the program.
pub enum CliError {
    /// The subcommand failed.
    Failed(String),
    /// A configuration file is invalid; each error has one line.
    InvalidConfig(String),
    /// The arguments are invalid.
    InvalidUsage(String),
}

impl CliError {
    /// Returns the exit code.
    pub fn code(&self) -> u8 {
        match self {
            CliError::Failed(_) => 1,
            CliError::InvalidConfig(_) | CliError::InvalidUsage(_) => 2,
        }
    }

    /// Writes the error to standard error.
    pub fn report(&self) {
        match self {
            CliError::Failed(error) => tracing::error!("{error}"),
            CliError::InvalidConfig(errors) => {
                errors.lines().for_each(|line| tracing::error!("{line}"))
            }
            CliError::InvalidUsage(error) => {
                let error = Cli::command().error(ErrorKind::ValueValidation, error);
                // A closed standard error changes nothing.
                let _ = error.print();
            }
        }
    }
}

impl From<String> for CliError {
    fn from(error: String) -> CliError {
        CliError::Failed(error)
    }
}

/// Parses the arguments and runs the subcommand.
///
/// # Errors
/// The subcommand failed, or arguments or a configuration file are invalid.
pub fn run() -> Result<ExitStatus, CliError> {
    let Cli {
        redis,
        tls,
        command,
    } = Cli::parse();
    match &command {
        Command::Poll { log, .. } | Command::Listen { log, .. } | Command::Serve { log, .. } => {
            log.init_service()
        }
        _ => log::Options::default().init(),
    }
    let connection = Connection {
        url: redis,
        tls: tls.into(),
    };
    match command {
        Command::Host(options) => connection
            .run(options.is_endless(), async move |server, shutdown| {
                host::run(&server, &options, &shutdown).await
            }),
        Command::Drain(options) => {
            options.check().map_err(CliError::InvalidUsage)?;
            connection.run(options.is_endless(), async move |server, shutdown| {
                drain::run(&server, options, &shutdown).await
            })
        }
        // The servers are in the configuration file.
        Command::Poll { options, .. } => {
            let poll = options.read().map_err(CliError::InvalidConfig)?;
            Ok(poll.run(options.config)?)
        }
        Command::Listen { options, .. } => run_listen(*options, &connection),
        Command::Serve { options, .. } => run_serve(*options, &connection),
        Command::Load(options) => {
            let config = options.read().map_err(CliError::InvalidConfig)?;
            Ok(poll::load::run(options, config)?)
        }
        Command::Check(options) => {
            let config = options.read().map_err(CliError::InvalidConfig)?;
            tracing::info!("{}", options.summary(&config));
            if !options.connects() {
                return Ok(ExitStatus::Success);
            }
            let policy = Policy::short(ExitStatus::Interrupted);
            Ok(runtime::run(policy, async move |shutdown| {
                options.connect(config, &shutdown).await
            })?)
        }
        Command::Top(options) => run_top(options, &connection),
        Command::Scan(options) => {
            let scan = options.scan(password(), &connection.tls);
            let scan = scan.map_err(CliError::InvalidUsage)?;
            let policy = Policy::short(ExitStatus::Interrupted);
            Ok(runtime::run(policy, async move |shutdown| {
                scan::run(&options, &scan, &shutdown).await
            })?)
        }
        Command::Report(options) => connection.run(false, async move |server, shutdown| {
            report::run(&server, &options, &shutdown).await
        }),
        Command::Stat(options) => {
            options.check().map_err(CliError::InvalidUsage)?;
            connection.run(false, async move |server, shutdown| {
                stat::run(&server, &options, &shutdown).await
            })
        }
        Command::Pipe(command) => connection.run(false, async move |server, shutdown| {
            pipe::run(&server, command, &shutdown).await
        }),
        Command::Man(options) => Ok(manual::pages(Cli::command(), &options)?),
        Command::Completions(options) => Ok(manual::completions(Cli::command(), &options)?),
    }
}

fn run_top(options: top::Options, connection: &Connection) -> Result<ExitStatus, CliError> {
    let sources = options.sources(&connection.url, &connection.access()?);
    let sources = sources.map_err(|error| match options.has_config() {
        true => CliError::InvalidConfig(error),
        false => CliError::InvalidUsage(error),
    })?;
    let policy = Policy::short(interrupted(options.is_endless()));
    Ok(runtime::run(policy, async move |shutdown| {
        top::run(&options, sources, &shutdown).await
    })?)
}

fn run_listen(options: listen::Options, connection: &Connection) -> Result<ExitStatus, CliError> {
    let config = options.read().map_err(CliError::InvalidConfig)?;
    if options.check {
        tracing::info!("{}", options.summary(&config));
        if !options.connects() {
            return Ok(ExitStatus::Success);
        }
    }
    let server = Server::parse(&connection.url, &connection.access()?);
    let server = server.map_err(|error| CliError::InvalidUsage(error.to_string()))?;
    if options.check {
        let policy = Policy::short(ExitStatus::Interrupted);
        return Ok(runtime::run(policy, async move |shutdown| {
            options.connect(&server, &config, &shutdown).await
        })?);
    }
    let reload = Arc::new(Notify::new());
    let policy = Policy::patient(ExitStatus::Incomplete, || Some(agg_listener::listen::GRACE))
        .on_hangup(reload.clone());
    Ok(runtime::run(policy, async move |shutdown| {
        options.run(&server, config, reload, &shutdown).await
    })?)
}

fn run_serve(options: serve::Options, connection: &Connection) -> Result<ExitStatus, CliError> {
    let serve = options.check(&connection.url, &connection.access()?);
    let serve = serve.map_err(|error| match options.has_config() {
        true => CliError::InvalidConfig(error),
        false => CliError::InvalidUsage(error),
    })?;
    Ok(runtime::run(
        Policy::short(ExitStatus::Success),
        async move |shutdown| serve::run(options, serve, &shutdown).await,
    )?)
}

/// Returns the status of a subcommand that a signal ends: success if it has no other end.
fn interrupted(is_endless: bool) -> ExitStatus {
    match is_endless {
        true => ExitStatus::Success,
        false => ExitStatus::Interrupted,
    }
}

/// The arguments that say how to connect.
struct Connection {
    url: String,
    tls: TlsFiles,
}

impl Connection {
    /// Runs a subcommand that works with one server.
    fn run<F>(
        &self,
        is_endless: bool,
        subcommand: impl FnOnce(Server, Shutdown) -> F + Send + 'static,
    ) -> Result<ExitStatus, CliError>
    where
        F: Future<Output = Result<ExitStatus, String>>,
    {
        let server = Server::parse(&self.url, &self.access()?);
        let server = server.map_err(|error| CliError::InvalidUsage(error.to_string()))?;
        let interrupted = interrupted(is_endless);
        let run = move |shutdown| subcommand(server, shutdown);
        Ok(match runtime::run(Policy::short(interrupted), run)? {
            ExitStatus::Interrupted => interrupted,
            status => status,
        })
    }

    /// Returns the defaults for servers whose URL does not override them.
    fn access(&self) -> Result<Access, CliError> {
        let is_set = self.tls != TlsFiles::default();
        let tls = is_set.then(|| Tls::new(&self.tls)).transpose();
        Ok(Access {
            password: password(),
            tls: tls.map_err(|error| CliError::InvalidUsage(error.to_string()))?,
            user: None,
            password_help: "give it in AGG_PASSWORD or in the URL",
        })
    }
}

/// Returns the password of the environment, if it is set.
fn password() -> Option<String> {
    std::env::var("AGG_PASSWORD").ok().filter(|p| !p.is_empty())
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
