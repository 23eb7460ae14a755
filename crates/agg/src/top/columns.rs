//! The columns of the table of nodes: what stands in them, how they sort, what of it is trouble, and which of them
//! fit. Pure.

use std::cmp::Ordering;

use super::figures::QUEUES;
use super::model::Row;
use super::show::{age, bytes, change, count, rate};

/// Bad enough to look at.
pub const LAG_MS: u64 = 5 * 60_000;
/// A lag that is no reason to sort by it: pollers come and go within that.
const CALM_MS: u64 = 10_000;
/// A server that holds more of its memory than this is in trouble.
pub const FULL: f64 = 0.9;

/// A column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    Node,
    Server,
    Waiting,
    Lag,
    Growth,
    /// Entries of one queue.
    Queue(usize),
    Drops,
    Leased,
    Reports,
    Metrics,
    Errors,
    Objects,
    Bytes,
    Late,
    Refused,
}

/// How bad something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// None now, whatever was.
    None,
    /// Worth a look.
    Some,
    /// Something is lost, or soon will be.
    Much,
}

/// All, from left to right.
pub const ALL: [Column; 19] = [
    Column::Node,
    Column::Server,
    Column::Waiting,
    Column::Lag,
    Column::Growth,
    Column::Queue(0),
    Column::Queue(1),
    Column::Queue(2),
    Column::Queue(3),
    Column::Queue(4),
    Column::Drops,
    Column::Leased,
    Column::Reports,
    Column::Metrics,
    Column::Errors,
    Column::Objects,
    Column::Bytes,
    Column::Late,
    Column::Refused,
];

/// Those that come first where there is no room for all.
const FIRST: [Column; 19] = [
    Column::Node,
    Column::Waiting,
    Column::Lag,
    Column::Drops,
    Column::Metrics,
    Column::Growth,
    Column::Errors,
    Column::Bytes,
    Column::Reports,
    Column::Refused,
    Column::Server,
    Column::Late,
    Column::Leased,
    Column::Objects,
    Column::Queue(0),
    Column::Queue(1),
    Column::Queue(2),
    Column::Queue(3),
    Column::Queue(4),
];

/// The least and the most that a name is given before columns of figures are.
const NAME: (usize, usize) = (12, 28);

impl Column {
    /// What stands above it.
    pub fn title(self) -> &'static str {
        match self {
            Column::Node => "NODE",
            Column::Server => "SERVER",
            Column::Waiting => "WAIT",
            Column::Lag => "LAG",
            Column::Growth => "GROW/s",
            Column::Queue(4) => "REAL",
            Column::Queue(queue) => QUEUES[queue],
            Column::Drops => "DROP/s",
            Column::Leased => "LEASED",
            Column::Reports => "REP/s",
            Column::Metrics => "METRICS",
            Column::Errors => "ERRORS",
            Column::Objects => "OBJECTS",
            Column::Bytes => "BYTES",
            Column::Late => "LATE",
            Column::Refused => "REFUSED",
        }
    }

    /// The cells that it takes; names take what is left.
    fn width(self, (node, server): (usize, usize)) -> usize {
        match self {
            Column::Node => node.clamp(NAME.0, NAME.1),
            Column::Server => server.clamp(NAME.0, NAME.1),
            // A sign and a unit.
            Column::Growth => 7,
            Column::Bytes => 6,
            Column::Lag => 4,
            _ => self.title().len().max(5),
        }
    }

    /// Whether it is a name, which stands at the left.
    pub fn name(self) -> bool {
        matches!(self, Column::Node | Column::Server)
    }

    /// What stands in it.
    pub fn text(self, row: &Row) -> String {
        let (node, rates) = (&row.node.figures, &row.node.rates);
        match self {
            Column::Node => row.node.name.clone(),
            Column::Server => short(&row.server.place).to_owned(),
            Column::Waiting => count(node.waiting()),
            Column::Lag if node.waiting() == 0 => "-".into(),
            Column::Lag => age(node.lag()),
            Column::Growth => change(rates.growth),
            Column::Queue(queue) => count(node.queues[queue].length),
            Column::Drops => rate(rates.dropped),
            Column::Leased => count(node.leased()),
            Column::Reports => rate(reports(row)),
            Column::Metrics => count(node.metrics),
            Column::Errors => count(node.errors),
            Column::Objects => count(node.realities),
            Column::Bytes => bytes(node.bytes),
            Column::Late => count(node.late),
            Column::Refused => count(node.refused()),
        }
    }

    /// How bad what stands in it is.
    pub fn trouble(self, row: &Row) -> Trouble {
        let (node, rates) = (&row.node.figures, &row.node.rates);
        let grows = |rate: Option<f64>| rate.is_some_and(|rate| rate > 0.0);
        match self {
            Column::Drops if grows(rates.dropped) => Trouble::Much,
            Column::Refused if grows(rates.refused) => Trouble::Much,
            Column::Late if grows(rates.late) => Trouble::Some,
            Column::Lag if node.lag() >= 12 * LAG_MS => Trouble::Much,
            Column::Lag if node.lag() >= LAG_MS => Trouble::Some,
            Column::Bytes if row.server.full() > FULL => Trouble::Much,
            _ => Trouble::None,
        }
    }

    fn number(self, row: &Row) -> f64 {
        let (node, rates) = (&row.node.figures, &row.node.rates);
        let whole = match self {
            Column::Growth => return rates.growth.unwrap_or(f64::NEG_INFINITY),
            Column::Drops => return rates.dropped.unwrap_or(-1.0),
            Column::Reports => return reports(row).unwrap_or(-1.0),
            Column::Lag if node.lag() < CALM_MS => 0,
            Column::Lag => node.lag(),
            Column::Waiting => node.waiting(),
            Column::Queue(queue) => node.queues[queue].length,
            Column::Leased => node.leased(),
            Column::Metrics => node.metrics,
            Column::Errors => node.errors,
            Column::Objects => node.realities,
            Column::Bytes => node.bytes,
            Column::Late => node.late,
            Column::Refused => node.refused(),
            Column::Node | Column::Server => 0,
        };
        whole as f64
    }

    /// Which row comes first: names in their order, figures from the largest.
    pub fn order(self, a: &Row, b: &Row) -> Ordering {
        let by_name = || natural(&a.node.name, &b.node.name);
        match self {
            Column::Node => by_name(),
            Column::Server => natural(&a.server.place, &b.server.place).then_with(by_name),
            _ => self.number(b).total_cmp(&self.number(a)).then_with(by_name),
        }
    }
}

/// Reports a second: the server counts them for all its nodes, so they are a node's where it is alone.
pub fn reports(row: &Row) -> Option<f64> {
    (row.server.nodes.len() == 1)
        .then_some(row.server.reports)
        .flatten()
}

/// An address without what all have.
pub fn short(place: &str) -> &str {
    place.strip_prefix("redis://").unwrap_or(place)
}

/// The order of a person: web2 before web10.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a, b);
    loop {
        let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
        let (in_a, in_b) = (digits(a), digits(b));
        if in_a > 0 && in_b > 0 {
            let (left, right) = (&a[..in_a], &b[..in_b]);
            let (left, right) = (left.trim_start_matches('0'), right.trim_start_matches('0'));
            let order = left.len().cmp(&right.len()).then_with(|| left.cmp(right));
            // Of 7 and 07 the shorter is first.
            let order = order.then_with(|| in_a.cmp(&in_b));
            if order != Ordering::Equal {
                return order;
            }
            (a, b) = (&a[in_a..], &b[in_b..]);
            continue;
        }
        let (mut rest_a, mut rest_b) = (a.chars(), b.chars());
        match (rest_a.next(), rest_b.next()) {
            (None, None) => return Ordering::Equal,
            (left, right) if left != right => return left.cmp(&right),
            _ => (a, b) = (rest_a.as_str(), rest_b.as_str()),
        }
    }
}

/// Those that fit, with the cells that each takes. `longest` are the longest names of nodes and servers; what is left
/// over goes to the names.
pub fn fitting(cells: usize, longest: (usize, usize)) -> Vec<(Column, usize)> {
    let mut chosen: Vec<Column> = Vec::new();
    let mut used = 0;
    for column in FIRST {
        let needed = column.width(longest) + usize::from(!chosen.is_empty());
        if used + needed <= cells || chosen.is_empty() {
            used += needed;
            chosen.push(column);
        }
    }
    let mut left = cells.saturating_sub(used);
    let mut widths: Vec<(Column, usize)> = ALL
        .into_iter()
        .filter(|column| chosen.contains(column))
        .map(|column| (column, column.width(longest)))
        .collect();
    let wanted = [
        (Column::Node, longest.0),
        (Column::Server, longest.1),
        (Column::Node, usize::MAX),
    ];
    for (name, wanted) in wanted {
        if let Some((_, width)) = widths.iter_mut().find(|(column, _)| *column == name) {
            let more = wanted.saturating_sub(*width).min(left);
            *width += more;
            left -= more;
        }
    }
    widths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_in_a_persons_order() {
        let mut names = ["web10", "web2", "web", "web2b", "07", "7", "db", "web02"];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(
            names,
            ["7", "07", "db", "web", "web2", "web2b", "web02", "web10"]
        );
        assert_eq!(
            natural("99999999999999999999998", "99999999999999999999999"),
            Ordering::Less
        );
    }

    #[test]
    fn columns_fill_the_width() {
        for cells in [20, 40, 80, 81, 120, 160, 400] {
            let columns = fitting(cells, (9, 14));
            let used: usize = columns.iter().map(|(_, width)| width + 1).sum();
            assert_eq!(used - 1, cells, "{columns:?}");
            assert_eq!(columns[0].0, Column::Node);
        }
        let titles = |cells| {
            let titles: Vec<_> = fitting(cells, (9, 14))
                .iter()
                .map(|(column, _)| column.title())
                .collect();
            titles.join(" ")
        };
        assert_eq!(
            titles(80),
            "NODE WAIT LAG GROW/s DROP/s REP/s METRICS ERRORS BYTES LATE REFUSED"
        );
        assert_eq!(fitting(160, (9, 14)).len(), ALL.len());
        assert_eq!(fitting(3, (9, 14))[0], (Column::Node, 12));
    }
}
