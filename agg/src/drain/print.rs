//! Writes records, a line each, and knows for certain which of them were written: in chunks, each flushed before it
//! counts. (A pipe may still hold what its reader never reads: nothing can know of that.)

use std::io::{self, Write};

use super::fetch::Entry;

/// Bytes written to a stream between two looks at whether to stop.
pub const CHUNK: usize = 16 * 1024;

/// Writes the entries, so many bytes at a time, until `stop` says so or it fails. Returns how many were written, and what ended it.
pub fn print(
    out: &mut impl Write,
    entries: &[Entry],
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
            chunk.extend_from_slice(record.strip_suffix(b"\n").unwrap_or(record));
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
    use super::super::fetch::Queue;
    use super::*;

    fn entries(count: usize, size: usize) -> Vec<Entry> {
        let entry = |id| Entry {
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
        assert_eq!(print(&mut out, &all, CHUNK, || false).0, 2);
        assert_eq!(out, b"x\ny\n");
    }

    #[test]
    fn of_a_chunk_that_failed_nothing_counts() {
        let all = entries(100, 1023);
        let (done, result) = print(&mut Narrow(40 * 1024), &all, CHUNK, || false);
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        assert_eq!(done, 32);
        assert_eq!(print(&mut Narrow(0), &all, CHUNK, || false).0, 0);
        assert_eq!(print(&mut Narrow(usize::MAX), &all, CHUNK, || false).0, 100);
    }

    #[test]
    fn it_stops_between_chunks() {
        let looks = std::cell::Cell::new(0);
        let stop = || {
            looks.set(looks.get() + 1);
            looks.get() > 2
        };
        let (done, result) = print(&mut io::sink(), &entries(100, 1023), CHUNK, stop);
        assert!(result.is_ok());
        assert_eq!(done, 32);
    }
}
