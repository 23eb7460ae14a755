//! Properties of any scrapes.

use proptest::prelude::*;

use super::*;
use crate::report::{LogRecord, ObjectReport};

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

const KINDS: [(&str, &str); 6] = [
    ("counter", "DIFF"),
    ("gauge", "ABS"),
    ("untyped", "ABS"),
    ("unknown", "ABS"),
    ("stateset", "ABS"),
    ("", "ABS"),
];

proptest! {
    #[test]
    fn written_samples_read_back(
        families in prop::collection::vec(
            (
                "[a-z_:é.\"\\\\ \n{}]{1,8}",
                prop::sample::select(&KINDS[..]),
                prop::collection::vec(
                    (
                        prop::collection::vec(("[a-z.é \"]{1,5}", "[a-z\"\\\\\n{}=, é#]{1,6}"), 0..3),
                        0.0..1e300f64,
                        prop::option::of(-1_000_000i64..2_000_000_000_000),
                    ),
                    1..4,
                ),
            ),
            0..5,
        ),
        is_open_metrics: bool,
    ) {
        let (mut body, mut expected) = (String::new(), Vec::new());
        for (i, (name, (kind, word), lines)) in families.iter().enumerate() {
            // Names are unique, and have no end with a meaning.
            let name = format!("{name}{i}");
            if !kind.is_empty() {
                body += &format!("# TYPE \"{}\" {kind}\n# HELP \"{}\" any\n", escape(&name), escape(&name));
            }
            for (labels, value, time) in lines {
                body += &format!("{{\"{}\"", escape(&name));
                let mut ending = String::new();
                for (label, value) in labels {
                    body += &format!(",\"{}\"=\"{}\"", escape(label), escape(value));
                    ending += &format!(" {label}={value}");
                }
                body += &format!("}} {value:?}");
                if let Some(ms) = time {
                    body += &match is_open_metrics {
                        true => format!(" {:?}", *ms as f64 / 1000.0),
                        false => format!(" {ms}"),
                    };
                    ending += &format!(" at={ms}");
                }
                body.push('\n');
                expected.push(format!("{name} {word} {value}{ending}"));
            }
        }
        body += "# EOF\n";
        let format = if is_open_metrics { Format::OpenMetrics } else { Format::Text };
        let (recorded, summary) = parse_with(&body, &scrape(format), &mut State::default());
        prop_assert_eq!(recorded.invalid, Vec::<String>::new());
        prop_assert_eq!(recorded.samples, expected);
        prop_assert!(summary.is_complete);
    }

    #[test]
    fn any_bytes_are_samples_or_invalid(bodies: [Vec<u8>; 2]) {
        check_any(&bodies);
    }

    #[test]
    fn bytes_of_the_grammar_are_samples_or_invalid(
        lines in prop::collection::vec("(# (TYPE|UNIT|EOF) )?h?(_bucket|_sum|_count)?(\\{[alse=\"\\\\, ]{0,12}(le=\"[0-9.]{1,3}\")?\\})? [0-9eInfNa+. -]{0,9}( [0-9.]{1,5})?( #)?", 0..20),
        cut: prop::sample::Index,
    ) {
        let body = format!("# TYPE h histogram\n{}", lines.join("\n"));
        let cut = cut.index(body.len());
        check_any(&[body.as_bytes()[..cut].to_vec(), body.into_bytes()]);
    }

    #[test]
    fn totals_passed_on_are_what_happened(
        steps in prop::collection::vec(
            (prop::collection::vec(0usize..5, 0..6), prop::sample::select(&[0, 0, 0, 1, 2][..])),
            1..30,
        ),
        has_created: bool,
        has_sum: bool,
    ) {
        model(&steps, has_created, has_sum)?;
    }
}

/// Reads them one after another as two scrapes of one target.
fn check_any(bodies: &[Vec<u8>; 2]) {
    for format in [Format::Text, Format::OpenMetrics] {
        let mut state = State::default();
        for body in bodies {
            let text = String::from_utf8_lossy(body);
            let (_, summary) = parse_with(&text, &scrape(format), &mut state);
            let content = |line: &&str| {
                let line = line.trim_matches([' ', '\t', '\r']);
                !line.is_empty() && !line.starts_with('#')
            };
            let contents = text.split('\n').filter(content).count() as u64;
            let counted = summary.samples + summary.invalid;
            let skipped = summary.skipped_nan + summary.skipped_created;
            // Buckets become a distribution.
            let has_buckets = text.contains("_bucket");
            assert!(counted + skipped >= contents || has_buckets, "{text}");
        }
    }
}

const BOUNDS: [f64; 4] = [-1.0, 0.5, 2.0, 10.0];
/// A value in each bucket, and what is passed on for it.
const VALUES: [f64; 5] = [-3.0, 0.0, 1.0, 3.0, 77.0];
const PASSED_ON: [f64; 5] = [-1.0, -0.25, 1.25, 6.0, 10.0];

/// Adds up what is passed on, by value.
#[derive(Default)]
struct Added {
    values: [u64; 5],
    sum: f64,
}

impl Receiver for Added {
    fn sample(&mut self, sample: &Sample<'_>) {
        if let SampleValue::Distribution(distribution) = sample.value {
            for (value, times) in distribution.values {
                let at = PASSED_ON.iter().position(|passed_on| passed_on == value);
                self.values[at.expect("the middle of a bucket")] += times;
            }
            self.sum += distribution.sum.unwrap_or(0.0);
        }
    }

    fn log(&mut self, _: &LogRecord<'_>) {}

    fn object(&mut self, _: &ObjectReport<'_>) {}

    fn invalid(&mut self, reason: &'static str, _: &[u8]) {
        panic!("{reason}");
    }
}

/// A process that counts values, restarts, and is scraped after each step unless the scrape is missed.
fn model(
    steps: &[(Vec<usize>, u8)],
    has_created: bool,
    has_sum: bool,
) -> Result<(), TestCaseError> {
    const MISSED: u8 = 1;
    const RESTART: u8 = 2;
    let (mut state, mut added) = (State::default(), Added::default());
    let (mut counts, mut sum, mut created) = ([0u64; 5], 0.0, 1u64);
    // What the last scrape has seen, of which process, and what happened since the first one by the scrapes.
    let mut last: Option<([u64; 5], f64, u64)> = None;
    let (mut expected, mut expected_sum) = ([0u64; 5], 0.0);
    for (values, event) in steps {
        if *event == RESTART {
            (counts, sum, created) = ([0; 5], 0.0, created + 1);
        }
        for value in values {
            counts[*value] += 1;
            sum += VALUES[*value];
        }
        if *event == MISSED {
            continue;
        }
        if let Some((seen, seen_sum, seen_created)) = last {
            let cumulative = |counts: [u64; 5]| {
                let mut total = 0;
                counts.map(|n| {
                    total += n;
                    total
                })
            };
            // A reset is hidden if the process has counted as much as before everywhere.
            let is_less = cumulative(counts)
                .iter()
                .zip(cumulative(seen))
                .any(|(now, then)| *now < then);
            let is_reset = is_less || has_created && created != seen_created;
            for (i, n) in counts.iter().enumerate() {
                let difference = || i128::from(*n) - i128::from(seen[i]);
                let more = if is_reset {
                    i128::from(*n)
                } else {
                    difference()
                };
                if more < 0 {
                    // A hidden reset that moved values to other buckets.
                    return Ok(());
                }
                expected[i] += more as u64;
            }
            expected_sum += if is_reset { sum } else { sum - seen_sum };
        }
        last = Some((counts, sum, created));
        let mut body = String::from("# TYPE h histogram\n");
        let mut total = 0;
        for (i, n) in counts.iter().enumerate() {
            total += n;
            let bound = BOUNDS.get(i).map_or("+Inf".to_owned(), f64::to_string);
            body += &format!("h_bucket{{le=\"{bound}\"}} {total}\n");
        }
        if has_created {
            body += &format!("h_created {created}\n");
        }
        // A negative sum is none of a counter.
        if has_sum && sum >= 0.0 {
            body += &format!("h_sum {sum}\n");
        }
        let is_sum_known = has_sum && sum >= 0.0;
        body += "# EOF\n";
        parse(
            body.as_bytes(),
            &scrape(Format::OpenMetrics),
            &mut state,
            &mut added,
        );
        prop_assert_eq!(added.values, expected);
        if has_sum && !is_sum_known {
            // The sum of the next increase is not known.
            return Ok(());
        }
        if has_sum {
            prop_assert!((added.sum - expected_sum).abs() < 1e-9);
        }
    }
    Ok(())
}
