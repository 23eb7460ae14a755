//! Reads lines of the text format: samples, and the words of comments.

use std::borrow::Cow;

use aggregator_protocol::number::Number;

use crate::decimal;
use crate::report::Attribute;

use super::scrape::Format;

/// The most labels of a sample.
pub(super) const MAX_LABELS: usize = 256;

/// A value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value {
    Number(Number),
    NotANumber,
    Infinite,
}

/// A sample. Its labels are elsewhere.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Line<'t> {
    pub(super) name: Cow<'t, str>,
    pub(super) value: Value,
    /// Unix milliseconds.
    pub(super) time: Option<i64>,
}

/// Reads a sample, and sets its labels. Labels without a value are left out, as in Prometheus.
pub(super) fn sample<'t>(
    line: &'t str,
    format: Format,
    labels: &mut Vec<Attribute<'t>>,
) -> Result<Line<'t>, &'static str> {
    labels.clear();
    let mut words = Words::new(line);
    let mut name = words.name().map(Cow::Borrowed);
    if name.is_some()
        && !words
            .peek()
            .is_none_or(|byte| is_blank(byte) || byte == b'{')
    {
        return Err("an invalid name");
    }
    words.skip_blanks();
    if words.skip(b'{') {
        read_labels(&mut words, &mut name, labels)?;
        words.skip_blanks();
    }
    let name = name.ok_or("no name")?;
    let value = value(words.word()).ok_or("an invalid value")?;
    words.skip_blanks();
    let mut time = None;
    if !words.is_at_end() && words.peek() != Some(b'#') {
        time = Some(format.time(words.word()).ok_or("an invalid time")?);
        words.skip_blanks();
    }
    let has_exemplar = format == Format::OpenMetrics && words.skip(b'#');
    if !has_exemplar && !words.is_at_end() {
        return Err("text after a sample");
    }
    Ok(Line { name, value, time })
}

/// Reads labels up to the closing brace. A quoted text alone is the name of the metric, if it has none yet.
fn read_labels<'t>(
    words: &mut Words<'t>,
    name: &mut Option<Cow<'t, str>>,
    labels: &mut Vec<Attribute<'t>>,
) -> Result<(), &'static str> {
    loop {
        words.skip_blanks();
        if words.skip(b'}') {
            return Ok(());
        }
        let quoted = words.quoted()?;
        let is_quoted = quoted.is_some();
        let label = quoted.or_else(|| words.name().map(Cow::Borrowed));
        let label = label
            .filter(|label| !label.is_empty())
            .ok_or("an invalid name of a label")?;
        words.skip_blanks();
        if words.skip(b'=') {
            words.skip_blanks();
            let value = words.quoted()?.ok_or("a value of a label without quotes")?;
            if labels.len() == MAX_LABELS {
                return Err("too many labels");
            }
            if !value.is_empty() {
                labels.push(Attribute { name: label, value });
            }
        } else if is_quoted && name.is_none() {
            *name = Some(label);
        } else {
            return Err("a label without a value");
        }
        words.skip_blanks();
        if !words.skip(b',') && words.peek() != Some(b'}') {
            return Err("labels without an end");
        }
    }
}

/// Parses a value as Go does.
pub(super) fn value(text: &str) -> Option<Value> {
    if let Some(number) = decimal::parse(text.as_bytes()) {
        return Some(Value::Number(number));
    }
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let is = |word: &str| unsigned.eq_ignore_ascii_case(word);
    if is("inf") || is("infinity") {
        Some(Value::Infinite)
    } else {
        text.eq_ignore_ascii_case("nan")
            .then_some(Value::NotANumber)
    }
}

impl Format {
    /// Parses a time, and returns Unix milliseconds.
    fn time(self, text: &str) -> Option<i64> {
        match self {
            Format::Text => text.parse().ok(),
            Format::OpenMetrics => {
                const MOST: f64 = (1u64 << 53) as f64;
                let ms = (decimal::parse(text.as_bytes())?.to_f64() * 1000.0).round();
                (ms.abs() <= MOST).then_some(ms as i64)
            }
        }
    }
}

/// The parts of a line.
pub(super) struct Words<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Words<'t> {
    pub(super) fn new(text: &'t str) -> Words<'t> {
        Words { text, at: 0 }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.at >= self.text.len()
    }

    fn skip(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    pub(super) fn skip_blanks(&mut self) {
        self.take_while(is_blank);
    }

    /// Reads up to a blank.
    pub(super) fn word(&mut self) -> &'t str {
        self.take_while(|byte| !is_blank(byte))
    }

    /// Returns the rest of the line.
    pub(super) fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Reads a name of a metric or label that is not in quotes.
    pub(super) fn name(&mut self) -> Option<&'t str> {
        let starts = |byte: u8| byte.is_ascii_alphabetic() || matches!(byte, b'_' | b':');
        if !self.peek().is_some_and(starts) {
            return None;
        }
        Some(self.take_while(|byte| starts(byte) || byte.is_ascii_digit()))
    }

    /// Reads a text in quotes, if there is one.
    pub(super) fn quoted(&mut self) -> Result<Option<Cow<'t, str>>, &'static str> {
        if !self.skip(b'"') {
            return Ok(None);
        }
        let start = self.at;
        let mut has_escapes = false;
        loop {
            self.take_while(|byte| !matches!(byte, b'"' | b'\\'));
            if self.peek() != Some(b'\\') {
                break;
            }
            has_escapes = true;
            self.at += 2;
        }
        let raw = self.text.get(start..self.at);
        if !self.skip(b'"') {
            return Err("a quoted text without an end");
        }
        let raw = raw.unwrap_or_default();
        Ok(Some(if has_escapes {
            unescape(raw).into()
        } else {
            raw.into()
        }))
    }

    /// Reads bytes up to one that is not accepted, which is ASCII and so at the boundary of a character.
    fn take_while(&mut self, is_accepted: impl Fn(u8) -> bool) -> &'t str {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        let len = rest.iter().position(|byte| !is_accepted(*byte));
        let start = self.at;
        self.at += len.unwrap_or(rest.len());
        self.text.get(start..self.at).unwrap_or_default()
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Resolves `\\`, `\"` and `\n`. Any other backslash stays.
fn unescape(raw: &str) -> String {
    let mut text = String::with_capacity(raw.len());
    let mut chars = raw.chars().peekable();
    while let Some(c) = chars.next() {
        let escaped = match (c, chars.peek()) {
            ('\\', Some('n')) => Some('\n'),
            ('\\', Some(next @ ('\\' | '"'))) => Some(*next),
            _ => None,
        };
        if escaped.is_some() {
            chars.next();
        }
        text.push(escaped.unwrap_or(c));
    }
    text
}
/// Removes the label `le`.
pub(super) fn remove_bound<'t>(labels: &mut Vec<Attribute<'t>>) -> Option<Cow<'t, str>> {
    let at = labels.iter().position(|label| label.name == "le")?;
    Some(labels.remove(at).value)
}
