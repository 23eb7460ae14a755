//! The alert rules of docs/monitoring: promtool (Debian's package prometheus) accepts the rules, and the rules pass their
//! tests. The unit tests of the metrics check that every metric they name exists.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::missing;

/// The files of rules, of their tests, and the pages that describe them.
const RULES: [(&str, &str, &str); 2] = [
    ("alerts.yml", "alerts_test.yml", "../monitoring.md"),
    (
        "alerts-serve.yml",
        "alerts-serve_test.yml",
        "../agg-serve.md",
    ),
];

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
    for (rules, ..) in RULES {
        if let Some(text) = promtool(&["check", "rules", "--lint-fatal"], &place(rules)) {
            assert!(text.contains("SUCCESS"), "{text}");
        }
    }
}

#[test]
fn each_alert_fires_when_it_should() {
    for (rules, tests, page) in RULES {
        fires_when_it_should(rules, tests, page);
    }
}

fn fires_when_it_should(rules: &str, tests_file: &str, page: &str) {
    let rules = std::fs::read_to_string(place(rules)).unwrap();
    let tests = std::fs::read_to_string(place(tests_file)).unwrap();
    let page = std::fs::read_to_string(place(page)).unwrap();
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
    promtool(&["test", "rules"], &place(tests_file));
}
