//! The index templates: which fields are searchable, and as what.
//!
//! # Invariants
//!
//! The number of fields of an index does not depend on the names of tags or on the contents of objects. Only percentiles
//! add fields, one for each that servers compute. A text that is too long for a term is stored, and not searchable by its
//! end or as a keyword.

use serde_json::{Value, json};

/// The indexes, without prefix.
pub const INDEXES: [&str; 4] = ["statistics", "logs", "errors", "reality"];

/// The characters of a keyword: a term has at most 32,766 bytes.
const MAX_KEYWORD: u64 = 8191;

/// The type of the field of tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TagType {
    /// OpenSearch 2.7 and newer.
    FlatObject,
    /// Elasticsearch.
    Flattened,
    /// Stored and not searchable.
    Disabled,
}

impl TagType {
    fn mapping(self) -> Value {
        match self {
            TagType::FlatObject => json!({ "type": "flat_object" }),
            TagType::Flattened => json!({ "type": "flattened", "ignore_above": MAX_KEYWORD / 2 }),
            TagType::Disabled => json!({ "type": "object", "enabled": false }),
        }
    }
}

/// Returns the template of an index, for indexes by day and month too.
pub fn template(prefix: &str, index: &str, tags: TagType) -> Value {
    let keyword = json!({ "type": "keyword", "ignore_above": MAX_KEYWORD });
    let of_type = |kind: &str| json!({ "type": kind });
    let opaque = json!({ "type": "object", "enabled": false });
    let mut properties = json!({
        "@timestamp": of_type("date"),
        "node": keyword,
        "queue": keyword,
        "id": of_type("long"),
        "tags": tags.mapping(),
    });
    let mut add = |names: &[&str], mapping: &Value| {
        for name in names {
            properties[*name] = mapping.clone();
        }
    };
    let text = of_type("text");
    match index {
        "statistics" => {
            add(&["metric", "measurement", "instance", "type"], &keyword);
            add(&["window", "count"], &of_type("long"));
            add(&["start", "end"], &of_type("date"));
            add(&["sum", "avg", "min", "max", "last"], &of_type("double"));
            add(&["hist"], &opaque);
        }
        "logs" => {
            add(&["message"], &text);
            add(&["level"], &of_type("short"));
            add(&["severity"], &keyword);
            add(&["epoch"], &of_type("date"));
        }
        "errors" => {
            let both = json!({ "type": "text", "fields": { "keyword": keyword } });
            add(&["message"], &both);
            add(&["public", "backtrace"], &text);
            add(
                &["key", "severity", "type", "code", "func", "file"],
                &keyword,
            );
            add(&["level"], &of_type("short"));
            add(&["gid", "nid", "occurrences"], &of_type("long"));
            add(&["first", "last"], &of_type("date"));
        }
        _ => {
            add(&["key", "model"], &keyword);
            add(&["json"], &opaque);
            add(&["epoch"], &of_type("date"));
            add(&["gone"], &of_type("boolean"));
        }
    }
    let percentiles = json!({
        "match_pattern": "regex",
        "match": "^p[0-9]+(_[0-9]+)?$",
        "mapping": of_type("double"),
    });
    let is_statistics = index == "statistics";
    let mut mappings = json!({ "dynamic": is_statistics, "properties": properties });
    if is_statistics {
        mappings["dynamic_templates"] = json!([{ "percentiles": percentiles }]);
    }
    let name = format!("{prefix}{index}");
    json!({
        "index_patterns": [name, format!("{name}-2*")],
        // Above 100, which templates that Elasticsearch has from the start use for logs-*-*.
        "priority": 200,
        "template": { "mappings": mappings },
        "_meta": { "description": "Records of the aggregator module, written by agg" },
    })
}
