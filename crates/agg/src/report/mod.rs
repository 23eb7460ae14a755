//! `agg report`: writes a self-contained page about a node: plots of its statistics as far as its history reaches, its
//! errors, objects and queues, and the latest log entries. Only reads.
//!
//! queries.rs reads from the server, with the parsers of replies.rs, what model.rs holds. page.rs renders it, with the
//! sections of statistics.rs and sections.rs; plot.rs draws what shape.rs chooses on the axes of scale.rs.

mod grouping;
mod history;
mod json;
mod markup;
mod model;
mod page;
mod plot;
mod queries;
mod replies;
mod scale;
mod sections;
mod shape;
mod statistics;

use std::ffi::OsString;
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use agg_client::Shutdown;
use agg_client::connect::{Connection, Server};
use agg_client::nodes::{check_module, list_nodes};
use aggregator_protocol::{NodeName, masking, units};

use crate::exit_status::ExitStatus;
use crate::progress;

use queries::Query;

/// Maximum nodes that an error message lists.
const LISTED_NODES: usize = 20;
/// Permissions of a new file, less those that the umask forbids: errors and objects may be confidential.
const FILE_MODE: u32 = 0o640;

/// The arguments.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Options {
    /// The node [default: the only node of the server]
    #[arg(long, value_name = "NAME")]
    node: Option<OsString>,

    /// Period to report, for example 30m, 24h or 7d. The page says if less data is available
    #[arg(long, default_value = "24h", value_name = "TIME", value_parser = units::span)]
    since: Duration,

    /// The file to write; - is standard output
    #[arg(short, long, default_value = "report.html", value_name = "FILE")]
    output: PathBuf,

    /// Only metrics whose names match, for example cpu.* or *@sda; may be given several times
    #[arg(long = "metric", value_name = "GLOB", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    metrics: Vec<String>,

    /// Maximum number of metrics, of errors and of objects on the page
    #[arg(long, default_value_t = 500, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    limit: u32,
}

const EXAMPLES: &str = "\
Examples:
  agg report                                     report.html about the only node
  agg report --node web1 --since 24h -o web1.html
  agg report --node web1 --metric 'cpu.*' --metric 'mem.*' --since 1h
  agg report --node web1 -o - | gzip > web1.html.gz

By default the server keeps 12 windows of 5 minutes (agg.min-history) and 24 windows of an hour
(agg.hour-history) for each metric. A plot shows short windows as far back as they reach, and long
windows before that. The user needs the commands agg.info, agg.scan, agg.get, agg.range, agg.peek
and time, and scan unless --node is set.

Exit codes: 0 success, 1 failed or incomplete (the page says what is missing), 2 invalid usage,
130 interrupted.";

/// Reads the node, then writes the page.
///
/// # Errors
/// There is no such node, the server does not answer, or the page cannot be written.
pub async fn run(
    server: &Server,
    options: &Options,
    shutdown: &Shutdown,
) -> Result<ExitStatus, String> {
    let mut connection = server.connect().await?;
    let Some(node) = node(server, options, &mut connection, shutdown).await? else {
        return Ok(ExitStatus::Interrupted);
    };
    let query = Query {
        node: &node,
        since_ms: i64::try_from(options.since.as_millis()).unwrap_or(i64::MAX),
        patterns: &options.metrics,
        limit: options.limit as usize,
    };
    let bar = progress::bar(0, "{bar:40} {pos} of {len} metrics");
    let report = queries::report(&mut connection, &query, &bar, shutdown).await;
    bar.finish_and_clear();
    if shutdown.is_requested() {
        return Ok(ExitStatus::Interrupted);
    }
    let Some(mut report) = report? else {
        return Err(unknown_node(server, &node, &mut connection, shutdown).await);
    };
    server.endpoint().clone_into(&mut report.endpoint);
    let html = page::page(&report);
    match write(&options.output, html.as_bytes()) {
        // The reader of standard output closed it: `agg report -o - | head` is no failure.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(ExitStatus::Success),
        Err(error) => {
            let path = options.output.display();
            return Err(format!("cannot write {path}: {error}"));
        }
        Ok(()) => {}
    }
    for note in &report.notes {
        tracing::warn!("{note}");
    }
    if report.metrics.total == 0 && !report.patterns.is_empty() {
        tracing::warn!("no metric matches --metric");
    }
    if options.output != Path::new("-") {
        tracing::info!("{}", page::summary(&report, &options.output, html.len()));
    }
    Ok(match report.notes.is_empty() {
        true => ExitStatus::Success,
        false => ExitStatus::Incomplete,
    })
}

/// Returns the node of the options, or the only node of the server; `None` if a shutdown was requested.
async fn node(
    server: &Server,
    options: &Options,
    connection: &mut Connection,
    shutdown: &Shutdown,
) -> Result<Option<NodeName>, String> {
    if let Some(name) = &options.node {
        return Ok(Some(name.clone().into()));
    }
    let mut nodes = list_nodes(connection, shutdown).await?;
    if nodes.is_empty() {
        check_module(server, connection).await?;
    }
    if shutdown.is_requested() {
        return Ok(None);
    }
    match nodes.len() {
        0 => Err(format!("{} has no nodes yet", server.endpoint())),
        1 => Ok(nodes.pop()),
        _ => Err(format!(
            "{} has {} nodes: choose one with --node: {}",
            server.endpoint(),
            nodes.len(),
            joined(&nodes)
        )),
    }
}

/// Returns an error message that names the nodes that do exist.
async fn unknown_node(
    server: &Server,
    node: &NodeName,
    connection: &mut Connection,
    shutdown: &Shutdown,
) -> String {
    let message = format!("{} has no node {node}", server.endpoint());
    match list_nodes(connection, shutdown).await {
        Ok(nodes) if nodes.is_empty() => format!("{message} and no other nodes"),
        Ok(nodes) => format!("{message}; its nodes are {}", joined(&nodes)),
        // The user may not list them.
        Err(_) => message,
    }
}

fn joined(nodes: &[NodeName]) -> String {
    let shown = nodes.iter().take(LISTED_NODES);
    let shown: Vec<String> = shown.map(|node| masking::cell(&node.to_string())).collect();
    let more = match nodes.len().saturating_sub(LISTED_NODES) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    shown.join(", ") + &more
}

/// Writes the page. A file appears under its name only once it is complete.
fn write(path: &Path, page: &[u8]) -> io::Result<()> {
    if path == Path::new("-") {
        let mut out = io::stdout().lock();
        out.write_all(page)?;
        return out.flush();
    }
    // A symbolic link stays one; a device or a pipe is written to directly.
    let path = match std::fs::canonicalize(path) {
        Ok(path) if !path.is_file() => return std::fs::write(path, page),
        Ok(path) => path,
        Err(_) => path.to_owned(),
    };
    let mut temporary = path.clone().into_os_string();
    temporary.push(format!(".{}.part", std::process::id()));
    let written = write_new(Path::new(&temporary), page, &path)
        .and_then(|()| std::fs::rename(&temporary, &path));
    if written.is_err() {
        // It may not exist at all.
        let _ = std::fs::remove_file(&temporary);
    }
    written
}

/// Writes a file that will replace another, with the permissions of that one if it exists.
fn write_new(path: &Path, page: &[u8], replaced: &Path) -> io::Result<()> {
    let mut options = std::fs::File::options();
    options.write(true).create(true).truncate(true);
    let mut file = options.mode(FILE_MODE).open(path)?;
    if let Ok(replaced) = replaced.metadata() {
        file.set_permissions(replaced.permissions())?;
    }
    file.write_all(page)
}
