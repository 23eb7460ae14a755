//! Splits a stream of bytes into lines. Pure. Lines are bytes, not text; the newline (with a carriage return before
//! it) is not part of them; empty ones are left out. A line longer than the limit is cut to it, so that input
//! without newlines cannot fill the memory.

/// A line and its number, from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Empty lines count, so that it is the number that an editor shows.
    pub number: u64,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// What stands between two chunks of a stream.
pub struct Splitter {
    limit: usize,
    number: u64,
    open: Vec<u8>,
    cutting: bool,
    /// Lines that were longer than the limit.
    pub cut: u64,
}

impl Splitter {
    /// Cuts lines to `limit` bytes.
    pub fn new(limit: usize) -> Splitter {
        Splitter {
            limit,
            number: 1,
            open: Vec::new(),
            cutting: false,
            cut: 0,
        }
    }

    /// Takes a chunk and hands out the lines that it ends.
    pub fn feed(&mut self, mut chunk: &[u8], mut line: impl FnMut(Line)) {
        while let Some(end) = chunk.iter().position(|byte| *byte == b'\n') {
            self.take(&chunk[..end]);
            if !self.cutting && self.open.last() == Some(&b'\r') {
                self.open.pop();
            }
            self.end(&mut line);
            chunk = &chunk[end + 1..];
        }
        self.take(chunk);
    }

    /// The stream has ended: hands out a last line without a newline.
    pub fn finish(&mut self, mut line: impl FnMut(Line)) {
        self.end(&mut line);
    }

    fn take(&mut self, bytes: &[u8]) {
        let room = self.limit - self.open.len();
        self.open.extend_from_slice(&bytes[..bytes.len().min(room)]);
        self.cutting |= bytes.len() > room;
    }

    fn end(&mut self, line: &mut impl FnMut(Line)) {
        self.cut += u64::from(std::mem::take(&mut self.cutting));
        let bytes = std::mem::take(&mut self.open);
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
        (lines, splitter.cut)
    }

    fn of(lines: &[(u64, &[u8])]) -> Vec<(u64, Vec<u8>)> {
        lines
            .iter()
            .map(|(number, bytes)| (*number, bytes.to_vec()))
            .collect()
    }

    #[test]
    fn chunks_do_not_matter() {
        let text = b"one\n\ntwo\r\nth\xffree\n\r\nlast";
        let expected = of(&[(1, b"one"), (3, b"two"), (4, b"th\xffree"), (6, b"last")]);
        assert_eq!(split(100, &[text]), (expected.clone(), 0));
        let bytes: Vec<&[u8]> = text.chunks(1).collect();
        assert_eq!(split(100, &bytes), (expected, 0));
    }

    #[test]
    fn the_end_makes_no_line_of_nothing() {
        assert_eq!(split(9, &[]), (vec![], 0));
        assert_eq!(split(9, &[b"\n\n"]), (vec![], 0));
        assert_eq!(split(9, &[b"a\n"]), (of(&[(1, b"a")]), 0));
    }

    #[test]
    fn a_carriage_return_elsewhere_stays() {
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
