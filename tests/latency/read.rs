//! The commands that read.

use redis::Value;

use crate::support::*;
use testkit::*;

#[test]
pub fn get_with_long_tags_stays_short() {
    let Some(mut timed) = Timed::start("") else {
        return;
    };
    for (i, tags) in [many_tags(), many_plain_tags()].iter().enumerate() {
        let name = long_name(i);
        timed.send([
            with("AGG.STAT n", [&name[..], b"1", b"TAGS", tags]),
            with(
                "AGG.ERROR n",
                [&escaped_text()[..], b"KEY", &name, b"TAGS", tags],
            ),
            with("AGG.REALITY n", [&name[..], b"m", b"1", b"TAGS", tags]),
        ]);
        for family in ["METRIC", "ERROR", "REALITY"] {
            timed.takes_less(&format!("AGG.GET {family}"), ONE, |_| {
                with(&format!("AGG.GET n {family}"), [&name])
            });
        }
    }
}

#[test]
pub fn range_over_many_windows_is_bounded() {
    let settings = "min-window 1 hour-window 3600 min-history 100000 flush-delay-ms 0";
    let Some(mut timed) = Timed::start(settings) else {
        return;
    };
    let windows = 90_000;
    let start = now_ms() / 1000 * 1000 - 2 * windows * 1000;
    timed.send((0..=windows).map(|i| split(&format!("AGG.STAT n m 1.25 AT {}", start + i * 1000))));
    let reply = timed.takes_less("AGG.RANGE", MANY, |_| split("AGG.RANGE n m MIN"));
    let first = list(&reply);
    assert_eq!(first.len(), 5000);
    assert_eq!(int(&first[0], "start"), start);
    // Continues from the end of the last reply, up to the last window.
    let (mut found, mut from) = (0, 0);
    loop {
        let reply = timed.ask(&format!("AGG.RANGE n m MIN FROM {from}"));
        let Some(last) = list(&reply).last() else {
            break;
        };
        assert_eq!(int(&list(&reply)[0], "start"), start + found * 1000);
        found += list(&reply).len() as i64;
        from = int(last, "end");
    }
    assert!(found >= windows, "{found} windows");
}

#[test]
pub fn scan_with_a_pattern_stops_after_some_work() {
    let Some(mut timed) = Timed::start("") else {
        return;
    };
    let n = 300;
    timed.send((0..n).map(|i| with("AGG.REALITY n", [&long_name(i)[..], b"m", b"1"])));
    for (pattern, expected) in [
        (format!("*{}b", "a".repeat(1000)), 0),
        (format!("*{}b", "a*".repeat(500)), 0),
        (format!("*{}*1", "[a-z]".repeat(200)), n / 10),
    ] {
        let reply = timed.takes_less("AGG.SCAN with a long pattern", MANY, |_| {
            split(&format!("AGG.SCAN n REALITY 0 COUNT 10000 MATCH {pattern}"))
        });
        // The scan has not reached the end, and continues to it.
        let (mut found, mut calls, mut reply) = (0, 1, reply);
        while list(&reply)[0] != Value::BulkString(b"0".to_vec()) {
            found += list(&list(&reply)[1]).len();
            let Value::BulkString(cursor) = &list(&reply)[0] else {
                unreachable!()
            };
            let cursor = String::from_utf8_lossy(cursor).into_owned();
            reply = timed.ask(&format!(
                "AGG.SCAN n REALITY {cursor} COUNT 10000 MATCH {pattern}"
            ));
            calls += 1;
        }
        found += list(&list(&reply)[1]).len();
        assert_eq!(found, expected, "{pattern}");
        assert!(calls > 10, "{calls}");
    }
}

#[test]
pub fn scan_with_values_stays_short() {
    let Some(mut timed) = Timed::start("") else {
        return;
    };
    let tags = many_tags();
    timed.send((0..40).map(|i| with(&format!("AGG.STAT n m{i} 1 TAGS"), [&tags])));
    timed.send((0..10_000).map(|i| split(&format!("AGG.ERROR n m KEY {i}"))));
    timed.send((0..10_000).map(|i| split(&format!("AGG.REALITY n o{i} m 1"))));
    for family in ["METRIC", "ERROR", "REALITY"] {
        timed.takes_less(&format!("AGG.SCAN {family} WITHVALUES"), MANY, |_| {
            split(&format!("AGG.SCAN n {family} 0 COUNT 10000 WITHVALUES"))
        });
    }
    timed.send((0..10_000).map(|i| split(&format!("AGG.STAT n k{i} 1"))));
    timed.send((0..9_900).map(|i| split(&format!("AGG.STAT n h{i} 1 HIST"))));
    for options in ["", " MATCH *9*", " WITHVALUES", " WITHLAST"] {
        for cursor in [0, 10_000] {
            let what = format!("AGG.SCAN from {cursor} of many metrics{options}");
            let reply = timed.takes_less(&what, MANY, |_| {
                split(&format!("AGG.SCAN n METRIC {cursor} COUNT 10000{options}"))
            });
            // The bounds of bytes, by which a page takes a few milliseconds.
            let metrics = list(&list(&reply)[1]).len() / 2;
            match options {
                " WITHVALUES" => assert!(metrics <= 1024, "{metrics}"),
                " WITHLAST" => assert!((1024..=4096).contains(&metrics), "{metrics}"),
                _ => {}
            }
        }
    }
}

#[test]
pub fn info_stays_short() {
    let Some(mut timed) = Timed::start("") else {
        return;
    };
    timed.send((0..10_000).map(|i| split(&format!("AGG.STAT n m{i} 1"))));
    timed.send((0..10_000).map(|i| split(&format!("AGG.ERROR n m KEY {i}"))));
    timed.send((0..10_000).map(|_| split("AGG.LOG n x")));
    timed.takes_less("AGG.INFO", ONE, |_| split("AGG.INFO n"));
}

#[test]
pub fn help_stays_short() {
    let Some(mut timed) = Timed::start("") else {
        return;
    };
    timed.takes_less("AGG.HELP", ONE, |_| split("AGG.HELP"));
}
