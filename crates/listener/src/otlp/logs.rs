//! Logs: passes on each log record of a request.

use std::borrow::Cow;

use aggregator_protocol::level::{self, ERROR, INFO, MAX};

use super::points::Attributes;
use super::text::{any_value, attribute, hex, json_object, text};
use super::wire::{Fields, messages};
use super::{Encoding, Malformed, Outcome, State, checked, millis, resource, schema};
use crate::report::{Attribute, LogRecord, Receiver, TOO_MUCH};

/// Names of levels that other systems have, besides those of [`level`].
const OTHER_NAMES: [(&str, u8); 11] = [
    ("VERBOSE", 0),
    ("INFORMATION", INFO),
    ("INFORMATIONAL", INFO),
    ("WARN", 5),
    ("ERR", ERROR),
    ("SEVERE", ERROR),
    ("CRIT", MAX),
    ("FATAL", MAX),
    ("ALERT", MAX),
    ("EMERGENCY", MAX),
    ("PANIC", MAX),
];

/// The attribute with the stack trace, which becomes part of the message.
///
/// Source: <https://opentelemetry.io/docs/specs/semconv/exceptions/exceptions-logs/>
const STACK_TRACE: &str = "exception.stacktrace";

/// Passes on the records of an `ExportLogsServiceRequest`. Its body is not compressed.
///
/// # Errors
/// The request cannot be read. Nothing of it is passed on.
pub fn logs(
    body: &[u8],
    encoding: Encoding,
    state: &mut State,
    receiver: &mut impl Receiver,
) -> Result<Outcome, Malformed> {
    let body = checked(&schema::LOGS_REQUEST, body, encoding, receiver)?;
    let mut outcome = Outcome::default();
    for resource_logs in messages(&body, 1) {
        let mut attributes = Vec::new();
        resource::enter(
            resource_logs,
            &mut state.resources,
            &mut attributes,
            receiver,
        );
        let mut attributes = Attributes::new(attributes);
        for scope in messages(resource_logs, 2) {
            for record in messages(scope, 2) {
                match log_record(record, &mut attributes, receiver) {
                    Ok(()) => outcome.accepted += 1,
                    Err(reason) => {
                        outcome.reject(reason);
                        receiver.invalid(reason, b"");
                    }
                }
            }
        }
    }
    outcome.changes = state.take_changes();
    Ok(outcome)
}

/// Returns the level of a severity, 1 to 24, or of its name if there is none.
///
/// Source: <https://opentelemetry.io/docs/specs/otel/logs/data-model/#field-severitynumber>
fn level(severity: u64, name: &str) -> u8 {
    match severity {
        1..=4 => 0,
        5..=8 => 1,
        9..=12 => INFO,
        13..=16 => 5,
        17..=20 => ERROR,
        21..=24 => MAX,
        _ => {
            let name = name.trim();
            let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic());
            let known = level::parse(name.as_bytes()).filter(|_| is_name);
            let other = OTHER_NAMES
                .iter()
                .find(|(n, _)| n.eq_ignore_ascii_case(name));
            known.or(other.map(|(_, level)| *level)).unwrap_or(INFO)
        }
    }
}

fn log_record<'a>(
    message: &'a [u8],
    attributes: &mut Attributes<'a>,
    receiver: &mut impl Receiver,
) -> Result<(), &'static str> {
    let (mut time, mut observed, mut severity) = (0, 0, 0);
    let (mut name, mut body, mut event, mut trace, mut span) =
        (&[][..], &[][..], &[][..], &[][..], &[][..]);
    let mut exception = Exception::default();
    if !receiver.takes_more() {
        return Err(TOO_MUCH);
    }
    attributes.begin();
    for (number, value) in Fields::new(message) {
        match number {
            1 => time = value.bits(),
            11 => observed = value.bits(),
            2 => severity = value.bits(),
            3 => name = value.bytes(),
            5 => body = value.bytes(),
            6 if !exception.take(value.bytes()) => attributes.add(value.bytes()),
            9 => trace = value.bytes(),
            10 => span = value.bytes(),
            12 => event = value.bytes(),
            _ => {}
        }
    }
    if attributes.check().is_err() {
        receiver.invalid("too many attributes of a log record", b"");
    }
    let mut text_of_body = any_value(body);
    if text_of_body.is_empty() {
        text_of_body = text(event);
    }
    let mut whole = exception.complete(text_of_body);
    if whole.is_empty() && messages(message, 6).next().is_some() {
        let of_record: Vec<_> = messages(message, 6)
            .take(resource::MAX_ATTRIBUTES)
            .collect();
        whole = Cow::Owned(json_object(of_record.into_iter()));
    }
    if whole.is_empty() {
        return Err("an empty log record");
    }
    for (name, id) in [("trace_id", trace), ("span_id", span)] {
        // An identifier of zeros only is none.
        if id.iter().any(|byte| *byte != 0) && id.len() <= 16 {
            attributes.push(Attribute {
                name: Cow::Borrowed(name),
                value: Cow::Owned(hex(id)),
            });
        }
    }
    receiver.log(&LogRecord {
        level: level(severity, &text(name)),
        message: whole,
        attributes: attributes.get(),
        at: millis(time).or(millis(observed)),
    });
    Ok(())
}

/// The attributes that describe an exception.
#[derive(Default)]
struct Exception<'a> {
    kind: Cow<'a, str>,
    message: Cow<'a, str>,
    stack_trace: Cow<'a, str>,
}

impl<'a> Exception<'a> {
    /// Takes a `KeyValue`. Returns true if it is for the message only.
    fn take(&mut self, key_value: &'a [u8]) -> bool {
        let (key, _) = super::text::key_value(key_value);
        let field = match key {
            b"exception.type" => &mut self.kind,
            b"exception.message" => &mut self.message,
            _ if key == STACK_TRACE.as_bytes() => &mut self.stack_trace,
            _ => return false,
        };
        *field = attribute(key_value).value;
        key == STACK_TRACE.as_bytes()
    }

    /// Appends to a message what it lacks.
    fn complete(&self, body: Cow<'a, str>) -> Cow<'a, str> {
        let has = |text: &str, part: &str| part.is_empty() || text.contains(part);
        let mut lines = Vec::new();
        let is_in = |text: &str| has(text, &self.kind) && has(text, &self.message);
        if !is_in(&body) && !is_in(&self.stack_trace) {
            let both = [&*self.kind, &*self.message];
            let known: Vec<_> = both.into_iter().filter(|part| !part.is_empty()).collect();
            lines.push(known.join(": "));
        }
        let stack_trace = self.stack_trace.trim_end();
        if !has(&body, stack_trace) {
            lines.push(stack_trace.to_string());
        }
        if lines.is_empty() {
            return body;
        }
        if !body.is_empty() {
            lines.insert(0, body.into_owned());
        }
        Cow::Owned(lines.join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn severities_are_levels() {
        let levels = [0, 1, 4, 5, 8, 9, 12, 13, 16, 17, 20, 21, 24, 25].map(|n| level(n, ""));
        assert_eq!(levels, [3, 0, 0, 1, 1, 3, 3, 5, 5, 7, 7, 9, 9, 3]);
        for (name, expected) in [
            ("warn", 5),
            ("Warning", 5),
            ("FATAL", 9),
            ("notice", 4),
            (" error ", 7),
            ("7", 3),
            ("loud", 3),
        ] {
            assert_eq!(level(0, name), expected, "{name}");
        }
        assert_eq!(level(9, "ERROR"), 3);
    }

    #[test]
    fn exceptions_complete_the_message() {
        let exception = Exception {
            kind: "ValueError".into(),
            message: "no such item".into(),
            stack_trace: "Traceback:\n  File x\nValueError: no such item\n".into(),
        };
        assert_eq!(
            exception.complete("it failed".into()),
            "it failed\nTraceback:\n  File x\nValueError: no such item"
        );
        assert_eq!(
            exception.complete("".into()),
            "Traceback:\n  File x\nValueError: no such item"
        );
        let without = Exception {
            stack_trace: "".into(),
            ..exception
        };
        assert_eq!(
            without.complete("it failed".into()),
            "it failed\nValueError: no such item"
        );
        let contained = "ValueError, no such item";
        assert_eq!(without.complete(contained.into()), contained);
        assert_eq!(Exception::default().complete("a".into()), "a");
    }
}
