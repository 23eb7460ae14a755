//! Lists of targets in files, as Prometheus's file-based service discovery has them
//! (<https://prometheus.io/docs/prometheus/latest/configuration/configuration/#file_sd_config>), in JSON.

use std::fmt;

use serde_json::{Map, Value};

/// Targets with the same labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TargetGroup {
    /// Host and port of each target, such as `localhost:9100`.
    pub targets: Vec<String>,
    /// Names and values of their labels, sorted by name. A name that begins with `__` is no label of the samples: some
    /// have a meaning for the scrape, such as `__metrics_path__` and `__scheme__`.
    pub labels: Vec<(String, String)>,
}

/// The reason why a list of targets is invalid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileSdError {
    /// It is not JSON. The message has the line and the column.
    NotJson(String),
    /// It is not an array of objects.
    NotGroups,
    /// The group of this number, from 1, has another member than `targets` and `labels`.
    UnknownMember(usize, String),
    /// `targets` of the group of this number, from 1, is not an array of texts.
    InvalidTargets(usize),
    /// `labels` of the group of this number, from 1, is not an object of texts.
    InvalidLabels(usize),
}

impl fmt::Display for FileSdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FileSdError::NotJson(message) => write!(f, "invalid JSON: {message}"),
            FileSdError::NotGroups => f.write_str("expected an array of objects"),
            FileSdError::UnknownMember(group, name) => {
                write!(f, "group {group}: unknown member {name:?}")
            }
            FileSdError::InvalidTargets(group) => {
                write!(f, "group {group}: targets: expected an array of strings")
            }
            FileSdError::InvalidLabels(group) => {
                write!(f, "group {group}: labels: expected an object of strings")
            }
        }
    }
}

impl std::error::Error for FileSdError {}

/// Parses the content of a file: `[{"targets": ["localhost:9100"], "labels": {"job": "node"}}]`.
///
/// # Errors
///
/// The content is not such a list. As in Prometheus, a list counts as a whole.
pub fn targets(text: &str) -> Result<Vec<TargetGroup>, FileSdError> {
    let value = serde_json::from_str(text);
    let value = value.map_err(|error| FileSdError::NotJson(error.to_string()))?;
    let Value::Array(groups) = value else {
        return Err(FileSdError::NotGroups);
    };
    let groups = groups.into_iter().zip(1..);
    groups
        .map(|(group, number)| match group {
            Value::Object(group) => target_group(group, number),
            _ => Err(FileSdError::NotGroups),
        })
        .collect()
}

fn target_group(members: Map<String, Value>, number: usize) -> Result<TargetGroup, FileSdError> {
    let mut group = TargetGroup::default();
    for (name, value) in members {
        match name.as_str() {
            "targets" => {
                let targets = texts_of_array(value);
                group.targets = targets.ok_or(FileSdError::InvalidTargets(number))?;
            }
            "labels" => {
                let labels = texts_of_object(value);
                group.labels = labels.ok_or(FileSdError::InvalidLabels(number))?;
            }
            _ => return Err(FileSdError::UnknownMember(number, name)),
        }
    }
    group.labels.sort();
    Ok(group)
}

fn texts_of_array(value: Value) -> Option<Vec<String>> {
    match value {
        Value::Array(items) => items.into_iter().map(text).collect(),
        Value::Null => Some(Vec::new()),
        _ => None,
    }
}

fn texts_of_object(value: Value) -> Option<Vec<(String, String)>> {
    match value {
        Value::Object(members) => {
            let members = members.into_iter();
            members
                .map(|(name, value)| Some((name, text(value)?)))
                .collect()
        }
        Value::Null => Some(Vec::new()),
        _ => None,
    }
}

fn text(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_have_targets_and_labels() {
        let text = r#"[
            {"targets": ["10.0.0.1:9100", "10.0.0.2:9100"], "labels": {"job": "node", "__scheme__": "https"}},
            {"targets": ["db:9187"]},
            {"labels": null, "targets": []}
        ]"#;
        let groups = targets(text).unwrap();
        assert_eq!(groups.len(), 3);
        assert_eq!(groups[0].targets, ["10.0.0.1:9100", "10.0.0.2:9100"]);
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            groups[0].labels,
            [pair("__scheme__", "https"), pair("job", "node")]
        );
        assert_eq!(groups[1].targets, ["db:9187"]);
        assert_eq!(groups[2], TargetGroup::default());
        assert_eq!(targets("[]"), Ok(Vec::new()));
    }

    #[test]
    fn other_content_is_an_error() {
        for (text, message) in [
            (
                "",
                "invalid JSON: EOF while parsing a value at line 1 column 0",
            ),
            ("{}", "expected an array of objects"),
            (r#"["a:1"]"#, "expected an array of objects"),
            (
                r#"[{"targets": "a:1"}]"#,
                "group 1: targets: expected an array of strings",
            ),
            (
                r#"[{}, {"targets": [1]}]"#,
                "group 2: targets: expected an array of strings",
            ),
            (
                r#"[{"labels": {"a": 1}}]"#,
                "group 1: labels: expected an object of strings",
            ),
            (r#"[{"target": []}]"#, "group 1: unknown member \"target\""),
        ] {
            assert_eq!(targets(text).unwrap_err().to_string(), message);
        }
        assert!(targets(&"[".repeat(100_000)).is_err());
    }
}
