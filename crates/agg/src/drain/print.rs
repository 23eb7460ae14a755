//! Writes records, a line each, and knows for certain which of them were written: in chunks, each flushed before it
//! counts. (A pipe may still hold what its reader never reads: nothing can know of that.)

use std::borrow::Cow;
use std::io::{self, Write};

use aggregator_protocol::masking;

use agg_client::fetch::FetchedRecord;

/// Bytes written to a stream between two looks at whether to stop.
pub const CHUNK: usize = 16 * 1024;

/// How a record is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// As it came: line protocol, which a program reads.
    Raw,
    /// As the same JSON, on one line, without a character that a terminal obeys.
    Json,
    /// For a terminal, whatever it is.
    Text,
}

impl Look {
    fn of(self, record: &[u8]) -> Cow<'_, [u8]> {
        match self {
            Look::Raw => Cow::Borrowed(record),
            Look::Json => masking::json(record),
            Look::Text => {
                let text = String::from_utf8_lossy(record);
                Cow::Owned(masking::text(&text).into_owned().into_bytes())
            }
        }
    }
}

/// Writes the entries, so many bytes at a time, until `stop` says so or it fails. Returns how many were written, and what ended it.
pub fn print(
    out: &mut impl Write,
    entries: &[FetchedRecord],
    look: Look,
    chunk_bytes: usize,
    stop: impl Fn() -> bool,
) -> (usize, io::Result<()>) {
    let mut done = 0;
    let mut chunk = Vec::new();
    while done < entries.len() && !stop() {
        chunk.clear();
        let mut end = done;
        while end < entries.len() && chunk.len() < chunk_bytes {
            let record = &entries[end].record;
            let record = record.strip_suffix(b"\n").unwrap_or(record);
            chunk.extend_from_slice(&look.of(record));
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

    fn entries(count: usize, size: usize) -> Vec<FetchedRecord> {
        let entry = |id| FetchedRecord {
            queue: Queue::Log,
            id: id as i64,
            deliveries: 1,
            record: vec![b'x'; size],
        };
        (0..count).map(entry).collect()
    }

    /// Takes so many bytes and then fails, as a pipe whose reader went.
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
    fn a_line_each() {
        let mut out = Vec::new();
        let mut all = entries(2, 1);
        all[1].record = b"y\n".to_vec();
        assert_eq!(print(&mut out, &all, Look::Raw, CHUNK, || false).0, 2);
        assert_eq!(out, b"x\ny\n");
    }

    #[test]
    fn hostile_record_reaches_no_terminal_and_begins_no_line() {
        let mut all = entries(1, 1);
        all[0].record = "m,a=\u{9b}2J v=1\x1b\nforged\n".into();
        let written = |look| {
            let mut out = Vec::new();
            assert_eq!(print(&mut out, &all, look, CHUNK, || false).0, 1);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(written(Look::Text), "m,a=\\u009b2J v=1\\u001b\\nforged\n");
        assert_eq!(written(Look::Json), "m,a=\\u009b2J v=1\\u001b forged\n");
        assert_eq!(written(Look::Raw).as_bytes(), all[0].record);
    }

    #[test]
    fn of_a_chunk_that_failed_nothing_counts() {
        let all = entries(100, 1023);
        let (done, result) = print(&mut Narrow(40 * 1024), &all, Look::Raw, CHUNK, || false);
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        assert_eq!(done, 32);
        assert_eq!(print(&mut Narrow(0), &all, Look::Raw, CHUNK, || false).0, 0);
        assert_eq!(
            print(&mut Narrow(usize::MAX), &all, Look::Raw, CHUNK, || false).0,
            100
        );
    }

    #[test]
    fn it_stops_between_chunks() {
        let looks = std::cell::Cell::new(0);
        let stop = || {
            looks.set(looks.get() + 1);
            looks.get() > 2
        };
        let (done, result) = print(&mut io::sink(), &entries(100, 1023), Look::Raw, CHUNK, stop);
        assert!(result.is_ok());
        assert_eq!(done, 32);
    }
}
