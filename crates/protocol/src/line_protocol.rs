//! Writing InfluxDB's line protocol (<https://docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol/>).
//!
//! Whatever bytes are in a name or tag, what is written is one well-formed line that no name can break or forge:
//! - what the grammar can express is escaped: comma and space with a backslash, `=` too in tags;
//! - what it cannot is replaced: a control character by `_`; a backslash at an end gets `_` after it, because it would
//!   escape the separator; one before a comma, an equals sign, a space or another backslash becomes `_`, because
//!   InfluxDB 3 takes two backslashes for one, which 1 and 2 do not, and so does one before a quotation mark, as 1.6
//!   drops it from a measurement; a tag with an empty value is left out; an empty measurement is `_`; a leading `#` (a
//!   comment) becomes `_`; invalid UTF-8 becomes U+FFFD;
//! - the module's tags and fields win: a user's tag of such a name, or `time`, or one that InfluxDB 2 keeps for itself
//!   (`_field`, `_measurement`), is written with `_` appended, and no tag
//!   is written twice (the last holds). Tags are sorted by the bytes of their names as they read back.

use crate::number::{write_f64, write_i64, write_u64};
use crate::tags;
use std::borrow::Cow;

/// A closed window.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// The name of the node.
    pub node: &'a [u8],
    /// The name of the metric: the measurement and, after the first `@`, the instance.
    pub metric: &'a [u8],
    /// The tag list in canonical form.
    pub tags: &'a [u8],
    /// The length of the window, seconds.
    pub window_s: u32,
    /// The start of the window, Unix milliseconds.
    pub start_ms: i64,
    /// The number of samples.
    pub count: u64,
    /// Their sum or total increase.
    pub sum: f64,
    /// Their average or rate.
    pub avg: f64,
    /// The smallest value or rate.
    pub min: f64,
    /// The largest value or rate.
    pub max: f64,
    /// The last value or rate.
    pub last: f64,
    /// The percentiles, by the names of their fields.
    pub percentiles: &'a [(&'a str, f64)],
}

/// Appends the line, without a newline.
pub fn write(out: &mut Vec<u8>, line: &Line<'_>) {
    write_line(out, line, |out, ours| {
        let is_taken = |name: &[u8]| is_field(name, line);
        if is_plain(line.tags) && tags::iter(line.tags).all(|(name, _)| !is_taken(name)) {
            merge(out, ours, line.tags);
        } else {
            sort(out, ours, tags::iter(line.tags), is_taken);
        }
    });
}

/// Appends the line, without a newline, with tags that are names and values in place of a list; a tag without a value
/// has none. Names are not empty. Of a list in canonical form the line is the same.
pub fn write_tagged<'t>(
    out: &mut Vec<u8>,
    line: &Line<'_>,
    tags: impl Iterator<Item = (&'t [u8], Option<&'t [u8]>)>,
) {
    write_line(out, line, |out, ours| {
        sort(out, ours, tags, |name| is_field(name, line));
    });
}

/// Appends the line, without a newline. `write_tags` appends the module's tags and those of the user.
fn write_line(out: &mut Vec<u8>, line: &Line<'_>, write_tags: impl FnOnce(&mut Vec<u8>, Ours<'_>)) {
    let mut parts = line.metric.splitn(2, |b| *b == b'@');
    write_measurement(out, parts.next().unwrap_or_default());
    let instance = clean(parts.next().unwrap_or_default());
    let node = clean(line.node);
    let mut digits = itoa::Buffer::new();
    let digits = digits.format(line.window_s).as_bytes();
    // The digits of a 32-bit number, and the unit.
    let mut window = [b's'; 11];
    (window.iter_mut().zip(digits)).for_each(|(to, digit)| *to = *digit);
    let window = window.get(..=digits.len()).unwrap_or_default();
    // Sorted.
    let ours: Ours<'_> = [
        (b"instance", &instance),
        (b"node", &node),
        (b"window", window),
    ];
    write_tags(out, ours);
    write_field(out, b" avg=", line.avg);
    write_field(out, b",max=", line.max);
    write_field(out, b",min=", line.min);
    write_field(out, b",sum=", line.sum);
    write_field(out, b",last=", line.last);
    for (name, value) in line.percentiles {
        out.push(b',');
        out.extend_from_slice(name.as_bytes());
        write_field(out, b"=", *value);
    }
    out.extend_from_slice(b",count=");
    write_u64(out, line.count);
    out.extend_from_slice(b"i ");
    write_i64(out, line.start_ms);
    out.extend_from_slice(b"000000");
}

/// Appends the measurement.
pub fn write_measurement(out: &mut Vec<u8>, measurement: &[u8]) {
    let measurement = clean(measurement);
    let is_special = |byte| matches!(byte, b',' | b' ');
    match measurement.strip_prefix(b"#") {
        None if measurement.is_empty() => out.push(b'_'),
        None => escape(out, &measurement, is_special),
        Some(rest) => {
            out.push(b'_');
            escape(out, rest, is_special);
        }
    }
}

/// The length of the name is known at compile time, so copying it takes an instruction or two.
fn write_field<const N: usize>(out: &mut Vec<u8>, name: &[u8; N], value: f64) {
    out.extend_from_slice(name);
    write_f64(out, value);
}

/// The module's tags.
type Ours<'a> = [(&'a [u8], &'a [u8]); 3];

/// Returns whether a user's tag cannot have this name: the module's tags and fields have it, or InfluxDB reserves it.
pub fn is_reserved(name: &[u8]) -> bool {
    matches!(
        name,
        b"_field"
            | b"_measurement"
            | b"node"
            | b"window"
            | b"instance"
            | b"avg"
            | b"max"
            | b"min"
            | b"sum"
            | b"last"
            | b"count"
            | b"time"
    )
}

/// Returns whether a user's tag of this line cannot have this name: it is reserved, or that of a percentile.
fn is_field(name: &[u8], line: &Line<'_>) -> bool {
    let mut percentiles = line.percentiles.iter();
    is_reserved(name) || percentiles.any(|(field, _)| field.as_bytes() == name)
}

/// Appends a tag, unless its value is empty.
pub fn write_tag(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    if !value.is_empty() {
        out.push(b',');
        escape_tag(out, name);
        out.push(b'=');
        escape_tag(out, value);
    }
}

/// Appends the name or the value of a tag with a backslash before each special character.
pub fn escape_tag(out: &mut Vec<u8>, text: &[u8]) {
    escape(out, text, |byte| matches!(byte, b',' | b'=' | b' '));
}

/// Returns the name of a user's tag as it is written: with `_` at its end if the name is reserved.
pub fn tag_name(name: &[u8]) -> Cow<'_, [u8]> {
    free_name(name, is_reserved)
}

/// Returns the name of a user's tag, with `_` at its end if it is taken.
pub fn free_name(name: &[u8], is_taken: impl Fn(&[u8]) -> bool) -> Cow<'_, [u8]> {
    let mut name = clean(name);
    if is_taken(&name) {
        name.to_mut().push(b'_');
    }
    name
}

/// Merges the module's tags with others that need no change: their list is sorted, and has no name twice.
fn merge(out: &mut Vec<u8>, ours: Ours<'_>, tags: &[u8]) {
    let mut ours = ours.into_iter().peekable();
    for (name, value) in tags::iter(tags) {
        while let Some((ours, value)) = ours.next_if(|(ours, _)| *ours < name) {
            write_tag(out, ours, value);
        }
        write_tag(out, name, value.unwrap_or(b"true"));
    }
    ours.for_each(|(name, value)| write_tag(out, name, value));
}

/// Merges the module's tags with any others.
fn sort<'t>(
    out: &mut Vec<u8>,
    ours: Ours<'_>,
    tags: impl Iterator<Item = (&'t [u8], Option<&'t [u8]>)>,
    is_taken: impl Fn(&[u8]) -> bool,
) {
    let ours = ours.map(|(name, value)| (Cow::Borrowed(name), Cow::Borrowed(value)));
    let mut all = ours.to_vec();
    for (name, value) in tags {
        let value = value.map_or(Cow::Borrowed(&b"true"[..]), clean);
        all.push((free_name(name, &is_taken), value));
    }
    // Stable: of equal names the last given comes last, and is the one written.
    all.sort_by(|a, b| a.0.cmp(&b.0));
    for (i, (name, value)) in all.iter().enumerate() {
        let is_last = all.get(i + 1).is_none_or(|next| next.0 != *name);
        if is_last {
            write_tag(out, name, value);
        }
    }
}

/// Returns `true` if a text needs no cleaning: printable ASCII without a backslash.
fn is_plain(text: &[u8]) -> bool {
    // The whole text, without a branch for each byte: most text is plain.
    let plain = |byte: &u8| (b' '..0x7f).contains(byte) & (*byte != b'\\');
    text.iter().fold(true, |all, byte| all & plain(byte))
}

/// Returns a text without characters that the grammar cannot express, which are replaced (see above).
pub fn clean(text: &[u8]) -> Cow<'_, [u8]> {
    if is_plain(text) {
        return Cow::Borrowed(text);
    }
    let text = String::from_utf8_lossy(text);
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
    Cow::Owned(cleaned.into_bytes())
}

/// Appends a text with a backslash before each special byte (ASCII).
fn escape(out: &mut Vec<u8>, text: &[u8], is_special: impl Fn(u8) -> bool) {
    let mut rest = text;
    while let Some(at) = rest.iter().position(|byte| is_special(*byte)) {
        let (before, after) = rest.split_at(at);
        out.extend_from_slice(before);
        out.push(b'\\');
        out.extend(after.first());
        rest = after.get(1..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn line(node: &[u8], metric: &[u8], tags: &[u8]) -> String {
        let tags = tags::canonical(tags).unwrap();
        let line = Line {
            node,
            metric,
            tags: &tags,
            window_s: 300,
            start_ms: 1_700_000_100_000,
            count: 3,
            sum: 6.0,
            avg: 2.0,
            min: 0.1,
            max: 1e300,
            last: -5.0,
            percentiles: &[],
        };
        let mut out = Vec::new();
        write(&mut out, &line);
        String::from_utf8(out).unwrap()
    }

    const FIELDS: &str =
        " avg=2.0,max=1e300,min=0.1,sum=6.0,last=-5.0,count=3i 1700000100000000000";

    #[test]
    fn lines_are_as_influxdb_reads_them() {
        for (node, metric, tags, start) in [
            (
                "n1",
                "disk.iops@sda",
                "dim:iops",
                "disk.iops,dim=iops,instance=sda,node=n1,window=300s",
            ),
            ("n1", "m", "", "m,node=n1,window=300s"),
            (
                "n 1",
                "a b,c@x=y",
                "k=1:v,2 k,1:v=2 flag",
                "a\\ b\\,c,flag=true,instance=x\\=y,k=1:v\\,2,k\\,1=v\\=2,node=n\\ 1,window=300s",
            ),
            ("n", "@", "", "_,node=n,window=300s"),
            ("n", "#m", "", "_m,node=n,window=300s"),
            (
                "n",
                "m\n",
                "a:x\\ b: c:\u{7f}",
                "m_,a=x\\_,c=_,node=n,window=300s",
            ),
            (
                "n",
                "m",
                "node:evil time:1 count:7 time_:2",
                "m,count_=7,node=n,node_=evil,time_=2,window=300s",
            ),
            (
                "n\\\"",
                "a\\\"b\"@\\\\\"",
                "k:\\\"v",
                "a_\"b\",instance=__\",k=_\"v,node=n_\",window=300s",
            ),
            (
                "n",
                "a@b@c",
                "instance:i",
                "a,instance=b@c,instance_=i,node=n,window=300s",
            ),
        ] {
            assert_eq!(
                line(node.as_bytes(), metric.as_bytes(), tags.as_bytes()),
                format!("{start}{FIELDS}")
            );
        }
    }

    #[test]
    fn percentiles_are_fields_and_their_names_no_tags() {
        let line = Line {
            node: b"n",
            metric: b"m",
            tags: b"p50:a p9 p99_9 p99_9_:b",
            window_s: 60,
            start_ms: 0,
            count: 1,
            sum: 1.0,
            avg: 1.0,
            min: 1.0,
            max: 1.0,
            last: 1.0,
            percentiles: &[("p50", 1.5), ("p99_9", 2.0)],
        };
        let mut out = Vec::new();
        write(&mut out, &line);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "m,node=n,p50_=a,p9=true,p99_9_=b,window=60s \
             avg=1.0,max=1.0,min=1.0,sum=1.0,last=1.0,p50=1.5,p99_9=2.0,count=1i 0000000"
        );
    }

    /// A separate parser, from the grammar: measurement, tags, fields, time. A backslash keeps the next character from
    /// separating.
    fn parse(line: &str) -> (String, Vec<(String, String)>) {
        assert!(!line.contains(['\n', '\r']) && !line.starts_with('#'));
        let split = |text: &str, at: char| -> Vec<String> {
            let (mut parts, mut escaped) = (vec![String::new()], false);
            for c in text.chars() {
                if c == at && !escaped {
                    parts.push(String::new());
                } else {
                    parts.last_mut().unwrap().push(c);
                }
                escaped = c == '\\';
            }
            parts
        };
        let unescape = |text: &str| {
            text.replace("\\,", ",")
                .replace("\\ ", " ")
                .replace("\\=", "=")
        };
        let sections = split(line, ' ');
        assert_eq!(sections.len(), 3, "{line}");
        assert_eq!(format!(" {} {}", sections[1], sections[2]), FIELDS);
        let key = split(&sections[0], ',');
        let tags = key[1..].iter().map(|tag| {
            let pair = split(tag, '=');
            assert_eq!(pair.len(), 2, "{line}");
            assert!(
                pair.iter().all(|p| !p.is_empty() && !p.ends_with('\\')),
                "{line}"
            );
            (unescape(&pair[0]), unescape(&pair[1]))
        });
        assert!(!key[0].is_empty() && !key[0].ends_with('\\'));
        (unescape(&key[0]), tags.collect())
    }

    proptest! {
        #[test]
        fn any_bytes_give_one_well_formed_line(
            node in prop::collection::vec(any::<u8>(), 1..20),
            metric: Vec<u8>,
            tags in "[a-c:=, \\\\\n#é\u{1}]{0,40}".prop_filter("names", |t| tags::canonical(t.as_bytes()).is_ok()),
        ) {
            let (_, tags) = parse(&line(&node, &metric, tags.as_bytes()));
            prop_assert!(tags.windows(2).all(|w| w[0].0 < w[1].0), "{:?}", tags);
            prop_assert!(tags.iter().any(|(name, value)| name == "window" && value == "300s"));
        }

        #[test]
        fn plain_tags_are_merged_as_they_are_sorted(tags in "[a-z:=, _]{0,40}", instance in "[a-z@]{0,3}") {
            if let Ok(tags) = tags::canonical(tags.as_bytes())
                && tags::iter(&tags).all(|(name, _)| !is_reserved(name))
            {
                let ours: Ours<'_> = [(b"instance", instance.as_bytes()), (b"node", b"n"), (b"window", b"300s")];
                let (mut merged, mut sorted) = (Vec::new(), Vec::new());
                merge(&mut merged, ours, &tags);
                sort(&mut sorted, ours, tags::iter(&tags), is_reserved);
                prop_assert_eq!(String::from_utf8(merged), String::from_utf8(sorted));
            }
        }

        #[test]
        fn expressible_text_reads_back(metric in "[a-z,= .]{1,12}", value in "([a-z,= é]|\\\\[a-z]){0,8}[a-z]") {
            let value = value.replace(' ', "_");
            let (measurement, tags) = parse(&line(b"n", metric.as_bytes(), format!("k:{value}").as_bytes()));
            prop_assert_eq!(measurement, metric);
            prop_assert!(tags.contains(&("k".to_owned(), value)));
        }
    }
}
