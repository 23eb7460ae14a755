//! Tests of the screens by their text.

use crossterm::event::KeyCode;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::style::{Color, Modifier};

use super::*;
use crate::stats::NodeStats;
use crate::top::columns::ALL;
use crate::top::model::Update;
use crate::top::model::fixtures::{Fixture, node, server};
use crate::top::node_detail::{NodeDetail, RankedItem, Ranking};

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
        app.handle_key((*key).into());
    }
}

/// Two servers with nodes, and one that is down.
fn fleet() -> App {
    let mut fixture = Fixture::default();
    for reading in 0..2 {
        let dropping = node(500, 6 * 60_000, reading * 30);
        fixture.read("h:1", server(100, reading * 70), &[("web1", dropping)]);
        let mut rejecting = node(3 + reading, 2 * 3_600_000, 0);
        rejecting.refused.insert("max-series".into(), reading * 4);
        let calm = node(2, 1000, 0);
        fixture.read("h:2", server(950, 0), &[("db", rejecting), ("calm", calm)]);
    }
    fixture.down("h:3", "cannot reach redis://h:3: connection refused");
    let mut app = App::new("2s".into());
    app.model = fixture.model;
    app
}

#[test]
fn nodes_at_80_by_24() {
    let lines = seen(&mut fleet(), (80, 24));
    assert_eq!(
        lines[..8],
        [
            " servers 2 up, 1 down   nodes 3                               by LAG▼  every 2s",
            " memory 1.03kb of 1.95kb   highest 95 %   pending 506   growth +31/s   lag 2h",
            " reports 70/s   drops 0/s   so far 0   rejects 4.0/s   late 0/s",
            " retry in 3s: cannot reach redis://h:3: connection refused",
            "NODE          PEND  LAG  GROW/s DROP/s REP/s METRICS ERRORS  BYTES  LATE REJECTS",
            "db               4   2h    +1.0      0     -      12      0     0b     0       4",
            "web1           500   6m     +30     30    70      12      0     0b     0       0",
            "calm             2   1s       0      0     -      12      0     0b     0       0",
        ]
    );
    assert_eq!(
        lines[23],
        " ⏎ details  s sort  r reverse  / filter  Tab servers  p pause  ? help  q quit"
    );
}

#[test]
fn alarms_and_warnings_have_colours() {
    let mut app = fleet();
    let buffer = drawn(&mut app, (80, 24), COLOURS);
    let at = |line: u16, text: &str| {
        let start = lines(&buffer)[usize::from(line)].find(text).unwrap() as u16;
        buffer[(start, line)].fg
    };
    assert_eq!(at(3, "retry"), Color::Red);
    assert_eq!(at(6, "6m"), Color::Yellow);
    assert_eq!(at(6, "30    70"), Color::Red);
    assert_eq!(at(7, "1s"), Color::Reset);
    // Its server is low on memory.
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
fn wide_screen_has_all_columns() {
    let lines = seen(&mut fleet(), (160, 50));
    let titles: Vec<&str> = lines[4].split_whitespace().collect();
    assert_eq!(titles.len(), ALL.len());
    assert_eq!(titles[..3], ["NODE", "SERVER", "PEND"]);
    assert!(lines[5].starts_with("db") && lines[5].contains(" h:2 "));
}

#[test]
fn hundred_nodes_with_long_names_scroll() {
    let mut fixture = Fixture::default();
    let name = |n| format!("frankfurt-dc1-rack12-database-replica-{n:03}");
    let names: Vec<String> = (0..100).map(name).collect();
    let nodes: Vec<(&str, NodeStats)> = names
        .iter()
        .map(|name| (name.as_str(), node(1, 0, 0)))
        .collect();
    fixture.read("h:1", server(1, 1), &nodes);
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
fn filter_without_a_match_is_reported() {
    let mut app = fleet();
    let keys: Vec<KeyCode> = "/nope".chars().map(KeyCode::Char).collect();
    press(&mut app, &keys);
    let lines = seen(&mut app, (80, 24));
    assert!(lines[0].contains("filter nope"));
    assert_eq!(lines[5], " no node matches \"nope\"");
    assert!(lines[23].starts_with(" filter: nope█"));
}

#[test]
fn servers_are_listed_with_their_state() {
    let mut app = fleet();
    press(&mut app, &[KeyCode::Tab]);
    let lines = seen(&mut app, (80, 24));
    assert_eq!(lines[3], " h:1: up");
    assert!(lines[4].starts_with("SERVER") && lines[4].ends_with("STATE"));
    assert!(lines[5].starts_with("h:1") && lines[5].ends_with(" up"));
    assert!(lines[6].contains(" 95% ") && lines[6].ends_with(" up, low on memory"));
    assert!(lines[7].contains("retry in 3s: "));
    press(&mut app, &[KeyCode::End]);
    let line = &seen(&mut app, (80, 24))[3];
    assert!(
        line.starts_with(" h:3: retry in 3s: cannot reach redis://h:3: connection"),
        "{line}"
    );
}

fn details_of_web1() -> App {
    let mut app = fleet();
    press(&mut app, &[KeyCode::Down, KeyCode::Enter]);
    // Nothing was drawn yet, so that the first row was selected: db, then web1.
    assert_eq!(app.selection().node.unwrap().node, b"web1");
    app
}

fn ranking(names: &[&str]) -> Ranking {
    let items = names
        .iter()
        .enumerate()
        .map(|(at, name)| RankedItem::new(name, 1000 * at as u64, Some(13.0), "ABS last 3"));
    Ranking {
        items: items.collect(),
        covered: 2000,
        is_complete: false,
        total_rate: None,
    }
}

#[test]
fn node_at_80_by_24() {
    let mut app = details_of_web1();
    assert!(seen(&mut app, (80, 24)).contains(&" reading the node".to_owned()));
    let detail = NodeDetail {
        metrics: ranking(&["cpu", "disk.iops@sda", "net", "a", "b", "c", "d", "e"]),
        errors: ranking(&["read failed", "write failed", "x"]),
        log: vec!["12:00:00 5 hello".into(), "11:59:59 5 older".into()],
        object_changes: vec![],
        objects: vec![],
        note: None,
    };
    let key = app.selection().node.unwrap();
    app.apply(Update::Detail { key, detail });
    let lines = seen(&mut app, (80, 24));
    assert_eq!(
        lines,
        [
            " node web1   on h:1                                                    every 2s",
            " metrics 12   errors 0   objects 0   bytes 0b   late 0",
            " rejects none",
            " QUEUE       PEND    BYTES  OLDEST   GROW/s  LEASED    DROPS",
            " MIN            0       0b       -        0       0        0",
            " HOUR           0       0b       -        0       0        0",
            " LOG          500   48.8kb      6m      +30       0       30",
            " ERROR          0       0b       -        0       0        0",
            " REALITY        0       0b       -        0       0        0",
            " METRICS   samples/s, samples; 2000 of 12 read so far",
            "      13       0  cpu                                   ABS last 3",
            "      13    1000  disk.iops@sda                         ABS last 3",
            "      13    2000  net                                   ABS last 3",
            "      13    3000  a                                     ABS last 3",
            "      13    4000  b                                     ABS last 3",
            " ERRORS   occurrences/s, occurrences; 2000 of 0 read so far",
            "      13       0  read failed                           ABS last 3",
            "      13    1000  write failed                          ABS last 3",
            " LOG   latest pending entries: UTC, level, message",
            " 12:00:00 5 hello",
            " 11:59:59 5 older",
            " OBJECTS   latest pending changes",
            " none",
            " Tab one section  ↑↓ scroll  p pause  ? help  q back",
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
fn deleted_node_is_reported() {
    let mut app = details_of_web1();
    app.apply(Update::Gone { id: "h:1".into() });
    assert!(seen(&mut app, (80, 24))[0].starts_with(" the node no longer exists"));
}

#[test]
fn help_and_pause_are_drawn_at_any_size() {
    let mut app = fleet();
    press(&mut app, &[KeyCode::Char('p'), KeyCode::Char('?')]);
    let lines = seen(&mut app, (80, 24));
    assert!(lines[0].ends_with("PAUSED"));
    assert!(
        lines
            .iter()
            .any(|line| line.contains("agg top: press any key to continue"))
    );
    // The help fits on the smallest usual screen.
    assert!(
        lines
            .iter()
            .any(|line| line.contains("Red: drops, rejects, lag over 1h."))
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
fn empty_model_shows_the_search() {
    let mut app = App::new("2s".into());
    let lines = seen(&mut app, (80, 24));
    assert_eq!(lines[4], " searching for servers");
    app.apply(Update::Found {
        id: "h".into(),
        endpoint: "redis://h".into(),
    });
    assert_eq!(seen(&mut app, (80, 24))[4], " connecting");
}
