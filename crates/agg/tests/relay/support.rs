//! The parts of a relay: pollers from a server to another one, and from the last one to a file.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::support::place::{ALL_TO_FILE, Id, Place, id, left, settings};
use crate::support::{Server, now_ms, until};

/// Records by their identities.
pub type Records = BTreeMap<Id, Value>;

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

/// Adds log entries to nodes, each with a message of its own, and returns them.
pub fn log(server: &Server, nodes: &[&str], count: usize) -> Records {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let mut connection = server.connection();
    let mut all = Records::new();
    let at = now_ms();
    for node in nodes {
        for done in (0..count).step_by(500) {
            let (mut pipe, mut messages) = (redis::pipe(), Vec::new());
            for _ in done..count.min(done + 500) {
                let number = NUMBER.fetch_add(1, Ordering::Relaxed);
                let message = format!("{number} \u{e9}\"{}", "x".repeat(number % 200));
                pipe.cmd("AGG.LOG")
                    .arg(node)
                    .arg(&message)
                    .arg("AT")
                    .arg(at);
                messages.push(message);
            }
            let ids: Vec<i64> = pipe.query(&mut connection).unwrap();
            all.extend(ids.into_iter().zip(messages).map(|(id, message)| {
                let record = json!({
                    "node": node, "queue": "LOG", "id": id, "message": message, "level": 3,
                    "severity": "INFO", "tags": {}, "epoch": at,
                });
                ((node.to_string(), "LOG".to_owned(), id), record)
            }));
        }
    }
    all
}

/// Waits until a poller has written all these records, and asserts that it wrote them as they are, no others and none
/// twice.
pub fn assert_once(place: &Place, expected: &Records) {
    until("all records are written", || {
        (place.lines("out").len() >= expected.len()).then_some(())
    });
    let lines = place.lines("out");
    let read = |line: &String| (id(line), serde_json::from_str(line).unwrap());
    let found: Records = lines.iter().map(read).collect();
    let missing = |from: &Records, to: &Records| -> Vec<Id> {
        let missing = from.keys().filter(|id| !to.contains_key(id));
        missing.take(5).cloned().collect()
    };
    let (lost, strange) = (missing(expected, &found), missing(&found, expected));
    assert!(
        lost.is_empty() && strange.is_empty(),
        "lost {lost:?}, strange {strange:?}"
    );
    assert_eq!(lines.len(), found.len(), "written twice");
    for (id, record) in expected {
        assert_eq!(&found[id], record);
    }
}

/// Waits until the queues of nodes at a server are empty.
pub fn until_relayed(leaf: &Server, nodes: &[&str]) {
    until("the queues are empty", || {
        let is_empty = |queue: &&str| left(leaf, nodes, queue) == 0;
        QUEUES.iter().all(is_empty).then_some(())
    });
}

/// Returns all records in the queues of a node.
pub fn queued(server: &Server, node: &str) -> Records {
    let records = QUEUES.iter().flat_map(|queue| server.peek(node, queue));
    records
        .map(|record| (id(&record.to_string()), record))
        .collect()
}
