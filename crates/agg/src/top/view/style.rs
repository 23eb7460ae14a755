//! Composes and colours lines.

use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};

use crate::top::app::App;
use crate::top::columns::Severity;

/// The styles. Without colours, warnings and alarms are bold.
#[derive(Clone, Copy, Debug)]
pub struct Theme {
    pub colours: bool,
}

impl Theme {
    pub fn severity(self, severity: Severity) -> Style {
        let style = Style::new();
        match (severity, self.colours) {
            (Severity::Normal, _) => style,
            (Severity::Warning, true) => style.fg(Color::Yellow),
            (Severity::Alarm, true) => style.fg(Color::Red).add_modifier(Modifier::BOLD),
            (_, false) => style.add_modifier(Modifier::BOLD),
        }
    }

    pub fn label(self) -> Style {
        match self.colours {
            true => Style::new().fg(Color::Cyan),
            false => Style::new(),
        }
    }

    /// Returns the style of outdated values and of hints.
    pub fn dim(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    pub fn heading(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    pub fn good(self) -> Style {
        match self.colours {
            true => Style::new().fg(Color::Green),
            false => Style::new(),
        }
    }
}

/// A line of labels and values.
pub struct Fields {
    spans: Vec<Span<'static>>,
    theme: Theme,
}

impl Fields {
    pub fn new(theme: Theme) -> Fields {
        let spans = Vec::new();
        Fields { spans, theme }
    }

    pub fn add(mut self, label: &str, value: String, severity: Severity) -> Fields {
        let gap = if self.spans.is_empty() { " " } else { "   " };
        self.spans
            .push(Span::styled(format!("{gap}{label} "), self.theme.label()));
        self.spans
            .push(Span::styled(value, self.theme.severity(severity)));
        self
    }

    /// Adds a further value to the last label.
    pub fn and(mut self, value: String, severity: Severity) -> Fields {
        self.spans.push(Span::raw(", "));
        self.spans
            .push(Span::styled(value, self.theme.severity(severity)));
        self
    }

    pub fn line(self) -> Line<'static> {
        Line::from(self.spans)
    }
}

/// Appends `end` to a line, aligned to the right, if it fits.
pub fn with_end(mut line: Line<'static>, end: Line<'static>, cells: usize) -> Line<'static> {
    let blanks = cells.saturating_sub(line.width() + end.width());
    if blanks > 0 {
        line.spans.push(Span::raw(" ".repeat(blanks)));
        line.spans.extend(end.spans);
    }
    line
}

/// Returns the interval between readings, or that they are paused.
pub fn reading_interval(app: &App, theme: Theme) -> Line<'static> {
    match app.paused {
        true => Line::styled(" PAUSED ", theme.heading()),
        false => Line::styled(format!("every {} ", app.interval), theme.dim()),
    }
}
