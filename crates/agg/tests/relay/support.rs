//! The parts of a relay: pollers from a server to another one, and from the last one to a file.

use std::collections::BTreeSet;

use crate::support::place::{ALL_TO_FILE, Id, Place, left, settings};
use crate::support::{Server, until};

const QUEUES: [&str; 5] = ["MIN", "HOUR", "LOG", "ERROR", "REALITY"];

/// Returns a poller that relays all queues of a leaf to a hub, with more keys of its sink.
pub fn relay(leaf: &Server, hub: &str, more: &str) -> Place {
    Place::new(&settings(leaf, &to_hub(hub, more)))
}

/// Returns the route of all queues to a hub, and its sink.
pub fn to_hub(hub: &str, more: &str) -> String {
    format!(
        "[[route]]\nqueues = {QUEUES:?}\nsinks = [\"hub\"]\n\
         [sink.hub]\ntype = \"aggregator\"\nuri = \"{hub}\"\n{more}\n"
    )
}

/// Returns a poller that drains all queues of a server into its file `out`.
pub fn drain(hub: &Server) -> Place {
    Place::new(&settings(hub, ALL_TO_FILE))
}

/// Waits until a poller has written all these records, and asserts that it wrote no others and none twice.
pub fn assert_once(place: &Place, expected: &BTreeSet<Id>) {
    until("all records are written", || {
        (place.lines("out").len() >= expected.len()).then_some(())
    });
    let ids = place.ids("out");
    let found = BTreeSet::from_iter(ids.iter().cloned());
    let lost: Vec<&Id> = expected.difference(&found).take(5).collect();
    let strange: Vec<&Id> = found.difference(expected).take(5).collect();
    assert!(
        lost.is_empty() && strange.is_empty(),
        "lost {lost:?}, strange {strange:?}"
    );
    assert_eq!(ids.len(), found.len(), "written twice");
}

/// Waits until the queues of nodes at a server are empty.
pub fn until_relayed(leaf: &Server, nodes: &[&str]) {
    until("the queues are empty", || {
        let is_empty = |queue: &&str| left(leaf, nodes, queue) == 0;
        QUEUES.iter().all(is_empty).then_some(())
    });
}

/// Returns the identities of all records in the queues of a node.
pub fn queued(server: &Server, node: &str) -> BTreeSet<Id> {
    let records = QUEUES.iter().flat_map(|queue| server.peek(node, queue));
    records
        .map(|record| crate::support::place::id(&record.to_string()))
        .collect()
}
