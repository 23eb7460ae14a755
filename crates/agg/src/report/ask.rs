//! What the server is asked: commands that read, and no others. What is kept is bounded, whatever the node holds.

use std::collections::BTreeSet;

use indicatif::ProgressBar;
use redis::{Cmd, Value};

use super::model::{Failing, Info, Line, Metric, Object, Report, Window, by_name, join};
use crate::top::figures::{self, number, pairs};
use agg_client::Shutdown;
use agg_client::connect::{ClientError, Connection, Walk};
use agg_client::reply::{self, Reply};
use aggregator_protocol::NodeName;

/// Names, and errors or objects (which may be long), in a page of a scan.
const NAMES: usize = 1000;
const VALUES: usize = 50;
/// Metrics that are asked for at once: with some thousands of windows each, their replies are within what a call may
/// bring.
const AT_ONCE: usize = 8;
/// Bytes of the names of metrics, and windows of all of them, that are kept: a page of more is of no use to anybody.
const NAME_BYTES: usize = 32 << 20;
const WINDOWS: usize = 4_000_000;
/// Windows of a reply of AGG.RANGE where there may be more, and how many such replies are read: as many windows as the
/// longest history has.
const PAGE: usize = 5000;
const PAGES: usize = 20;
/// Lines of the log.
const LINES: usize = 50;
/// Bytes that are kept of one text, and of an object.
const TEXT: usize = 2000;
const LONG: usize = 16_000;
/// Tags of one that are kept.
const TAGS: usize = 100;

/// What the page is to tell.
pub struct Wanted<'a> {
    pub node: &'a NodeName,
    /// How far back, ms.
    pub since_ms: i64,
    /// Patterns of metrics; all where there is none.
    pub patterns: &'a [String],
    /// The most of a kind.
    pub limit: usize,
}

/// Reads all of it; none where the end is asked for before. The node is no more, or not yet, where there is no
/// [`Report`] in the result.
pub async fn report(
    wire: &mut Connection,
    wanted: &Wanted<'_>,
    bar: &ProgressBar,
    stop: &Shutdown,
) -> Result<Option<Report>, ClientError> {
    let Some(info) = info(wire, wanted.node).await? else {
        return Ok(None);
    };
    let now = clock(wire).await?;
    let mut report = Report {
        node: wanted.node.to_string(),
        now,
        from: now.saturating_sub(wanted.since_ms),
        info,
        patterns: wanted.patterns.to_vec(),
        ..Report::default()
    };
    metrics(wire, wanted, &mut report, bar, stop).await?;
    for kind in ["ERROR", "REALITY"] {
        values(wire, wanted, kind, &mut report, stop).await?;
    }
    let mut command = about("AGG.PEEK", wanted.node);
    command.arg("LOG").arg("COUNT").arg(LINES).arg("REV");
    match wire.call(&command).await? {
        Ok(value) => report.lines = reply::records(value).iter().map(line).collect(),
        Err(text) => note(&mut report, "the log", &text),
    }
    Ok(Some(report))
}

fn about(command: &str, node: &NodeName) -> Cmd {
    let mut command = redis::cmd(command);
    command.arg(&node.0);
    command
}

fn note(report: &mut Report, what: &str, text: &str) {
    let note = format!("{what} could not be read: {text}");
    if !report.notes.contains(&note) && report.notes.len() < 20 {
        report.notes.push(note);
    }
}

/// The server's clock, by which windows are; ours where we may not ask for it.
async fn clock(wire: &mut Connection) -> Result<i64, ClientError> {
    let told = wire.call(&redis::cmd("TIME")).await?.ok();
    let told = told.and_then(reply::items);
    Ok(match told.as_deref() {
        Some([seconds, micros]) => (number(seconds) * 1000 + number(micros) / 1000) as i64,
        _ => std::time::UNIX_EPOCH
            .elapsed()
            .map_or(0, |since| since.as_millis() as i64),
    })
}

/// None where there is no such node.
async fn info(wire: &mut Connection, node: &NodeName) -> Result<Option<Info>, ClientError> {
    let value = match wire.call(&about("AGG.INFO", node)).await? {
        Ok(Value::Nil) => return Ok(None),
        Ok(value) => value,
        Err(text) => return Err(wire.refused("AGG.INFO", &text)),
    };
    let read = || {
        let mut info = Info {
            figures: figures::Node::read(value.clone())?,
            min_ms: 300_000,
            hour_ms: 3_600_000,
            ..Info::default()
        };
        for (field, value) in pairs(value)? {
            match field.as_str() {
                "late-min" => info.late_min = number(&value),
                "late-hour" => info.late_hour = number(&value),
                "min-window" => info.min_ms = number(&value).clamp(1, 1 << 31) as i64 * 1000,
                "hour-window" => info.hour_ms = number(&value).clamp(1, 1 << 31) as i64 * 1000,
                _ => {}
            }
        }
        Some(info)
    };
    read()
        .map(Some)
        .ok_or_else(|| wire.unexpected_reply("AGG.INFO"))
}

async fn metrics(
    wire: &mut Connection,
    wanted: &Wanted<'_>,
    report: &mut Report,
    bar: &ProgressBar,
    stop: &Shutdown,
) -> Result<(), ClientError> {
    let names = names(wire, wanted, report, stop).await?;
    bar.set_length(names.len() as u64);
    // A window that began before holds samples of the time that is asked for.
    let since = |window: i64| report_from(report.from, window);
    let (min, hour) = (since(report.info.min_ms), since(report.info.hour_ms));
    let (mut failed, mut kept) = (Vec::new(), 0);
    for part in names.chunks(AT_ONCE) {
        if stop.is_requested() {
            return Ok(());
        }
        if kept > WINDOWS {
            failed.push(format!(
                "there are more than {WINDOWS} windows: name metrics, or lower --limit"
            ));
            break;
        }
        let mut commands = Vec::with_capacity(part.len() * 3);
        for name in part {
            let mut get = about("AGG.GET", wanted.node);
            get.arg("METRIC").arg(name);
            commands.push(get);
            for (queue, from) in [("MIN", min), ("HOUR", hour)] {
                commands.push(range(wanted.node, name, queue, from));
            }
        }
        let mut replies: Vec<Reply> = Vec::with_capacity(commands.len());
        wire.pipeline(&commands, |_, reply| replies.push(reply))
            .await?;
        let mut replies = replies.into_iter();
        for name in part {
            let Some(get) = replies.next() else { break };
            let mut windows = || match replies.next() {
                Some(Ok(value)) => windows(value).ok_or_else(|| wire.unexpected_reply("AGG.RANGE")),
                Some(Err(text)) => {
                    failed.push(text);
                    Ok(Vec::new())
                }
                None => Ok(Vec::new()),
            };
            let (mut short, mut long) = (windows()?, windows()?);
            for (queue, found) in [("MIN", &mut short), ("HOUR", &mut long)] {
                read_on(wire, (wanted.node, name, queue), found, &mut failed).await?;
            }
            match get {
                // It was forgotten since it was listed.
                Ok(Value::Nil) => report.metrics.all = report.metrics.all.saturating_sub(1),
                Ok(value) => {
                    let mut metric =
                        metric(value).ok_or_else(|| wire.unexpected_reply("AGG.GET"))?;
                    metric.name = String::from_utf8_lossy(name).into_owned();
                    metric.windows = join(long, short, report.from, report.now);
                    kept += metric.windows.len();
                    report.metrics.shown.push(metric);
                }
                Err(text) => failed.push(text),
            }
        }
        bar.inc(part.len() as u64);
    }
    for text in failed {
        note(report, "some statistics", &text);
    }
    report
        .metrics
        .shown
        .sort_by(|a, b| by_name(&a.name, &b.name));
    Ok(())
}

fn range(node: &NodeName, metric: &[u8], queue: &str, from: i64) -> Cmd {
    let mut range = about("AGG.RANGE", node);
    range.arg(metric).arg(queue).arg("FROM").arg(from);
    range
}

/// Reads the windows behind those found, where there may be more than one reply has.
async fn read_on(
    wire: &mut Connection,
    (node, metric, queue): (&NodeName, &[u8], &str),
    found: &mut Vec<Window>,
    failed: &mut Vec<String>,
) -> Result<(), ClientError> {
    let mut page = found.len();
    for _ in 1..PAGES {
        let Some(end) = found.last().map(|last| last.end).filter(|_| page >= PAGE) else {
            break;
        };
        match wire.call(&range(node, metric, queue, end)).await? {
            Ok(value) => {
                let more = windows(value).ok_or_else(|| wire.unexpected_reply("AGG.RANGE"))?;
                page = more.len();
                found.extend(more);
            }
            Err(text) => {
                failed.push(text);
                break;
            }
        }
    }
    Ok(())
}

/// The beginning of the window that holds the first moment.
fn report_from(from: i64, window: i64) -> i64 {
    // The least that the server takes.
    (from - from.rem_euclid(window)).max(100_000_000_000)
}

/// The first names, as many as are wanted, by their bytes.
async fn names(
    wire: &mut Connection,
    wanted: &Wanted<'_>,
    report: &mut Report,
    stop: &Shutdown,
) -> Result<Vec<Vec<u8>>, ClientError> {
    let every = ["*".to_owned()];
    let patterns = match wanted.patterns {
        [] => &every[..],
        some => some,
    };
    let (mut first, mut bytes, mut more) = (BTreeSet::new(), 0, 0);
    for pattern in patterns {
        let mut walk = Walk::new("AGG.SCAN");
        loop {
            let mut command = about("AGG.SCAN", wanted.node);
            command.arg("METRIC").arg(walk.cursor());
            command.arg("MATCH").arg(pattern).arg("COUNT").arg(NAMES);
            let value = match wire.call(&command).await? {
                Ok(value) => value,
                Err(text) => {
                    note(report, "the names of metrics", &text);
                    break;
                }
            };
            let (next, items) =
                reply::page(value).ok_or_else(|| wire.unexpected_reply("AGG.SCAN"))?;
            for name in items {
                let name = reply::bytes(name).ok_or_else(|| wire.unexpected_reply("AGG.SCAN"))?;
                let length = name.len();
                if !first.insert(name) {
                    continue;
                }
                bytes += length;
                if (first.len() > wanted.limit || bytes > NAME_BYTES)
                    && let Some(last) = first.pop_last()
                {
                    bytes -= last.len();
                    more += 1;
                }
            }
            if walk.step(wire, next)? || stop.is_requested() {
                break;
            }
        }
    }
    report.metrics.all = first.len() + more;
    Ok(first.into_iter().collect())
}

/// Reads the errors or the objects.
async fn values(
    wire: &mut Connection,
    wanted: &Wanted<'_>,
    kind: &str,
    report: &mut Report,
    stop: &Shutdown,
) -> Result<(), ClientError> {
    let (limit, mut walk) = (wanted.limit, Walk::new("AGG.SCAN"));
    while !stop.is_requested() {
        let mut command = about("AGG.SCAN", wanted.node);
        command.arg(kind).arg(walk.cursor());
        command.arg("COUNT").arg(VALUES).arg("WITHVALUES");
        let value = match wire.call(&command).await? {
            Ok(value) => value,
            Err(text) => {
                let what = if kind == "ERROR" { "errors" } else { "objects" };
                note(report, what, &text);
                break;
            }
        };
        let (next, items) = reply::page(value).ok_or_else(|| wire.unexpected_reply("AGG.SCAN"))?;
        let mut items = items.into_iter();
        while let (Some(_), Some(value)) = (items.next(), items.next()) {
            let taken = match kind {
                "ERROR" => failing(value).map(|one| report.errors.take(one, limit, Failing::order)),
                _ => object(value).map(|one| report.objects.take(one, limit, Object::order)),
            };
            taken.ok_or_else(|| wire.unexpected_reply("AGG.SCAN"))?;
        }
        if walk.step(wire, next)? {
            break;
        }
    }
    report.errors.end(limit, Failing::order);
    report.objects.end(limit, Object::order);
    Ok(())
}

fn metric(value: Value) -> Option<Metric> {
    let mut metric = Metric::default();
    for (field, value) in pairs(value)? {
        match field.as_str() {
            "type" => metric.rate = text(value, TEXT) == "DIFF",
            "tags" => metric.tags = tags(value)?,
            "last" => metric.last = text(value, TEXT),
            "at" => metric.at = whole(&value),
            "samples" => metric.samples = number(&value),
            _ => {}
        }
    }
    Some(metric)
}

/// The windows of AGG.RANGE.
fn windows(value: Value) -> Option<Vec<Window>> {
    let window = |value| {
        let mut window = Window {
            start: 0,
            end: 0,
            count: 0,
            avg: 0.0,
            min: 0.0,
            max: 0.0,
        };
        for (field, value) in pairs(value)? {
            match field.as_str() {
                "start" => window.start = whole(&value),
                "end" => window.end = whole(&value),
                "count" => window.count = number(&value),
                "avg" => window.avg = double(value)?,
                "min" => window.min = double(value)?,
                "max" => window.max = double(value)?,
                _ => {}
            }
        }
        Some(window)
    };
    reply::items(value)?.into_iter().map(window).collect()
}

fn failing(value: Value) -> Option<Failing> {
    let mut one = Failing::default();
    for (field, value) in pairs(value)? {
        match field.as_str() {
            "level" => one.level = number(&value),
            "occurrences" => one.occurrences = number(&value),
            "first" => one.first = whole(&value),
            "last" => one.last = whole(&value),
            "tags" => one.tags = tags(value)?,
            "key" => one.key = text(value, TEXT),
            "message" => one.message = text(value, TEXT),
            "public" => one.public = text(value, TEXT),
            "type" => one.kind = text(value, TEXT),
            "code" => one.code = text(value, TEXT),
            "func" => one.function = text(value, TEXT),
            "file" => one.file = text(value, TEXT),
            "backtrace" => one.backtrace = text(value, LONG),
            _ => {}
        }
    }
    Some(one)
}

impl Failing {
    /// The latest first.
    fn order(a: &Failing, b: &Failing) -> std::cmp::Ordering {
        b.last.cmp(&a.last).then_with(|| a.key.cmp(&b.key))
    }
}

fn object(value: Value) -> Option<Object> {
    let mut one = Object::default();
    for (field, value) in pairs(value)? {
        match field.as_str() {
            "epoch" => one.changed = whole(&value),
            "seen" => one.seen = whole(&value),
            "gone" => one.gone = number(&value) != 0,
            "tags" => one.tags = tags(value)?,
            "key" => one.key = text(value, TEXT),
            "model" => one.model = text(value, TEXT),
            "json" => one.json = text(value, LONG),
            _ => {}
        }
    }
    Some(one)
}

impl Object {
    /// By model and key.
    fn order(a: &Object, b: &Object) -> std::cmp::Ordering {
        by_name(&a.model, &b.model).then_with(|| by_name(&a.key, &b.key))
    }
}

fn tags(value: Value) -> Option<Vec<(String, String)>> {
    let told = pairs(value)?.into_iter().take(TAGS);
    let mut tags: Vec<_> = told
        .map(|(name, value)| (cut(name, TEXT), text(value, TEXT)))
        .collect();
    tags.sort();
    Some(tags)
}

/// A text of which the page shows so much.
fn text(value: Value, most: usize) -> String {
    cut(reply::text(value).unwrap_or_default(), most)
}

fn cut(mut text: String, most: usize) -> String {
    if text.len() > most {
        let end = (0..=most).rev().find(|at| text.is_char_boundary(*at));
        let end = end.unwrap_or(0);
        let rest = format!("…[+{} bytes]", text.len() - end);
        text.truncate(end);
        text.push_str(&rest);
    }
    text
}

fn whole(value: &Value) -> i64 {
    match value {
        Value::Int(n) => *n,
        other => number(other) as i64,
    }
}

fn double(value: Value) -> Option<f64> {
    let number: f64 = match value {
        Value::Int(n) => n as f64,
        value => reply::text(value)?.parse().ok()?,
    };
    number.is_finite().then_some(number)
}

fn line(record: &serde_json::Value) -> Line {
    let words = record["tags"].as_object().into_iter().flatten();
    let words = words.map(|(name, value)| (name.clone(), value.as_str().unwrap_or("").to_owned()));
    Line {
        at: record["epoch"].as_i64().unwrap_or_default(),
        level: record["level"].as_u64().unwrap_or_default(),
        message: cut(record["message"].as_str().unwrap_or("").to_owned(), TEXT),
        tags: words.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.into())
    }

    #[test]
    fn windows_are_read() {
        let fields = ["start", "end", "avg", "min", "max", "new"];
        let window = |avg: &str| {
            let values = [
                Value::Int(10),
                Value::Int(20),
                bulk(avg),
                bulk("-1.5"),
                bulk("1e300"),
                bulk("?"),
            ];
            let all = fields.iter().map(|field| bulk(field)).zip(values);
            Value::Array(all.flat_map(|(field, value)| [field, value]).collect())
        };
        let read = windows(Value::Array(vec![window("2.0")])).unwrap();
        assert_eq!((read[0].start, read[0].end), (10, 20));
        assert_eq!((read[0].avg, read[0].min, read[0].max), (2.0, -1.5, 1e300));
        assert_eq!(windows(Value::Nil), Some(vec![]));
        assert_eq!(windows(Value::Array(vec![window("inf")])), None);
        assert_eq!(windows(Value::Int(1)), None);
    }

    #[test]
    fn long_texts_are_cut_at_a_character() {
        assert_eq!(cut("abc".into(), 3), "abc");
        assert_eq!(cut("aéb".into(), 2), "a…[+3 bytes]");
    }

    #[test]
    fn a_range_begins_with_a_window() {
        assert_eq!(report_from(1_795_608_123_456, 60_000), 1_795_608_120_000);
        assert_eq!(report_from(5, 1000), 100_000_000_000);
    }
}
