//! `agg scan`: searches ranges of addresses for servers and prints what answers: as a table, or as one JSON object per
//! line.
//!
//! An interrupted scan prints what it has found. Nothing that a server sent is printed unmasked, as it could control
//! the terminal.

mod table;

use std::io::{self, ErrorKind, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use serde::Serialize;
use tokio::sync::mpsc::unbounded_channel;

use agg_client::Shutdown;
use agg_client::connect::{Access, Tls, TlsFiles};
use agg_client::discovery::Hosts;
use agg_client::discovery::probe::{About, State};
use agg_client::discovery::scan::{Progress, Scan, Seen};
use aggregator_protocol::masking::json_lines;
use aggregator_protocol::units;

use crate::exit_status::ExitStatus;
use crate::progress;

/// The arguments.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Options {
    /// Ranges such as 10.1.0.0/24, or addresses; an address may have a port, such as 10.1.0.7:7777 or [::1]:7777
    #[arg(required = true, value_name = "RANGE", value_parser = Hosts::parse_with_port)]
    ranges: Vec<(Hosts, Option<u16>)>,

    /// The port of the servers [default: 7777]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,

    /// Timeout for connecting, for example 300ms or 1s
    #[arg(long, default_value = "300ms", value_parser = units::positive_duration, value_name = "TIME")]
    timeout: Duration,

    /// Maximum concurrent connections
    #[arg(long, default_value_t = Scan::PARALLEL as u64, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000))]
    parallel: u64,

    /// Maximum new connections per second
    #[arg(long, default_value_t = Scan::RATE, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=100_000))]
    rate: u64,

    /// The ACL user; the password is taken from AGG_PASSWORD
    #[arg(long, value_name = "NAME")]
    user: Option<String>,

    /// Use encrypted connections, as with rediss://
    #[arg(long)]
    tls: bool,

    /// Print one JSON object per line, as soon as a server is found
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  agg scan 10.1.0.0/24                          servers at port 7777
  agg scan 10.1.0.0/16 10.2.0.7 --port 6379     takes a minute, at a limited rate
  AGG_PASSWORD=... agg scan 10.1.0.0/24 --json | jq -r 'select(.state == \"ok\").url'

States, as printed and as in --json:
  ok                ok
  a replica         replica
  no module         no-module
  wants a password  wants-password
  wrong password    wrong-password
  refuses           refuses          the server rejects a command; \"why\" holds the reason
  no server         no-server        something else answers, or a server that is not ready

The password is sent to every address that accepts a connection, in clear text unless --tls is set.
--redis is not used.

Exit codes: 0 success, 1 some addresses could not be tried, 2 invalid usage, 130 interrupted (what
was found is printed).";

/// An object of `--json`.
#[derive(Serialize)]
struct Line<'a> {
    url: &'a str,
    address: String,
    port: u16,
    #[serde(flatten)]
    about: &'a About,
}

impl Options {
    /// Returns the scan to run.
    ///
    /// # Errors
    /// The arguments contradict each other, or a certificate cannot be read.
    pub fn scan(&self, password: Option<String>, tls: &TlsFiles) -> Result<Scan, String> {
        if self.user.is_some() && password.is_none() {
            return Err("--user needs a password: set AGG_PASSWORD".into());
        }
        if *tls != TlsFiles::default() && !self.tls {
            return Err("certificates require --tls (also if set by AGG_TLS_CA and others)".into());
        }
        let tls = self.tls.then(|| Tls::new(tls)).transpose()?;
        Ok(Scan {
            hosts: Hosts::all(self.ranges.iter().map(|(hosts, _)| hosts.clone()))?,
            port: self.single_port()?,
            access: Access {
                user: self.user.clone(),
                password,
                tls,
                password_help: "give it in AGG_PASSWORD",
            },
            encrypted: self.tls,
            timeout: self.timeout,
            parallel: self.parallel as usize,
            rate: self.rate,
        })
    }

    /// Returns the port of all ranges: that of an address, or that of `--port`.
    fn single_port(&self) -> Result<u16, String> {
        let default = self.port.unwrap_or(Scan::PORT);
        let mut ports = self.ranges.iter().map(|(_, port)| port.unwrap_or(default));
        let first = ports.next().unwrap_or(default);
        match ports.find(|other| *other != first) {
            Some(other) => Err(format!(
                "ports {first} and {other}: a scan has one port; run one scan for each"
            )),
            None => Ok(first),
        }
    }
}

/// Scans until all addresses were tried or a shutdown is requested.
///
/// # Errors
/// The output cannot be written.
pub async fn run(
    options: &Options,
    scan: &Scan,
    shutdown: &Shutdown,
) -> Result<ExitStatus, String> {
    let start = Instant::now();
    let template = "{bar:40} {pos} of {len} addresses, {eta} left";
    let bar = progress::bar(scan.hosts.count(), template);
    let progress = Arc::new(Progress::default());
    let mut all = Vec::new();
    let mut written = Ok(());
    let mut add = |seen: Seen| {
        if options.json && written.is_ok() {
            written = bar.suspend(|| write(&json_line(&seen)?));
        }
        all.push(seen);
        written.is_ok()
    };
    let interrupted = run_scan(scan, &progress, &bar, shutdown, &mut add).await;
    bar.finish_and_clear();
    all.sort_by_key(|seen| seen.address);
    if !options.json && !all.is_empty() {
        written = write(&table::table(&all));
    }
    match written {
        // The reader closed it: `agg scan ... | head` is no failure.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(ExitStatus::Success),
        Err(error) => return Err(format!("cannot write to standard output: {error}")),
        Ok(()) => {}
    }
    tracing::info!(
        "{}",
        summary(&all, progress.done.load(Relaxed), start.elapsed())
    );
    let untried = progress.unreached.load(Relaxed);
    if untried > 0 {
        tracing::info!(
            "{untried} of these could not be tried: no route, or too few file descriptors (ulimit -n)"
        );
    }
    Ok(match (interrupted, untried) {
        (true, _) => ExitStatus::Interrupted,
        (false, 0) => ExitStatus::Success,
        (false, _) => ExitStatus::Incomplete,
    })
}

/// Runs the scan and passes each server to `add`, until that returns false. Returns whether a shutdown was requested.
async fn run_scan(
    scan: &Scan,
    progress: &Arc<Progress>,
    bar: &ProgressBar,
    shutdown: &Shutdown,
    add: &mut impl FnMut(Seen) -> bool,
) -> bool {
    let (found, mut seen) = unbounded_channel();
    let scanning = async {
        scan.run(progress, &found).await;
        drop(found);
    };
    let mut ticks = tokio::time::interval(Duration::from_millis(50));
    let receiving = async {
        loop {
            tokio::select! {
                next = seen.recv() => {
                    // The scan has ended, or nobody reads the output.
                    if !next.is_some_and(&mut *add) {
                        return false;
                    }
                }
                _ = ticks.tick() => bar.set_position(progress.done.load(Relaxed)),
                () = shutdown.requested() => return true,
            }
        }
    };
    tokio::pin!(scanning, receiving);
    tokio::select! {
        biased;
        interrupted = &mut receiving => interrupted,
        // The last servers are still in the channel.
        () = &mut scanning => receiving.await,
    }
}

fn json_line(seen: &Seen) -> io::Result<String> {
    let line = Line {
        url: seen.server.endpoint(),
        address: seen.address.ip().to_string(),
        port: seen.address.port(),
        about: &seen.about,
    };
    Ok(json_lines(&serde_json::to_string(&line)?) + "\n")
}

fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

fn summary(all: &[Seen], tried: u64, duration: Duration) -> String {
    let servers = all.iter().filter(|seen| seen.about.state == State::Ok);
    let servers = servers.count();
    let others = match all.len() - servers {
        0 => String::new(),
        others => format!(", {others} other"),
    };
    format!(
        "{tried} {} tried in {:.1} s: {servers} {} found{others}",
        if tried == 1 { "address" } else { "addresses" },
        duration.as_secs_f64(),
        if servers == 1 { "server" } else { "servers" },
    )
}
