//! The page.

use aggregator_protocol::format::{duration, grouped};
use maud::{DOCTYPE, PreEscaped, html};

use super::view::View;

const STYLE: &str = "
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .35rem .8rem .35rem 0; border-bottom: 1px solid #8884; vertical-align: top; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
code { overflow-wrap: anywhere; } .ok { color: #15803d; } .bad { color: #c2410c; font-weight: 600; }
@media (prefers-color-scheme: dark) { .ok { color: #4ade80; } .bad { color: #fb923c; } }
";

/// The column of values that are no samples, which are no fault.
const SKIPPED: usize = 8;

/// Returns the page as HTML.
pub fn page(view: &View) -> String {
    let columns = [
        "Received",
        "Counted",
        "Late",
        "Rejected",
        "Dropped",
        "Lost by the kernel",
        "As @other",
        "Wrong times",
        "Skipped",
        "Forgotten",
    ];
    let invalid = view.protocols.iter().flat_map(|(protocol, counts)| {
        counts
            .invalid
            .iter()
            .map(move |(reason, invalid)| (protocol, reason, invalid))
    });
    let rejections = view.protocols.iter().filter_map(|(protocol, counts)| {
        counts.rejection.as_ref().map(|reason| (protocol, reason))
    });
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width";
                meta http-equiv="refresh" content="5";
                title { "agg listen" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { "agg listen" }
                p {
                    @if view.is_up { span.ok { "The server answers." } }
                    @else { span.bad { "The server cannot be reached; reports are kept." } }
                    " " (grouped(view.buffered_bytes as u64)) " bytes of reports have no reply yet. Running for "
                    (duration(view.uptime_s as f64)) "."
                }
                table {
                    thead { tr { th { "Protocol" } @for name in columns { th.n { (name) } } } }
                    tbody {
                        @for (protocol, c) in &view.protocols {
                            tr {
                                th scope="row" { (protocol) }
                                @for (index, n) in [c.received, c.counted, c.late, c.rejected, c.dropped,
                                    c.kernel_dropped, c.other, c.wrong_times, c.skipped, c.evicted].into_iter().enumerate() {
                                    td.n { span.bad[index > 1 && index != SKIPPED && n > 0] { (grouped(n)) } }
                                }
                            }
                        }
                    }
                }
                @let invalid: Vec<_> = invalid.collect();
                @if !invalid.is_empty() {
                    h2 { "Input that was not used" }
                    table {
                        thead { tr { th { "Protocol" } th { "Reason" } th.n { "Count" } th { "Last example" } } }
                        tbody {
                            @for (protocol, reason, invalid) in invalid {
                                tr {
                                    th scope="row" { (protocol) } td { (reason) }
                                    td.n { (grouped(invalid.count)) } td { code { (invalid.example) } }
                                }
                            }
                        }
                    }
                }
                @let rejections: Vec<_> = rejections.collect();
                @if !rejections.is_empty() {
                    h2 { "Last rejections" }
                    table {
                        tbody {
                            @for (protocol, reason) in rejections {
                                tr { th scope="row" { (protocol) } td { (reason) } }
                            }
                        }
                    }
                }
                @if !view.targets.is_empty() {
                    h2 { "Targets of Prometheus" }
                    table {
                        tbody {
                            @for (target, error) in &view.targets {
                                tr {
                                    td { code { (target) } }
                                    td {
                                        @match error {
                                            None => span.ok { "up" },
                                            Some(error) => span.bad { (error) },
                                        }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
    .into_string()
}
