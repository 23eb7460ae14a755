//! The documents explain every field of INFO agg and AGG.INFO, and no other.

use std::collections::BTreeSet;

use redis::Value;

use crate::page;
use testkit::*;

/// Returns the names in the first cells of the tables of a section, `a_{b,c}` as a_b and a_c.
fn explained(heading: &str) -> BTreeSet<String> {
    let text = page::read("docs/operations.md");
    let mut names = BTreeSet::new();
    for row in page::rows(page::section(&text, heading)) {
        for name in page::code(&row[0]) {
            let (before, rest) = name.split_once('{').unwrap_or((name, "}"));
            let (words, behind) = rest.split_once('}').unwrap();
            for word in words.split(',') {
                let is_new = names.insert(format!("{before}{word}{behind}"));
                assert!(is_new, "{name} is explained twice");
            }
        }
    }
    names
}

fn differences(explained: &BTreeSet<String>, there: &BTreeSet<String>) {
    let missing: Vec<_> = there.difference(explained).collect();
    let invented: Vec<_> = explained.difference(there).collect();
    assert!(
        missing.is_empty() && invented.is_empty(),
        "not explained: {missing:?}; not there: {invented:?}"
    );
}

#[test]
fn every_field_of_info_agg_is_explained() {
    let Some(server) = Server::start() else {
        return;
    };
    let info: String = server.ask("INFO agg");
    let fields = info.lines().filter_map(|line| line.split_once(':'));
    let there = fields.map(|(name, _)| name.to_owned()).collect();
    differences(&explained("### INFO agg"), &there);
}

#[test]
fn every_field_of_agg_info_is_explained() {
    let Some(server) = Server::start() else {
        return;
    };
    let _: i64 = server.ask("AGG.STAT node1 m 1");
    let info: Value = redis::cmd("AGG.INFO")
        .arg("node1")
        .query(&mut server.connection3())
        .unwrap();
    let mut there = BTreeSet::new();
    names(&info, "", &mut there);
    differences(&explained("### AGG.INFO"), &there);
}

/// Returns the names of the values of a map, followed by those of nested maps.
fn names(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    let Value::Map(pairs) = value else {
        found.insert(path.to_owned());
        return;
    };
    for (name, value) in pairs {
        let name: String = redis::from_redis_value(name.clone()).unwrap();
        let path = match path {
            "" => name,
            path => format!("{path}.{name}"),
        };
        names(value, &path, found);
    }
}
