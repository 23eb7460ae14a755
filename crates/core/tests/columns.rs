//! AGG.MSTAT with COLUMNS: rows have the effect of single samples, bad ones are named, and the limits hold.

use crate::support::{BASE, Value, World, digest};
use aggregator_core::{Command, Request, Settings};
use proptest::prelude::*;

/// Runs AGG.MSTAT with rows whose cells are separated by blanks; `-` is an empty one.
fn try_rows(w: &mut World, head: &str, rows: &[&str]) -> Result<Value, String> {
    let cells = rows.iter().flat_map(|row| row.split(' '));
    let cells = cells.map(|cell| if cell == "-" { "" } else { cell });
    let head = format!("MSTAT {head} VALUES");
    let words: Vec<&[u8]> = head.split(' ').chain(cells).map(str::as_bytes).collect();
    w.try_args(&words).map_err(|error| error.to_string())
}

fn rows(w: &mut World, head: &str, rows: &[&str]) -> (i64, i64, Vec<(i64, String)>) {
    let reply = try_rows(w, head, rows).unwrap();
    let [counted, late, rejected] = reply.list() else {
        panic!("{reply:?}");
    };
    let rejected = rejected.list().iter();
    let rejected = rejected.map(|pair| (pair.list()[0].int(), pair.list()[1].text()));
    (counted.int(), late.int(), rejected.collect())
}

const ALL: &str = "COLUMNS AT TAGS METRIC VALUE TYPE HIST TIMES";

#[test]
fn rows_have_options_of_their_own() {
    let mut w = World::new();
    let at = BASE - 1_000;
    let reply = rows(
        &mut w,
        &format!("INC TAGS rack:a AT {at} {ALL}"),
        &[
            "- - hits 3 - 0 -",
            &format!("{BASE} b=2 load 7 abs 1 4"),
            "- - load -2 ADD 0 1",
            "- x rx 100 DIFF 0 -",
        ],
    );
    assert_eq!(reply, (4, 0, vec![]));
    let hits = w.run("GET METRIC hits");
    assert_eq!(
        (hits.at("type").text().as_str(), hits.at("at").int()),
        ("INC", at)
    );
    assert_eq!(hits.at("tags").at("rack").text(), "a");
    let load = w.run("GET METRIC load");
    assert_eq!(
        (load.at("type").text().as_str(), load.at("samples").int()),
        ("ABS", 5)
    );
    assert_eq!(load.at("at").int(), BASE);
    assert_eq!(w.run("GET METRIC rx").at("type").text(), "DIFF");
    w.check_copies();
}

#[test]
fn bad_cell_rejects_its_row() {
    let mut w = World::new();
    let far = BASE + 1_000_000_000;
    let cells = [
        ("- - - 1 - 0 -", "metric must not be empty"),
        (
            "- - a x - 0 -",
            "invalid value 'x': expected a decimal number",
        ),
        (
            "- - a 1 GAUGE 0 -",
            "invalid TYPE 'GAUGE': expected one of ABS, ADD, DIFF, INC",
        ),
        ("- - a 1 - - -", "invalid HIST '': expected 0 or 1"),
        ("- - a 1 - yes -", "invalid HIST 'yes': expected 0 or 1"),
        (
            "- - a 1 - 0 0",
            "invalid TIMES '0': expected an integer from 1 to 4294967296",
        ),
        (
            "- - a 1 DIFF 0 2",
            "TIMES is given with DIFF: only values of ABS and INC may be repeated",
        ),
        (
            "- - a -1 DIFF 0 -",
            "invalid value '-1': a DIFF metric must not be negative",
        ),
        (
            "- :v a 1 - 0 -",
            "invalid tag ':v' in TAGS: expected name:value or name=value",
        ),
        (
            "1760000100 - a 1 - 0 -",
            "AT 1760000100 looks like seconds: times are Unix milliseconds",
        ),
        (
            &format!("{far} - a 1 - 0 -"),
            "is 1000000000 ms ahead of the server's clock",
        ),
    ];
    for (row, why) in cells {
        let (counted, late, rejected) = rows(&mut w, ALL, &["- - ok 1 - 0 -", row]);
        assert_eq!((counted, late), (1, 0), "{row}");
        let [(1, text)] = &rejected[..] else {
            panic!("{row}: {rejected:?}");
        };
        assert!(text.contains(why), "{row}: {text}");
        let error = try_rows(&mut w, &format!("ATOMIC {ALL}"), &["- - new 1 - 0 -", row]);
        let error = error.unwrap_err();
        assert!(error.starts_with("ERR AGG.MSTAT: sample 1: "), "{error}");
        assert!(error.contains(why), "{error}");
        assert!(error.ends_with("; no sample was accepted"), "{error}");
    }
    let info = w.run("INFO");
    assert_eq!(info.at("metrics").int(), 1);
    // Those of commands that did not parse are counted by the shell.
    assert_eq!(info.at("refused").at("argument").int(), 10);
    assert_eq!(info.at("refused").at("future").int(), 1);
    w.check_copies();
}

#[test]
fn columns_are_checked() {
    let mut w = World::new();
    for (line, error) in [
        ("COLUMNS METRIC VALUE", "VALUES is missing; usage: "),
        (
            "COLUMNS METRIC VALUES m",
            "column VALUE is missing; usage: ",
        ),
        ("COLUMNS VALUES m", "column METRIC is missing; usage: "),
        (
            "COLUMNS METRIC VALUE SEQ VALUES m 1 1",
            "invalid column 'SEQ': expected one of METRIC, VALUE, TYPE, HIST, TIMES, TAGS, AT",
        ),
        (
            "COLUMNS METRIC VALUE metric VALUES m 1 m",
            "column METRIC is given twice",
        ),
        (
            "COLUMNS METRIC VALUE TYPE VALUES m 1 INC m 2",
            "VALUES requires a value for each of 3 columns in each row, got 5 arguments",
        ),
        (
            "COLUMNS METRIC VALUE VALUES",
            "VALUES requires a value for each of 2 columns in each row, got 0 arguments",
        ),
    ] {
        let found = w.error(&format!("MSTAT {line}"));
        let expected = format!("ERR AGG.MSTAT: {error}");
        assert!(found.starts_with(&expected), "{line}: {found}");
    }
    assert!(w.node.is_none());
}

#[test]
fn second_type_of_a_new_metric_is_rejected() {
    let mut w = World::new();
    let head = "COLUMNS METRIC VALUE TYPE";
    let conflict = ["m 1 INC", "k 1 ABS", "m 2 DIFF", "k 1 ADD", "m 3 INC"];
    let error = try_rows(&mut w, &format!("ATOMIC {head}"), &conflict).unwrap_err();
    assert!(
        error.starts_with("ERR AGG.MSTAT: sample 2: metric 'm' is INC, the sample DIFF"),
        "{error}"
    );
    assert!(w.node.is_none());
    let (counted, late, rejected) = rows(&mut w, head, &conflict);
    assert_eq!((counted, late, rejected.len()), (4, 0, 1));
    assert!(rejected[0].0 == 2 && rejected[0].1.starts_with("metric 'm' is INC"));
    w.check_copies();
    // A file that contains such a command is not replayed as it is.
    let words: Vec<&[u8]> = "MSTAT n COLUMNS METRIC VALUE TYPE VALUES new 1 INC new 1 ABS"
        .split(' ')
        .map(str::as_bytes)
        .collect();
    let request = Request::parse(Command::Mstat, &words, &Settings::default(), w.now).unwrap();
    assert!(!request.is_replayable(w.node.as_ref().unwrap(), &w.settings));
}

#[test]
fn rows_are_propagated_verbatim_and_sequence_numbers_hold() {
    let mut w = World::new();
    w.run("STAT a 1");
    let sent = (w.sent.0, w.verbatim);
    let head = "SEQ s 4 TAGS c:3 COLUMNS METRIC VALUE TYPE TAGS HIST";
    let all = [
        "a 1 ADD x:1 0",
        "b 2 INC - 1",
        "c 3 DIFF x:1 0",
        "a 9 - x=1 0",
    ];
    assert_eq!(rows(&mut w, head, &all), (4, 0, vec![]));
    assert_eq!((w.sent.0, w.verbatim), (sent.0, sent.1 + 1));
    w.check_copies();
    let before = digest(w.node.as_ref().unwrap());
    assert_eq!(try_rows(&mut w, head, &all).unwrap(), Value::Null);
    assert_eq!(digest(w.node.as_ref().unwrap()), before);
    // With a rejection the rest is propagated as samples, each with its tags.
    let head = "COLUMNS METRIC VALUE TYPE TAGS";
    let (counted, _, rejected) = rows(
        &mut w,
        head,
        &["a 1 ABS y:2", "b 2 ABS y:2", "c 4 DIFF x:1"],
    );
    assert_eq!((counted, rejected.len()), (2, 1));
    assert_eq!(w.sent.0, sent.0 + 1);
    assert_eq!(w.run("GET METRIC a").at("tags").at("y").text(), "2");
    w.check_copies();
}

#[test]
fn memory_pressure_spares_metrics_that_exist() {
    let mut w = World::new();
    w.run("STAT a 1 TAGS x:1");
    w.memory_pressure = true;
    let head = "COLUMNS METRIC VALUE TAGS HIST";
    let (counted, late, rejected) = rows(
        &mut w,
        head,
        &["a 2 x:1 0", "a 3 y:2 1", "new 1 x:1 0", "a 4 - 0"],
    );
    assert_eq!((counted, late, rejected.len(), rejected[0].0), (3, 0, 1, 2));
    // The tags, the histogram and the new metric.
    assert_eq!(w.run("INFO").at("refused").at("max-memory").int(), 3);
    assert_eq!(w.run("GET METRIC a").at("tags").at("x").text(), "1");
    w.check_copies();
}

#[test]
fn limits_hold_for_rows() {
    let mut w = World::new();
    let mut words: Vec<&[u8]> = "MSTAT COLUMNS METRIC VALUE TAGS VALUES"
        .split(' ')
        .map(str::as_bytes)
        .collect();
    let head = words.len();
    words.extend((0..10_001).flat_map(|_| [&b"m"[..], b"1", b""]));
    assert_eq!(
        w.try_args(&words).unwrap_err().to_string(),
        "ERR AGG.MSTAT: VALUES has 10001 samples: the maximum is 10000"
    );
    words.truncate(head + 30_000);
    assert_eq!(w.try_args(&words).unwrap().list()[0].int(), 10_000);
    let tags = [b"t:".as_slice(), &[b'x'; 600]].concat();
    for row in words[head..].chunks_exact_mut(3) {
        row[2] = &tags;
    }
    let error = w.try_args(&words).unwrap_err().to_string();
    assert_eq!(
        error,
        "ERR AGG.MSTAT: VALUES has 6040000 bytes: the maximum is 5120000"
    );
    w.check_copies();
}

/// Rows may close windows that earlier rows of the command open, with a long tag list each.
#[test]
fn atomic_rows_that_close_long_records_of_their_own_are_rejected_together() {
    let at: Vec<String> = (0..3_000)
        .map(|i| (BASE - 3_000 * 400_000 + i * 400_000).to_string())
        .collect();
    let tags = format!("t:{}", "x".repeat(16_000));
    let mut w = World::new();
    let run = |w: &mut World, head: &str| {
        let mut words: Vec<&[u8]> = head.split(' ').map(str::as_bytes).collect();
        for at in &at {
            words.extend([b"m", b"1", at.as_bytes()]);
        }
        w.try_args(&words).map_err(|error| error.to_string())
    };
    let head = format!("TAGS {tags} COLUMNS METRIC VALUE AT VALUES");
    let error = run(&mut w, &format!("MSTAT ATOMIC {head}")).unwrap_err();
    assert!(
        error.contains("the preceding samples close windows"),
        "{error}"
    );
    assert!(w.node.is_none());
    let reply = run(&mut w, &format!("MSTAT {head}")).unwrap();
    let (counted, rejected) = (reply.list()[0].int(), reply.list()[2].list().len());
    assert!(counted > 1_000 && rejected > 100, "{counted} {rejected}");
    w.check_copies();
    // Without long tags the same times are no problem.
    let head = "MSTAT ATOMIC TAGS t:x COLUMNS METRIC VALUE AT VALUES";
    let mut w = World::new();
    assert_eq!(run(&mut w, head).unwrap().list()[0].int(), 3_000);
    w.check_copies();
}

#[derive(Clone, Debug)]
struct Row {
    metric: &'static str,
    value: i32,
    kind: &'static str,
    hist: bool,
    times: u8,
    tags: &'static str,
    back_ms: Option<i64>,
}

fn row() -> impl Strategy<Value = Row> {
    let metric = prop::sample::select(vec!["a", "b", "c", "d"]);
    let kind = prop::sample::select(vec!["", "ABS", "ADD", "DIFF", "INC", "inc", "bad"]);
    let tags = prop::sample::select(vec!["", "x:1", "x=1", "y:2", "=bad"]);
    let back_ms = prop::option::of(0i64..8_000_000);
    let options = (any::<bool>(), prop_oneof![9 => Just(0u8), 1 => 1u8..5]);
    (metric, -3i32..30, kind, options, tags, back_ms).prop_map(
        |(metric, value, kind, (hist, times), tags, back_ms)| Row {
            metric,
            value,
            kind,
            hist,
            times,
            tags,
            back_ms,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn rows_are_equal_to_single_samples(
        commands in prop::collection::vec((prop::collection::vec(row(), 1..12), 0i64..500_000, any::<bool>()), 1..8),
    ) {
        let (mut rows, mut single) = (World::new(), World::new());
        for (samples, pass, atomic) in &commands {
            for w in [&mut rows, &mut single] {
                w.pass(*pass);
                w.tick();
            }
            let now_ms = rows.now_ms();
            let mut head = "MSTAT INC TAGS z:9".to_owned();
            if *atomic {
                head += " ATOMIC";
            }
            head += " COLUMNS TIMES METRIC VALUE TYPE HIST TAGS AT VALUES";
            let mut words: Vec<String> = head.split(' ').map(str::to_owned).collect();
            let mut expected = (0, 0, Vec::new());
            for row in samples {
                let at = row.back_ms.map(|back| now_ms - back);
                words.extend([
                    if row.times == 0 { String::new() } else { row.times.to_string() },
                    row.metric.into(),
                    row.value.to_string(),
                    row.kind.into(),
                    u8::from(row.hist).to_string(),
                    row.tags.into(),
                    at.map_or_else(String::new, |at| at.to_string()),
                ]);
            }
            let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
            let reply = rows.try_args(&words);
            rows.check_copies();
            if *atomic && reply.is_err() {
                continue;
            }
            for (index, row) in samples.iter().enumerate() {
                let kind = if row.kind.is_empty() { "INC" } else { row.kind };
                let tags = if row.tags.is_empty() { "z:9" } else { row.tags };
                let hist = if row.hist { " HIST" } else { "" };
                let at = now_ms - row.back_ms.unwrap_or(0);
                let times = row.times.max(1);
                let line = format!("STAT {} {} {kind}{hist} TIMES {times} TAGS {tags} AT {at}", row.metric, row.value);
                match single.try_run(&line) {
                    Ok(reply) if reply.int() == 1 => expected.0 += 1,
                    Ok(_) => expected.1 += 1,
                    Err(_) => expected.2.push(index as i64),
                }
            }
            let reply = reply.unwrap();
            let rejected: Vec<i64> = reply.list()[2].list().iter().map(|pair| pair.list()[0].int()).collect();
            prop_assert_eq!((reply.list()[0].int(), reply.list()[1].int(), rejected), expected);
            for metric in ["a", "b", "c", "d"] {
                let get = format!("GET METRIC {metric}");
                prop_assert_eq!(rows.run(&get), single.run(&get));
            }
            prop_assert_eq!(rows.peek("MIN"), single.peek("MIN"));
        }
    }
}
