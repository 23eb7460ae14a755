//! Events of DogStatsD: `_e{title length,text length}:title|text|d:time|h:host|k:key|p:priority|s:source|t:type|#tags`.

use std::borrow::Cow;

use aggregator_protocol::{level, number};

use super::fields::{Attributes, add_tags, fields, is_origin, split};
use crate::decimal;
use crate::report::{Attribute, LogRecord, Receiver};

/// The start of an event.
pub(super) const START: &[u8] = b"_e{";

/// The level of a warning.
const WARNING: u8 = 5;
/// The level of events of low priority that are neither errors nor warnings.
const LOW: u8 = 1;

/// Parses a line that begins with [`START`]. The lengths are of bytes, so bytes that are not UTF-8 are repaired later.
pub(super) fn parse(line: &[u8], receiver: &mut impl Receiver) {
    let Some((title, text, rest)) = split_texts(line) else {
        receiver.invalid("an event with invalid lengths", line);
        return;
    };
    let (title, text) = (unescaped(title), unescaped(text));
    let message = match (title.is_empty(), text.is_empty()) {
        (true, true) => {
            receiver.invalid("an event without text", line);
            return;
        }
        (false, true) => title,
        (true, false) => text,
        (false, false) => Cow::Owned(format!("{title}: {text}")),
    };
    let rest = String::from_utf8_lossy(rest);
    let mut attributes = Attributes::new();
    let (mut host, mut source, mut key) = (None, None, None);
    let (mut alert, mut is_low, mut at) = (level::INFO, false, None);
    for field in fields(&rest) {
        if let Some(tags) = field.strip_prefix('#') {
            add_tags(tags, &mut attributes, receiver);
            continue;
        }
        if is_origin(field) {
            continue;
        }
        match split(field, b':') {
            Some(("d", seconds)) => match decimal::unix_seconds(seconds.as_bytes()) {
                Some(time) => at = Some(time),
                None => receiver.invalid("an invalid timestamp", field.as_bytes()),
            },
            Some(("h", value)) => host = Some(value),
            Some(("k", value)) => key = Some(value),
            Some(("s", value)) => source = Some(value),
            Some(("p", "low")) => is_low = true,
            Some(("p", "normal")) => is_low = false,
            Some(("t", "error")) => alert = level::ERROR,
            Some(("t", "warning")) => alert = WARNING,
            Some(("t", "info" | "success")) => alert = level::INFO,
            _ => receiver.invalid("an unknown field", field.as_bytes()),
        }
    }
    // These are of the event itself: they count if a tag has the same name.
    for (name, value) in [("host", host), ("source", source), ("aggregation_key", key)] {
        if let Some(value) = value {
            attributes.push(Attribute::new(name, value));
        }
    }
    let level = if is_low && alert == level::INFO {
        LOW
    } else {
        alert
    };
    receiver.log(&LogRecord {
        level,
        message,
        attributes: &attributes,
        at,
    });
}

/// Returns the title, the text and the fields.
fn split_texts(line: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let rest = line.strip_prefix(START)?;
    let (title_length, rest) = split_length(rest, b',')?;
    let (text_length, rest) = split_length(rest, b'}')?;
    let (title, rest) = rest.strip_prefix(b":")?.split_at_checked(title_length)?;
    let (text, rest) = rest.strip_prefix(b"|")?.split_at_checked(text_length)?;
    let is_whole = rest.is_empty() || rest.starts_with(b"|");
    is_whole.then_some((title, text, rest))
}

fn split_length(text: &[u8], end: u8) -> Option<(usize, &[u8])> {
    let (digits, rest) = text.split_at_checked(memchr::memchr(end, text)?)?;
    let length = usize::try_from(number::parse_u64(digits)?).ok()?;
    Some((length, rest.get(1..)?))
}

/// Repairs text, and replaces each `\n` of two characters by a newline.
pub(super) fn unescaped(text: &[u8]) -> Cow<'_, str> {
    let text = String::from_utf8_lossy(text);
    if text.contains(r"\n") {
        Cow::Owned(text.replace(r"\n", "\n"))
    } else {
        text
    }
}
