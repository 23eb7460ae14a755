use aggregator_protocol::line_protocol::{self, Line};
use proptest::prelude::*;

use super::*;
use crate::recorded::Recorded;

fn parse_text(body: &str) -> (Recorded, Summary) {
    let mut recorded = Recorded::default();
    let summary = parse(
        body.as_bytes(),
        Precision::Nanoseconds,
        &Rules::default(),
        &mut recorded,
    );
    (recorded, summary)
}

fn samples(body: &str) -> Vec<String> {
    let (recorded, summary) = parse_text(body);
    assert_eq!(recorded.invalid, Vec::<String>::new(), "{body}");
    assert_eq!(summary.message(), None);
    recorded.samples
}

#[test]
fn line_has_tags_fields_and_a_time() {
    let body = "weather,location=us-midwest,season=summer temperature=82,humidity=71i 1465839830100400200\n";
    assert_eq!(
        samples(body),
        [
            "weather.temperature ABS 82 location=us-midwest season=summer at=1465839830100",
            "weather.humidity ABS 71 location=us-midwest season=summer at=1465839830100",
        ]
    );
}

#[test]
fn names_and_values_are_unescaped() {
    for (line, expected) in [
        (r"my\ m\,easure f=1", "my m,easure.f ABS 1"),
        (r"m\=n f=1", r"m\=n.f ABS 1"),
        (r"m=n f=1", "m=n.f ABS 1"),
        (
            r"m,tag\ Key\,1\=x=a\ b\,c\=d f=1",
            "m.f ABS 1 tag Key,1=x=a b,c=d",
        ),
        (r"m fie\ ld\,\=k=1", "m.fie ld,=k ABS 1"),
        (r"m,t=C:\temp\\x f=1", r"m.f ABS 1 t=C:\temp\\x"),
        (r"m,t=a\\,u f=1", r"m.f ABS 1 t=a\,u"),
        (r#""m",t="a" "f"=1"#, r#""m"."f" ABS 1 t="a""#),
        ("größe,ort=köln höhe=2.5", "größe.höhe ABS 2.5 ort=köln"),
    ] {
        assert_eq!(samples(line), [expected], "{line}");
    }
    // A backslash keeps the next byte from separating, even behind a backslash.
    let (recorded, _) = parse_text(r"m,t=a\\,u=b f=1");
    assert_eq!(recorded.invalid, [r"a second = in a tag: m,t=a\\,u=b f=1"]);
}

#[test]
fn values_have_types() {
    let (recorded, summary) = parse_text(
        r#"m a=1.5,b=-2e3,c=-3i,d=18446744073709551615u,e=t,f=FALSE,g="1",h="a \"b\", c=d \\",i=7"#,
    );
    assert_eq!(
        recorded.samples,
        [
            "m.a ABS 1.5",
            "m.b ABS -2000",
            "m.c ABS -3",
            "m.d ABS 18446744073709552000",
            "m.e ABS 1",
            "m.f ABS 0",
            "m.i ABS 7",
        ]
    );
    assert_eq!(summary.skipped_strings, 2);
    assert_eq!(summary.samples, 7);
    assert_eq!(summary.invalid, 0);
}

#[test]
fn blank_lines_comments_and_carriage_returns_are_skipped() {
    let body = "# a comment, with f=1\r\n\r\n  \t\n m f=1 \r\n\n#\nm f=2 5000000\r\nm f=t\r";
    assert_eq!(samples(body), ["m.f ABS 1", "m.f ABS 2 at=5", "m.f ABS 1"]);
    let (_, summary) = parse_text(body);
    assert_eq!(summary.lines, 3);
    assert_eq!(samples("m   f=1   5000000  "), ["m.f ABS 1 at=5"]);
    assert_eq!(samples(""), Vec::<String>::new());
}

#[test]
fn strings_may_have_newlines() {
    let body = "m s=\"first\nm f=9\n\\\"third\\\\\",f=1\nm f=x\nn f=2";
    let (recorded, summary) = parse_text(body);
    assert_eq!(recorded.samples, ["m.f ABS 1", "n.f ABS 2"]);
    assert_eq!(recorded.invalid, ["an invalid value: m f=x"]);
    assert_eq!(summary.first_invalid[0].number, 4);
    assert_eq!(summary.skipped_strings, 1);
}

#[test]
fn text_in_a_string_of_an_invalid_line_is_no_line() {
    let body = "m f=x,s=\"a\nforged f=1\nb\",g=1\nn f=2";
    let (recorded, summary) = parse_text(body);
    assert_eq!(recorded.samples, ["n.f ABS 2"]);
    assert_eq!(recorded.invalid.len(), 1);
    assert_eq!(summary.first_invalid[0].number, 1);
    // As in InfluxDB, a string without an end takes the rest.
    let (recorded, _) = parse_text("m f=1\nm s=\"a\nforged f=1\n");
    assert_eq!(recorded.samples, ["m.f ABS 1"]);
    assert_eq!(
        recorded.invalid,
        ["a string without an end: m s=\"a\nforged f=1\n"]
    );
}

#[test]
fn invalid_lines_are_counted_and_others_used() {
    for (line, reason) in [
        (",t=a f=1", "no measurement"),
        ("m", "no fields"),
        ("m ", "no fields"),
        ("m,t=a", "no fields"),
        ("m,t=a\r", "no fields"),
        ("m 5", "a field without a value"),
        ("m,t f=1", "a tag without a value"),
        ("m,t= f=1", "a tag without a value"),
        ("m,=a f=1", "a tag without a name"),
        ("m, f=1", "a tag without a value"),
        ("m,t=a=b f=1", "a second = in a tag"),
        ("m f=", "a field without a value"),
        ("m f=1,", "a field without a value"),
        ("m =1", "a field without a name"),
        ("m f=1,g", "a field without a value"),
        ("m f=one", "an invalid value"),
        ("m f=1i5", "an invalid value"),
        ("m f=NaN", "an invalid value"),
        ("m f=1e999", "an invalid value"),
        ("m f=9223372036854775808i", "an invalid value"),
        ("m f=1 now", "an invalid time"),
        ("m f=1 9223372036854775808", "an invalid time"),
        ("m f=1 5 6", "text after the time"),
        ("m f=\"a\"b", "text after a value"),
        ("m f=1\rx", "text after a value"),
    ] {
        let (recorded, summary) = parse_text(&format!("a f=1\n{line}\nb f=2"));
        assert_eq!(recorded.samples, ["a.f ABS 1", "b.f ABS 2"], "{line}");
        assert_eq!(recorded.invalid, [format!("{reason}: {line}")]);
        assert_eq!(summary.first_invalid, [InvalidLine { number: 2, reason }]);
        assert_eq!(
            summary.message(),
            Some(format!("partial write: 1 error: line 2: {reason}"))
        );
    }
}

#[test]
fn message_lists_the_first_errors() {
    let (_, summary) = parse_text(&"x\n".repeat(12));
    let message = summary.message().unwrap();
    assert!(message.starts_with("partial write: 12 errors: line 1: no fields; line 2: no fields;"));
    assert!(message.ends_with("line 10: no fields; ..."), "{message}");
}

#[test]
fn kinds_are_by_pattern() {
    let rules = Rules::new([
        ("net.bytes*", Kind::Diff),
        ("shop.*", Kind::Inc),
        ("*.time", Kind::Hist),
    ]);
    let body = "net bytes_sent=5u,up=1\nshop sales=3i,refunds=-1i,open=t\npage time=0.25\n";
    let mut recorded = Recorded::default();
    let summary = parse(body.as_bytes(), Precision::Seconds, &rules, &mut recorded);
    assert_eq!(
        recorded.samples,
        [
            "net.bytes_sent DIFF 5",
            "net.up ABS 1",
            "shop.sales INC 3",
            "shop.open ABS 1",
            "page.time HIST 0.25",
        ]
    );
    let reason = "a negative value of a counter";
    assert_eq!(recorded.invalid, [format!("{reason}: shop.refunds")]);
    assert_eq!(summary.first_invalid, [InvalidLine { number: 2, reason }]);
    assert_eq!((summary.lines, summary.samples), (3, 5));
}

#[test]
fn text_that_is_not_utf8_is_repaired() {
    let mut recorded = Recorded::default();
    let body = b"m\xff,t=\xfe f=1\nn f=2";
    parse(body, Precision::Seconds, &Rules::default(), &mut recorded);
    assert_eq!(
        recorded.samples,
        ["m\u{fffd}.f ABS 1 t=\u{fffd}", "n.f ABS 2"]
    );
}

#[test]
fn tags_and_fields_of_a_line_are_limited() {
    for (n, is_valid) in [(line::MAX_TAGS, true), (line::MAX_TAGS + 1, false)] {
        let tags: String = (0..n).map(|i| format!(",t{i}=v")).collect();
        let (recorded, _) = parse_text(&format!("m{tags} f=1\nn f=1"));
        assert_eq!(recorded.samples.len() == 2, is_valid);
    }
    for (n, is_valid) in [(line::MAX_FIELDS, true), (line::MAX_FIELDS + 1, false)] {
        let fields: Vec<String> = (0..n).map(|i| format!("f{i}=1")).collect();
        let (recorded, summary) = parse_text(&format!("m {}\nn f=1", fields.join(",")));
        assert_eq!(recorded.samples.len() == n + 1, is_valid);
        assert_eq!(summary.invalid == 0, is_valid);
    }
}

/// Writes a name or value as the protocol has it.
fn escape(text: &str, special: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        if special.contains(c) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

/// Names without what the protocol cannot express: newlines, and a backslash before a separator.
fn names() -> impl Strategy<Value = String> {
    r#"[a-z=, "é]{0,6}[a-z]"#.prop_filter("comment", |name| !name.starts_with('#'))
}

#[derive(Clone, Debug)]
enum Given {
    Float(f64),
    Integer(i64),
    Unsigned(u64),
    Boolean(bool),
    Text(String),
}

fn values() -> impl Strategy<Value = Given> {
    prop_oneof![
        any::<f64>()
            .prop_filter("finite", |v| v.is_finite())
            .prop_map(Given::Float),
        any::<i64>().prop_map(Given::Integer),
        any::<u64>().prop_map(Given::Unsigned),
        any::<bool>().prop_map(Given::Boolean),
        "[a-z\\\\\" =,\n\ré#]{0,8}".prop_map(Given::Text),
    ]
}

proptest! {
    #[test]
    fn written_lines_read_back(
        lines in prop::collection::vec(
            (
                names(),
                prop::collection::vec((names(), names()), 0..3),
                prop::collection::vec((names(), values()), 1..4),
                prop::option::of(any::<i64>()),
                "(\n|\r\n|\n\n#\"\n)",
            ),
            0..6,
        ),
    ) {
        let (mut body, mut expected, mut strings) = (String::new(), Vec::new(), 0);
        for (measurement, tags, fields, time, end) in &lines {
            // Blanks at the start of a line are skipped.
            body += "x";
            body += &escape(measurement, ", ");
            let mut ending = String::new();
            for (name, value) in tags {
                body += &format!(",{}={}", escape(name, ",= "), escape(value, ",= "));
                ending += &format!(" {name}={value}");
            }
            if let Some(time) = time {
                ending += &format!(" at={}", time.div_euclid(1_000_000));
            }
            for (i, (name, value)) in fields.iter().enumerate() {
                body += if i == 0 { " " } else { "," };
                body += &escape(name, ",= ");
                let (written, read) = match value {
                    Given::Float(v) => (format!("{v:?}"), Some(*v + 0.0)),
                    Given::Integer(v) => (format!("{v}i"), Some(*v as f64)),
                    Given::Unsigned(v) => (format!("{v}u"), Some(*v as f64)),
                    Given::Boolean(v) => (format!("{v}"), Some(f64::from(u8::from(*v)))),
                    Given::Text(v) => (format!("\"{}\"", escape(v, "\"\\")), None),
                };
                body += &format!("={written}");
                match read {
                    Some(value) => expected.push(format!("x{measurement}.{name} ABS {value}{ending}")),
                    None => strings += 1,
                }
            }
            if let Some(time) = time {
                body += &format!(" {time}");
            }
            body += end;
        }
        let (recorded, summary) = parse_text(&body);
        prop_assert_eq!(recorded.invalid, Vec::<String>::new());
        prop_assert_eq!(recorded.samples, expected);
        prop_assert_eq!(summary.skipped_strings, strings);
        prop_assert_eq!(summary.lines, lines.len() as u64);
    }

    #[test]
    fn lines_of_the_project_read_back(
        node in "[a-z ,=\\\\\"é]{1,8}",
        metric in "[a-z ,=@\\\\\"#é]{1,12}",
        tags in "[a-c:=, \\\\é]{0,20}",
        numbers in prop::array::uniform5(any::<f64>().prop_filter("finite", |v| v.is_finite())),
        count: u64,
        start_s in 0i64..4_000_000_000,
    ) {
        // Larger counts are beyond the type of InfluxDB.
        let count = count >> 1;
        let Ok(tags) = aggregator_protocol::tags::canonical(tags.as_bytes()) else {
            return Ok(());
        };
        let [sum, avg, min, max, last] = numbers;
        let line = Line {
            node: node.as_bytes(),
            metric: metric.as_bytes(),
            tags: &tags,
            window_s: 60,
            start_ms: start_s * 1000,
            count,
            sum,
            avg,
            min,
            max,
            last,
            percentiles: &[("p50", 1.5), ("p99_9", 2.0)],
        };
        let mut body = Vec::new();
        for _ in 0..2 {
            line_protocol::write(&mut body, &line);
            body.push(b'\n');
        }
        let mut recorded = Recorded::default();
        let summary = parse(&body, Precision::Nanoseconds, &Rules::default(), &mut recorded);
        prop_assert_eq!(&recorded.invalid, &Vec::<String>::new());
        prop_assert_eq!((summary.lines, summary.samples), (2, 16));
        let cleaned = |text: &str| String::from_utf8(line_protocol::clean(text.as_bytes()).into_owned()).unwrap();
        let (name, instance) = metric.split_once('@').unwrap_or((&metric, ""));
        let mut measurement = cleaned(name);
        if measurement.is_empty() {
            measurement.push('_');
        }
        if measurement.starts_with('#') {
            measurement.replace_range(..1, "_");
        }
        let fields = [("avg", avg), ("max", max), ("min", min), ("sum", sum), ("last", last)];
        let fields = fields.into_iter().chain([("p50", 1.5), ("p99_9", 2.0), ("count", count as f64)]);
        for (sample, (field, value)) in recorded.samples.iter().zip(fields) {
            let start = format!("{measurement}.{field} ABS {}", value + 0.0);
            prop_assert!(sample.starts_with(&start), "{} {}", sample, start);
            let ending = format!(" at={}", start_s * 1000);
            prop_assert!(sample.ends_with(&ending), "{}", sample);
            prop_assert!(sample.contains(" window=60s "), "{}", sample);
            let node = format!(" node={}", cleaned(&node));
            prop_assert!(sample.contains(&node), "{}", sample);
            let instance = cleaned(instance);
            let has_instance = sample.contains(&format!(" instance={instance} "));
            prop_assert!(has_instance || instance.is_empty(), "{}", sample);
        }
    }

    #[test]
    fn any_bytes_are_samples_or_invalid(body: Vec<u8>) {
        check_any(&body)?;
    }

    #[test]
    fn bytes_of_the_grammar_are_samples_or_invalid(body in "[mft=, \\\\\"\n\r0-9.iu#-]{0,200}") {
        check_any(body.as_bytes())?;
    }
}

/// All lines are counted, and the sum of what is reported is the input.
fn check_any(body: &[u8]) -> Result<(), TestCaseError> {
    let mut recorded = Recorded::default();
    let summary = parse(
        body,
        Precision::Minutes,
        &Rules::new([("*f", Kind::Inc)]),
        &mut recorded,
    );
    prop_assert_eq!(summary.samples, recorded.samples.len() as u64);
    prop_assert_eq!(summary.invalid, recorded.invalid.len() as u64);
    prop_assert_eq!(
        summary.first_invalid.len(),
        recorded.invalid.len().min(MAX_LISTED)
    );
    let lines = body.iter().filter(|byte| **byte == b'\n').count() as u64 + 1;
    prop_assert!(
        summary
            .first_invalid
            .iter()
            .all(|line| line.number <= lines)
    );
    let content = |line: &&[u8]| {
        let line = line.trim_ascii();
        !line.is_empty() && !line.starts_with(b"#")
    };
    // Only a string takes several lines.
    if !body.contains(&b'"') && !body.contains(&b'\x0c') && !body.contains(&b'\x0b') {
        let contents = body.split(|b| *b == b'\n').filter(content).count() as u64;
        let fields = recorded.invalid.iter();
        let fields = fields
            .filter(|reason| reason.starts_with("a negative"))
            .count() as u64;
        prop_assert!(summary.lines + summary.invalid - fields >= contents);
    }
    Ok(())
}
