//! The page.

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
                    " " (count(view.buffered_bytes as u64)) " bytes of reports have no reply yet. Running for "
                    (duration(view.uptime_s)) "."
                }
                table {
                    thead { tr { th { "Protocol" } @for name in columns { th.n { (name) } } } }
                    tbody {
                        @for (protocol, c) in &view.protocols {
                            tr {
                                th scope="row" { (protocol) }
                                @for (index, n) in [c.received, c.counted, c.late, c.rejected, c.dropped,
                                    c.kernel_dropped, c.other].into_iter().enumerate() {
                                    td.n { span.bad[index > 1 && n > 0] { (count(n)) } }
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
                                    td.n { (count(invalid.count)) } td { code { (invalid.example) } }
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

/// Returns a number with separated thousands.
fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn duration(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3600 % 24),
    }
}
