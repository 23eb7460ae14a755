//! What is known of the servers and their nodes, and how fast it changes: rates are the differences of two looks.
//! Pure; what is told comes in as [`News`], with the time at which it was so.

use std::collections::BTreeMap;
use std::time::Instant;

use super::close::Close;
use super::columns::Column;
use super::figures;
use crate::poll::glob::Glob;
use aggregator_protocol::masking::cell as plain;

/// Which node of which server.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// The server, by what it is known by.
    pub server: String,
    /// The node's name as the server has it.
    pub node: Vec<u8>,
}

/// One look at a server.
#[derive(Clone, Debug, Default)]
pub struct Look {
    /// None where we may not ask it.
    pub server: Option<figures::Server>,
    /// Its nodes.
    pub nodes: Vec<(Vec<u8>, figures::Node)>,
    /// What was not looked at, and why.
    pub note: Option<String>,
}

/// What is told.
pub enum News {
    /// There is this server, here.
    Found { id: String, place: String },
    /// It is no more.
    Gone { id: String },
    /// It was looked at.
    Looked { id: String, at: Instant, look: Look },
    /// It cannot be looked at now.
    Away {
        id: String,
        why: String,
        again: Instant,
    },
    /// One of its nodes was looked into.
    Into { key: Key, close: Close },
}

/// Whether a server can be looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Nobody has tried yet.
    New,
    /// It answers.
    Up,
    /// It does not, for this reason; it is tried again then.
    Away { why: String, again: Instant },
}

/// A server.
pub struct Server {
    /// Its address, for a person.
    pub place: String,
    pub state: State,
    /// How often it was looked at.
    pub looks: u64,
    /// As last looked at.
    pub figures: Option<figures::Server>,
    /// Reports a second.
    pub reports: Option<f64>,
    /// Drops a second.
    pub drops: Option<f64>,
    pub nodes: BTreeMap<Vec<u8>, Node>,
    pub note: Option<String>,
    at: Option<Instant>,
}

/// A node.
pub struct Node {
    /// Its name, for a person.
    pub name: String,
    pub figures: figures::Node,
    pub rates: Rates,
}

/// What changes, a second; none where it is not known yet, as after a restart of the server.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rates {
    /// Entries that came into the queues less those that were taken out.
    pub growth: Option<f64>,
    pub dropped: Option<f64>,
    pub late: Option<f64>,
    pub refused: Option<f64>,
    /// As `growth`, by queue.
    pub by_queue: [Option<f64>; 5],
}

/// A node with its server, as a row of the table.
#[derive(Clone, Copy)]
pub struct Row<'a> {
    pub id: &'a str,
    pub server: &'a Server,
    pub key: &'a [u8],
    pub node: &'a Node,
}

impl Row<'_> {
    /// Which node it is.
    pub fn key(&self) -> Key {
        Key {
            server: self.id.to_owned(),
            node: self.key.to_owned(),
        }
    }

    /// Whether what is shown is old.
    pub fn away(&self) -> bool {
        matches!(self.server.state, State::Away { .. })
    }
}

/// What all servers sum up to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Totals {
    pub up: usize,
    pub away: usize,
    /// Not answered yet.
    pub new: usize,
    pub nodes: usize,
    pub held: u64,
    pub ceiling: u64,
    /// The part of its memory that the fullest server holds.
    pub fullest: f64,
    pub waiting: u64,
    pub lag: u64,
    pub growth: Option<f64>,
    pub reports: Option<f64>,
    pub drops: Option<f64>,
    pub dropped: u64,
    pub refused: Option<f64>,
    pub late: Option<f64>,
}

/// All that is known.
#[derive(Default)]
pub struct Model {
    pub servers: BTreeMap<String, Server>,
    /// The node that is looked into.
    pub close: Option<(Key, Close)>,
}

impl Model {
    /// Takes what is told.
    pub fn take(&mut self, news: News) {
        match news {
            News::Found { id, place } => {
                let server = self.servers.entry(id).or_insert_with(|| Server {
                    place: String::new(),
                    state: State::New,
                    looks: 0,
                    figures: None,
                    reports: None,
                    drops: None,
                    nodes: BTreeMap::new(),
                    note: None,
                    at: None,
                });
                server.place = plain(&place);
            }
            News::Gone { id } => {
                self.servers.remove(&id);
            }
            News::Looked { id, at, look } => {
                if let Some(server) = self.servers.get_mut(&id) {
                    server.take(at, look);
                }
            }
            News::Away { id, why, again } => {
                if let Some(server) = self.servers.get_mut(&id) {
                    let why = plain(&why);
                    server.state = State::Away { why, again };
                    server.quiet();
                }
            }
            News::Into { key, close } => self.close = Some((key, close)),
        }
    }

    /// The nodes that the filter lets through, in order.
    pub fn rows(&self, sort: Column, reverse: bool, filter: &Filter) -> Vec<Row<'_>> {
        let mut rows: Vec<Row> = self
            .servers
            .iter()
            .flat_map(|(id, server)| {
                server.nodes.iter().map(move |(key, node)| Row {
                    id,
                    server,
                    key,
                    node,
                })
            })
            .filter(|row| filter.takes(row))
            .collect();
        // Stable, so that equals stay in the order of servers and names.
        rows.sort_by(|a, b| {
            let order = sort.order(a, b);
            if reverse { order.reverse() } else { order }
        });
        rows
    }

    /// A node, while there is one.
    pub fn row(&self, key: &Key) -> Option<Row<'_>> {
        let (id, server) = self.servers.get_key_value(&key.server)?;
        let (key, node) = server.nodes.get_key_value(&key.node)?;
        Some(Row {
            id,
            server,
            key,
            node,
        })
    }

    /// What all sums up to. Of servers that are away nothing but their number counts.
    pub fn totals(&self) -> Totals {
        let mut all = Totals::default();
        for server in self.servers.values() {
            match server.state {
                State::Up => all.up += 1,
                State::Away { .. } => all.away += 1,
                State::New => all.new += 1,
            }
            if server.state != State::Up {
                continue;
            }
            all.nodes += server.nodes.len();
            all.fullest = all.fullest.max(server.full());
            if let Some(figures) = &server.figures {
                all.held += figures.held;
                all.ceiling += figures.ceiling;
                all.dropped += figures.dropped();
            }
            add(&mut all.reports, server.reports);
            add(&mut all.drops, server.drops);
            for node in server.nodes.values() {
                all.waiting += node.figures.waiting();
                all.lag = all.lag.max(node.figures.lag());
                add(&mut all.growth, node.rates.growth);
                add(&mut all.refused, node.rates.refused);
                add(&mut all.late, node.rates.late);
            }
        }
        all
    }
}

fn add(to: &mut Option<f64>, rate: Option<f64>) {
    if let Some(rate) = rate {
        *to = Some(to.unwrap_or(0.0) + rate);
    }
}

impl Server {
    /// The part of its memory that it holds, from 0 to 1.
    pub fn full(&self) -> f64 {
        match &self.figures {
            Some(figures) if figures.ceiling > 0 => figures.held as f64 / figures.ceiling as f64,
            _ => 0.0,
        }
    }

    fn take(&mut self, at: Instant, look: Look) {
        let since = self.at.map(|before| at.saturating_duration_since(before));
        let seconds = since.map_or(0.0, |since| since.as_secs_f64());
        let speed = |now: u64, before: u64| speed(now, before, seconds);
        let both = self.figures.as_ref().zip(look.server.as_ref());
        self.reports = both.and_then(|(before, now)| speed(now.reports, before.reports));
        self.drops = both.and_then(|(before, now)| speed(now.dropped(), before.dropped()));
        let mut before = std::mem::take(&mut self.nodes);
        for (key, figures) in look.nodes {
            let old = before.remove(&key);
            let rates = old.map(|old| Rates::between(&old.figures, &figures, seconds));
            let node = Node {
                name: plain(&String::from_utf8_lossy(&key)),
                figures,
                rates: rates.unwrap_or_default(),
            };
            self.nodes.insert(key, node);
        }
        self.figures = look.server;
        self.note = look.note.map(|note| plain(&note));
        self.state = State::Up;
        self.at = Some(at);
        self.looks += 1;
    }

    /// Forgets how fast things change.
    fn quiet(&mut self) {
        (self.at, self.reports, self.drops) = (None, None, None);
        for node in self.nodes.values_mut() {
            node.rates = Rates::default();
        }
    }
}

impl Rates {
    fn between(before: &figures::Node, now: &figures::Node, seconds: f64) -> Rates {
        let speed = |now, before| speed(now, before, seconds);
        let mut by_queue = [None; 5];
        for (at, rate) in by_queue.iter_mut().enumerate() {
            let (before, now) = (&before.queues[at], &now.queues[at]);
            // What was dropped came in as well.
            let dropped = speed(now.dropped, before.dropped);
            let longer = (now.length as f64 - before.length as f64) / seconds;
            *rate = dropped.map(|dropped| longer + dropped);
        }
        Rates {
            growth: by_queue.iter().copied().sum(),
            dropped: speed(now.dropped(), before.dropped()),
            late: speed(now.late, before.late),
            refused: speed(now.refused(), before.refused()),
            by_queue,
        }
    }
}

/// How fast a counter grew. One that is less than before was reset, so that nothing is known.
pub fn speed(now: u64, before: u64, seconds: f64) -> Option<f64> {
    let grown = now.checked_sub(before)?;
    (seconds > 0.0).then(|| grown as f64 / seconds)
}

/// Which nodes are shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// As it was typed.
    pub text: String,
    glob: Option<Glob>,
    part: String,
}

impl Filter {
    /// A pattern where the text has a `*`, `?` or `[` and is one, else any part of the node's or server's name.
    pub fn new(text: &str) -> Filter {
        let pattern = text.contains(['*', '?', '[']);
        Filter {
            text: text.to_owned(),
            glob: pattern.then(|| Glob::parse(text).ok()).flatten(),
            part: text.to_lowercase(),
        }
    }

    fn takes(&self, row: &Row) -> bool {
        if let Some(glob) = &self.glob {
            return glob.matches(row.key);
        }
        self.part.is_empty()
            || row.node.name.to_lowercase().contains(&self.part)
            || row.server.place.to_lowercase().contains(&self.part)
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use std::time::Duration;

    /// A model of servers that are looked at each second.
    pub struct Fixture {
        pub model: Model,
        at: Instant,
    }

    impl Default for Fixture {
        fn default() -> Self {
            let (model, at) = (Model::default(), Instant::now());
            Fixture { model, at }
        }
    }

    impl Fixture {
        pub fn look(&mut self, id: &str, server: figures::Server, nodes: &[(&str, figures::Node)]) {
            let place = format!("redis://{id}");
            let id = id.to_owned();
            self.model.take(News::Found {
                id: id.clone(),
                place,
            });
            let nodes = nodes
                .iter()
                .map(|(name, node)| (name.as_bytes().to_vec(), node.clone()));
            let look = Look {
                server: Some(server),
                nodes: nodes.collect(),
                note: None,
            };
            let looks = self.model.servers[&id].looks;
            let at = self.at + Duration::from_secs(looks);
            self.model.take(News::Looked { id, at, look });
        }

        pub fn away(&mut self, id: &str, why: &str) {
            let again = Instant::now() + Duration::from_secs(4);
            let (id, place) = (id.to_owned(), format!("redis://{id}"));
            self.model.take(News::Found {
                id: id.clone(),
                place,
            });
            let why = why.to_owned();
            self.model.take(News::Away { id, why, again });
        }
    }

    pub fn node(log: u64, oldest: u64, dropped: u64) -> figures::Node {
        let mut node = figures::Node {
            metrics: 12,
            ..Default::default()
        };
        node.queues[2] = figures::Queue {
            length: log,
            bytes: log * 100,
            oldest,
            leased: 0,
            dropped,
        };
        node
    }

    pub fn server(held: u64, reports: u64) -> figures::Server {
        figures::Server {
            held,
            ceiling: 1000,
            reports,
            ..Default::default()
        }
    }

    fn names(model: &Model, sort: Column, reverse: bool, filter: &str) -> Vec<String> {
        let rows = model.rows(sort, reverse, &Filter::new(filter));
        rows.iter().map(|row| row.node.name.clone()).collect()
    }

    #[test]
    fn rates_are_differences_of_two_looks() {
        let mut fixture = Fixture::default();
        fixture.look("a", server(100, 5), &[("n", node(10, 1, 0))]);
        assert_eq!(fixture.model.totals().reports, None);
        fixture.look("a", server(100, 25), &[("n", node(14, 1, 6))]);
        let key = Key {
            server: "a".into(),
            node: b"n".to_vec(),
        };
        let rates = fixture.model.row(&key).unwrap().node.rates;
        assert_eq!((rates.growth, rates.dropped), (Some(10.0), Some(6.0)));
        assert_eq!(rates.by_queue[2], Some(10.0));
        let totals = fixture.model.totals();
        assert_eq!((totals.reports, totals.growth), (Some(20.0), Some(10.0)));
        assert_eq!((totals.nodes, totals.waiting, totals.up), (1, 14, 1));
    }

    #[test]
    fn a_restart_makes_no_rate() {
        let mut fixture = Fixture::default();
        fixture.look("a", server(100, 500), &[("n", node(10, 1, 9))]);
        fixture.look("a", server(100, 2), &[("n", node(0, 0, 0))]);
        let totals = fixture.model.totals();
        assert_eq!((totals.reports, totals.growth), (None, None));
    }

    #[test]
    fn a_server_that_was_away_begins_anew() {
        let mut fixture = Fixture::default();
        fixture.look("a", server(100, 0), &[("n", node(0, 1, 0))]);
        fixture.away("a", "closed\x1b[2J");
        let totals = fixture.model.totals();
        assert_eq!((totals.up, totals.away, totals.nodes), (0, 1, 0));
        let State::Away { why, .. } = &fixture.model.servers["a"].state else {
            panic!()
        };
        assert_eq!(why, "closed·[2J");
        fixture.look("a", server(100, 1000), &[("n", node(0, 1, 0))]);
        assert_eq!(fixture.model.totals().reports, None);
        fixture.look("a", server(100, 1003), &[("n", node(0, 1, 0))]);
        assert_eq!(fixture.model.totals().reports, Some(3.0));
    }

    #[test]
    fn nodes_that_went_are_gone() {
        let mut fixture = Fixture::default();
        let some = [("n", node(0, 1, 0)), ("m", node(0, 1, 0))];
        fixture.look("a", server(1, 1), &some);
        fixture.look("a", server(1, 1), &some[..1]);
        assert_eq!(names(&fixture.model, Column::Node, false, ""), ["n"]);
        fixture.model.take(News::Gone { id: "a".into() });
        assert_eq!(fixture.model.totals(), Totals::default());
    }

    #[test]
    fn rows_are_sorted_and_filtered() {
        let mut fixture = Fixture::default();
        let web = [("web10", node(5, 0, 0)), ("web2", node(7, 0, 0))];
        fixture.look("a", server(1, 1), &web);
        fixture.look("b", server(1, 1), &[("DB", node(6, 0, 0))]);
        let model = &fixture.model;
        let sorted = |sort, reverse| names(model, sort, reverse, "");
        // Numbers within names count as such; figures begin with the largest.
        assert_eq!(sorted(Column::Node, false), ["DB", "web2", "web10"]);
        assert_eq!(sorted(Column::Node, true), ["web10", "web2", "DB"]);
        assert_eq!(sorted(Column::Waiting, false), ["web2", "DB", "web10"]);
        let filtered = |filter| names(model, Column::Node, false, filter);
        assert_eq!(filtered("db"), ["DB"]);
        assert_eq!(filtered("EB"), ["web2", "web10"]);
        assert_eq!(filtered("web?"), ["web2"]);
        assert_eq!(filtered("*1*"), ["web10"]);
        assert_eq!(filtered("redis://b"), ["DB"]);
        assert_eq!(filtered("[").len(), 0);
        assert_eq!(filtered("x").len(), 0);
    }
}
