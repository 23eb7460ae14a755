//! Prints the model once, for pipes and programs: as a table or as JSON, one object per line.

use std::collections::BTreeMap;

use agg_client::command::QueueInfo;
use aggregator_protocol::Queue;
use serde::Serialize;

use super::columns::{self, Column, reports, short_endpoint};
use super::model::{Model, Row, Server, State};
use super::table::{Filter, rows};
use super::text::{pad, width};
use crate::format::{bytes, change, count, per_second, rate};

/// Returns the sums and below them a table of the nodes.
pub fn table(model: &Model) -> String {
    let totals = model.totals();
    let mut text = format!(
        "servers {} up, {} down; nodes {}; memory {} of {}, highest {:.0} %; pending {}, growth {}; \
         reports {}; drops {}, {} so far\n",
        totals.up,
        totals.down + totals.connecting,
        totals.nodes,
        bytes(totals.memory_used),
        bytes(totals.memory_limit),
        totals.highest_usage * 100.0,
        count(totals.pending),
        per_second(change(totals.growth)),
        per_second(rate(totals.reports)),
        per_second(rate(totals.drops)),
        count(totals.dropped)
    );
    let rows = rows(model, Column::Node, false, &Filter::default());
    if rows.is_empty() {
        return text;
    }
    let titles = columns::ALL.map(|column| column.title().to_owned());
    let cells = rows
        .iter()
        .map(|row| columns::ALL.map(|column| word(column, row)));
    let cells: Vec<_> = std::iter::once(titles).chain(cells).collect();
    let widths: Vec<usize> = (0..columns::ALL.len())
        .map(|at| cells.iter().map(|row| width(&row[at])).max().unwrap_or(0))
        .collect();
    for row in cells {
        let parts = row.iter().enumerate();
        let parts: Vec<String> = parts
            .map(|(at, cell)| pad(cell, widths[at], !columns::ALL[at].is_name()))
            .collect();
        text.push_str(parts.join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// Returns a cell as one word, as programs split lines at spaces.
fn word(column: Column, row: &Row) -> String {
    match column.text(row) {
        text if column.is_name() => text.replace(' ', "·"),
        text => text,
    }
}

/// Returns an object for each server, followed by one for each of its nodes, one per line.
///
/// # Errors
/// An object cannot be written as JSON, which does not happen with strings and numbers.
pub fn json(model: &Model) -> serde_json::Result<String> {
    let mut text = String::new();
    for (id, server) in &model.servers {
        text.push_str(&serde_json::to_string(&ServerLine::new(id, server))?);
        text.push('\n');
        for (key, node) in &server.nodes {
            let row = Row {
                id,
                server,
                key,
                node,
            };
            text.push_str(&serde_json::to_string(&NodeLine::new(&row))?);
            text.push('\n');
        }
    }
    Ok(text)
}

/// The object of a server.
#[derive(Serialize)]
struct ServerLine<'a> {
    kind: &'static str,
    server: &'a str,
    address: &'a str,
    up: bool,
    nodes: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'a str>,
    #[serde(rename = "held", skip_serializing_if = "Option::is_none")]
    memory_used: Option<u64>,
    #[serde(rename = "ceiling", skip_serializing_if = "Option::is_none")]
    memory_limit: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dropped: Option<&'a BTreeMap<String, u64>>,
    reports_per_second: Option<f64>,
    drops_per_second: Option<f64>,
}

impl<'a> ServerLine<'a> {
    fn new(id: &'a str, server: &'a Server) -> Self {
        let stats = server.stats.as_ref();
        ServerLine {
            kind: "server",
            server: id,
            address: &server.endpoint,
            up: server.state == State::Up,
            nodes: server.nodes.len(),
            why: match &server.state {
                State::Down { reason, .. } => Some(reason),
                _ => None,
            },
            note: server.note.as_deref(),
            memory_used: stats.map(|stats| stats.memory_used),
            memory_limit: stats.map(|stats| stats.memory_limit),
            dropped: stats.map(|stats| &stats.dropped),
            reports_per_second: server.reports,
            drops_per_second: server.drops,
        }
    }
}

/// The object of a node.
#[derive(Serialize)]
struct NodeLine<'a> {
    kind: &'static str,
    node: std::borrow::Cow<'a, str>,
    server: &'a str,
    metrics: u64,
    errors: u64,
    realities: u64,
    bytes: u64,
    waiting: u64,
    lag_ms: u64,
    leased: u64,
    dropped: u64,
    late: u64,
    suspect_diff: u64,
    sources_dropped: u64,
    forgotten_dropped: u64,
    imported: u64,
    import_duplicates: u64,
    import_refused: u64,
    truncated: u64,
    refused: &'a BTreeMap<String, u64>,
    queues: BTreeMap<&'static str, QueueObject>,
    growth_per_second: Option<f64>,
    drops_per_second: Option<f64>,
    refused_per_second: Option<f64>,
    late_per_second: Option<f64>,
    reports_per_second: Option<f64>,
}

#[derive(Serialize)]
struct QueueObject {
    length: u64,
    bytes: u64,
    oldest: u64,
    leased: u64,
    dropped: u64,
}

impl From<&QueueInfo> for QueueObject {
    fn from(queue: &QueueInfo) -> Self {
        QueueObject {
            length: queue.length,
            bytes: queue.bytes,
            oldest: queue.oldest_ms,
            leased: queue.leased,
            dropped: queue.dropped,
        }
    }
}

impl<'a> NodeLine<'a> {
    fn new(row: &Row<'a>) -> Self {
        let (node, rates) = (&row.node.stats, &row.node.rates);
        let queues = Queue::ALL.map(Queue::name).into_iter().zip(&node.queues);
        NodeLine {
            kind: "node",
            node: String::from_utf8_lossy(row.key),
            server: row.id,
            metrics: node.metrics,
            errors: node.errors,
            realities: node.objects,
            bytes: node.bytes,
            waiting: node.pending(),
            lag_ms: node.lag_ms(),
            leased: node.leased(),
            dropped: node.dropped(),
            late: node.late,
            suspect_diff: node.suspect_diff,
            sources_dropped: node.sources_dropped,
            forgotten_dropped: node.forgotten_dropped,
            imported: node.imported,
            import_duplicates: node.import_duplicates,
            import_refused: node.import_refused,
            truncated: node.truncated,
            refused: &node.refused,
            queues: queues.map(|(name, queue)| (name, queue.into())).collect(),
            growth_per_second: rates.growth,
            drops_per_second: rates.dropped,
            refused_per_second: rates.refused,
            late_per_second: rates.late,
            reports_per_second: reports(row),
        }
    }
}

/// Returns what could not be read, one line per server.
pub fn problems(model: &Model) -> Vec<String> {
    let servers = model.servers.values();
    let lines = servers.filter_map(|server| match (&server.state, &server.note) {
        (State::Down { reason, .. }, _) => Some(reason.clone()),
        (State::Connecting, _) => Some(format!("{} did not answer in time", server.endpoint)),
        (State::Up, Some(note)) => Some(format!("{}: {note}", short_endpoint(&server.endpoint))),
        (State::Up, None) => None,
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::top::model::fixtures::{Fixture, node, server};

    fn model() -> Model {
        let mut fixture = Fixture::default();
        for reports in [0, 5] {
            fixture.read(
                "h:1",
                server(100, reports),
                &[("a b\n", node(reports, 70_000, 0))],
            );
        }
        fixture.down("h:2", "cannot reach redis://h:2");
        fixture.model
    }

    #[test]
    fn table_consists_of_words() {
        let text = table(&model());
        let lines: Vec<&str> = text.lines().collect();
        assert!(
            lines[0].starts_with("servers 1 up, 1 down; nodes 1; memory 100b of 1000b"),
            "{text}"
        );
        let words = |line: &str| {
            line.split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let (titles, row) = (words(lines[1]), words(lines[2]));
        assert_eq!(
            (titles.len(), row.len(), lines.len()),
            (columns::ALL.len(), columns::ALL.len(), 3)
        );
        assert_eq!(row[..5], ["a·b·", "h:1", "5", "70s", "+5.0"]);
        assert_eq!(problems(&model()), ["cannot reach redis://h:2"]);
    }

    #[test]
    fn json_has_one_object_per_line() {
        let text = super::json(&model()).unwrap();
        let all: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(all.len(), 3);
        assert_eq!(
            (&all[0]["kind"], &all[0]["up"]),
            (&json!("server"), &json!(true))
        );
        assert_eq!(
            (&all[1]["node"], &all[1]["waiting"]),
            (&json!("a b\n"), &json!(5))
        );
        assert_eq!(all[1]["queues"]["LOG"]["oldest"], 70_000);
        assert_eq!(all[1]["growth_per_second"], 5.0);
        assert_eq!(
            (&all[2]["up"], &all[2]["why"]),
            (&json!(false), &json!("cannot reach redis://h:2"))
        );
        assert_eq!(all[2]["reports_per_second"], Value::Null);
        assert!(all[2].get("held").is_none());
    }
}
