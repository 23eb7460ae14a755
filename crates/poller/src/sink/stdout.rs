//! A sink that writes lines to standard output. A line counts as stored when it was flushed: what the reader of a pipe
//! does with it cannot be known. On a terminal, characters that control it are escaped, whatever the format.

use std::io::{self, IsTerminal, Write};

use aggregator_protocol::{RecordFormat, masking};
use async_trait::async_trait;
use tokio::task::spawn_blocking;

use crate::output;

use super::{BatchLimits, Rejection, Sink, SinkError, lines, printable_lines};

/// Standard output.
pub struct Stdout {
    format: RecordFormat,
    is_terminal: bool,
}

impl Stdout {
    /// Creates the sink.
    pub fn new(format: RecordFormat) -> Stdout {
        Stdout {
            format,
            is_terminal: io::stdout().is_terminal(),
        }
    }

    /// Encodes records as lines.
    fn encode(&self, records: &[&[u8]]) -> Vec<u8> {
        if !self.is_terminal {
            return printable_lines(records, self.format);
        }
        let escaped: Vec<String> = records
            .iter()
            .map(|record| masking::text(&String::from_utf8_lossy(record)).into_owned())
            .collect();
        let escaped: Vec<&[u8]> = escaped.iter().map(String::as_bytes).collect();
        lines(&escaped)
    }
}

#[async_trait]
impl Sink for Stdout {
    fn limits(&self) -> BatchLimits {
        BatchLimits {
            records: usize::MAX,
            bytes: 64 * 1024,
        }
    }

    async fn connect(&mut self) -> Result<String, SinkError> {
        output::check().map_err(|error| SinkError::Fatal(error.to_string()))?;
        Ok("standard output".into())
    }

    async fn write(&mut self, records: &[&[u8]]) -> Result<Vec<Rejection>, SinkError> {
        let lines = self.encode(records);
        // A reader that has stopped blocks the write.
        let write = move || {
            let mut out = io::stdout().lock();
            out.write_all(&lines).and_then(|()| out.flush())
        };
        let written = spawn_blocking(write).await;
        match written.unwrap_or_else(|error| Err(error.into())) {
            Ok(()) => Ok(Vec::new()),
            Err(error) => Err(SinkError::Fatal(format!("cannot write: {error}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped_on_a_terminal() {
        let records: [&[u8]; 2] = [b"m,tag=\x1b[2J a=1 1", b"m a=2 2"];
        let encode = |is_terminal| {
            let format = RecordFormat::Line;
            let sink = Stdout {
                format,
                is_terminal,
            };
            String::from_utf8(sink.encode(&records)).unwrap()
        };
        assert_eq!(encode(false), "m,tag=\x1b[2J a=1 1\nm a=2 2\n");
        let shown = encode(true);
        assert!(!shown.contains('\x1b'), "{shown:?}");
        assert_eq!(shown.lines().count(), 2, "{shown:?}");
    }
}
