//! statsd and DogStatsD: samples, events and service checks, one per line.
//!
//! Formats: <https://github.com/statsd/statsd/blob/master/docs/metric_types.md> and
//! <https://docs.datadoghq.com/developers/dogstatsd/datagram_shell/>, versions 1.0 to 1.3, and the fields of later
//! versions that say where the sender runs.
//!
//! # Samples
//!
//! `name:value|type|@rate|#tag:value,tag|T1656581400`, the fields after the type in any order.
//!
//! | type | is passed on as |
//! | --- | --- |
//! | `c` | an increment, divided by the sample rate |
//! | `g` | the value of a gauge; with a sign in front its change |
//! | `ms`, `h`, `d` | a value of a histogram that occurred 1 / rate times; the unit of `ms` is milliseconds |
//! | `s` | a member of a set |
//!
//! - A negative increment is invalid. statsd subtracts it, but a counter of which parts are taken back is a gauge, and
//!   one metric is not both.
//! - A sign means a change of a gauge for all senders, as in statsd: a gauge is set to a negative value by setting it to
//!   0 before. DogStatsD sets it.
//! - A value may be several: `name:1:2:3|ms` (DogStatsD 1.1). A set has one member, which may contain colons.
//! - A sample rate is above 0, at most 1 and at least 2^-32. It is checked but without effect for gauges and sets.
//! - A timestamp (`T`) is in Unix seconds.
//! - The container (`c:`), external data (`e:`) and the cardinality of tags (`card:`) are not used: they are for an agent
//!   that adds tags of the container.
//! - A sample with an invalid rate or timestamp is not used. Of tags and fields that are invalid only these are not used.
//!
//! # Events
//!
//! `_e{5,4}:title|text|d:1656581400|h:host|k:key|p:low|s:source|t:error|#tags` is a log record, `title: text`. Its level
//! is that of an error, a warning, or else an informational message; the latter is DEBUG if the priority is low. The
//! host, the source and the key (`aggregation_key`) are attributes.
//!
//! # Service checks
//!
//! `_sc|name|2|d:1656581400|h:host|#tags|m:message` is the state of an object of the model `service.Check`. Its key is
//! `name@host`, or the name if there is no host. Its state is like `{"status":"critical","message":"no answer"}`.

mod check;
mod event;
mod fields;
mod sample;

#[cfg(test)]
mod tests;

use memchr::memchr_iter;

use crate::report::Receiver;

/// Parses a datagram, or a part of a stream that consists of whole lines. Lines end with `\n` or `\r\n`; the last one
/// need not. Empty lines are skipped.
///
/// Takes linear time, and allocates nothing for samples with up to 16 tags in UTF-8.
pub fn parse(packet: &[u8], receiver: &mut impl Receiver) {
    let text = std::str::from_utf8(packet).ok();
    let mut start = 0;
    for end in memchr_iter(b'\n', packet).chain([packet.len()]) {
        let range = start..end;
        start = end + 1;
        let line = packet.get(range.clone()).unwrap_or_default();
        match text.and_then(|text| text.get(range)) {
            Some(text) => parse_line(text, line, receiver),
            None => parse_line(&String::from_utf8_lossy(line), line, receiver),
        }
    }
}

/// Parses a line. `bytes` is the line as received, `line` the same in which what is not UTF-8 is repaired.
#[inline]
fn parse_line(line: &str, bytes: &[u8], receiver: &mut impl Receiver) {
    let line = line.strip_suffix('\r').unwrap_or(line);
    match line.as_bytes().first() {
        None => {}
        Some(b'_') if bytes.starts_with(event::START) => {
            event::parse(bytes.strip_suffix(b"\r").unwrap_or(bytes), receiver);
        }
        Some(b'_') if line.starts_with(check::START) => check::parse(line, receiver),
        Some(_) => sample::parse(line, receiver),
    }
}
