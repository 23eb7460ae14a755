//! The section of the page with the statistics: plots, and tables of the same values.

use agg_poller::web::base::{Column, table};
use maud::{Markup, html};

use super::grouping::{Group, groups};
use super::markup::{limit_note, name, range, tags, unit, value};
use super::model::{Metric, Report};
use super::plot;
use super::scale::moment;
use aggregator_protocol::format::{duration, grouped};

/// Maximum groups for which the section has a list of links.
const MAX_LINKS: usize = 40;

/// Returns the section.
pub fn section(report: &Report) -> Markup {
    let metrics = &report.metrics;
    html! {
        h2 #statistics { "Statistics" }
        @if metrics.shown.is_empty() {
            p {
                @if report.patterns.is_empty() {
                    "The node has no metrics."
                } @else {
                    "No metric matches. " (patterns(report))
                }
            }
        } @else {
            (period(report))
            (limit_note((metrics.shown.len(), metrics.total), "metrics", "ordered by name"))
            (plots(report))
        }
    }
}

fn plots(report: &Report) -> Markup {
    let metrics = &report.metrics.shown;
    let (groups, zero) = groups(metrics);
    let zero: Vec<&Metric> = zero.into_iter().flat_map(|plot| plot.metrics).collect();
    let without_windows: Vec<&Metric> = metrics
        .iter()
        .filter(|metric| metric.windows.is_empty())
        .collect();
    let has_titles = groups.len() > 1;
    html! {
        @if has_titles && groups.len() <= MAX_LINKS {
            nav {
                @for (index, group) in groups.iter().enumerate() {
                    a href={ "#group" (index) } { (title(group)) }
                    " "
                }
            }
        }
        @for (index, group) in groups.iter().enumerate() {
            section {
                @if has_titles {
                    h3 id={ "group" (index) } { (title(group)) }
                }
                (self::group(report, group))
            }
        }
        (undrawn(&zero, ("was always 0", "were always 0")))
        (undrawn(&without_windows, ("has no window in this period", "have no window in this period")))
    }
}

fn title<'a>(group: &Group<'a>) -> &'a str {
    group.name.unwrap_or("other")
}

/// Returns which time the plots show, and how to read them.
fn period(report: &Report) -> Markup {
    let length = |ms: i64| duration(ms as f64 / 1000.0);
    let from = report.plots_from();
    let mut metrics = report.metrics.shown.iter();
    let requested = length(report.now - report.from);
    if metrics.all(|metric| metric.windows.is_empty()) {
        return html! {
            p { "There are no windows in the requested time, the last " (requested) "." }
        };
    }
    let available = length(report.now - from);
    let is_shorter = from > report.from + report.info.min_window_ms;
    html! {
        p {
            (moment(from)) " to " (moment(report.now)) " UTC (" (available) "). "
            (patterns(report))
        }
        @if is_shorter {
            p.note {
                "Requested " (requested) "; data is available for the last " (available)
                ". Nothing was reported before, or the server no longer keeps it ("
                code { "agg.min-history" } ", " code { "agg.hour-history" } ")."
            }
        }
        p.quiet {
            "A step is the average of a window; the band behind it spans the minimum and the maximum. Windows are "
            (length(report.info.min_window_ms)) " long as far back as the server keeps them, and "
            (length(report.info.hour_window_ms))
            " before that; the latest are not closed yet. “/s” marks counters and increments, which are shown as \
             rates. Prefixes are SI prefixes: k is 1000."
        }
        @if report.metrics.shown.iter().any(Metric::has_percentiles) {
            p.quiet {
                "Of a metric with a histogram, a step is the median of a window (p50), and the bands above it reach up \
                 to the higher percentiles: 99 % of the samples were not above p99. Ranges are those of the windows. \
                 A dotted step is the average of a window without a histogram."
            }
        }
    }
}

fn patterns(report: &Report) -> Markup {
    html! {
        @for (index, pattern) in report.patterns.iter().enumerate() {
            @if index == 0 { "Only: " } @else { ", " }
            code { (pattern) }
        }
    }
}

fn group(report: &Report, group: &Group) -> Markup {
    let from = report.plots_from();
    html! {
        div.plots {
            @for plot in &group.plots {
                figure {
                    figcaption title=(plot.measurement) {
                        (name(plot.measurement)) (unit(plot.metrics[0]))
                    }
                    (plot::draw(plot, from, report.now))
                }
            }
        }
        details {
            summary { "Table" }
            (values(group))
        }
    }
}

/// Returns the table of the metrics of a group. It has a column for each percentile, and one for totals, if a metric has
/// them.
fn values(group: &Group) -> Markup {
    let metrics = || group.plots.iter().flat_map(|plot| &plot.metrics);
    let mut percentages: Vec<f64> = metrics().flat_map(|metric| metric.percentages()).collect();
    percentages.sort_by(f64::total_cmp);
    percentages.dedup();
    let titles: Vec<String> = percentages
        .iter()
        .map(|percentage| format!("p{percentage}"))
        .collect();
    let has_totals = metrics().any(|metric| metric.total.is_some());
    let mut columns = vec![Column::Text("Metric"), Column::Text("Unit")];
    columns.extend(["Average", "Minimum", "Maximum"].map(Column::Number));
    columns.extend(titles.iter().map(|title| Column::Number(title)));
    if has_totals {
        columns.push(Column::Number("Total"));
    }
    columns.extend([Column::Number("Last value"), Column::Text("Last seen")]);
    columns.extend([Column::Number("Samples"), Column::Text("Tags")]);
    let rows = html! {
        @for metric in metrics() {
            tr {
                th scope="row" { (name(&metric.name)) }
                td { (unit(metric)) }
                @for number in [metric.average(), metric.minimum(), metric.maximum()] {
                    td.n { (value(metric, number)) }
                }
                @for percentage in &percentages { td.n.when { (range(metric, *percentage)) } }
                @if has_totals {
                    td.n { (metric.total.map_or("-".into(), |total| value(metric, total))) }
                }
                (last_sample(metric))
            }
        }
    };
    table("Statistics", &columns, &rows)
}

/// Returns the cells of the last sample, the number of samples and the tags.
fn last_sample(metric: &Metric) -> Markup {
    let last = match metric.last_value.parse() {
        Ok(number) if metric.is_duration() => value(metric, number),
        _ => metric.last_value.clone(),
    };
    html! {
        td.n { (last) }
        td.when { (moment(metric.last_seen)) }
        td.n { (grouped(metric.samples)) }
        td.place { (tags(&metric.tags)) }
    }
}

/// Returns a folded table of metrics that have no plot.
fn undrawn(metrics: &[&Metric], (one, many): (&str, &str)) -> Markup {
    let title = match metrics.len() {
        0 => return html! {},
        1 => format!("1 metric {one}"),
        count => format!("{} metrics {many}", grouped(count as u64)),
    };
    let columns = [
        Column::Text("Metric"),
        Column::Number("Last value"),
        Column::Text("Last seen"),
        Column::Number("Samples"),
        Column::Text("Tags"),
    ];
    let rows = html! {
        @for metric in metrics {
            tr {
                th scope="row" { (name(&metric.name)) }
                (last_sample(metric))
            }
        }
    };
    html! {
        details {
            summary { (title) }
            (table(&title, &columns, &rows))
        }
    }
}
