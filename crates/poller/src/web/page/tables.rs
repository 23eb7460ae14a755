//! The tables of the page: sinks, servers and nodes.
//!
//! # Invariants
//!
//! However many servers and nodes exist, a table has a limited number of rows unless all are requested.

use aggregator_protocol::Queue;
use maud::{Markup, html};

use super::super::base::Column::{Number, Text};
use super::super::base::table;
use super::super::view::{NodeView, QueueView, ServerView, SinkView, State, View};
use super::markup::{address, badge, lag, limit_note, number_cell, visible, warning_cell};
use super::query::Query;
use aggregator_protocol::format::{bytes, duration, grouped, rate};

/// The rows that are shown of a longer table.
pub const MAX_ROWS: usize = 100;

pub fn sinks(view: &View) -> Markup {
    let columns = [
        Text("Sink"),
        Text("State"),
        Number("Records/s"),
        Number("Bytes/s"),
        Number("Stored"),
        Number("Bytes"),
        Number("In flight"),
        Number("Retries"),
        Number("Dead letters"),
    ];
    let rows = html! {
        @for sink in &view.sinks { (self::sink(sink)) }
    };
    html! {
        h2 #sinks { "Sinks" }
        (table("Sinks", &columns, &rows))
    }
}

fn sink(sink: &SinkView) -> Markup {
    let part = 100.0 * sink.in_flight_bytes as f64 / sink.in_flight_limit_bytes.max(1) as f64;
    html! {
        tr {
            th scope="row" { (visible(&sink.name)) " " small { (sink.kind) } }
            td.wide {
                @match (&sink.trouble, sink.trouble_for) {
                    (Some(trouble), Some(seconds)) => {
                        (badge(State::Trouble, "failing")) " for " (duration(seconds)) ": " (visible(trouble))
                    }
                    _ => (badge(State::Ok, "healthy")),
                }
            }
            (number_cell(&rate(sink.records_per_second)))
            (number_cell(&bytes(sink.bytes_per_second)))
            (number_cell(&grouped(sink.stored)))
            (number_cell(&bytes(sink.stored_bytes as f64)))
            td.n {
                (format!("{part:.0}% of {}", bytes(sink.in_flight_limit_bytes as f64))) " "
                meter max="100" high="90" aria-hidden="true" value=(format!("{part:.0}")) {}
            }
            (number_cell(&grouped(sink.retries)))
            (warning_cell(sink.dead))
        }
    }
}

pub fn servers(view: &View, query: &Query) -> Markup {
    let matching: Vec<&ServerView> = (view.servers.iter())
        .filter(|server| query.matches(&[&server.id, &server.place]))
        .collect();
    // A filter that matches no server is about nodes only.
    let all: Vec<&ServerView> = match matching.is_empty() {
        true => view.servers.iter().collect(),
        false => matching,
    };
    let columns = [
        Text("Server"),
        // The lag comes first, since a narrow screen does not show the rest of the row.
        Number("Lag"),
        Text("State"),
        Number("Nodes"),
        Number("Pending"),
        Number("Records/s"),
        Number("Fetched"),
        Number("Bytes"),
        Number("Connects"),
        Number("Dropped"),
    ];
    let shown = match query.all_servers {
        true => all.len(),
        false => MAX_ROWS.min(all.len()),
    };
    let rows = html! {
        @for server in &all[..shown] { (self::server(server)) }
    };
    html! {
        h2 #servers { "Servers" }
        @if all.is_empty() {
            p.quiet { "No servers found yet." }
        } @else {
            (table("Servers", &columns, &rows))
            (limit_note(shown, all.len(), "servers", &query.address("servers=all")))
        }
    }
}

fn server(server: &ServerView) -> Markup {
    let state = match (server.up, &server.trouble) {
        (true, _) if server.duty == "watched" => badge(State::Ok, "watched"),
        (true, _) if server.duty == "taken-over" => badge(State::Warning, "taken over"),
        (true, _) => badge(State::Ok, "up"),
        (false, Some(_)) => badge(State::Trouble, "down"),
        (false, None) => badge(State::Warning, "not reached yet"),
    };
    html! {
        tr {
            th scope="row" {
                (address(&server.id))
                @if server.place != server.id { " " small { (address(&server.place)) } }
            }
            // The last known state of a server that is down is outdated.
            td.n { @if server.up { (lag(server.lag)) } @else { "–" } }
            td.wide {
                (state) " for " (duration(server.since_for))
                @if let Some(trouble) = &server.trouble { ": " (visible(trouble)) }
            }
            (number_cell(&grouped(server.nodes as u64)))
            @if server.up { (number_cell(&grouped(server.waiting))) } @else { td.n { "–" } }
            (number_cell(&rate(server.records_per_second)))
            (number_cell(&grouped(server.records)))
            (number_cell(&bytes(server.bytes as f64)))
            (number_cell(&grouped(server.connects)))
            (warning_cell(server.dropped))
        }
    }
}

/// Returns the filter. It is outside of the parts that the script replaces, so that typing is not disturbed.
pub fn form(query: &Query) -> Markup {
    html! {
        form action="/" {
            label for="filter" { "Node or server contains" } " "
            input #filter name="filter" type="search" autocomplete="off" value=(visible(&query.filter));
            @if query.all_nodes { input type="hidden" name="nodes" value="all"; }
            @if query.all_servers { input type="hidden" name="servers" value="all"; }
            button { "Filter" }
        }
    }
}

pub fn nodes(view: &View, query: &Query) -> Markup {
    let all: Vec<&NodeView> = (view.nodes.iter())
        .filter(|node| query.matches(&[&node.name, &node.server]))
        .collect();
    let mut columns = vec![Text("Node"), Number("Lag"), Text("Server")];
    columns.extend(Queue::ALL.map(|queue| Number(queue.name())));
    columns.extend([Number("Bytes"), Number("Dropped")]);
    let shown = match query.all_nodes {
        true => all.len(),
        false => MAX_ROWS.min(all.len()),
    };
    let rows = html! {
        @for node in &all[..shown] { (self::node(node)) }
    };
    html! {
        @if view.nodes.is_empty() {
            p.quiet { "No nodes found yet." }
        } @else if all.is_empty() {
            p.quiet { "No node matches." }
        } @else {
            p.quiet {
                "The columns of the queues show the age of the oldest record × the number of pending records. "
                "Dropped records are counted since the start of the server."
            }
            (table("Nodes", &columns, &rows))
            (limit_note(shown, all.len(), "nodes", &query.address("nodes=all")))
        }
    }
}

fn node(node: &NodeView) -> Markup {
    html! {
        tr.old[!node.up] {
            th scope="row" { (visible(&node.name)) }
            td.n { (lag(node.lag)) }
            td.server {
                (address(&node.server))
                @if !node.up { " " small { "down, outdated" } }
            }
            @for queue in Queue::ALL { (self::queue(node.queues.get(queue.name()))) }
            (number_cell(&bytes(node.bytes as f64)))
            (warning_cell(node.dropped))
        }
    }
}

fn queue(queue: Option<&QueueView>) -> Markup {
    html! {
        @match queue {
            None => td.n.quiet title="unknown" { "?" },
            Some(queue) if queue.length == 0 => td.n.quiet { "–" },
            Some(queue) => td.n { (lag(queue.lag)) " " small { "× " (grouped(queue.length)) } },
        }
    }
}
