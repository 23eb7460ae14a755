//! Rendering of records: JSON, or line protocol for MIN and HOUR.

use crate::codec::json::{write_plain, write_string, write_tags};
use crate::model::histogram::Percentile;
use crate::model::imported_record;
use crate::model::{LogEntry, Queue, RecordFormat, Window, WindowRecord};
use crate::node::Node;
use aggregator_protocol::level;
use aggregator_protocol::line_protocol::{self, Line};
use aggregator_protocol::number::{write_f64, write_i64, write_u64};
use aggregator_protocol::tags;

/// Renders the records of a node whose key is `name`.
pub(super) struct Renderer<'a> {
    pub node: &'a Node,
    pub name: &'a [u8],
    pub format: RecordFormat,
}

/// The beginning of a member that is not the first of its object. Names need no escaping.
macro_rules! member {
    ($name:literal) => {
        concat!(",\"", $name, "\":")
    };
}

impl Renderer<'_> {
    /// Appends the text of a record, if the record exists. Returns the work: the bytes from which the text is made, and
    /// somewhat more for each tag.
    pub fn record(&self, queue: Queue, id: u64, out: &mut Vec<u8>) -> usize {
        let imported = self.node.queues.imported(queue);
        if let Some(text) = imported.and_then(|imported| imported.get(id)) {
            return self.imported(text, out);
        }
        match queue {
            Queue::Min | Queue::Hour => self.window(queue, id, out),
            Queue::Log => self.log(id, out),
            Queue::Error => self.error(id, out),
            Queue::Reality => self.object(id, out),
        }
    }

    fn imported(&self, text: &[u8], out: &mut Vec<u8>) -> usize {
        if self.format == RecordFormat::Line {
            return imported_record::write_line(text, out);
        }
        out.extend_from_slice(text);
        text.len()
    }

    fn window(&self, queue: Queue, id: u64, out: &mut Vec<u8>) -> usize {
        let bytes = self.node.queues.record(queue, id).unwrap_or_default();
        let Ok(record) = WindowRecord::read(bytes) else {
            return 0;
        };
        let window_s = self.node.lengths[Window::from_bit(queue == Queue::Hour)];
        let c = &record.closed;
        let percentiles = c
            .percentiles
            .iter()
            .flat_map(|percentiles| percentiles.iter());
        if self.format == RecordFormat::Line {
            let (node, metric, tags) = (self.name, record.name, record.tags);
            let (start_ms, count, sum, avg) = (c.start, c.count, c.sum, c.avg);
            let (min, max, last) = (c.min, c.max, c.last);
            let named: Vec<(String, f64)> = percentiles.map(|(p, v)| (p.field(), v)).collect();
            let percentiles: Vec<_> = named.iter().map(|(name, v)| (&name[..], *v)).collect();
            let percentiles = &percentiles;
            let line = Line {
                node,
                metric,
                tags,
                window_s,
                start_ms,
                count,
                sum,
                avg,
                min,
                max,
                last,
                percentiles,
            };
            line_protocol::write(out, &line);
            return bytes.len() + 8 * tags::spaces(record.tags);
        }
        let mut object = self.object_of(queue, id, out);
        object.text(member!("metric"), record.name);
        object.word(member!("type"), record.metric_type.name());
        object.unsigned(member!("window"), window_s.into());
        object.signed(member!("start"), c.start);
        object.signed(member!("end"), c.start + i64::from(window_s) * 1000);
        object.unsigned(member!("count"), c.count);
        for (name, v) in [
            (member!("sum"), c.sum),
            (member!("avg"), c.avg),
            (member!("min"), c.min),
            (member!("max"), c.max),
            (member!("last"), c.last),
        ] {
            object.double(name, v);
        }
        for (percentile, v) in percentiles {
            object.percentile(percentile, v);
        }
        if let Some(histogram) = &record.histogram {
            object.name(member!("hist"));
            histogram.write_json(object.out);
        }
        object.tags(record.tags);
        object.end();
        bytes.len() + 8 * tags::spaces(record.tags)
    }

    fn log(&self, id: u64, out: &mut Vec<u8>) -> usize {
        let bytes = self.node.queues.record(Queue::Log, id).unwrap_or_default();
        let Ok(entry) = LogEntry::read(bytes) else {
            return 0;
        };
        let mut object = self.object_of(Queue::Log, id, out);
        object.text(member!("message"), entry.message);
        object.level(entry.level);
        object.tags(entry.tags);
        object.signed(member!("epoch"), entry.at);
        object.end();
        bytes.len() + 8 * tags::spaces(entry.tags)
    }

    fn error(&self, id: u64, out: &mut Vec<u8>) -> usize {
        let slot = self.node.queues.slot_of(Queue::Error, id);
        let Some(e) = slot.and_then(|slot| self.node.errors.table.get(slot)) else {
            return 0;
        };
        let o = e.latest();
        let [message, public, code, func, file, backtrace] = o.texts;
        let mut object = self.object_of(Queue::Error, id, out);
        object.text(member!("key"), o.key);
        object.text(member!("message"), message);
        object.text(member!("public"), public);
        object.level(o.level);
        object.word(member!("type"), o.error_type.name());
        object.tags(o.tags);
        object.text(member!("code"), code);
        object.text(member!("func"), func);
        object.text(member!("file"), file);
        object.text(member!("backtrace"), backtrace);
        object.unsigned(member!("gid"), o.gid);
        object.unsigned(member!("nid"), o.nid);
        object.unsigned(member!("occurrences"), e.occurrences);
        object.signed(member!("first"), e.first);
        object.signed(member!("last"), e.last);
        object.end();
        e.size() + 8 * tags::spaces(o.tags)
    }

    fn object(&self, id: u64, out: &mut Vec<u8>) -> usize {
        use super::table::Named;
        let slot = self.node.queues.slot_of(Queue::Reality, id);
        let Some(found) = slot.and_then(|slot| self.node.objects.table.get(slot)) else {
            return 0;
        };
        let mut object = self.object_of(Queue::Reality, id, out);
        object.text(member!("key"), found.name());
        object.text(member!("model"), &found.model);
        object.raw(member!("json"), &found.json);
        object.tags(&found.tags);
        object.signed(member!("epoch"), found.at);
        object.raw(member!("gone"), if found.gone { b"true" } else { b"false" });
        object.end();
        found.size() + 8 * tags::spaces(&found.tags)
    }

    fn object_of<'o>(&self, queue: Queue, id: u64, out: &'o mut Vec<u8>) -> JsonObject<'o> {
        let mut object = JsonObject { out };
        object.text("{\"node\":", self.name);
        object.word(member!("queue"), queue.name());
        object.unsigned(member!("id"), id);
        object
    }
}

/// A JSON object that is being written. Members are given by their beginning.
struct JsonObject<'o> {
    out: &'o mut Vec<u8>,
}

impl JsonObject<'_> {
    fn name(&mut self, name: &str) {
        self.out.extend_from_slice(name.as_bytes());
    }

    fn text(&mut self, name: &str, value: &[u8]) {
        self.name(name);
        write_string(self.out, value);
    }

    /// Writes a word of the module's own, which needs no escaping.
    fn word(&mut self, name: &str, value: &str) {
        self.name(name);
        write_plain(self.out, value.as_bytes());
    }

    fn unsigned(&mut self, name: &str, value: u64) {
        self.name(name);
        write_u64(self.out, value);
    }

    fn level(&mut self, level: u8) {
        self.unsigned(member!("level"), level.into());
        self.word(member!("severity"), level::severity(level));
    }

    fn signed(&mut self, name: &str, value: i64) {
        self.name(name);
        write_i64(self.out, value);
    }

    fn double(&mut self, name: &str, value: f64) {
        self.name(name);
        write_f64(self.out, value);
    }

    fn percentile(&mut self, percentile: Percentile, value: f64) {
        self.name(",\"");
        self.name(&percentile.field());
        self.name("\":");
        write_f64(self.out, value);
    }

    fn tags(&mut self, canonical: &[u8]) {
        self.name(member!("tags"));
        write_tags(self.out, canonical);
    }

    fn raw(&mut self, name: &str, json: &[u8]) {
        self.name(name);
        self.out.extend_from_slice(json);
    }

    fn end(self) {
        self.out.push(b'}');
    }
}
