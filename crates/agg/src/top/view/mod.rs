//! Draws what is known. Every line is cut to the screen's width, whatever the names in it.

mod fleet;
mod node;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph};

use super::app::{App, Screen};
use super::columns::Trouble;
use super::show::width;

/// How things look; without colours trouble is bold.
#[derive(Clone, Copy, Debug)]
pub struct Theme {
    /// Whether there are colours.
    pub colours: bool,
}

impl Theme {
    fn trouble(self, trouble: Trouble) -> Style {
        let style = Style::new();
        match (trouble, self.colours) {
            (Trouble::None, _) => style,
            (Trouble::Some, true) => style.fg(Color::Yellow),
            (Trouble::Much, true) => style.fg(Color::Red).add_modifier(Modifier::BOLD),
            (_, false) => style.add_modifier(Modifier::BOLD),
        }
    }

    fn label(self) -> Style {
        match self.colours {
            true => Style::new().fg(Color::Cyan),
            false => Style::new(),
        }
    }

    fn old(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    fn heading(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    fn good(self) -> Style {
        match self.colours {
            true => Style::new().fg(Color::Green),
            false => Style::new(),
        }
    }
}

/// Draws the screen.
pub fn draw(frame: &mut Frame, app: &mut App, theme: Theme) {
    let area = frame.area();
    let [body, foot] = Layout::vertical([Constraint::Fill(1), Constraint::Length(1)]).areas(area);
    match app.screen.clone() {
        Screen::Nodes => fleet::nodes(frame, body, app, theme),
        Screen::Servers => fleet::servers(frame, body, app, theme),
        Screen::Into(key) => node::draw(frame, body, app, &key, theme),
    }
    footer(frame, foot, app, theme);
    if app.help {
        help(frame, area, theme);
    }
}

fn footer(frame: &mut Frame, area: Rect, app: &App, theme: Theme) {
    if app.typing {
        let line = Line::from(vec![
            Span::styled(" filter: ", theme.label()),
            Span::raw(format!("{}█", app.filter.text)),
            Span::styled(
                "   part of a name or a pattern; ⏎ done, Esc all",
                theme.old(),
            ),
        ]);
        frame.render_widget(line, area);
        return;
    }
    let keys: &[(&str, &str)] = match app.screen {
        Screen::Nodes => &[
            ("⏎", "look into"),
            ("s", "sort"),
            ("r", "reverse"),
            ("/", "filter"),
            ("Tab", "servers"),
            ("p", "pause"),
            ("?", "help"),
            ("q", "quit"),
        ],
        Screen::Servers => &[
            ("⏎", "its nodes"),
            ("Tab", "nodes"),
            ("p", "pause"),
            ("?", "help"),
            ("q", "back"),
        ],
        Screen::Into(_) => &[
            ("Tab", "one part"),
            ("↑↓", "scroll it"),
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
 ⏎  look into the node          Tab  servers and back; in a node: one part
 s > <  sort by another column  r  the other way around
 /  filter: part of a name of a node or server, or a pattern as web*
 p  pause    Esc q  back, quit  Ctrl-C  quit

 WAIT     entries in all queues; MIN HOUR LOG ERROR REAL: in each
 LAG      age of the oldest of them (sorting takes less than 10s as none)
 GROW/s   entries that came less those taken out;  DROP/s  that had to go
 LEASED   fetched by a poller and not acknowledged yet
 REP/s    commands that report, where the node is alone on its server
 BYTES    what the node holds, red where its server is over 90 % full
 LATE     samples that missed their window;  REFUSED  what was refused
 Yellow: lag over 5m, late samples. Red: drops, refusals, lag over 1h.";

fn help(frame: &mut Frame, area: Rect, theme: Theme) {
    let lines: Vec<Line> = HELP.lines().map(Line::raw).collect();
    let wide = HELP.lines().map(width).max().unwrap_or(0) as u16 + 3;
    let (wide, high) = (
        wide.min(area.width),
        (lines.len() as u16 + 2).min(area.height),
    );
    let place = Rect {
        x: (area.width - wide) / 2,
        y: (area.height - high) / 2,
        width: wide,
        height: high,
    };
    let block = Block::bordered()
        .title(" agg top, any key goes on ")
        .border_style(theme.label());
    frame.render_widget(Clear, place);
    frame.render_widget(Paragraph::new(lines).block(block), place);
}

/// Labels and figures in one line.
struct Figures {
    spans: Vec<Span<'static>>,
    theme: Theme,
}

impl Figures {
    fn new(theme: Theme) -> Figures {
        let spans = Vec::new();
        Figures { spans, theme }
    }

    fn add(mut self, label: &str, figure: String, trouble: Trouble) -> Figures {
        let gap = if self.spans.is_empty() { " " } else { "   " };
        self.spans
            .push(Span::styled(format!("{gap}{label} "), self.theme.label()));
        self.spans
            .push(Span::styled(figure, self.theme.trouble(trouble)));
        self
    }

    /// One more figure of the same label.
    fn and(mut self, figure: String, trouble: Trouble) -> Figures {
        self.spans.push(Span::raw(", "));
        self.spans
            .push(Span::styled(figure, self.theme.trouble(trouble)));
        self
    }

    fn line(self) -> Line<'static> {
        Line::from(self.spans)
    }
}

/// A line with something at its right end, if there is room for it.
fn with_end(mut line: Line<'static>, end: Line<'static>, cells: usize) -> Line<'static> {
    let blanks = cells.saturating_sub(line.width() + end.width());
    if blanks > 0 {
        line.spans.push(Span::raw(" ".repeat(blanks)));
        line.spans.extend(end.spans);
    }
    line
}

/// How often is looked, or that it is not.
fn pace(app: &App, theme: Theme) -> Line<'static> {
    match app.paused {
        true => Line::styled(" PAUSED ", theme.heading()),
        false => Line::styled(format!("every {} ", app.interval), theme.old()),
    }
}

#[cfg(test)]
pub mod tests;
