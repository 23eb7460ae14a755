//! The columns of the table of nodes: their text, sort order and severity, and which of them fit on the screen. No I/O.

use std::cmp::Ordering;

use aggregator_protocol::Queue;
use aggregator_protocol::natural;

use super::model::Row;
use crate::format::{age, bytes, change, count, rate};

/// A lag that deserves attention, ms. Twelve times as much is an alarm.
const LAG_MS: u64 = 5 * 60_000;
/// A lag below this sorts as none, ms: every poller causes as much.
const NORMAL_LAG_MS: u64 = 10_000;
/// Memory usage of a server from which on it is an alarm.
pub const HIGH_USAGE: f64 = 0.9;

/// A column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    Node,
    Server,
    Pending,
    Lag,
    Growth,
    /// Records in one queue.
    Queue(usize),
    Drops,
    Leased,
    Reports,
    Metrics,
    Errors,
    Objects,
    Bytes,
    Late,
    Rejects,
}

/// The severity of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Normal,
    /// Deserves attention.
    Warning,
    /// Data is lost, or soon will be.
    Alarm,
}

impl Severity {
    /// Returns the severity of a lag.
    pub fn of_lag(ms: u64) -> Severity {
        match ms {
            _ if ms >= 12 * LAG_MS => Severity::Alarm,
            _ if ms >= LAG_MS => Severity::Warning,
            _ => Severity::Normal,
        }
    }

    /// Returns this severity if the rate is positive.
    pub fn if_positive(self, rate: Option<f64>) -> Severity {
        match rate {
            Some(rate) if rate > 0.0 => self,
            _ => Severity::Normal,
        }
    }
}

/// All columns from left to right.
pub const ALL: [Column; 19] = [
    Column::Node,
    Column::Server,
    Column::Pending,
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
    Column::Rejects,
];

/// The columns by importance: the first ones are shown where not all fit.
const BY_IMPORTANCE: [Column; 19] = [
    Column::Node,
    Column::Pending,
    Column::Lag,
    Column::Drops,
    Column::Metrics,
    Column::Growth,
    Column::Errors,
    Column::Bytes,
    Column::Reports,
    Column::Rejects,
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

/// Minimum and maximum width of a name before the columns of numbers are placed.
const NAME_WIDTH: (usize, usize) = (12, 28);

impl Column {
    /// Returns the title.
    pub fn title(self) -> &'static str {
        match self {
            Column::Node => "NODE",
            Column::Server => "SERVER",
            Column::Pending => "PEND",
            Column::Lag => "LAG",
            Column::Growth => "GROW/s",
            Column::Queue(4) => "REAL",
            Column::Queue(queue) => Queue::ALL[queue].name(),
            Column::Drops => "DROP/s",
            Column::Leased => "LEASED",
            Column::Reports => "REP/s",
            Column::Metrics => "METRICS",
            Column::Errors => "ERRORS",
            Column::Objects => "OBJECTS",
            Column::Bytes => "BYTES",
            Column::Late => "LATE",
            Column::Rejects => "REJECTS",
        }
    }

    /// Returns the width in cells. Names get what is left over.
    fn width(self, (node, server): (usize, usize)) -> usize {
        match self {
            Column::Node => node.clamp(NAME_WIDTH.0, NAME_WIDTH.1),
            Column::Server => server.clamp(NAME_WIDTH.0, NAME_WIDTH.1),
            // A sign and a unit.
            Column::Growth => 7,
            Column::Bytes => 6,
            Column::Lag => 4,
            _ => self.title().len().max(5),
        }
    }

    /// Returns whether the column holds names, which are aligned to the left.
    pub fn is_name(self) -> bool {
        matches!(self, Column::Node | Column::Server)
    }

    /// Returns the text of a cell.
    pub fn text(self, row: &Row) -> String {
        let (node, rates) = (&row.node.stats, &row.node.rates);
        match self {
            Column::Node => row.node.name.clone(),
            Column::Server => short_endpoint(&row.server.endpoint).to_owned(),
            Column::Pending => count(node.pending()),
            Column::Lag if node.pending() == 0 => "-".into(),
            Column::Lag => age(node.lag_ms()),
            Column::Growth => change(rates.growth),
            Column::Queue(queue) => count(node.queues[queue].length),
            Column::Drops => rate(rates.dropped),
            Column::Leased => count(node.leased()),
            Column::Reports => rate(reports(row)),
            Column::Metrics => count(node.metrics),
            Column::Errors => count(node.errors),
            Column::Objects => count(node.objects),
            Column::Bytes => bytes(node.bytes),
            Column::Late => count(node.late),
            Column::Rejects => count(node.refused()),
        }
    }

    /// Returns the severity of a cell.
    pub fn severity(self, row: &Row) -> Severity {
        let (node, rates) = (&row.node.stats, &row.node.rates);
        match self {
            Column::Drops => Severity::Alarm.if_positive(rates.dropped),
            Column::Rejects => Severity::Alarm.if_positive(rates.refused),
            Column::Late => Severity::Warning.if_positive(rates.late),
            Column::Lag => Severity::of_lag(node.lag_ms()),
            Column::Bytes if row.server.memory_usage() > HIGH_USAGE => Severity::Alarm,
            _ => Severity::Normal,
        }
    }

    fn number(self, row: &Row) -> f64 {
        let (node, rates) = (&row.node.stats, &row.node.rates);
        let number = match self {
            Column::Growth => return rates.growth.unwrap_or(f64::NEG_INFINITY),
            Column::Drops => return rates.dropped.unwrap_or(-1.0),
            Column::Reports => return reports(row).unwrap_or(-1.0),
            Column::Lag if node.lag_ms() < NORMAL_LAG_MS => 0,
            Column::Lag => node.lag_ms(),
            Column::Pending => node.pending(),
            Column::Queue(queue) => node.queues[queue].length,
            Column::Leased => node.leased(),
            Column::Metrics => node.metrics,
            Column::Errors => node.errors,
            Column::Objects => node.objects,
            Column::Bytes => node.bytes,
            Column::Late => node.late,
            Column::Rejects => node.refused(),
            Column::Node | Column::Server => 0,
        };
        number as f64
    }

    /// Orders rows: names in natural order, numbers from the largest.
    pub fn order(self, a: &Row, b: &Row) -> Ordering {
        let by_node = || natural(&a.node.name, &b.node.name);
        match self {
            Column::Node => by_node(),
            Column::Server => natural(&a.server.endpoint, &b.server.endpoint).then_with(by_node),
            _ => self.number(b).total_cmp(&self.number(a)).then_with(by_node),
        }
    }
}

/// Returns the reports per second. The server counts them for all its nodes together, so that they are known only for
/// a node that is alone on its server.
pub fn reports(row: &Row) -> Option<f64> {
    (row.server.nodes.len() == 1)
        .then_some(row.server.reports)
        .flatten()
}

/// Returns an address without the scheme that most of them share.
pub fn short_endpoint(endpoint: &str) -> &str {
    endpoint.strip_prefix("redis://").unwrap_or(endpoint)
}

/// Returns the columns that fit, with the width of each. `longest` are the widths of the longest names of nodes and
/// servers; the names share the cells that are left over.
pub fn fitting(cells: usize, longest: (usize, usize)) -> Vec<(Column, usize)> {
    let mut chosen: Vec<Column> = Vec::new();
    let mut used = 0;
    for column in BY_IMPORTANCE {
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
    let names = [
        (Column::Node, longest.0),
        (Column::Server, longest.1),
        (Column::Node, usize::MAX),
    ];
    for (name, longest) in names {
        if let Some((_, width)) = widths.iter_mut().find(|(column, _)| *column == name) {
            let more = longest.saturating_sub(*width).min(left);
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
    fn names_are_in_natural_order() {
        let mut names = ["web10", "web2", "web", "web2b", "07", "7", "db", "web02"];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(
            names,
            ["07", "7", "db", "web", "web02", "web2", "web2b", "web10"]
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
            "NODE PEND LAG GROW/s DROP/s REP/s METRICS ERRORS BYTES LATE REJECTS"
        );
        assert_eq!(fitting(160, (9, 14)).len(), ALL.len());
        assert_eq!(fitting(3, (9, 14))[0], (Column::Node, 12));
    }
}
