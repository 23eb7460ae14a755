//! The state as metrics for Prometheus, text format 0.0.4.

use std::fmt::Write;

use super::view::View;
use crate::counts::ProtocolCounts;

/// The `Content-Type`.
pub const TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A counter of each protocol: its name, help, and value.
type Counter = (&'static str, &'static str, fn(&ProtocolCounts) -> u64);

const COUNTERS: [Counter; 10] = [
    (
        "received",
        "Reports of samples, log records, errors and objects received.",
        |c| c.received,
    ),
    ("counted", "Reports that the server has counted.", |c| {
        c.counted
    }),
    (
        "late",
        "Reports that came after their windows had closed.",
        |c| c.late,
    ),
    ("rejected", "Reports that the server has rejected.", |c| {
        c.rejected
    }),
    (
        "dropped",
        "Reports dropped because the buffer was full.",
        |c| c.dropped,
    ),
    (
        "kernel_dropped",
        "Datagrams that the kernel has dropped.",
        |c| c.kernel_dropped,
    ),
    (
        "other",
        "Samples of series beyond the limit of instances.",
        |c| c.other,
    ),
    (
        "wrong_times",
        "Log records whose time the server would reject.",
        |c| c.wrong_times,
    ),
    ("skipped", "Values that are no samples.", |c| c.skipped),
    (
        "evicted",
        "Totals of histograms that were forgotten.",
        |c| c.evicted,
    ),
];

/// Returns the metrics.
pub fn text(view: &View) -> String {
    let mut out = String::new();
    let mut gauge = |name: &str, help: &str, value: u64| {
        // Writing to a string does not fail.
        let _ = writeln!(
            out,
            "# HELP agg_listener_{name} {help}\n# TYPE agg_listener_{name} gauge\nagg_listener_{name} {value}"
        );
    };
    gauge("up", "Whether the server answers.", view.is_up.into());
    gauge(
        "buffered_bytes",
        "Reports without a reply.",
        view.buffered_bytes as u64,
    );
    gauge("uptime_seconds", "Time since the start.", view.uptime_s);
    let failed = view
        .targets
        .values()
        .filter(|error| error.is_some())
        .count();
    gauge(
        "targets",
        "Targets that are scraped.",
        view.targets.len() as u64,
    );
    gauge(
        "targets_failed",
        "Targets whose last scrape failed.",
        failed as u64,
    );
    for (name, help, value) in COUNTERS {
        let name = format!("agg_listener_{name}_total");
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} counter");
        for (protocol, counts) in &view.protocols {
            let _ = writeln!(out, "{name}{{protocol=\"{protocol}\"}} {}", value(counts));
        }
    }
    let name = "agg_listener_invalid_total";
    let _ = writeln!(
        out,
        "# HELP {name} Input that a protocol cannot use.\n# TYPE {name} counter"
    );
    for (protocol, counts) in &view.protocols {
        for (reason, invalid) in &counts.invalid {
            let _ = writeln!(
                out,
                "{name}{{protocol=\"{protocol}\",reason=\"{reason}\"}} {}",
                invalid.count
            );
        }
    }
    out
}
