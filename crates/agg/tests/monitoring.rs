//! The alert rules and the dashboard of docs/monitoring: promtool (Debian's package prometheus) accepts the rules, the
//! rules pass their tests, and the dashboard is valid as far as can be checked without Grafana. The unit tests of the
//! metrics check that every metric they name exists.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::missing;

fn place(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/monitoring");
    root.join(name)
}

/// Returns the output of promtool, or `None` if it is missing.
fn promtool(arguments: &[&str], file: &Path) -> Option<String> {
    let mut command = Command::new("promtool");
    let Ok(output) = command.args(arguments).arg(file).output() else {
        return missing("promtool");
    };
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(output.status.success(), "{text}");
    Some(text)
}

#[test]
fn alert_rules_are_valid() {
    if let Some(text) = promtool(&["check", "rules", "--lint-fatal"], &place("alerts.yml")) {
        assert!(text.contains("SUCCESS"), "{text}");
    }
}

#[test]
fn each_alert_fires_when_it_should() {
    let rules = std::fs::read_to_string(place("alerts.yml")).unwrap();
    let tests = std::fs::read_to_string(place("alerts_test.yml")).unwrap();
    let page = std::fs::read_to_string(place("../monitoring.md")).unwrap();
    let mut alerts = 0;
    for line in rules.lines() {
        if let Some(alert) = line.trim().strip_prefix("- alert: ") {
            alerts += 1;
            // Once without and once with the alert firing.
            let tested = tests.matches(&format!("alertname: {alert}\n")).count();
            assert!(tested >= 2, "{alert} is not tested");
            assert!(
                page.contains(&format!("`{alert}`")),
                "{alert} is not documented"
            );
        }
    }
    let count = |word: &str| {
        rules
            .lines()
            .filter(|line| line.trim().starts_with(word))
            .count()
    };
    for word in ["severity: ", "summary: ", "description: "] {
        assert_eq!(count(word), alerts, "{word}");
    }
    promtool(&["test", "rules"], &place("alerts_test.yml"));
}

fn dashboard() -> Value {
    let text = std::fs::read_to_string(place("grafana.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn panels(dashboard: &Value) -> &[Value] {
    dashboard["panels"].as_array().unwrap()
}

#[test]
fn dashboard_panels_do_not_overlap() {
    let dashboard = dashboard();
    assert!(dashboard["id"].is_null() && dashboard["schemaVersion"].as_u64() >= Some(36));
    assert!(dashboard["uid"].as_str().unwrap().len() <= 40);
    let (mut ids, mut titles, mut taken) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for panel in panels(&dashboard) {
        let title = panel["title"].as_str().unwrap();
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}: its id");
        let row = panel["type"] == "row";
        assert!(row || titles.insert(title), "{title} twice");
        let at = |field: &str| panel["gridPos"][field].as_u64().unwrap();
        assert!(
            at("w") > 0 && at("h") > 0 && at("x") + at("w") <= 24,
            "{title}"
        );
        for x in at("x")..at("x") + at("w") {
            for y in at("y")..at("y") + at("h") {
                assert!(taken.insert((x, y)), "{title} lies over another");
            }
        }
        if row {
            continue;
        }
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
        assert!(
            panel["description"].as_str().unwrap().ends_with('.'),
            "{title}"
        );
        assert!(
            panel["fieldConfig"]["defaults"]["unit"].is_string(),
            "{title}"
        );
        let targets = panel["targets"].as_array().unwrap();
        let refs: BTreeSet<_> = targets
            .iter()
            .map(|t| t["refId"].as_str().unwrap())
            .collect();
        assert!(
            !targets.is_empty() && refs.len() == targets.len(),
            "{title}"
        );
    }
}

/// Returns the expressions, with values for Grafana's variables.
fn expressions(dashboard: &Value) -> Vec<String> {
    let targets = panels(dashboard).iter();
    let targets = targets.flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let annotations = dashboard["annotations"]["list"].as_array().unwrap();
    let all = targets.chain(annotations);
    all.map(|target| target["expr"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn dashboard_variables_are_defined() {
    let dashboard = dashboard();
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    assert_eq!(variables[0]["type"], "datasource");
    assert_eq!(variables[0]["query"], "prometheus");
    let mut known: BTreeSet<&str> = ["__rate_interval", "__range"].into();
    known.extend(variables.iter().map(|one| one["name"].as_str().unwrap()));
    for expression in expressions(&dashboard) {
        for part in expression.split('$').skip(1) {
            let end = part.find(|c: char| !c.is_alphanumeric() && c != '_');
            let name = &part[..end.unwrap_or(part.len())];
            assert!(known.contains(name), "${name} in {expression}");
        }
    }
}

#[test]
fn prometheus_parses_the_dashboard_expressions() {
    let mut rules = String::from("groups:\n- name: dashboard\n  rules:\n");
    for (index, expression) in expressions(&dashboard()).iter().enumerate() {
        let expression = expression
            .replace("$__rate_interval", "5m")
            .replace("$__range", "6h");
        let quoted = serde_json::to_string(&expression).unwrap();
        rules += &format!("  - record: panel:{index}\n    expr: {quoted}\n");
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("rules.yml");
    std::fs::write(&file, rules).unwrap();
    promtool(&["check", "rules"], &file);
}
