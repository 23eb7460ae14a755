//! `agg report`: one page about a node, which needs nothing but itself: plots of its statistics as far as its history
//! reaches, its errors, its objects, its queues and the latest of its log. It only reads.
//!
//! ask.rs reads from the server what model.rs holds; page.rs and state.rs write it, with the plots of plot.rs on the
//! axes of scale.rs.

mod ask;
mod model;
mod page;
mod plot;
mod scale;
mod state;

use std::ffi::OsString;
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::Ended;
use crate::poll::append::Mode;
use agg_client::Shutdown;
use agg_client::connect::{BlockingConnection, Server};
use agg_client::messages::{say, warn};
use agg_client::nodes::{check_module, list_nodes};
use aggregator_protocol::{NodeName, units};

use ask::Wanted;
use model::Report;

/// Nodes that an error lists.
const LISTED: usize = 20;

/// The arguments.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Options {
    /// The node [default: the only one that the server has]
    #[arg(long, value_name = "NAME")]
    node: Option<OsString>,

    /// How far back: 30m, 24h, 7d. The page says where the history does not reach so far
    #[arg(long, default_value = "24h", value_name = "TIME", value_parser = units::span)]
    since: Duration,

    /// The file to write; - is standard output
    #[arg(short, long, default_value = "report.html", value_name = "FILE")]
    output: PathBuf,

    /// Only metrics whose name matches, as in cpu.* or *@sda; may be given several times
    #[arg(long = "metric", value_name = "GLOB", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    metrics: Vec<String>,

    /// The most metrics, errors and objects on the page, of each
    #[arg(long, default_value_t = 500, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    limit: u32,
}

const EXAMPLES: &str = "\
Examples:
  agg report                                     report.html about the only node there is
  agg report --node web1 --since 24h -o web1.html
  agg report --node web1 --metric 'cpu.*' --metric 'mem.*' --since 1h
  agg report --node web1 -o - | gzip > web1.html.gz

The server keeps closed windows for each metric: agg.min-history (12) of 5 minutes,
agg.hour-history (24) of an hour. A plot shows short windows as far as they reach, and long ones
before. It takes the commands agg.info, agg.scan, agg.get, agg.range, agg.peek and time, and scan
where no node is named.

Exit codes: 0 done, 1 failed, or some could not be read (the page says so), 2 wrong usage,
130 interrupted.";

/// Reads all, then writes the page.
///
/// Returns an error if there is no such node, the server does not answer or the page cannot be written.
pub fn run(server: &Server, options: &Options, stop: &Shutdown) -> Result<Ended, String> {
    let mut link = server.connect()?;
    let Some(node) = node(server, options, &mut link, stop)? else {
        return Ok(Ended::Interrupted);
    };
    let wanted = Wanted {
        node: &node,
        since_ms: i64::try_from(options.since.as_millis()).unwrap_or(i64::MAX),
        patterns: &options.metrics,
        limit: options.limit as usize,
    };
    let bar = bar();
    let read = link.wait(async |wire| ask::report(wire, &wanted, &bar, stop).await);
    bar.finish_and_clear();
    if stop.is_requested() {
        return Ok(Ended::Interrupted);
    }
    let Some(mut report) = read? else {
        return Err(unknown(server, &node, &mut link, stop));
    };
    server.endpoint().clone_into(&mut report.place);
    let html = page::page(&report);
    match write(&options.output, html.as_bytes()) {
        // Whoever reads has enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(Ended::Done),
        Err(error) => {
            let place = options.output.display();
            return Err(format!("cannot write {place}: {error}"));
        }
        Ok(()) => {}
    }
    for note in &report.notes {
        warn(note);
    }
    if report.metrics.all == 0 && !report.patterns.is_empty() {
        warn("no metric matches");
    }
    if options.output != Path::new("-") {
        say(&page::sums(&report, &options.output, html.len()));
    }
    Ok(match report.notes.is_empty() {
        true => Ended::Done,
        false => Ended::Incomplete,
    })
}

/// The node that is named, or the only one; none where the end was asked for.
fn node(
    server: &Server,
    options: &Options,
    link: &mut BlockingConnection,
    stop: &Shutdown,
) -> Result<Option<NodeName>, String> {
    if let Some(name) = &options.node {
        return Ok(Some(name.clone().into()));
    }
    let mut nodes = link.wait(async |wire| {
        let nodes = list_nodes(wire, stop).await?;
        if nodes.is_empty() {
            check_module(server, wire).await?;
        }
        Ok::<_, agg_client::connect::ClientError>(nodes)
    })?;
    if stop.is_requested() {
        return Ok(None);
    }
    match nodes.len() {
        0 => Err(format!("{} has no nodes yet", server.endpoint())),
        1 => Ok(nodes.pop()),
        _ => Err(format!(
            "{} has {} nodes: name one with --node: {}",
            server.endpoint(),
            nodes.len(),
            list(&nodes)
        )),
    }
}

/// Why there is nothing to tell of a node.
fn unknown(
    server: &Server,
    node: &NodeName,
    link: &mut BlockingConnection,
    stop: &Shutdown,
) -> String {
    let what = format!("{} has no node {node}", server.endpoint());
    match link.wait(async |wire| list_nodes(wire, stop).await) {
        Ok(nodes) if nodes.is_empty() => format!("{what}, and no other"),
        Ok(nodes) => format!("{what}; there is {}", list(&nodes)),
        // Who may not list them is told the first half.
        Err(_) => what,
    }
}

fn list(nodes: &[NodeName]) -> String {
    let shown = nodes.iter().take(LISTED);
    let shown: Vec<String> = shown
        .map(|node| aggregator_protocol::masking::cell(&node.to_string()))
        .collect();
    let more = match nodes.len().saturating_sub(LISTED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    shown.join(", ") + &more
}

/// On a terminal alone.
fn bar() -> ProgressBar {
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos} of {len} metrics") {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}

/// Nobody who opens the file sees half a page: it takes its name when it is whole.
fn write(path: &Path, page: &[u8]) -> io::Result<()> {
    if path == Path::new("-") {
        let mut out = io::stdout().lock();
        out.write_all(page)?;
        return out.flush();
    }
    // A link stays one, and a device or a pipe is written to as it is.
    let path = match std::fs::canonicalize(path) {
        Ok(path) if !path.is_file() => return std::fs::write(path, page),
        Ok(path) => path,
        Err(_) => path.to_owned(),
    };
    let mut beside = path.clone().into_os_string();
    beside.push(format!(".{}.part", std::process::id()));
    let written =
        write_new(Path::new(&beside), page, &path).and_then(|()| std::fs::rename(&beside, &path));
    if written.is_err() {
        // It may not even have begun.
        let _ = std::fs::remove_file(&beside);
    }
    written
}

/// Writes a file that takes the place of another, with that one's permissions; without another, for owner and group.
fn write_new(path: &Path, page: &[u8], before: &Path) -> io::Result<()> {
    let mut options = std::fs::File::options();
    options.write(true).create(true).truncate(true);
    let mut file = options.mode(Mode::Private.bits()).open(path)?;
    if let Ok(before) = before.metadata() {
        file.set_permissions(before.permissions())?;
    }
    file.write_all(page)
}

impl Report {
    /// Where the plots begin: where the reader wanted, or where there is something.
    fn begins(&self) -> i64 {
        let metrics = self.metrics.shown.iter();
        let first = metrics.filter_map(|metric| metric.windows.first());
        let first = first.map(|window| window.start).min();
        first.map_or(self.from, |first| first.clamp(self.from, self.now))
    }
}
