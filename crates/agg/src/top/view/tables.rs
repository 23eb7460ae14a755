//! Draws the tables of nodes and of servers, and the sums above them.

use std::time::Instant;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::style::{Fields, Theme, reading_interval, with_end};
use crate::format::{age, bytes, change, count, per_second, rate};
use crate::top::app::App;
use crate::top::columns::{self, HIGH_USAGE, Severity, short_endpoint};
use crate::top::model::{Row, Server, State, Totals};
use crate::top::table;
use crate::top::text::{common_suffix, cut, pad, squeeze, squeeze_suffixed, width};

/// Draws the table of nodes.
pub fn nodes(frame: &mut Frame, area: Rect, app: &mut App, theme: Theme) {
    let cells = usize::from(area.width);
    let mut head = header(app, theme, cells);
    head.extend(problems(
        app,
        theme,
        cells,
        if area.height < 16 { 1 } else { 3 },
    ));
    let [top, title, body] = parts(area, head.len());
    frame.render_widget(Paragraph::new(head), top);

    let rows = table::rows(&app.model, app.sort, app.reverse, &app.filter);
    let longest = |of: fn(&Row) -> usize| rows.iter().map(of).max().unwrap_or(0);
    let longest = (
        longest(|row| width(&row.node.name)),
        longest(|row| width(short_endpoint(&row.server.endpoint))),
    );
    let shown = columns::fitting(cells, longest);
    app.columns = shown.iter().map(|(column, _)| *column).collect();
    let titles = shown.iter().map(|(column, width)| {
        let text = pad(&cut(column.title(), *width), *width, !column.is_name());
        let mut style = theme.heading();
        if *column == app.sort {
            style = style.add_modifier(Modifier::BOLD | Modifier::UNDERLINED);
        }
        (Span::styled(text, style), theme.heading())
    });
    frame.render_widget(joined(titles, theme.heading()), title);

    let selected = app.selected.as_ref();
    let at = selected.and_then(|key| rows.iter().position(|row| row.key() == *key));
    let at = at.unwrap_or(0);
    app.page = usize::from(body.height);
    app.scroll = scrolled(app.scroll, at, app.page, rows.len());
    if rows.is_empty() {
        frame.render_widget(Line::styled(empty_message(app), theme.dim()), body);
    }
    let part = rows.iter().enumerate().skip(app.scroll).take(app.page);
    let name_width = shown[0].1;
    let names = part.clone().map(|(_, row)| row.node.name.as_str());
    let suffix = common_suffix(names.filter(|name| width(name) > name_width));
    let lines: Vec<Line> = part
        .map(|(index, row)| line(row, &shown, suffix, index == at, theme))
        .collect();
    frame.render_widget(Paragraph::new(lines), body);
}

/// Returns why there are no rows.
fn empty_message(app: &App) -> String {
    let servers = &app.model.servers;
    let some = servers.values().any(|server| !server.nodes.is_empty());
    match () {
        () if some => format!(" no node matches {:?}", app.filter.text),
        () if servers.is_empty() => " searching for servers".into(),
        () if servers
            .values()
            .any(|server| server.state == State::Connecting) =>
        {
            " connecting".into()
        }
        () => " no nodes: nothing has been reported yet".into(),
    }
}

fn line(
    row: &Row,
    shown: &[(columns::Column, usize)],
    suffix: &str,
    selected: bool,
    theme: Theme,
) -> Line<'static> {
    let base = match (selected, row.is_down()) {
        (true, _) => theme.heading(),
        (false, true) => theme.dim(),
        (false, false) => Style::new(),
    };
    let spans = shown.iter().map(|(column, width)| {
        let text = column.text(row);
        let text = match column.is_name() {
            true => pad(&squeeze_suffixed(&text, *width, suffix), *width, false),
            false => pad(&cut(&text, *width), *width, true),
        };
        let severity = match row.is_down() {
            true => Severity::Normal,
            false => column.severity(row),
        };
        (
            Span::styled(text, base.patch(theme.severity(severity))),
            base,
        )
    });
    joined(spans, base)
}

/// Joins columns with a space between them.
fn joined(columns: impl Iterator<Item = (Span<'static>, Style)>, base: Style) -> Line<'static> {
    let mut spans = Vec::new();
    for (span, _) in columns {
        if !spans.is_empty() {
            spans.push(Span::styled(" ", base));
        }
        spans.push(span);
    }
    Line::from(spans)
}

/// Returns the number of rows above the visible ones, so that the selected row is visible.
fn scrolled(scroll: usize, at: usize, page: usize, count: usize) -> usize {
    let scroll = scroll.min(at).min(count.saturating_sub(page));
    scroll.max((at + 1).saturating_sub(page))
}

fn parts(area: Rect, head: usize) -> [Rect; 3] {
    let head = Constraint::Length(head as u16);
    Layout::vertical([head, Constraint::Length(1), Constraint::Fill(1)]).areas(area)
}

fn header(app: &App, theme: Theme, cells: usize) -> Vec<Line<'static>> {
    let totals = app.model.totals();
    let mut first =
        Fields::new(theme).add("servers", format!("{} up", totals.up), Severity::Normal);
    if totals.down > 0 {
        first = first.and(format!("{} down", totals.down), Severity::Alarm);
    }
    if totals.connecting > 0 {
        let connecting = format!("{} connecting", totals.connecting);
        first = first.and(connecting, Severity::Normal);
    }
    let first = first.add("nodes", totals.nodes.to_string(), Severity::Normal);
    let first = match app.filter.text.as_str() {
        "" => first,
        text => first.add("filter", cut(text, 20), Severity::Normal),
    };
    let order = if app.reverse { "▲" } else { "▼" };
    let mut end = Line::styled(format!("by {}{order}  ", app.sort.title()), theme.dim());
    let style = match app.paused {
        true => theme.heading(),
        false => theme.dim(),
    };
    let interval = reading_interval(app, theme).spans.into_iter();
    end.spans.extend(interval.map(|span| span.style(style)));
    let [second, third] = sums(&totals, theme);
    vec![with_end(first.line(), end, cells), second, third]
}

fn sums(totals: &Totals, theme: Theme) -> [Line<'static>; 2] {
    let usage = match totals.highest_usage {
        usage if usage > HIGH_USAGE => Severity::Alarm,
        usage if usage > 0.75 => Severity::Warning,
        _ => Severity::Normal,
    };
    let highest = format!("{:.0} %", totals.highest_usage * 100.0);
    let (used, limit) = (bytes(totals.memory_used), bytes(totals.memory_limit));
    let growth = per_second(change(totals.growth));
    let second = Fields::new(theme)
        .add("memory", format!("{used} of {limit}"), Severity::Normal)
        .add("highest", highest, usage)
        .add("pending", count(totals.pending), Severity::Normal)
        .add("growth", growth, Severity::Normal)
        .add("lag", age(totals.lag_ms), Severity::of_lag(totals.lag_ms));
    let of = |rate, severity: Severity| severity.if_positive(rate);
    let third = Fields::new(theme)
        .add(
            "reports",
            per_second(rate(totals.reports)),
            Severity::Normal,
        )
        .add(
            "drops",
            per_second(rate(totals.drops)),
            of(totals.drops, Severity::Alarm),
        )
        .add("so far", count(totals.dropped), Severity::Normal)
        .add(
            "rejects",
            per_second(rate(totals.refused)),
            of(totals.refused, Severity::Alarm),
        )
        .add(
            "late",
            per_second(rate(totals.late)),
            of(totals.late, Severity::Warning),
        );
    [second.line(), third.line()]
}

/// Returns the servers that are down and what could not be read, up to `limit` lines.
fn problems(app: &App, theme: Theme, cells: usize, limit: usize) -> Vec<Line<'static>> {
    let mut all: Vec<(String, Severity)> = Vec::new();
    for server in app.model.servers.values() {
        match (&server.state, &server.note) {
            (State::Down { reason, retry_at }, _) => {
                all.push((down(reason, *retry_at), Severity::Alarm));
            }
            (_, Some(note)) => {
                let note = format!("{}: {note}", short_endpoint(&server.endpoint));
                all.push((note, Severity::Warning));
            }
            _ => {}
        }
    }
    let more = all.len().saturating_sub(limit);
    all.truncate(limit);
    let last = all.len().saturating_sub(1);
    let lines = all.into_iter().enumerate().map(|(at, (text, severity))| {
        let end = match more {
            more if more > 0 && at == last => format!("  and {more} more (Tab)"),
            _ => String::new(),
        };
        let text = cut(&text, cells.saturating_sub(2 + end.len()));
        Line::styled(format!(" {text}{end}"), theme.severity(severity))
    });
    lines.collect()
}

fn down(reason: &str, retry_at: Instant) -> String {
    let pause = retry_at.saturating_duration_since(Instant::now()).as_secs();
    match pause {
        0 => reason.to_owned(),
        _ => format!("retry in {pause}s: {reason}"),
    }
}

/// Widths of the columns of numbers in the table of servers.
const WIDTHS: [usize; 7] = [5, 6, 6, 4, 6, 7, 6];
/// The columns that are shown where the screen is narrow, so that the state has room.
const NARROW: [usize; 4] = [0, 3, 4, 5];

/// Draws the table of servers.
pub fn servers(frame: &mut Frame, area: Rect, app: &mut App, theme: Theme) {
    let cells = usize::from(area.width);
    let mut head = header(app, theme, cells);
    // The whole state of the selected server.
    if let Some(server) = app.model.servers.values().nth(app.server) {
        let (state, style) = state(server, theme);
        let text = format!(" {}: {state}", short_endpoint(&server.endpoint));
        head.push(Line::styled(cut(&text, cells), style));
    }
    let [top, title, body] = parts(area, head.len());
    frame.render_widget(Paragraph::new(head), top);
    let is_narrow = cells < 120;
    let is_shown = |at: &usize| !is_narrow || NARROW.contains(at);
    let used: usize = (0..7).filter(is_shown).map(|at| WIDTHS[at] + 1).sum();
    let endpoints = app.model.servers.values();
    let longest = endpoints
        .map(|server| width(short_endpoint(&server.endpoint)))
        .max();
    let limit = (cells.saturating_sub(used) / 2).max(10);
    let name_width = longest.unwrap_or(0).clamp(10, limit);
    let titles = [
        "NODES", "MEMORY", "LIMIT", "FULL", "REP/s", "DROP/s", "DROPS",
    ];
    let titles = format!(
        "{} {} STATE",
        pad("SERVER", name_width, false),
        numbers(titles.map(str::to_owned), is_narrow)
    );
    let titles = pad(&titles, cells, false);
    frame.render_widget(Line::styled(titles, theme.heading()), title);
    let last = app.model.servers.len().saturating_sub(1);
    app.server = app.server.min(last);
    app.page = usize::from(body.height);
    app.scroll = scrolled(app.scroll, app.server, app.page, last + 1);
    let servers = app.model.servers.values().enumerate();
    let visible = servers.skip(app.scroll).take(app.page);
    let lines: Vec<Line> = visible
        .map(|(at, server)| {
            let base = match at == app.server {
                true => theme.heading(),
                false => Style::new(),
            };
            server_line(server, (name_width, cells), is_narrow, base, theme)
        })
        .collect();
    frame.render_widget(Paragraph::new(lines), body);
}

/// Joins the columns of numbers that are shown.
fn numbers(texts: [String; 7], is_narrow: bool) -> String {
    let texts = texts.iter().zip(WIDTHS).enumerate();
    let shown = texts.filter(|(at, _)| !is_narrow || NARROW.contains(at));
    let cells = shown.map(|(_, (text, width))| pad(&cut(text, width), width, true));
    cells.collect::<Vec<_>>().join(" ")
}

fn server_line(
    server: &Server,
    (name_width, cells): (usize, usize),
    is_narrow: bool,
    base: Style,
    theme: Theme,
) -> Line<'static> {
    let stats = server.stats.as_ref();
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".into());
    let numbers = numbers(
        [
            server.nodes.len().to_string(),
            or_dash(stats.map(|stats| bytes(stats.memory_used))),
            or_dash(stats.map(|stats| bytes(stats.memory_limit))),
            or_dash(stats.map(|_| format!("{:.0}%", server.memory_usage() * 100.0))),
            rate(server.reports),
            rate(server.drops),
            or_dash(stats.map(|stats| count(stats.dropped()))),
        ],
        is_narrow,
    );
    let name = squeeze(short_endpoint(&server.endpoint), name_width);
    let (state, style) = state(server, theme);
    let mut line = Line::from(vec![
        Span::styled(
            format!("{} {numbers} ", pad(&name, name_width, false)),
            base,
        ),
        Span::styled(state, base.patch(style)),
    ]);
    let blanks = cells.saturating_sub(line.width());
    line.spans.push(Span::styled(" ".repeat(blanks), base));
    line
}

fn state(server: &Server, theme: Theme) -> (String, Style) {
    match (&server.state, &server.note) {
        (State::Connecting, _) => ("connecting".into(), theme.dim()),
        (State::Down { reason, retry_at }, _) => {
            (down(reason, *retry_at), theme.severity(Severity::Alarm))
        }
        (State::Up, Some(note)) => (note.clone(), theme.severity(Severity::Warning)),
        (State::Up, None) if server.memory_usage() > HIGH_USAGE => {
            ("up, low on memory".into(), theme.severity(Severity::Alarm))
        }
        (State::Up, None) => ("up".into(), theme.good()),
    }
}
