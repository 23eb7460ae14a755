//! The sections of the page that show the node's state: errors, objects, queues and the log.

use agg_poller::web::base::{Column, table};
use aggregator_protocol::Queue;
use maud::{Markup, html};

use super::json;
use super::markup::{limit_note, name, tags};
use super::model::{ErrorReport, Object, Report};
use super::scale::moment;
use crate::format::{bytes, severity};
use aggregator_protocol::format::{duration, grouped};

/// Characters of a message that are shown while it is folded.
const FOLDED: usize = 200;

/// Returns the section of the errors.
pub fn errors(report: &Report) -> Markup {
    let errors = &report.errors;
    let columns = [
        Column::Text("Error"),
        Column::Number("Occurrences"),
        Column::Text("Last"),
        Column::Text("First"),
        Column::Text("Level"),
        Column::Text("Type"),
        Column::Text("File"),
        Column::Text("Function"),
    ];
    let rows = html! { @for error in &errors.shown { (self::error(error)) } };
    html! {
        h2 #errors { "Errors" }
        @if errors.shown.is_empty() {
            p { "The node has no errors." }
        } @else {
            p.quiet { "All errors that the node keeps, latest first." }
            (limit_note((errors.shown.len(), errors.total), "errors", "latest first"))
            div.stack { (table("Errors", &columns, &rows)) }
        }
    }
}

fn error(error: &ErrorReport) -> Markup {
    let texts = [("public: ", &error.public), ("code: ", &error.code)];
    html! {
        tr {
            td.wide {
                (message(&error.message))
                @for (label, text) in texts {
                    @if !text.is_empty() {
                        div { small { (label) } (text) }
                    }
                }
                @if !error.tags.is_empty() {
                    div { (tags(&error.tags)) }
                }
                @if !error.backtrace.is_empty() {
                    details {
                        summary { "Backtrace" }
                        pre { (error.backtrace) }
                    }
                }
            }
            td.n data-label="Occurrences" { (grouped(error.occurrences)) }
            td.when data-label="Last" { (moment(error.last)) }
            td.when data-label="First" { (moment(error.first)) }
            td data-label="Level" { (severity(Some(error.level))) }
            td data-label="Type" { (error.kind) }
            td.place data-label="File" { (error.file) }
            td.place data-label="Function" { (error.function) }
        }
    }
}

/// Returns a message; a long one is folded.
fn message(message: &str) -> Markup {
    match message.char_indices().nth(FOLDED) {
        Some((end, _)) => html! {
            details {
                summary { b { (message[..end]) "…" } }
                pre { (message) }
            }
        },
        None => html! { b { (name(message)) } },
    }
}

/// Returns the section of the objects.
pub fn objects(report: &Report) -> Markup {
    let objects = &report.objects;
    html! {
        h2 #objects { "Objects" }
        @if objects.shown.is_empty() {
            p { "The node has no objects." }
        } @else {
            p.quiet { "The current objects of the node, by model. Select an object to see its JSON." }
            (limit_note((objects.shown.len(), objects.total), "objects", "ordered by model and key"))
            @for same_model in objects.shown.chunk_by(|a, b| a.model == b.model) {
                h3 { (name(&same_model[0].model)) " " small { (same_model.len()) } }
                div.sheet {
                    @for object in same_model { (self::object(object)) }
                }
            }
        }
    }
}

fn object(object: &Object) -> Markup {
    html! {
        details {
            summary {
                b { (name(&object.key)) }
                " "
                @if object.gone { span.word.warning { "gone" } " " }
                small {
                    "changed " (moment(object.changed))
                    @if object.last_seen > object.changed {
                        ", last seen " (moment(object.last_seen))
                    }
                }
                " "
                (tags(&object.tags))
            }
            pre { (json::indent(&object.json)) }
        }
    }
}

/// Returns the section of the queues, and the counters of samples and reports that were not queued.
pub fn queues(report: &Report) -> Markup {
    let stats = &report.info.stats;
    let columns = [
        Column::Text("Queue"),
        Column::Number("Records"),
        Column::Number("Bytes"),
        Column::Number("Oldest"),
        Column::Number("Leased"),
        Column::Number("Dropped"),
    ];
    let rows = html! {
        @for (name, queue) in Queue::ALL.map(Queue::name).into_iter().zip(&stats.queues) {
            tr {
                th scope="row" { (name) }
                td.n { (grouped(queue.length)) }
                td.n { (bytes(queue.bytes)) }
                td.n {
                    @if queue.length == 0 { "-" } @else { (duration(queue.oldest_ms as f64 / 1000.0)) }
                }
                td.n { (grouped(queue.leased)) }
                td.n { (highlighted(queue.dropped)) }
            }
        }
    };
    html! {
        h2 #queues { "Queues" }
        (table("Queues", &columns, &rows))
        (counters(report))
    }
}

/// Returns the counters of the node that are not 0.
fn counters(report: &Report) -> Markup {
    let (info, stats) = (&report.info, &report.info.stats);
    let counters = [
        (stats.late, "late samples"),
        (info.late_min, "samples too late for the short window"),
        (info.late_hour, "samples too late for the long window"),
        (stats.truncated, "truncated texts"),
        (stats.sources_dropped, "dropped sources of sequence numbers"),
        (
            stats.forgotten_dropped,
            "removed metrics no longer remembered",
        ),
        (stats.imported, "imported records"),
        (stats.import_duplicates, "records imported again"),
        (stats.import_refused, "imports without space"),
        (stats.clock_back, "backward clock steps"),
    ];
    let counters = counters.into_iter().filter(|(count, _)| *count > 0);
    let reasons = stats.refused.iter().filter(|(_, count)| **count > 0);
    html! {
        p.quiet {
            "Since the server started: "
            @for (count, name) in counters { (grouped(count)) " " (name) ", " }
            (highlighted(stats.refused())) " rejected reports"
            @for (index, (reason, count)) in reasons.enumerate() {
                @if index == 0 { ": " } @else { ", " }
                (grouped(*count)) " for " (reason)
            }
            "."
        }
        @if stats.suspect_diff > 0 {
            p.note {
                (grouped(stats.suspect_diff)) " windows of DIFF metrics (" code { "suspect-diff" }
                "): several processes seem to report their totals to one metric. Let them report increments with INC, \
                 or give each a metric of its own."
            }
        }
    }
}

/// Returns a number, as a warning unless it is 0.
fn highlighted(number: u64) -> Markup {
    html! {
        @if number == 0 { "0" } @else { span.word.warning { (grouped(number)) } }
    }
}

/// Returns the section of the log.
pub fn log(report: &Report) -> Markup {
    let columns = [
        Column::Text("Time"),
        Column::Text("Level"),
        Column::Text("Message"),
        Column::Text("Tags"),
    ];
    let rows = html! {
        @for entry in &report.log {
            tr {
                td.when { (moment(entry.at)) }
                td data-label="Level" { (severity(Some(entry.level))) }
                td.wide { (entry.message) }
                td { (tags(&entry.tags)) }
            }
        }
    };
    html! {
        h2 #log { "Log" }
        @if report.log.is_empty() {
            p { "No log entries are pending: pollers have fetched them, or none was reported." }
        } @else {
            p.quiet { "The latest pending log entries, latest first." }
            div.stack { (table("Log", &columns, &rows)) }
        }
    }
}
