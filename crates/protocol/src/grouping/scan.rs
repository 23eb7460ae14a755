//! Finds the parts of a message that vary, in one pass.
//!
//! A message is a sequence of spaces, quoted texts, delimiters and chunks. A chunk is split at slashes into segments, and
//! a segment into words.

use super::output::Output;
use super::shape::{
    begins_date, has_digit, is_base64, is_file_path, is_hex_segment, is_host_name,
    is_name_of_address, is_other,
};
use super::words::{
    follows_user, is_chunk, is_method, is_quote, is_space, is_unit, is_url, is_varying_attribute,
    is_word,
};

/// A segment with this many words with digits varies as a whole.
const MANY: usize = 3;

/// Normalizes a message.
pub struct Scanner<'a> {
    text: &'a str,
    at: usize,
    output: Output,
    /// The chunk before, and where it ended, if only spaces followed.
    previous: &'a str,
    previous_end: usize,
    /// Only spaces followed a number.
    after_number: bool,
    /// The character before is the `=` of an attribute that varies.
    is_value: bool,
    /// The last two characters that are no spaces, the newer last.
    last: [u8; 2],
    /// The end of a quoted text whose content is not masked.
    closing: usize,
    /// Kinds of quotes that have ended.
    missing: [bool; 3],
}

impl<'a> Scanner<'a> {
    pub fn new(text: &'a str) -> Scanner<'a> {
        Scanner {
            text,
            at: 0,
            output: Output::default(),
            previous: "",
            previous_end: 0,
            after_number: false,
            is_value: false,
            last: [0; 2],
            closing: usize::MAX,
            missing: [false; 3],
        }
    }

    pub fn normalize(mut self) -> String {
        while let Some(byte) = self.byte(self.at) {
            if is_space(byte) {
                self.output.space = true;
                self.is_value = false;
                self.at += 1;
            } else if is_chunk(byte) {
                self.chunk();
            } else if is_quote(byte) {
                self.quote(byte);
            } else {
                self.delimiter(byte);
            }
        }
        self.output.text
    }

    fn byte(&self, at: usize) -> Option<u8> {
        self.text.as_bytes().get(at).copied()
    }

    fn slice(&self, from: usize, to: usize) -> &'a str {
        self.text.get(from..to).unwrap_or_default()
    }

    /// Returns the end of the bytes from `at` that are of a kind.
    fn skip(&self, at: usize, is_kind: fn(u8) -> bool) -> usize {
        let rest = self.text.as_bytes().get(at..).unwrap_or_default();
        let len = rest.iter().position(|byte| !is_kind(*byte));
        at + len.unwrap_or(rest.len())
    }

    /// Continues after something that is neither a space nor a chunk.
    fn advance(&mut self, to: usize) {
        self.previous = "";
        self.after_number = false;
        self.is_value = false;
        if let Some(byte) = self.byte(to.wrapping_sub(1)) {
            self.last = [self.last[1], byte];
        }
        self.at = to;
    }

    fn delimiter(&mut self, byte: u8) {
        let is_name = byte == b'=' && self.previous_end == self.at;
        let is_value = is_name && is_varying_attribute(self.previous);
        self.output.push(self.slice(self.at, self.at + 1));
        self.advance(self.at + 1);
        self.is_value = is_value;
    }

    fn quote(&mut self, quote: u8) {
        let start = self.at;
        let end = self.closing_quote(quote);
        let is_structure = end.is_some_and(|end| self.is_structure(end));
        match end {
            Some(end) if !is_structure => {
                self.output.mask();
                self.advance(end + 1);
            }
            _ => {
                self.closing = end.unwrap_or(self.closing);
                self.output.push(self.slice(start, start + 1));
                self.advance(start + 1);
            }
        }
    }

    /// Returns the end of the quoted text that begins here, or none if none does.
    fn closing_quote(&mut self, quote: u8) -> Option<usize> {
        let before = self.at.checked_sub(1).and_then(|at| self.byte(at));
        let is_inside = |byte: u8| is_word(byte) || matches!(byte, b'_' | b'\\');
        let kind = match quote {
            b'"' => 0,
            b'\'' => 1,
            _ => 2,
        };
        if before.is_some_and(is_inside) || self.at == self.closing || self.missing[kind] {
            return None;
        }
        let bytes = self.text.as_bytes();
        let is_closing = |at: &usize| {
            bytes.get(*at) == Some(&quote) && bytes.get(at.wrapping_sub(1)) != Some(&b'\\')
        };
        let end = (self.at + 1..bytes.len()).find(is_closing);
        self.missing[kind] = end.is_none();
        let follows = |end: &usize| self.byte(end + 1);
        end.filter(|end| !follows(end).is_some_and(|byte| is_word(byte) || byte == b'_'))
    }

    /// Returns whether the quoted text that begins here is a member or a value of JSON or logfmt.
    fn is_structure(&self, end: usize) -> bool {
        let [before, last] = self.last;
        let is_adjacent = self.byte(self.at.wrapping_sub(1)) == Some(last);
        match last {
            b'=' => is_adjacent && !self.is_value,
            b':' => is_adjacent || is_quote(before),
            b'{' | b',' => self.byte(end + 1) == Some(b':'),
            _ => false,
        }
    }

    fn chunk(&mut self) {
        let start = self.at;
        let end = self.skip(start, is_chunk);
        if self.url(start, end) {
            return;
        }
        let whole = self.slice(start, end);
        let body = whole.trim_end_matches(['.', ':', '!', '?']);
        let tail = whole.get(body.len()..).unwrap_or_default();
        let is_unit = self.after_number && is_unit(body);
        let mut is_number = false;
        let written = self.output.text.len();
        if is_unit {
            self.output.space = false;
        } else if self.varies(body, end, tail.is_empty()) {
            self.output.mask();
        } else {
            self.address(body);
            let digits = body.trim_start_matches(['-', '+']);
            is_number = digits.starts_with(|first: char| first.is_ascii_digit());
        }
        self.output.end_chunk(written);
        is_number &= tail.is_empty() && self.output.ends_masked();
        self.output.push(tail);
        self.advance(end);
        self.after_number = is_number;
        if tail.is_empty() && !is_unit {
            (self.previous, self.previous_end) = (body, end);
        }
    }

    /// Masks the URL that begins here, if one does.
    fn url(&mut self, start: usize, end: usize) -> bool {
        let scheme = self.slice(start, end).find("://");
        let has_scheme = scheme.and_then(|len| self.byte((start + len).wrapping_sub(1)));
        if scheme == Some(0) || !has_scheme.is_some_and(|last| last.is_ascii_alphanumeric()) {
            return false;
        }
        let end = self.skip(start, is_url);
        let url = self.slice(start, end);
        let url = url.trim_end_matches(['.', ':', '!', '?', ',', ';']);
        self.output.mask();
        self.advance(start + url.len());
        true
    }

    /// Returns whether a chunk varies as a whole, with the text around it or as a path or the name of a host.
    fn varies(&self, body: &str, end: usize, is_whole: bool) -> bool {
        if body.is_empty() {
            return false;
        }
        if self.is_value || is_host_name(body) || is_base64(body) {
            return true;
        }
        if is_file_path(body, is_method(self.previous)) {
            return true;
        }
        let rest = self.slice(end, self.text.len());
        if self.is_boolean(body) {
            return true;
        }
        let is_name = body.bytes().next().is_some_and(is_word) && !follows_user(body);
        if self.previous.eq_ignore_ascii_case("user") && is_name {
            return true;
        }
        if !is_whole {
            return false;
        }
        let is_between = self.previous == "for" && rest.starts_with(" from ");
        is_between || begins_date(body, rest) || is_name_of_address(body, rest)
    }

    /// Returns whether a chunk is true or false, and a value.
    fn is_boolean(&self, body: &str) -> bool {
        matches!(self.last[1], b':' | b'=') && matches!(body, "true" | "false" | "True" | "False")
    }

    /// Writes a chunk that may be an e-mail address or the identity of an object, such as `Foo@1b2c3d`.
    fn address(&mut self, body: &str) {
        let parts = body.rsplit_once('@').filter(|(name, place)| {
            name.bytes().next_back().is_some_and(is_word)
                && place.bytes().next().is_some_and(is_word)
        });
        let Some((name, place)) = parts else {
            return self.segments(body);
        };
        let is_hex = place.len() <= 8 && place.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_hex && has_digit(place) {
            self.segments(name);
            self.output.push("@");
        }
        self.output.mask();
    }

    fn segments(&mut self, body: &str) {
        for (index, segment) in body.split('/').enumerate() {
            if index > 0 {
                self.output.push("/");
            }
            self.segment(segment);
        }
    }

    fn segment(&mut self, segment: &str) {
        if !has_digit(segment) {
            return self.output.push(segment);
        }
        if is_hex_segment(segment) {
            return self.output.mask();
        }
        let is_varying = segment
            .split(is_other)
            .filter(|word| has_digit(word))
            .nth(MANY - 1)
            .is_some();
        if is_varying {
            let words = segment.trim_start_matches(is_other);
            let head = segment.get(..segment.len() - words.len());
            self.punctuation(head.unwrap_or_default(), words, false);
            let end = words.trim_end_matches(is_other).len();
            self.output.mask();
            return self.output.push(words.get(end..).unwrap_or_default());
        }
        let (mut rest, mut is_after_word) = (segment, false);
        while !rest.is_empty() {
            let words = rest.trim_start_matches(is_other);
            let head = rest.get(..rest.len() - words.len()).unwrap_or_default();
            self.punctuation(head, words, is_after_word);
            let len = words.find(is_other).unwrap_or(words.len());
            let (word, after) = words.split_at_checked(len).unwrap_or((words, ""));
            self.word(word);
            (rest, is_after_word) = (after, true);
        }
    }

    /// Writes what is between two words, without the sign of a number.
    fn punctuation(&mut self, between: &str, next: &str, is_after_word: bool) {
        let is_digit = next.starts_with(|first: char| first.is_ascii_digit());
        let is_signed = is_digit && (!is_after_word || between.len() > 1);
        let sign = between.strip_suffix(['-', '+']).filter(|_| is_signed);
        self.output.push(sign.unwrap_or(between));
    }

    fn word(&mut self, word: &str) {
        let is_digit = |c: char| c.is_ascii_digit();
        let Some(start) = word.find(is_digit) else {
            return self.output.push(word);
        };
        let (head, digits) = word.split_at_checked(start).unwrap_or(("", word));
        let tail = digits.trim_start_matches(is_digit);
        let is_hex = word.bytes().all(|byte| byte.is_ascii_hexdigit());
        let is_id = is_hex && (head.is_empty() || word.len() >= 6) || has_digit(tail);
        let is_number = head.is_empty() && (is_unit(tail) || digits.starts_with("0x"));
        if is_id || is_number {
            return self.output.mask();
        }
        self.output.push(head);
        self.output.mask();
        self.output.push(tail);
    }
}
