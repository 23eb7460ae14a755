//! Messages of RFC 5424 (<https://www.rfc-editor.org/rfc/rfc5424#section-6>), behind their priority.

use std::borrow::Cow;

use super::parts::{MAX_PARAMETERS, Parts};
use super::split::{split_while, split_word};
use super::time;
use crate::report::{Attribute, Receiver};

/// Maximum bytes of the name of an element. RFC 5424 allows 32. Each attribute of the element contains it.
const MAX_NAME: usize = 128;
/// The mark that precedes a text in UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Reads a message from its version on. None if its header is not one of RFC 5424.
///
/// Structured data may be missing although RFC 5424 requires at least `-`: some senders leave it out.
pub fn parse<'a>(text: &'a [u8], receiver: &mut impl Receiver) -> Option<Parts<'a>> {
    let (time, rest) = split_word(text.strip_prefix(b"1 ")?);
    let at = match time {
        b"-" => None,
        _ => Some(timestamp(time)?),
    };
    let (host, rest) = field(rest)?;
    let (app, rest) = field(rest)?;
    let (pid, rest) = field(rest)?;
    let (message_id, rest) = last_field(rest)?;
    let mut parts = Parts {
        at,
        host,
        app,
        pid,
        message_id,
        ..Parts::default()
    };
    let text = structured_data(rest, &mut parts.parameters, receiver);
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    // rsyslog keeps the blank that precedes the message in the older format: RSYSLOG_SyslogProtocol23Format.
    parts.text = text.strip_prefix(b" ").unwrap_or(text);
    Some(parts)
}

/// Returns a time of RFC 3339, which must have a zone.
fn timestamp(text: &[u8]) -> Option<i64> {
    let (time, zone, rest) = time::iso(text)?;
    Some(time - zone?).filter(|_| rest.is_empty())
}

/// Splits a field of the header off, which is empty if it is `-`. Something must follow.
fn field(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let (field, rest) = last_field(text)?;
    (!rest.is_empty()).then_some((field, rest))
}

fn last_field(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let (field, rest) = split_word(text);
    match field {
        b"" => None,
        b"-" => Some((b"", rest)),
        _ => Some((field, rest)),
    }
}

/// Reads structured data, and returns the text behind it.
fn structured_data<'a>(
    text: &'a [u8],
    parameters: &mut Vec<Attribute<'a>>,
    receiver: &mut impl Receiver,
) -> &'a [u8] {
    if text == b"-" || text.starts_with(b"- ") {
        return text.get(2..).unwrap_or_default();
    }
    let mut rest = text;
    let mut surplus: Option<&[u8]> = None;
    while rest.starts_with(b"[") {
        let read = parameters.len();
        let Some(after) = element(rest, parameters, &mut surplus) else {
            // A message without structured data may begin with a bracket, so the text is kept.
            parameters.truncate(read);
            receiver.invalid("invalid structured data", rest);
            break;
        };
        rest = after;
    }
    if let Some(surplus) = surplus {
        receiver.invalid("too many parameters of structured data", surplus);
    }
    if rest.len() < text.len() {
        return rest.strip_prefix(b" ").unwrap_or(rest);
    }
    rest
}

/// Reads one element, `[id name="value" ...]`, and returns what follows it. None if it is invalid.
fn element<'a>(
    text: &'a [u8],
    parameters: &mut Vec<Attribute<'a>>,
    surplus: &mut Option<&'a [u8]>,
) -> Option<&'a [u8]> {
    let (id, mut rest) = name(text.strip_prefix(b"[")?)?;
    let id = String::from_utf8_lossy(id);
    let mut add = |attribute: Attribute<'a>, input: &'a [u8]| {
        if parameters.len() < MAX_PARAMETERS {
            parameters.push(attribute);
        } else {
            surplus.get_or_insert(input);
        }
    };
    if let Some(after) = rest.strip_prefix(b"]") {
        let value = Cow::Borrowed("");
        add(Attribute { name: id, value }, text);
        return Some(after);
    }
    loop {
        let (spaces, after) = split_while(rest, |byte| *byte == b' ');
        if let Some(after) = after.strip_prefix(b"]") {
            return Some(after);
        }
        if spaces.is_empty() {
            return None;
        }
        let (parameter, value) = name(after)?;
        let (value, next) = quoted(value.strip_prefix(b"=\"")?)?;
        let parameter = String::from_utf8_lossy(parameter);
        let name = Cow::Owned(format!("{id}.{parameter}"));
        add(Attribute { name, value }, after);
        rest = next;
    }
}

/// Splits a name off: visible characters but `=`, `]` and `"`.
fn name(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let is_name = |byte: &u8| !matches!(byte, 0..=b' ' | b'=' | b']' | b'"' | 0x7f);
    let (name, rest) = split_while(text, is_name);
    (1..=MAX_NAME).contains(&name.len()).then_some((name, rest))
}

/// Reads a value up to its closing quote, and returns it with what follows. A backslash escapes `"`, `\` and `]`; before
/// another character it is one.
fn quoted(text: &[u8]) -> Option<(Cow<'_, str>, &[u8])> {
    let mut value = Vec::new();
    let mut rest = text;
    loop {
        let (plain, after) = split_while(rest, |byte| !matches!(byte, b'"' | b'\\'));
        let (byte, after) = after.split_first()?;
        if *byte == b'"' {
            if value.is_empty() {
                return Some((String::from_utf8_lossy(plain), after));
            }
            value.extend_from_slice(plain);
            return Some((
                Cow::Owned(String::from_utf8_lossy(&value).into_owned()),
                after,
            ));
        }
        value.extend_from_slice(plain);
        match after.split_first() {
            Some((escaped @ (b'"' | b'\\' | b']'), after)) => {
                value.push(*escaped);
                rest = after;
            }
            _ => {
                value.push(b'\\');
                rest = after;
            }
        }
    }
}
