//! Converts records to the two lines of a bulk request: the action with its index, and the document.
//!
//! # Invariants
//!
//! Each is one line, whatever a record contains, so no record can forge an action. A document has the fields of its record,
//! with `@timestamp`, and of a window `measurement` and `instance`.

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::config::{IndexBy, OpenSearch};
use crate::record::{Content, Record, Tags, Window};

use super::identity;

/// Returns both lines, with a newline between them.
///
/// # Errors
///
/// Returns the reason why a server could not store the record.
pub fn lines(record: &Record<'_>, settings: &OpenSearch) -> Result<Vec<u8>, String> {
    if record.id < 0 {
        return Err("the record's id is invalid".into());
    }
    let mut out = Vec::with_capacity(1024);
    action(&mut out, record, settings)?;
    out.push(b'\n');
    let mut object = Object::begin(&mut out);
    object.field("node", &record.node);
    object.field("queue", record.queue.name());
    object.field("id", &record.id);
    match &record.content {
        Content::Window(window) => window_fields(&mut object, window),
        Content::Log(log) => {
            object.field("@timestamp", &log.epoch);
            object.field("message", &log.message);
            object.field("level", &log.level);
            object.field("severity", &log.severity);
            tags(&mut object, &log.tags);
            object.field("epoch", &log.epoch);
        }
        Content::Error(error) => {
            object.field("@timestamp", &error.last);
            for (name, text) in [
                ("key", &error.key),
                ("message", &error.message),
                ("public", &error.public),
                ("severity", &error.severity),
                ("type", &error.kind),
                ("code", &error.code),
                ("func", &error.function),
                ("file", &error.file),
                ("backtrace", &error.backtrace),
            ] {
                object.field(name, text);
            }
            object.field("level", &error.level);
            tags(&mut object, &error.tags);
            object.field("gid", &error.gid);
            object.field("nid", &error.nid);
            object.field("occurrences", &error.occurrences);
            object.field("first", &error.first);
            object.field("last", &error.last);
        }
        Content::Object(state) => {
            object.field("@timestamp", &state.epoch);
            object.field("key", &state.key);
            object.field("model", &state.model);
            object.json("json", state.json);
            tags(&mut object, &state.tags);
            object.field("epoch", &state.epoch);
            object.field("gone", &state.gone);
        }
    }
    object.end();
    Ok(out)
}

fn action(out: &mut Vec<u8>, record: &Record<'_>, settings: &OpenSearch) -> Result<(), String> {
    let (name, is_state) = match &record.content {
        Content::Window(_) => ("statistics", false),
        Content::Log(_) => ("logs", false),
        Content::Error(_) => ("errors", true),
        Content::Object(_) => ("reality", true),
    };
    let mut index = format!("{}{name}", settings.prefix);
    if !is_state && let Some(date) = date(record.id, settings.by)? {
        index = format!("{index}-{date}");
    }
    let verb = if is_state { "index" } else { "create" };
    out.extend_from_slice(format!("{{\"{verb}\":").as_bytes());
    let mut object = Object::begin(out);
    object.field("_index", &index);
    object.field("_id", &identity::of(record));
    if is_state {
        object.field("version", &record.id);
        object.field("version_type", "external");
    }
    object.end();
    out.push(b'}');
    Ok(())
}

/// Returns the end of the name of an index. It depends on nothing but the id of the record, so a repeated record goes to
/// the same index; and the id is the time by the clock of the server, so no reporter can make an index per day of the past.
fn date(id: i64, by: IndexBy) -> Result<Option<String>, String> {
    let format = match by {
        IndexBy::Nothing => return Ok(None),
        IndexBy::Day => "%Y.%m.%d",
        IndexBy::Month => "%Y.%m",
    };
    let time = jiff::Timestamp::from_microsecond(id).map_err(|error| error.to_string())?;
    Ok(Some(time.strftime(format).to_string()))
}

fn window_fields(object: &mut Object<'_>, window: &Window<'_>) {
    let (measurement, instance) = window.measurement_and_instance();
    object.field("@timestamp", &window.start);
    object.field("metric", &window.metric);
    object.field("measurement", measurement);
    object.field("instance", instance);
    object.field("type", &window.kind);
    object.field("window", &window.seconds);
    object.field("start", &window.start);
    object.field("end", &window.end);
    object.field("count", &window.count);
    for (name, value) in [
        ("sum", window.sum),
        ("avg", window.avg),
        ("min", window.min),
        ("max", window.max),
        ("last", window.last),
    ] {
        object.field(name, &value);
    }
    for (name, value) in &window.percentiles {
        object.field(name, value);
    }
    if let Some(histogram) = &window.histogram {
        object.json("hist", histogram.json);
    }
    tags(object, &window.tags);
}

/// Adds the tags. A NUL, which servers reject in a name, becomes U+2400; two names that become equal stay two.
fn tags(object: &mut Object<'_>, tags: &Tags<'_>) {
    if !tags.json().contains("\\u0000") {
        return object.json("tags", tags.json());
    }
    let mut all = Vec::new();
    let mut named = Object::begin(&mut all);
    let mut seen = BTreeSet::new();
    for (name, value) in tags.iter() {
        let mut name = Cow::Borrowed(name);
        if name.contains('\0') {
            name = name.replace('\0', "\u{2400}").into();
        }
        while !seen.insert(name.clone()) {
            name.to_mut().push('_');
        }
        named.field(&name, value);
    }
    named.end();
    object.json("tags", &String::from_utf8_lossy(&all));
}

/// Writes the members of a JSON object.
struct Object<'a> {
    out: &'a mut Vec<u8>,
    is_empty: bool,
}

impl Object<'_> {
    fn begin(out: &mut Vec<u8>) -> Object<'_> {
        out.push(b'{');
        Object {
            out,
            is_empty: true,
        }
    }

    fn field<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) {
        if !std::mem::take(&mut self.is_empty) {
            self.out.push(b',');
        }
        // Writing to memory does not fail, and no map with other keys than texts is written.
        let _ = serde_json::to_writer(&mut *self.out, name);
        self.out.push(b':');
        let _ = serde_json::to_writer(&mut *self.out, value);
    }

    /// Writes a value that is JSON. Between its tokens it may have newlines, which would end the line.
    fn json(&mut self, name: &str, json: &str) {
        let json = match json.contains(['\n', '\r']) {
            true => json.replace(['\n', '\r'], " "),
            false => json.to_owned(),
        };
        // What a record has is valid JSON.
        let value = RawValue::from_string(json).ok();
        self.field(name, &value);
    }

    fn end(self) {
        self.out.push(b'}');
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn two(text: &str, by: IndexBy) -> (Value, Value) {
        let lines = lines_of(text, by).unwrap();
        let parts: Vec<&[u8]> = lines.split(|byte| *byte == b'\n').collect();
        assert_eq!(parts.len(), 2, "{}", String::from_utf8_lossy(&lines));
        let parse = |part| serde_json::from_slice(part).unwrap();
        (parse(parts[0]), parse(parts[1]))
    }

    fn lines_of(text: &str, by: IndexBy) -> Result<Vec<u8>, String> {
        let mut settings = OpenSearch::example();
        settings.by = by;
        lines(&Record::parse(text.as_bytes()).unwrap(), &settings)
    }

    const MIN: &str = r#"{"node":"n","queue":"MIN","id":1700000000000000,"metric":"m@a","type":"ABS","window":300,
        "start":300000,"end":600000,"count":2,"sum":3,"avg":1.5,"min":-1,"max":2e300,"last":0.1,"p50":1,"p99_9":2,
        "hist":{"scale":5,"zero":0,"pos":[0,[2]],"neg":[0,[]]},"tags":{"a.b":"x","a":"y","w":true}}"#;

    #[test]
    fn window_is_created_once() {
        let (action, document) = two(MIN, IndexBy::Day);
        let id = "MIN/1700000000000000/n";
        assert_eq!(
            action,
            json!({"create": {"_index": "agg-statistics-2023.11.14", "_id": id}})
        );
        let expected = json!({
            "node": "n", "queue": "MIN", "id": 1_700_000_000_000_000_u64, "@timestamp": 300_000, "metric": "m@a",
            "measurement": "m", "instance": "a", "type": "ABS", "window": 300, "start": 300_000, "end": 600_000,
            "count": 2, "sum": 3.0, "avg": 1.5, "min": -1.0, "max": 2e300, "last": 0.1, "p50": 1.0, "p99_9": 2.0,
            "hist": {"scale": 5, "zero": 0, "pos": [0, [2]], "neg": [0, []]},
            "tags": {"a.b": "x", "a": "y", "w": true},
        });
        assert_eq!(document, expected);
        let (action, _) = two(MIN, IndexBy::Month);
        assert_eq!(action["create"]["_index"], "agg-statistics-2023.11");
        let (action, _) = two(MIN, IndexBy::Nothing);
        assert_eq!(action["create"]["_index"], "agg-statistics");
    }

    #[test]
    fn state_replaces_an_older_one() {
        let object = "{\"node\":\"a/b\",\"queue\":\"REALITY\",\"id\":9,\"key\":\"k\",\"model\":\"m\",
            \"json\":{\"x\":\n\r{\"delete\":1}},\"tags\":{\"a\\u0000\":\"1\",\"a␀\":\"2\"},\"epoch\":5,\"gone\":true}";
        let (action, document) = two(object, IndexBy::Day);
        assert_eq!(
            action,
            json!({"index": {"_index": "agg-reality", "_id": "a%2Fb/k", "version": 9, "version_type": "external"}})
        );
        assert_eq!(document["json"], json!({"x": {"delete": 1}}));
        assert_eq!(document["tags"], json!({"a␀": "1", "a␀_": "2"}));
        assert_eq!(
            (&document["gone"], &document["@timestamp"]),
            (&json!(true), &json!(5))
        );
    }

    #[test]
    fn impossible_ids_are_rejected() {
        let text = MIN.replace("1700000000000000", "-1");
        assert_eq!(
            lines_of(&text, IndexBy::Nothing),
            Err("the record's id is invalid".into())
        );
        let text = MIN.replace("1700000000000000", "9223372036854775807");
        assert!(lines_of(&text, IndexBy::Nothing).is_ok());
        assert!(lines_of(&text, IndexBy::Day).is_err());
    }
}
