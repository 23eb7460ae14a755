//! Converts records of MIN and HOUR from JSON to line protocol. The result equals, byte for byte, what the server returns
//! with `FORMAT LINE`, so that records stored as JSON can be written to a database later. No I/O.
//!
//! The grammar is that of InfluxDB (<https://docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol/>). Characters
//! that it cannot express are replaced as the aggregator's contract says. No name can break or forge a line.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

/// The fields of a record that a line has. Numbers keep their spelling.
#[derive(Deserialize)]
struct Record<'a> {
    #[serde(borrow)]
    node: Cow<'a, str>,
    #[serde(borrow)]
    metric: Cow<'a, str>,
    window: u64,
    start: i64,
    count: u64,
    #[serde(borrow)]
    avg: &'a RawValue,
    #[serde(borrow)]
    max: &'a RawValue,
    #[serde(borrow)]
    min: &'a RawValue,
    #[serde(borrow)]
    sum: &'a RawValue,
    #[serde(borrow)]
    last: &'a RawValue,
    #[serde(borrow)]
    tags: BTreeMap<Cow<'a, str>, Tag<'a>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Tag<'a> {
    /// A tag without a value, which is `true`.
    Word(bool),
    #[serde(borrow)]
    Value(Cow<'a, str>),
}

/// Names that a user's tag cannot have: those of the module's tags and fields, and those reserved by InfluxDB.
pub const RESERVED: [&str; 12] = [
    "_field",
    "_measurement",
    "node",
    "window",
    "instance",
    "avg",
    "max",
    "min",
    "sum",
    "last",
    "count",
    "time",
];

/// Returns the line of a record, without a newline.
///
/// # Errors
/// The text is not the JSON of a record of MIN or HOUR.
pub fn from_json(json: &[u8]) -> Result<Vec<u8>, String> {
    let record: Record = serde_json::from_slice(json)
        .map_err(|error| format!("not a record of MIN or HOUR: {error}"))?;
    let (measurement, instance) = match record.metric.split_once('@') {
        Some((measurement, instance)) => (measurement, instance),
        None => (&*record.metric, ""),
    };
    let mut line = String::with_capacity(json.len());
    let measurement = clean(measurement);
    match measurement.strip_prefix('#') {
        None if measurement.is_empty() => line.push('_'),
        None => escape(&mut line, &measurement, ", "),
        Some(rest) => {
            line.push('_');
            escape(&mut line, rest, ", ");
        }
    }
    let mut tags = BTreeMap::new();
    for (name, value) in &record.tags {
        let mut name = clean(name);
        if RESERVED.contains(&&*name) {
            name.push('_');
        }
        let value = match value {
            Tag::Word(word) => word.to_string(),
            Tag::Value(value) => clean(value),
        };
        tags.insert(name, value);
    }
    tags.insert("instance".into(), clean(instance));
    tags.insert("node".into(), clean(&record.node));
    tags.insert("window".into(), format!("{}s", record.window));
    for (name, value) in tags.iter().filter(|(_, value)| !value.is_empty()) {
        line.push(',');
        escape(&mut line, name, ",= ");
        line.push('=');
        escape(&mut line, value, ",= ");
    }
    let (count, start) = (record.count, record.start);
    let [avg, max, min, sum, last] =
        [record.avg, record.max, record.min, record.sum, record.last].map(RawValue::get);
    line += &format!(
        " avg={avg},max={max},min={min},sum={sum},last={last},count={count}i {start}000000"
    );
    Ok(line.into_bytes())
}

/// Returns a text without characters that the grammar cannot express, replaced as the server does.
pub fn clean(text: &str) -> String {
    let mut cleaned = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match (c, rest.peek()) {
            ('\\', Some('\\' | ',' | '=' | ' ' | '"')) => cleaned.push('_'),
            ('\\', None) => cleaned.push_str("\\_"),
            ('\u{7f}' | '\0'..'\u{20}', _) => cleaned.push('_'),
            (c, _) => cleaned.push(c),
        }
    }
    cleaned
}

/// Appends text with a backslash before each special character.
fn escape(line: &mut String, text: &str, special: &str) {
    for c in text.chars() {
        if special.contains(c) {
            line.push('\\');
        }
        line.push(c);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(tags: &str) -> String {
        let json = format!(
            r##"{{"node":"n1","queue":"MIN","id":1,"metric":"#a b@s,d@1","type":"ABS","window":300,"start":300000,
            "end":600000,"count":2,"sum":4.50,"avg":2.25,"min":1.5,"max":3.0,"last":1e300,"tags":{tags}}}"##
        );
        String::from_utf8(from_json(json.as_bytes()).unwrap()).unwrap()
    }

    #[test]
    fn record_becomes_a_line() {
        let fields = "avg=2.25,max=3.0,min=1.5,sum=4.50,last=1e300,count=2i 300000000000";
        assert_eq!(
            line("{}"),
            format!("_a\\ b,instance=s\\,d@1,node=n1,window=300s {fields}")
        );
        let tags = r#"{"z":"a=b","flag":true,"node":"x","none":"","nl":"a\nb","back":"c\\","quote":"\\\"q"}"#;
        assert_eq!(
            line(tags),
            format!(
                "_a\\ b,back=c\\_,flag=true,instance=s\\,d@1,nl=a_b,node=n1,node_=x,quote=_\"q,window=300s,z=a\\=b {fields}"
            )
        );
    }

    #[test]
    fn other_records_are_rejected() {
        for text in [
            "",
            "{}",
            "[1]",
            r#"{"node":"n","queue":"LOG","message":"x"}"#,
        ] {
            let error = from_json(text.as_bytes()).unwrap_err();
            assert!(error.starts_with("not a record of MIN or HOUR"), "{error}");
        }
    }
}
