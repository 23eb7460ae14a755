//! Checks the text formats of `agg-listener`: InfluxDB line protocol, and those of Prometheus.
//!
//! What is passed on keeps the promises of `report`, is counted, and reads back the same after it is written in the
//! format. Line protocol gives the same by lines and as a whole. The state of Prometheus's histograms stays within its
//! limits, and a scrape that is repeated adds nothing. The memory is a multiple of the input.

use agg_listener::influx::{self, Kind, Precision, Rules};
use agg_listener::prometheus::{self, Format, Limits, Scrape, State};
use agg_listener::report::{Attribute, LogRecord, ObjectReport, Receiver, Sample, SampleValue};

use crate::memory::measured;
use crate::received::{Ignored, Received, ReceivedSample, Report};

/// Separates scrapes.
const SCRAPE: u8 = 0x0b;
/// The most occurrences of a value.
const MAX_TIMES: u64 = 1 << 32;
/// The bytes that are allocated per byte of input, at most: four bytes are a tag, and twenty a histogram.
const MEMORY_PER_BYTE: usize = 128;

/// Keeps samples with one value, and checks distributions.
#[derive(Default)]
struct Texts {
    received: Received,
    distributions: u64,
    invalid: u64,
}

impl Texts {
    fn samples(self) -> Vec<ReceivedSample> {
        let reports = self.received.reports.into_iter();
        reports
            .map(|report| match report {
                Report::Sample(sample) => sample,
                other => panic!("{other:?}"),
            })
            .collect()
    }
}

impl Receiver for Texts {
    fn sample(&mut self, sample: &Sample<'_>) {
        assert!(!sample.name.is_empty());
        for label in sample.attributes {
            assert!(!label.name.is_empty() && !label.value.is_empty());
        }
        let SampleValue::Distribution(distribution) = sample.value else {
            self.received.sample(sample);
            return;
        };
        self.distributions += 1;
        assert!(!distribution.values.is_empty());
        for (value, times) in distribution.values {
            assert!(value.is_finite() && (1..=MAX_TIMES).contains(times));
        }
        assert!(distribution.sum.is_none_or(f64::is_finite));
    }

    fn log(&mut self, record: &LogRecord<'_>) {
        panic!("{record:?}");
    }

    fn object(&mut self, object: &ObjectReport<'_>) {
        panic!("{object:?}");
    }

    fn invalid(&mut self, reason: &'static str, _: &[u8]) {
        assert!((1..=64).contains(&reason.len()) && reason.is_ascii());
        self.invalid += 1;
    }
}

/// Runs the target. The first byte selects the format and its settings.
pub fn run(data: &[u8]) {
    let Some((settings, body)) = data.split_first() else {
        return;
    };
    match settings & 1 {
        0 => line_protocol(body, settings >> 1),
        _ => prometheus(body, settings >> 1),
    }
}

fn parse_lines(body: &[u8], precision: Precision, rules: &Rules) -> (Vec<ReceivedSample>, u64) {
    let mut texts = Texts::default();
    let summary = influx::parse(body, precision, rules, &mut texts);
    assert_eq!(summary.invalid, texts.invalid);
    assert_eq!(summary.message().is_some(), summary.invalid > 0);
    let listed = summary.first_invalid.len() as u64;
    assert_eq!(listed, summary.invalid.min(influx::MAX_LISTED as u64));
    assert_eq!(texts.distributions, 0);
    let samples = texts.samples();
    assert_eq!(summary.samples, samples.len() as u64);
    (samples, summary.invalid)
}

fn line_protocol(body: &[u8], settings: u8) {
    let precisions = ["ns", "us", "ms", "s", "m", "h"];
    let precision = precisions[usize::from(settings) % precisions.len()];
    let precision = Precision::parse(precision).expect("a precision");
    let rules = Rules::new([
        ("*.d*", Kind::Diff),
        ("*.i*", Kind::Inc),
        ("h*", Kind::Hist),
    ]);
    let (samples, invalid) = parse_lines(body, precision, &rules);
    if !body.contains(&b'"') {
        // Without strings, each line is independent.
        let mut of_lines = (Vec::new(), 0);
        for line in body.split(|byte| *byte == b'\n') {
            let (samples, invalid) = parse_lines(line, precision, &rules);
            of_lines.0.extend(samples);
            of_lines.1 += invalid;
        }
        assert_eq!(of_lines, (samples.clone(), invalid));
    }
    for sample in &samples {
        let Some(line) = write_line(sample) else {
            continue;
        };
        let again = parse_lines(line.as_bytes(), Precision::Milliseconds, &Rules::default());
        let gauge = ReceivedSample {
            kind: "ABS".to_owned(),
            ..sample.clone()
        };
        assert_eq!(again, (vec![gauge], 0), "{line:?}");
    }
    let parse = || influx::parse(body, precision, &rules, &mut Ignored);
    let (_, peak, _) = measured(parse);
    assert!(peak <= most_memory(body), "{peak} bytes");
}

fn most_memory(body: &[u8]) -> isize {
    (MEMORY_PER_BYTE * body.len() + 4096) as isize
}

/// Writes a line, unless measurement and field cannot be told apart, or blanks before the fields from a field.
fn write_line(sample: &ReceivedSample) -> Option<String> {
    const KEY: [char; 3] = [',', '=', ' '];
    let (measurement, field) = sample.name.split_once('.')?;
    let is_cut = measurement.is_empty() || measurement.ends_with('\\');
    if is_cut || field.is_empty() || field.starts_with('\t') {
        return None;
    }
    let escape = |text: &str, special: &[char]| {
        let mut escaped = String::new();
        for c in text.chars() {
            if special.contains(&c) {
                escaped.push('\\');
            }
            escaped.push(c);
        }
        escaped
    };
    let mut line = escape(measurement, &[',', ' ']);
    for (name, value) in &sample.attributes {
        line += &format!(",{}={}", escape(name, &KEY), escape(value, &KEY));
    }
    line += &format!(" {}={:?}", escape(field, &KEY), sample.value);
    if let Some(at) = sample.at {
        line += &format!(" {at}");
    }
    Some(line)
}

fn prometheus(body: &[u8], settings: u8) {
    let limits = Limits {
        max_series: 3,
        max_bytes: 2_000,
        idle_ms: 10,
    };
    let mut state = State::new(limits);
    let labels = [Attribute::new("job", "j")];
    let mut scrape = Scrape {
        format: [Format::Text, Format::OpenMetrics][usize::from(settings & 1)],
        labels: &labels,
        honor_labels: settings & 2 != 0,
        honor_timestamps: settings & 4 != 0,
        now_ms: 0,
    };
    for body in body.split(|byte| *byte == SCRAPE) {
        // The second time nothing happened since the first.
        for is_again in [false, true] {
            let mut texts = Texts::default();
            let summary = prometheus::parse(body, &scrape, &mut state, &mut texts);
            assert_eq!(summary.invalid, texts.invalid);
            assert!(state.series() <= limits.max_series && state.bytes() <= limits.max_bytes);
            let has_gauge_histograms = body.windows(14).any(|word| word == b"gaugehistogram");
            assert!(!is_again || has_gauge_histograms || texts.distributions == 0);
            let distributions = texts.distributions;
            let samples = texts.samples();
            assert_eq!(summary.samples, samples.len() as u64 + distributions);
            if !is_again {
                check_written(&samples);
            }
        }
        let parse = || prometheus::parse(body, &scrape, &mut state, &mut Ignored);
        let (_, peak, _) = measured(parse);
        assert!(peak <= most_memory(body), "{peak} bytes");
        scrape.now_ms += 7;
    }
}

/// Writes samples with quoted names, and reads them back.
fn check_written(samples: &[ReceivedSample]) {
    let escape = |text: &str| {
        let text = text.replace('\\', "\\\\").replace('"', "\\\"");
        text.replace('\n', "\\n")
    };
    let mut body = String::new();
    let mut expected = Vec::new();
    for sample in samples {
        let name = escape(&sample.name);
        let kind = sample.kind.split(' ').next().unwrap_or_default();
        let word = ["gauge", "counter"][usize::from(kind == "DIFF")];
        body += &format!("# TYPE \"{name}\" {word}\n# UNIT \"{name}\" \n{{\"{name}\"");
        for (name, value) in &sample.attributes {
            body += &format!(",\"{}\"=\"{}\"", escape(name), escape(value));
        }
        body += &format!("}} {:?}", sample.value);
        if let Some(at) = sample.at {
            body += &format!(" {at}");
        }
        body.push('\n');
        expected.push(ReceivedSample {
            kind: kind.to_owned(),
            ..sample.clone()
        });
    }
    let scrape = Scrape {
        format: Format::Text,
        labels: &[],
        honor_labels: false,
        honor_timestamps: true,
        now_ms: 0,
    };
    let mut texts = Texts::default();
    prometheus::parse(body.as_bytes(), &scrape, &mut State::default(), &mut texts);
    assert_eq!(texts.invalid, 0);
    assert_eq!(texts.samples(), expected, "{body:?}");
}
