//! Which responses are about a quota: how many series, values of a tag, tables or fields a target may have in all. No I/O.
//!
//! # Invariants
//!
//! A quota is a condition of the target, not a fault of a record: once it is raised, or something is deleted, the target
//! takes the same record. So such a write is retried, and makes no dead letters. The limits of a single record, such as its
//! size or the number of its labels, are no quotas.
//!
//! Responses quote records. So the words are looked for only where no record is quoted: at the beginning of a reason, or
//! before the first name or label in it. A metric that is named like a quota would hold up the sink otherwise.

use serde_json::Value;

/// The beginnings of reasons of InfluxDB 1.x, behind "partial write: ", and of 3.x.
const INFLUX: [&str; 4] = [
    "max-series-per-database limit exceeded",
    "max-values-per-tag limit exceeded",
    "Update to schema would exceed number of",
    "Adding a new database would exceed limit of",
];
/// The words of Cortex, and of Mimir, which has the second ones too. Their other limits of tenants have status 429.
const TENANT: [&str; 4] = [
    "per-user series limit of",
    "per-metric series limit of",
    "err-mimir-max-series-per-",
    "err-mimir-max-active-series",
];
/// The beginnings of reasons of OpenSearch and Elasticsearch.
const INDEX: [&str; 2] = ["Limit of total fields [", "Limit of nested fields ["];

/// Returns whether the error of InfluxDB is about a quota. Version 1.x gives the reason of one line for all of them, 3.x
/// gives those of each in `data`.
pub fn is_influx(error: &Value) -> bool {
    let begins = |reason: &Value| {
        let reason = reason.as_str().unwrap_or_default();
        let reason = reason.strip_prefix("partial write: ").unwrap_or(reason);
        INFLUX.iter().any(|words| reason.starts_with(words))
    };
    let lines = error["data"].as_array().map_or(&[][..], Vec::as_slice);
    begins(&error["error"]) || lines.iter().any(|line| begins(&line["error_message"]))
}

/// Returns whether the response of a server with tenants is about a quota of the tenant.
pub fn is_tenant(body: &str) -> bool {
    // Series are quoted with braces, metrics and labels with quotes.
    let own = body.split(['{', '"', '\'']).next().unwrap_or_default();
    TENANT.iter().any(|words| own.contains(words))
}

/// Returns whether the reason of an item of a bulk request is about a quota of its index.
pub fn is_index(reason: &str) -> bool {
    INDEX.iter().any(|words| reason.starts_with(words))
}

/// Returns the reason for a retry. It stays the same while only the number of lines changes, so it is logged once.
pub fn reason(error: &str) -> String {
    let number = error.rsplit_once(" dropped=");
    let error = match number {
        Some((words, number)) if number.bytes().all(|byte| byte.is_ascii_digit()) => words,
        _ => error,
    };
    format!("a quota of the target is reached: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    use serde_json::json;

    /// The texts of 1.x are those of version 1.6; those of 3.x are from its source.
    #[test]
    fn quotas_of_influxdb_are_recognised() {
        for reason in [
            "partial write: max-series-per-database limit exceeded: (10) dropped=3",
            "partial write: max-values-per-tag limit exceeded (5/5): measurement=\"a\" tag=\"t\" value=\"6\" dropped=1",
            "Update to schema would exceed number of tables limit of 2000 tables",
            "Adding a new database would exceed limit of 5 databases",
        ] {
            assert!(is_influx(&json!({ "error": reason })), "{reason}");
        }
        let line = |message: &str| json!({ "error_message": message, "line_number": 1, "original_line": "m" });
        let full = line("Update to schema would exceed number of tables limit of 2000 tables");
        let bad = line("invalid column type");
        assert!(is_influx(
            &json!({ "error": "partial write of line protocol occurred", "data": [bad.clone(), full] })
        ));
        for error in [
            json!({ "error": "partial write", "data": [bad] }),
            json!({ "error": "partial write: points beyond retention policy dropped=2" }),
            // Named by who writes the metric.
            json!({ "error": "partial write: field type conflict: input field \"avg\" on measurement \
                    \"max-series-per-database limit exceeded\" is type string, already exists as type float dropped=1" }),
            json!(null),
        ] {
            assert!(!is_influx(&error), "{error}");
        }
    }

    /// The texts are from the sources of Mimir and Cortex.
    #[test]
    fn quotas_of_tenants_are_recognised() {
        for body in [
            "failed pushing to ingester: user=1: per-user series limit of 15 exceeded (err-mimir-max-series-per-user). To \
             adjust the related per-tenant limit, configure -ingester.max-global-series-per-user",
            "user=1: per-metric series limit of 20 exceeded, please contact administrator to raise it for series {a=\"b\"}",
        ] {
            assert!(is_tenant(body), "{body}");
        }
        for body in [
            "out of order sample",
            "the sample has been rejected (err-mimir-sample-out-of-order), series {metric=\"per-user series limit of\"}",
        ] {
            assert!(!is_tenant(body), "{body}");
        }
    }

    #[test]
    fn reason_does_not_depend_on_the_number_of_lines() {
        let reasons = ["x dropped=3", "x dropped=12", "x"].map(reason);
        assert_eq!(reasons, ["a quota of the target is reached: x"; 3]);
        let named = "x dropped=y";
        assert!(reason(named).ends_with(named));
    }
}
