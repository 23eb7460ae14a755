//! Service checks of DogStatsD: `_sc|name|status|d:time|h:host|#tags|m:message`.

use std::borrow::Cow;

use super::fields::{Attributes, add_tags, is_origin, split, split_or_all};
use crate::decimal;
use crate::report::{ObjectReport, Receiver};

/// The start of a service check.
pub(super) const START: &str = "_sc|";

/// The model of the objects.
const MODEL: &str = "service.Check";

/// Parses a line that begins with [`START`].
pub(super) fn parse(line: &str, receiver: &mut impl Receiver) {
    let rest = line.strip_prefix(START).unwrap_or(line);
    let (name, rest) = split_or_all(rest, b'|');
    if name.is_empty() {
        receiver.invalid("no name", line.as_bytes());
        return;
    }
    let (status, mut rest) = split_or_all(rest, b'|');
    let status = match status {
        "0" => "ok",
        "1" => "warning",
        "2" => "critical",
        "3" => "unknown",
        _ => {
            receiver.invalid("an unknown status of a service check", line.as_bytes());
            return;
        }
    };
    let mut attributes = Attributes::new();
    let (mut host, mut message) = ("", None);
    while !rest.is_empty() {
        // The message is the last field except those that say where the sender runs. It may contain bars.
        if let Some(text) = rest.strip_prefix("m:") {
            message = Some(without_origins(text));
            break;
        }
        let (field, next) = split_or_all(rest, b'|');
        rest = next;
        if let Some(tags) = field.strip_prefix('#') {
            add_tags(tags, &mut attributes, receiver);
            continue;
        }
        if field.is_empty() || is_origin(field) {
            continue;
        }
        match split(field, b':') {
            // The time is not used: the state of an object is its latest one.
            Some(("d", seconds)) if decimal::unix_seconds(seconds.as_bytes()).is_some() => {}
            Some(("d", _)) => receiver.invalid("an invalid timestamp", field.as_bytes()),
            Some(("h", value)) => host = value,
            _ => receiver.invalid("an unknown field", field.as_bytes()),
        }
    }
    let key = if host.is_empty() {
        Cow::Borrowed(name)
    } else {
        Cow::Owned(format!("{name}@{host}"))
    };
    receiver.object(&ObjectReport {
        key,
        model: MODEL,
        json: Cow::Owned(state(status, message)),
        attributes: &attributes,
    });
}

/// Removes fields at the end that say where the sender runs.
fn without_origins(mut text: &str) -> &str {
    while let Some((start, field)) = text.rsplit_once('|') {
        if !is_origin(field) {
            break;
        }
        text = start;
    }
    text
}

/// Returns the state as JSON. It has no time, with which each report would be a change.
fn state(status: &str, message: Option<&str>) -> String {
    let mut json = format!(r#"{{"status":"{status}""#);
    if let Some(message) = message {
        json.push_str(r#","message":""#);
        // Senders escape newlines, and what looks like the field of the message.
        let message = message.replace(r"\n", "\n").replace(r"m\:", "m:");
        message.chars().for_each(|c| push_escaped(&mut json, c));
        json.push('"');
    }
    json.push('}');
    json
}

/// Appends a character of a JSON string (RFC 8259, section 7).
fn push_escaped(json: &mut String, c: char) {
    match c {
        '"' => json.push_str(r#"\""#),
        '\\' => json.push_str(r"\\"),
        '\n' => json.push_str(r"\n"),
        '\r' => json.push_str(r"\r"),
        '\t' => json.push_str(r"\t"),
        '\0'..='\x1f' => json.push_str(&format!(r"\u{:04x}", u32::from(c))),
        _ => json.push(c),
    }
}
