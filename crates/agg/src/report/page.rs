//! The page. It needs no script and nothing from elsewhere, and forbids both to itself.

use std::path::Path;

use super::model::{Group, Metric, Report, groups};
use super::plot;
use super::scale::{LARGEST, moment, si};
use super::state;
use crate::html::Html;
use crate::poll::web::view::{self, grouped};
use crate::top::show::bytes;

/// Groups that a line at the top leads to.
const LED_TO: usize = 40;

/// Seconds as a person says them; a round hour is one without minutes.
pub fn duration(seconds: f64) -> String {
    let text = view::duration(seconds);
    let round = [" 0 s", " 0 min", " 0 h"];
    let whole = round.iter().find_map(|rest| text.strip_suffix(rest));
    whole.map_or_else(|| text.clone(), str::to_owned)
}

/// What was written, in a line.
pub fn sums(report: &Report, path: &Path, size: usize) -> String {
    let part = |shown: usize, all: usize, one: &str, many: &str| {
        let of = match shown == all {
            true => String::new(),
            false => format!(" of {all}"),
        };
        format!("{shown}{of} {}", if all == 1 { one } else { many })
    };
    format!(
        "{}: node {}, {}, {}, {}, {}",
        path.display(),
        report.node,
        part(
            report.metrics.shown.len(),
            report.metrics.all,
            "metric",
            "metrics"
        ),
        part(
            report.errors.shown.len(),
            report.errors.all,
            "error",
            "errors"
        ),
        part(
            report.objects.shown.len(),
            report.objects.all,
            "object",
            "objects"
        ),
        bytes(size as u64),
    )
}

/// Writes it.
pub fn page(report: &Report) -> String {
    let mut html = Html::default();
    html.raw("<!doctype html>\n<html lang=en><head><meta charset=utf-8>");
    html.raw("<meta http-equiv=Content-Security-Policy content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">");
    html.raw("<meta name=viewport content=\"width=device-width, initial-scale=1\"><title>");
    html.text(&report.node).raw(" · agg report</title>");
    html.raw("<link rel=icon href=\"data:,\"><style>");
    html.raw(include_str!("../poll/web/page.css"));
    html.raw(include_str!("page.css"));
    html.raw("</style></head><body><header><h1>");
    html.text(&report.node).raw("</h1><p class=quiet>");
    html.text(&report.place).raw(", ");
    html.text(&moment(report.now))
        .raw(" UTC</p></header><main>");
    head(&mut html, report);
    statistics(&mut html, report);
    state::errors(&mut html, report);
    state::objects(&mut html, report);
    state::queues(&mut html, report);
    state::log(&mut html, report);
    html.raw("</main><footer class=quiet><p>Written by agg report ");
    html.raw(env!("CARGO_PKG_VERSION"));
    html.raw(". All times are UTC.</p></footer></body></html>\n");
    html.0
}

fn head(html: &mut Html, report: &Report) {
    if !report.notes.is_empty() {
        html.raw("<div class=\"state trouble\"><strong>Not everything could be read</strong><ul>");
        for note in &report.notes {
            html.raw("<li>").text(note).raw("</li>");
        }
        html.raw("</ul></div>");
    }
    html.raw("<dl>");
    let mut figure = |name, number: String, beside: String| {
        html.raw("<div><dt>").raw(name).raw("</dt><dd>");
        html.text(&number);
        if !beside.is_empty() {
            html.raw("<small>").text(&beside).raw("</small>");
        }
        html.raw("</dd></div>");
    };
    let info = &report.info.figures;
    let lag = match info.waiting() {
        0 => String::new(),
        _ => format!("the oldest for {}", duration(info.lag() as f64 / 1000.0)),
    };
    figure("Metrics", grouped(info.metrics), String::new());
    figure("Errors", grouped(info.errors), String::new());
    figure("Objects", grouped(info.realities), String::new());
    figure("Waiting", grouped(info.waiting()), lag);
    figure("Dropped", grouped(info.dropped()), String::new());
    figure("Refused", grouped(info.refused()), String::new());
    figure("Late samples", grouped(info.late), String::new());
    figure("Memory", bytes(info.bytes), String::new());
    html.raw("</dl><nav><a href=\"#statistics\">Statistics</a> <a href=\"#errors\">Errors</a> ");
    html.raw("<a href=\"#objects\">Objects</a> <a href=\"#queues\">Queues</a> ");
    html.raw("<a href=\"#log\">Log</a></nav>");
}

fn statistics(html: &mut Html, report: &Report) {
    html.raw("<h2 id=statistics>Statistics</h2>");
    let metrics = &report.metrics;
    if metrics.shown.is_empty() {
        html.raw("<p>");
        html.raw(match report.patterns.is_empty() {
            true => "The node has no metrics.",
            false => "No metric matches ",
        });
        patterns(html, report);
        html.raw("</p>");
        return;
    }
    span(html, report);
    more(
        html,
        (metrics.shown.len(), metrics.all),
        "metrics",
        "by name",
    );
    let (groups, zero) = groups(&metrics.shown);
    if groups.len() > 1 && groups.len() <= LED_TO {
        html.raw("<nav>");
        for (index, group) in groups.iter().enumerate() {
            html.raw("<a href=\"#group").count(index).raw("\">");
            html.text(group.name.unwrap_or("others")).raw("</a> ");
        }
        html.raw("</nav>");
    }
    let begins = report.begins();
    for (index, group) in groups.iter().enumerate() {
        self::group(html, report, (index, group), begins, groups.len() > 1);
    }
    let zero: Vec<&Metric> = zero
        .iter()
        .flat_map(|plot| &plot.metrics)
        .copied()
        .collect();
    let stay = (" was 0 all the time", " were 0 all the time");
    apart(html, &zero, stay, "Metrics that were 0");
    quiet(html, report);
}

/// What time the plots are of, and what they show.
fn span(html: &mut Html, report: &Report) {
    let seconds = |ms: i64| duration(ms as f64 / 1000.0);
    let begins = report.begins();
    let drawn = report
        .metrics
        .shown
        .iter()
        .any(|metric| !metric.windows.is_empty());
    if !drawn {
        html.raw("<p>There are no windows in the time that was asked for, the last ");
        html.text(&seconds(report.now - report.from)).raw(".</p>");
        return;
    }
    html.raw("<p>From ").text(&moment(begins)).raw(" to ");
    html.text(&moment(report.now)).raw(" UTC, ");
    html.text(&seconds(report.now - begins)).raw(". ");
    patterns(html, report);
    html.raw("</p>");
    if begins > report.from + report.info.min_ms {
        html.raw("<p class=note>")
            .text(&seconds(report.now - report.from));
        html.raw(" were asked for; the history reaches back ");
        html.text(&seconds(report.now - begins));
        html.raw(": nothing was told before, or the server keeps no more (<code>agg.min-history</code>, ");
        html.raw("<code>agg.hour-history</code>).</p>");
    }
    html.raw("<p class=quiet>Each step is the average of a window, the band behind it reaches from its minimum to its ");
    html.raw("maximum. Windows are of ")
        .text(&seconds(report.info.min_ms));
    html.raw(" as far back as the server keeps them, and of ");
    html.text(&seconds(report.info.hour_ms));
    html.raw(
        " before; the last are not closed yet. “/s” stands where a counter is shown as a rate. ",
    );
    html.raw("Prefixes are those of the SI: k is 1000.</p>");
}

fn patterns(html: &mut Html, report: &Report) {
    for (index, pattern) in report.patterns.iter().enumerate() {
        html.raw(if index == 0 { "Only: " } else { ", " });
        html.raw("<code>").text(pattern).raw("</code>");
    }
}

/// That not all are shown.
pub fn more(
    html: &mut Html,
    (shown, all): (usize, usize),
    what: &'static str,
    order: &'static str,
) {
    if shown < all {
        html.raw("<p class=note>")
            .text(&grouped(shown as u64))
            .raw(" of ");
        html.text(&grouped(all as u64)).raw(" ").raw(what);
        html.raw(", the first ").raw(order);
        html.raw("; <code>--limit</code> says how many are shown.</p>");
    }
}

fn group(
    html: &mut Html,
    report: &Report,
    (index, group): (usize, &Group),
    begins: i64,
    titled: bool,
) {
    html.raw("<section>");
    if titled {
        html.raw("<h3 id=group").count(index).raw(">");
        html.text(group.name.unwrap_or("others")).raw("</h3>");
    }
    html.raw("<div class=plots>");
    for plot in &group.plots {
        let first = plot.metrics[0];
        html.raw("<figure><figcaption title=\"")
            .text(plot.measurement);
        html.raw("\">");
        html.text(name(plot.measurement));
        unit(html, first);
        html.raw("</figcaption>");
        plot::draw(html, plot, begins, report.now);
        html.raw("</figure>");
    }
    html.raw("</div><details><summary>As a table</summary>");
    let columns = [
        ("Metric", false),
        ("Unit", false),
        ("Average", true),
        ("Minimum", true),
        ("Maximum", true),
        ("Told last", true),
        ("At", false),
        ("Samples", true),
        ("Tags", false),
    ];
    table(html, "Statistics", &columns);
    for metric in group.plots.iter().flat_map(|plot| &plot.metrics) {
        html.raw("<tr><th scope=row>").text(name(&metric.name));
        html.raw("</th><td>");
        unit(html, metric);
        for number in [metric.average(), metric.least(), metric.most()] {
            html.raw("</td><td class=n>").text(&figure(metric, number));
        }
        html.raw("</td>");
        told(html, metric);
        html.raw("</tr>");
    }
    html.raw("</tbody></table></div></details></section>");
}

/// A value of a metric: of a time in days, hours and minutes, of all else with a prefix.
pub fn figure(metric: &Metric, number: f64) -> String {
    match metric.is_time() && (60.0..LARGEST).contains(&number) {
        true => duration(number),
        false => si(number),
    }
}

pub fn name(text: &str) -> &str {
    if text.is_empty() { "(no name)" } else { text }
}

fn unit(html: &mut Html, metric: &Metric) {
    let per_second = if metric.rate { "/s" } else { "" };
    // Of a time each figure has its own.
    if (!metric.unit().is_empty() && !metric.is_time()) || metric.rate {
        html.raw(" <small>").text(metric.unit());
        html.raw(per_second).raw("</small>");
    }
}

/// Cells of what was told last.
fn told(html: &mut Html, metric: &Metric) {
    let last = match metric.last.parse() {
        Ok(number) if metric.is_time() => figure(metric, number),
        _ => metric.last.clone(),
    };
    html.raw("<td class=n>").text(&last);
    html.raw("</td><td class=when>").text(&moment(metric.at));
    html.raw("</td><td class=n>").text(&grouped(metric.samples));
    html.raw("</td><td>");
    tags(html, &metric.tags);
    html.raw("</td>");
}

pub fn tags(html: &mut Html, tags: &[(String, String)]) {
    for (name, value) in tags {
        html.raw("<span class=tag>").text(name);
        if !value.is_empty() {
            html.raw(":").text(value);
        }
        html.raw("</span> ");
    }
}

/// Metrics without a window in that time.
fn quiet(html: &mut Html, report: &Report) {
    let quiet: Vec<&Metric> = report
        .metrics
        .shown
        .iter()
        .filter(|metric| metric.windows.is_empty())
        .collect();
    let none = (
        " without a window in this time",
        " without a window in this time",
    );
    apart(html, &quiet, none, "Metrics without windows");
}

/// A closed table of metrics that are not drawn.
fn apart(
    html: &mut Html,
    metrics: &[&Metric],
    (one, many): (&'static str, &'static str),
    label: &'static str,
) {
    if metrics.is_empty() {
        return;
    }
    html.raw("<details><summary>")
        .text(&grouped(metrics.len() as u64));
    match metrics.len() {
        1 => html.raw(" metric").raw(one),
        _ => html.raw(" metrics").raw(many),
    };
    html.raw("</summary>");
    let columns = [
        ("Metric", false),
        ("Told last", true),
        ("At", false),
        ("Samples", true),
        ("Tags", false),
    ];
    table(html, label, &columns);
    for metric in metrics {
        html.raw("<tr><th scope=row>")
            .text(name(&metric.name))
            .raw("</th>");
        told(html, metric);
        html.raw("</tr>");
    }
    html.raw("</tbody></table></div></details>");
}

/// Begins a table; its rows follow.
pub fn table(html: &mut Html, label: &'static str, columns: &[(&'static str, bool)]) {
    html.raw("<div class=table role=region tabindex=0 aria-label=\"");
    html.raw(label).raw("\"><table><thead><tr>");
    for (column, number) in columns {
        html.raw(if *number {
            "<th scope=col class=n>"
        } else {
            "<th scope=col>"
        });
        html.raw(column).raw("</th>");
    }
    html.raw("</tr></thead><tbody>");
}
