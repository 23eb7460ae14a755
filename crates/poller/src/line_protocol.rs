//! Converts records of MIN and HOUR from JSON to line protocol. The result equals, byte for byte, what the server returns
//! with `FORMAT LINE`, so that records stored as JSON can be written to a database later. No I/O.
//!
//! The grammar is that of InfluxDB (<https://docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol/>). Characters
//! that it cannot express are replaced as the aggregator's contract says. No name can break or forge a line.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use aggregator_protocol::line_protocol::{clean, tag_name, write_measurement, write_tag};

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

/// A text that is not the JSON of a record of MIN or HOUR.
#[derive(Debug, thiserror::Error)]
#[error("not a record of MIN or HOUR: {0}")]
pub struct NotAWindow(#[from] serde_json::Error);

/// Returns the line of a record, without a newline.
///
/// # Errors
///
/// Returns an error if the text is not the JSON of a record of MIN or HOUR.
pub fn from_json(json: &[u8]) -> Result<Vec<u8>, NotAWindow> {
    let record: Record = serde_json::from_slice(json)?;
    let (measurement, instance) = match record.metric.split_once('@') {
        Some((measurement, instance)) => (measurement, instance),
        None => (&*record.metric, ""),
    };
    let mut line = Vec::with_capacity(json.len());
    write_measurement(&mut line, measurement.as_bytes());
    let mut tags: BTreeMap<Cow<[u8]>, Cow<[u8]>> = BTreeMap::new();
    for (name, value) in &record.tags {
        let value = match value {
            Tag::Word(true) => Cow::Borrowed(&b"true"[..]),
            Tag::Word(false) => Cow::Borrowed(&b"false"[..]),
            Tag::Value(value) => clean(value.as_bytes()),
        };
        tags.insert(tag_name(name.as_bytes()), value);
    }
    let window = format!("{}s", record.window);
    tags.insert(Cow::Borrowed(b"instance"), clean(instance.as_bytes()));
    tags.insert(Cow::Borrowed(b"node"), clean(record.node.as_bytes()));
    tags.insert(Cow::Borrowed(b"window"), window.as_bytes().into());
    for (name, value) in &tags {
        write_tag(&mut line, name, value);
    }
    let (count, start) = (record.count, record.start);
    let [avg, max, min, sum, last] =
        [record.avg, record.max, record.min, record.sum, record.last].map(RawValue::get);
    let fields = format!(
        " avg={avg},max={max},min={min},sum={sum},last={last},count={count}i {start}000000"
    );
    line.extend_from_slice(fields.as_bytes());
    Ok(line)
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
            let error = from_json(text.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with("not a record of MIN or HOUR"), "{error}");
        }
    }
}
