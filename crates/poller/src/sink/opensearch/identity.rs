//! The `_id` of a document.
//!
//! # Invariants
//!
//! Two records have the same `_id` in an index only if they are the same record, or states of the same error or object.
//! No `_id` is longer than [`MAX_ID`] bytes.

use sha2::{Digest, Sha256};

use crate::record::{Content, Record};

/// The bytes that a server allows.
const MAX_ID: usize = 512;

/// Returns the `_id`: `QUEUE/ID/NODE` of a record that is stored once, `NODE/KEY` of a state that replaces an earlier one.
pub fn of(record: &Record<'_>) -> String {
    let id = match &record.content {
        Content::Window(_) | Content::Log(_) => {
            format!("{}/{}/{}", record.queue.name(), record.id, record.node)
        }
        Content::Error(error) => pair(&record.node, &error.key),
        Content::Object(object) => pair(&record.node, &object.key),
    };
    match id.len() {
        0..=MAX_ID => id,
        // Without a slash, so it equals no other.
        _ => format!("sha256:{}", hex(&Sha256::digest(id.as_bytes()))),
    }
}

/// Joins two texts so that other texts yield another result.
fn pair(node: &str, key: &str) -> String {
    format!("{}/{key}", node.replace('%', "%25").replace('/', "%2F"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn identities_are_readable_and_short() {
        let log = |node: &str| {
            let text = format!(
                r#"{{"node":"{node}","queue":"LOG","id":17,"message":"","level":3,"severity":"INFO","tags":{{}},"epoch":1}}"#
            );
            of(&Record::parse(text.as_bytes()).unwrap())
        };
        assert_eq!(log("a/b"), "LOG/17/a/b");
        let long = log(&"ä".repeat(300));
        assert_eq!(long.len(), "sha256:".len() + 64);
        assert_ne!(long, log(&"ä".repeat(301)));
        assert_eq!(pair("a/b%", "c/d"), "a%2Fb%25/c/d");
    }

    proptest! {
        #[test]
        fn other_pairs_yield_other_identities(a in "[a/%2F5]{0,5}", b in "[a/%2F5]{0,5}", c in "[a/%2F5]{0,5}", d in "[a/%2F5]{0,5}") {
            prop_assert_eq!(pair(&a, &b) == pair(&c, &d), (a, b) == (c, d));
        }
    }
}
