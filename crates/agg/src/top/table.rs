//! Filters and sorts the nodes of the table. No I/O.

use super::columns::Column;
use super::model::{Model, Row};
use agg_poller::glob::Glob;

/// Selects nodes by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// The filter as typed.
    pub text: String,
    glob: Option<Glob>,
    substring: String,
}

impl Filter {
    /// Returns a filter by pattern if the text has a `*`, `?` or `[` and is a valid pattern, otherwise by a part of the
    /// node's name or of the server's address.
    pub fn new(text: &str) -> Filter {
        let is_pattern = text.contains(['*', '?', '[']);
        Filter {
            text: text.to_owned(),
            glob: is_pattern.then(|| Glob::parse(text).ok()).flatten(),
            substring: text.to_lowercase(),
        }
    }

    fn matches(&self, row: &Row) -> bool {
        if let Some(glob) = &self.glob {
            return glob.matches(row.key);
        }
        let contains = |text: &str| text.to_lowercase().contains(&self.substring);
        self.substring.is_empty() || contains(&row.node.name) || contains(&row.server.endpoint)
    }
}

/// Returns the nodes that match the filter, sorted by a column.
pub fn rows<'a>(model: &'a Model, sort: Column, reverse: bool, filter: &Filter) -> Vec<Row<'a>> {
    let mut rows: Vec<Row> = model.rows().filter(|row| filter.matches(row)).collect();
    // Stable, so that equal rows keep the order of servers and names.
    rows.sort_by(|a, b| {
        let order = sort.order(a, b);
        if reverse { order.reverse() } else { order }
    });
    rows
}

#[cfg(test)]
mod tests {
    use super::super::model::fixtures::{Fixture, node, server};
    use super::*;

    #[test]
    fn rows_are_sorted_and_filtered() {
        let mut fixture = Fixture::default();
        let web = [("web10", node(5, 0, 0)), ("web2", node(7, 0, 0))];
        fixture.read("a", server(1, 1), &web);
        fixture.read("b", server(1, 1), &[("DB", node(6, 0, 0))]);
        let names = |sort, reverse, filter| {
            let rows = rows(&fixture.model, sort, reverse, &Filter::new(filter));
            rows.iter()
                .map(|row| row.node.name.clone())
                .collect::<Vec<String>>()
        };
        let sorted = |sort, reverse| names(sort, reverse, "");
        // Numbers within names are compared by value; counts are sorted from the largest.
        assert_eq!(sorted(Column::Node, false), ["DB", "web2", "web10"]);
        assert_eq!(sorted(Column::Node, true), ["web10", "web2", "DB"]);
        assert_eq!(sorted(Column::Pending, false), ["web2", "DB", "web10"]);
        let filtered = |filter| names(Column::Node, false, filter);
        assert_eq!(filtered("db"), ["DB"]);
        assert_eq!(filtered("EB"), ["web2", "web10"]);
        assert_eq!(filtered("web?"), ["web2"]);
        assert_eq!(filtered("*1*"), ["web10"]);
        assert_eq!(filtered("redis://b"), ["DB"]);
        assert_eq!(filtered("[").len(), 0);
        assert_eq!(filtered("x").len(), 0);
    }
}
