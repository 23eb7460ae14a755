//! The dashboards for Prometheus: promtool parses every query.

use std::process::Command;

use super::all;
use crate::support::{err, missing};

#[test]
fn prometheus_parses_the_queries() {
    let mut rules = String::from("groups:\n- name: dashboards\n  rules:\n");
    for dashboard in all() {
        if dashboard.variables()[0]["query"] != "prometheus" {
            continue;
        }
        for (index, (_, text)) in dashboard.queries().iter().enumerate() {
            // Variables that are not within quotes.
            let text = text
                .replace("$__rate_interval", "5m")
                .replace("$__range", "6h")
                .replace("[$window]", "[300s]")
                .replace("${metric}", "cpu_load");
            let quoted = serde_json::to_string(&text).unwrap();
            rules += &format!("  - record: panel:{index}\n    expr: {quoted}\n");
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("rules.yml");
    std::fs::write(&file, rules).unwrap();
    let output = Command::new("promtool")
        .args(["check", "rules"])
        .arg(&file)
        .output();
    let Ok(output) = output else {
        return missing("promtool").unwrap_or_default();
    };
    assert!(output.status.success(), "{}", err(&output));
}
