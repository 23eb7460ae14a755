//! The commands that report.

use redis::Value;

use crate::support::*;
use testkit::*;

/// Returns the first window of an hour of the past, so that a later sample closes it.
fn past() -> i64 {
    now_ms() / 3_600_000 * 3_600_000 - 86_400_000
}

#[test]
pub fn stat_with_long_tags_stays_short() {
    let Some(mut timed) = Timed::start("") else {
        return;
    };
    let (mut n, tags) = (0, [many_tags(), many_plain_tags()]);
    timed.takes_less("AGG.STAT of a new metric", ONE, |_| {
        n += 1;
        with(
            "AGG.STAT n",
            [&long_name(n)[..], b"1", b"TAGS", &tags[n % 2]],
        )
    });
    let digits = "9".repeat(LONG);
    timed.rejects_within("AGG.STAT of a long value", ONE, |_| {
        with("AGG.STAT n m", [&digits])
    });
}

#[test]
pub fn stat_that_closes_windows_stays_short() {
    let Some(mut timed) = Timed::start("min-history 100000") else {
        return;
    };
    let (start, tags) = (past(), many_tags());
    timed.send([with(
        "AGG.STAT n m 1 TAGS",
        [&tags, &b"AT"[..], start.to_string().as_bytes()],
    )]);
    timed.send((0..20_000).map(|i| {
        split(&format!(
            "AGG.STAT n many 1 AT {}",
            start - (20_000 - i) * 300_000
        ))
    }));
    let mut hour = 0;
    timed.takes_less("AGG.STAT that closes windows", ONE, |_| {
        hour += 3_600_000;
        split(&format!("AGG.STAT n m 1 AT {}", start + hour))
    });
    let reply = timed.takes_less("AGG.STAT of a long history", ONE, |_| {
        hour += 300_000;
        split(&format!("AGG.STAT n many 1 AT {}", start + hour))
    });
    assert_eq!(reply, Value::Int(1));
}

fn values(names: impl Iterator<Item = Vec<u8>>, value: &[u8]) -> Vec<Vec<u8>> {
    names.flat_map(|name| [name, value.to_vec()]).collect()
}

fn numbered(prefix: String) -> impl Iterator<Item = Vec<u8>> {
    (0..10_000).map(move |i| format!("{prefix}{i}").into_bytes())
}

#[test]
pub fn mstat_of_new_metrics_with_long_tags_stays_short() {
    let Some(mut timed) = Timed::start("max-series 1000000") else {
        return;
    };
    let (mut n, tags) = (0, many_tags());
    for options in ["", " ATOMIC"] {
        timed.takes_less(&format!("AGG.MSTAT of new metrics{options}"), MANY, |_| {
            n += 1;
            let mut words = with(
                &format!("AGG.MSTAT n{options} TAGS"),
                [&tags[..], b"VALUES"],
            );
            words.extend(values(numbered(format!("m{n}.")), b"1.5"));
            words
        });
    }
    // The same metrics again, first with their tags, then with others, which are others at each try.
    let known = |tags: &[u8]| {
        let mut words = with("AGG.MSTAT n TAGS", [tags, b"VALUES"]);
        words.extend(values(numbered("m1.".into()), b"2"));
        words
    };
    timed.takes_less("AGG.MSTAT of known metrics", MANY, |_| known(&tags));
    let mut other = [many_plain_tags(), tags];
    timed.takes_less("AGG.MSTAT of known metrics, other tags", MANY, |_| {
        let words = known(&other[0]);
        other.reverse();
        words
    });
}

#[test]
pub fn mstat_that_closes_windows_with_long_tags_stays_short() {
    let Some(mut timed) = Timed::start("max-series 1000000") else {
        return;
    };
    let (start, tags, mut n) = (past(), many_tags(), 0);
    let mut prepare = |timed: &mut Timed, options: &str| {
        n += 1;
        let at = start.to_string();
        let mut words = with(
            "AGG.MSTAT n TAGS",
            [&tags[..], b"AT", at.as_bytes(), b"VALUES"],
        );
        words.extend(values(numbered(format!("m{n}.")), b"1"));
        timed.send([words]);
        let mut words = split(&format!(
            "AGG.MSTAT n AT {}{options} VALUES",
            start + 3_600_000
        ));
        words.extend(values(numbered(format!("m{n}.")), b"1"));
        words
    };
    let why = "the preceding samples close windows with more than 32 MiB of names and tags: send fewer samples per command";
    let reply = timed.takes_less("AGG.MSTAT that closes windows", MANY, |timed| {
        prepare(timed, "")
    });
    let [Value::Int(taken), Value::Int(0), Value::Array(rejected)] = list(&reply) else {
        panic!("{reply:?}");
    };
    // Each left a record in MIN and one in HOUR.
    assert!((256..300).contains(taken), "{taken}");
    assert_eq!(*taken as usize + rejected.len(), 10_000);
    assert_eq!(list(&rejected[0])[1], Value::BulkString(why.into()));
    let rejection = timed.rejects_within("AGG.MSTAT ATOMIC that closes windows", MANY, |timed| {
        prepare(timed, " ATOMIC")
    });
    assert!(
        rejection.contains(&format!("{why}; no sample was accepted")),
        "{rejection}"
    );
}

#[test]
pub fn mstat_of_rejected_samples_stays_short() {
    let Some(mut timed) = Timed::start("max-series 1") else {
        return;
    };
    timed.ask("AGG.STAT n m 1");
    for value in [&b"1"[..], b"x\x01\xff"] {
        timed.takes_less("AGG.MSTAT of rejected samples", MANY, |_| {
            let mut words = split("AGG.MSTAT n VALUES");
            words.extend(values(numbered("new\x01\u{e9}".repeat(20)), value));
            words
        });
    }
    let too_many: Vec<Vec<u8>> = values((0..10_001).map(|_| b"m".to_vec()), b"1");
    let rejection = timed.rejects_within("AGG.MSTAT of too many samples", ONE, |_| {
        with("AGG.MSTAT n VALUES", &too_many)
    });
    assert!(
        rejection.contains("VALUES has 10001 samples: the maximum is 10000"),
        "{rejection}"
    );
}

#[test]
pub fn mstat_of_long_names_and_values_stays_short() {
    let Some(mut timed) = Timed::start("") else {
        return;
    };
    let (name, value) = ("a".repeat(250), format!("0.{}", "7".repeat(250)));
    for options in ["", " ATOMIC"] {
        timed.takes_less(
            &format!("AGG.MSTAT of long names and values{options}"),
            MANY,
            |_| {
                let mut words = split(&format!("AGG.MSTAT n{options} VALUES"));
                words.extend(values(numbered(name.clone()), value.as_bytes()));
                words
            },
        );
    }
    let long = values((0..200).map(long_name), b"1");
    let rejection = timed.rejects_within("AGG.MSTAT of too many bytes", MANY, |_| {
        with("AGG.MSTAT n VALUES", &long)
    });
    assert!(
        rejection.contains("VALUES has 13107400 bytes: the maximum is 5120000"),
        "{rejection}"
    );
}

/// Pairs whose values are apart from each other, smaller and smaller and of both signs, so that each extends the
/// histogram.
fn pairs(random: usize) -> Vec<Vec<u8>> {
    let value = |i: usize| {
        let sign = if i.is_multiple_of(2) { "-" } else { "" };
        format!(
            "{sign}{}.5e{}",
            i % 9 + 1,
            290 - (i * 7 + random) as i64 % 580
        )
    };
    let pair = |i: usize| {
        [
            value(i).into_bytes(),
            (1u64 << (i % 33)).to_string().into_bytes(),
        ]
    };
    (0..10_000).flat_map(pair).collect()
}

#[test]
pub fn hist_of_many_values_stays_short() {
    let Some(mut timed) = Timed::start("max-series 1000000") else {
        return;
    };
    let (mut n, tags) = (0, many_tags());
    timed.takes_less("AGG.HIST of a new metric", MANY, |_| {
        n += 1;
        let mut words = with("AGG.HIST n", [&long_name(n)[..], b"TAGS", &tags, b"VALUES"]);
        words.extend(pairs(n));
        words
    });
    timed.takes_less("AGG.HIST of a known metric", MANY, |_| {
        n += 1;
        let mut words = split("AGG.HIST n m MIN -1e300 MAX 1e300 VALUES");
        words.extend(pairs(n));
        words
    });
    let digits = format!("0.{}", "7".repeat(500));
    let long: Vec<Vec<u8>> = (0..20_000)
        .map(|i| {
            if i % 2 == 0 {
                digits.clone()
            } else {
                "1".into()
            }
            .into_bytes()
        })
        .collect();
    timed.takes_less("AGG.HIST of long values", MANY, |_| {
        let mut words = split("AGG.HIST n m VALUES");
        words.extend(long.iter().cloned());
        words
    });
    let too_many = vec![b"1".to_vec(); 20_002];
    let refusal = timed.rejects_within("AGG.HIST of too many values", ONE, |_| {
        with("AGG.HIST n m VALUES", &too_many)
    });
    assert!(
        refusal.contains("VALUES has 10001 pairs: the maximum is 10000"),
        "{refusal}"
    );
}

#[test]
pub fn hist_that_closes_windows_stays_short() {
    let Some(mut timed) = Timed::start("min-history 100000 hist-records yes") else {
        return;
    };
    let start = past();
    let mut words = with("AGG.HIST n", [&b"m"[..], b"TAGS", &many_tags(), b"AT"]);
    words.extend([start.to_string().into_bytes(), b"VALUES".to_vec()]);
    words.extend(pairs(0));
    timed.send([words]);
    let mut hour = 0;
    let reply = timed.takes_less("AGG.HIST that closes windows", ONE, |_| {
        hour += 3_600_000;
        split(&format!(
            "AGG.HIST n m AT {} VALUES 1 2 1e9 4294967296",
            start + hour
        ))
    });
    assert_eq!(reply, Value::Int(1));
}

#[test]
pub fn log_with_long_texts_stays_short() {
    let Some(mut timed) = Timed::start("queue-log 5mb") else {
        return;
    };
    // A full queue of small records, of which many are evicted for a long one.
    timed.send((0..200_000).map(|_| split("AGG.LOG n x")));
    let (long, tags) = (vec![b'\xff'; 1 << 20], [many_tags(), many_plain_tags()]);
    let mut n = 0;
    timed.takes_less("AGG.LOG", ONE, |_| {
        n += 1;
        with("AGG.LOG n", [&long[..], b"TAGS", &tags[n % 2]])
    });
}

#[test]
pub fn error_with_long_texts_stays_short() {
    let Some(mut timed) = Timed::start("") else {
        return;
    };
    let (text, mut tags) = (escaped_text(), [many_tags(), many_plain_tags()]);
    let mut n = 0;
    let options = ["PUBLIC", "CODE", "FUNC", "FILE", "BACKTRACE"];
    let report = |n: usize, tags: &[u8], key: Option<&[u8]>| {
        let mut message = text.clone();
        message.extend(n.to_string().bytes());
        let mut words = with("AGG.ERROR n", [&message]);
        for option in options {
            words.extend([option.into(), text.clone()]);
        }
        words.extend([b"TAGS".to_vec(), tags.to_vec()]);
        words.extend(
            key.into_iter()
                .flat_map(|key| [b"KEY".to_vec(), key.to_vec()]),
        );
        words
    };
    timed.takes_less("AGG.ERROR", ONE, |_| {
        n += 1;
        tags.reverse();
        report(n, &tags[0], None)
    });
    timed.takes_less("AGG.ERROR of a known error", ONE, |_| {
        n += 1;
        tags.reverse();
        report(n, &tags[0], Some(&long_name(1)))
    });
}

#[test]
pub fn error_after_a_lowered_limit_evicts_a_few() {
    let Some(mut timed) = Timed::start("max-errors 50000") else {
        return;
    };
    timed.takes_less("AGG.ERROR after a lowered limit", ONE, |timed| {
        timed.ask("CONFIG SET agg.max-errors 50000");
        timed.send((0..50_000).map(|i| split(&format!("AGG.ERROR n m KEY {i}"))));
        timed.ask("CONFIG SET agg.max-errors 10");
        split("AGG.ERROR n m KEY new")
    });
    until("the timer evicts the rest", || {
        (int(&timed.ask("AGG.INFO n"), "errors") == 10).then_some(())
    });
}

#[test]
pub fn reality_with_long_json_stays_short() {
    let Some(mut timed) = Timed::start("") else {
        return;
    };
    let (tags, mut n) = (many_tags(), 0);
    // Unsorted members; arrays as deep as permitted; characters that are escaped.
    let names = (0..9000).map(|i| format!("\"{:x}\":1", i * 7919 % 9001));
    let members = format!("{{{}}}", names.take(6000).collect::<Vec<_>>().join(","));
    let deep = format!("{}1{}", "[".repeat(127), "]".repeat(127));
    let deep = format!("[{}]", vec![deep; 250].join(","));
    let escapes = format!("\"{}\"", "\\u0001".repeat(10_900));
    let numbers = format!("[{}]", vec!["1"; 32_000].join(","));
    for (i, json) in [members, deep, escapes, numbers].into_iter().enumerate() {
        assert!(
            json.len() <= LONG && json.len() > LONG / 2,
            "{i}: {}",
            json.len()
        );
        let spaced = json.replacen(',', ", ", 2);
        // Another object at each try: after the first, its content would be known.
        let report = |n: usize, json: &str| {
            with(
                "AGG.REALITY n",
                [&long_name(n)[..], b"model", json.as_bytes(), b"TAGS", &tags],
            )
        };
        for (what, known, json) in [
            ("new", None, &json),
            ("spaced", Some(&json), &spaced),
            ("same", Some(&json), &json),
        ] {
            timed.takes_less(&format!("AGG.REALITY, JSON {i}, {what}"), ONE, |timed| {
                n += 1;
                timed.send(known.map(|known| report(n, known)));
                report(n, json)
            });
        }
    }
}

#[test]
pub fn forget_stays_short_whatever_is_still_to_be_dropped() {
    let Some(mut timed) = Timed::start("max-realities 30000") else {
        return;
    };
    timed.last_takes_less("AGG.FORGET after a lowered limit", ONE, |timed| {
        timed.ask("CONFIG SET agg.max-realities 30000");
        timed.send((0..30_000).map(|i| split(&format!("AGG.REALITY n o{i} m 1"))));
        timed.send((1..30_000).map(|i| split(&format!("AGG.FORGET n REALITY o{i}"))));
        let lowered = split("CONFIG SET agg.max-realities 10");
        vec![lowered, split("AGG.FORGET n REALITY o0")]
    });
    let (tags, name) = (many_tags(), long_name(1));
    // A name that was forgotten is late in the same window.
    let mut number = 1;
    let reply = timed.takes_less("AGG.FORGET of a metric with open windows", ONE, |timed| {
        number += 1;
        let name = long_name(number);
        timed.send([with("AGG.STAT n", [&name[..], b"1", b"TAGS", &tags])]);
        with("AGG.FORGET n METRIC", [&name])
    });
    assert_eq!(reply, Value::Int(1));
    timed.takes_less("AGG.FORGET of an error", ONE, |timed| {
        timed.send([with(
            "AGG.ERROR n",
            [&escaped_text()[..], b"KEY", &name, b"TAGS", &tags],
        )]);
        with("AGG.FORGET n ERROR", [&name])
    });
}
