//! The state of the user interface: the screen, the sort order, the filter, the selected node. No I/O: keys and updates
//! come in, and the [`Selection`] says what to read.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::columns::{self, Column};
use super::model::{Model, NodeKey, Selection, Update};
use super::table::{Filter, rows};

/// A screen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Screen {
    Nodes,
    Servers,
    Detail(NodeKey),
}

/// The part of a node's details that fills the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    All,
    Metrics,
    Errors,
    Log,
    Objects,
}

impl Part {
    fn next(self) -> Part {
        match self {
            Part::All => Part::Metrics,
            Part::Metrics => Part::Errors,
            Part::Errors => Part::Log,
            Part::Log => Part::Objects,
            Part::Objects => Part::All,
        }
    }
}

/// The state of the user interface.
pub struct App {
    pub model: Model,
    pub screen: Screen,
    pub sort: Column,
    pub reverse: bool,
    pub filter: Filter,
    /// True if keys edit the filter.
    pub is_typing: bool,
    pub help: bool,
    pub paused: bool,
    /// The selected node. It stays selected wherever it is sorted to; `None` selects the first row.
    pub selected: Option<NodeKey>,
    /// Index of the selected server.
    pub server: usize,
    pub part: Part,
    /// Number of lines or rows above the visible ones.
    pub scroll: usize,
    /// Number of rows that fitted when the table was drawn last.
    pub page: usize,
    /// Columns that fitted then.
    pub columns: Vec<Column>,
    /// The interval between readings, as text.
    pub interval: String,
}

impl App {
    /// Returns the state at the start, with an empty model.
    pub fn new(interval: String) -> App {
        App {
            model: Model::default(),
            screen: Screen::Nodes,
            sort: Column::Lag,
            reverse: false,
            filter: Filter::default(),
            is_typing: false,
            help: false,
            paused: false,
            selected: None,
            server: 0,
            part: Part::All,
            scroll: 0,
            page: 1,
            columns: columns::ALL.to_vec(),
            interval,
        }
    }

    /// Applies an update to the model. Updates that arrive while paused are ignored.
    pub fn apply(&mut self, update: Update) {
        if !self.paused {
            self.model.apply(update);
        }
    }

    /// Returns what to read.
    pub fn selection(&self) -> Selection {
        let node = match &self.screen {
            Screen::Detail(key) => Some(key.clone()),
            _ => None,
        };
        Selection {
            node,
            paused: self.paused,
        }
    }

    /// Handles a key. Returns whether the program should end.
    pub fn handle_key(&mut self, key: KeyEvent) -> bool {
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return matches!(key.code, KeyCode::Char('c' | 'd'));
        }
        if self.is_typing {
            self.edit(key.code);
            return false;
        }
        if self.help {
            self.help = false;
            return false;
        }
        match key.code {
            KeyCode::Char('?') => self.help = true,
            KeyCode::Char('p') => self.paused = !self.paused,
            KeyCode::Char('q') | KeyCode::Esc => return self.back(key.code),
            KeyCode::Tab => self.switch(),
            KeyCode::Enter | KeyCode::Right => self.enter(),
            KeyCode::Char('/') if self.screen == Screen::Nodes => self.is_typing = true,
            KeyCode::Char('s' | '>') if self.screen == Screen::Nodes => self.sort_by(1),
            KeyCode::Char('<') if self.screen == Screen::Nodes => self.sort_by(-1),
            KeyCode::Char('r') if self.screen == Screen::Nodes => self.reverse = !self.reverse,
            code => self.navigate(code),
        }
        false
    }

    /// Goes one step back. Returns whether that ends the program.
    fn back(&mut self, code: KeyCode) -> bool {
        match self.screen {
            Screen::Detail(_) if self.part != Part::All => self.part = Part::All,
            Screen::Detail(_) => {
                self.screen = Screen::Nodes;
                self.model.detail = None;
            }
            Screen::Servers => self.screen = Screen::Nodes,
            Screen::Nodes if code == KeyCode::Esc && !self.filter.text.is_empty() => {
                self.filter = Filter::default();
            }
            Screen::Nodes => return true,
        }
        self.scroll = 0;
        false
    }

    fn switch(&mut self) {
        self.scroll = 0;
        match self.screen {
            Screen::Nodes => self.screen = Screen::Servers,
            Screen::Servers => self.screen = Screen::Nodes,
            Screen::Detail(_) => self.part = self.part.next(),
        }
    }

    fn enter(&mut self) {
        match self.screen {
            Screen::Nodes => {
                let rows = rows(&self.model, self.sort, self.reverse, &self.filter);
                let selected = self.selected.as_ref();
                let at = selected.and_then(|key| rows.iter().position(|row| row.key() == *key));
                let Some(key) = rows.get(at.unwrap_or(0)).map(|row| row.key()) else {
                    return;
                };
                self.selected = Some(key.clone());
                self.screen = Screen::Detail(key);
                (self.part, self.scroll, self.model.detail) = (Part::All, 0, None);
            }
            // Shows the nodes of that server.
            Screen::Servers => {
                if let Some(server) = self.model.servers.values().nth(self.server) {
                    self.filter = Filter::new(columns::short_endpoint(&server.endpoint));
                    (self.screen, self.scroll) = (Screen::Nodes, 0);
                }
            }
            Screen::Detail(_) => {}
        }
    }

    fn edit(&mut self, code: KeyCode) {
        let mut text = self.filter.text.clone();
        match code {
            KeyCode::Enter => self.is_typing = false,
            KeyCode::Esc => {
                self.is_typing = false;
                text.clear();
            }
            KeyCode::Backspace => {
                text.pop();
            }
            KeyCode::Char(c) => text.push(c),
            _ => return,
        }
        self.filter = Filter::new(&text);
    }

    /// Sorts by the next column to the right or left, of those that are shown.
    fn sort_by(&mut self, step: isize) {
        let shown = &self.columns;
        let at = shown.iter().position(|column| *column == self.sort);
        let count = shown.len() as isize;
        let at = at.map_or(0, |at| (at as isize + step).rem_euclid(count));
        self.sort = shown[at as usize];
        self.reverse = false;
        // Shows the rows that are now first.
        self.selected = None;
    }

    fn navigate(&mut self, code: KeyCode) {
        let page = self.page.max(1) as isize;
        let step = match code {
            KeyCode::Up | KeyCode::Char('k') => -1,
            KeyCode::Down | KeyCode::Char('j') => 1,
            KeyCode::PageUp => -page,
            KeyCode::PageDown | KeyCode::Char(' ') => page,
            KeyCode::Home | KeyCode::Char('g') => isize::MIN,
            KeyCode::End | KeyCode::Char('G') => isize::MAX,
            _ => return,
        };
        let moved = |at: usize, count: usize| {
            let last = count.saturating_sub(1) as isize;
            (at as isize).saturating_add(step).clamp(0, last) as usize
        };
        match self.screen {
            Screen::Nodes => {
                let rows = rows(&self.model, self.sort, self.reverse, &self.filter);
                let at = self.selected.as_ref();
                let at = at.and_then(|key| rows.iter().position(|row| row.key() == *key));
                let to = moved(at.unwrap_or(0), rows.len());
                let key = rows.get(to).map(|row| row.key());
                self.selected = key.filter(|_| to > 0);
            }
            Screen::Servers => self.server = moved(self.server, self.model.servers.len()),
            // Limited to the length of the part when it is drawn.
            Screen::Detail(_) if self.part != Part::All => {
                self.scroll = moved(self.scroll, usize::MAX / 4)
            }
            Screen::Detail(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::top::model::fixtures::{Fixture, node, server};

    fn app() -> App {
        let mut fixture = Fixture::default();
        let nodes = [
            ("a", node(1, 0, 0)),
            ("b", node(2, 0, 0)),
            ("c", node(3, 0, 0)),
        ];
        fixture.read("h:1", server(1, 1), &nodes);
        let mut app = App::new("2s".into());
        app.model = fixture.model;
        app
    }

    fn press(app: &mut App, keys: &str) -> bool {
        keys.chars().any(|c| {
            let code = match c {
                '\n' => KeyCode::Enter,
                '\t' => KeyCode::Tab,
                '\x1b' => KeyCode::Esc,
                '\x08' => KeyCode::Backspace,
                c => KeyCode::Char(c),
            };
            app.handle_key(code.into())
        })
    }

    fn selected(app: &App) -> &str {
        let node = app.selected.as_ref().map(|key| key.node.as_slice());
        std::str::from_utf8(node.unwrap_or(b"the first")).unwrap()
    }

    #[test]
    fn selection_stays_on_its_node() {
        let mut app = app();
        press(&mut app, "j");
        assert_eq!(selected(&app), "b");
        press(&mut app, "r");
        press(&mut app, "j");
        assert_eq!(selected(&app), "a");
        press(&mut app, "jjjj");
        assert_eq!(selected(&app), "a");
        press(&mut app, "g");
        assert_eq!(selected(&app), "the first");
        press(&mut app, "G");
        assert_eq!(selected(&app), "a");
        // Another sort order selects the first row.
        press(&mut app, "s");
        assert_eq!(selected(&app), "the first");
        press(&mut app, "\n");
        assert_eq!(selected(&app), "a");
    }

    #[test]
    fn sort_columns_wrap_around() {
        let mut app = app();
        assert_eq!(app.sort, Column::Lag);
        press(&mut app, "s");
        assert_eq!(app.sort, Column::Growth);
        press(&mut app, "<<");
        assert_eq!(app.sort, Column::Pending);
        press(&mut app, "<<<");
        assert_eq!(app.sort, Column::Rejects);
    }

    #[test]
    fn filter_is_typed() {
        let mut app = app();
        press(&mut app, "/qb\x08");
        assert!(app.is_typing && app.filter.text == "q");
        assert!(!press(&mut app, "\n"));
        assert!(!press(&mut app, "\x1b"));
        assert_eq!(app.filter.text, "");
        assert!(press(&mut app, "\x1b"));
    }

    #[test]
    fn back_keys_go_back_step_by_step() {
        let mut app = app();
        press(&mut app, "jj\n");
        let key = app.selection().node.unwrap();
        assert_eq!(
            (key.server.as_str(), key.node.as_slice()),
            ("h:1", &b"c"[..])
        );
        press(&mut app, "\t");
        assert_eq!(app.part, Part::Metrics);
        assert!(!press(&mut app, "qq"));
        assert_eq!((&app.screen, app.selection().node), (&Screen::Nodes, None));
        press(&mut app, "\t\n");
        assert_eq!(
            (&app.screen, app.filter.text.as_str()),
            (&Screen::Nodes, "h:1")
        );
        assert!(press(&mut app, "?qq"));
    }

    #[test]
    fn pause_reads_nothing_and_ignores_updates() {
        let mut app = app();
        press(&mut app, "p");
        assert!(app.selection().paused);
        app.apply(Update::Gone { id: "h:1".into() });
        assert_eq!(app.model.servers.len(), 1);
        press(&mut app, "p");
        app.apply(Update::Gone { id: "h:1".into() });
        assert_eq!(app.model.servers.len(), 0);
    }
}
