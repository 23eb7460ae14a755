//! Parses any bytes as statsd and as Graphite's plaintext protocol.
//!
//! A packet gives the same as its lines, however a stream of them is divided. Each line that is not blank is used or
//! counted. Samples are those that a naive parser finds. The memory is a multiple of the input.

use agg_listener::lines::{Line, Lines};
use agg_listener::{graphite, statsd};

use crate::memory::measured;
use crate::received::{Ignored, Received, ReceivedSample, Report};

/// The bytes that are allocated per byte of input, at most: two bytes are a tag, for which a vector of attributes may
/// take three times 48 bytes while it grows.
const MEMORY_PER_BYTE: usize = 128;

/// Runs the target.
pub fn run(data: &[u8]) {
    let statsd_reports = |bytes: &[u8]| {
        let mut received = Received::default();
        statsd::parse(bytes, &mut received);
        received.reports
    };
    let graphite_reports = |bytes: &[u8]| {
        let mut received = Received::default();
        graphite::parse(bytes, &mut received);
        received.reports
    };
    check(data, statsd_reports, statsd_samples);
    check(data, graphite_reports, graphite_samples);
    let most = (MEMORY_PER_BYTE * data.len() + 1024) as isize;
    let (_, peak, kept) = measured(|| statsd::parse(data, &mut Ignored));
    assert!(peak <= most && kept == 0, "{peak} bytes");
    let (_, peak, kept) = measured(|| graphite::parse(data, &mut Ignored));
    assert!(peak <= most && kept == 0, "{peak} bytes");
}

fn check(
    data: &[u8],
    parse: impl Fn(&[u8]) -> Vec<Report>,
    naive_samples: impl Fn(&str) -> Option<Vec<ReceivedSample>>,
) {
    let mut together = Vec::new();
    let mut lines = Lines::new(data.len());
    let mut each = |line: Line<'_>| {
        let Line::Complete(line) = line else {
            panic!("no line is longer than all");
        };
        let reports = parse(line);
        let is_blank = line.iter().all(u8::is_ascii_whitespace);
        assert!(!reports.is_empty() || is_blank);
        let text = String::from_utf8_lossy(line);
        if let Some(expected) = naive_samples(&text) {
            let samples = reports.iter().filter_map(|report| match report {
                Report::Sample(sample) => Some(sample),
                _ => None,
            });
            let samples: Vec<&ReceivedSample> = samples.collect();
            let is_equal = samples.len() == expected.len()
                && samples.iter().zip(&expected).all(|(a, b)| is_near(a, b));
            assert!(is_equal, "{text:?}: {samples:?}, expected {expected:?}");
        }
        together.extend(reports);
    };
    for chunk in data.chunks(data.len() % 7 + 1) {
        lines.push(chunk, &mut each);
    }
    lines.finish(&mut each);
    assert_eq!(parse(data), together);
}

/// Compares samples; the value of an increment may be rounded twice.
fn is_near(a: &ReceivedSample, b: &ReceivedSample) -> bool {
    let is_near = (a.value - b.value).abs() <= 4.0 * f64::EPSILON * b.value.abs();
    let value = a.value;
    let b = ReceivedSample { value, ..b.clone() };
    is_near && *a == b
}

fn number(text: &str) -> Option<f64> {
    let is_decimal = text.chars().all(|c| "+-.0123456789eE".contains(c));
    let number: f64 = text.parse().ok()?;
    (is_decimal && number.is_finite()).then_some(number + 0.0)
}

fn milliseconds(text: &str) -> Option<i64> {
    let time = (number(text)? * 1000.0).round();
    (0.0..253_402_300_800_000.0)
        .contains(&time)
        .then_some(time as i64)
}

/// The samples of a line of statsd; `None` if it is an event or a service check.
fn statsd_samples(line: &str) -> Option<Vec<ReceivedSample>> {
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.starts_with("_e{") || line.starts_with("_sc|") {
        return None;
    }
    let none = Some(Vec::new());
    let (Some((name, rest)), false) = (line.split_once(':'), line.starts_with(':')) else {
        return none;
    };
    let parts: Vec<&str> = rest.split('|').collect();
    let [values, kind, fields @ ..] = &parts[..] else {
        return none;
    };
    let (mut rate, mut at, mut attributes) = (1.0, None, Vec::new());
    for field in fields {
        match field.chars().next() {
            Some('@') => match number(&field[1..]) {
                Some(value) if value > 0.0 && value <= 1.0 && 1.0 / value < 4_294_967_296.5 => {
                    rate = value
                }
                _ => return none,
            },
            Some('T') => match milliseconds(&field[1..]) {
                Some(time) => at = Some(time),
                None => return none,
            },
            Some('#') => attributes.extend(field[1..].split(',').filter_map(|tag| {
                let (name, value) = tag.split_once(':').unwrap_or((tag, ""));
                (!name.is_empty()).then(|| (name.to_owned(), value.to_owned()))
            })),
            _ => {}
        }
    }
    let times = (1.0 / rate).round();
    let sample = |value: &str| {
        let (kind, value) = match *kind {
            "s" if !value.is_empty() => (format!("MEMBER {value}"), 0.0),
            "s" => return None,
            "c" => ("INC".to_owned(), number(value)? / rate),
            "g" if value.starts_with(['+', '-']) => ("ADD".to_owned(), number(value)?),
            "g" => ("ABS".to_owned(), number(value)?),
            "ms" => (format!("HIST x{times} ms"), number(value)?),
            "h" | "d" => (format!("HIST x{times}"), number(value)?),
            _ => return None,
        };
        let is_valid = value.is_finite() && (value >= 0.0 || kind != "INC");
        is_valid.then(|| ReceivedSample {
            name: name.to_owned(),
            attributes: attributes.clone(),
            at,
            kind,
            value,
        })
    };
    Some(match *kind {
        "s" => sample(values).into_iter().collect(),
        _ => values.split(':').filter_map(sample).collect(),
    })
}

/// The samples of a line of Graphite.
fn graphite_samples(line: &str) -> Option<Vec<ReceivedSample>> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let sample = || {
        let [series, value, time] = fields[..] else {
            return None;
        };
        let mut parts = series.split(';');
        let name = parts.next().filter(|name| !name.is_empty())?.to_owned();
        let attributes: Option<Vec<(String, String)>> = parts
            .map(|tag| {
                let (name, value) = tag.split_once('=').filter(|(name, _)| !name.is_empty())?;
                Some((name.to_owned(), value.to_owned()))
            })
            .collect();
        let is_now = time == "N" || number(time) == Some(-1.0);
        Some(ReceivedSample {
            name,
            attributes: attributes?,
            at: if is_now {
                None
            } else {
                Some(milliseconds(time)?)
            },
            kind: "ABS".to_owned(),
            value: number(value)?,
        })
    };
    Some(sample().into_iter().collect())
}
