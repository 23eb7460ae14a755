//! The page as a whole. It has no script, loads nothing, and forbids both by its content security policy.
//!
//! maud escapes every text that is inserted; replies.rs has removed hidden characters.

use std::path::Path;

use agg_poller::web::base;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::model::Report;
use super::scale::moment;
use super::{sections, statistics};
use crate::format::bytes;
use aggregator_protocol::format::{duration, grouped};

const CONTENT_SECURITY_POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:";

/// Returns the page.
pub fn page(report: &Report) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(CONTENT_SECURITY_POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (report.node) " · agg report" }
                link rel="icon" href="data:,";
                style { (PreEscaped(base::STYLE)) (PreEscaped(include_str!("page.css"))) }
            }
            body {
                header {
                    h1 { (report.node) }
                    p.quiet { (report.endpoint) ", " (moment(report.now)) " UTC" }
                }
                main {
                    (notes(report))
                    (overview(report))
                    (statistics::section(report))
                    (sections::errors(report))
                    (sections::objects(report))
                    (sections::queues(report))
                    (sections::log(report))
                }
                footer.quiet {
                    p { "Written by agg report " (env!("CARGO_PKG_VERSION")) ". All times are UTC." }
                }
            }
        }
    };
    page.into_string() + "\n"
}

fn notes(report: &Report) -> Markup {
    html! {
        @if !report.notes.is_empty() {
            div.state.trouble {
                strong { "This report is incomplete" }
                ul {
                    @for note in &report.notes { li { (note) } }
                }
            }
        }
    }
}

fn overview(report: &Report) -> Markup {
    let stats = &report.info.stats;
    let oldest = match stats.pending() {
        0 => None,
        _ => Some(duration(stats.lag_ms() as f64 / 1000.0)),
    };
    let values = [
        ("Metrics", grouped(stats.metrics), None),
        ("Errors", grouped(stats.errors), None),
        ("Objects", grouped(stats.objects), None),
        ("Pending records", grouped(stats.pending()), oldest),
        ("Dropped", grouped(stats.dropped()), None),
        ("Rejected", grouped(stats.refused()), None),
        ("Late samples", grouped(stats.late), None),
        ("Memory", bytes(stats.bytes), None),
    ];
    let sections = ["Statistics", "Errors", "Objects", "Queues", "Log"];
    html! {
        dl {
            @for (name, value, oldest) in values {
                div {
                    dt { (name) }
                    dd {
                        (value)
                        @if let Some(age) = oldest { small { "oldest: " (age) } }
                    }
                }
            }
        }
        nav {
            @for section in sections {
                a href={ "#" (section.to_lowercase()) } { (section) }
                " "
            }
        }
    }
}

/// Returns a line that tells what was written to a file of this size.
pub fn summary(report: &Report, path: &Path, size: usize) -> String {
    let part = |shown: usize, total: usize, one: &str, many: &str| {
        let of = match shown == total {
            true => String::new(),
            false => format!(" of {total}"),
        };
        format!("{shown}{of} {}", if total == 1 { one } else { many })
    };
    let (metrics, errors, objects) = (&report.metrics, &report.errors, &report.objects);
    let parts = [
        part(metrics.shown.len(), metrics.total, "metric", "metrics"),
        part(errors.shown.len(), errors.total, "error", "errors"),
        part(objects.shown.len(), objects.total, "object", "objects"),
    ];
    format!(
        "{}: node {}, {}, {}",
        path.display(),
        report.node,
        parts.join(", "),
        bytes(size as u64),
    )
}
