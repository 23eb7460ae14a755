//! Reads the data of a report from the server, with commands that only read. Memory is bounded whatever the node holds.

use std::collections::BTreeSet;

use agg_client::command::{self, Cmd};
use indicatif::ProgressBar;

use agg_client::Shutdown;
use agg_client::connect::{ClientError, Connection, CursorWalk};
use agg_client::reply::{self, Reply, Value};
use aggregator_protocol::NodeName;

use super::history::join;
use super::model::{ErrorReport, Info, Object, Report, Window, by_name};
use super::replies;
use crate::stats::number;

/// Names per page of AGG.SCAN.
const NAMES_PER_PAGE: usize = 1000;
/// Errors or objects, which may be long, per page of AGG.SCAN.
const VALUES_PER_PAGE: usize = 50;
/// Metrics per pipeline. With some thousands of windows each, their replies stay within the reply limit of a call.
const METRICS_PER_CALL: usize = 8;
/// Maximum bytes of metric names that are kept. Nobody reads a longer page.
const MAX_NAME_BYTES: usize = 32 << 20;
/// Maximum windows that are kept, of all metrics together.
const MAX_WINDOWS: usize = 4_000_000;
/// Number of windows from which a reply of AGG.RANGE may be incomplete.
const WINDOWS_PER_REPLY: usize = 5000;
/// Maximum replies of AGG.RANGE that are read per metric: together they have as many windows as the longest history.
const MAX_RANGE_REPLIES: usize = 20;
/// Maximum log entries.
const LOG_ENTRIES: usize = 50;
/// Maximum notes about what could not be read.
const MAX_NOTES: usize = 20;
/// The earliest time that the server accepts.
const EARLIEST_MS: i64 = 100_000_000_000;

/// The arguments of a report.
pub struct Query<'a> {
    pub node: &'a NodeName,
    /// Length of the requested time, ms.
    pub since_ms: i64,
    /// Patterns of metric names; empty: all metrics.
    pub patterns: &'a [String],
    /// Maximum metrics, errors and objects, of each.
    pub limit: usize,
}

/// Reads a report; an incomplete one if a shutdown is requested meanwhile. Returns `None` if the node does not exist.
pub async fn report(
    connection: &mut Connection,
    query: &Query<'_>,
    bar: &ProgressBar,
    shutdown: &Shutdown,
) -> Result<Option<Report>, ClientError> {
    let Some(info) = info(connection, query.node).await? else {
        return Ok(None);
    };
    let now = server_time(connection).await?;
    let mut report = Report {
        node: replies::visible(&query.node.to_string()).into_owned(),
        now,
        from: now.saturating_sub(query.since_ms),
        info,
        patterns: query.patterns.to_vec(),
        ..Report::default()
    };
    metrics(connection, query, &mut report, bar, shutdown).await?;
    errors(connection, query, &mut report, shutdown).await?;
    objects(connection, query, &mut report, shutdown).await?;
    let mut command = Cmd::of_node("AGG.PEEK", query.node);
    command.arg("LOG").arg("COUNT").arg(LOG_ENTRIES).arg("REV");
    match connection.call(&command).await? {
        Ok(value) => {
            let records = reply::records(value);
            report.log = records.iter().map(replies::log_entry).collect();
        }
        Err(text) => note(&mut report, "the log", &text.to_string()),
    }
    Ok(Some(report))
}

fn note(report: &mut Report, what: &str, reason: &str) {
    let note = format!("cannot read {what}: {}", replies::visible(reason));
    if !report.notes.contains(&note) && report.notes.len() < MAX_NOTES {
        report.notes.push(note);
    }
}

/// Returns the server's time, which windows follow; this machine's time if the user may not ask for it.
async fn server_time(connection: &mut Connection) -> Result<i64, ClientError> {
    let time = connection.call(&Cmd::new("TIME")).await?.ok();
    let time = time.and_then(reply::items);
    Ok(match time.as_deref() {
        Some([seconds, micros]) => (number(seconds) * 1000 + number(micros) / 1000) as i64,
        _ => std::time::UNIX_EPOCH
            .elapsed()
            .map_or(0, |since| since.as_millis() as i64),
    })
}

/// Returns `None` if the node does not exist.
async fn info(connection: &mut Connection, node: &NodeName) -> Result<Option<Info>, ClientError> {
    match connection.run(&command::Info::new(node)).await {
        Ok(info) => Ok(info.map(Info::from)),
        Err(ClientError::Command(error)) => Err(connection.rejected("AGG.INFO", &error)),
        Err(error) => Err(error),
    }
}

async fn metrics(
    connection: &mut Connection,
    query: &Query<'_>,
    report: &mut Report,
    bar: &ProgressBar,
    shutdown: &Shutdown,
) -> Result<(), ClientError> {
    let names = names(connection, query, report, shutdown).await?;
    bar.set_length(names.len() as u64);
    let mut failures = Vec::new();
    let mut window_count = 0;
    for names in names.chunks(METRICS_PER_CALL) {
        if shutdown.is_requested() {
            return Ok(());
        }
        if window_count > MAX_WINDOWS {
            failures.push(format!(
                "more than {MAX_WINDOWS} windows: use --metric, or a lower --limit"
            ));
            break;
        }
        window_count += metrics_of(connection, query, report, names, &mut failures).await?;
        bar.inc(names.len() as u64);
    }
    for reason in failures {
        note(report, "some statistics", &reason);
    }
    let metrics = &mut report.metrics.shown;
    metrics.sort_by(|a, b| by_name(&a.name, &b.name));
    Ok(())
}

/// Reads the metrics with these names and returns how many windows they have.
async fn metrics_of(
    connection: &mut Connection,
    query: &Query<'_>,
    report: &mut Report,
    names: &[Vec<u8>],
    failures: &mut Vec<String>,
) -> Result<usize, ClientError> {
    let (min_ms, hour_ms) = (report.info.min_window_ms, report.info.hour_window_ms);
    let queues = [
        ("MIN", window_start(report.from, min_ms)),
        ("HOUR", window_start(report.from, hour_ms)),
    ];
    let mut commands = Vec::with_capacity(names.len() * 3);
    for name in names {
        let mut get = Cmd::of_node("AGG.GET", query.node);
        get.arg("METRIC").arg(name);
        commands.push(get);
        commands.extend(queues.map(|(queue, from)| range(query.node, name, queue, from)));
    }
    let mut replies: Vec<Reply> = Vec::with_capacity(commands.len());
    connection
        .pipeline(&commands, |_, reply| replies.push(reply))
        .await?;
    let mut replies = replies.into_iter();
    let mut window_count = 0;
    for name in names {
        let Some(get) = replies.next() else { break };
        let mut windows = || match replies.next() {
            Some(Ok(value)) => {
                replies::windows(value).ok_or_else(|| connection.unexpected_reply("AGG.RANGE"))
            }
            Some(Err(text)) => {
                failures.push(text.to_string());
                Ok(Vec::new())
            }
            None => Ok(Vec::new()),
        };
        let (mut short, mut long) = (windows()?, windows()?);
        for (queue, found) in [("MIN", &mut short), ("HOUR", &mut long)] {
            read_remaining(connection, (query.node, name, queue), found, failures).await?;
        }
        match get {
            // The metric was forgotten since its name was listed.
            Ok(Value::Nil) => report.metrics.total = report.metrics.total.saturating_sub(1),
            Ok(value) => {
                let metric = replies::metric(value);
                let mut metric = metric.ok_or_else(|| connection.unexpected_reply("AGG.GET"))?;
                metric.name = replies::visible(&String::from_utf8_lossy(name)).into_owned();
                metric.windows = join(long, short, report.from, report.now);
                window_count += metric.windows.len();
                report.metrics.shown.push(metric);
            }
            Err(text) => failures.push(text.to_string()),
        }
    }
    Ok(window_count)
}

fn range(node: &NodeName, metric: &[u8], queue: &str, from: i64) -> Cmd {
    let mut range = Cmd::of_node("AGG.RANGE", node);
    range.arg(metric).arg(queue).arg("FROM").arg(from);
    range
}

/// Reads the windows after those in `found`, if one reply did not have them all.
async fn read_remaining(
    connection: &mut Connection,
    (node, metric, queue): (&NodeName, &[u8], &str),
    found: &mut Vec<Window>,
    failures: &mut Vec<String>,
) -> Result<(), ClientError> {
    let mut last_reply = found.len();
    for _ in 1..MAX_RANGE_REPLIES {
        let last = found.last().filter(|_| last_reply >= WINDOWS_PER_REPLY);
        let Some(end) = last.map(|window| window.end) else {
            break;
        };
        match connection.call(&range(node, metric, queue, end)).await? {
            Ok(value) => {
                let more = replies::windows(value);
                let more = more.ok_or_else(|| connection.unexpected_reply("AGG.RANGE"))?;
                last_reply = more.len();
                found.extend(more);
            }
            Err(text) => {
                failures.push(text.to_string());
                break;
            }
        }
    }
    Ok(())
}

/// Returns the start of the window that holds `from`: it has samples of the requested time, too.
fn window_start(from: i64, window_ms: i64) -> i64 {
    (from - from.rem_euclid(window_ms)).max(EARLIEST_MS)
}

/// Returns the first names in byte order, up to the limit.
async fn names(
    connection: &mut Connection,
    query: &Query<'_>,
    report: &mut Report,
    shutdown: &Shutdown,
) -> Result<Vec<Vec<u8>>, ClientError> {
    let all = ["*".to_owned()];
    let patterns = match query.patterns {
        [] => &all[..],
        patterns => patterns,
    };
    let (mut first, mut bytes, mut omitted) = (BTreeSet::new(), 0, 0);
    for pattern in patterns {
        let mut walk = CursorWalk::new("AGG.SCAN");
        loop {
            let mut command = Cmd::of_node("AGG.SCAN", query.node);
            command.arg("METRIC").arg(walk.cursor());
            command.arg("MATCH").arg(pattern);
            command.arg("COUNT").arg(NAMES_PER_PAGE);
            let value = match connection.call(&command).await? {
                Ok(value) => value,
                Err(text) => {
                    note(report, "the names of metrics", &text.to_string());
                    break;
                }
            };
            let unexpected = || connection.unexpected_reply("AGG.SCAN");
            let (next, items) = reply::page(value).ok_or_else(unexpected)?;
            for name in items {
                let name = reply::bytes(name).ok_or_else(unexpected)?;
                let length = name.len();
                if !first.insert(name) {
                    continue;
                }
                bytes += length;
                if (first.len() > query.limit || bytes > MAX_NAME_BYTES)
                    && let Some(last) = first.pop_last()
                {
                    bytes -= last.len();
                    omitted += 1;
                }
            }
            if walk.step(connection, next)? || shutdown.is_requested() {
                break;
            }
        }
    }
    report.metrics.total = first.len() + omitted;
    Ok(first.into_iter().collect())
}

async fn errors(
    connection: &mut Connection,
    query: &Query<'_>,
    report: &mut Report,
    shutdown: &Shutdown,
) -> Result<(), ClientError> {
    let (limit, order) = (query.limit, ErrorReport::latest_first);
    let errors = &mut report.errors;
    let rejection = scan_values(connection, query.node, "ERROR", shutdown, |value| {
        replies::error(value).map(|error| errors.add(error, limit, order))
    });
    let rejection = rejection.await?;
    errors.finish(limit, order);
    if let Some(text) = rejection {
        note(report, "errors", &text);
    }
    Ok(())
}

async fn objects(
    connection: &mut Connection,
    query: &Query<'_>,
    report: &mut Report,
    shutdown: &Shutdown,
) -> Result<(), ClientError> {
    let (limit, order) = (query.limit, Object::by_model);
    let objects = &mut report.objects;
    let rejection = scan_values(connection, query.node, "REALITY", shutdown, |value| {
        replies::object(value).map(|object| objects.add(object, limit, order))
    });
    let rejection = rejection.await?;
    objects.finish(limit, order);
    if let Some(text) = rejection {
        note(report, "objects", &text);
    }
    Ok(())
}

/// Passes the values of a kind to `add`, which returns `None` for a value that it cannot parse. Returns the text of the
/// error if the server rejects the command.
async fn scan_values(
    connection: &mut Connection,
    node: &NodeName,
    kind: &str,
    shutdown: &Shutdown,
    mut add: impl FnMut(Value) -> Option<()>,
) -> Result<Option<String>, ClientError> {
    let mut walk = CursorWalk::new("AGG.SCAN");
    while !shutdown.is_requested() {
        let mut command = Cmd::of_node("AGG.SCAN", node);
        command.arg(kind).arg(walk.cursor());
        command.arg("COUNT").arg(VALUES_PER_PAGE).arg("WITHVALUES");
        let value = match connection.call(&command).await? {
            Ok(value) => value,
            Err(text) => return Ok(Some(text.to_string())),
        };
        let unexpected = || connection.unexpected_reply("AGG.SCAN");
        let (next, items) = reply::page(value).ok_or_else(unexpected)?;
        let mut items = items.into_iter();
        while let (Some(_), Some(value)) = (items.next(), items.next()) {
            add(value).ok_or_else(unexpected)?;
        }
        if walk.step(connection, next)? {
            break;
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn range_begins_at_the_start_of_a_window() {
        assert_eq!(window_start(1_795_608_123_456, 60_000), 1_795_608_120_000);
        assert_eq!(window_start(5, 1000), EARLIEST_MS);
    }
}
