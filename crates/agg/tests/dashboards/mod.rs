//! The Grafana dashboards of docs/monitoring, without Grafana: their structure, and their queries, which real databases
//! answer with the numbers of AGG.RANGE.

mod errors;
pub mod fixture;
mod influx;
mod prometheus;
mod structure;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// A dashboard.
struct Dashboard {
    /// The name of its file.
    file: String,
    json: Value,
}

/// Returns the directory of the dashboards.
fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/monitoring")
}

/// Returns all dashboards.
fn all() -> Vec<Dashboard> {
    let entries = std::fs::read_dir(directory()).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.ends_with(".json")).collect();
    names.sort();
    assert!(names.len() >= 6, "{names:?}");
    names
        .into_iter()
        .map(|name| Dashboard::read(&name))
        .collect()
}

impl Dashboard {
    fn read(name: &str) -> Dashboard {
        let text = std::fs::read_to_string(directory().join(name)).unwrap();
        Dashboard {
            file: name.to_owned(),
            json: serde_json::from_str(&text).unwrap(),
        }
    }

    /// Returns its panels and rows.
    fn panels(&self) -> &[Value] {
        self.json["panels"].as_array().unwrap()
    }

    fn variables(&self) -> &[Value] {
        self.json["templating"]["list"].as_array().unwrap()
    }

    /// Returns the queries of all panels, each with the title of its panel.
    fn queries(&self) -> Vec<(&str, &str)> {
        let panels = self.panels().iter();
        let targets = panels.flat_map(|panel| {
            let title = panel["title"].as_str().unwrap();
            let targets = panel["targets"].as_array().into_iter().flatten();
            targets.map(move |target| (title, target))
        });
        let annotations = self.json["annotations"]["list"].as_array().unwrap();
        let annotations = annotations.iter().map(|one| ("annotations", one));
        let queries = targets.chain(annotations);
        queries
            .map(|(title, target)| (title, query(target).unwrap()))
            .collect()
    }
}

/// Returns the text of a panel's query.
fn query(target: &Value) -> Option<&str> {
    target["query"].as_str().or(target["expr"].as_str())
}

/// Returns the text of a variable's query.
fn variable_query(variable: &Value) -> &str {
    let query = &variable["query"];
    query.as_str().or(query["query"].as_str()).unwrap()
}

/// Returns the names of variables that a text uses: `$name` or `${name}`.
fn used(text: &str) -> Vec<&str> {
    let parts = text.split('$').skip(1);
    let names = parts.map(|part| {
        let part = part.strip_prefix('{').unwrap_or(part);
        let end = part.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        &part[..end.unwrap_or(part.len())]
    });
    names.filter(|name| !name.is_empty()).collect()
}

/// Replaces variables by their values, as Grafana does.
fn render(text: &str, values: &BTreeMap<String, String>) -> String {
    let mut rendered = text.to_owned();
    // Longer names first: $node is also the beginning of $node_name.
    let mut names = used(text);
    names.sort_by_key(|name| std::cmp::Reverse(name.len()));
    for name in names {
        let Some(value) = values.get(name) else {
            panic!("${name} has no value in {text}");
        };
        rendered = rendered.replace(&format!("${{{name}}}"), value);
        rendered = rendered.replace(&format!("${name}"), value);
    }
    rendered
}
