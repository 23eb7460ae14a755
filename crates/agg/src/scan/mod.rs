//! `agg scan`: looks through ranges of addresses and tells what answers there: a table for people, lines of JSON for
//! programs.
//!
//! What was found is told even when the end comes early; nothing is shown as a server sent it, since a terminal would
//! obey it.

mod table;

use std::io::{self, ErrorKind, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use tokio::sync::mpsc::unbounded_channel;

use crate::Ended;
use agg_client::Shutdown;
use agg_client::connect::{Access, Tls, TlsFiles};
use agg_client::discovery::Hosts;
use agg_client::discovery::probe::{About, State};
use agg_client::discovery::scan::{Progress, Scan, Seen};
use agg_client::messages::say;
use aggregator_protocol::masking::json_lines;
use aggregator_protocol::units;

/// The arguments.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Options {
    /// Ranges as 10.1.0.0/24 and addresses; an address may have the port, as 10.1.0.7:7777 or [::1]:7777
    #[arg(required = true, value_name = "RANGE", value_parser = Hosts::parse_with_port)]
    ranges: Vec<(Hosts, Option<u16>)>,

    /// The port of the servers [default: 7777]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,

    /// How long a connection may take to be there
    #[arg(long, default_value = "300ms", value_parser = units::some_duration, value_name = "TIME")]
    timeout: Duration,

    /// Addresses asked at a time
    #[arg(long, default_value_t = Scan::PARALLEL as u64, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000))]
    parallel: u64,

    /// Connections begun in a second
    #[arg(long, default_value_t = Scan::RATE, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=100_000))]
    rate: u64,

    /// The user of the servers' ACL; the password is that of AGG_PASSWORD
    #[arg(long, value_name = "NAME")]
    user: Option<String>,

    /// Encrypted connections, as with rediss://
    #[arg(long)]
    tls: bool,

    /// An object a line, as soon as it is known
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  agg scan 10.1.0.0/24                          what answers at port 7777
  agg scan 10.1.0.0/16 10.2.0.7 --port 6379     in a minute, without a flood
  AGG_PASSWORD=... agg scan 10.1.0.0/24 --json | jq -r 'select(.state == \"ok\").url'

States: ok, a replica, no module, wants a password, wrong password, refuses, no server (what answers is none, or
cannot answer now). With --json: ok, replica, no-module, wants-password, wrong-password, refuses, no-server, and
\"why\" tells more.
A password is sent to whatever takes a connection in the range, if not encrypted for everybody to read. --redis is
not used here.

Exit codes: 0 done, 1 some addresses could not be asked, 2 wrong usage, 130 interrupted: what was found is told.";

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
    /// What is to be looked through.
    ///
    /// Returns an error if the arguments do not fit together.
    pub fn scan(&self, password: Option<String>, tls: &TlsFiles) -> Result<Scan, String> {
        if self.user.is_some() && password.is_none() {
            return Err("a user needs a password: give it in AGG_PASSWORD".into());
        }
        if *tls != TlsFiles::default() && !self.tls {
            return Err(
                "certificates are of no use without --tls (also those of AGG_TLS_CA and its like)"
                    .into(),
            );
        }
        let tls = self.tls.then(|| Tls::new(tls)).transpose()?;
        Ok(Scan {
            hosts: Hosts::all(self.ranges.iter().map(|(hosts, _)| hosts.clone()))?,
            port: self.port()?,
            access: Access {
                user: self.user.clone(),
                password,
                tls,
            },
            encrypted: self.tls,
            timeout: self.timeout,
            parallel: self.parallel as usize,
            rate: self.rate,
        })
    }
}

impl Options {
    /// The one port of all: that of an address, else `--port`.
    fn port(&self) -> Result<u16, String> {
        let usual = self.port.unwrap_or(Scan::PORT);
        let mut ports = self.ranges.iter().map(|(_, own)| own.unwrap_or(usual));
        let first = ports.next().unwrap_or(usual);
        match ports.find(|other| *other != first) {
            Some(other) => Err(format!(
                "the ports {first} and {other}: a scan is of one port, give each a scan of its own"
            )),
            None => Ok(first),
        }
    }
}

/// Looks through the range until all is done or the end is asked for.
///
/// Returns an error if what was found cannot be told.
pub fn run(options: &Options, scan: &Scan, stop: &Shutdown) -> Result<Ended, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("cannot watch connections: {error}"))?;
    let start = Instant::now();
    let bar = bar(scan.hosts.count());
    let progress = Arc::new(Progress::default());
    let mut all = Vec::new();
    let mut written = Ok(());
    let mut tell = |seen: Seen| {
        if options.json && written.is_ok() {
            written = bar.suspend(|| write(&line(&seen)));
        }
        all.push(seen);
        written.is_ok()
    };
    let interrupted = runtime.block_on(look(scan, &progress, &bar, stop, &mut tell));
    bar.finish_and_clear();
    all.sort_by_key(|seen| seen.address);
    if !options.json && !all.is_empty() {
        written = write(&table::table(&all));
    }
    match written {
        // Whoever reads has enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(Ended::Done),
        Err(error) => return Err(format!("cannot write: {error}")),
        Ok(()) => {}
    }
    say(&sums(&all, progress.done.load(Relaxed), start.elapsed()));
    let unasked = progress.unasked.load(Relaxed);
    if unasked > 0 {
        say(&format!(
            "{unasked} of these could not be asked: there is no way to them from here, or no room for connections \
             (ulimit -n)"
        ));
    }
    Ok(match (interrupted, unasked) {
        (true, _) => Ended::Interrupted,
        (false, 0) => Ended::Done,
        (false, _) => Ended::Incomplete,
    })
}

/// Tells whether the end was asked for before all was done.
async fn look(
    scan: &Scan,
    progress: &Arc<Progress>,
    bar: &ProgressBar,
    stop: &Shutdown,
    tell: &mut impl FnMut(Seen) -> bool,
) -> bool {
    let (out, mut seen) = unbounded_channel();
    let scanning = async {
        scan.run(progress, &out).await;
        drop(out);
    };
    let mut ticks = tokio::time::interval(Duration::from_millis(50));
    let watching = async {
        loop {
            tokio::select! {
                next = seen.recv() => {
                    // All is done, or nobody reads.
                    if !next.is_some_and(&mut *tell) {
                        return false;
                    }
                }
                _ = ticks.tick() => bar.set_position(progress.done.load(Relaxed)),
                () = stop.requested() => return true,
            }
        }
    };
    tokio::pin!(scanning, watching);
    tokio::select! {
        biased;
        interrupted = &mut watching => interrupted,
        // What was found last is on its way still.
        () = &mut scanning => watching.await,
    }
}

/// On a terminal alone.
fn bar(count: u64) -> ProgressBar {
    let bar = ProgressBar::new(count);
    let template = "{bar:40} {pos} of {len} addresses, {eta} left";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}

fn line(seen: &Seen) -> String {
    let line = Line {
        url: seen.server.endpoint(),
        address: seen.address.ip().to_string(),
        port: seen.address.port(),
        about: &seen.about,
    };
    // Strings and numbers can always be written.
    json_lines(&serde_json::to_string(&line).unwrap_or_default()) + "\n"
}

fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

fn sums(all: &[Seen], done: u64, took: Duration) -> String {
    let ours = all.iter().filter(|seen| seen.about.state == State::Ok);
    let ours = ours.count();
    let others = match all.len() - ours {
        0 => String::new(),
        others => format!(", {others} of other kinds"),
    };
    format!(
        "{done} {} asked in {:.1} s: {ours} {} found{others}",
        if done == 1 { "address" } else { "addresses" },
        took.as_secs_f64(),
        if ours == 1 { "server" } else { "servers" },
    )
}
