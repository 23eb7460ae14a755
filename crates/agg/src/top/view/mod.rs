//! Draws the user interface. Every line is cut to the width of the screen, however long the names in it are.

mod detail;
mod style;
mod tables;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph};

use super::app::{App, Screen};
use super::text::width;

pub use style::Theme;

/// Draws the screen.
pub fn draw(frame: &mut Frame, app: &mut App, theme: Theme) {
    let area = frame.area();
    let [body, foot] = Layout::vertical([Constraint::Fill(1), Constraint::Length(1)]).areas(area);
    match app.screen.clone() {
        Screen::Nodes => tables::nodes(frame, body, app, theme),
        Screen::Servers => tables::servers(frame, body, app, theme),
        Screen::Detail(key) => detail::draw(frame, body, app, &key, theme),
    }
    footer(frame, foot, app, theme);
    if app.help {
        help(frame, area, theme);
    }
}

fn footer(frame: &mut Frame, area: Rect, app: &App, theme: Theme) {
    if app.is_typing {
        let line = Line::from(vec![
            Span::styled(" filter: ", theme.label()),
            Span::raw(format!("{}█", app.filter.text)),
            Span::styled(
                "   part of a name, or a pattern; ⏎ ok, Esc clear",
                theme.dim(),
            ),
        ]);
        frame.render_widget(line, area);
        return;
    }
    let keys: &[(&str, &str)] = match app.screen {
        Screen::Nodes => &[
            ("⏎", "details"),
            ("s", "sort"),
            ("r", "reverse"),
            ("/", "filter"),
            ("Tab", "servers"),
            ("p", "pause"),
            ("?", "help"),
            ("q", "quit"),
        ],
        Screen::Servers => &[
            ("⏎", "nodes of server"),
            ("Tab", "all nodes"),
            ("p", "pause"),
            ("?", "help"),
            ("q", "back"),
        ],
        Screen::Detail(_) => &[
            ("Tab", "one section"),
            ("↑↓", "scroll"),
            ("p", "pause"),
            ("?", "help"),
            ("q", "back"),
        ],
    };
    let mut spans = Vec::new();
    for (key, what) in keys {
        spans.push(Span::styled(format!(" {key} "), theme.heading()));
        spans.push(Span::raw(format!("{what} ")));
    }
    frame.render_widget(Line::from(spans), area);
}

const HELP: &str = "\
 ↑ ↓ j k  PgUp PgDn  Home End   select, scroll
 ⏎  details of the node         Tab  servers and back; in details: one section
 s > <  sort by another column  r  reverse
 /  filter: part of a node's or server's name, or a pattern such as web*
 p  pause    Esc q  back, quit  Ctrl-C  quit

 PEND     pending records in all queues; MIN HOUR LOG ERROR REAL: in each
 LAG      age of the oldest pending record (below 10s sorts as none)
 GROW/s   records queued less records removed;  DROP/s  dropped records
 LEASED   fetched by a poller, not acknowledged yet
 REP/s    reporting commands, if the node is alone on its server
 BYTES    memory used by the node; red: its server is over 90 % full
 LATE     samples that missed their windows;  REJECTS  rejected reports
 Yellow: lag over 5m, late samples. Red: drops, rejects, lag over 1h.";

fn help(frame: &mut Frame, area: Rect, theme: Theme) {
    let lines: Vec<Line> = HELP.lines().map(Line::raw).collect();
    let width = HELP.lines().map(width).max().unwrap_or(0) as u16 + 3;
    let (width, height) = (
        width.min(area.width),
        (lines.len() as u16 + 2).min(area.height),
    );
    let popup = Rect {
        x: (area.width - width) / 2,
        y: (area.height - height) / 2,
        width,
        height,
    };
    let block = Block::bordered()
        .title(" agg top: press any key to continue ")
        .border_style(theme.label());
    frame.render_widget(Clear, popup);
    frame.render_widget(Paragraph::new(lines).block(block), popup);
}

#[cfg(test)]
mod tests;
