//! Prints records, one per line, and counts exactly how many were written.
//!
//! Records are written in chunks, and a chunk counts only after it was flushed. Data that stays unread in a pipe counts
//! as written, as nothing can detect that.

use std::borrow::Cow;
use std::io::{self, Write};

use agg_client::fetch::FetchedRecord;
use aggregator_protocol::masking;

use super::pretty::{self, Style};

/// Bytes written to a stream between two checks for a shutdown.
pub const CHUNK_BYTES: usize = 16 * 1024;

/// The form in which records are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rendering {
    /// The bytes of the record: line protocol for a program.
    Verbatim,
    /// Equal JSON on one line, without characters that control a terminal.
    Json,
    /// Text for a terminal, whatever the format.
    Text,
    /// A summary for people, see [`pretty`].
    Pretty(Style),
}

impl Rendering {
    fn apply(self, record: &[u8]) -> Cow<'_, [u8]> {
        match self {
            Rendering::Verbatim => Cow::Borrowed(record),
            Rendering::Json => masking::json(record),
            Rendering::Text => {
                let text = String::from_utf8_lossy(record);
                Cow::Owned(masking::text(&text).into_owned().into_bytes())
            }
            Rendering::Pretty(style) => Cow::Owned(pretty::line(record, style).into_bytes()),
        }
    }
}

/// Writes records in chunks of `chunk_bytes`, until `stop` returns true or a write fails. Returns the number of records
/// written, and the error.
pub fn print(
    out: &mut impl Write,
    records: &[FetchedRecord],
    rendering: Rendering,
    chunk_bytes: usize,
    stop: impl Fn() -> bool,
) -> (usize, io::Result<()>) {
    let mut done = 0;
    let mut chunk = Vec::new();
    while done < records.len() && !stop() {
        chunk.clear();
        let mut end = done;
        while end < records.len() && chunk.len() < chunk_bytes {
            let record = &records[end].record;
            let record = record.strip_suffix(b"\n").unwrap_or(record);
            chunk.extend_from_slice(&rendering.apply(record));
            chunk.push(b'\n');
            end += 1;
        }
        if let Err(error) = out.write_all(&chunk).and_then(|()| out.flush()) {
            return (done, Err(error));
        }
        done = end;
    }
    (done, Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use aggregator_protocol::Queue;

    fn records(count: usize, size: usize) -> Vec<FetchedRecord> {
        let record = |id| FetchedRecord {
            queue: Queue::Log,
            id: id as i64,
            deliveries: 1,
            record: vec![b'x'; size],
        };
        (0..count).map(record).collect()
    }

    /// Accepts a number of bytes and then fails, as a pipe without a reader does.
    struct Narrow(usize);

    impl Write for Narrow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = bytes.len().min(self.0);
            if taken == 0 {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            self.0 -= taken;
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn each_record_is_one_line() {
        let mut out = Vec::new();
        let mut all = records(2, 1);
        all[1].record = b"y\n".to_vec();
        assert_eq!(
            print(&mut out, &all, Rendering::Verbatim, CHUNK_BYTES, || false).0,
            2
        );
        assert_eq!(out, b"x\ny\n");
    }

    #[test]
    fn hostile_record_reaches_no_terminal_and_begins_no_line() {
        let mut all = records(1, 1);
        all[0].record = "m,a=\u{9b}2J v=1\x1b\nforged\n".into();
        let written = |rendering| {
            let mut out = Vec::new();
            assert_eq!(print(&mut out, &all, rendering, CHUNK_BYTES, || false).0, 1);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            written(Rendering::Text),
            "m,a=\\u009b2J v=1\\u001b\\nforged\n"
        );
        assert_eq!(
            written(Rendering::Json),
            "m,a=\\u009b2J v=1\\u001b forged\n"
        );
        assert_eq!(written(Rendering::Verbatim).as_bytes(), all[0].record);
    }

    #[test]
    fn failed_chunk_does_not_count() {
        let all = records(100, 1023);
        let (done, result) = print(
            &mut Narrow(40 * 1024),
            &all,
            Rendering::Verbatim,
            CHUNK_BYTES,
            || false,
        );
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        assert_eq!(done, 32);
        assert_eq!(
            print(
                &mut Narrow(0),
                &all,
                Rendering::Verbatim,
                CHUNK_BYTES,
                || false
            )
            .0,
            0
        );
        assert_eq!(
            print(
                &mut Narrow(usize::MAX),
                &all,
                Rendering::Verbatim,
                CHUNK_BYTES,
                || false
            )
            .0,
            100
        );
    }

    #[test]
    fn printing_stops_between_chunks() {
        let checks = std::cell::Cell::new(0);
        let stop = || {
            checks.set(checks.get() + 1);
            checks.get() > 2
        };
        let (done, result) = print(
            &mut io::sink(),
            &records(100, 1023),
            Rendering::Verbatim,
            CHUNK_BYTES,
            stop,
        );
        assert!(result.is_ok());
        assert_eq!(done, 32);
    }
}
