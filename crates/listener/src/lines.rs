//! Splits a stream of bytes into lines.
//!
//! # Invariants
//!
//! - The lines depend on the bytes of the stream only, not on how they are divided into chunks.
//! - At most the maximum length of a line is buffered. A line that is within one chunk is not copied.

use memchr::memchr;

/// The buffer is released after a line if its capacity is larger, bytes: most connections never send a long line again.
const KEPT_CAPACITY: usize = 4096;

/// A line of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// A line without the newline at its end. It may be empty, and a carriage return before the newline is part of it.
    Complete(&'a [u8]),
    /// The start of a line that is longer than the maximum, as long as the maximum. The rest is dropped.
    TooLong(&'a [u8]),
}

/// Splits one stream, such as a TCP connection, into lines. A newline (`\n`) ends a line.
#[derive(Debug)]
pub struct Lines {
    max_line: usize,
    /// The start of the current line: at most `max_line` bytes.
    partial: Vec<u8>,
    /// The current line is longer than `max_line`.
    is_too_long: bool,
}

impl Lines {
    /// Creates a splitter for lines of up to `max_line` bytes, without the newline.
    pub fn new(max_line: usize) -> Lines {
        Lines {
            max_line,
            partial: Vec::new(),
            is_too_long: false,
        }
    }

    /// Takes the next bytes of the stream, and passes each line that ends in them to `each`.
    pub fn push(&mut self, chunk: &[u8], mut each: impl FnMut(Line<'_>)) {
        let mut rest = chunk;
        while let Some((line, next)) = split_line(rest) {
            if self.partial.is_empty() && !self.is_too_long {
                each(self.limited(line));
            } else {
                self.append(line);
                self.end_line(&mut each);
            }
            rest = next;
        }
        self.append(rest);
    }

    /// Ends the stream: passes the last line, if no newline ended it. The next bytes begin a new stream.
    pub fn finish(&mut self, mut each: impl FnMut(Line<'_>)) {
        if !self.partial.is_empty() || self.is_too_long {
            self.end_line(&mut each);
        }
    }

    fn limited<'a>(&self, line: &'a [u8]) -> Line<'a> {
        match line.split_at_checked(self.max_line) {
            Some((start, rest)) if !rest.is_empty() => Line::TooLong(start),
            _ => Line::Complete(line),
        }
    }

    /// Appends to the current line what fits.
    fn append(&mut self, bytes: &[u8]) {
        let free = self.max_line.saturating_sub(self.partial.len());
        let fitting = bytes.get(..free).unwrap_or(bytes);
        self.is_too_long |= fitting.len() < bytes.len();
        let needed = self.partial.len() + fitting.len();
        if needed > self.partial.capacity() {
            // Doubles as `Vec` does, but not beyond the maximum.
            let capacity = needed.max(2 * self.partial.len()).min(self.max_line);
            self.partial.reserve_exact(capacity - self.partial.len());
        }
        self.partial.extend_from_slice(fitting);
    }

    fn end_line(&mut self, each: &mut impl FnMut(Line<'_>)) {
        let line = if self.is_too_long {
            Line::TooLong(&self.partial)
        } else {
            Line::Complete(&self.partial)
        };
        each(line);
        self.is_too_long = false;
        self.partial.clear();
        if self.partial.capacity() > KEPT_CAPACITY {
            self.partial = Vec::new();
        }
    }
}

/// Splits at the first newline, which belongs to neither part.
fn split_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr(b'\n', bytes)?;
    Some((bytes.get(..end)?, bytes.get(end + 1..)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The lines of a stream that arrives in chunks: whether they are complete, and their bytes.
    fn lines(max_line: usize, chunks: &[&[u8]]) -> Vec<(bool, Vec<u8>)> {
        let mut lines = Vec::new();
        let mut each = |line: Line<'_>| match line {
            Line::Complete(line) => lines.push((true, line.to_vec())),
            Line::TooLong(start) => lines.push((false, start.to_vec())),
        };
        let mut splitter = Lines::new(max_line);
        for chunk in chunks {
            splitter.push(chunk, &mut each);
            assert!(splitter.partial.capacity() <= max_line);
        }
        splitter.finish(&mut each);
        splitter.finish(|_| panic!("a stream ends once"));
        lines
    }

    fn complete(line: &str) -> (bool, Vec<u8>) {
        (true, line.into())
    }

    fn too_long(start: &str) -> (bool, Vec<u8>) {
        (false, start.into())
    }

    #[test]
    fn newline_ends_a_line() {
        let expected = [complete("a"), complete(""), complete("b\r"), complete("c")];
        assert_eq!(lines(9, &[b"a\n\nb\r\nc"]), expected);
        assert_eq!(
            lines(9, &[b"a", b"\n\nb", b"\r", b"\n", b"", b"c\n"]),
            expected
        );
        assert_eq!(lines(9, &[]), []);
    }

    #[test]
    fn long_line_is_reported_once_and_the_next_line_is_used() {
        let expected = [complete("abc"), too_long("abc"), complete("e")];
        assert_eq!(lines(3, &[b"abc\nabcd\ne"]), expected);
        assert_eq!(lines(3, &[b"ab", b"c\nabc", b"d\ne"]), expected);
        assert_eq!(lines(3, &[b"abcdefgh", b"ijk"]), [too_long("abc")]);
        assert_eq!(lines(0, &[b"\na\n"]), [complete(""), too_long("")]);
    }

    #[test]
    fn buffer_of_a_long_line_is_released() {
        let mut splitter = Lines::new(1 << 20);
        splitter.push(&[b'a'; 10_000], |_| panic!("not a line yet"));
        splitter.push(b"\nb", |line| {
            assert_eq!(line, Line::Complete(&[b'a'; 10_000]))
        });
        assert!(splitter.partial.capacity() <= KEPT_CAPACITY);
    }

    proptest! {
        #[test]
        fn chunks_do_not_change_the_lines(
            stream in proptest::collection::vec(prop_oneof![4 => any::<u8>(), 1 => Just(b'\n')], 0..200),
            cuts in proptest::collection::vec(0usize..200, 0..20),
            max_line in 0usize..20,
        ) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(stream.len())).collect();
            cuts.extend([0, stream.len()]);
            cuts.sort_unstable();
            let chunks: Vec<&[u8]> = cuts.windows(2).map(|cut| &stream[cut[0]..cut[1]]).collect();

            let mut naive: Vec<&[u8]> = stream.split(|byte| *byte == b'\n').collect();
            if naive.last().is_some_and(|line| line.is_empty()) {
                naive.pop();
            }
            let expected: Vec<(bool, Vec<u8>)> = naive
                .into_iter()
                .map(|line| (line.len() <= max_line, line[..line.len().min(max_line)].to_vec()))
                .collect();
            prop_assert_eq!(lines(max_line, &chunks), expected.clone());
            prop_assert_eq!(lines(max_line, &[&stream]), expected);
        }
    }
}
