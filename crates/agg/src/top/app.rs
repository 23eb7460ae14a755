//! What the person has chosen: the screen, the order, the filter, the node that is selected. Pure: keys and news come
//! in, what is to be asked comes out as a [`Wish`].

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::columns::{self, Column};
use super::gather::Wish;
use super::model::{Filter, Key, Model, News};

/// What is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Screen {
    Nodes,
    Servers,
    Into(Key),
}

/// Which part of a node has all the room.
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

/// The state of the program as the person sees it.
pub struct App {
    pub model: Model,
    pub screen: Screen,
    pub sort: Column,
    pub reverse: bool,
    pub filter: Filter,
    /// The filter is being typed.
    pub typing: bool,
    pub help: bool,
    pub paused: bool,
    /// The selected node. It stays selected wherever the order puts it; none: whichever is the first.
    pub selected: Option<Key>,
    /// The selected server, by its place in the list.
    pub server: usize,
    pub part: Part,
    /// Lines of the part, or rows of a table, that are above the screen.
    pub scroll: usize,
    /// Rows that the table had room for when it was drawn.
    pub page: usize,
    /// Columns of it.
    pub columns: Vec<Column>,
    /// How often is looked, for a person.
    pub interval: String,
}

impl App {
    /// Nothing known yet.
    pub fn new(interval: String) -> App {
        App {
            model: Model::default(),
            screen: Screen::Nodes,
            sort: Column::Lag,
            reverse: false,
            filter: Filter::default(),
            typing: false,
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

    /// Takes news, but for what still arrives after a pause began.
    pub fn take(&mut self, news: News) {
        if !self.paused {
            self.model.take(news);
        }
    }

    /// What is to be asked.
    pub fn wish(&self) -> Wish {
        let into = match &self.screen {
            Screen::Into(key) => Some(key.clone()),
            _ => None,
        };
        Wish {
            into,
            paused: self.paused,
        }
    }

    /// Does what a key asks for; tells whether the program is to end.
    pub fn key(&mut self, key: KeyEvent) -> bool {
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return matches!(key.code, KeyCode::Char('c' | 'd'));
        }
        if self.typing {
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
            KeyCode::Tab => self.turn(),
            KeyCode::Enter | KeyCode::Right => self.enter(),
            KeyCode::Char('/') if self.screen == Screen::Nodes => self.typing = true,
            KeyCode::Char('s' | '>') if self.screen == Screen::Nodes => self.sort_by(1),
            KeyCode::Char('<') if self.screen == Screen::Nodes => self.sort_by(-1),
            KeyCode::Char('r') if self.screen == Screen::Nodes => self.reverse = !self.reverse,
            code => self.go(code),
        }
        false
    }

    /// One step back; the last is the end.
    fn back(&mut self, code: KeyCode) -> bool {
        match self.screen {
            Screen::Into(_) if self.part != Part::All => self.part = Part::All,
            Screen::Into(_) => {
                self.screen = Screen::Nodes;
                self.model.close = None;
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

    fn turn(&mut self) {
        self.scroll = 0;
        match self.screen {
            Screen::Nodes => self.screen = Screen::Servers,
            Screen::Servers => self.screen = Screen::Nodes,
            Screen::Into(_) => self.part = self.part.next(),
        }
    }

    fn enter(&mut self) {
        match self.screen {
            Screen::Nodes => {
                let rows = self.model.rows(self.sort, self.reverse, &self.filter);
                let selected = self.selected.as_ref();
                let at = selected.and_then(|key| rows.iter().position(|row| row.key() == *key));
                let Some(key) = rows.get(at.unwrap_or(0)).map(|row| row.key()) else {
                    return;
                };
                self.selected = Some(key.clone());
                self.screen = Screen::Into(key);
                (self.part, self.scroll, self.model.close) = (Part::All, 0, None);
            }
            // The nodes of that server.
            Screen::Servers => {
                if let Some(server) = self.model.servers.values().nth(self.server) {
                    self.filter = Filter::new(columns::short(&server.place));
                    (self.screen, self.scroll) = (Screen::Nodes, 0);
                }
            }
            Screen::Into(_) => {}
        }
    }

    fn edit(&mut self, code: KeyCode) {
        let mut text = self.filter.text.clone();
        match code {
            KeyCode::Enter => self.typing = false,
            KeyCode::Esc => {
                self.typing = false;
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

    /// The next column to the right or left, of those that are shown.
    fn sort_by(&mut self, step: isize) {
        let shown = &self.columns;
        let at = shown.iter().position(|column| *column == self.sort);
        let count = shown.len() as isize;
        let at = at.map_or(0, |at| (at as isize + step).rem_euclid(count));
        self.sort = shown[at as usize];
        self.reverse = false;
        // What comes first by it is to be seen.
        self.selected = None;
    }

    fn go(&mut self, code: KeyCode) {
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
        let go = |at: usize, count: usize| {
            let last = count.saturating_sub(1) as isize;
            (at as isize).saturating_add(step).clamp(0, last) as usize
        };
        match self.screen {
            Screen::Nodes => {
                let rows = self.model.rows(self.sort, self.reverse, &self.filter);
                let at = self.selected.as_ref();
                let at = at.and_then(|key| rows.iter().position(|row| row.key() == *key));
                let to = go(at.unwrap_or(0), rows.len());
                let key = rows.get(to).map(|row| row.key());
                self.selected = key.filter(|_| to > 0);
            }
            Screen::Servers => self.server = go(self.server, self.model.servers.len()),
            // Drawing knows how far it can go.
            Screen::Into(_) if self.part != Part::All => {
                self.scroll = go(self.scroll, usize::MAX / 4)
            }
            Screen::Into(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::top::model::tests::{Fixture, node, server};

    fn app() -> App {
        let mut fixture = Fixture::default();
        let nodes = [
            ("a", node(1, 0, 0)),
            ("b", node(2, 0, 0)),
            ("c", node(3, 0, 0)),
        ];
        fixture.look("h:1", server(1, 1), &nodes);
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
            app.key(code.into())
        })
    }

    fn selected(app: &App) -> &str {
        let node = app.selected.as_ref().map(|key| key.node.as_slice());
        std::str::from_utf8(node.unwrap_or(b"the first")).unwrap()
    }

    #[test]
    fn the_selection_stays_on_its_node() {
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
        // Who asks for another order wants to see what comes first by it.
        press(&mut app, "s");
        assert_eq!(selected(&app), "the first");
        press(&mut app, "\n");
        assert_eq!(selected(&app), "a");
    }

    #[test]
    fn columns_to_sort_by_go_around() {
        let mut app = app();
        assert_eq!(app.sort, Column::Lag);
        press(&mut app, "s");
        assert_eq!(app.sort, Column::Growth);
        press(&mut app, "<<");
        assert_eq!(app.sort, Column::Waiting);
        press(&mut app, "<<<");
        assert_eq!(app.sort, Column::Refused);
    }

    #[test]
    fn a_filter_is_typed() {
        let mut app = app();
        press(&mut app, "/qb\x08");
        assert!(app.typing && app.filter.text == "q");
        assert!(!press(&mut app, "\n"));
        assert!(!press(&mut app, "\x1b"));
        assert_eq!(app.filter.text, "");
        assert!(press(&mut app, "\x1b"));
    }

    #[test]
    fn steps_go_back_one_by_one() {
        let mut app = app();
        press(&mut app, "jj\n");
        let key = app.wish().into.unwrap();
        assert_eq!(
            (key.server.as_str(), key.node.as_slice()),
            ("h:1", &b"c"[..])
        );
        press(&mut app, "\t");
        assert_eq!(app.part, Part::Metrics);
        assert!(!press(&mut app, "qq"));
        assert_eq!((&app.screen, app.wish().into), (&Screen::Nodes, None));
        press(&mut app, "\t\n");
        assert_eq!(
            (&app.screen, app.filter.text.as_str()),
            (&Screen::Nodes, "h:1")
        );
        assert!(press(&mut app, "?qq"));
    }

    #[test]
    fn a_pause_asks_for_nothing_and_takes_nothing() {
        let mut app = app();
        press(&mut app, "p");
        assert!(app.wish().paused);
        app.take(News::Gone { id: "h:1".into() });
        assert_eq!(app.model.servers.len(), 1);
        press(&mut app, "p");
        app.take(News::Gone { id: "h:1".into() });
        assert_eq!(app.model.servers.len(), 0);
    }
}
