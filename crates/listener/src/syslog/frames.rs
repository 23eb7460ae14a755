//! Splits the bytes of a connection into messages (RFC 6587, <https://www.rfc-editor.org/rfc/rfc6587#section-3.4>).
//!
//! # Invariants
//!
//! - The same bytes make the same messages, however they are split into chunks.
//! - At most the maximum size of a message is buffered, and nothing of a message that is larger.

/// Maximum digits of a length, and bytes that are needed to find out the framing: digits, a space, and `<`.
const MAX_DIGITS: usize = 10;
/// Bytes of a buffer that is kept for the next message.
const KEPT: usize = 16 * 1024;

/// The bytes of a connection are not messages: a frame does not begin with its length. What follows cannot be read, so
/// the connection has to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidFrame;

impl std::fmt::Display for InvalidFrame {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a frame does not begin with its length")
    }
}

impl std::error::Error for InvalidFrame {}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    /// The framing is not known. What was received is buffered.
    Unknown,
    /// Messages end with a newline or a zero byte. The buffer has the start of one.
    Lines,
    /// The rest of a line that is too long is skipped.
    SkipLine,
    /// The length of the next message, as far as it was received.
    Length { value: u64, digits: usize },
    /// That many bytes of a message are missing. The buffer has its start.
    Octets(u64),
    /// That many bytes of a message that is too large are skipped.
    SkipOctets(u64),
    /// A frame was invalid.
    Invalid,
}

/// The messages of one connection. A connection whose first bytes are a length, a space and `<` counts octets; in others
/// messages end with a newline or a zero byte.
#[derive(Debug)]
pub struct Frames {
    state: State,
    buffer: Vec<u8>,
    max: usize,
    oversized: u64,
    incomplete: u64,
}

impl Frames {
    /// Creates the decoder of a connection. Larger messages than `max_message` bytes are skipped.
    pub fn new(max_message: usize) -> Frames {
        Frames {
            state: State::Unknown,
            buffer: Vec::new(),
            max: max_message,
            oversized: 0,
            incomplete: 0,
        }
    }

    /// Returns the number of messages that were skipped because they are larger than the maximum.
    pub fn oversized(&self) -> u64 {
        self.oversized
    }

    /// Returns the number of messages of which the end was not received, although their length was.
    pub fn incomplete(&self) -> u64 {
        self.incomplete
    }

    /// Takes received bytes, and calls `each` with each message that is complete, without what ends it.
    ///
    /// # Errors
    /// A frame is invalid, in this chunk or before. Messages before it have been passed on.
    pub fn push(&mut self, chunk: &[u8], each: &mut impl FnMut(&[u8])) -> Result<(), InvalidFrame> {
        if self.state == State::Unknown {
            return self.detect(chunk, each);
        }
        self.take(chunk, each);
        match self.state {
            State::Invalid => Err(InvalidFrame),
            _ => Ok(()),
        }
    }

    /// Ends the connection, and passes on a message of which only the start was received.
    pub fn finish(&mut self, each: &mut impl FnMut(&[u8])) {
        let counted = matches!(self.state, State::Octets(_));
        self.incomplete += u64::from(counted);
        match self.state {
            State::Unknown => {
                self.state = State::Lines;
                let start = std::mem::take(&mut self.buffer);
                self.take(&start, each);
                self.pass_buffer(each);
            }
            State::Lines | State::Octets(_) => self.pass_buffer(each),
            State::SkipLine | State::Length { .. } | State::SkipOctets(_) | State::Invalid => {}
        }
        self.state = State::Invalid;
        self.buffer = Vec::new();
    }

    /// Finds out the framing, and takes what was received.
    fn detect(&mut self, chunk: &[u8], each: &mut impl FnMut(&[u8])) -> Result<(), InvalidFrame> {
        let missing = (MAX_DIGITS + 2).saturating_sub(self.buffer.len());
        let (start, rest) = chunk.split_at_checked(missing).unwrap_or((chunk, b""));
        self.buffer.extend_from_slice(start);
        let Some(counts_octets) = counts_octets(&self.buffer) else {
            return Ok(());
        };
        self.state = match counts_octets {
            true => State::Length {
                value: 0,
                digits: 0,
            },
            false => State::Lines,
        };
        let start = std::mem::take(&mut self.buffer);
        self.push(&start, each)?;
        self.push(rest, each)
    }

    fn take(&mut self, chunk: &[u8], each: &mut impl FnMut(&[u8])) {
        let mut rest = chunk;
        while !rest.is_empty() {
            rest = match self.state {
                State::Unknown | State::Lines => self.line(rest, each),
                State::SkipLine => self.skip_line(rest),
                State::Length { value, digits } => self.length(rest, value, digits),
                State::Octets(missing) => self.octets(rest, missing, each),
                State::SkipOctets(missing) => {
                    let (skipped, after) = split_octets(rest, missing);
                    self.skip_octets(missing - skipped.len() as u64);
                    after
                }
                State::Invalid => return,
            };
        }
    }

    fn line<'a>(&mut self, text: &'a [u8], each: &mut impl FnMut(&[u8])) -> &'a [u8] {
        let end = text.iter().position(is_line_end);
        let line = end.and_then(|end| text.get(..end)).unwrap_or(text);
        let is_complete = end.is_some();
        let after = text.get(line.len() + 1..).unwrap_or_default();
        if self.buffer.len() + line.len() > self.max {
            self.oversized += 1;
            self.clear_buffer();
            self.state = if is_complete {
                State::Lines
            } else {
                State::SkipLine
            };
        } else if !is_complete {
            self.buffer.extend_from_slice(line);
        } else if self.buffer.is_empty() {
            pass(line, each);
        } else {
            self.buffer.extend_from_slice(line);
            self.pass_buffer(each);
        }
        after
    }

    fn skip_line<'a>(&mut self, text: &'a [u8]) -> &'a [u8] {
        match text.iter().position(is_line_end) {
            Some(end) => {
                self.state = State::Lines;
                text.get(end + 1..).unwrap_or_default()
            }
            None => b"",
        }
    }

    /// Takes one byte of a length. Some senders end messages with a newline that they do not count.
    fn length<'a>(&mut self, text: &'a [u8], value: u64, digits: usize) -> &'a [u8] {
        let Some((byte, after)) = text.split_first() else {
            return b"";
        };
        self.state = match byte {
            b'\n' | b'\r' | 0 if digits == 0 => self.state,
            b'0' if digits == 0 => State::Invalid,
            b'0'..=b'9' if digits < MAX_DIGITS => State::Length {
                value: value * 10 + u64::from(byte - b'0'),
                digits: digits + 1,
            },
            b' ' if digits > 0 && value > self.max as u64 => {
                self.oversized += 1;
                State::SkipOctets(value)
            }
            b' ' if digits > 0 => State::Octets(value),
            _ => State::Invalid,
        };
        after
    }

    fn octets<'a>(
        &mut self,
        text: &'a [u8],
        missing: u64,
        each: &mut impl FnMut(&[u8]),
    ) -> &'a [u8] {
        let (found, after) = split_octets(text, missing);
        let still_missing = missing - found.len() as u64;
        if still_missing > 0 {
            self.buffer.extend_from_slice(found);
            self.state = State::Octets(still_missing);
            return after;
        }
        self.state = State::Length {
            value: 0,
            digits: 0,
        };
        if self.buffer.is_empty() {
            pass(found, each);
        } else {
            self.buffer.extend_from_slice(found);
            self.pass_buffer(each);
        }
        after
    }

    fn skip_octets(&mut self, missing: u64) {
        self.state = match missing {
            0 => State::Length {
                value: 0,
                digits: 0,
            },
            _ => State::SkipOctets(missing),
        };
    }

    fn pass_buffer(&mut self, each: &mut impl FnMut(&[u8])) {
        pass(&self.buffer, each);
        self.clear_buffer();
    }

    fn clear_buffer(&mut self) {
        self.buffer.clear();
        self.buffer.shrink_to(KEPT);
    }
}

/// Passes a message on. Empty lines are none.
fn pass(message: &[u8], each: &mut impl FnMut(&[u8])) {
    if !matches!(message, b"" | b"\r") {
        each(message);
    }
}

fn is_line_end(byte: &u8) -> bool {
    matches!(byte, b'\n' | 0)
}

/// Splits text behind that many bytes, or at its end.
fn split_octets(text: &[u8], count: u64) -> (&[u8], &[u8]) {
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    text.split_at_checked(count).unwrap_or((text, b""))
}

/// Returns whether a connection that begins with these bytes counts octets, or none if more bytes have to be known.
fn counts_octets(start: &[u8]) -> Option<bool> {
    let digits = start
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    let rest = start.get(digits..).unwrap_or_default();
    let is_number = start.first().is_none_or(|first| *first != b'0') && digits <= MAX_DIGITS;
    match rest {
        [] | [b' '] if is_number => None,
        [b' ', b'<', ..] => Some(is_number && digits > 0),
        _ => Some(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Returns the messages of chunks, the number of oversized ones, and whether all frames are valid.
    fn split<'a>(
        max: usize,
        chunks: impl IntoIterator<Item = &'a [u8]>,
    ) -> (Vec<Vec<u8>>, u64, bool) {
        let mut frames = Frames::new(max);
        let mut messages = Vec::new();
        let mut each = |message: &[u8]| messages.push(message.to_vec());
        let mut is_valid = true;
        for chunk in chunks {
            is_valid &= frames.push(chunk, &mut each).is_ok();
            assert!(frames.buffer.len() <= max.max(MAX_DIGITS + 2));
        }
        frames.finish(&mut each);
        (messages, frames.oversized(), is_valid)
    }

    fn messages(max: usize, bytes: &[u8]) -> (Vec<String>, u64, bool) {
        let (messages, oversized, is_valid) = split(max, [bytes]);
        let text = |message: &Vec<u8>| String::from_utf8_lossy(message).into_owned();
        (messages.iter().map(text).collect(), oversized, is_valid)
    }

    fn are(found: (Vec<String>, u64, bool), expected: &[&str], oversized: u64, is_valid: bool) {
        assert_eq!(
            found,
            (
                expected.iter().map(|text| (*text).to_owned()).collect(),
                oversized,
                is_valid
            )
        );
    }

    #[test]
    fn octets_are_counted() {
        are(
            messages(99, b"4 <1>a5 <2>\nb"),
            &["<1>a", "<2>\nb"],
            0,
            true,
        );
        are(
            messages(99, b"4 <1>a\n4 <2>b\r\n"),
            &["<1>a", "<2>b"],
            0,
            true,
        );
        are(messages(99, b"4 <1>a9 <2>"), &["<1>a", "<2>"], 0, true);
        let mut frames = Frames::new(9);
        frames.push(b"4 <1>", &mut |_| ()).unwrap();
        frames.finish(&mut |_| ());
        assert_eq!(frames.incomplete(), 1);
    }

    #[test]
    fn messages_end_with_a_newline_or_a_zero_byte() {
        are(
            messages(99, b"<1>a\n<2>b\0\n\r\n<3>c\r\n<4>"),
            &["<1>a", "<2>b", "<3>c\r", "<4>"],
            0,
            true,
        );
        are(
            messages(99, b"2026-12-01 x\n12 y\n"),
            &["2026-12-01 x", "12 y"],
            0,
            true,
        );
        are(messages(99, b"17"), &["17"], 0, true);
        are(messages(99, b"17 \n"), &["17 "], 0, true);
        are(
            messages(99, b"123456789012345 <1>"),
            &["123456789012345 <1>"],
            0,
            true,
        );
        are(messages(99, b""), &[], 0, true);
    }

    #[test]
    fn oversized_messages_are_counted_and_skipped() {
        are(
            messages(4, b"<1>a\n<1>ab\n<2>b\n"),
            &["<1>a", "<2>b"],
            1,
            true,
        );
        are(
            messages(4, b"4 <1>a5 <1>ab4 <2>b"),
            &["<1>a", "<2>b"],
            1,
            true,
        );
        are(messages(4, b"9999999999 <1>ab4 <2>b"), &[], 1, true);
        are(messages(4, b"<1>abc"), &[], 1, true);
    }

    #[test]
    fn connection_ends_with_an_invalid_frame() {
        are(messages(99, b"4 <1>ax <2>b"), &["<1>a"], 0, false);
        are(messages(99, b"4 <1>a0 <2>b"), &["<1>a"], 0, false);
        are(messages(99, b"4 <1>a12345678901 <2>"), &["<1>a"], 0, false);
        are(messages(99, b"4 <1>a <2>"), &["<1>a"], 0, false);
        let mut frames = Frames::new(9);
        assert_eq!(frames.push(b"4 <1>ax", &mut |_| ()), Err(InvalidFrame));
        assert_eq!(
            frames.push(b"4 <1>a", &mut |_| panic!("read")),
            Err(InvalidFrame)
        );
    }

    proptest! {
        #[test]
        fn chunks_do_not_matter(
            bytes in "[<>a1 0-9\n\0\r]{0,60}|([1-9] <[1-9a\n]{0,9}){0,9}",
            sizes in prop::collection::vec(1usize..9, 1..20),
            max in 1usize..20,
        ) {
            let bytes = bytes.as_bytes();
            let mut chunks = Vec::new();
            let mut rest = bytes;
            for size in sizes.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (chunk, after) = rest.split_at(rest.len().min(*size));
                chunks.push(chunk);
                rest = after;
            }
            prop_assert_eq!(split(max, chunks), split(max, [bytes]));
        }

        #[test]
        fn frames_of_both_kinds_contain_what_was_sent(texts in prop::collection::vec("<[a-z ]{1,30}", 1..9)) {
            let lines: String = texts.iter().map(|text| format!("{text}\n")).collect();
            let counted: String = texts.iter().map(|text| format!("{} {text}", text.len())).collect();
            for bytes in [lines, counted] {
                let (found, oversized, is_valid) = messages(99, bytes.as_bytes());
                prop_assert_eq!(&found, &texts);
                prop_assert!(oversized == 0 && is_valid);
            }
        }
    }
}
