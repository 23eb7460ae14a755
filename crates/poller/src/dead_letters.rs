//! The file of dead letters: records that a sink rejected permanently, as JSON lines with the sink, its reason and the
//! record as it was. All sinks write one file, and several pollers may share it.

use std::io;
use std::path::PathBuf;

use serde::de::IgnoredAny;
use serde_json::json;

use aggregator_protocol::{RecordFormat, masking};

use super::batch::{Batch, Record};
use super::rotation::{Appender, AsyncAppender, Mode, Rotation};

/// The file.
pub struct DeadLetters(AsyncAppender);

/// The file of dead letters cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the dead letters to {}: {error}", path.display())]
pub struct DeadLetterError {
    path: PathBuf,
    #[source]
    error: io::Error,
}

/// A record that was rejected, and why.
pub struct DeadLetter<'a> {
    /// The batch of the record.
    pub batch: &'a Batch,
    /// The record.
    pub record: &'a Record,
    /// The reason in the words of the sink.
    pub reason: String,
}

impl DeadLetters {
    /// Names the file; it is created with its first line.
    pub fn new(path: PathBuf, mode: Mode) -> DeadLetters {
        let appender = Appender::new(path, Rotation::default()).with_mode(mode);
        DeadLetters(AsyncAppender::new(appender))
    }

    /// Appends dead letters. They are on the disk when it returns.
    pub async fn add(
        &mut self,
        sink: &str,
        letters: &[DeadLetter<'_>],
    ) -> Result<(), DeadLetterError> {
        if letters.is_empty() {
            return Ok(());
        }
        let mut lines = Vec::new();
        for letter in letters {
            write(&mut lines, sink, letter);
        }
        self.0.append(lines).await.map_err(|error| DeadLetterError {
            path: self.0.path().to_owned(),
            error,
        })
    }
}

fn write(lines: &mut Vec<u8>, sink: &str, letter: &DeadLetter) {
    let record = letter.record;
    let mut line = json!({
        "sink": sink,
        "reason": letter.reason,
        "node": letter.batch.node.to_string(),
        "queue": letter.batch.queue.name(),
        "id": record.id,
    });
    let text = |format| letter.batch.verbatim(record, format);
    if let Some(text) = text(RecordFormat::Line) {
        line["line"] = String::from_utf8_lossy(text).into();
    }
    let json = text(RecordFormat::Json);
    let (has_json, json) = (json.is_some(), json.unwrap_or_default());
    // Valid JSON, which is nearly every record, is copied verbatim, so that no number is rounded.
    let verbatim = serde_json::from_slice::<IgnoredAny>(json).is_ok() && !json.contains(&b'\n');
    if !verbatim && has_json {
        line["record"] = String::from_utf8_lossy(json).into();
    }
    let line = masking::json_lines(&line.to_string());
    if verbatim {
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

    #[tokio::test]
    async fn dead_letter_has_all_that_is_known_of_its_record() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("dead");
        let mut batch = Batch::new(NodeName(b"n1".to_vec()), Queue::Min);
        batch.push(7, 1, Some(br#"{"a":1.10}"#), Some(b"m a=1\n"));
        batch.push(7, 1, Some(b"no\njson"), None);
        let letter = |record| DeadLetter {
            batch: &batch,
            record,
            reason: "a\nreason".into(),
        };
        let mut dead = DeadLetters::new(path.clone(), Mode::default());
        dead.add("s", &[]).await.unwrap();
        assert!(!path.exists());
        let letters: Vec<DeadLetter> = batch.records.iter().map(letter).collect();
        dead.add("s", &letters).await.unwrap();
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
