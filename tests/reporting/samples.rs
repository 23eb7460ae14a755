//! AGG.STAT: what a sample changes, and which samples are rejected.

use super::*;

const STAT: &str = "AGG.STAT node metric value [ABS|ADD|DIFF|INC] [HIST] [TIMES n] [TAGS tags] [AT ms] [SEQ source n]";

#[test]
fn sample_is_counted() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    assert_eq!(server.ask::<i64>("AGG.STAT n m 1.5"), 1);
    assert_eq!(
        server.error("AGG.STAT n m 0x10"),
        "ERR AGG.STAT: invalid value '0x10': expected a decimal number"
    );
    assert_eq!(server.ask::<String>("TYPE n"), "aggr-node");
}

#[test]
fn options_of_a_sample_work_in_any_order_and_case() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    let t = now_ms() - 1_000;
    let options = [
        format!("ABS TAGS 'dim:iops location:elgouna' AT {t}"),
        format!("at {t} tags 'dim:iops location:elgouna' abs"),
        format!("Tags ' location:elgouna  dim:iops ' At {t}"),
    ];
    for (i, options) in options.iter().enumerate() {
        let name = format!("disk.iops@sd{i}");
        assert_eq!(
            tell::<i64>(&server, &format!("agg.stat n {name} 12.5 {options}")),
            1
        );
        let shown: Value = server.ask(&format!("AGG.GET n METRIC {name}"));
        assert_eq!(
            names(&shown),
            words(
                "name type tags last at min hour samples late late-min late-hour restarts gaps tag-changes"
            )
            .iter()
            .map(|w| String::from_utf8_lossy(w).into_owned())
            .collect::<Vec<_>>()
        );
        assert_eq!(
            (text(&shown, "name"), text(&shown, "type")),
            (name, "ABS".into())
        );
        assert_eq!((double(&shown, "last"), int(&shown, "at")), (12.5, t));
        let tags = at(&shown, "tags").unwrap();
        assert_eq!(
            (text(tags, "dim"), text(tags, "location")),
            ("iops".into(), "elgouna".into())
        );
        assert_eq!((int(&shown, "samples"), int(&shown, "tag-changes")), (1, 0));
        for open in ["min", "hour"] {
            let open = list(at(&shown, open).unwrap());
            assert_eq!(open.len(), 1);
            assert_eq!((int(&open[0], "count"), int(&open[0], "closed")), (1, 0));
        }
    }
}

#[test]
fn sample_without_a_time_has_the_clock_of_the_server() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    let before = now_ms();
    server.ask::<i64>("AGG.STAT n m 1");
    let at = int(&server.ask("AGG.GET n METRIC m"), "at");
    assert!((before..=now_ms()).contains(&at), "{at}");
}

#[test]
fn first_differential_sample_sets_the_total_and_later_ones_add_increases() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    let t = now_ms() - 60_000;
    assert_eq!(
        server.ask::<i64>(&format!("AGG.STAT n c 1000 DIFF AT {t}")),
        1
    );
    let first: Value = server.ask("AGG.GET n METRIC c");
    assert_eq!(text(&first, "type"), "DIFF");
    assert_eq!(at(&first, "min"), Some(&Value::Array(vec![])));
    assert_eq!(
        server.ask::<i64>(&format!("AGG.STAT n c 1100 diff AT {}", t + 10_000)),
        1
    );
    let second: Value = server.ask("AGG.GET n METRIC c");
    let open = &list(at(&second, "min").unwrap())[0];
    assert_eq!((double(open, "sum"), double(open, "avg")), (100.0, 10.0));
    assert_eq!(text(&second, "last"), "1100");
}

#[test]
fn values_are_decimal_numbers_as_in_json() {
    let Some(server) = stocked("") else { return };
    for (given, last) in [
        ("0", "0"),
        ("-0", "0.0"),
        ("+7", "7"),
        ("-1.5", "-1.5"),
        ("1e3", "1000.0"),
        ("+1E-2", "0.01"),
        ("1.5e+3", "1500.0"),
        ("5e-324", "5e-324"),
        ("1.7976931348623157e308", "1.7976931348623157e308"),
        ("18446744073709551615", "18446744073709551615"),
    ] {
        assert_eq!(
            server.ask::<i64>(&format!("AGG.STAT n gauge {given}")),
            1,
            "{given}"
        );
        assert_eq!(metric(&server, "gauge", "last"), last, "{given}");
    }
}

#[test]
fn value_that_is_no_finite_double_is_rejected() {
    let Some(server) = stocked("") else { return };
    for value in [
        "", "+", "-", "+-1", "--1", "1 ", " 1", "1 2", "0x10", "0X1p3", "1.", ".5", "01", "-01",
        "1e", "1e+", "1.5.2", "1,5", "1_000", "NaN", "nan", "inf", "-inf", "Infinity", "true",
        "one", "١",
    ] {
        assert_rejected(
            &server,
            &format!("AGG.STAT n gauge '{value}'"),
            &format!("ERR AGG.STAT: invalid value '{value}': expected a decimal number"),
        );
    }
    for (value, why) in [
        ("1e309", "too large for a double"),
        ("-1e309", "too large for a double"),
        ("1e-400", "too close to 0 for a double"),
    ] {
        assert_rejected(
            &server,
            &format!("AGG.STAT n gauge {value}"),
            &format!("ERR AGG.STAT: invalid value '{value}': {why}"),
        );
    }
    assert_words_rejected(
        &server,
        &[b"AGG.STAT", b"n", b"gauge", b"1\0\n\xff'"],
        r"ERR AGG.STAT: invalid value '1\x00\n\xff\'': expected a decimal number",
    );
    assert_rejected(
        &server,
        "AGG.STAT n counter -1 DIFF",
        "ERR AGG.STAT: invalid value '-1': a DIFF metric must not be negative",
    );
}

#[test]
fn sample_with_missing_unknown_or_repeated_arguments_is_rejected() {
    let Some(server) = stocked("") else { return };
    let arity = "ERR wrong number of arguments for 'AGG.STAT' command";
    assert_rejected_once(&server, &words("AGG.STAT"), arity);
    assert_rejected(&server, "AGG.STAT n", arity);
    assert_rejected(&server, "AGG.STAT n gauge", arity);
    for (options, why) in [
        ("FOO", format!("unknown option 'FOO'; usage: {STAT}")),
        ("''", format!("unknown option ''; usage: {STAT}")),
        ("ABS 2", format!("unknown option '2'; usage: {STAT}")),
        ("LEVEL 5", format!("unknown option 'LEVEL'; usage: {STAT}")),
        ("TAGS", format!("TAGS requires a value; usage: {STAT}")),
        ("ABS AT", format!("AT requires a value; usage: {STAT}")),
        ("ABS abs", "ABS is given twice".into()),
        ("DIFF DIFF", "DIFF is given twice".into()),
        ("TAGS a:1 TAGS a:1", "TAGS is given twice".into()),
        (
            "AT 1700000000000 AT 1700000000000",
            "AT is given twice".into(),
        ),
        (
            "ABS DIFF",
            "ABS and DIFF are both given: a sample has one type".into(),
        ),
    ] {
        assert_rejected(
            &server,
            &format!("AGG.STAT n gauge 1 {options}"),
            &format!("ERR AGG.STAT: {why}"),
        );
    }
}

#[test]
fn names_and_tags_are_binary_safe() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    // Blanks, line ends, NUL, separators and invalid UTF-8 are all part of the name.
    let names: [&[u8]; 6] = [b"a b", b"a\nb", b"a\0b", b"a\0c", b"a|b:c", b"\xff\xfe"];
    for (i, name) in names.into_iter().enumerate() {
        let value = i.to_string();
        let tags = [b"t\0:", name].concat().replace_blanks();
        let command: [&[u8]; 6] = [b"AGG.STAT", name, name, value.as_bytes(), b"TAGS", &tags];
        assert_eq!(server.send::<i64>(&command), 1);
    }
    let mut nodes: Vec<Vec<u8>> = server.ask("KEYS *");
    nodes.sort();
    let mut expected = names.map(<[u8]>::to_vec);
    expected.sort();
    assert_eq!(nodes, expected);
    for (i, name) in names.into_iter().enumerate() {
        let shown: Value = server.send(&[b"AGG.GET", name, b"METRIC", name]);
        assert_eq!(at(&shown, "name"), Some(&Value::BulkString(name.to_vec())));
        assert_eq!(text(&shown, "last"), i.to_string());
        let tags: Vec<Vec<u8>> =
            redis::from_redis_value(at(&shown, "tags").unwrap().clone()).unwrap();
        assert_eq!(tags, [b"t\0".to_vec(), name.replace_blanks()]);
    }
}

/// For tags, whose words end at a blank.
trait ReplaceBlanks {
    fn replace_blanks(&self) -> Vec<u8>;
}

impl ReplaceBlanks for [u8] {
    fn replace_blanks(&self) -> Vec<u8> {
        self.iter()
            .map(|b| if *b == b' ' { b'_' } else { *b })
            .collect()
    }
}

#[test]
fn latest_tags_apply_and_changes_are_counted() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    for (options, tags, changes) in [
        ("", &[][..], 0),
        ("TAGS 'b:2 a:1'", &["a", "1", "b", "2"], 0),
        ("TAGS 'a:1  b:2'", &["a", "1", "b", "2"], 0),
        ("", &["a", "1", "b", "2"], 0),
        ("TAGS 'a:1 a:x:y word'", &["a", "x:y", "word", "true"], 1),
        ("TAGS 'empty:'", &["empty", ""], 2),
        ("TAGS ''", &[], 3),
    ] {
        tell::<i64>(&server, &format!("AGG.STAT n m 1 {options}"));
        let shown: Value = server.ask("AGG.GET n METRIC m");
        let shown_tags: Vec<String> =
            redis::from_redis_value(at(&shown, "tags").unwrap().clone()).unwrap();
        assert_eq!(shown_tags, tags, "{options}");
        assert_eq!(int(&shown, "tag-changes"), changes, "{options}");
    }
}

#[test]
fn sample_of_the_other_type_is_rejected_with_the_way_out() {
    let Some(server) = stocked("") else { return };
    let way_out = "use AGG.FORGET node METRIC name to reset the metric";
    for (line, why) in [
        (
            "AGG.STAT n gauge 2 DIFF",
            "ERR AGG.STAT: metric 'gauge' is ABS, the sample DIFF",
        ),
        (
            "AGG.STAT n counter 2",
            "ERR AGG.STAT: metric 'counter' is DIFF, the sample ABS",
        ),
        (
            "AGG.STAT n counter 2 ABS",
            "ERR AGG.STAT: metric 'counter' is DIFF, the sample ABS",
        ),
    ] {
        assert_rejected_once(&server, &words(line), &format!("{why}: {way_out}"));
    }
    assert_eq!(node_rejections(&server, "type"), 3);
    // The suggested way out works.
    assert_eq!(server.ask::<i64>("AGG.FORGET n METRIC counter"), 1);
    assert_eq!(server.ask::<i64>("AGG.STAT n counter 2"), 1);
    assert_eq!(metric(&server, "counter", "type"), "ABS");
}
