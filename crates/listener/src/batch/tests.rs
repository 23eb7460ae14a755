//! Tests of the commands that reports become, and of their outcomes.

use agg_client::command::{Mstat, Report, Sample, Sequence};
use agg_client::reply::Value;
use proptest::prelude::*;

use agg_client::command::SampleType;
use aggregator_protocol::number::Number;

use super::*;
use crate::identity::{Identity, SeriesId};

const P: &str = "statsd";

fn batch() -> Batch {
    Batch::new(NodeName(b"n1".to_vec()))
}

fn series<'a>(metric: &'a str, tags: &'a str, place: u32) -> Resolved<'a> {
    Resolved {
        metric,
        tags,
        id: SeriesId {
            place,
            number: place.into(),
            is_other: false,
        },
    }
}

fn value(sample_type: SampleType, value: Number) -> BatchedValue {
    BatchedValue {
        sample_type,
        hist: false,
        value,
        times: 1,
    }
}

fn inc(n: u64) -> BatchedValue {
    value(SampleType::Inc, Number::Int(n))
}

fn abs(v: f64) -> BatchedValue {
    value(SampleType::Abs, Number::Float(v))
}

fn hist(v: f64, times: u64) -> BatchedValue {
    BatchedValue {
        hist: true,
        times,
        ..abs(v)
    }
}

/// The words of the command; an empty one is `""`.
fn words_of(report: &BatchedReport, sequence: Option<Sequence<'_>>) -> String {
    let text = String::from_utf8(report.to_numbered_cmd(sequence).to_bytes()).unwrap();
    let lines: Vec<&str> = text.split("\r\n").collect();
    // The lines in between are lengths.
    let words = lines[2..].iter().step_by(2);
    let shown = words.map(|word| if word.is_empty() { "\"\"" } else { word });
    shown.collect::<Vec<_>>().join(" ")
}

fn words(report: &BatchedReport) -> String {
    words_of(report, None)
}

fn all_words(batch: &mut Batch) -> Vec<String> {
    batch.take().iter().map(words).collect()
}

fn mstat_reply(counted: i64, late: i64, rejected: &[i64]) -> Value {
    let reason = |index: &i64| {
        let reason = Value::BulkString(b"why".to_vec());
        Value::Array(vec![Value::Int(*index), reason])
    };
    let rejected = Value::Array(rejected.iter().map(reason).collect());
    Value::Array(vec![Value::Int(counted), Value::Int(late), rejected])
}

#[test]
fn options_in_which_samples_differ_are_columns() {
    let mut batch = batch();
    batch.sample(P, &series("a", "", 0), abs(0.5), None);
    assert_eq!(all_words(&mut batch), ["AGG.MSTAT n1 VALUES a 0.5"]);

    batch.sample(P, &series("a", "x:1", 0), inc(1), Some(5));
    batch.sample(P, &series("b", "x:1", 1), inc(2), Some(5));
    assert_eq!(
        all_words(&mut batch),
        ["AGG.MSTAT n1 INC TAGS x:1 AT 5 VALUES a 1 b 2"]
    );

    batch.sample(P, &series("load", "", 0), abs(7.0), None);
    batch.sample(P, &series("hits", "k:v", 1), inc(3), Some(9));
    batch.sample(P, &series("ms", "", 2), hist(12.5, 10), None);
    let add = value(SampleType::Add, Number::Float(-1.0));
    batch.sample(P, &series("conns", "", 3), add, None);
    let diff = value(SampleType::Diff, Number::Int(u64::MAX));
    batch.sample(P, &series("bytes", "", 4), diff, None);
    let report = batch.take().remove(0);
    assert_eq!(
        words(&report),
        "AGG.MSTAT n1 COLUMNS METRIC VALUE TYPE HIST TIMES TAGS AT VALUES load 7 \"\" 0 \"\" \"\" \"\" \
         hits 3 INC 0 \"\" k:v 9 ms 12.5 \"\" 1 10 \"\" \"\" conns -1 ADD 0 \"\" \"\" \"\" \
         bytes 18446744073709551615 DIFF 0 \"\" \"\" \"\""
    );
    let sequence = Sequence {
        source: b"s",
        number: 7,
    };
    let numbered = words_of(&report, Some(sequence));
    assert!(numbered.starts_with("AGG.MSTAT n1 SEQ s 7 COLUMNS METRIC"));
    assert_eq!((report.metric(1), report.metric(5)), (Some("hits"), None));
}

#[test]
fn equal_increments_are_one_sample() {
    let mut batch = batch();
    let (a, b) = (series("a", "", 0), series("b", "", 1));
    for _ in 0..3 {
        batch.sample(P, &a, inc(1), None);
        batch.sample(P, &b, hist(5.0, 2), None);
    }
    batch.sample(P, &a, inc(2), None);
    // The last value of the metric is 1 again.
    batch.sample(P, &a, inc(1), None);
    let report = batch.take().remove(0);
    assert_eq!(
        words(&report),
        "AGG.MSTAT n1 COLUMNS METRIC VALUE TYPE HIST TIMES VALUES a 1 INC 0 3 b 5 \"\" 1 6 a 2 INC 0 \"\" \
         a 1 INC 0 \"\""
    );
    assert_eq!(report.inputs(), 8);

    let outcome = report.read_taken(mstat_reply(4, 0, &[])).unwrap();
    assert_eq!((outcome.counted, outcome.late), (8, 0));
    let outcome = report.read_taken(mstat_reply(2, 1, &[1])).unwrap();
    let rejected = RejectedReport {
        index: 1,
        inputs: 3,
        reason: "why".into(),
    };
    assert_eq!(outcome.rejected, [rejected]);
    // One row of three was late: a third of five samples.
    assert_eq!((outcome.counted, outcome.late), (4, 1));
    let outcome = report.read_taken(mstat_reply(0, 3, &[0])).unwrap();
    assert_eq!((outcome.counted, outcome.late), (0, 5));
    let outcome = report.read_taken(mstat_reply(0, 0, &[0, 1, 2, 3])).unwrap();
    assert_eq!((outcome.counted, outcome.late), (0, 0));
    assert_eq!(report.read_taken(mstat_reply(3, 0, &[4])), None);
    assert_eq!(report.read_taken(Value::Nil), None);
}

#[test]
fn samples_that_would_count_otherwise_are_not_joined() {
    let a = series("a", "", 0);
    let other = Resolved {
        tags: "x",
        id: SeriesId { number: 9, ..a.id },
        ..a
    };
    let pairs = [
        ((a, inc(1), None), (a, inc(2), None)),
        ((a, inc(1), None), (a, inc(1), Some(5))),
        ((a, inc(1), None), (other, inc(1), None)),
        ((a, abs(1.0), None), (a, abs(1.0), None)),
        ((a, abs(1.0), None), (a, hist(1.0, 1), None)),
        ((a, hist(0.1, 1), None), (a, hist(0.1, 1), None)),
        ((a, hist(1.0, MAX_TIMES), None), (a, hist(1.0, 1), None)),
        ((a, inc(1 << 53), None), (a, inc(1 << 53), None)),
        ((a, inc(1), None), (a, hist(1.0, 1), None)),
    ];
    for (first, second) in pairs {
        let mut batch = batch();
        for (series, value, at) in [first, second] {
            batch.sample(P, &series, value, at);
        }
        let report = batch.take().remove(0);
        assert!(report.metric(1).is_some(), "{first:?} {second:?}");
    }
    let mut batch = batch();
    for _ in 0..2 {
        batch.sample(P, &a, value(SampleType::Diff, Number::Int(1)), None);
        batch.sample(P, &a, value(SampleType::Add, Number::Int(1)), None);
        batch.sample(P, &a, value(SampleType::Add, Number::Int(1)), None);
    }
    assert_eq!(batch.take().remove(0).metric(5), Some("a"));
}

#[test]
fn commands_are_limited_and_of_one_protocol() {
    let mut batch = batch();
    let names: Vec<String> = (0..MAX_SAMPLES + 1).map(|n| format!("m{n}")).collect();
    for (place, name) in names.iter().enumerate() {
        batch.sample(P, &series(name, "", place as u32), inc(1), None);
        batch.sample("graphite", &series(name, "", place as u32), abs(1.5), None);
    }
    assert_eq!(batch.len(), 4);
    let bytes = batch.bytes();
    let reports = batch.take();
    assert!(batch.is_empty() && batch.bytes() == 0);
    let shown: Vec<_> = reports.iter().map(|r| (r.protocol(), r.inputs())).collect();
    assert_eq!(
        shown,
        [(P, 1000), ("graphite", 1000), (P, 1), ("graphite", 1)]
    );
    let later = reports.iter().map(BatchedReport::bytes).sum::<usize>();
    assert!(bytes >= 2000 * 64 && later >= 2000 * 64, "{bytes} {later}");

    let tags = "t".repeat(4000);
    for place in 0..MAX_BYTES / 4000 {
        batch.sample(P, &series("m", &tags, place as u32), abs(1.0), None);
    }
    assert_eq!((batch.ready.len(), batch.open.len()), (1, 0));
    assert!(words(&batch.take()[0]).len() < MAX_BYTES + 5000);
}

#[test]
fn command_after_the_last_number_is_numbered_anew() {
    let mut batch = batch();
    batch.next_serial = u32::MAX;
    for _ in 0..2 {
        batch.sample(P, &series("a", "", 0), inc(1), None);
        batch.sample(P, &series("a", "", 0), inc(1), None);
        assert_eq!(
            all_words(&mut batch),
            ["AGG.MSTAT n1 INC COLUMNS METRIC VALUE TIMES VALUES a 1 2"]
        );
    }
    assert_eq!(batch.next_serial, 2);
}

#[test]
fn server_without_columns_gets_samples_by_options() {
    let mut batch = batch();
    batch.sample(P, &series("a", "x", 0), abs(1.0), None);
    batch.sample(P, &series("b", "", 1), abs(2.0), None);
    batch.sample(P, &series("c", "x", 2), abs(3.0), None);
    batch.sample(P, &series("d", "", 3), inc(3), None);
    batch.sample(P, &series("d", "", 3), inc(3), None);
    let parts = batch.take().remove(0).without_columns();
    assert_eq!(
        parts.iter().map(words).collect::<Vec<_>>(),
        [
            "AGG.MSTAT n1 TAGS x VALUES a 1 c 3",
            "AGG.MSTAT n1 VALUES b 2",
            "AGG.MSTAT n1 INC COLUMNS METRIC VALUE TIMES VALUES d 3 2"
        ]
    );
    assert_eq!(parts.iter().map(BatchedReport::inputs).sum::<u64>(), 5);
    assert!(
        parts
            .iter()
            .all(|part| part.protocol() == P && part.is_samples())
    );
}

#[test]
fn other_reports_are_commands_of_their_own() {
    let mut batch = batch();
    let distribution = Distribution {
        sum: Some(331.5),
        min: Some(4.2),
        max: Some(187.5),
        values: &[(5.0, 12), (10.0, 7), (200.0, 1)],
    };
    batch.distribution(P, &series("ms", "u:s", 0), &distribution, Some(7));
    let entry = BatchedEntry {
        message: "the disk is full".into(),
        level: 7,
        tags: "app:x".into(),
        at: Some(5),
    };
    batch.log(P, entry.clone());
    let error = BatchedEntry {
        level: 77,
        tags: "".into(),
        at: None,
        ..entry
    };
    batch.error(P, error, "key 1");
    batch.object(P, "disk@/", "system.Disk", "{}", "a:b".into());
    let reports = batch.take();
    let shown: Vec<_> = reports.iter().map(words).collect();
    assert_eq!(
        shown,
        [
            "AGG.HIST n1 ms SUM 331.5 MIN 4.2 MAX 187.5 TAGS u:s AT 7 VALUES 5 12 10 7 200 1",
            "AGG.LOG n1 the disk is full LEVEL 7 TAGS app:x AT 5",
            "AGG.ERROR n1 the disk is full LEVEL 9 KEY key 1",
            "AGG.REALITY n1 disk@/ system.Disk {} TAGS a:b",
        ]
    );
    let kinds: Vec<_> = reports.iter().map(BatchedReport::kind).collect();
    let expected = [
        ReportKind::Samples,
        ReportKind::Log,
        ReportKind::Error,
        ReportKind::Object,
    ];
    assert_eq!(kinds, expected);
    let occurrence = Value::Array(vec![Value::BulkString(b"key 1".to_vec()), Value::Int(3)]);
    let late = Outcome {
        late: 1,
        ..Outcome::default()
    };
    let counted = Outcome {
        counted: 1,
        ..Outcome::default()
    };
    for (index, reply, outcome) in [
        (0, Value::Int(1), Some(&counted)),
        (0, Value::Int(0), Some(&late)),
        (1, Value::Int(17), Some(&counted)),
        (2, occurrence, Some(&counted)),
        (2, Value::Int(1), None),
        (3, Value::Int(1), Some(&counted)),
        (3, Value::Int(0), Some(&counted)),
        (3, Value::Int(-1), Some(&late)),
        (3, Value::Int(2), None),
    ] {
        assert_eq!(reports[index].read_taken(reply).as_ref(), outcome);
    }
    // They have no columns, and only AGG.REALITY has no number.
    let sequence = Some(Sequence {
        source: b"s",
        number: 1,
    });
    for report in reports {
        let kind = report.kind();
        let parts = report.without_columns();
        assert_eq!(parts.len(), 1);
        let has_number = words_of(&parts[0], sequence).contains(" SEQ s 1");
        assert_eq!(has_number, kind != ReportKind::Object);
    }
}

#[test]
fn reports_may_be_sent_by_another_thread() {
    fn is_send<T: Send + 'static>() {}
    is_send::<BatchedReport>();
    is_send::<Batch>();
    is_send::<Identity>();
}

fn any_sample() -> impl Strategy<Value = (usize, SampleType, bool, Number, u64, Option<i64>)> {
    let types = prop_oneof![
        Just(SampleType::Abs),
        Just(SampleType::Add),
        Just(SampleType::Diff),
        Just(SampleType::Inc)
    ];
    let number = prop_oneof![
        (0_u64..3).prop_map(Number::Int),
        (0_u32..1000).prop_map(|n| Number::Float(f64::from(n) / 8.0)),
    ];
    let at = prop_oneof![Just(None), Just(Some(7)), any::<i64>().prop_map(Some)];
    (0..4_usize, types, any::<bool>(), number, 1_u64..3, at)
}

proptest! {
    /// Without joined samples the command is that of the client.
    #[test]
    fn command_is_that_of_the_client(
        samples in prop::collection::vec(any_sample(), 1..8), fixed in any::<bool>()
    ) {
        let tags = ["", "x:1", "x:1", "y"];
        let names = ["a", "b", "c", "d"];
        let mut batch = batch();
        let mut expected: Vec<(Sample<'_>, u64)> = Vec::new();
        let mut last: [Option<usize>; 4] = [None; 4];
        let mut rows: Vec<(BatchedValue, Option<i64>)> = Vec::new();
        for (series_at, sample_type, hist, number, times, at) in samples {
            let at = if fixed { None } else { at };
            let may_repeat = matches!(sample_type, SampleType::Abs | SampleType::Inc);
            let times = if may_repeat { times } else { 1 };
            let value = BatchedValue { sample_type, hist, value: number, times };
            let resolved = series(names[series_at], tags[series_at], series_at as u32);
            batch.sample(P, &resolved, value, at);
            let is_joined = |row: usize| {
                let (before, before_at) = rows[row];
                let may = sample_type == SampleType::Inc || sample_type == SampleType::Abs && hist;
                let whole = number.to_f64().fract() == 0.0;
                may && whole && before_at == at && before.value == number
                    && before.sample_type == sample_type && before.hist == hist
            };
            if let Some(row) = last[series_at].filter(|row| is_joined(*row)) {
                expected[row].1 += times;
                continue;
            }
            last[series_at] = Some(expected.len());
            rows.push((value, at));
            let mut sample = match number {
                Number::Int(value) => Sample::new(names[series_at], value),
                Number::Float(value) => Sample::new(names[series_at], value),
            };
            sample = sample.sample_type(sample_type);
            if hist {
                sample = sample.hist();
            }
            if !tags[series_at].is_empty() {
                sample = sample.tags(tags[series_at]);
            }
            if let Some(at) = at {
                sample = sample.at(at);
            }
            expected.push((sample, times));
        }
        let expected = expected.into_iter().map(|(sample, times)| sample.times(times));
        let mstat = Mstat::new("n1", expected);
        let report = batch.take().remove(0);
        prop_assert_eq!(
            String::from_utf8(report.to_numbered_cmd(None).to_bytes()).unwrap(),
            String::from_utf8(mstat.to_numbered_cmd(None).to_bytes()).unwrap()
        );
    }
}
