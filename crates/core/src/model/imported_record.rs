//! A record of another server: the text that AGG.FETCH delivered there. It is kept and delivered as it is.
//!
//! A record of MIN and HOUR is also rendered as line protocol, from its text: the line is the one that the other server
//! renders. Members that are unknown here may be those of a newer version, and are kept with the text.

use crate::codec::json::{check_record, members, string};
use crate::id::MAX_ID;
use crate::model::Queue;
use crate::time::MAX_MS;
use aggregator_protocol::line_protocol::{self, Line};
use aggregator_protocol::number::{is_json_number, parse_u64};
use aggregator_protocol::percentile::percentage;
use aggregator_protocol::quote::quoted;
use std::borrow::Cow;

/// The limit of the percentiles of a record: each name of a tag is compared with their names.
const MAX_PERCENTILES: usize = 64;

/// The limit of the tags of a record of MIN and HOUR: a list of 64 KiB has fewer.
const MAX_TAGS: usize = 32_768;

/// Checks a record of a queue and of this id. `node`: the name of the node, where it is known.
///
/// # Errors
/// What is wrong.
pub(crate) fn check(text: &[u8], queue: Queue, id: u64, node: Option<&[u8]>) -> Result<(), String> {
    check_record(text).map_err(|error| format!("invalid JSON: {error}"))?;
    if !text.trim_ascii_start().starts_with(b"{") {
        return Err("not a JSON object".to_owned());
    }
    let (mut node_of, mut queue_of, mut id_of) = (None, None, None);
    for (name, value) in members(text) {
        match &*name {
            b"node" => node_of = string(value),
            b"queue" => queue_of = string(value),
            b"id" => id_of = parse_u64(value),
            _ => {}
        }
    }
    let Some(name) = node_of else {
        return Err("node is not a string".to_owned());
    };
    // A name that is not UTF-8 has U+FFFD in records.
    if let Some(node) = node
        && *name != *String::from_utf8_lossy(node).as_bytes()
    {
        return Err(format!("node is {}, not {}", quoted(&name), quoted(node)));
    }
    if queue_of.as_deref() != Some(queue.name().as_bytes()) {
        return Err(format!("queue is not {}", queue.name()));
    }
    if id_of != Some(id) || id == 0 || id > MAX_ID {
        return Err(format!("id is not {id}"));
    }
    match queue {
        Queue::Min | Queue::Hour => WindowText::read(text).map(|_| ()),
        Queue::Log | Queue::Error | Queue::Reality => Ok(()),
    }
}

/// Appends a record of MIN or HOUR as line protocol; nothing if the text is no such record. Returns the work, as for any
/// other record.
pub(crate) fn write_line(text: &[u8], out: &mut Vec<u8>) -> usize {
    match WindowText::read(text) {
        Ok(record) => record.write(out),
        Err(_) => text.len(),
    }
}

/// What line protocol needs of a record of MIN or HOUR.
struct WindowText<'a> {
    node: Cow<'a, [u8]>,
    metric: Cow<'a, [u8]>,
    window_s: u32,
    start_ms: i64,
    count: u64,
    sum: f64,
    avg: f64,
    min: f64,
    max: f64,
    last: f64,
    percentiles: Vec<(String, f64)>,
    /// Names and values.
    tags: Vec<Tag<'a>>,
    len: usize,
}

/// A tag: its name and its value.
type Tag<'a> = (Cow<'a, [u8]>, Option<Cow<'a, [u8]>>);

impl<'a> WindowText<'a> {
    /// Reads a text that is an object.
    fn read(text: &'a [u8]) -> Result<WindowText<'a>, String> {
        let (mut node, mut metric, mut tags) = (None, None, None);
        let (mut window_s, mut start_ms, mut count) = (None, None, None);
        let [mut sum, mut avg, mut min, mut max, mut last] = [None; 5];
        let mut percentiles = Vec::new();
        for (name, value) in members(text) {
            match &*name {
                b"node" => node = string(value),
                b"metric" => metric = string(value).filter(|metric| !metric.is_empty()),
                b"window" => window_s = integer(value, u32::MAX.into()).filter(|s| *s > 0),
                b"start" => start_ms = integer(value, MAX_MS as u64),
                b"count" => count = integer(value, i64::MAX as u64),
                b"sum" => sum = double(value),
                b"avg" => avg = double(value),
                b"min" => min = double(value),
                b"max" => max = double(value),
                b"last" => last = double(value),
                b"tags" => tags = Some(read_tags(value)?),
                _ => {
                    let field = std::str::from_utf8(&name).ok();
                    if let Some(field) = field.filter(|field| percentage(field).is_some()) {
                        let value = double(value).ok_or_else(|| format!("{field} is not a number"));
                        percentiles.push((field.to_owned(), value?));
                    }
                }
            }
        }
        if percentiles.len() > MAX_PERCENTILES {
            return Err(format!("more than {MAX_PERCENTILES} percentiles"));
        }
        Ok(WindowText {
            node: node.ok_or("node is not a string")?,
            metric: metric.ok_or("metric is not a name")?,
            window_s: window_s.ok_or("window is not a number of seconds")? as u32,
            start_ms: start_ms.ok_or("start is not a time in Unix milliseconds")? as i64,
            count: count.ok_or("count is not an integer")?,
            sum: sum.ok_or("sum is not a number")?,
            avg: avg.ok_or("avg is not a number")?,
            min: min.ok_or("min is not a number")?,
            max: max.ok_or("max is not a number")?,
            last: last.ok_or("last is not a number")?,
            percentiles,
            tags: tags.ok_or("tags is missing")?,
            len: text.len(),
        })
    }

    fn write(&self, out: &mut Vec<u8>) -> usize {
        let percentiles: Vec<(&str, f64)> = self
            .percentiles
            .iter()
            .map(|(name, value)| (&name[..], *value))
            .collect();
        let line = Line {
            node: &self.node,
            metric: &self.metric,
            tags: &[],
            window_s: self.window_s,
            start_ms: self.start_ms,
            count: self.count,
            sum: self.sum,
            avg: self.avg,
            min: self.min,
            max: self.max,
            last: self.last,
            percentiles: &percentiles,
        };
        let tags = self.tags.iter();
        let tags = tags.map(|(name, value)| (&**name, value.as_deref()));
        line_protocol::write_tagged(out, &line, tags);
        self.len + 8 * self.tags.len()
    }
}

/// Reads an object of tags: names that are not empty, with strings, or `true` for tags without a value.
fn read_tags(text: &[u8]) -> Result<Vec<Tag<'_>>, String> {
    if !text.starts_with(b"{") {
        return Err("tags is not an object".to_owned());
    }
    let mut tags = Vec::new();
    for (name, value) in members(text) {
        let value = match value {
            b"true" => None,
            value => match string(value) {
                Some(value) => Some(value),
                None => {
                    let name = quoted(&name);
                    return Err(format!("the tag {name} is neither a string nor true"));
                }
            },
        };
        if name.is_empty() {
            return Err("the name of a tag is empty".to_owned());
        }
        if tags.len() == MAX_TAGS {
            return Err(format!("more than {MAX_TAGS} tags"));
        }
        tags.push((name, value));
    }
    Ok(tags)
}

fn integer(text: &[u8], max: u64) -> Option<u64> {
    parse_u64(text).filter(|n| *n <= max)
}

/// Reads a number. Unlike a sample, it may be minus zero, and so close to 0 that a double is 0.
fn double(text: &[u8]) -> Option<f64> {
    let number = std::str::from_utf8(text)
        .ok()
        .filter(|_| is_json_number(text))?;
    number.parse().ok().filter(|v: &f64| v.is_finite())
}
