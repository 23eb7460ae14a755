//! Line protocol of imported records is that of the server where they were queued.

use super::{fetch, import};
use crate::support::World;
use proptest::prelude::*;

/// Values that are unusual, beside random ones.
fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        prop::sample::select(vec![
            0.0,
            -0.0,
            5e-324,
            -5e-324,
            1e308,
            -1e308,
            0.1,
            1e15,
            1e16,
            123456789.125,
            1e-7,
            -1.5
        ]),
        any::<f64>().prop_filter("finite", |v| v.is_finite()),
        (-1_000_000i64..1_000_000).prop_map(|v| v as f64 / 1000.0),
    ]
}

/// Text that a name or tag may have: no blank, as tag lists have none in them.
fn word() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        "[a-z.@,=\\\\\"#é\u{1}\u{7f}]{1,8}".prop_map(String::into_bytes),
        prop::collection::vec(any::<u8>(), 1..8),
        prop::sample::select(vec!["node", "p50", "time", "count", "instance", "_field"])
            .prop_map(|name| name.as_bytes().to_vec()),
    ]
    .prop_map(|mut word| {
        word.retain(|byte| !matches!(byte, b' '));
        word
    })
}

fn tags() -> impl Strategy<Value = Vec<u8>> {
    let tag = (word(), prop::option::of(word())).prop_map(|(mut name, value)| {
        if name.first().is_none_or(|b| matches!(b, b':' | b'=')) {
            name.insert(0, b'x');
        }
        if let Some(value) = value {
            name.push(b':');
            name.extend(value);
        }
        name
    });
    prop::collection::vec(tag, 0..6).prop_map(|tags| tags.join(&b' '))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn line_of_an_imported_record_is_that_of_the_leaf(
        samples in prop::collection::vec((value(), 0i64..3_600_000), 1..12),
        mut metric in word(),
        tags in tags(),
        kind in prop::sample::select(vec!["ABS", "ADD", "INC", "DIFF"]),
        hist: bool,
        records: bool,
    ) {
        if metric.is_empty() {
            metric.push(b'm');
        }
        let (mut leaf, mut hub) = (World::new(), World::new());
        hub.settings.min_window_s = 60;
        leaf.settings.rules.hist_records = records;
        let start = leaf.now_ms() - 3_600_000;
        for (value, at) in samples {
            let value = if matches!(kind, "INC" | "DIFF") { value.abs() } else { value };
            let (value, at) = (format!("{value:e}"), (start + at).to_string());
            let mut words = vec![&b"STAT"[..], &metric, value.as_bytes(), kind.as_bytes()];
            if hist {
                words.push(b"HIST");
            }
            words.extend([b"TAGS", &tags[..], b"AT", at.as_bytes()]);
            let _ = leaf.try_args(&words);
        }
        if leaf.node.is_none() {
            return Ok(());
        }
        leaf.try_args(&[b"FORGET", b"METRIC", &metric]).unwrap();
        for queue in ["MIN", "HOUR"] {
            let lines: Vec<_> = fetch(&mut leaf, queue, "FORMAT LINE LEASE 1").into_iter().map(|r| r.1).collect();
            leaf.pass(1);
            let fetched = fetch(&mut leaf, queue, "");
            prop_assert_eq!(lines.len(), fetched.len());
            let texts: Vec<(u64, &[u8])> = fetched.iter().map(|r| (r.0, &r.1[..])).collect();
            if texts.is_empty() {
                continue;
            }
            prop_assert_eq!(import(&mut hub, queue, fetched[0].2, &texts).unwrap(), texts.len() as u64);
            let there: Vec<_> = fetch(&mut hub, queue, "FORMAT LINE LEASE 1").into_iter().map(|r| r.1).collect();
            let text = |lines: &[Vec<u8>]| lines.iter().map(|line| String::from_utf8_lossy(line).into_owned()).collect::<Vec<_>>();
            prop_assert_eq!(text(&there), text(&lines));
            hub.pass(1);
            prop_assert_eq!(fetch(&mut hub, queue, ""), fetched);
        }
    }
}

#[test]
fn tags_with_blanks_are_escaped() {
    let mut w = World::new();
    let text = br#"{"node":"n","queue":"MIN","id":1,"metric":"a b@c","window":60,"start":1000,"count":2,"sum":3,
        "avg":1.5,"min":-0.0,"max":2e0,"last":1,"p50":1.25,"p99_9":2,"p":"no percentile","new":[],
        "tags":{"b c":"d e","a":true,"time":"x","p50":"y","":"z"}}"#;
    let text = String::from_utf8_lossy(text).replace(r#","":"z""#, "");
    import(&mut w, "MIN", 0, &[(1, text.as_bytes())]).unwrap();
    let line = fetch(&mut w, "MIN", "FORMAT LINE");
    assert_eq!(
        String::from_utf8_lossy(&line[0].1),
        "a\\ b,a=true,b\\ c=d\\ e,instance=c,node=n,p50_=y,time_=x,window=60s \
         avg=1.5,max=2.0,min=-0.0,sum=3.0,last=1.0,p50=1.25,p99_9=2.0,count=2i 1000000000"
    );
}

#[test]
fn tags_and_percentiles_are_limited() {
    let mut w = World::new();
    let record = |tags: usize, percentiles: usize| {
        let tags: Vec<String> = (0..tags).map(|i| format!(r#""t{i}":"""#)).collect();
        let percentiles: String = (0..percentiles)
            .map(|i| format!(r#","p{i}_5":1"#))
            .collect();
        let values = r#""window":60,"start":0,"count":1,"sum":1,"avg":1,"min":1,"max":1,"last":1"#;
        format!(
            r#"{{"node":"n","queue":"MIN","id":1,"metric":"m",{values}{percentiles},"tags":{{{}}}}}"#,
            tags.join(",")
        )
    };
    for (tags, percentiles, what) in [(32_769, 0, "32768 tags"), (0, 65, "64 percentiles")] {
        let text = record(tags, percentiles);
        let error = import(&mut w, "MIN", 0, &[(1, text.as_bytes())]).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("ERR AGG.IMPORT: record 1: more than {what}")
        );
    }
    let text = record(32_768, 64);
    assert_eq!(import(&mut w, "MIN", 0, &[(1, text.as_bytes())]), Ok(1));
    assert_eq!(fetch(&mut w, "MIN", "FORMAT LINE").len(), 1);
}
