//! Syslog: RFC 5424, RFC 3164 with the deviations of real senders, and the framing of RFC 6587.
//!
//! A message becomes a log record with the attributes `app`, `host`, `pid`, `msgid` and `facility`, as far as it has
//! them, and those of its structured data, as `sdid.param`.
//!
//! # Invariants
//!
//! - No text is lost: what does not belong to a header is the message. Text without any header is a message, too.
//! - A message costs memory in proportion to its size, and has at most [`MAX_PARAMETERS`] attributes from structured
//!   data.

mod frames;
mod parts;
mod rfc3164;
mod rfc5424;
mod split;
mod time;

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use aggregator_protocol::level;

use crate::report::{Attribute, LogRecord, Receiver};

use parts::Parts;
use split::split_while;

pub use frames::{Frames, InvalidFrame};
pub use parts::MAX_PARAMETERS;

/// The priority of a message without a valid one: `user.notice` (RFC 3164, section 4.3.3).
const DEFAULT_PRIORITY: u8 = 13;
/// The highest priority: facility 23, severity 7.
const MAX_PRIORITY: u16 = 191;

/// The names of facilities (RFC 5424, section 6.2.1), as syslog.conf has them. Those without a common name have numbers.
const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv",
    "ftp", "ntp", "security", "console", "clock", "local0", "local1", "local2", "local3", "local4",
    "local5", "local6", "local7",
];

/// Passes a message on as a log record: one UDP datagram, or one frame of a connection.
///
/// `now_ms` is the time in Unix milliseconds, and `utc_offset_s` the local offset from UTC in seconds, east positive:
/// RFC 3164 has times without a year and a zone. Such a time is in the zone of the receiver, and in the year that is
/// nearest to now.
pub fn parse(message: &[u8], now_ms: i64, utc_offset_s: i32, receiver: &mut impl Receiver) {
    let message = trim_end(message);
    if message.iter().all(u8::is_ascii_whitespace) {
        return receiver.invalid("an empty message", message);
    }
    let clock = time::Clock {
        now_ms,
        utc_offset_s,
    };
    let found = priority(message);
    let (priority, rest) = found.unwrap_or((DEFAULT_PRIORITY, message));
    let is_new = found.is_some() && rest.starts_with(b"1 ");
    let parts = match is_new.then(|| rfc5424::parse(rest, receiver)).flatten() {
        Some(parts) => parts,
        None => rfc3164::parse(rest, clock),
    };
    report(priority, &parts, receiver);
}

fn report(priority: u8, parts: &Parts<'_>, receiver: &mut impl Receiver) {
    let facility = FACILITIES
        .get(usize::from(priority >> 3))
        .copied()
        .unwrap_or_default();
    let named = [
        ("app", parts.app),
        ("host", parts.host),
        ("pid", parts.pid),
        ("msgid", parts.message_id),
        ("facility", facility.as_bytes()),
    ];
    let mut attributes = Vec::with_capacity(named.len() + parts.parameters.len());
    let present = named.iter().filter(|(_, value)| !value.is_empty());
    attributes.extend(present.map(|(name, value)| Attribute {
        name: Cow::Borrowed(*name),
        value: String::from_utf8_lossy(value),
    }));
    attributes.extend(parts.parameters.iter().cloned());
    receiver.log(&LogRecord {
        level: level::from_syslog(priority & 7),
        message: String::from_utf8_lossy(parts.text),
        attributes: &attributes,
        at: parts.at,
    });
}

/// Returns the priority of a message and what follows it, or none if it has no valid one.
fn priority(message: &[u8]) -> Option<(u8, &[u8])> {
    let rest = message.strip_prefix(b"<")?;
    let (digits, rest) = split_while(rest, u8::is_ascii_digit);
    if !(1..=3).contains(&digits.len()) {
        return None;
    }
    let number = digits
        .iter()
        .fold(0, |number, digit| number * 10 + u16::from(digit - b'0'));
    let priority = u8::try_from(number)
        .ok()
        .filter(|_| number <= MAX_PRIORITY)?;
    Some((priority, rest.strip_prefix(b">")?))
}

/// Removes the ends of lines and zero bytes that senders append.
fn trim_end(text: &[u8]) -> &[u8] {
    let is_end = |byte: &u8| matches!(byte, b'\n' | b'\r' | 0);
    let len = text
        .iter()
        .rposition(|byte| !is_end(byte))
        .map_or(0, |last| last + 1);
    text.get(..len).unwrap_or_default()
}
