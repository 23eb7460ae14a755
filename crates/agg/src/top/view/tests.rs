//! The screens by what stands on them.

use crossterm::event::KeyCode;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::style::{Color, Modifier};

use super::*;
use crate::top::close::{Close, Noise, Noisy};
use crate::top::figures;
use crate::top::model::News;
use crate::top::model::tests::{Fixture, node, server};

const COLOURS: Theme = Theme { colours: true };

fn drawn(app: &mut App, (wide, high): (u16, u16), theme: Theme) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(wide, high)).unwrap();
    terminal.draw(|frame| draw(frame, app, theme)).unwrap();
    terminal.backend().buffer().clone()
}

fn lines(buffer: &Buffer) -> Vec<String> {
    let line = |y| {
        let cells = (0..buffer.area.width).map(|x| buffer[(x, y)].symbol());
        cells.collect::<String>().trim_end().to_owned()
    };
    (0..buffer.area.height).map(line).collect()
}

fn seen(app: &mut App, size: (u16, u16)) -> Vec<String> {
    lines(&drawn(app, size, COLOURS))
}

fn press(app: &mut App, keys: &[KeyCode]) {
    for key in keys {
        app.key((*key).into());
    }
}

/// Two servers with nodes, and one that is away.
fn fleet() -> App {
    let mut fixture = Fixture::default();
    for look in 0..2 {
        let dropping = node(500, 6 * 60_000, look * 30);
        fixture.look("h:1", server(100, look * 70), &[("web1", dropping)]);
        let mut refusing = node(3 + look, 2 * 3_600_000, 0);
        refusing.refused.insert("max-series".into(), look * 4);
        let calm = node(2, 1000, 0);
        fixture.look("h:2", server(950, 0), &[("db", refusing), ("calm", calm)]);
    }
    fixture.away("h:3", "cannot reach redis://h:3: connection refused");
    let mut app = App::new("2s".into());
    app.model = fixture.model;
    app
}

#[test]
fn the_nodes_at_80_by_24() {
    let lines = seen(&mut fleet(), (80, 24));
    assert_eq!(
        lines[..8],
        [
            " servers 2 up, 1 away   nodes 3                               by LAG▼  every 2s",
            " memory 1.03kb of 1.95kb   fullest 95 %   waiting 506   grows +31/s   lag 2h",
            " reports 70/s   drops 0/s   so far 0   refused 4.0/s   late 0/s",
            " again in 3s: cannot reach redis://h:3: connection refused",
            "NODE          WAIT  LAG  GROW/s DROP/s REP/s METRICS ERRORS  BYTES  LATE REFUSED",
            "db               4   2h    +1.0      0     -      12      0     0b     0       4",
            "web1           500   6m     +30     30    70      12      0     0b     0       0",
            "calm             2   1s       0      0     -      12      0     0b     0       0",
        ]
    );
    assert_eq!(
        lines[23],
        " ⏎ look into  s sort  r reverse  / filter  Tab servers  p pause  ? help  q quit"
    );
}

#[test]
fn trouble_has_a_colour() {
    let mut app = fleet();
    let buffer = drawn(&mut app, (80, 24), COLOURS);
    let at = |line: u16, text: &str| {
        let start = lines(&buffer)[usize::from(line)].find(text).unwrap() as u16;
        buffer[(start, line)].fg
    };
    assert_eq!(at(3, "again"), Color::Red);
    assert_eq!(at(6, "6m"), Color::Yellow);
    assert_eq!(at(6, "30    70"), Color::Red);
    assert_eq!(at(7, "1s"), Color::Reset);
    // The server of this one is short of memory.
    assert_eq!(at(7, "0b"), Color::Red);
    let plain = drawn(&mut app, (80, 24), Theme { colours: false });
    let colours = plain
        .content
        .iter()
        .any(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset);
    assert!(!colours);
    assert!(plain[(1, 3)].modifier.contains(Modifier::BOLD));
    assert_eq!(lines(&plain), lines(&buffer));
}

#[test]
fn a_wide_screen_has_all_columns() {
    let lines = seen(&mut fleet(), (160, 50));
    let titles: Vec<&str> = lines[4].split_whitespace().collect();
    assert_eq!(titles.len(), crate::top::columns::ALL.len());
    assert_eq!(titles[..3], ["NODE", "SERVER", "WAIT"]);
    assert!(lines[5].starts_with("db") && lines[5].contains(" h:2 "));
}

#[test]
fn a_hundred_nodes_with_long_names_scroll() {
    let mut fixture = Fixture::default();
    let name = |n| format!("frankfurt-dc1-rack12-database-replica-{n:03}");
    let names: Vec<String> = (0..100).map(name).collect();
    let nodes: Vec<(&str, figures::Node)> = names
        .iter()
        .map(|name| (name.as_str(), node(1, 0, 0)))
        .collect();
    fixture.look("h:1", server(1, 1), &nodes);
    let mut app = App::new("2s".into());
    app.model = fixture.model;
    let lines = seen(&mut app, (80, 24));
    assert!(
        lines[4].starts_with("frankfurt-dc1-ra…ase-replica-000 "),
        "{lines:?}"
    );
    press(&mut app, &[KeyCode::End]);
    let lines = seen(&mut app, (80, 24));
    assert!(
        lines[22].starts_with("frankfurt-dc1-ra…ase-replica-099 "),
        "{lines:?}"
    );
    press(&mut app, &[KeyCode::PageUp, KeyCode::PageUp]);
    let again = seen(&mut app, (80, 24));
    assert!(
        again[4].starts_with("frankfurt-dc1-ra…ase-replica-061 "),
        "{again:?}"
    );
    press(&mut app, &[KeyCode::Home]);
    assert!(seen(&mut app, (80, 24))[4].starts_with("frankfurt-dc1-ra…ase-replica-000 "));
}

#[test]
fn a_filter_that_nothing_matches_says_so() {
    let mut app = fleet();
    let keys: Vec<KeyCode> = "/nope".chars().map(KeyCode::Char).collect();
    press(&mut app, &keys);
    let lines = seen(&mut app, (80, 24));
    assert!(lines[0].contains("filter nope"));
    assert_eq!(lines[5], " no node matches \"nope\"");
    assert!(lines[23].starts_with(" filter: nope█"));
}

#[test]
fn the_servers() {
    let mut app = fleet();
    press(&mut app, &[KeyCode::Tab]);
    let lines = seen(&mut app, (80, 24));
    assert_eq!(lines[3], " h:1: up");
    assert!(lines[4].starts_with("SERVER") && lines[4].ends_with("STATE"));
    assert!(lines[5].starts_with("h:1") && lines[5].ends_with(" up"));
    assert!(lines[6].contains(" 95% ") && lines[6].ends_with(" up, memory is short"));
    assert!(lines[7].contains("again in 3s: "));
    press(&mut app, &[KeyCode::End]);
    let line = &seen(&mut app, (80, 24))[3];
    assert!(
        line.starts_with(" h:3: again in 3s: cannot reach redis://h:3: connection"),
        "{line}"
    );
}

fn into_web1() -> App {
    let mut app = fleet();
    press(&mut app, &[KeyCode::Down, KeyCode::Enter]);
    let mut app_wish = app.wish().into.unwrap();
    // Nothing was drawn yet, so the first was selected before: db, then web1.
    assert_eq!(std::mem::take(&mut app_wish.node), b"web1");
    app
}

fn noise(names: &[&str]) -> Noise {
    let list = names
        .iter()
        .enumerate()
        .map(|(at, name)| Noisy::of(name, 1000 * at as u64, Some(13.0), "ABS last 3"));
    Noise {
        list: list.collect(),
        looked: 2000,
        whole: false,
        total: None,
    }
}

#[test]
fn a_node_at_80_by_24() {
    let mut app = into_web1();
    assert!(seen(&mut app, (80, 24)).contains(&" looking into it".to_owned()));
    let close = Close {
        metrics: noise(&["cpu", "disk.iops@sda", "net", "a", "b", "c", "d", "e"]),
        errors: noise(&["read failed", "write failed", "x"]),
        logs: vec!["12:00:00 5 hello".into(), "11:59:59 5 older".into()],
        realities: vec![],
        held: vec![],
        note: None,
    };
    let key = app.wish().into.unwrap();
    app.take(News::Into { key, close });
    let lines = seen(&mut app, (80, 24));
    assert_eq!(
        lines,
        [
            " node web1   on h:1                                                    every 2s",
            " metrics 12   errors 0   objects 0   bytes 0b   late 0",
            " refused nothing",
            " QUEUE       WAIT    BYTES  OLDEST   GROW/s  LEASED    DROPS",
            " MIN            0       0b       -        0       0        0",
            " HOUR           0       0b       -        0       0        0",
            " LOG          500   48.8kb      6m      +30       0       30",
            " ERROR          0       0b       -        0       0        0",
            " REALITY        0       0b       -        0       0        0",
            " METRICS   samples/s, samples; 2000 of 12 looked at so far",
            "      13       0  cpu                                   ABS last 3",
            "      13    1000  disk.iops@sda                         ABS last 3",
            "      13    2000  net                                   ABS last 3",
            "      13    3000  a                                     ABS last 3",
            "      13    4000  b                                     ABS last 3",
            " ERRORS   occurrences/s, occurrences; 2000 of 0 looked at so far",
            "      13       0  read failed                           ABS last 3",
            "      13    1000  write failed                          ABS last 3",
            " LOG   the latest that wait: UTC, level, message",
            " 12:00:00 5 hello",
            " 11:59:59 5 older",
            " OBJECTS   the latest changes that wait",
            " none",
            " Tab one part  ↑↓ scroll it  p pause  ? help  q back",
        ]
    );
    press(&mut app, &[KeyCode::Tab, KeyCode::Down]);
    let lines = seen(&mut app, (80, 8));
    assert!(lines[3].starts_with(" METRICS"), "{lines:?}");
    assert!(lines[4].contains(" disk.iops@sda "));
    press(&mut app, &[KeyCode::Tab]);
    assert!(seen(&mut app, (80, 24))[4].contains("read failed"));
    press(&mut app, &[KeyCode::Esc]);
    let lines = seen(&mut app, (160, 50));
    assert!(lines[9].starts_with(" METRICS") && lines[9].contains(" ERRORS "));
}

#[test]
fn a_node_that_is_no_more() {
    let mut app = into_web1();
    app.take(News::Gone { id: "h:1".into() });
    assert!(seen(&mut app, (80, 24))[0].starts_with(" the node is no more"));
}

#[test]
fn help_pause_and_any_size() {
    let mut app = fleet();
    press(&mut app, &[KeyCode::Char('p'), KeyCode::Char('?')]);
    let lines = seen(&mut app, (80, 24));
    assert!(lines[0].ends_with("PAUSED"));
    assert!(
        lines
            .iter()
            .any(|line| line.contains("agg top, any key goes on"))
    );
    // All of it is to be seen on the smallest usual screen.
    assert!(
        lines
            .iter()
            .any(|line| line.contains("Red: drops, refusals, lag over 1h."))
    );
    for size in [(1, 1), (2, 2), (10, 3), (40, 10), (300, 100)] {
        let mut app = fleet();
        for key in ['?', '?', '\t', '\t'] {
            seen(&mut app, size);
            let code = if key == '\t' {
                KeyCode::Tab
            } else {
                KeyCode::Char(key)
            };
            press(&mut app, &[code]);
        }
        press(&mut app, &[KeyCode::Enter]);
        seen(&mut app, size);
    }
}

#[test]
fn nothing_known_yet() {
    let mut app = App::new("2s".into());
    let lines = seen(&mut app, (80, 24));
    assert_eq!(lines[4], " looking for servers");
    app.take(News::Found {
        id: "h".into(),
        place: "redis://h".into(),
    });
    assert_eq!(seen(&mut app, (80, 24))[4], " asking");
}
