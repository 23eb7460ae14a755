//! Converts records of MIN and HOUR from JSON to line protocol. The result equals, byte for byte, what the server returns
//! with `FORMAT LINE`, so that records stored as JSON can be written to a database later. No I/O.
//!
//! The grammar is that of InfluxDB (<https://docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol/>). Characters
//! that it cannot express are replaced as the aggregator's contract says. No name can break or forge a line.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde::de::{Error, Unexpected};
use serde_json::value::RawValue;

use aggregator_protocol::line_protocol::{
    clean, free_name, is_reserved, write_measurement, write_tag,
};
use aggregator_protocol::percentile::percentage;

use crate::json::{Members, Text};

/// The tags of a line, sorted by their names.
type Tags<'a> = BTreeMap<Cow<'a, [u8]>, Cow<'a, [u8]>>;

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
    let record: Members = serde_json::from_slice(json)?;
    let (Text(node), Text(metric)) = (read(&record, "node")?, read(&record, "metric")?);
    let (window, start): (u64, i64) = (read(&record, "window")?, read(&record, "start")?);
    let percentiles = percentiles(&record)?;
    let mut line = Vec::with_capacity(json.len());
    let (measurement, instance) = metric.split_once('@').unwrap_or((&metric, ""));
    write_measurement(&mut line, measurement.as_bytes());
    let window = format!("{window}s");
    let mut tags = user_tags(&record, &percentiles)?;
    tags.insert(Cow::Borrowed(b"instance"), clean(instance.as_bytes()));
    tags.insert(Cow::Borrowed(b"node"), clean(node.as_bytes()));
    tags.insert(Cow::Borrowed(b"window"), window.as_bytes().into());
    for (name, value) in &tags {
        write_tag(&mut line, name, value);
    }
    let mut separator = b' ';
    let mut write_field = |name: &str, number: &str| {
        line.push(separator);
        separator = b',';
        [name, "=", number]
            .iter()
            .for_each(|part| line.extend_from_slice(part.as_bytes()));
    };
    for name in ["avg", "max", "min", "sum", "last"] {
        write_field(name, number(member(&record, name)?)?);
    }
    for (name, number) in percentiles {
        write_field(name, number);
    }
    let count: u64 = read(&record, "count")?;
    write_field("count", &format!("{count}i {start}000000"));
    Ok(line)
}

/// Returns a line with the last millisecond of its window as its time, in place of the start. A line that is not that of a
/// window stays as it is.
pub fn at_end(line: &[u8]) -> Cow<'_, [u8]> {
    moved_to_end(line).map_or(Cow::Borrowed(line), Cow::Owned)
}

fn moved_to_end(line: &[u8]) -> Option<Vec<u8>> {
    // Fields are numbers, so the last blank is the one before the time.
    let (head, start) = line.split_at(line.iter().rposition(|byte| *byte == b' ')? + 1);
    let start: i64 = std::str::from_utf8(start).ok()?.parse().ok()?;
    let length = window_seconds(head)?.checked_mul(1_000_000_000)?;
    let end = start.checked_add(length)?.checked_sub(1_000_000)?;
    Some([head, end.to_string().as_bytes()].concat())
}

/// Returns the length of the window, which is a tag of the line.
fn window_seconds(line: &[u8]) -> Option<i64> {
    let (mut begin, mut is_escaped) = (None, false);
    for (at, byte) in line.iter().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b',' | b' ' => {
                let tag = begin.map_or(&b""[..], |begin| &line[begin..at]);
                if let Some(length) = tag.strip_prefix(b"window=") {
                    let digits = length.strip_suffix(b"s")?;
                    return std::str::from_utf8(digits).ok()?.parse().ok();
                }
                if *byte == b' ' {
                    return None;
                }
                begin = Some(at + 1);
            }
            _ => {}
        }
    }
    None
}

/// Returns the value of a member as it was written.
fn member<'a>(record: &Members<'a>, name: &'static str) -> Result<&'a RawValue, serde_json::Error> {
    let found = record.0.iter().find(|(other, _)| other == name);
    found.map_or_else(|| Err(Error::missing_field(name)), |(_, raw)| Ok(*raw))
}

/// Reads the value of a member.
fn read<'a, T: Deserialize<'a>>(
    record: &Members<'a>,
    name: &'static str,
) -> Result<T, serde_json::Error> {
    serde_json::from_str(member(record, name)?.get())
}

/// Returns a number with its spelling.
fn number(raw: &RawValue) -> Result<&str, serde_json::Error> {
    let text = raw.get();
    match text.as_bytes() {
        [b'-' | b'0'..=b'9', ..] => Ok(text),
        _ => Err(Error::invalid_type(Unexpected::Other(text), &"a number")),
    }
}

/// Returns the percentiles of a record, which `agg.percentiles` determines, in their order.
fn percentiles<'a>(record: &'a Members) -> Result<Vec<(&'a str, &'a str)>, serde_json::Error> {
    let found = record
        .0
        .iter()
        .filter(|(name, _)| percentage(name).is_some());
    found
        .map(|(name, raw)| Ok((&**name, number(raw)?)))
        .collect()
}

/// Returns the user's tags under the names that the module gives them. Of equal names the last one holds.
fn user_tags<'a>(
    record: &Members<'a>,
    percentiles: &[(&str, &str)],
) -> Result<Tags<'a>, serde_json::Error> {
    let fields: BTreeSet<&[u8]> = (percentiles.iter())
        .map(|(field, _)| field.as_bytes())
        .collect();
    let is_taken = |name: &[u8]| is_reserved(name) || fields.contains(name);
    let tags: Members<'a> = read(record, "tags")?;
    let mut named = Tags::new();
    for (name, raw) in tags.0 {
        let value = match raw.get() {
            // A tag without a value is `true`.
            word @ ("true" | "false") => word.as_bytes().into(),
            text => {
                let Text(text) = serde_json::from_str(text)?;
                apply(text, clean)
            }
        };
        named.insert(apply(name, |name| free_name(name, is_taken)), value);
    }
    Ok(named)
}

/// Applies a function to a text that may be borrowed for longer than this call.
fn apply<'a>(text: Cow<'a, str>, change: impl Fn(&[u8]) -> Cow<'_, [u8]>) -> Cow<'a, [u8]> {
    match text {
        Cow::Borrowed(text) => change(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(change(text.as_bytes()).into_owned()),
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
    fn time_of_a_line_is_moved_to_the_end_of_its_window() {
        let moved = |line: &str| String::from_utf8(at_end(line.as_bytes()).into_owned()).unwrap();
        // The text "window=5s" is a part of the measurement, and of the value of a tag.
        let all = line(r#"{"a":"x,window=5s y","z":"1"}"#).replace("\\#a", "window=5s,a");
        for line in [
            &*all,
            "window=5s\\,window=6s,node=n,window=300s avg=1 300000000000",
        ] {
            let moved = moved(line);
            assert_eq!(
                moved.strip_suffix("599999000000"),
                line.strip_suffix("300000000000")
            );
        }
        for line in [
            "",
            " ",
            "m",
            "m,node=n avg=1 1",
            "m,window=5 avg=1 1",
            "m,window=9223372037s avg=1 1000",
        ] {
            assert_eq!(moved(line), line);
        }
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
    fn percentiles_are_fields_and_their_names_no_tags() {
        let json = r#"{"node":"n","queue":"MIN","id":1,"metric":"m","type":"ABS","window":60,"start":0,"end":60000,
            "count":1,"sum":1.0,"avg":1.0,"min":1.0,"max":1.0,"last":1.0,"p50":1.50,"p99_9":2.0,"hist":{"p1":7},
            "tags":{"p50":"a","p9":true,"p99_9":"lost","p99_9_":"b"}}"#;
        assert_eq!(
            String::from_utf8(from_json(json.as_bytes()).unwrap()).unwrap(),
            "m,node=n,p50_=a,p9=true,p99_9_=b,window=60s \
             avg=1.0,max=1.0,min=1.0,sum=1.0,last=1.0,p50=1.50,p99_9=2.0,count=1i 0000000"
        );
        let forged = json.replace("2.0", r#"{"a b": 1}"#);
        assert!(from_json(forged.as_bytes()).is_err());
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
