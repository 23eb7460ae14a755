//! The scanner: checks a text, removes its white space, and computes its identity.

use aggregator_protocol::number::is_json_number;
use std::fmt;
use xxhash_rust::xxh3::xxh3_128_with_seed;

/// The limit of the nesting of arrays and objects.
pub const MAX_DEPTH: usize = 128;

/// An error in a text, and its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JsonError {
    /// The offset of the byte at which the error was found.
    pub at: usize,
    /// Says what was expected or found.
    pub what: &'static str,
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}", self.what, self.at)
    }
}

impl std::error::Error for JsonError {}

/// The outcome of checking a valid text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scanned {
    /// The text without white space outside strings.
    pub compact: Vec<u8>,
    /// Equal for texts of the same value (XXH3 with 128 bits over a canonical form).
    pub identity: u128,
}

/// Checks a text: one value.
///
/// # Errors
/// The first error in the text.
pub fn scan(text: &[u8]) -> Result<Scanned, JsonError> {
    scan_within(text, MAX_DEPTH, true)
}

/// Checks the text of a record, which may contain one that [`scan`] has accepted as the value of a member.
///
/// # Errors
/// The first error in the text.
pub fn check_record(text: &[u8]) -> Result<(), JsonError> {
    scan_within(text, MAX_DEPTH + 1, false).map(|_| ())
}

/// Without `identifies` no identity is computed, and arrays and objects take less time.
fn scan_within(text: &[u8], max_depth: usize, identifies: bool) -> Result<Scanned, JsonError> {
    if text.starts_with("\u{feff}".as_bytes()) {
        return Err(JsonError {
            at: 0,
            what: "unexpected byte order mark",
        });
    }
    if let Err(e) = std::str::from_utf8(text) {
        return Err(JsonError {
            at: e.valid_up_to(),
            what: "invalid UTF-8",
        });
    }
    let mut scanner = Scanner {
        text,
        at: 0,
        max_depth,
        identifies,
        compact: Vec::with_capacity(text.len()),
        scratch: Vec::new(),
    };
    scanner.skip_space();
    let identity = scanner.value(0)?;
    scanner.skip_space();
    if scanner.at < text.len() {
        return Err(scanner.error("trailing characters"));
    }
    Ok(Scanned {
        compact: scanner.compact,
        identity,
    })
}

/// A text that is being scanned.
struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
    max_depth: usize,
    identifies: bool,
    compact: Vec<u8>,
    scratch: Vec<u8>,
}

/// Seeds of the hashes, so that values of different types differ.
mod kind {
    pub const LITERAL: u64 = 1;
    pub const NUMBER: u64 = 2;
    pub const STRING: u64 = 3;
    pub const ARRAY: u64 = 4;
    pub const OBJECT: u64 = 5;
}

impl Scanner<'_> {
    fn error(&self, what: &'static str) -> JsonError {
        JsonError { at: self.at, what }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Copies a byte of punctuation.
    fn take(&mut self, byte: u8) -> bool {
        let is = self.peek() == Some(byte);
        if is {
            self.at += 1;
            self.compact.push(byte);
        }
        is
    }

    /// Reads a value and returns its identity. No white space precedes it.
    fn value(&mut self, depth: usize) -> Result<u128, JsonError> {
        match self.peek() {
            Some(b'{' | b'[') if depth == self.max_depth => {
                Err(self.error("nesting deeper than 128"))
            }
            Some(b'{') => self.object(depth + 1),
            Some(b'[') => self.array(depth + 1),
            Some(b'"') => self.string(),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(_) => self.literal(),
            None => Err(self.error("unexpected end, expected a value")),
        }
    }

    fn literal(&mut self) -> Result<u128, JsonError> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        for word in [&b"true"[..], b"false", b"null"] {
            if rest.starts_with(word) {
                self.at += word.len();
                self.compact.extend_from_slice(word);
                return Ok(xxh3_128_with_seed(word, kind::LITERAL));
            }
        }
        Err(self.error("expected a value"))
    }

    fn number(&mut self) -> Result<u128, JsonError> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let len = rest
            .iter()
            .take_while(|b| matches!(b, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E'))
            .count();
        let number = rest.get(..len).unwrap_or_default();
        if !is_json_number(number) {
            return Err(self.error("invalid number"));
        }
        self.at += len;
        self.compact.extend_from_slice(number);
        Ok(xxh3_128_with_seed(number, kind::NUMBER))
    }

    fn string(&mut self) -> Result<u128, JsonError> {
        let start = self.at;
        self.at += 1;
        let mut has_escapes = false;
        self.scratch.clear();
        let mut clean = self.at;
        loop {
            match self.peek() {
                None => return Err(self.error("unterminated string")),
                Some(b'"') => break,
                Some(b'\\') => {
                    has_escapes = true;
                    let run = self.text.get(clean..self.at).unwrap_or_default();
                    self.scratch.extend_from_slice(run);
                    let c = self.escape()?;
                    self.scratch
                        .extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                    clean = self.at;
                }
                Some(0..=0x1f) => return Err(self.error("control character in a string")),
                Some(_) => self.at += 1,
            }
        }
        let run = self.text.get(clean..self.at).unwrap_or_default();
        self.at += 1;
        self.compact
            .extend_from_slice(self.text.get(start..self.at).unwrap_or_default());
        if !has_escapes {
            return Ok(xxh3_128_with_seed(run, kind::STRING));
        }
        self.scratch.extend_from_slice(run);
        Ok(xxh3_128_with_seed(&self.scratch, kind::STRING))
    }

    /// Reads an escape and returns its character.
    fn escape(&mut self) -> Result<char, JsonError> {
        let letter = self.text.get(self.at + 1).copied();
        let c = match letter {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode_escape(),
            _ => return Err(self.error("invalid escape")),
        };
        self.at += 2;
        Ok(c)
    }

    fn unicode_escape(&mut self) -> Result<char, JsonError> {
        let unit = self.code_unit(self.at)?;
        let (code, len) = match unit {
            0xd800..=0xdbff => {
                let low = self
                    .code_unit(self.at + 6)
                    .ok()
                    .filter(|low| (0xdc00..=0xdfff).contains(low));
                let low = low.ok_or(self.error("lone surrogate"))?;
                (0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00), 12)
            }
            _ => (unit, 6),
        };
        let c = char::from_u32(code).ok_or(self.error("lone surrogate"))?;
        self.at += len;
        Ok(c)
    }

    /// Returns the four hex digits of `\uXXXX` at an offset.
    fn code_unit(&self, at: usize) -> Result<u32, JsonError> {
        let digits = self
            .text
            .get(at..at + 6)
            .and_then(|e| e.strip_prefix(b"\\u"));
        let digits = digits.ok_or(self.error("invalid \\u escape"))?;
        digits.iter().try_fold(0, |code, b| {
            let digit = char::from(*b)
                .to_digit(16)
                .ok_or(self.error("invalid \\u escape"))?;
            Ok(code * 16 + digit)
        })
    }

    fn array(&mut self, depth: usize) -> Result<u128, JsonError> {
        self.take(b'[');
        self.skip_space();
        let mut items = Vec::new();
        if !self.take(b']') {
            loop {
                let value = self.value(depth)?;
                if self.identifies {
                    items.extend_from_slice(&value.to_le_bytes());
                }
                self.skip_space();
                if self.take(b']') {
                    break;
                }
                if !self.take(b',') {
                    return Err(self.error("expected ',' or ']'"));
                }
                self.skip_space();
            }
        }
        if !self.identifies {
            return Ok(0);
        }
        Ok(xxh3_128_with_seed(&items, kind::ARRAY))
    }

    fn object(&mut self, depth: usize) -> Result<u128, JsonError> {
        self.take(b'{');
        self.skip_space();
        let mut members: Vec<(u128, u128)> = Vec::new();
        if !self.take(b'}') {
            loop {
                if self.peek() != Some(b'"') {
                    return Err(self.error("expected a name"));
                }
                let name = self.string()?;
                self.skip_space();
                if !self.take(b':') {
                    return Err(self.error("expected ':'"));
                }
                self.skip_space();
                members.push((name, self.value(depth)?));
                self.skip_space();
                if self.take(b'}') {
                    break;
                }
                if !self.take(b',') {
                    return Err(self.error("expected ',' or '}'"));
                }
                self.skip_space();
            }
        }
        members.sort_unstable();
        if members.windows(2).any(|w| w[0].0 == w[1].0) {
            return Err(self.error("duplicate name in the object that ends"));
        }
        if !self.identifies {
            return Ok(0);
        }
        let bytes: Vec<u8> = members
            .iter()
            .flat_map(|(n, v)| [n.to_le_bytes(), v.to_le_bytes()])
            .flatten()
            .collect();
        Ok(xxh3_128_with_seed(&bytes, kind::OBJECT))
    }
}
