//! What every dashboard has to have: ids, places, data sources, variables. scripts/manifests.sh checks the fields against
//! Grafana's SDK.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Dashboard, all, query, used, variable_query};

/// Variables of Grafana itself.
const BUILT_IN: [&str; 4] = ["__rate_interval", "__range", "__interval", "timeFilter"];

#[test]
fn dashboards_have_names_of_their_own() {
    let (mut uids, mut titles) = (BTreeSet::new(), BTreeSet::new());
    for Dashboard { file, json } in all() {
        assert!(json["id"].is_null(), "{file}");
        assert!(json["schemaVersion"].as_u64() >= Some(36), "{file}");
        let uid = json["uid"].as_str().unwrap();
        assert!(uid.len() <= 40 && uids.insert(uid.to_owned()), "{file}");
        assert!(titles.insert(json["title"].to_string()), "{file}");
        assert!(
            json["description"].as_str().unwrap().ends_with('.'),
            "{file}"
        );
    }
}

#[test]
fn panels_do_not_overlap() {
    for dashboard in all() {
        let file = &dashboard.file;
        let (mut ids, mut titles, mut taken) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for panel in dashboard.panels() {
            let title = panel["title"].as_str().unwrap();
            let place = format!("{file}: {title}");
            assert!(ids.insert(panel["id"].as_u64().unwrap()), "{place}: its id");
            let is_row = panel["type"] == "row";
            assert!(is_row || titles.insert(title), "{place} twice");
            let at = |field: &str| panel["gridPos"][field].as_u64().unwrap();
            assert!(at("w") > 0 && at("h") > 0, "{place}");
            assert!(at("x") + at("w") <= 24, "{place}");
            for x in at("x")..at("x") + at("w") {
                for y in at("y")..at("y") + at("h") {
                    assert!(taken.insert((x, y)), "{place} lies over another");
                }
            }
        }
    }
}

#[test]
fn panels_say_what_they_show() {
    for dashboard in all() {
        for panel in dashboard.panels() {
            let title = panel["title"].as_str().unwrap();
            let place = format!("{}: {title}", dashboard.file);
            if panel["type"] == "row" {
                continue;
            }
            assert!(
                panel["description"].as_str().unwrap().ends_with('.'),
                "{place}"
            );
            assert!(
                panel["fieldConfig"]["defaults"]["unit"].is_string(),
                "{place}"
            );
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{place}");
            let targets = panel["targets"].as_array().unwrap();
            let refs: BTreeSet<&str> = targets.iter().filter_map(|t| t["refId"].as_str()).collect();
            assert!(
                !targets.is_empty() && refs.len() == targets.len(),
                "{place}"
            );
            for target in targets {
                assert_eq!(target["datasource"], panel["datasource"], "{place}");
                assert!(query(target).is_some(), "{place}");
                // A range of the interval contains a window only if the interval is not shorter.
                let is_of_interval = query(target).unwrap().contains("[$__interval]");
                let interval = &target["interval"];
                assert!(!is_of_interval || interval == "$window", "{place}");
            }
        }
    }
}

#[test]
fn variables_are_defined_and_used() {
    for dashboard in all() {
        let file = &dashboard.file;
        let variables = dashboard.variables();
        assert_eq!(variables[0]["name"], "datasource", "{file}");
        assert_eq!(variables[0]["type"], "datasource", "{file}");
        let source = &variables[0]["query"];
        let mut known: BTreeSet<&str> = BUILT_IN.into();
        let mut unused: BTreeSet<&str> = BTreeSet::new();
        for variable in variables {
            let name = variable["name"].as_str().unwrap();
            if variable["type"] == "query" {
                assert_eq!(
                    variable["datasource"]["uid"], "${datasource}",
                    "{file}: {name}"
                );
                assert_eq!(&variable["datasource"]["type"], source, "{file}: {name}");
                // Only of those before it: Grafana asks for them in this order.
                for other in used(variable_query(variable)) {
                    assert!(known.contains(other), "{file}: ${other} in ${name}");
                    unused.remove(other);
                }
            }
            assert!(known.insert(name), "{file}: {name} twice");
            unused.insert(name);
        }
        for panel in dashboard.panels() {
            let of_panel = &panel["datasource"];
            assert!(
                panel["type"] == "row" || &of_panel["type"] == source,
                "{file}: {panel}"
            );
        }
        for (title, text) in dashboard.queries() {
            for name in used(text) {
                assert!(known.contains(name), "{file}: {title}: ${name}");
                unused.remove(name);
            }
        }
        unused.remove("datasource");
        assert!(unused.is_empty(), "{file}: unused {unused:?}");
    }
}

#[test]
fn names_in_legends_are_tags_of_their_queries() {
    for dashboard in all() {
        for target in dashboard.panels().iter().flat_map(targets) {
            let text = query(target).unwrap();
            let legend = target["alias"].as_str().or(target["legendFormat"].as_str());
            let legend = legend.unwrap_or_default();
            let in_braces = legend
                .split("{{")
                .skip(1)
                .filter_map(|rest| rest.split("}}").next());
            let in_alias = used(legend)
                .into_iter()
                .filter_map(|name| name.strip_prefix("tag_"));
            for tag in in_braces.chain(in_alias) {
                assert!(text.contains(tag), "{}: {legend}: {text}", dashboard.file);
            }
        }
    }
}

fn targets(panel: &Value) -> &[Value] {
    panel["targets"].as_array().map_or(&[], Vec::as_slice)
}
