//! A record of MIN or HOUR as line protocol, made from its JSON: the same line, byte for byte, that the server writes
//! with `FORMAT LINE`, so that what was kept as JSON can go to a database later. Pure.
//!
//! The grammar is InfluxDB's (<https://docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol/>); what it cannot
//! express is replaced as the aggregator's contract says. No name can break or forge a line.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

/// What of a record a line holds. Numbers stay as they are written.
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
    /// A word without a value: true.
    Word(bool),
    #[serde(borrow)]
    Value(Cow<'a, str>),
}

/// Names that a user's tag must not have: those of the module's tags and fields, and those that InfluxDB keeps.
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

/// The line of a record, without a newline.
///
/// Returns an error if it is not the JSON of a record of MIN or HOUR.
pub fn of(json: &[u8]) -> Result<Vec<u8>, String> {
    let record: Record =
        serde_json::from_slice(json).map_err(|error| format!("no record of a window: {error}"))?;
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

/// Text without what the grammar cannot express, replaced as the server does it.
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
        String::from_utf8(of(json.as_bytes()).unwrap()).unwrap()
    }

    #[test]
    fn a_line() {
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
    fn what_is_no_record_of_a_window() {
        for text in [
            "",
            "{}",
            "[1]",
            r#"{"node":"n","queue":"LOG","message":"x"}"#,
        ] {
            let error = of(text.as_bytes()).unwrap_err();
            assert!(error.starts_with("no record of a window"), "{error}");
        }
    }
}
