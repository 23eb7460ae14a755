//! Draws the details of one node.

use aggregator_protocol::Queue;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::style::{Fields, Theme, reading_interval, with_end};
use crate::format::{age, bytes, change, count, per_second, rate};
use crate::top::app::{App, Part};
use crate::top::columns::{Severity, short_endpoint};
use crate::top::model::{NodeKey, Row};
use crate::top::node_detail::{NodeDetail, RankedItem, Ranking, SHOWN_PERCENTILES};
use crate::top::text::{cut, pad, squeeze};

/// Width from which on the sections are in two columns.
const TWO_COLUMNS: u16 = 120;

/// Width from which on the metrics have columns of percentiles.
const WITH_PERCENTILES: usize = 76;
/// Width of a column of percentiles, and the blank before it.
const PERCENTILE: usize = 8;

/// A section of the screen.
struct Section {
    title: String,
    lines: Vec<Line<'static>>,
}

/// The number of items of each kind that the node has.
#[derive(Clone, Copy, Default)]
struct Counts {
    metrics: u64,
    errors: u64,
    objects: u64,
}

/// Draws a node.
pub fn draw(frame: &mut Frame, area: Rect, app: &mut App, key: &NodeKey, theme: Theme) {
    let cells = usize::from(area.width);
    let Some(row) = app.model.row(key) else {
        let gone = " the node no longer exists: it was deleted or renamed, or its server is gone";
        frame.render_widget(Line::styled(gone, theme.severity(Severity::Alarm)), area);
        return;
    };
    let detail = app.model.detail.as_ref();
    let detail = detail.filter(|(known, _)| known == key);
    let detail = detail.map(|(_, detail)| detail);
    let mut head = vec![with_end(
        name(&row, cells, theme),
        reading_interval(app, theme),
        cells,
    )];
    head.extend(about(&row, detail, theme, cells));
    if app.part == Part::All {
        head.extend(queues(&row, theme, cells));
    }
    let height = Constraint::Length(head.len() as u16);
    let [top, body] = Layout::vertical([height, Constraint::Fill(1)]).areas(area);
    frame.render_widget(Paragraph::new(head), top);
    let Some(detail) = detail else {
        frame.render_widget(Line::styled(" reading the node", theme.dim()), body);
        return;
    };
    let stats = &row.node.stats;
    let counts = Counts {
        metrics: stats.metrics,
        errors: stats.errors,
        objects: stats.objects,
    };
    match app.part {
        Part::All => sections(frame, body, detail, counts, theme),
        part => {
            let mut section = section(detail, counts, part, cells);
            let page = usize::from(body.height).saturating_sub(1);
            app.page = page;
            app.scroll = app.scroll.min(section.lines.len().saturating_sub(page));
            section.lines.drain(..app.scroll);
            stack(frame, body, vec![section], theme);
        }
    }
}

/// Draws all sections, in two columns if the screen is wide.
fn sections(frame: &mut Frame, body: Rect, detail: &NodeDetail, counts: Counts, theme: Theme) {
    let draw = |frame: &mut Frame, area: Rect, parts: &[Part]| {
        let cells = usize::from(area.width);
        let sections = parts
            .iter()
            .map(|part| section(detail, counts, *part, cells));
        stack(frame, area, sections.collect(), theme);
    };
    if body.width < TWO_COLUMNS {
        let parts = [Part::Metrics, Part::Errors, Part::Log, Part::Objects];
        return draw(frame, body, &parts);
    }
    let [left, _gap, right] = Layout::horizontal([
        Constraint::Fill(1),
        Constraint::Length(1),
        Constraint::Fill(1),
    ])
    .areas(body);
    draw(frame, left, &[Part::Metrics, Part::Objects]);
    draw(frame, right, &[Part::Errors, Part::Log]);
}

fn name(row: &Row, cells: usize, theme: Theme) -> Line<'static> {
    let endpoint = cut(short_endpoint(&row.server.endpoint), 30);
    let width = cells.saturating_sub(endpoint.len() + 18).max(10);
    let line = Fields::new(theme)
        .add("node", squeeze(&row.node.name, width), Severity::Normal)
        .add("on", endpoint, Severity::Normal);
    match row.is_down() {
        true => line.and("down".into(), Severity::Alarm).line(),
        false => line.line(),
    }
}

/// Returns the lines above the queues: what the node holds and its rejected reports.
fn about(row: &Row, detail: Option<&NodeDetail>, theme: Theme, cells: usize) -> Vec<Line<'static>> {
    let (node, rates) = (&row.node.stats, &row.node.rates);
    let late = Severity::Warning.if_positive(rates.late);
    let contents = Fields::new(theme)
        .add("metrics", count(node.metrics), Severity::Normal)
        .add("errors", count(node.errors), Severity::Normal)
        .add("objects", count(node.objects), Severity::Normal)
        .add("bytes", bytes(node.bytes), Severity::Normal)
        .add("late", count(node.late), late);
    // Shown only if not 0, as they are rare.
    let rare = [
        ("suspect diff", node.suspect_diff),
        ("sources dropped", node.sources_dropped),
        ("forgotten dropped", node.forgotten_dropped),
        ("imported", node.imported),
        ("import duplicates", node.import_duplicates),
        ("import refused", node.import_refused),
        ("truncated", node.truncated),
        ("clock back", node.clock_back),
    ];
    let rare = rare.into_iter().filter(|(_, n)| *n > 0);
    let contents = rare.fold(contents, |line, (what, n)| {
        line.add(what, count(n), Severity::Normal)
    });
    let rejects = cut(&rejects(row), cells.saturating_sub(10));
    let severity = Severity::Alarm.if_positive(rates.refused);
    let rejects = Fields::new(theme).add("rejects", rejects, severity);
    let mut lines = vec![contents.line(), rejects.line()];
    if let Some(note) = detail.and_then(|detail| detail.note.as_ref()) {
        let note = format!(" incomplete: {note}");
        lines.push(Line::styled(
            cut(&note, cells),
            theme.severity(Severity::Warning),
        ));
    }
    lines
}

/// Returns the rejected reports by reason, most frequent first, and their rate.
fn rejects(row: &Row) -> String {
    let reasons = row.node.stats.refused.iter();
    let mut reasons: Vec<(&String, &u64)> = reasons.filter(|(_, n)| **n > 0).collect();
    if reasons.is_empty() {
        return "none".into();
    }
    reasons.sort_by(|a, b| b.1.cmp(a.1));
    let reasons: Vec<String> = reasons
        .iter()
        .map(|(reason, n)| format!("{reason} {}", count(**n)))
        .collect();
    let rate = per_second(rate(row.node.rates.refused));
    format!("{} ({rate})", reasons.join(", "))
}

fn queues(row: &Row, theme: Theme, cells: usize) -> Vec<Line<'static>> {
    let widths = [7, 8, 8, 7, 8, 7, 8];
    let table = |texts: [String; 7]| {
        let texts = texts.into_iter().zip(widths).enumerate();
        texts
            .map(|(at, (text, width))| pad(&text, width, at > 0))
            .collect::<Vec<_>>()
            .join(" ")
    };
    let titles = [
        "QUEUE", "PEND", "BYTES", "OLDEST", "GROW/s", "LEASED", "DROPS",
    ];
    let titles = format!(" {}", table(titles.map(str::to_owned)));
    let mut lines = vec![Line::styled(pad(&titles, cells, false), theme.heading())];
    for (at, queue) in row.node.stats.queues.iter().enumerate() {
        let (severity, oldest) = match queue.length {
            0 => (Severity::Normal, "-".into()),
            _ => (Severity::of_lag(queue.oldest_ms), age(queue.oldest_ms)),
        };
        let text = table([
            Queue::ALL[at].name().to_owned(),
            count(queue.length),
            bytes(queue.bytes),
            oldest,
            change(row.node.rates.by_queue[at]),
            count(queue.leased),
            count(queue.dropped),
        ]);
        lines.push(Line::styled(format!(" {text}"), theme.severity(severity)));
    }
    lines
}

fn section(detail: &NodeDetail, counts: Counts, part: Part, cells: usize) -> Section {
    let plain = |lines: &[String]| -> Vec<Line<'static>> {
        let lines = lines
            .iter()
            .map(|line| Line::raw(format!(" {}", cut(line, cells.saturating_sub(1)))));
        lines.collect()
    };
    let ranked = |ranking: &Ranking| {
        let items = ranking.items.iter();
        let columns = Columns::of(ranking, cells);
        items.map(|item| item_line(item, columns)).collect()
    };
    match part {
        Part::Metrics | Part::All => Section {
            title: with_percentiles(
                format!(
                    "METRICS   samples/s, samples; {}",
                    coverage(&detail.metrics, counts.metrics)
                ),
                Columns::of(&detail.metrics, cells),
            ),
            lines: ranked(&detail.metrics),
        },
        Part::Errors => Section {
            title: format!(
                "ERRORS   occurrences/s, occurrences; {}",
                coverage(&detail.errors, counts.errors)
            ),
            lines: ranked(&detail.errors),
        },
        Part::Log => Section {
            title: "LOG   latest pending entries: UTC, level, message".into(),
            lines: plain(&detail.log),
        },
        Part::Objects if detail.object_changes.is_empty() && counts.objects > 0 => Section {
            title: format!(
                "OBJECTS   no pending changes; some of {} objects:",
                count(counts.objects)
            ),
            lines: plain(&detail.objects),
        },
        Part::Objects => Section {
            title: "OBJECTS   latest pending changes".into(),
            lines: plain(&detail.object_changes),
        },
    }
}

/// Returns how many items of a kind the ranking covers.
fn coverage(ranking: &Ranking, total: u64) -> String {
    let covered = count(ranking.covered as u64);
    match (ranking.total_rate, ranking.is_complete) {
        (Some(rate_of_all), _) => format!("all {covered}, {}/s in total", rate(Some(rate_of_all))),
        (None, true) if ranking.items.is_empty() => "none".into(),
        (None, true) if ranking.items.iter().all(|item| item.rate.is_none()) => {
            format!("all {covered}")
        }
        (None, true) => format!("all {covered}, read in parts"),
        (None, false) => format!("{covered} of {} read so far", count(total)),
    }
}

/// The widths of the columns of a ranking, behind its two numbers.
#[derive(Clone, Copy)]
struct Columns {
    name: usize,
    has_percentiles: bool,
    detail: usize,
}

impl Columns {
    /// Width of the numbers and the blanks around them.
    const NUMBERS: usize = 1 + 7 + 1 + 7 + 2;

    fn of(ranking: &Ranking, cells: usize) -> Columns {
        let mut items = ranking.items.iter();
        let has_percentiles =
            cells >= WITH_PERCENTILES && items.any(|item| item.percentiles.is_some());
        let percentiles = if has_percentiles {
            SHOWN_PERCENTILES.len() * PERCENTILE
        } else {
            0
        };
        let detail = if cells >= 60 { 24 } else { 0 };
        Columns {
            name: cells.saturating_sub(Columns::NUMBERS + percentiles + detail + 1),
            has_percentiles,
            detail,
        }
    }

    /// Returns the columns of percentiles, or an empty text if they are not shown.
    fn percentiles(self, texts: [&str; SHOWN_PERCENTILES.len()]) -> String {
        match self.has_percentiles {
            true => texts.map(|text| pad(text, PERCENTILE, true)).concat(),
            false => String::new(),
        }
    }
}

/// Returns a title with the names of the columns of percentiles above them.
fn with_percentiles(title: String, columns: Columns) -> String {
    if !columns.has_percentiles {
        return title;
    }
    // A title begins a cell further to the right than a line.
    let width = Columns::NUMBERS + columns.name - 1;
    format!(
        "{}{}",
        pad(&cut(&title, width), width, false),
        columns.percentiles(SHOWN_PERCENTILES)
    )
}

fn item_line(item: &RankedItem, columns: Columns) -> Line<'static> {
    let percentiles = item.percentiles.as_ref();
    let percentiles =
        percentiles.map(|all| all.each_ref().map(|text| text.as_deref().unwrap_or("-")));
    let text = format!(
        " {} {}  {}{} {}",
        pad(&rate(item.rate), 7, true),
        pad(&count(item.count), 7, true),
        pad(&squeeze(&item.name, columns.name), columns.name, false),
        columns.percentiles(percentiles.unwrap_or_default()),
        cut(&item.detail, columns.detail)
    );
    Line::raw(text)
}

/// Draws sections below each other. Sections with more lines get the rows that the others leave.
fn stack(frame: &mut Frame, area: Rect, sections: Vec<Section>, theme: Theme) {
    let mut left = usize::from(area.height).saturating_sub(sections.len());
    let mut rows = vec![0; sections.len()];
    // The first section gets two rows for each row of another.
    let turns = || std::iter::once(0).chain(0..sections.len());
    loop {
        let before = left;
        for at in turns() {
            if left > 0 && rows[at] < sections[at].lines.len().max(1) {
                rows[at] += 1;
                left -= 1;
            }
        }
        if left == before {
            break;
        }
    }
    let mut lines: Vec<Line> = Vec::new();
    for (section, rows) in sections.into_iter().zip(rows) {
        let title = cut(&format!(" {}", section.title), usize::from(area.width));
        lines.push(Line::from(vec![Span::styled(
            pad(&title, usize::from(area.width), false),
            theme.heading(),
        )]));
        match section.lines.is_empty() {
            true if rows > 0 => lines.push(Line::styled(" none", theme.dim())),
            _ => lines.extend(section.lines.into_iter().take(rows)),
        }
    }
    frame.render_widget(Paragraph::new(lines), area);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_have_columns_if_a_metric_has_a_histogram() {
        let mut latency = RankedItem::new("http.latency", 9000, Some(30.0), "ABS last 12");
        latency.percentiles = Some([Some("12.5".into()), None]);
        let mut detail = NodeDetail::default();
        detail.metrics.items = vec![
            RankedItem::new("load", 10, Some(1.0), "ABS last 3"),
            latency,
        ];
        let lines = |detail: &NodeDetail, cells| {
            let section = section(detail, Counts::default(), Part::Metrics, cells);
            let lines = section.lines.iter().map(Line::to_string);
            std::iter::once(format!(" {}", section.title))
                .chain(lines)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            lines(&detail, 80),
            [
                " METRICS   samples/s, samples; 0 of 0 …     p50     p99",
                "     1.0      10  load                                  ABS last 3",
                "      30    9000  http.latency             12.5       - ABS last 12",
            ]
        );
        assert!(!lines(&detail, WITH_PERCENTILES - 1)[0].contains("p50"));
        detail.metrics.items.pop();
        assert!(!lines(&detail, 80)[0].contains("p50"));
    }

    #[test]
    fn objects_are_shown_if_no_change_is_pending() {
        let mut detail = NodeDetail {
            objects: vec!["sda Disk {}".into()],
            ..NodeDetail::default()
        };
        let section = |detail: &NodeDetail, objects| {
            let counts = Counts {
                objects,
                ..Counts::default()
            };
            section(detail, counts, Part::Objects, 80)
        };
        let objects = section(&detail, 1200);
        assert_eq!(
            objects.title,
            "OBJECTS   no pending changes; some of 1200 objects:"
        );
        assert_eq!(objects.lines[0].to_string(), " sda Disk {}");
        assert!(section(&detail, 0).lines.is_empty());
        detail.object_changes.push("12:00:00 sda Disk {}".into());
        assert!(
            section(&detail, 1200)
                .title
                .ends_with("latest pending changes")
        );
    }
}
