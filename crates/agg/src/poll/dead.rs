//! Where records go that a sink refuses for good: a file of JSON lines, each with the sink, its reason, and the record
//! as it was. One file for all sinks; several pollers may share it.

use std::io;
use std::path::PathBuf;

use serde::de::IgnoredAny;
use serde_json::json;

use aggregator_protocol::masking;

use super::append::{Appender, Mode};
use super::aside::Rotation;
use super::batch::{Batch, Record};

/// The file.
pub struct DeadLetters(Appender);

/// A record and why it was refused.
pub struct Refusal<'a> {
    /// The batch that it is of.
    pub batch: &'a Batch,
    /// The record.
    pub record: &'a Record,
    /// The sink's words.
    pub reason: String,
}

impl DeadLetters {
    /// The file, which is made with its first line.
    pub fn new(path: PathBuf, mode: Mode) -> DeadLetters {
        DeadLetters(Appender::new(path, Rotation::default()).with_mode(mode))
    }

    /// Sets records aside; when it returns they are on the disk.
    pub fn add(&mut self, sink: &str, refusals: &[Refusal]) -> Result<(), String> {
        if refusals.is_empty() {
            return Ok(());
        }
        let mut lines = Vec::new();
        for refusal in refusals {
            write(&mut lines, sink, refusal);
        }
        self.0.append(&lines).map_err(|error: io::Error| {
            let path = self.0.path().display();
            format!("cannot write the dead letters to {path}: {error}")
        })
    }
}

fn write(lines: &mut Vec<u8>, sink: &str, refusal: &Refusal) {
    let record = refusal.record;
    let mut line = json!({
        "sink": sink,
        "reason": refusal.reason,
        "node": refusal.batch.node.to_string(),
        "queue": refusal.batch.queue.name(),
        "id": record.id,
    });
    if let Some(text) = &record.line {
        line["line"] = String::from_utf8_lossy(text).into();
    }
    let json = record.json.as_deref().unwrap_or_default();
    // To the letter where it is JSON, as nearly always: no number is to be rounded.
    let whole = serde_json::from_slice::<IgnoredAny>(json).is_ok() && !json.contains(&b'\n');
    if !whole && record.json.is_some() {
        line["record"] = String::from_utf8_lossy(json).into();
    }
    let line = masking::json_lines(&line.to_string());
    if whole {
        lines.extend_from_slice(&line.as_bytes()[..line.len() - 1]);
        lines.extend_from_slice(b",\"record\":");
        lines.extend_from_slice(&masking::json(json));
        lines.extend_from_slice(b"}\n");
    } else {
        lines.extend_from_slice(line.as_bytes());
        lines.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aggregator_protocol::NodeName;
    use aggregator_protocol::Queue;

    #[test]
    fn a_line_for_each_with_all_that_is_known() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("dead");
        let batch = Batch {
            node: NodeName(b"n1".to_vec()),
            queue: Queue::Min,
            records: vec![],
        };
        let record = |json: &str, line: Option<&str>| Record {
            id: 7,
            deliveries: 1,
            json: Some(json.as_bytes().to_vec()),
            line: line.map(|text| text.as_bytes().to_vec()),
        };
        let records = [
            record(r#"{"a":1.10}"#, Some("m a=1\n")),
            record("no\njson", None),
        ];
        let refusal = |record| Refusal {
            batch: &batch,
            record,
            reason: "a\nreason".into(),
        };
        let mut dead = DeadLetters::new(path.clone(), Mode::default());
        dead.add("s", &[]).unwrap();
        assert!(!path.exists());
        let refusals: Vec<Refusal> = records.iter().map(refusal).collect();
        dead.add("s", &refusals).unwrap();
        let text = std::fs::read_to_string(path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let head = r#"{"id":7,"line":"m a=1\n","node":"n1","queue":"MIN","reason":"a\nreason""#;
        assert_eq!(
            lines[0],
            format!(r#"{head},"sink":"s","record":{{"a":1.10}}}}"#)
        );
        let head = r#"{"id":7,"node":"n1","queue":"MIN","reason":"a\nreason""#;
        assert_eq!(
            lines[1..],
            [format!(r#"{head},"record":"no\njson","sink":"s"}}"#)]
        );
    }
}
