//! The tables of docs/sinks/README.md: what each sink guarantees in each fault, which has to agree with the suite, and the
//! measurements, which have to have the same rows and columns. Both are between comments that name them.

use testkit::root;

use super::target::{Fault, Guarantee, Target};

const PAGE: &str = "docs/sinks/README.md";

/// The row of a sink.
pub struct Row {
    name: &'static str,
    title: &'static str,
    server: &'static str,
    guarantee: Guarantee,
    /// Why a fault cannot be made.
    missing: Vec<Option<&'static str>>,
}

/// Returns the row of a sink.
pub fn row<T: Target>() -> Row {
    Row {
        name: T::NAME,
        title: T::TITLE,
        server: T::SERVER,
        guarantee: T::GUARANTEE,
        missing: Fault::ALL.map(|fault| T::support(fault).err()).into(),
    }
}

/// Returns the table of guarantees, and below it why cells are empty.
fn guarantees(rows: &[Row]) -> String {
    let names = Fault::ALL.map(Fault::name).join(" | ");
    let mut text = format!(
        "| sink | target | {names} |\n|{}\n",
        " --- |".repeat(2 + Fault::ALL.len())
    );
    let mut notes = String::new();
    for row in rows {
        let outcome = row.guarantee.name().to_lowercase();
        let cells: Vec<&str> = row
            .missing
            .iter()
            .map(|why| why.map_or(&*outcome, |_| "–"))
            .collect();
        let (name, title, server) = (row.name, row.title, row.server);
        text += &format!(
            "| [{name}]({name}.md) | {server} | {} |\n",
            cells.join(" | ")
        );
        for (fault, why) in Fault::ALL.iter().zip(&row.missing) {
            if let Some(why) = why {
                notes += &format!("- {title}, {}: {why}.\n", fault.name());
            }
        }
    }
    format!("{text}\n{notes}")
}

/// Returns what is between the comments of this name.
fn part(page: &str, name: &str) -> String {
    let begin = format!("<!-- {name} -->\n");
    let (_, rest) = page
        .split_once(&begin)
        .unwrap_or_else(|| panic!("{PAGE} has no {begin}"));
    rest.split_once("<!-- end -->").unwrap().0.to_owned()
}

#[test]
fn page_shows_what_the_suite_checks() {
    let page = std::fs::read_to_string(root().join(PAGE)).unwrap();
    let rows = super::rows();
    let expected = guarantees(&rows);
    let found = part(&page, "guarantees");
    assert_eq!(
        found.trim(),
        expected.trim(),
        "{PAGE} should contain:\n\n{expected}"
    );
    // The values are those of a day; scripts/sinks.py writes them.
    let measured = part(&page, "measured");
    let columns = format!("| sink | {} |", Fault::ALL.map(Fault::name).join(" | "));
    assert_eq!(measured.trim().lines().next(), Some(&*columns));
    let rows_of_page = measured.trim().lines().skip(2);
    let found: Vec<&str> = rows_of_page
        .take_while(|line| line.starts_with('|'))
        .collect();
    assert_eq!(found.len(), rows.len(), "a row for each sink");
    for (line, row) in found.iter().zip(&rows) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        assert_eq!(cells[0], row.title);
        let empty = cells[1..].iter().map(|cell| *cell == "–");
        let missing = row.missing.iter().map(Option::is_some);
        assert!(empty.eq(missing), "{line}");
    }
}

#[test]
fn page_of_each_sink_states_its_guarantee() {
    for row in super::rows() {
        let path = format!("docs/sinks/{}.md", row.name);
        let page = std::fs::read_to_string(root().join(&path)).unwrap();
        let heads = ["**Guarantee.** ", "## Guarantee\n\n"];
        let found = heads.iter().find_map(|head| page.split_once(head));
        let (_, stated) = found.unwrap_or_else(|| panic!("{path} states no guarantee"));
        assert!(stated.starts_with(row.guarantee.name()), "{path}: {stated}");
        let link = "](README.md#what-each-sink-guarantees)";
        assert!(page.contains(link), "{path} has no link to the table");
    }
}
