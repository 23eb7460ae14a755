//! What is known, once, for programs and pipes: a table, or one JSON object a line.

use serde_json::{Map, Value, json};

use super::columns::{self, Column, reports, short};
use super::figures::{QUEUES, Queue};
use super::model::{Filter, Model, Row, Server, State};
use super::show::{bytes, change, count, pad, per_second, rate, width};

/// The table, and above it what it sums up to.
pub fn table(model: &Model) -> String {
    let totals = model.totals();
    let mut text = format!(
        "servers {} up, {} away; nodes {}; memory {} of {}, fullest {:.0} %; waiting {}, grows {}; \
         reports {}; drops {}, {} so far\n",
        totals.up,
        totals.away + totals.new,
        totals.nodes,
        bytes(totals.held),
        bytes(totals.ceiling),
        totals.fullest * 100.0,
        count(totals.waiting),
        per_second(change(totals.growth)),
        per_second(rate(totals.reports)),
        per_second(rate(totals.drops)),
        count(totals.dropped)
    );
    let rows = model.rows(Column::Node, false, &Filter::default());
    if rows.is_empty() {
        return text;
    }
    let cells: Vec<Vec<String>> =
        std::iter::once(columns::ALL.map(|column| column.title().to_owned()).into())
            .chain(
                rows.iter()
                    .map(|row| columns::ALL.map(|column| word(column, row)).into()),
            )
            .collect();
    let widths: Vec<usize> = (0..columns::ALL.len())
        .map(|at| cells.iter().map(|row| width(&row[at])).max().unwrap_or(0))
        .collect();
    for row in cells {
        let parts = row.iter().enumerate();
        let parts: Vec<String> = parts
            .map(|(at, cell)| pad(cell, widths[at], !columns::ALL[at].name()))
            .collect();
        text.push_str(parts.join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// A cell that is one word, as programs split at blanks.
fn word(column: Column, row: &Row) -> String {
    match column.text(row) {
        text if column.name() => text.replace(' ', "·"),
        text => text,
    }
}

/// An object for each server and then one for each of its nodes, a line each.
pub fn json(model: &Model) -> String {
    let mut text = String::new();
    for (id, server) in &model.servers {
        text.push_str(&format!("{}\n", of_server(id, server)));
        for (key, node) in &server.nodes {
            let row = Row {
                id,
                server,
                key,
                node,
            };
            text.push_str(&format!("{}\n", of_node(&row)));
        }
    }
    text
}

fn of_server(id: &str, server: &Server) -> Value {
    let mut object = json!({
        "kind": "server",
        "server": id,
        "address": server.place,
        "up": server.state == State::Up,
        "nodes": server.nodes.len(),
    });
    if let State::Away { why, .. } = &server.state {
        object["why"] = why.as_str().into();
    }
    if let Some(note) = &server.note {
        object["note"] = note.as_str().into();
    }
    if let Some(figures) = &server.figures {
        object["held"] = figures.held.into();
        object["ceiling"] = figures.ceiling.into();
        object["dropped"] = json!(figures.dropped);
    }
    object["reports_per_second"] = json!(server.reports);
    object["drops_per_second"] = json!(server.drops);
    object
}

fn of_node(row: &Row) -> Value {
    let (node, rates) = (&row.node.figures, &row.node.rates);
    let queue = |queue: &Queue| {
        json!({
            "length": queue.length,
            "bytes": queue.bytes,
            "oldest": queue.oldest,
            "leased": queue.leased,
            "dropped": queue.dropped,
        })
    };
    let queues: Map<String, Value> = QUEUES
        .iter()
        .zip(&node.queues)
        .map(|(name, figures)| ((*name).to_owned(), queue(figures)))
        .collect();
    json!({
        "kind": "node",
        "node": String::from_utf8_lossy(row.key),
        "server": row.id,
        "metrics": node.metrics,
        "errors": node.errors,
        "realities": node.realities,
        "bytes": node.bytes,
        "waiting": node.waiting(),
        "lag_ms": node.lag(),
        "leased": node.leased(),
        "dropped": node.dropped(),
        "late": node.late,
        "truncated": node.truncated,
        "refused": node.refused,
        "queues": queues,
        "growth_per_second": rates.growth,
        "drops_per_second": rates.dropped,
        "refused_per_second": rates.refused,
        "late_per_second": rates.late,
        "reports_per_second": reports(row),
    })
}

/// What could not be looked at, a line each, for a person.
pub fn trouble(model: &Model) -> Vec<String> {
    let servers = model.servers.values();
    let lines = servers.filter_map(|server| match (&server.state, &server.note) {
        (State::Away { why, .. }, _) => Some(why.clone()),
        (State::New, _) => Some(format!("{} has not answered in time", server.place)),
        (State::Up, Some(note)) => Some(format!("{}: {note}", short(&server.place))),
        (State::Up, None) => None,
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::top::model::tests::{Fixture, node, server};

    fn model() -> Model {
        let mut fixture = Fixture::default();
        for reports in [0, 5] {
            fixture.look(
                "h:1",
                server(100, reports),
                &[("a b\n", node(reports, 70_000, 0))],
            );
        }
        fixture.away("h:2", "cannot reach redis://h:2");
        fixture.model
    }

    #[test]
    fn a_table_of_words() {
        let text = table(&model());
        let lines: Vec<&str> = text.lines().collect();
        assert!(
            lines[0].starts_with("servers 1 up, 1 away; nodes 1; memory 100b of 1000b"),
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
        assert_eq!(trouble(&model()), ["cannot reach redis://h:2"]);
    }

    #[test]
    fn an_object_a_line() {
        let text = json(&model());
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
    }
}
