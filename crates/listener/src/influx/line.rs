//! Reads the lines of a request.
//!
//! # Invariants
//!
//! The position only grows, so the time is linear. A newline ends a line except in a string. After an error the rest of
//! the line is skipped by the same rule, so that no text in a string of an invalid line is taken for a line.

use std::borrow::Cow;

use crate::report::Attribute;

use super::value::{self, Precision, Value};

/// The most tags of a line.
pub(super) const MAX_TAGS: usize = 1_024;
/// The most fields of a line.
pub(super) const MAX_FIELDS: usize = 16_384;

const COMMA: u8 = 1;
const EQUALS: u8 = 2;
const SPACE: u8 = 4;
const NEWLINE: u8 = 8;
const RETURN: u8 = 16;

/// The class of each byte: the parts that it separates.
static CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    classes[b',' as usize] = COMMA;
    classes[b'=' as usize] = EQUALS;
    classes[b' ' as usize] = SPACE;
    classes[b'\n' as usize] = NEWLINE;
    classes[b'\r' as usize] = RETURN;
    classes
};

/// A name or a value as written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token<'t> {
    raw: &'t str,
    has_escapes: bool,
}

impl<'t> Token<'t> {
    /// Returns the text without the backslashes before commas, equals signs and spaces.
    pub(super) fn unescaped(self, escapes: &[u8]) -> Cow<'t, str> {
        if !self.has_escapes {
            return Cow::Borrowed(self.raw);
        }
        let mut text = String::with_capacity(self.raw.len());
        let mut chars = self.raw.chars().peekable();
        while let Some(c) = chars.next() {
            let is_escape = |next: &char| escapes.iter().any(|escape| char::from(*escape) == *next);
            if c != '\\' || !chars.peek().is_some_and(is_escape) {
                text.push(c);
            }
        }
        Cow::Owned(text)
    }
}

/// Characters that may be escaped in names and values of tags and in names of fields.
pub(super) const KEY_ESCAPES: &[u8] = b",= ";
/// Characters that may be escaped in a measurement.
const MEASUREMENT_ESCAPES: &[u8] = b", ";

/// A line that was read, in the reader that read it.
pub(super) struct Reader<'t> {
    text: &'t str,
    bytes: &'t [u8],
    precision: Precision,
    at: usize,
    is_in_fields: bool,
    /// The measurement.
    pub(super) measurement: Cow<'t, str>,
    /// The tags.
    pub(super) tags: Vec<Attribute<'t>>,
    /// The fields that are not strings.
    pub(super) fields: Vec<(Token<'t>, Value)>,
    /// The number of fields that are strings.
    pub(super) strings: u64,
    /// The time, Unix milliseconds.
    pub(super) time: Option<i64>,
    /// The number of the first line that was read last, from 1.
    pub(super) number: u64,
    /// The number of newlines before the position.
    newlines: u64,
}

impl<'t> Reader<'t> {
    pub(super) fn new(text: &'t str, precision: Precision) -> Reader<'t> {
        Reader {
            text,
            bytes: text.as_bytes(),
            precision,
            at: 0,
            is_in_fields: false,
            measurement: Cow::Borrowed(""),
            tags: Vec::new(),
            fields: Vec::new(),
            strings: 0,
            time: None,
            number: 0,
            newlines: 0,
        }
    }

    /// Reads the next line that is not blank and not a comment. An error is the reason, and the line.
    pub(super) fn next_line(&mut self) -> Option<Result<(), (&'static str, &'t str)>> {
        loop {
            self.skip_blanks();
            self.number = self.newlines + 1;
            let start = self.at;
            match self.peek()? {
                b'#' => self.skip_comment(),
                _ if self.is_at_end() => {}
                _ => {
                    let result = self.line();
                    if result.is_err() {
                        self.skip_line();
                    }
                    let line = self.text.get(start..self.at).unwrap_or_default();
                    self.finish_line();
                    return Some(result.map_err(|reason| (reason, line)));
                }
            }
            self.finish_line();
        }
    }

    fn line(&mut self) -> Result<(), &'static str> {
        self.is_in_fields = false;
        self.tags.clear();
        self.fields.clear();
        self.strings = 0;
        self.time = None;
        let measurement = self.token(COMMA | SPACE | NEWLINE | RETURN);
        if measurement.raw.is_empty() {
            return Err("no measurement");
        }
        self.measurement = measurement.unescaped(MEASUREMENT_ESCAPES);
        while self.skip(b',') {
            self.tag()?;
        }
        if !self.skip(b' ') {
            return Err("no fields");
        }
        self.skip_blanks();
        self.is_in_fields = true;
        loop {
            self.field()?;
            if !self.skip(b',') {
                break;
            }
        }
        self.skip_blanks();
        if self.is_at_end() {
            return Ok(());
        }
        let time = self.token(SPACE | NEWLINE | RETURN).raw;
        let time = value::parse_time(time.as_bytes(), self.precision);
        self.time = Some(time.ok_or("an invalid time")?);
        self.skip_blanks();
        let is_at_end = self.is_at_end();
        is_at_end.then_some(()).ok_or("text after the time")
    }

    fn tag(&mut self) -> Result<(), &'static str> {
        let name = self.token(COMMA | EQUALS | SPACE | NEWLINE | RETURN);
        if !self.skip(b'=') {
            return Err("a tag without a value");
        }
        let value = self.token(COMMA | EQUALS | SPACE | NEWLINE | RETURN);
        if self.peek() == Some(b'=') {
            return Err("a second = in a tag");
        }
        if name.raw.is_empty() {
            return Err("a tag without a name");
        }
        if value.raw.is_empty() {
            return Err("a tag without a value");
        }
        if self.tags.len() == MAX_TAGS {
            return Err("too many tags");
        }
        self.tags.push(Attribute {
            name: name.unescaped(KEY_ESCAPES),
            value: value.unescaped(KEY_ESCAPES),
        });
        Ok(())
    }

    fn field(&mut self) -> Result<(), &'static str> {
        let name = self.token(COMMA | EQUALS | SPACE | NEWLINE | RETURN);
        if !self.skip(b'=') {
            let is_missing = self.fields.is_empty() && self.strings == 0 && name.raw.is_empty();
            return Err(if is_missing {
                "no fields"
            } else {
                "a field without a value"
            });
        }
        if name.raw.is_empty() {
            return Err("a field without a name");
        }
        if self.skip(b'"') {
            self.string()?;
            self.strings += 1;
        } else {
            let value = self.token(COMMA | SPACE | NEWLINE | RETURN).raw;
            if value.is_empty() {
                return Err("a field without a value");
            }
            let value = value::parse(value.as_bytes()).ok_or("an invalid value")?;
            if self.fields.len() == MAX_FIELDS {
                return Err("too many fields");
            }
            self.fields.push((name, value));
        }
        match self.peek() {
            Some(b',' | b' ') => Ok(()),
            _ if self.is_at_end() => Ok(()),
            _ => Err("text after a value"),
        }
    }

    /// Skips the rest of a string and its closing quotation mark.
    fn string(&mut self) -> Result<(), &'static str> {
        while let Some(byte) = self.peek() {
            self.at += 1;
            match byte {
                b'"' => return Ok(()),
                b'\n' => self.newlines += 1,
                // A newline is counted even if it is behind a backslash.
                b'\\' if self.peek() != Some(b'\n') => self.at += 1,
                _ => {}
            }
        }
        self.at = self.bytes.len();
        Err("a string without an end")
    }

    /// Reads up to a byte of these classes. A backslash keeps the next byte from separating, whatever is before the
    /// backslash, but not a newline.
    fn token(&mut self, ends: u8) -> Token<'t> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let (mut before, mut has_escapes) = (0, false);
        let mut len = rest.len();
        for (i, byte) in rest.iter().enumerate() {
            if CLASSES[usize::from(*byte)] & ends != 0 {
                if before != b'\\' || matches!(byte, b'\n' | b'\r') {
                    len = i;
                    break;
                }
                has_escapes = true;
            }
            before = *byte;
        }
        let start = self.at;
        self.at += len;
        // Ends are ASCII, so they are at the boundaries of characters.
        let raw = self.text.get(start..self.at).unwrap_or_default();
        Token { raw, has_escapes }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn skip(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    fn skip_blanks(&mut self) {
        while let Some(b' ' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    /// Returns `true` at a newline, with or without a carriage return before it, and at the end of the input.
    fn is_at_end(&self) -> bool {
        match self.bytes.get(self.at..) {
            None | Some([] | [b'\n', ..] | [b'\r'] | [b'\r', b'\n', ..]) => true,
            Some(_) => false,
        }
    }

    fn skip_comment(&mut self) {
        let rest = self.text.get(self.at..).unwrap_or_default();
        self.at += rest.find('\n').unwrap_or(rest.len());
    }

    /// Skips the rest of a line that is invalid.
    fn skip_line(&mut self) {
        while let Some(byte) = self.peek().filter(|byte| *byte != b'\n') {
            let before = self.at.checked_sub(1).and_then(|i| self.bytes.get(i));
            self.at += 1;
            match byte {
                b' ' if before != Some(&b'\\') => self.is_in_fields = true,
                b'"' if self.is_in_fields && before == Some(&b'=') => {
                    // Without an end the string ends with the input.
                    let _ = self.string();
                }
                _ => {}
            }
        }
    }

    /// Skips the newline.
    fn finish_line(&mut self) {
        self.skip(b'\r');
        self.newlines += u64::from(self.skip(b'\n'));
    }
}
