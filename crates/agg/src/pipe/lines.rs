//! Splits a stream of bytes into lines. No I/O.
//!
//! Lines are bytes, not text. The newline, and a carriage return before it, are not part of a line. Empty lines are
//! left out. A line longer than the limit is cut, so that input without newlines cannot exhaust the memory.

/// A line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The line number, from 1. Empty lines count, so that it is the number that an editor shows.
    pub number: u64,
    pub bytes: Vec<u8>,
}

/// The state between two chunks of a stream.
pub struct Splitter {
    limit: usize,
    number: u64,
    /// The beginning of the current line.
    current: Vec<u8>,
    /// True if the current line exceeded the limit.
    is_cut: bool,
    /// Number of lines that exceeded the limit.
    pub cut_lines: u64,
}

impl Splitter {
    /// Returns a splitter that cuts lines to `limit` bytes.
    pub fn new(limit: usize) -> Splitter {
        Splitter {
            limit,
            number: 1,
            current: Vec::new(),
            is_cut: false,
            cut_lines: 0,
        }
    }

    /// Splits a chunk and passes the lines that end in it to `line`.
    pub fn feed(&mut self, mut chunk: &[u8], mut line: impl FnMut(Line)) {
        while let Some(end) = chunk.iter().position(|byte| *byte == b'\n') {
            self.append(&chunk[..end]);
            if !self.is_cut && self.current.last() == Some(&b'\r') {
                self.current.pop();
            }
            self.end_line(&mut line);
            chunk = &chunk[end + 1..];
        }
        self.append(chunk);
    }

    /// Ends the stream and passes a last line without a newline to `line`.
    pub fn finish(&mut self, mut line: impl FnMut(Line)) {
        self.end_line(&mut line);
    }

    fn append(&mut self, bytes: &[u8]) {
        let available = self.limit - self.current.len();
        self.current
            .extend_from_slice(&bytes[..bytes.len().min(available)]);
        self.is_cut |= bytes.len() > available;
    }

    fn end_line(&mut self, line: &mut impl FnMut(Line)) {
        self.cut_lines += u64::from(std::mem::take(&mut self.is_cut));
        let bytes = std::mem::take(&mut self.current);
        if !bytes.is_empty() {
            line(Line {
                number: self.number,
                bytes,
            });
        }
        self.number += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(limit: usize, chunks: &[&[u8]]) -> (Vec<(u64, Vec<u8>)>, u64) {
        let (mut splitter, mut lines) = (Splitter::new(limit), Vec::new());
        let mut keep = |line: Line| lines.push((line.number, line.bytes));
        for chunk in chunks {
            splitter.feed(chunk, &mut keep);
        }
        splitter.finish(&mut keep);
        (lines, splitter.cut_lines)
    }

    fn of(lines: &[(u64, &[u8])]) -> Vec<(u64, Vec<u8>)> {
        lines
            .iter()
            .map(|(number, bytes)| (*number, bytes.to_vec()))
            .collect()
    }

    #[test]
    fn lines_do_not_depend_on_chunks() {
        let text = b"one\n\ntwo\r\nth\xffree\n\r\nlast";
        let expected = of(&[(1, b"one"), (3, b"two"), (4, b"th\xffree"), (6, b"last")]);
        assert_eq!(split(100, &[text]), (expected.clone(), 0));
        let bytes: Vec<&[u8]> = text.chunks(1).collect();
        assert_eq!(split(100, &bytes), (expected, 0));
    }

    #[test]
    fn end_of_the_stream_adds_no_empty_line() {
        assert_eq!(split(9, &[]), (vec![], 0));
        assert_eq!(split(9, &[b"\n\n"]), (vec![], 0));
        assert_eq!(split(9, &[b"a\n"]), (of(&[(1, b"a")]), 0));
    }

    #[test]
    fn carriage_return_within_a_line_is_kept() {
        assert_eq!(
            split(9, &[b"a\rb\r\r\nc\r"]).0,
            of(&[(1, b"a\rb\r"), (2, b"c\r")])
        );
    }

    #[test]
    fn long_lines_are_cut_and_counted() {
        assert_eq!(
            split(4, &[b"1234\n12345\n12", b"345678", b"9\nab"]),
            (
                of(&[(1, b"1234"), (2, b"1234"), (3, b"1234"), (4, b"ab")]),
                2
            )
        );
        assert_eq!(split(4, &[b"123\r\r\n"]), (of(&[(1, b"123\r")]), 1));
    }
}
