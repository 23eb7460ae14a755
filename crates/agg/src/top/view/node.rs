//! The look into one node.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::{Figures, Theme, pace, with_end};
use crate::top::app::{App, Part};
use crate::top::close::{Close, Noise, Noisy};
use crate::top::columns::{LAG_MS, Trouble, short};
use crate::top::figures::QUEUES;
use crate::top::model::{Key, Row};
use crate::top::show::{age, bytes, change, count, cut, pad, per_second, rate, squeeze};

/// From this width on there are two columns.
const WIDE: u16 = 120;

/// A part of the screen: what stands above it, and its lines.
struct Section {
    title: String,
    lines: Vec<Line<'static>>,
}

/// Draws a node.
pub fn draw(frame: &mut Frame, area: Rect, app: &mut App, key: &Key, theme: Theme) {
    let cells = usize::from(area.width);
    let Some(row) = app.model.row(key) else {
        let gone = " the node is no more: it was deleted or renamed, or its server is no more";
        frame.render_widget(Line::styled(gone, theme.trouble(Trouble::Much)), area);
        return;
    };
    let close = app.model.close.as_ref().filter(|(known, _)| known == key);
    let close = close.map(|(_, close)| close);
    let mut head = vec![with_end(name(&row, cells, theme), pace(app, theme), cells)];
    head.extend(about(&row, close, theme, cells));
    if app.part == Part::All {
        head.extend(queues(&row, theme, cells));
    }
    let high = Constraint::Length(head.len() as u16);
    let [top, body] = Layout::vertical([high, Constraint::Fill(1)]).areas(area);
    frame.render_widget(Paragraph::new(head), top);
    let Some(close) = close else {
        frame.render_widget(Line::styled(" looking into it", theme.old()), body);
        return;
    };
    let close = close.clone();
    let all = row.node.figures.clone();
    let section = |part, cells| {
        section(
            &close,
            (all.metrics, all.errors, all.realities),
            part,
            cells,
        )
    };
    match app.part {
        Part::All if area.width >= WIDE => {
            let [left, gap, right] = Layout::horizontal([
                Constraint::Fill(1),
                Constraint::Length(1),
                Constraint::Fill(1),
            ])
            .areas(body);
            let _ = gap;
            for (side, parts) in [
                (left, [Part::Metrics, Part::Objects]),
                (right, [Part::Errors, Part::Log]),
            ] {
                let cells = usize::from(side.width);
                stack(
                    frame,
                    side,
                    parts.map(|part| section(part, cells)).into(),
                    theme,
                );
            }
        }
        Part::All => {
            let parts = [Part::Metrics, Part::Errors, Part::Log, Part::Objects];
            stack(
                frame,
                body,
                parts.map(|part| section(part, cells)).into(),
                theme,
            );
        }
        part => {
            let mut section = section(part, cells);
            let room = usize::from(body.height).saturating_sub(1);
            app.page = room;
            app.scroll = app.scroll.min(section.lines.len().saturating_sub(room));
            section.lines.drain(..app.scroll);
            stack(frame, body, vec![section], theme);
        }
    }
}

fn name(row: &Row, cells: usize, theme: Theme) -> Line<'static> {
    let place = cut(short(&row.server.place), 30);
    let room = cells.saturating_sub(place.len() + 18).max(10);
    let line = Figures::new(theme)
        .add("node", squeeze(&row.node.name, room), Trouble::None)
        .add("on", place, Trouble::None);
    match row.away() {
        true => line.and("away".into(), Trouble::Much).line(),
        false => line.line(),
    }
}

fn about(row: &Row, close: Option<&Close>, theme: Theme, cells: usize) -> Vec<Line<'static>> {
    let (node, rates) = (&row.node.figures, &row.node.rates);
    let grows = |rate: Option<f64>, trouble| match rate {
        Some(rate) if rate > 0.0 => trouble,
        _ => Trouble::None,
    };
    let holds = Figures::new(theme)
        .add("metrics", count(node.metrics), Trouble::None)
        .add("errors", count(node.errors), Trouble::None)
        .add("objects", count(node.realities), Trouble::None)
        .add("bytes", bytes(node.bytes), Trouble::None)
        .add("late", count(node.late), grows(rates.late, Trouble::Some));
    // Rare enough to be told only where they are.
    let rare = [("cut", node.truncated), ("clock back", node.clock_back)];
    let some = rare.into_iter().filter(|(_, n)| *n > 0);
    let holds = some.fold(holds, |line, (what, n)| {
        line.add(what, count(n), Trouble::None)
    });
    let mut reasons: Vec<(&String, &u64)> = node.refused.iter().filter(|(_, n)| **n > 0).collect();
    reasons.sort_by(|a, b| b.1.cmp(a.1));
    let reasons: Vec<String> = reasons
        .iter()
        .map(|(why, n)| format!("{why} {}", count(**n)))
        .collect();
    let reasons = match reasons.is_empty() {
        true => "nothing".into(),
        false => format!(
            "{} ({})",
            reasons.join(", "),
            per_second(rate(rates.refused))
        ),
    };
    let reasons = cut(&reasons, cells.saturating_sub(10));
    let refused = Figures::new(theme).add("refused", reasons, grows(rates.refused, Trouble::Much));
    let mut lines = vec![holds.line(), refused.line()];
    if let Some(note) = close.and_then(|close| close.note.as_ref()) {
        let note = format!(" not all could be looked at: {note}");
        lines.push(Line::styled(
            cut(&note, cells),
            theme.trouble(Trouble::Some),
        ));
    }
    lines
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
        "QUEUE", "WAIT", "BYTES", "OLDEST", "GROW/s", "LEASED", "DROPS",
    ];
    let titles = format!(" {}", table(titles.map(str::to_owned)));
    let mut lines = vec![Line::styled(pad(&titles, cells, false), theme.heading())];
    for (at, queue) in row.node.figures.queues.iter().enumerate() {
        let lag = match queue.oldest {
            _ if queue.length == 0 => Trouble::None,
            lag if lag >= 12 * LAG_MS => Trouble::Much,
            lag if lag >= LAG_MS => Trouble::Some,
            _ => Trouble::None,
        };
        let oldest = match queue.length {
            0 => "-".into(),
            _ => age(queue.oldest),
        };
        let text = table([
            QUEUES[at].to_owned(),
            count(queue.length),
            bytes(queue.bytes),
            oldest,
            change(row.node.rates.by_queue[at]),
            count(queue.leased),
            count(queue.dropped),
        ]);
        lines.push(Line::styled(format!(" {text}"), theme.trouble(lag)));
    }
    lines
}

fn section(
    close: &Close,
    (metrics, errors, objects): (u64, u64, u64),
    part: Part,
    cells: usize,
) -> Section {
    let plain = |lines: &[String]| -> Vec<Line<'static>> {
        let lines = lines
            .iter()
            .map(|line| Line::raw(format!(" {}", cut(line, cells.saturating_sub(1)))));
        lines.collect()
    };
    let noisy = |noise: &Noise| {
        noise
            .list
            .iter()
            .map(|noisy| noise_line(noisy, cells))
            .collect()
    };
    match part {
        Part::Metrics | Part::All => Section {
            title: format!(
                "METRICS   samples/s, samples; {}",
                looked(&close.metrics, metrics)
            ),
            lines: noisy(&close.metrics),
        },
        Part::Errors => Section {
            title: format!(
                "ERRORS   occurrences/s, occurrences; {}",
                looked(&close.errors, errors)
            ),
            lines: noisy(&close.errors),
        },
        Part::Log => Section {
            title: "LOG   the latest that wait: UTC, level, message".into(),
            lines: plain(&close.logs),
        },
        Part::Objects if close.realities.is_empty() && objects > 0 => Section {
            title: format!("OBJECTS   no change waits; of {} held:", count(objects)),
            lines: plain(&close.held),
        },
        Part::Objects => Section {
            title: "OBJECTS   the latest changes that wait".into(),
            lines: plain(&close.realities),
        },
    }
}

/// How much of a kind was looked at.
fn looked(noise: &Noise, all: u64) -> String {
    match (noise.total, noise.whole) {
        (Some(total), _) => format!(
            "all {}, {}/s together",
            count(noise.looked as u64),
            rate(Some(total))
        ),
        (None, true) if noise.list.is_empty() => "none".into(),
        (None, true) if noise.list.iter().all(|noisy| noisy.rate.is_none()) => {
            format!("all {}", count(noise.looked as u64))
        }
        (None, true) => format!("all {}, a part at a time", count(noise.looked as u64)),
        (None, false) => format!(
            "{} of {} looked at so far",
            count(noise.looked as u64),
            count(all)
        ),
    }
}

fn noise_line(noisy: &Noisy, cells: usize) -> Line<'static> {
    let detail = if cells >= 60 { 24 } else { 0 };
    let name = cells.saturating_sub(1 + 7 + 1 + 7 + 2 + detail + 1);
    let text = format!(
        " {} {}  {} {}",
        pad(&rate(noisy.rate), 7, true),
        pad(&count(noisy.count), 7, true),
        pad(&squeeze(&noisy.name, name), name, false),
        cut(&noisy.detail, detail)
    );
    Line::raw(text)
}

/// Puts sections below each other; those that have more get what others leave.
fn stack(frame: &mut Frame, area: Rect, sections: Vec<Section>, theme: Theme) {
    let mut left = usize::from(area.height).saturating_sub(sections.len());
    let mut rows = vec![0; sections.len()];
    // Two for the first for one of the others.
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
            true if rows > 0 => lines.push(Line::styled(" none", theme.old())),
            _ => lines.extend(section.lines.into_iter().take(rows)),
        }
    }
    frame.render_widget(Paragraph::new(lines), area);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_that_are_held_are_shown_where_no_change_waits() {
        let mut close = Close {
            held: vec!["sda Disk {}".into()],
            ..Close::default()
        };
        let title = |close: &Close, objects| section(close, (0, 0, objects), Part::Objects, 80);
        let held = title(&close, 1200);
        assert_eq!(held.title, "OBJECTS   no change waits; of 1200 held:");
        assert_eq!(held.lines[0].to_string(), " sda Disk {}");
        assert!(title(&close, 0).lines.is_empty());
        close.realities.push("12:00:00 sda Disk {}".into());
        assert!(
            title(&close, 1200)
                .title
                .ends_with("the latest changes that wait")
        );
    }
}
