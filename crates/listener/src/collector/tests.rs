//! Tests of the collector: what protocols pass on, and the reports of it.

use agg_client::command::Report;
use proptest::prelude::*;

use super::*;
use crate::report::Attribute;

fn settings() -> CollectorSettings {
    CollectorSettings {
        node: NodeName(b"n1".to_vec()),
        identity: IdentitySettings {
            tags: vec!["site:a".into()],
            drop: vec!["pid".into()],
            ..IdentitySettings::default()
        },
        sets: SetSettings::default(),
        errors_from: Some(7),
        error_key: |message| format!("{} bytes", message.len()),
    }
}

fn collector() -> Collector {
    let mut collector = Collector::new(settings());
    collector.set_protocol("statsd");
    collector
}

fn sample<'a>(
    name: &'a str,
    attributes: &'a [Attribute<'a>],
    value: SampleValue<'a>,
) -> Sample<'a> {
    Sample {
        name: name.into(),
        attributes,
        unit: "",
        at: None,
        value,
    }
}

fn words(collector: &mut Collector) -> Vec<String> {
    let words = |report: &BatchedReport| {
        let text = String::from_utf8(report.to_numbered_cmd(None).to_bytes()).unwrap();
        let lines: Vec<&str> = text.split("\r\n").collect();
        let words = lines[2..].iter().step_by(2);
        let shown = words.map(|word| if word.is_empty() { "\"\"" } else { word });
        shown.collect::<Vec<_>>().join(" ")
    };
    collector.take().iter().map(words).collect()
}

fn invalid(collector: &Collector) -> Vec<String> {
    let shown = collector
        .invalid_input()
        .map(|(protocol, reason, invalid)| {
            format!(
                "{protocol}: {reason}: {} {}",
                invalid.count, invalid.example
            )
        });
    shown.collect()
}

#[test]
fn samples_are_commands() {
    let mut collector = collector();
    let attributes = [Attribute::new("route", "/"), Attribute::new("pid", "1")];
    let values = [
        ("hits", SampleValue::Inc(Number::Int(1))),
        ("hits", SampleValue::Inc(Number::Int(1))),
        ("load", SampleValue::Abs(Number::Float(0.5))),
        ("conns", SampleValue::Add(Number::Float(-1.0))),
        ("bytes", SampleValue::Diff(Number::Int(7))),
        (
            "ms",
            SampleValue::Hist {
                value: Number::Int(320),
                times: 10,
            },
        ),
    ];
    for (name, value) in values {
        collector.sample(&sample(name, &attributes, value));
    }
    let distribution = Distribution {
        sum: None,
        min: None,
        max: None,
        values: &[(1.0, 2)],
    };
    let value = SampleValue::Distribution(distribution);
    collector.sample(&Sample {
        unit: "s",
        at: Some(5),
        ..sample("size", &[], value)
    });
    assert_eq!((collector.len(), collector.is_empty()), (2, false));
    assert!(collector.bytes() > 200);
    assert_eq!(
        words(&mut collector),
        [
            "AGG.HIST n1 size TAGS site:a unit:s AT 5 VALUES 1 2",
            "AGG.MSTAT n1 TAGS route:/ site:a COLUMNS METRIC VALUE TYPE HIST TIMES VALUES \
             hits@route=/ 1 INC 0 2 load@route=/ 0.5 \"\" 0 \"\" conns@route=/ -1 ADD 0 \"\" \
             bytes@route=/ 7 DIFF 0 \"\" ms@route=/ 320 \"\" 1 10",
        ]
    );
    assert!(collector.is_empty() && collector.bytes() == 0);
    assert_eq!(invalid(&collector), [""; 0]);
}

#[test]
fn values_that_the_server_would_reject_are_invalid() {
    let mut collector = collector();
    let float = |value| Number::Float(value);
    let good = Distribution {
        sum: Some(1.0),
        min: Some(1.0),
        max: Some(2.0),
        values: &[(1.0, 1)],
    };
    let many = vec![(1.0, 1); MAX_VALUES + 1];
    let distributions = [
        Distribution {
            values: &[],
            ..good
        },
        Distribution {
            values: &many,
            ..good
        },
        Distribution {
            sum: Some(f64::NAN),
            ..good
        },
        Distribution {
            min: Some(3.0),
            ..good
        },
        Distribution {
            values: &[(1.0, 0)],
            ..good
        },
        Distribution {
            values: &[(f64::INFINITY, 1)],
            ..good
        },
    ];
    let mut values = vec![
        SampleValue::Abs(float(f64::NAN)),
        SampleValue::Add(float(f64::INFINITY)),
        SampleValue::Inc(float(-1.0)),
        SampleValue::Diff(float(-0.5)),
        SampleValue::Hist {
            value: float(1.0),
            times: 0,
        },
        SampleValue::Hist {
            value: float(1.0),
            times: MAX_TIMES + 1,
        },
    ];
    values.extend(distributions.map(SampleValue::Distribution));
    for value in values {
        collector.sample(&sample("a\nb", &[], value));
    }
    collector.sample(&sample("", &[], SampleValue::Inc(float(1.0))));
    collector.sample(&sample("ok", &[], SampleValue::Distribution(good)));
    assert_eq!(collector.take().len(), 1);
    assert_eq!(
        invalid(&collector),
        [
            "statsd: a minimum above the maximum: 1 a\\nb",
            "statsd: a negative value of a counter: 2 a\\nb",
            "statsd: a number of buckets out of range: 2 a\\nb",
            "statsd: a number of occurrences out of range: 3 a\\nb",
            "statsd: a value that is not finite: 4 a\\nb",
            "statsd: an empty name: 1 ",
        ]
    );
}

#[test]
fn counters_beyond_the_limit_of_instances_are_invalid() {
    let mut settings = settings();
    settings.identity.max_instances = 1;
    let mut collector = Collector::new(settings);
    for n in ["1", "2"] {
        let attributes = [Attribute::new("n", n)];
        for value in [
            SampleValue::Diff(Number::Int(5)),
            SampleValue::Abs(Number::Int(5)),
        ] {
            let name = if matches!(value, SampleValue::Diff(_)) {
                "c"
            } else {
                "g"
            };
            collector.sample(&sample(name, &attributes, value));
        }
    }
    assert_eq!(
        words(&mut collector),
        [
            "AGG.MSTAT n1 COLUMNS METRIC VALUE TYPE TAGS VALUES c@n=1 5 DIFF n:1 site:a \
          g@n=1 5 \"\" n:1 site:a g@other 5 \"\" site:a"
        ]
    );
    assert_eq!(
        invalid(&collector),
        [": too many instances of a counter: 1 c"]
    );
    assert_eq!(collector.identity().overflowed(), 2);
}

#[test]
fn members_are_counted_for_an_interval() {
    let mut collector = collector();
    collector.advance(0);
    for member in ["a", "b", "a"] {
        collector.sample(&sample("users", &[], SampleValue::Member(member)));
    }
    collector.set_protocol("graphite");
    collector.advance(9_999);
    assert!(collector.is_empty());
    collector.advance(10_000);
    let reports = collector.take();
    assert_eq!(reports[0].protocol(), "statsd");
    collector.sample(&sample("users", &[], SampleValue::Member("a")));
    collector.flush_sets();
    assert_eq!(
        words(&mut collector),
        ["AGG.MSTAT n1 TAGS site:a VALUES users 1"]
    );
    assert_eq!(collector.sets().len(), 0);
}

#[test]
fn log_records_are_entries_and_errors() {
    let mut collector = collector();
    let attributes = [Attribute::new("app", "my shop"), Attribute::new("pid", "7")];
    for (level, message) in [(5, "slow"), (7, "the disk is full")] {
        collector.log(&LogRecord {
            level,
            message: message.into(),
            attributes: &attributes,
            at: Some(1_760_000_000_000),
        });
    }
    collector.object(&ObjectReport {
        key: "disk@/".into(),
        model: "system.Disk",
        json: "{}".into(),
        attributes: &attributes,
    });
    collector.object(&ObjectReport {
        key: "".into(),
        model: "system.Disk",
        json: "{}".into(),
        attributes: &[],
    });
    assert_eq!(
        words(&mut collector),
        [
            "AGG.LOG n1 slow LEVEL 5 TAGS app:my_shop site:a AT 1760000000000",
            "AGG.LOG n1 the disk is full LEVEL 7 TAGS app:my_shop site:a AT 1760000000000",
            "AGG.ERROR n1 the disk is full LEVEL 7 TAGS app:my_shop site:a KEY 16 bytes AT 1760000000000",
            "AGG.REALITY n1 disk@/ system.Disk {} TAGS app:my_shop site:a",
        ]
    );
    assert_eq!(invalid(&collector), ["statsd: an empty key: 1 {}"]);
}

#[test]
fn record_with_a_wrong_time_has_that_of_the_server() {
    let mut collector = collector();
    let now = 1_760_000_000_000;
    collector.advance(now as u64);
    for at in [now + 30_000, now + 30_001, 1_760_000_000, -1, i64::MIN, now] {
        collector.log(&LogRecord {
            level: 3,
            message: "m".into(),
            attributes: &[],
            at: Some(at),
        });
    }
    let with_time = |words: &String| words.contains(" AT ");
    let shown: Vec<_> = words(&mut collector).iter().map(with_time).collect();
    assert_eq!(shown, [true, false, false, false, false, true]);
    assert_eq!(collector.take_wrong_times(), 4);
}

#[test]
fn example_is_short_and_printable() {
    let mut collector = collector();
    collector.invalid("why", b"first");
    collector.invalid("why", b"\xff\0a\xc3\xa4'\n");
    collector.set_protocol("syslog");
    collector.invalid("why", &[0; 1000]);
    let shown = invalid(&collector);
    assert_eq!(shown[0], "statsd: why: 2 \\xff\\u{0}aä'\\n");
    assert!(shown[1].len() <= MAX_EXAMPLE + 20);
}

proptest! {
    #[test]
    fn example_of_any_input_is_short_and_printable(input in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut example = String::from("before");
        write_example(&mut example, &input);
        prop_assert!(example.len() <= MAX_EXAMPLE && !example.contains(char::is_control));
        prop_assert_eq!(example.is_empty(), input.is_empty());
    }
}

/// Counts what passes through it.
struct Counting<'a> {
    collector: &'a mut Collector,
    samples: u64,
    others: u64,
}

impl Receiver for Counting<'_> {
    fn sample(&mut self, sample: &Sample<'_>) {
        self.samples += u64::from(!matches!(sample.value, SampleValue::Member(_)));
        self.collector.sample(sample);
    }

    fn log(&mut self, record: &LogRecord<'_>) {
        let is_error = record.level >= 7;
        self.others += 1 + u64::from(is_error);
        self.collector.log(record);
    }

    fn object(&mut self, object: &ObjectReport<'_>) {
        self.others += 1;
        self.collector.object(object);
    }

    fn invalid(&mut self, _: &'static str, _: &[u8]) {}
}

/// Lines of statsd, of which many are valid.
fn line() -> impl Strategy<Value = String> {
    let name = "[ab@=,%]{0,3}";
    let value = "[+-]?[0-3](\\.5)?";
    let rest = "(\\|@0\\.[15])?(\\|#[ab]:[xy@,=]{0,3})?(\\|T17600000[0-9]{2})?";
    (name, value, "(c|g|ms|h|s)", rest)
        .prop_map(|(name, value, kind, rest)| format!("{name}:{value}|{kind}{rest}"))
}

proptest! {
    #[test]
    fn no_sample_is_lost(lines in prop::collection::vec(line(), 1..200), max_instances in 0_u32..4) {
        let mut settings = settings();
        settings.identity.max_instances = max_instances;
        let mut collector = Collector::new(settings);
        let mut counting = Counting { collector: &mut collector, samples: 0, others: 0 };
        crate::statsd::parse(lines.join("\n").as_bytes(), &mut counting);
        let expected = counting.samples + counting.others;
        let reported: u64 = collector.take().iter().map(BatchedReport::inputs).sum();
        let invalid: u64 = collector.invalid_input().map(|(_, _, invalid)| invalid.count).sum();
        prop_assert_eq!(reported + invalid, expected);
    }
}

#[test]
fn request_has_its_unreported_samples() {
    let mut collector = Collector::new(CollectorSettings {
        identity: IdentitySettings {
            max_instances: 1,
            ..IdentitySettings::default()
        },
        ..settings()
    });
    collector.begin_request(RequestLimits {
        content: 1000,
        reports: 1000,
    });
    for user in ["a", "b", "c"] {
        let attributes = [Attribute::new("user", user)];
        collector.sample(&sample(
            "hits",
            &attributes,
            SampleValue::Diff(Number::Int(1)),
        ));
    }
    assert_eq!(
        collector.end_request(),
        Unreported {
            count: 2,
            reason: Some("too many instances of a counter")
        }
    );
    // Of another protocol.
    collector.sample(&sample("x", &[], SampleValue::Abs(Number::Float(f64::NAN))));
    assert_eq!(collector.end_request(), Unreported::default());
}

#[test]
fn request_is_limited_in_time_and_memory() {
    let name = "n".repeat(1000);
    let attributes = [Attribute::new("a", &name)];
    let of = |content, reports, count: u64| {
        let mut collector = collector();
        collector.begin_request(RequestLimits { content, reports });
        for i in 0..count {
            collector.sample(&sample(
                &name,
                &attributes,
                SampleValue::Abs(Number::Int(i)),
            ));
            collector.log(&LogRecord {
                level: 3,
                message: "m".into(),
                attributes: &attributes,
                at: None,
            });
        }
        let reports = collector.bytes();
        (collector.end_request().count, reports)
    };
    assert_eq!(of(1 << 20, 1 << 20, 10).0, 0);
    // 2,001 and 1,002 bytes each time.
    assert_eq!(of(30_030, 1 << 20, 20).0, 20);
    let (unreported, reports) = of(1 << 20, 10_000, 1000);
    assert!(
        unreported > 1900 && reports < 14_000,
        "{unreported} {reports}"
    );
}
