//! `agg poll` with a server that speaks the API of OpenSearch: what documents look like, that no record is stored twice
//! and no newer state is overwritten, and its faults.
//!
//! osmem is a single server that keeps its documents in memory. It is never busy or slow, has no users, and takes requests
//! of 100 MB: for that a stub stands in front of it, which answers some requests itself.

mod access;
mod documents;
mod faults;

use std::collections::BTreeSet;

use serde_json::Value;

use crate::support::Server;
use crate::support::opensearch::OpenSearch;
use crate::support::place::{Id, Place, settings};

/// The queues, as tests drain them.
const QUEUES: [&str; 5] = ["MIN", "HOUR", "LOG", "ERROR", "REALITY"];

/// Returns a poller that drains all queues into a server, with more keys of its sink.
fn place(source: &Server, url: &str, more: &str) -> Place {
    Place::new(&settings(
        source,
        &format!(
            "[[route]]\nqueues = [\"MIN\", \"HOUR\", \"LOG\", \"ERROR\", \"REALITY\"]\nsinks = [\"db\"]\n\
             [sink.db]\ntype = \"opensearch\"\nurl = \"{url}\"\n{more}\n"
        ),
    ))
}

fn parts() -> Option<(Server, OpenSearch)> {
    Some((Server::start()?, OpenSearch::start()?))
}

fn ids(target: &OpenSearch, index: &str) -> Vec<Id> {
    let text = |document: &Value, name: &str| document["_source"][name].as_str().unwrap().into();
    let all = target.all(index);
    all.iter()
        .map(|hit| {
            (
                text(hit, "node"),
                text(hit, "queue"),
                hit["_source"]["id"].as_i64().unwrap(),
            )
        })
        .collect()
}

fn assert_once(target: &OpenSearch, expected: &BTreeSet<Id>) {
    let stored = ids(target, "agg-logs");
    assert_eq!(stored.len(), expected.len());
    assert_eq!(&BTreeSet::from_iter(stored), expected);
}
