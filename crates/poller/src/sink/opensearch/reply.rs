//! Interprets the response to a bulk request, which has the result of each record.
//!
//! # Invariants
//!
//! A record counts as stored only if its item says so: 2xx, or 409 because of the version, which means that the record, or
//! a newer state of the same error or object, is stored. It counts as rejected only if its item says 400 in words that
//! are about its content. All else (a full queue, a missing permission, a closed or read-only index, a [quota] of it) is
//! retried.

use serde::Deserialize;

use crate::sink::bisect::{Each, Reply};
use crate::sink::http_client::Response;
use crate::sink::interface::shorten;
use crate::sink::quota;

/// Types of errors with status 400 that are not about the record but about its index or the request.
const ABOUT_INDEX: [&str; 8] = [
    "action_request_validation_exception",
    "cluster_block_exception",
    "index_closed_exception",
    "index_not_found_exception",
    "invalid_index_name_exception",
    "resource_already_exists_exception",
    // The mapping of the index requires a routing.
    "routing_missing_exception",
    // One index would exceed the number of shards that the cluster allows.
    "validation_exception",
];
/// The beginnings of `illegal_argument_exception` that are about the index: an alias without an index to write to, a data
/// stream that takes no states, a pipeline that is missing, too many shards. Behind the beginning, and in other errors, a
/// reason may quote the record.
const ABOUT_INDEX_WORDS: [&str; 4] = [
    "no write index is defined",
    "only write ops with an op_type of create are allowed",
    "pipeline with id [",
    "Validation Failed: 1: this action would add [",
];

#[derive(Deserialize)]
struct Bulk {
    items: Vec<Item>,
}

/// The result of one action, by its verb.
#[derive(Deserialize)]
enum Item {
    #[serde(rename = "create")]
    Create(Outcome),
    #[serde(rename = "index")]
    Index(Outcome),
}

#[derive(Deserialize)]
struct Outcome {
    status: u16,
    #[serde(default)]
    error: ItemError,
}

#[derive(Default, Deserialize)]
struct ItemError {
    #[serde(default)]
    r#type: String,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    caused_by: Option<Box<Cause>>,
}

#[derive(Default, Deserialize)]
struct Cause {
    #[serde(default)]
    r#type: String,
    #[serde(default)]
    reason: Option<String>,
}

impl ItemError {
    /// Returns whether it is about a quota of the index: by its own words, or, in new versions, as its cause.
    fn is_quota(&self) -> bool {
        const KIND: &str = "illegal_argument_exception";
        let is = |kind: &str, reason: Option<&String>| {
            kind == KIND && reason.is_some_and(|reason| quota::is_index(reason))
        };
        let cause = self.caused_by.as_ref();
        is(&self.r#type, self.reason.as_ref())
            || cause.is_some_and(|cause| is(&cause.r#type, cause.reason.as_ref()))
    }
}

/// The result of a record.
#[derive(Debug, PartialEq)]
enum Fate {
    Stored,
    Rejected,
    Unstored,
}

impl Outcome {
    fn fate(&self) -> Fate {
        let error = &self.error;
        match (self.status, &*error.r#type) {
            (200..=299, _) | (409, "" | "version_conflict_engine_exception") => Fate::Stored,
            (400, _) if error.is_quota() => Fate::Unstored,
            (400, kind) if !ABOUT_INDEX.contains(&kind) => {
                let reason = error.reason.as_deref().unwrap_or_default();
                let is_about_index = |words: &&str| reason.starts_with(*words);
                let is_argument = kind == "illegal_argument_exception";
                match is_argument && ABOUT_INDEX_WORDS.iter().any(is_about_index) {
                    true => Fate::Unstored,
                    false => Fate::Rejected,
                }
            }
            // A document that is too large for the server alone.
            (413, _) => Fate::Rejected,
            _ => Fate::Unstored,
        }
    }

    fn reason(&self) -> String {
        let (status, kind) = (self.status, &self.error.r#type);
        let mut words = self.error.reason.clone().unwrap_or_default();
        let cause = self.error.caused_by.as_ref();
        if let Some(cause) = cause.and_then(|cause| cause.reason.as_ref()) {
            words = format!("{words}: {cause}");
        }
        shorten(&format!("{status} {kind}: {words}"))
    }
}

/// Interprets a successful response to so many records. Returns `None` if it is not from such a server.
pub fn read(response: &Response, count: usize) -> Option<Reply> {
    if response.is_cut {
        // Smaller requests have smaller responses.
        let reason = "the response is too long".to_owned();
        return (count > 1).then_some(Reply::TooLarge(reason));
    }
    let bulk: Bulk = serde_json::from_str(&response.body).ok()?;
    if bulk.items.len() != count {
        return None;
    }
    let mut each = Each::default();
    for (at, Item::Create(outcome) | Item::Index(outcome)) in bulk.items.iter().enumerate() {
        match outcome.fate() {
            Fate::Stored => {}
            Fate::Rejected => each.rejected.push((at, outcome.reason())),
            Fate::Unstored => {
                if each.unstored.is_empty() {
                    each.reason = outcome.reason();
                }
                each.unstored.push(at);
            }
        }
    }
    match each.rejected.is_empty() && each.unstored.is_empty() {
        true => Some(Reply::Stored),
        false => Some(Reply::Each(each)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn reply(items: Value, count: usize) -> Option<Reply> {
        let body = json!({ "errors": true, "items": items }).to_string();
        let response = Response {
            status: 200,
            body,
            ..Response::default()
        };
        read(&response, count)
    }

    fn failed(status: u16, kind: &str, reason: &str) -> Value {
        json!({"create": {"status": status, "error": {"type": kind, "reason": reason}}})
    }

    #[test]
    fn each_item_is_interpreted() {
        let conflict = failed(409, "version_conflict_engine_exception", "x");
        let stored = json!([{"create": {"status": 201}}, conflict, {"index": {"status": 200}}]);
        assert_eq!(reply(stored, 3), Some(Reply::Stored));
        let mixed = json!([
            {"index": {"status": 201}},
            failed(400, "mapper_parsing_exception", "failed to parse field [sum]"),
            failed(429, "rejected_execution_exception", "queue is full"),
            failed(403, "cluster_block_exception", "index [x] blocked"),
            failed(404, "index_not_found_exception", "no such index"),
            failed(503, "unavailable_shards_exception", "x"),
            failed(400, "index_closed_exception", "closed"),
            failed(400, "illegal_argument_exception", "no write index is defined for alias [x]"),
            failed(400, "illegal_argument_exception", "Document contains at least one immense term"),
            failed(409, "resource_in_use", "x"),
            failed(400, "mapper_parsing_exception", "Preview of field's value: 'no write index is defined'"),
            failed(400, "routing_missing_exception", "routing is required for [x]/[y]"),
        ]);
        let expected = Each {
            rejected: vec![
                (
                    1,
                    "400 mapper_parsing_exception: failed to parse field [sum]".into(),
                ),
                (
                    8,
                    "400 illegal_argument_exception: Document contains at least one immense term"
                        .into(),
                ),
                (
                    10,
                    "400 mapper_parsing_exception: Preview of field's value: 'no write index is defined'"
                        .into(),
                ),
            ],
            unstored: vec![2, 3, 4, 5, 6, 7, 9, 11],
            reason: "429 rejected_execution_exception: queue is full".into(),
            is_vague: false,
        };
        assert_eq!(reply(mixed, 12), Some(Reply::Each(expected)));
    }

    /// The texts are from the sources of Elasticsearch and OpenSearch.
    #[test]
    fn quotas_and_a_lack_of_resources_are_about_no_record() {
        let words = "Limit of total fields [1000] has been exceeded while adding new fields [1]";
        let caused = json!({"index": {"status": 400, "error": {
            "type": "document_parsing_exception", "reason": format!("[1:10] failed to parse: {words}"),
            "caused_by": {"type": "illegal_argument_exception", "reason": words}}}});
        let busy = json!([
            failed(400, "illegal_argument_exception", words),
            caused,
            failed(429, "circuit_breaking_exception", "[parent] Data too large"),
            failed(
                429,
                "cluster_block_exception",
                "disk usage exceeded flood-stage watermark"
            ),
            failed(507, "x", "x"),
        ]);
        let Some(Reply::Each(each)) = reply(busy, 5) else {
            panic!()
        };
        assert_eq!(
            (each.rejected.len(), each.unstored),
            (0, vec![0, 1, 2, 3, 4])
        );
        let quoted = json!([failed(400, "mapper_parsing_exception", words)]);
        assert!(matches!(reply(quoted, 1), Some(Reply::Each(each)) if each.rejected.len() == 1));
    }

    #[test]
    fn other_responses_confirm_nothing() {
        let one = json!([{"create": {"status": 201}}]);
        assert_eq!(reply(one.clone(), 2), None);
        assert_eq!(reply(json!([{"create": {}}]), 1), None);
        assert_eq!(reply(json!({}), 1), None);
        for body in [
            "",
            "{}",
            "OK",
            "<html>",
            "{\"items\":[{\"create\":{\"status\":201}}",
        ] {
            let response = Response {
                status: 200,
                body: body.into(),
                ..Response::default()
            };
            assert_eq!(read(&response, 1), None, "{body}");
        }
        let cut = |count| {
            let response = Response {
                is_cut: true,
                ..Response::default()
            };
            read(&response, count)
        };
        assert!(matches!(cut(2), Some(Reply::TooLarge(_))));
        assert_eq!(cut(1), None);
    }
}
