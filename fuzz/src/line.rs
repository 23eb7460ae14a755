//! Compares `line_protocol::write` with separate parsers, written from InfluxDB's grammar.
//!
//! There are two parsers, because servers differ in the meaning of a backslash. Up to InfluxDB 2 it escapes the next
//! byte, whatever precedes it, so `\\,` is a backslash and a comma. In InfluxDB 3 `\\` is one backslash, so in `\\,`
//! the comma separates. Both must read a line in the same way.

use aggregator_protocol::line_protocol::{self, Line};
use aggregator_protocol::tags;
use arbitrary::{Arbitrary, Unstructured};

/// The server that reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// InfluxDB 1 and 2.
    Two,
    /// InfluxDB 3.
    Three,
}

/// A line as a server reads it.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// The measurement.
    pub measurement: String,
    /// The tags, in order.
    pub tags: Vec<(String, String)>,
    /// The fields as written, in order.
    pub fields: Vec<(String, String)>,
    /// The time, nanoseconds.
    pub time: i64,
}

/// Reads up to an unescaped byte of `ends`, which is not consumed; unescapes `special`.
fn token<'a>(
    text: &'a str,
    ends: &[char],
    special: &[char],
    dialect: Dialect,
) -> Result<(String, &'a str), String> {
    let mut token = String::new();
    let mut chars = text.char_indices().peekable();
    // InfluxDB 2 checks only the byte before, even if that is escaped itself.
    let mut behind_backslash = false;
    while let Some((at, c)) = chars.next() {
        let next = chars.peek().map(|(_, c)| *c);
        match dialect {
            Dialect::Two if ends.contains(&c) && !behind_backslash => {
                return Ok((token, &text[at..]));
            }
            Dialect::Three if ends.contains(&c) => return Ok((token, &text[at..])),
            Dialect::Two => {
                if c != '\\' || !next.is_some_and(|n| special.contains(&n)) {
                    token.push(c);
                }
                behind_backslash = c == '\\';
            }
            Dialect::Three if c == '\\' => {
                match next {
                    Some(n) if n == '\\' || special.contains(&n) => token.push(n),
                    Some(n) => token.extend(['\\', n]),
                    None => token.push('\\'),
                }
                chars.next();
            }
            Dialect::Three => token.push(c),
        }
    }
    Err(format!("a line that ends in {token:?}"))
}

/// Reads a line.
pub fn parse(text: &str, dialect: Dialect) -> Result<Point, String> {
    if text.contains(['\n', '\r', '\0']) || text.starts_with(['#', ' ', '\t']) {
        return Err("not one line".to_owned());
    }
    let (measurement, mut rest) = token(text, &[',', ' '], &[',', ' '], dialect)?;
    let mut tags = Vec::new();
    while let Some(tag) = rest.strip_prefix(',') {
        let (name, value) = token(tag, &['=', ',', ' '], &[',', '=', ' '], dialect)?;
        let value = value.strip_prefix('=').ok_or("a tag without a value")?;
        let (value, after) = token(value, &[',', ' ', '='], &[',', '=', ' '], dialect)?;
        tags.push((name, value));
        rest = after;
    }
    let words = rest.strip_prefix(' ').ok_or("no fields")?;
    let (fields, time) = words.split_once(' ').ok_or("no time")?;
    let fields = fields
        .split(',')
        .map(|field| {
            let (name, value) = field.split_once('=').ok_or("a field without a value")?;
            Ok((name.to_owned(), value.to_owned()))
        })
        .collect::<Result<_, String>>()?;
    let ends = |t: &String| t.is_empty() || t.ends_with('\\');
    if ends(&measurement) || tags.iter().any(|(n, v)| ends(n) || ends(v)) {
        return Err(format!(
            "empty, or a backslash at an end: {measurement} {tags:?}"
        ));
    }
    Ok(Point {
        measurement,
        tags,
        fields,
        time: time.parse().map_err(|_| "a time that is no number")?,
    })
}

/// The names of the fields of percentiles.
const PERCENTILES: [&str; 6] = ["p50", "p90", "p95", "p99", "p99_9", "p0_001"];

/// The bits of the count below the number of percentiles.
const PERCENTILES_SHIFT: u32 = 61;

/// The input.
#[derive(Arbitrary, Debug)]
struct Input<'a> {
    numbers: [f64; 5],
    /// The number of samples; the upper three bits are also the number of percentiles.
    count: u64,
    window_s: u16,
    start_ms: u32,
    /// Node, metric and tags, separated by 0x0b, an arbitrary control character.
    texts: &'a [u8],
}

/// Returns the bytes of an input, for seeds.
pub fn seed(numbers: [f64; 5], percentiles: u64, texts: &str) -> Vec<u8> {
    let mut bytes: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
    bytes.extend((percentiles << PERCENTILES_SHIFT | 3).to_le_bytes());
    bytes.extend(300u16.to_le_bytes());
    bytes.extend(1_700_000_100u32.to_le_bytes());
    bytes.extend(texts.as_bytes());
    bytes
}

/// Runs the target.
pub fn run(data: &[u8]) {
    let Ok(input) = Input::arbitrary_take_rest(Unstructured::new(data)) else {
        return;
    };
    let mut texts = input.texts.splitn(3, |b| *b == 0x0b);
    let mut text = || texts.next().unwrap_or_default();
    let (node, metric) = (text(), text());
    let Ok(tags) = tags::canonical(text()) else {
        return;
    };
    if node.is_empty() || metric.is_empty() {
        return;
    }
    let finite = |v: f64| if v.is_finite() { v } else { 0.5 };
    let [sum, avg, min, max, last] = input.numbers.map(finite);
    let values = [sum, avg, min, max, last].into_iter().cycle();
    let percentiles: Vec<_> = PERCENTILES
        .into_iter()
        .zip(values)
        .take((input.count >> PERCENTILES_SHIFT) as usize)
        .collect();
    let line = Line {
        node,
        metric,
        tags: &tags,
        window_s: input.window_s.into(),
        start_ms: i64::from(input.start_ms) * 1000,
        count: input.count,
        sum,
        avg,
        min,
        max,
        last,
        percentiles: &percentiles,
    };
    check(&line);
}

/// Returns what a text should read back as: within the limits of the grammar.
fn expected(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::new();
    for (i, &c) in chars.iter().enumerate() {
        let before_special = chars.get(i + 1).is_some_and(|n| "\\,= \"".contains(*n));
        let replaced = c < ' ' || c == '\u{7f}' || c == '\\' && before_special;
        out.push(if replaced { '_' } else { c });
    }
    if out.ends_with('\\') {
        out.push('_');
    }
    out
}

fn check(line: &Line<'_>) {
    let mut out = Vec::new();
    line_protocol::write(&mut out, line);
    let text = String::from_utf8(out).expect("a line is UTF-8");
    let point = parse(&text, Dialect::Two).unwrap_or_else(|e| panic!("{e}: {text:?}"));
    let three = parse(&text, Dialect::Three);
    assert_eq!(three.as_ref(), Ok(&point), "{text:?}");
    check_fields(&point, line, &text);
    check_texts(&point, line, &text);
}

fn check_fields(point: &Point, line: &Line<'_>, text: &str) {
    let mut expected = vec![
        ("avg", line.avg),
        ("max", line.max),
        ("min", line.min),
        ("sum", line.sum),
        ("last", line.last),
    ];
    expected.extend(line.percentiles);
    let (count, fields) = point.fields.split_last().expect("the count");
    assert_eq!(fields.len(), expected.len(), "{text:?}");
    for ((name, value), (expected_name, given)) in fields.iter().zip(expected) {
        assert_eq!(name, expected_name, "{text:?}");
        assert!(value.contains(['.', 'e']), "not a float: {text:?}");
        assert_eq!(value.parse(), Ok(given), "{text:?}");
    }
    assert_eq!(*count, ("count".to_owned(), format!("{}i", line.count)));
    assert_eq!(point.time, line.start_ms * 1_000_000);
}

fn check_texts(point: &Point, line: &Line<'_>, text: &str) {
    const OWN: [&str; 12] = [
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
        "_field",
        "_measurement",
    ];
    let mut parts = line.metric.splitn(2, |b| *b == b'@');
    let mut measurement = expected(parts.next().unwrap_or_default());
    if measurement.is_empty() {
        measurement.push('_');
    }
    if let Some(rest) = measurement.strip_prefix('#') {
        measurement = format!("_{rest}");
    }
    assert_eq!(point.measurement, measurement, "{text:?}");
    let mut tags = std::collections::BTreeMap::new();
    for (name, value) in tags::iter(line.tags) {
        let mut name = expected(name);
        let is_field = |(field, _): &(&str, f64)| *field == name;
        if OWN.contains(&name.as_str()) || line.percentiles.iter().any(is_field) {
            name.push('_');
        }
        tags.insert(name, value.map_or("true".to_owned(), expected));
    }
    tags.insert("node".to_owned(), expected(line.node));
    tags.insert("window".to_owned(), format!("{}s", line.window_s));
    tags.insert(
        "instance".to_owned(),
        expected(parts.next().unwrap_or_default()),
    );
    tags.retain(|_, value| !value.is_empty());
    let tags: Vec<_> = tags.into_iter().collect();
    assert_eq!(point.tags, tags, "{text:?}");
}
