//! The tables of nodes and of servers, and what all of it sums up to.

use std::time::Instant;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::{Figures, Theme, pace, with_end};
use crate::top::app::App;
use crate::top::columns::{self, FULL, LAG_MS, Trouble, short};
use crate::top::model::{Row, Server, State, Totals};
use crate::top::show::{
    age, bytes, change, common_end, count, cut, pad, per_second, rate, squeeze, squeeze_before,
    width,
};

/// Draws the table of nodes.
pub fn nodes(frame: &mut Frame, area: Rect, app: &mut App, theme: Theme) {
    let cells = usize::from(area.width);
    let mut head = header(app, theme, cells);
    head.extend(troubles(
        app,
        theme,
        cells,
        if area.height < 16 { 1 } else { 3 },
    ));
    let [top, title, body] = parts(area, head.len());
    frame.render_widget(Paragraph::new(head), top);

    let rows = app.model.rows(app.sort, app.reverse, &app.filter);
    let longest = |of: fn(&Row) -> usize| rows.iter().map(of).max().unwrap_or(0);
    let longest = (
        longest(|row| width(&row.node.name)),
        longest(|row| width(short(&row.server.place))),
    );
    let shown = columns::fitting(cells, longest);
    app.columns = shown.iter().map(|(column, _)| *column).collect();
    let titles = shown.iter().map(|(column, width)| {
        let text = pad(&cut(column.title(), *width), *width, !column.name());
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
        frame.render_widget(Line::styled(nothing(app), theme.old()), body);
    }
    let part = rows.iter().enumerate().skip(app.scroll).take(app.page);
    let room = shown[0].1;
    let long = part.clone().map(|(_, row)| row.node.name.as_str());
    let end = common_end(long.filter(|name| width(name) > room));
    let lines: Vec<Line> = part
        .map(|(index, row)| line(row, &shown, end, index == at, theme))
        .collect();
    frame.render_widget(Paragraph::new(lines), body);
}

/// Why there are no rows.
fn nothing(app: &App) -> String {
    let servers = &app.model.servers;
    let some = servers.values().any(|server| !server.nodes.is_empty());
    match () {
        () if some => format!(" no node matches {:?}", app.filter.text),
        () if servers.is_empty() => " looking for servers".into(),
        () if servers.values().any(|server| server.state == State::New) => " asking".into(),
        () => " no nodes: nobody has reported yet".into(),
    }
}

fn line(
    row: &Row,
    shown: &[(columns::Column, usize)],
    end: &str,
    selected: bool,
    theme: Theme,
) -> Line<'static> {
    let base = match (selected, row.away()) {
        (true, _) => theme.heading(),
        (false, true) => theme.old(),
        (false, false) => Style::new(),
    };
    let spans = shown.iter().map(|(column, width)| {
        let text = column.text(row);
        let text = match column.name() {
            true => pad(&squeeze_before(&text, *width, end), *width, false),
            false => pad(&cut(&text, *width), *width, true),
        };
        let trouble = match row.away() {
            true => Trouble::None,
            false => column.trouble(row),
        };
        (Span::styled(text, base.patch(theme.trouble(trouble))), base)
    });
    joined(spans, base)
}

/// Columns with a blank between each.
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

/// What is above the screen, so that the selected row is on it.
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
    let away = match totals.away {
        0 => Trouble::None,
        _ => Trouble::Much,
    };
    let mut first = Figures::new(theme).add("servers", format!("{} up", totals.up), Trouble::None);
    if totals.away > 0 {
        first = first.and(format!("{} away", totals.away), away);
    }
    if totals.new > 0 {
        first = first.and(format!("{} asked", totals.new), Trouble::None);
    }
    let first = first.add("nodes", totals.nodes.to_string(), Trouble::None);
    let first = match app.filter.text.as_str() {
        "" => first,
        text => first.add("filter", cut(text, 20), Trouble::None),
    };
    let order = if app.reverse { "▲" } else { "▼" };
    let mut end = Line::styled(format!("by {}{order}  ", app.sort.title()), theme.old());
    end.spans.extend(
        pace(app, theme)
            .spans
            .into_iter()
            .map(|span| match app.paused {
                true => span.style(theme.heading()),
                false => span.style(theme.old()),
            }),
    );
    let [second, third] = sums(&totals, theme);
    vec![with_end(first.line(), end, cells), second, third]
}

fn sums(totals: &Totals, theme: Theme) -> [Line<'static>; 2] {
    let grows = |rate: Option<f64>, trouble| match rate {
        Some(rate) if rate > 0.0 => trouble,
        _ => Trouble::None,
    };
    let full = match totals.fullest {
        full if full > FULL => Trouble::Much,
        full if full > 0.75 => Trouble::Some,
        _ => Trouble::None,
    };
    let lag = match totals.lag {
        lag if lag >= 12 * LAG_MS => Trouble::Much,
        lag if lag >= LAG_MS => Trouble::Some,
        _ => Trouble::None,
    };
    let held = format!("{} of {}", bytes(totals.held), bytes(totals.ceiling));
    let second = Figures::new(theme)
        .add("memory", held, Trouble::None)
        .add("fullest", format!("{:.0} %", totals.fullest * 100.0), full)
        .add("waiting", count(totals.waiting), Trouble::None)
        .add("grows", per_second(change(totals.growth)), Trouble::None)
        .add("lag", age(totals.lag), lag);
    let dropped = per_second(rate(totals.drops));
    let third = Figures::new(theme)
        .add("reports", per_second(rate(totals.reports)), Trouble::None)
        .add("drops", dropped, grows(totals.drops, Trouble::Much))
        .add("so far", count(totals.dropped), Trouble::None)
        .add(
            "refused",
            per_second(rate(totals.refused)),
            grows(totals.refused, Trouble::Much),
        )
        .add(
            "late",
            per_second(rate(totals.late)),
            grows(totals.late, Trouble::Some),
        );
    [second.line(), third.line()]
}

/// Servers that are away and why, and what was not looked at.
fn troubles(app: &App, theme: Theme, cells: usize, most: usize) -> Vec<Line<'static>> {
    let mut all: Vec<(String, Trouble)> = Vec::new();
    for server in app.model.servers.values() {
        match (&server.state, &server.note) {
            (State::Away { why, again }, _) => all.push((away(why, *again), Trouble::Much)),
            (_, Some(note)) => {
                let note = format!("{}: {note}", short(&server.place));
                all.push((note, Trouble::Some));
            }
            _ => {}
        }
    }
    let more = all.len().saturating_sub(most);
    all.truncate(most);
    let last = all.len().saturating_sub(1);
    let lines = all.into_iter().enumerate().map(|(at, (text, trouble))| {
        let end = match more {
            more if more > 0 && at == last => format!("  and {more} more (Tab)"),
            _ => String::new(),
        };
        let text = cut(&text, cells.saturating_sub(2 + end.len()));
        Line::styled(format!(" {text}{end}"), theme.trouble(trouble))
    });
    lines.collect()
}

fn away(why: &str, again: Instant) -> String {
    let pause = again.saturating_duration_since(Instant::now()).as_secs();
    match pause {
        0 => why.to_owned(),
        _ => format!("again in {pause}s: {why}"),
    }
}

/// Draws the table of servers.
pub fn servers(frame: &mut Frame, area: Rect, app: &mut App, theme: Theme) {
    let cells = usize::from(area.width);
    let mut head = header(app, theme, cells);
    // All of what there is to say of the selected one.
    if let Some(server) = app.model.servers.values().nth(app.server) {
        let (state, style) = state(server, theme);
        let text = format!(" {}: {state}", short(&server.place));
        head.push(Line::styled(cut(&text, cells), style));
    }
    let [top, title, body] = parts(area, head.len());
    frame.render_widget(Paragraph::new(head), top);
    // Where there is little room the reasons have it.
    let few = cells < 120;
    let figures = [5, 6, 6, 4, 6, 7, 6];
    let shown = move |at: &usize| !few || [0, 3, 4, 5].contains(at);
    let used: usize = (0..7).filter(shown).map(|at| figures[at] + 1).sum();
    let places = app.model.servers.values();
    let longest = places.map(|server| width(short(&server.place))).max();
    let most = (cells.saturating_sub(used) / 2).max(10);
    let name = longest.unwrap_or(0).clamp(10, most);
    let columns = move |texts: [String; 7]| {
        let texts = (0..7).filter(shown).map(|at| {
            let (text, width) = (&texts[at], figures[at]);
            pad(&cut(text, width), width, true)
        });
        texts.collect::<Vec<_>>().join(" ")
    };
    let titles = ["NODES", "HELD", "OF", "FULL", "REP/s", "DROP/s", "DROPS"].map(str::to_owned);
    let titles = format!("{} {} STATE", pad("SERVER", name, false), columns(titles));
    frame.render_widget(
        Line::styled(pad(&titles, cells, false), theme.heading()),
        title,
    );
    let last = app.model.servers.len().saturating_sub(1);
    app.server = app.server.min(last);
    app.page = usize::from(body.height);
    app.scroll = scrolled(app.scroll, app.server, app.page, last + 1);
    let part = app
        .model
        .servers
        .values()
        .enumerate()
        .skip(app.scroll)
        .take(app.page);
    let lines = part.map(|(at, server)| {
        let base = match at == app.server {
            true => theme.heading(),
            false => Style::new(),
        };
        let (state, style) = state(server, theme);
        let known = server.figures.as_ref();
        let figure = |of: Option<String>| of.unwrap_or_else(|| "-".into());
        let texts = columns([
            server.nodes.len().to_string(),
            figure(known.map(|figures| bytes(figures.held))),
            figure(known.map(|figures| bytes(figures.ceiling))),
            figure(known.map(|_| format!("{:.0}%", server.full() * 100.0))),
            rate(server.reports),
            rate(server.drops),
            figure(known.map(|figures| count(figures.dropped()))),
        ]);
        let place = squeeze(short(&server.place), name);
        let mut line = Line::from(vec![
            Span::styled(format!("{} {texts} ", pad(&place, name, false)), base),
            Span::styled(state, base.patch(style)),
        ]);
        let blanks = cells.saturating_sub(line.width());
        line.spans.push(Span::styled(" ".repeat(blanks), base));
        line
    });
    let lines: Vec<Line> = lines.collect();
    frame.render_widget(Paragraph::new(lines), body);
}

fn state(server: &Server, theme: Theme) -> (String, Style) {
    match (&server.state, &server.note) {
        (State::New, _) => ("asked".into(), theme.old()),
        (State::Away { why, again }, _) => (away(why, *again), theme.trouble(Trouble::Much)),
        (State::Up, Some(note)) => (note.clone(), theme.trouble(Trouble::Some)),
        (State::Up, None) if server.full() > FULL => {
            ("up, memory is short".into(), theme.trouble(Trouble::Much))
        }
        (State::Up, None) => ("up".into(), theme.good()),
    }
}
